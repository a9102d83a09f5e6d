"""Rates that differ for good and bad surprises learn expectiles of the reward (Dabney et al. 2020).

A conditioning model with 19 channels and a deep network with 19 outputs meet the rewards of the monkeys' task; what
they come to rest at is compared with the expectiles of the distribution, and decoded back into a distribution.

Letters: M members, Q channels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from imitate.baselines.expectile import ERDQNConfig, er_dqn
from imitate.conditioning.model import Trial
from imitate.conditioning.models import DistributionalRescorlaWagner
from imitate.core.noise import Stream, categorical
from imitate.core.rollout import TensorSource
from imitate.distributions.returns import ExpectileReturn
from imitate.experiment.evaluate import interval
from imitate_envs.bandit import Bandit

__all__ = ["Juice", "draw", "exact", "expectiles"]

LEVELS = tuple(round(0.05 * i, 2) for i in range(1, 20))
REPORTED = (0.1, 0.25, 0.5, 0.75, 0.9)
SIZES = (0.1, 0.3, 1.2, 2.5, 5.0, 10.0, 20.0)  # µl
CHANCES = (0.0661, 0.0909, 0.1485, 0.1549, 0.3116, 0.1510, 0.0771)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Juice:
    """ReturnDistribution of an arm: seven sizes of a reward with the frequencies of the task, times the arm's mean."""

    def pay(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """Rewards from means and uniforms of one shape."""
        logits = uniform.new_tensor(CHANCES).log().expand(*uniform.shape, -1)
        return mean * uniform.new_tensor(SIZES)[categorical(logits, uniform)]


def exact(levels: tuple[float, ...] = LEVELS) -> Array:
    """The τ-expectile e of the sizes: τ E(z − e)₊ = (1 − τ) E(e − z)₊."""
    size, chance = np.array(SIZES), np.array(CHANCES)

    def gap(e: float, tau: float) -> float:
        good, bad = (float((chance * np.maximum(side, 0)).sum()) for side in (size - e, e - size))
        return tau * good - (1 - tau) * bad

    return np.array([optimize.brentq(gap, size.min(), size.max(), args=(tau,)) for tau in levels])


def expectiles(members: int, seed: int) -> tuple[dict[str, Any], dict[str, Array]]:
    """Numbers with intervals over members, and the channels of both learners, [M, Q]."""
    found = {"conditioning model": _shallow(members, seed), "deep network": _deep(members, seed)}
    truth = exact()
    at = [LEVELS.index(level) for level in REPORTED]
    numbers: dict[str, Any] = {"levels": REPORTED, "exact": truth[at].tolist()}
    for name, values in found.items():
        ends = [interval(values[:, i]) for i in at]
        numbers[name] = {
            "mean": values[:, at].mean(0).tolist(),
            "low": [low for low, _ in ends],
            "high": [high for _, high in ends],
            "largest_relative_error": float(np.abs(values.mean(0) / truth - 1).max()),  # of all 19
        }
    return numbers, found


def _shallow(members: int, seed: int, trials: int = 4000, rate: float = 0.01) -> Array:
    """Distributional Rescorla-Wagner: means of the channels over the last half of the trials."""
    model = DistributionalRescorlaWagner(LEVELS)
    theta = {"alpha": torch.full((1,), rate), "beta_on": torch.ones(()), "beta_off": torch.ones(())}
    rewards = Juice().pay(torch.ones(()), Stream(seed, "juice").uniform(trials, members, 1))
    state, on = model.initial(theta, (members,), 1, 1), torch.ones(1)
    total = torch.zeros(members, len(LEVELS), dtype=torch.float64)
    for t, reward in enumerate(rewards):
        state = model.update(theta, state, Trial(on, reward))
        if t >= trials // 2:
            total += state[:, 0, 0]
    return (total / (trials - trials // 2)).numpy()


def _deep(members: int, seed: int) -> Array:
    """ER-DQN with uniform exploration on a bandit; the arm that pays the juice in full. The other one pays half."""
    bandit = Bandit(means=(1.0, 0.5), law=cast(Any, Juice()))
    source = TensorSource(bandit, id="juice", num_envs=64, members=members, seed=seed)
    config = ERDQNConfig(
        steps=30_000,
        updates=8,
        batch_size=128,
        capacity=30_000,
        lr=3e-3,
        anneal_lr=True,
        epsilon=1.0,
        epsilon_end=1.0,
        hidden=(32,),
        expectiles=len(LEVELS),
        edge=LEVELS[0],
    )
    agent = er_dqn(source, config)
    while not agent.progress.finished:
        agent.step()
    with torch.no_grad():
        law = cast(ExpectileReturn, agent.policy.returns(torch.zeros(members, 1, dtype=torch.int64)))
    return law.values[:, 0, 0].double().numpy()


def draw(path: Path, found: dict[str, Array]) -> None:
    """Where the channels come to rest, and the distribution that is decoded from them."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=110)
    rest, decoded = figure.subplots(1, 2)
    rest.plot(LEVELS, exact(), color="#444444", linewidth=1, label="exact expectiles")
    sizes = np.linspace(0, 22, 500)
    decoded.step(
        [0, *SIZES, 22], [0, *np.cumsum(CHANCES), 1], where="post", color="#444444", linewidth=1, label="rewards"
    )
    tau = torch.tensor(LEVELS, dtype=torch.float64)
    for (name, values), colour, marker in zip(found.items(), ("#1f78b4", "#e08214"), "ox", strict=True):
        mean = values.mean(0)
        rest.errorbar(
            LEVELS,
            mean,
            yerr=np.abs(np.array([interval(column) for column in values.T]).T - mean),
            fmt=marker,
            color=colour,
            markersize=5,
            linewidth=1,
            label=name,
        )
        law = ExpectileReturn(torch.as_tensor(mean), tau)
        cdf = [float(law.cdf(torch.tensor(x, dtype=torch.float64))) for x in sizes]
        decoded.plot(sizes, cdf, color=colour, linewidth=1.4, label=name)
    rest.set(xlabel="level τ = α⁺ / (α⁺ + α⁻)", ylabel="expectile, µl")
    decoded.set(xlabel="reward, µl", ylabel="cumulative probability, decoded")
    for axis in (rest, decoded):
        axis.legend(frameon=False, fontsize=9)
    figure.savefig(path)
