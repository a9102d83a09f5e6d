"""Policy-gradient losses, unreduced: pure functions of tensors of one shape `*batch`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["approximate_kl", "clipped_surrogate"]


def clipped_surrogate(
    log_ratio: Float[Tensor, "*batch"], advantage: Float[Tensor, "*batch"], epsilon: Float[Tensor, "*#batch"]
) -> Float[Tensor, "*batch"]:
    """PPO's pessimistic bound, negated so that it is minimised.

        −min(ρ A, clip(ρ, 1 − ε, 1 + ε) A),   ρ = π(a|s) / π_old(a|s)

    Source: Schulman et al. (2017), eq. 7.

    Args:
        log_ratio: Log ρ; gradients flow through it.
        advantage: A, constant.
        epsilon: ε.
    """
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - epsilon, 1 + epsilon) * advantage)


def approximate_kl(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """KL(π_old ‖ π) estimated at actions of π_old: ρ − 1 − log ρ, never negative (Schulman 2020, estimator k3)."""
    return log_ratio.exp() - 1 - log_ratio
