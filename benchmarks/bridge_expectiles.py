"""Rates that differ for good and bad surprises learn expectiles of the reward (Dabney et al. 2020).

Letters: M members, Q channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from imitate.conditioning.model import Trial
from imitate.conditioning.models import DistributionalRescorlaWagner
from imitate.core.noise import Stream, categorical
from imitate.experiment.evaluate import interval

__all__ = ["JUICE", "Juice", "deep", "draw", "exact", "shallow"]

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
SIZES = (0.1, 0.3, 1.2, 2.5, 5.0, 10.0, 20.0)  # µl
CHANCES = (0.0661, 0.0909, 0.1485, 0.1549, 0.3116, 0.1510, 0.0771)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Juice:
    """Seven sizes of a reward with the frequencies of the monkeys' task, as the law of an arm of a `Bandit`."""

    sizes: tuple[float, ...] = SIZES
    chances: tuple[float, ...] = CHANCES

    def pay(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """Sizes from uniforms of one shape; the mean is that of the law and ignored."""
        logits = mean.new_tensor(self.chances).log().expand(*uniform.shape, -1)
        return mean.new_tensor(self.sizes)[categorical(logits, uniform)]


JUICE = Juice()


def exact(levels: tuple[float, ...] = LEVELS) -> Array:
    """The τ-expectile e: τ E(z − e)₊ = (1 − τ) E(e − z)₊."""
    size, chance = np.array(SIZES), np.array(CHANCES)

    def gap(e: float, tau: float) -> float:
        good, bad = (chance * np.maximum(side, 0) for side in (size - e, e - size))
        return float(tau * good.sum() - (1 - tau) * bad.sum())

    return np.array([optimize.brentq(gap, size.min(), size.max(), args=(tau,)) for tau in levels])


def shallow(members: int, seed: int, trials: int = 4000, rate: float = 0.01) -> Array:
    """Distributional Rescorla-Wagner on the juice task, [M, Q]: means over the last half of the trials."""
    model = DistributionalRescorlaWagner(LEVELS)
    theta = {"alpha": torch.full((1,), rate), "beta_on": torch.ones(()), "beta_off": torch.ones(())}
    draws = JUICE.pay(torch.zeros(()), Stream(seed, "juice").uniform(trials, members))
    state, on = model.initial(theta, (members,), 1, 1), torch.ones(1)
    total = torch.zeros(members, len(LEVELS), dtype=torch.float64)
    for t, size in enumerate(draws):
        state = model.update(theta, state, Trial(on, size.unsqueeze(-1)))
        if t >= trials // 2:
            total += state[:, 0, 0]
    return (total / (trials - trials // 2)).numpy()
