"""Losses of return distributions, unreduced. Letters: Z atoms, Q quantiles of the estimate, P of the target."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from imitate.losses.value import huber

__all__ = ["categorical_projection", "quantile_huber"]


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
    spacing = support[1] - support[0]
    atoms = atoms.clamp(support[0], support[-1])
    distance = (atoms.unsqueeze(-2) - support.unsqueeze(-1)).abs() / spacing  # [..., Z, P]
    return ((1 - distance).clamp(min=0) * probs.unsqueeze(-2)).sum(-1)


def quantile_huber(
    values: Float[Tensor, "*batch Q"],
    tau: Float[Tensor, "*#batch Q"],
    target: Float[Tensor, "*batch P"],
    kappa: float = 1.0,
) -> Float[Tensor, "*batch"]:
    """Quantile regression with a Huber loss: Σ_i E_j[ |τ_i − 1(u_ij < 0)| L_κ(u_ij)/κ ],   u_ij = target_j − values_i.

    Source: Dabney et al. (2018a), eq. 10; (2018b), eq. 3, with the mean over the target's samples.

    Args:
        values: Estimated quantiles θ_i.
        tau: Their levels τ_i.
        target: Samples or quantiles of the target law, constant.
        kappa: κ; towards 0 the loss is that of pure quantile regression.
    """
    error = target.unsqueeze(-2) - values.unsqueeze(-1)  # [..., Q, P]
    weight = (tau.unsqueeze(-1) - (error.detach() < 0).to(tau.dtype)).abs()
    return (weight * huber(error, kappa) / kappa).mean(-1).sum(-1)
