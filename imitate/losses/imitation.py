"""Losses of imitation, unreduced: a student's distribution against the actions of a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.core.actions import clip, unit
from imitate.distributions.actions import Distribution, Normal, TanhNormal
from imitate_envs.base import Box, Discrete, Space, constant

__all__ = [
    "ImitationLoss",
    "SquaredError",
    "categorical_likelihood",
    "default_loss",
    "discrepancy",
    "negative_log_likelihood",
    "squared_error",
]

ImitationLoss = Callable[[Distribution, Tensor], Tensor]


def negative_log_likelihood(student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
    """−log π(a|s), in nats (Pomerleau 1991, as maximum likelihood)."""
    return -student.log_prob(action)


def categorical_likelihood(
    logits: Float[Tensor, "*batch A"], action: Int[Tensor, "*batch"], weight: Float[Tensor, "*#batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch A"]]:
    """`negative_log_likelihood` of a choice less its weighted entropy, with the gradient written out.

        ∂/∂z = p − e_a + c (log p + H) ⊙ p

    Args:
        logits: z, as constants.
        action: a.
        weight: c, of the entropy H.

    Returns:
        −log π(a|s) and H, in nats, and the gradient of their weighted difference.
    """
    # A masked choice has logit −∞ and probability 0, and must give 0·log 0 = 0, whatever the weight.
    log_probs = logits.log_softmax(-1).clamp_(min=-1e30)
    probs, chosen = log_probs.exp(), action.unsqueeze(-1)
    error = log_probs.gather(-1, chosen).squeeze(-1).neg_()
    entropy = torch.linalg.vecdot(probs, log_probs).neg_()
    grad = log_probs.add_(entropy.unsqueeze(-1)).mul_(weight.unsqueeze(-1)).add_(1).mul_(probs)
    return error, entropy, grad.scatter_add_(-1, chosen, constant(-1.0, grad).expand(chosen.shape))


def squared_error(student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
    """|a − mode|², summed over the action's dimensions: the likelihood of a Gaussian whose width is not learnt.

    Raises:
        ValueError: The student is categorical.
    """
    if not isinstance(student, (Normal, TanhNormal)):
        raise ValueError("student: of choices there is no squared error; take negative_log_likelihood.")
    return (student.mode - action).square().sum(-1)


@dataclass(frozen=True)
class SquaredError:
    """`squared_error` in units of half a bounded dimension's range, so that no range makes it large or small.

    Args:
        action: Space of actions.
    """

    action: Box

    def __call__(self, student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
        """The error of modes against actions [*batch, A]."""
        if not isinstance(student, (Normal, TanhNormal)):
            raise ValueError("student: of choices there is no squared error; take negative_log_likelihood.")
        _, half_range = unit(self.action, action.device)
        return ((student.mode - action) / half_range).square().sum(-1)


def default_loss(action: Space) -> ImitationLoss:
    """The likelihood for choices, the squared error for a Box, in units of its half range.

    A teacher's greedy actions have no spread, so a likelihood would drive the student's width towards zero and its
    gradient towards infinity; the squared error has the same optimal mean without that.
    """
    return SquaredError(action) if isinstance(action, Box) else negative_log_likelihood


def discrepancy(space: Space, action: Tensor, told: Tensor) -> Float[Tensor, "*batch"]:
    """How far an action is from what a teacher would do: ‖a − a*‖² (Zhang & Cho 2017).

    Actions of a Box count inside their bounds and in half ranges, as in `SquaredError`. Of choices it is 1 where
    another one is made; where several are made at once it is the share of those that differ.

    Args:
        space: Of actions.
        action: a, [*batch], or [*batch, A] of a Box and [*batch, K] of several choices.
        told: a*.
    """
    if isinstance(space, Box):
        _, half_range = unit(space, action.device)
        return ((clip(space, action) - clip(space, told)) / half_range).square().sum(-1)
    different = (action != told).float()
    return different if isinstance(space, Discrete) else different.mean(-1)
