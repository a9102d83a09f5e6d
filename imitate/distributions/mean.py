"""What several say together, as one distribution of their kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.distributions.actions import Categorical, Distribution, MultiCategorical, Normal, TanhNormal

__all__ = ["mean_of"]

D = TypeVar("D", bound=Distribution)


@checked
def mean_of(several: Sequence[D]) -> D:
    """The distribution of their kind that is nearest to the mixture of all of them in equal parts.

        argmin_q KL(1/K Σ_k p_k ‖ q)

    A student q of K teachers learns the same from this one as from all of them: Σ_k KL(p_k ‖ q)/K and KL(this ‖ q)
    differ by what q does not change, so their gradients in q are equal. For choices it is the mean of the
    probabilities, of each place by itself where several are made at once. A Gaussian has the mean and the variance of
    the mixture; a squashed one has them before the tanh.

    Source: Bishop (2006), §10.7: the moments of the nearest member of an exponential family are those of the mixture.

    Args:
        several: K of one kind, each of any leading shape.

    Raises:
        ValueError: There is none, they are of several kinds, or of one whose mean is not known.
    """
    if not several:
        raise ValueError("several: of none there is no mean.")
    first = several[0]
    if len({type(one) for one in several}) > 1:
        kinds = ", ".join(sorted({type(one).__name__ for one in several}))
        raise ValueError(f"several: must be of one kind, not {kinds}.")
    if len(several) == 1:
        return first
    stacked = tree.stack(several)
    if isinstance(stacked, Categorical):
        return type(stacked)(_log_mean(stacked.logits))
    if isinstance(stacked, MultiCategorical):
        return type(stacked)(tuple(_log_mean(logits) for logits in stacked.logits))
    if isinstance(stacked, Normal):
        return type(stacked)(*_moments(stacked.loc, stacked.scale))
    if isinstance(stacked, TanhNormal):
        return type(stacked)(*_moments(stacked.loc, stacked.scale), first.low, first.high)  # type: ignore[attr-defined]
    raise ValueError(f"several: no mean of {type(first).__name__} is known.")


def _log_mean(logits: Tensor) -> Tensor:
    """Logits [K, ..., A] -> log of the mean probabilities [..., A]; −∞ where no one admits a choice."""
    return logits.log_softmax(-1).logsumexp(0) - math.log(len(logits))


def _moments(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a mixture of Gaussians [K, ..., A]."""
    var, mean = torch.var_mean(loc, 0, correction=0)
    return mean, (scale.square().mean(0) + var).sqrt()
