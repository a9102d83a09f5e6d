"""The whole posterior of a population, by NUTS of pyro (extra `bayes`).

Letters: D draws, S subjects, K unknowns of a subject.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Parametrised
from imitate.core.config import checked
from imitate.fitting.fit import Objective
from imitate.fitting.likelihood import Data
from imitate.fitting.unknowns import Unknowns

__all__ = ["Posterior", "sample_posterior"]

GROUP_SCALE = 0.2  # of the half-normal prior on the standard deviation of z in the population


@dataclass(frozen=True)
class Posterior:
    """Draws from a posterior.

    Args:
        theta: Parameters of the subjects, [D, S] each; it goes into `trial_log_likelihood` and `simulate_choices`.
        group: Median of each estimated parameter in the population, [D].
        r_hat: Split R̂ of the group means of z, [K]; near 1 if the chains agree.
        divergences: Draws after warm-up at which the integrator failed.
        subjects: Labels.
    """

    theta: Mapping[str, Tensor]
    group: Mapping[str, Tensor]
    r_hat: Tensor
    divergences: int
    subjects: tuple[Hashable, ...]


@checked
def sample_posterior(
    model: Parametrised,
    data: Data,
    *,
    free: Iterable[str] | None = None,
    fixed: Mapping[str, Tensor | float] | None = None,
    lower: Mapping[str, float] | None = None,
    upper: Mapping[str, float] | None = None,
    draws: int = 1_000,
    warmup: int = 1_000,
    chains: int = 4,
    seed: int = 0,
) -> Posterior:
    """Sample the population and its subjects together, under the priors of hBayesDM.

        z_s = m + σ·e_s, e ~ N(0, 1);  m ~ N(0, 1);  σ ~ HalfNormal(0.2)
        θ = low + (high − low)·Φ(z); with one bound exp(z) above or exp(−z) below it, without any z

    Source: Ahn, Haines & Zhang (2017); NUTS: Hoffman & Gelman (2014).

    Args:
        model: As of `fit`; so are `data`, `free` and `fixed`.
        data: The record.
        free: Names.
        fixed: Values of others.
        lower: Lower bounds instead of the model's own.
        upper: Upper bounds instead of the model's own: hBayesDM has `{"beta": 10}` for reversal learning.
        draws: Of each chain, after warm-up.
        warmup: Draws that are thrown away.
        chains: One after the other.
        seed: Of the chains.

    Raises:
        ValueError: pyro is not installed, or a name is unknown.
    """
    try:
        from pyro.infer import MCMC, NUTS
        from pyro.ops.stats import split_gelman_rubin
    except ImportError:
        raise ValueError("pyro: not installed; pip install pyro-ppl.") from None
    unknowns = Unknowns.of(model, free, fixed, lower, upper)
    bounded = unknowns.free
    objective = Objective.of(model, data, unknowns, None, 0)
    subjects, device = objective.packed.shape[2], objective.packed.device
    constants = {name: value.to(device) for name, value in unknowns.constants.items()}

    def theta(group: Mapping[str, Tensor]) -> dict[str, Tensor]:
        z = group["mean"].unsqueeze(-2) + group["log_scale"].exp().unsqueeze(-2) * group["own"]
        return {**constants, **_values(bounded, z)}

    def potential(group: Mapping[str, Tensor]) -> Tensor:
        likelihood, _ = data.run(model, theta(group), objective.packed)
        scale = group["log_scale"].exp()
        normal = group["mean"].square().sum() + group["own"].square().sum() + (scale / GROUP_SCALE).square().sum()
        return 0.5 * normal - group["log_scale"].sum() - likelihood.sum()

    shapes = {"mean": (len(bounded),), "log_scale": (len(bounded),), "own": (subjects, len(bounded))}
    samples, failed = [], 0
    with torch.random.fork_rng():  # pyro draws from the global generator
        torch.manual_seed(seed)
        for _ in range(chains):  # pyro's own way would be processes, each with a copy of the record
            start = {key: 0.1 * torch.randn(shape, dtype=torch.float64) for key, shape in shapes.items()}
            start["log_scale"] += math.log(GROUP_SCALE)
            start = {key: value.to(device) for key, value in start.items()}
            sampler = MCMC(NUTS(potential_fn=potential), draws, warmup, initial_params=start, disable_progbar=True)
            sampler.run()
            samples.append(sampler.get_samples())
            failed += sum(len(at) for at in sampler.diagnostics()["divergences"].values())
    flat = {key: torch.cat([chain[key] for chain in samples]) for key in shapes}
    shape = (chains * draws, subjects)
    return Posterior(
        {name: value.expand(shape) for name, value in theta(flat).items()},
        _values(bounded, flat["mean"]),
        split_gelman_rubin(torch.stack([chain["mean"] for chain in samples])),
        failed,
        data.subjects,
    )


def _values(parameters: Mapping[str, Parameter], z: Tensor) -> dict[str, Tensor]:
    """Parameters of z [..., K], with Φ for a sigmoid."""
    found = {}
    for (name, parameter), column in zip(parameters.items(), z.unbind(-1), strict=True):
        if math.isfinite(parameter.low) and math.isfinite(parameter.high):
            found[name] = parameter.low + (parameter.high - parameter.low) * torch.special.ndtr(column)
        else:
            found[name] = parameter.constrain(column)
    return found
