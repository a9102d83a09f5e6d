"""Regressions that return distributions are learnt by, unreduced.

Letters: Z atoms, Q quantiles or expectiles of the estimate, P of the target, E edges of shares.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from imitate.core.config import checked

__all__ = [
    "categorical_projection",
    "expectile_regression",
    "fraction_loss",
    "huber",
    "impute_expectiles",
    "quantile_huber",
    "quantile_huber_grad",
]


@checked
def categorical_projection(
    probs: Float[Tensor, "*batch P"], atoms: Float[Tensor, "*batch P"], support: Float[Tensor, " Z"]
) -> Float[Tensor, "*batch Z"]:
    """Share out probabilities at any atoms over the evenly spaced points of a support.

        m_i = Σ_j [1 − |clip(z_j, z_min, z_max) − z_i| / Δz]₀¹ p_j

    Each atom goes to its two neighbours in proportion to nearness, so the mean is kept inside the support.
    Source: Bellemare, Dabney & Munos (2017), eq. 7.

    Args:
        probs: p_j.
        atoms: z_j, usually r + γ times the support.
        support: z_i, increasing by a constant Δz.
    """
    spacing = (support[-1] - support[0]) / (len(support) - 1)
    atoms = atoms.clamp(support[0], support[-1])
    if atoms.is_cuda:  # sums in any order are not the same twice; all pairs are cheap there
        distance = (atoms.unsqueeze(-2) - support.unsqueeze(-1)).abs() / spacing  # [..., Z, P]
        return ((1 - distance).clamp(min=0) * probs.unsqueeze(-2)).sum(-1)
    index = ((atoms - support[0]) / spacing).long().clamp_(0, len(support) - 2)  # a NaN is −2⁶³ there
    upper = probs * ((atoms - support[index]) / spacing).clamp_(0, 1)  # from the point below: small numbers round less
    shared = probs.new_zeros(*atoms.shape[:-1], len(support))
    return shared.scatter_add_(-1, index, probs - upper).scatter_add_(-1, index + 1, upper)


@checked
def huber(error: Float[Tensor, "*batch"], kappa: float = 1.0) -> Float[Tensor, "*batch"]:
    """½e² up to |e| = κ, κ(|e| − ½κ) beyond (Huber 1964; Mnih et al. 2015, Methods)."""
    size = error.abs()
    inner = size.clamp(max=kappa)
    return inner * (size - 0.5 * inner)


@checked
def quantile_huber(
    values: Float[Tensor, "*batch Q"],
    tau: Float[Tensor, "*#batch Q"],
    target: Float[Tensor, "*batch P"],
    kappa: float = 1.0,
    weights: Float[Tensor, "*#batch P"] | None = None,
) -> Float[Tensor, "*batch"]:
    """Quantile regression with a Huber loss: Σ_i E_j[ |τ_i − 1(u_ij < 0)| L_κ(u_ij)/κ ],   u_ij = target_j − values_i.

    Source: Dabney et al. (2018a), eq. 10; (2018b), eq. 3, with the mean over the target's samples.

    Args:
        values: Estimated quantiles θ_i.
        tau: Their levels τ_i.
        target: Samples or quantiles of the target distribution, constant.
        kappa: κ; towards 0 the loss is that of pure quantile regression.
        weights: Probabilities of the target's samples; by default equal.
    """
    return cast(Tensor, _QuantileHuber.apply(values, tau, target, kappa, weights))  # type: ignore[no-untyped-call]


@checked
def quantile_huber_grad(
    values: Float[Tensor, "*batch Q"],
    tau: Float[Tensor, "*#batch Q"],
    target: Float[Tensor, "*batch P"],
    kappa: float = 1.0,
    weights: Float[Tensor, "*#batch P"] | None = None,
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch Q"]]:
    """The loss of `quantile_huber`, and its slope in each value, written out.

    With c = clip(u, −κ, κ) and w = |τ − 1(u < 0)| the Huber loss is w·c·(u − c/2), its slope in u is
    w·c = (1 − τ) c + (2τ − 1) max(c, 0): comparing and choosing would take longer than all the rest.
    """
    error = target.unsqueeze(-2) - values.unsqueeze(-1)  # [..., Q, P]
    clipped, level = error.clamp(-kappa, kappa), tau.unsqueeze(-1)
    if tau.dim() == 1:  # the same for all: written out once, every pair meets its level in memory's order
        level = level.expand(error.shape[-2:]).contiguous()
    slope = torch.addcmul(clipped * (1 - level), clipped.relu(), 2 * level - 1)
    if weights is not None:
        slope = slope * weights.unsqueeze(-2)
    scale = 1 / (kappa * (target.shape[-1] if weights is None else 1))
    loss = torch.linalg.vecdot(slope.flatten(-2), error.sub_(clipped, alpha=0.5).flatten(-2))
    return loss * scale, slope.sum(-1).mul_(-scale)


class _QuantileHuber(torch.autograd.Function):
    """Saves recording and replaying each pairwise operation."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, tau: Tensor, target: Tensor, kappa: float, weights: Tensor | None) -> Tensor:
        loss, slope = quantile_huber_grad(values, tau, target, kappa, weights)
        ctx.save_for_backward(slope)
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        (slope,) = ctx.saved_tensors
        return gradient.unsqueeze(-1) * slope, None, None, None, None


