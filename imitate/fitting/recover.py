"""Whether a fit finds what simulated subjects had. Letters: S subjects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from scipy import stats
from torch import Tensor

from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.model import ChoiceModel
from imitate.conditioning.tables import frame
from imitate.core.config import checked
from imitate.fitting.fit import Fit, fit
from imitate.fitting.unknowns import Prior
from imitate_envs.base import Env

__all__ = ["Recovery", "recover"]


@dataclass(frozen=True)
class Recovery:
    """True parameters beside estimated ones.

    Args:
        truth: Every parameter that was estimated, [S].
        fit: What was found.
    """

    truth: Mapping[str, Tensor]
    fit: Fit

    def error(self, name: str) -> Tensor:
        """Estimate − truth of a parameter, [S]."""
        return self.fit.theta[name] - self.truth[name]

    def correlation(self, name: str, *, log: bool = False) -> float:
        """Pearson's r of truth and estimate, or of their logarithms."""
        pair = torch.stack([self.truth[name], self.fit.theta[name]])
        return float(torch.corrcoef(pair.log() if log else pair)[0, 1])

    def rank_correlation(self, name: str) -> float:
        """Spearman's ρ of truth and estimate."""
        return float(stats.spearmanr(self.truth[name].cpu(), self.fit.theta[name].cpu()).statistic)

    def coverage(self, name: str, level: float = 0.95) -> float:
        """Share of the Wald intervals, where there are any, that hold the truth."""
        low, high = self.fit.interval(level)[name]
        inside = (low <= self.truth[name]) & (self.truth[name] <= high)
        return float(inside[self.fit.identified].double().mean())

    def to_pandas(self) -> Any:
        """One row a parameter: correlations, mean error, root mean square error, coverage of 95 % intervals.

        Raises:
            ValueError: pandas is not installed.
        """
        names = list(self.truth)
        columns = {
            "correlation": [self.correlation(name) for name in names],
            "rank_correlation": [self.rank_correlation(name) for name in names],
            "bias": [float(self.error(name).mean()) for name in names],
            "rmse": [float(self.error(name).square().mean().sqrt()) for name in names],
            "coverage": [self.coverage(name) for name in names],
        }
        return frame(columns, names, "parameter")


@checked
def recover(
    model: ChoiceModel,
    truth: Mapping[str, Tensor],
    env: Env,
    trials: int,
    *,
    fixed: Mapping[str, Tensor | float] | None = None,
    lower: Mapping[str, float] | None = None,
    upper: Mapping[str, float] | None = None,
    block: int | None = None,
    prior: Prior | None = None,
    starts: int = 8,
    seed: int = 0,
) -> Recovery:
    """Simulate subjects with known parameters, fit them, and put the two beside each other.

    Args:
        model: What learns and chooses.
        truth: Parameters that are estimated, [S] each.
        env: What the subjects play; see `simulate_choices`.
        trials: Of each.
        fixed: Values of others, for the simulation as for the fit.
        lower: Lower bounds of the fit.
        upper: Upper bounds of the fit.
        block: Trials after which the subjects start anew, again and again; None: they play one block.
        prior: As of `fit`.
        starts: As of `fit`.
        seed: Of the simulation and of the starts.

    Raises:
        ValueError: `block` is not positive, or what `simulate_choices` and `fit` raise.
    """
    if block is not None and block < 1:
        raise ValueError(f"block: at least 1 trial, not {block}.")
    begins = None if block is None else torch.arange(trials) % block == 0
    record = simulate_choices(model, {**truth, **(fixed or {})}, env, trials, starts=begins, seed=seed)
    found = fit(model, record, free=truth, fixed=fixed, lower=lower, upper=upper, prior=prior, starts=starts, seed=seed)
    return Recovery({name: value.double() for name, value in truth.items()}, found)
