"""Policy-gradient losses, unreduced: pure functions of tensors of one shape `*batch`. Letters: A actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.core.config import checked

__all__ = ["Surrogate", "approximate_kl", "categorical_surrogate", "clipped_surrogate"]


@dataclass(frozen=True)
class Surrogate:
    """What `categorical_surrogate` finds."""

    loss: Float[Tensor, "*batch"]
    grad: Float[Tensor, "*batch A"]  # of the loss with respect to the logits
    log_ratio: Float[Tensor, "*batch"]  # log ρ
    entropy: Float[Tensor, "*batch"]  # nats


@checked
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


@checked
def approximate_kl(log_ratio: Float[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """KL(π_old ‖ π) estimated at actions of π_old: ρ − 1 − log ρ, never negative (Schulman 2020, estimator k3)."""
    return log_ratio.exp() - 1 - log_ratio


def categorical_surrogate(
    logits: Float[Tensor, "*batch A"],
    action: Int[Tensor, "*batch"],
    log_prob: Float[Tensor, "*batch"],
    advantage: Float[Tensor, "*batch"],
    epsilon: Float[Tensor, "*#batch"],
    weight: Float[Tensor, "*#batch"],
) -> Surrogate:
    """`clipped_surrogate` of a categorical policy less its weighted entropy, with the gradient written out.

        ∂/∂z = (c (log p + H) − d) ⊙ p + d e_a,   d = −ρ A where the bound moves with ρ, else 0

    Args:
        logits: z, as constants.
        action: a.
        log_prob: Log π_old(a|s).
        advantage: A.
        epsilon: ε.
        weight: c, of the entropy H.
    """
    # A masked choice has logit −∞ and probability 0, and must give 0·log 0 = 0, whatever the weight.
    log_probs = logits.log_softmax(-1).clamp_(min=-1e30)
    probs, chosen = log_probs.exp(), action.unsqueeze(-1)
    log_ratio = log_probs.gather(-1, chosen).squeeze(-1).sub_(log_prob)
    entropy = torch.linalg.vecdot(probs, log_probs).neg_()
    ratio = log_ratio.exp()
    bound = ratio.clamp(1 - epsilon, 1 + epsilon).mul_(advantage)
    plain = ratio.mul_(advantage)
    moves = plain <= bound
    bound = torch.minimum(plain, bound)
    d = plain.mul_(moves).unsqueeze(-1)  # −d of the formula
    grad = log_probs.add_(entropy.unsqueeze(-1)).mul_(weight.unsqueeze(-1)).add_(d).mul_(probs)
    return Surrogate(
        torch.addcmul(bound, weight, entropy).neg_(), grad.scatter_add_(-1, chosen, -d), log_ratio, entropy
    )