@checked
def fraction_loss(
    tau: Float[Tensor, "*batch E"], at_tau: Float[Tensor, "*batch E-2"], at_middle: Float[Tensor, "*batch E-1"]
) -> Float[Tensor, "*batch"]:
    """Σ_i τ_i [2 θ(τ_i) − θ(τ̂_i) − θ(τ̂_{i−1})], whose slope in τ_i is that of the Wasserstein-1 distance.

    The distance is the one between a quantile function θ and its staircase with a step from τ_i to τ_{i+1} at the
    height θ(τ̂_i), τ̂_i = (τ_i + τ_{i+1})/2. The value of this loss has no meaning.
    Source: Yang et al. (2019), proposition 1.

    Args:
        tau: The edges τ_0 = 0 < τ_1 < … < 1.
        at_tau: θ at the inner edges, constant.
        at_middle: θ at τ̂_0, τ̂_1, …, constant.
    """
    slope = 2 * at_tau - at_middle[..., 1:] - at_middle[..., :-1]
    return (tau[..., 1:-1] * slope.detach()).sum(-1)


@checked
def expectile_regression(
    values: Float[Tensor, "*batch Q"],
    tau: Float[Tensor, "*#batch Q"],
    target: Float[Tensor, "*batch P"],
    weights: Float[Tensor, "*#batch P"],
) -> Float[Tensor, "*batch"]:
    """Σ_i Σ_j p_j |τ_i − 1(u_ij < 0)| u_ij²,   u_ij = target_j − values_i.

    Source: Newey & Powell (1987); Rowland et al. (2019).

    Args:
        values: Estimated expectiles ε_i.
        tau: Their levels τ_i.
        target: Samples of the target distribution, constant.
        weights: Their probabilities p_j.
    """
    error = target.unsqueeze(-2) - values.unsqueeze(-1)  # [..., Q, P]
    weight = (tau.unsqueeze(-1) - (error.detach() < 0).to(tau.dtype)).abs() * weights.unsqueeze(-2)
    return (weight * error.square()).sum((-1, -2))


@checked
def impute_expectiles(
    values: Float[Tensor, "*batch Q"], tau: Float[Tensor, " Q"], least: float = 1e-4
) -> tuple[Float[Tensor, "*batch Q-1"], Float[Tensor, "*batch Q-1"]]:
    """A distribution that has the given expectiles: Q − 1 samples in increasing order, and their probabilities.

    An expectile solves (1 − τ) E(ε − Z)⁺ = τ E(Z − ε)⁺. With the mean μ that says what the integrated CDF is there:

        P(ε_i) = E(ε_i − Z)⁺ = τ_i (μ − ε_i) / (1 − 2τ_i)

    So a distribution has these expectiles if and only if its P, which is convex with slopes from 0 to 1, passes through
    these points. We take the one that is straight between them, and beyond them until it meets its asymptotes, 0 and z
    − μ: its kinks are the samples. No root has to be searched for, and a distribution of two points is found exactly.
    Values that no distribution has as its expectiles are mended: sorted about the mean, and P replaced by its greatest
    convex minorant. Source of the task: Rowland et al. (2019), who search for samples of equal weight.

    Args:
        values: ε_i.
        tau: τ_i, increasing, Q odd and at least 3, the middle one ½: its expectile is the mean μ.
        least: Bound on the slopes of P away from 0 and 1: a tail's probability is never less, so that it has a place.
    """
    middle = len(tau) // 2
    mean = values[..., middle : middle + 1]
    below = values[..., :middle].minimum(mean).sort(-1).values
    above = values[..., middle + 1 :].maximum(mean).sort(-1).values
    x = torch.cat([below, above], -1)
    level = torch.cat([tau[:middle], tau[middle + 1 :]])
    height = level * (mean - x) / (1 - 2 * level)
    # Chords i -> j + 1 over [segments i, segments j]; the minorant's slope is the max over i ≤ k of the min over j ≥ k.
    rise = height[..., 1:].unsqueeze(-2) - height[..., :-1].unsqueeze(-1)
    run = x[..., 1:].unsqueeze(-2) - x[..., :-1].unsqueeze(-1)
    late = torch.ones(rise.shape[-2:], dtype=torch.bool, device=rise.device).triu()
    chord = (rise / run.clamp(min=torch.finfo(run.dtype).tiny)).masked_fill(~late, torch.inf)
    lowest = chord.flip(-1).cummin(-1).values.flip(-1)
    slope = lowest.masked_fill(~late, -torch.inf).amax(-2).clamp(least, 1 - least)
    left = x[..., :1] - height[..., :1] / slope[..., :1]
    beyond = height[..., -1:] - (x[..., -1:] - mean)  # E(Z − ε)⁺ at the last
    right = x[..., -1:] + beyond / (1 - slope[..., -1:])
    samples = torch.cat([left, x[..., 1:-1], right], -1)
    probs = torch.cat([slope[..., :1], slope.diff(dim=-1), 1 - slope[..., -1:]], -1)
    # Zero but for rounding, and for what was mended.
    return samples + mean - (samples * probs).sum(-1, keepdim=True), probs
