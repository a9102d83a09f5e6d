"""Distillation losses, unreduced: how far a student's distribution is from its teacher's at the same observations.

The teacher is constant. With a temperature T both sides are raised to the power 1/T: logits are divided by T, scales of
Gaussians multiplied by √T. The loss is then multiplied by what keeps the size of the gradient as T grows: T² for logits
(Hinton, Vinyals & Dean 2015, §2.1), T for Gaussians, whose squared distance of means falls as 1/T. T > 1 softens a
classifier; T < 1 sharpens values used as logits, whose gaps are small (Rusu et al. 2016, eq. 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.distributions.actions import Categorical, Distribution, MultiCategorical, Normal, TanhNormal

__all__ = ["LOSSES", "DistillationLoss", "cross_entropy", "forward_kl", "mse", "reverse_cross_entropy", "reverse_kl"]

DistillationLoss = Callable[[Distribution, Distribution, float], Tensor]


def _constant(teacher: Distribution) -> Distribution:
    return tree.map(Tensor.detach, teacher)


def _tempered(distribution: Distribution, temperature: float) -> Distribution:
    if temperature == 1:
        return distribution
    if isinstance(distribution, Categorical):
        return Categorical(distribution.logits / temperature)
    if isinstance(distribution, MultiCategorical):
        return MultiCategorical(tuple(logits / temperature for logits in distribution.logits))
    if isinstance(distribution, (Normal, TanhNormal)):
        return replace(distribution, scale=distribution.scale * temperature**0.5)
    raise ValueError(f"temperature: no tempered form of {type(distribution).__name__} is known; pass 1.")


def _factor(distribution: Distribution, temperature: float) -> float:
    return temperature * temperature if isinstance(distribution, (Categorical, MultiCategorical)) else temperature


@checked
def forward_kl(teacher: Distribution, student: Distribution, temperature: float = 1.0) -> Float[Tensor, "*batch"]:
    """T²·KL(teacher ‖ student), T·KL for Gaussians: covers all that the teacher does (Rusu et al. 2016, eq. 3)."""
    divergence = _tempered(_constant(teacher), temperature).kl(_tempered(student, temperature))
    return _factor(teacher, temperature) * divergence


@checked
def reverse_kl(teacher: Distribution, student: Distribution, temperature: float = 1.0) -> Float[Tensor, "*batch"]:
    """T²·KL(student ‖ teacher): settles on one of the things that the teacher does (Czarnecki et al. 2019, table 1)."""
    divergence = _tempered(student, temperature).kl(_tempered(_constant(teacher), temperature))
    return _factor(teacher, temperature) * divergence


@checked
def cross_entropy(teacher: Distribution, student: Distribution, temperature: float = 1.0) -> Float[Tensor, "*batch"]:
    """T²·H(teacher, student) = T²·[KL(teacher ‖ student) + H(teacher)]; the gradient is that of `forward_kl`."""
    tempered = _tempered(_constant(teacher), temperature)
    return _factor(teacher, temperature) * (tempered.kl(_tempered(student, temperature)) + tempered.entropy())


@checked
def reverse_cross_entropy(
    teacher: Distribution, student: Distribution, temperature: float = 1.0
) -> Float[Tensor, "*batch"]:
    """T²·H(student, teacher) = T²·[KL(student ‖ teacher) + H(student)] (Czarnecki et al. 2019, table 1).

    It draws the student to the teacher's likeliest action alone: it is no distance, and is not 0 at the teacher.
    """
    tempered = _tempered(student, temperature)
    return _factor(teacher, temperature) * (
        tempered.kl(_tempered(_constant(teacher), temperature)) + tempered.entropy()
    )


@checked
def mse(teacher: Distribution, student: Distribution, temperature: float = 1.0) -> Float[Tensor, "*batch"]:
    """½·squared distance of logits, centred to mean zero, or of means; what T²·KL tends to as T grows, times A.

    Logits say nothing up to a constant, so both sides are centred (Hinton, Vinyals & Dean 2015, eq. 4).
    A squashed Gaussian is compared before the tanh. The temperature has no effect.
    """
    teacher = _constant(teacher)
    if isinstance(teacher, Categorical) and isinstance(student, Categorical):
        # What a mask forbids has a logit of −∞ on both sides, and says nothing.
        p, q = (d.logits.masked_fill(d.logits == -torch.inf, 0.0) for d in (teacher, student))
        admitted = (teacher.logits != -torch.inf).to(p.dtype)
        gap = p - q - ((p - q) * admitted).sum(-1, keepdim=True) / admitted.sum(-1, keepdim=True)
        return 0.5 * (gap * admitted).square().sum(-1)
    if isinstance(teacher, MultiCategorical) and isinstance(student, MultiCategorical):
        return torch.stack([mse(t, s) for t, s in zip(teacher.parts, student.parts, strict=True)]).sum(0)
    if isinstance(teacher, (Normal, TanhNormal)) and isinstance(student, type(teacher)):
        return 0.5 * (teacher.loc - student.loc).square().sum(-1)
    raise ValueError(f"student: a {type(teacher).__name__} cannot be compared with a {type(student).__name__}.")


LOSSES: dict[str, DistillationLoss] = {
    "forward-kl": forward_kl,
    "reverse-kl": reverse_kl,
    "cross-entropy": cross_entropy,
    "mse": mse,
}
