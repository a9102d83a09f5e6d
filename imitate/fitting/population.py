"""Subjects of one population: empirical Bayes by expectation maximisation with Laplace's approximation.

Letters: S subjects, R starts, K unknowns of a subject.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parametrised
from imitate.core.config import checked
from imitate.fitting.fit import Fit, Objective, fit
from imitate.fitting.likelihood import Data
from imitate.fitting.unknowns import Gaussian, Unknowns

__all__ = ["Hierarchical", "fit_hierarchical"]

WIDEST = 10.0  # group variance of z to begin with
NARROWEST = 1e-5  # of a group variance, as in mfit: at 0 every subject would be the mean, and stay so


@dataclass(frozen=True)
class Hierarchical:
    """A population, and what each subject is in its light.

    Args:
        fit: Posterior modes and Hessians of the subjects, under the group's prior.
        group: Mean and variance [K] of z in the population; `median` has the same in the parameters themselves.
        log_evidence: Σ log model evidence of the subjects after each iteration.
        converged: Whether the last iteration changed it by less than the tolerance.
    """

    fit: Fit
    group: Gaussian
    log_evidence: tuple[float, ...]
    converged: bool

    @property
    def median(self) -> dict[str, float]:
        """Median of each estimated parameter in the population: the group mean of z, mapped to the parameter."""
        theta = self.fit.unknowns.theta(self.group.mean)
        return {name: float(theta[name]) for name in self.fit.unknowns.names}


@checked
def fit_hierarchical(
    model: Parametrised,
    data: Data,
    *,
    free: Iterable[str] | None = None,
    fixed: Mapping[str, Tensor | float] | None = None,
    lower: Mapping[str, float] | None = None,
    upper: Mapping[str, float] | None = None,
    starts: int = 8,
    seed: int = 0,
    iterations: int = 200,
    tolerance: float = 1e-3,
    at_once: int = 4_000_000,
) -> Hierarchical:
    """Estimate a population z ~ N(m, diag v) and its subjects together.

        E: ẑ_s, H_s = mode and Hessian of −log p(data_s | z) − log N(z; m, v)
        M: m = mean_s ẑ_s,  v = mean_s(ẑ_s² + diag H_s⁻¹) − m²

    All of it is in the unbounded space, where means and Hessians belong together. It starts from the modes under a wide
    prior about the defaults, and stops when the summed log evidence changes by less than `tolerance`.

    Source: Huys et al. (2011), supplementary methods; Laplace's approximation as in MacKay (2003), ch. 27.

    Args:
        model: As of `fit`; so are `data`, `free`, `fixed`, `lower`, `upper`, `starts`, `seed` and `at_once`.
        data: Of two subjects or more.
        free: Names.
        fixed: Values of others.
        lower: Lower bounds.
        upper: Upper bounds.
        starts: R, under the first prior; later modes begin at those before.
        seed: Of the starts.
        iterations: At most.
        tolerance: In nats.
        at_once: Trials of all lanes at once.

    Raises:
        ValueError: There is one subject only, or what `fit` raises.
    """
    unknowns = Unknowns.of(model, free, fixed, lower, upper)
    centre = unknowns.starts(1, seed, data.units)[0].to(data.counts.device)
    unit = unknowns.sizes(data.units).to(centre).square()
    group = Gaussian(centre, WIDEST * unit)
    if len(data.subjects) < 2:
        raise ValueError("data: one subject is no population; use fit.")
    found = fit(
        model, data, free=free, fixed=fixed, lower=lower, upper=upper,
        prior=group, starts=starts, seed=seed, at_once=at_once,
    )  # fmt: skip
    subjects = torch.arange(len(found.z), device=found.z.device)
    evidence = [_evidence(found, group)]
    for _ in range(iterations):
        mean, covariance = found.z.mean(0), _covariance(found, group)
        # mean(ẑ² + diag H⁻¹) − m², without its cancellation
        spread = (found.z - mean).square().mean(0) + covariance.diagonal(dim1=1, dim2=2).mean(0)
        group = Gaussian(mean, torch.maximum(spread, NARROWEST * unit))
        objective = Objective.of(model, data, unknowns, group, at_once)
        end = objective.minimise(found.z, subjects, covariance, 1e-5)
        found = objective.fit(end.z, end.value.unsqueeze(0), end.converged)
        evidence.append(_evidence(found, group))
        if abs(evidence[-1] - evidence[-2]) < tolerance:
            return Hierarchical(found, group, tuple(evidence), True)
    return Hierarchical(found, group, tuple(evidence), False)


def _covariance(found: Fit, group: Gaussian) -> Tensor:
    """Of each subject in z; the group's own where the Hessian is none of a maximum."""
    return torch.where(found.identified.reshape(-1, 1, 1), found.covariance, group.variance.diag())


def _evidence(found: Fit, group: Gaussian) -> float:
    """Σ log model evidence, by the covariances of the M step: no subject is left out."""
    log_det: Tensor = torch.linalg.slogdet(_covariance(found, group))[1]
    occam = 0.5 * (found.z.shape[1] * math.log(2 * math.pi) + log_det)
    return float((found.log_likelihood + found.log_prior + occam).sum())
