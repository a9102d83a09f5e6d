"""Losses of features, unreduced: how far what a student makes of a batch is from what its teacher makes of it.

The teacher is constant. Features are [..., B, H]: `...` any leading shape, B examples of a batch, H numbers each. Every
loss gives one number an example, [..., B]. Relations between examples need no equal widths.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

__all__ = [
    "FeatureLoss",
    "angles",
    "attention",
    "attention_transfer",
    "cosine",
    "distances",
    "hint",
    "in_groups",
    "pairwise",
    "relational_angle",
    "relational_distance",
    "similarity",
]

FeatureLoss = Callable[[Any, Any], Tensor]  # student's features, teacher's -> one number an example


def hint(student: Float[Tensor, "*batch B H"], teacher: Float[Tensor, "*batch B K"]) -> Float[Tensor, "*batch B"]:
    """½ ‖r(h_S) − h_T‖², where `student` are features that a regressor r has mapped (Romero et al. 2015, §2.2)."""
    _same_width(student, teacher)
    return 0.5 * (student - teacher.detach()).square().sum(-1)


def cosine(student: Float[Tensor, "*batch B H"], teacher: Float[Tensor, "*batch B K"]) -> Float[Tensor, "*batch B"]:
    """1 − cos(h_S, h_T): the features point in one direction (Sanh et al. 2019, §2)."""
    _same_width(student, teacher)
    return 1 - (_unit(student) * _unit(teacher.detach())).sum(-1)


def similarity(features: Float[Tensor, "*batch B H"]) -> Float[Tensor, "*batch B B"]:
    """The cosine of each two examples, a_ij = h_i·h_j / (‖h_i‖ ‖h_j‖)."""
    direction = _unit(features)
    return direction @ direction.mT


def pairwise(student: Float[Tensor, "*batch B H"], teacher: Float[Tensor, "*batch B K"]) -> Float[Tensor, "*batch B"]:
    """1/B Σ_j (a_ij^S − a_ij^T)²: examples that are alike to the teacher are alike to the student.

    The nodes of Liu et al. (2019, §3.1) are places of one image; here, as in Tung & Mori (2019), they are the examples
    of a batch. The loss stays the same where features are rotated or scaled.
    """
    return (similarity(student) - similarity(teacher.detach())).square().mean(-1)


def distances(features: Float[Tensor, "*batch B H"]) -> Float[Tensor, "*batch B B"]:
    """ψ_ij = ‖h_i − h_j‖/μ, where μ is the mean distance of two examples (Park et al. 2019, §3.2.1)."""
    # Exact, since the products that are the faster way leave two equal examples apart.
    found = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    pairs = max(1, features.shape[-2] * (features.shape[-2] - 1))
    return found / (found.sum((-2, -1), keepdim=True) / pairs).clamp(min=1e-8)


def relational_distance(
    student: Float[Tensor, "*batch B H"], teacher: Float[Tensor, "*batch B K"]
) -> Float[Tensor, "*batch B"]:
    """1/B Σ_j l(ψ_ij^S, ψ_ij^T) of `distances`, where l is Huber's loss with δ = 1 (Park et al. 2019, §3.2.1).

    The loss stays the same where features are shifted, rotated or scaled.
    """
    return F.smooth_l1_loss(distances(student), distances(teacher.detach()), reduction="none").mean(-1)


def angles(features: Float[Tensor, "*batch B H"]) -> Float[Tensor, "*batch B B B"]:
    """ψ_jik = cos ∠(h_i, h_j, h_k) of the angle at h_j, [..., j, i, k] (Park et al. 2019, §3.2.2); 0 where two meet."""
    direction = _unit(features.unsqueeze(-3) - features.unsqueeze(-2))  # from j to i
    return direction @ direction.mT


def relational_angle(
    student: Float[Tensor, "*batch B H"], teacher: Float[Tensor, "*batch B K"]
) -> Float[Tensor, "*batch B"]:
    """1/B² Σ_ik l(ψ_jik^S, ψ_jik^T) of `angles`, where l is Huber's loss with δ = 1 (Park et al. 2019, §3.2.2).

    It takes B³ numbers; see `in_groups`. The loss stays the same where features are shifted, rotated or scaled.
    """
    return F.smooth_l1_loss(angles(student), angles(teacher.detach()), reduction="none").mean((-2, -1))


def attention(maps: Float[Tensor, "*batch C height width"]) -> Float[Tensor, "*batch places"]:
    """Where a layer looks: Σ_c h_c² at each place, flat and of length 1 (Zagoruyko & Komodakis 2017, §3.1)."""
    return _unit(maps.square().sum(-3).flatten(-2))


def attention_transfer(student: Sequence[Tensor], teacher: Sequence[Tensor]) -> Tensor:
    """Σ_l ‖Q_l^S − Q_l^T‖ of the `attention` Q of each layer l (Zagoruyko & Komodakis 2017, §3.1, p = 2).

    Args:
        student: Maps [..., C, height, width] of each layer.
        teacher: Maps of as many layers, of the same heights and widths; channels may differ.

    Raises:
        ValueError: The layers do not fit each other.
    """
    sizes = [[tuple(layer.shape[-2:]) for layer in maps] for maps in (student, teacher)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"student: its maps are {sizes[0]}, the teacher's {sizes[1]}; choose layers of equal sizes.")
    pairs = zip(student, teacher, strict=True)
    gaps = [attention(mine) - attention(told.detach()) for mine, told in pairs]
    return torch.stack([torch.linalg.vector_norm(gap, dim=-1) for gap in gaps]).sum(0)


def in_groups(loss: FeatureLoss, size: int) -> FeatureLoss:
    """The same loss within groups of `size` examples instead of the whole batch, for losses that take B² or B³ numbers.

    Raises:
        ValueError: At a call: `size` does not divide the batch.
    """
    if size < 2:
        raise ValueError(f"size: at least 2 examples, for they are compared, not {size}.")

    def within(student: Tensor, teacher: Tensor) -> Tensor:
        if student.shape[-2] % size:
            raise ValueError(f"size: groups of {size} do not divide a batch of {student.shape[-2]}.")
        return loss(student.unflatten(-2, (-1, size)), teacher.unflatten(-2, (-1, size))).flatten(-2)

    return within


def _unit(x: Tensor) -> Tensor:
    """Vectors of length 1; zero stays zero, with a gradient that is finite."""
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(norm > 0, norm, 1.0)


def _same_width(student: Tensor, teacher: Tensor) -> None:
    if student.shape[-1] != teacher.shape[-1]:
        raise ValueError(
            f"student: {student.shape[-1]} features, the teacher {teacher.shape[-1]}; "
            "take a Hint, which maps one to the other, or a loss of relations."
        )
