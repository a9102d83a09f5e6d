"""Losses of a discriminator, and the rewards that follow from it: pure functions of log-odds.

A logit is log D − log(1 − D), where D is the probability that a step is the teacher's. Letters: M members, B batch.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = ["discrimination", "gradient_penalty", "log_odds", "negative", "positive", "shaped"]


def discrimination(teacher: Float[Tensor, "M B"], learner: Float[Tensor, "M B"]) -> Float[Tensor, " M"]:
    """Cross-entropy of telling two sets of steps apart: −E_teacher log D − E_learner log(1 − D).

    Source: Goodfellow et al. (2014), eq. 1, whose sign is the other one.

    Args:
        teacher: Logits of the teacher's steps.
        learner: Logits of the learner's steps.
    """
    return F.softplus(-teacher).mean(1) + F.softplus(learner).mean(1)


def gradient_penalty(norm: Float[Tensor, "M B"]) -> Float[Tensor, " M"]:
    """E (‖∇logit‖ − 1)²: keeps a discriminator from growing steep (Gulrajani et al. 2017, eq. 3).

    Args:
        norm: ‖∇logit‖ of each row in its inputs, taken between a step of the teacher and one of the learner.
    """
    return (norm - 1).square().mean(1)


def positive(logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """−log(1 − D), never negative: without absorbing states it also rewards to stay alive (Ho & Ermon 2016)."""
    return F.softplus(logit)


def negative(logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Log D, never positive: without absorbing states it also rewards to end soon (Kostrikov et al. 2019)."""
    return F.logsigmoid(logit)


def log_odds(logit: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """Log D − log(1 − D), of either sign (Fu et al. 2018): the logit itself."""
    return torch.as_tensor(logit)


def shaped(
    reward: Float[Tensor, "*batch"],
    value: Float[Tensor, "*batch"],
    next_value: Float[Tensor, "*batch"],
    discount: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """A reward with a potential: f = g + γ h(s') − h(s), of the same best policies as g.

    Source: Ng, Harada & Russell (1999), theorem 1; as a discriminator's logit Fu et al. (2018).

    Args:
        reward: g.
        value: h(s).
        next_value: h(s').
        discount: γ; 0 where the step terminates the episode.
    """
    return reward + discount * next_value - value
