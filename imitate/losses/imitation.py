"""Losses of imitation, unreduced: a student's distribution against the actions of a teacher."""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

from envs.base import Box, Space
from imitate.distributions import Distribution, Normal, TanhNormal

__all__ = ["ImitationLoss", "default_loss", "negative_log_likelihood", "squared_error"]

ImitationLoss = Callable[[Distribution, Tensor], Tensor]


def negative_log_likelihood(student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
    """−log π(a|s), in nats (Pomerleau 1991, as maximum likelihood)."""
    return -student.log_prob(action)


def squared_error(student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
    """|a − mode|², summed over the action's dimensions: the likelihood of a Gaussian whose width is not learnt.

    Raises:
        TypeError: The student is categorical.
    """
    if not isinstance(student, (Normal, TanhNormal)):
        raise TypeError("squared_error: needs a continuous action; take negative_log_likelihood for choices.")
    return (student.mode - action).square().sum(-1)


def default_loss(action: Space) -> ImitationLoss:
    """The likelihood for choices, the squared error for a Box.

    A teacher's greedy actions have no spread, so a likelihood would drive the student's width towards zero and its
    gradient towards infinity; the squared error has the same optimal mean without that.
    """
    return squared_error if isinstance(action, Box) else negative_log_likelihood
