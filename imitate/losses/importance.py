"""How much a state matters: what a wrong choice there costs, as the teacher sees it. Letters: A actions."""

from __future__ import annotations

from functools import wraps

import torch
from jaxtyping import Float
from torch import Tensor

from imitate.core.config import checked
from imitate.distributions.actions import Categorical, Distribution
from imitate.losses.distillation import DistillationLoss

__all__ = ["by_gap", "value_gap"]


@checked
def value_gap(values: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """What the worst choice loses against the best one.

        w(s) = max_a Q(s, a) − min_a Q(s, a)

    A choice of −∞ is not admitted, and does not count. A teacher without values gives its log-probabilities, or logits:
    if π ∝ exp(Q/T), then log π = Q/T − log Σ exp(Q/T), whose last term is the same for all choices, and the gap is that
    of Q in units of T.

    Source: Bastani, Pu & Solar-Lezama (2018), algorithm 1, the weight of a state in the resampled data set.

    Args:
        values: Q, or log π up to a constant.
    """
    admitted = values > -torch.inf
    return values.amax(-1) - torch.where(admitted, values, torch.inf).amin(-1)


@checked
def by_gap(loss: DistillationLoss) -> DistillationLoss:
    """A loss of distillation, each example weighted by the `value_gap` of the teacher's logits.

        w(s) / mean w · loss(teacher, student, temperature)

    The mean is over the last axis, the batch of a member, so that the size of the loss stays. Where every choice is
    worth the same everywhere the loss is 0.

        PolicyDistillation(source, teacher, student, loss=by_gap(forward_kl))

    Args:
        loss: What is weighted.
    """

    @wraps(loss)
    def weighted(teacher: Distribution, student: Distribution, temperature: float = 1.0) -> Tensor:
        if not isinstance(teacher, Categorical):
            raise ValueError(f"teacher: a {type(teacher).__name__} has no values of finitely many choices.")
        gap = value_gap(teacher.logits.detach())
        mean = gap.mean(-1, keepdim=True).clamp(min=torch.finfo(gap.dtype).tiny)
        return gap / mean * loss(teacher, student, temperature)

    return weighted
