"""Calibration: whether the return is distributed as a value policy says it is.

Letters: T time, M members, E episodes of one member, K levels, S states of one member.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.noise import Stream
from imitate.core.scan import linear_recurrence
from imitate.core.types import Obs, Source
from imitate.distributions.returns import ExpectedReturn, ReturnDistribution, midpoints
from imitate.experiment.evaluate import interval
from imitate.nets.q_network import QNetwork

__all__ = ["Calibration", "calibrate", "transform"]

Array = NDArray[np.float64]
BINS = 10
_LEVELS = 100  # quantiles that stand for a distribution
_BLOCK = 50  # steps between two looks at whether anybody still plays
_COMPLETE = 0.01  # a return counts as known where what follows it has less than this discount


@dataclass(frozen=True)
class Calibration:
    """Learnt return distributions at visited states against the discounted returns that followed, member by member.

    Args:
        transforms: F(G) of each return G under its distribution F, one array [S] a member: uniform if the distributions
            are right.
        returns: G, likewise.
        quantiles: Of the distribution at each state, at 100 midpoints, [S, 100] a member.
        left_out: Share of the states whose return is not known, [M].
    """

    transforms: list[Array]
    returns: list[Array]
    quantiles: list[Array]
    left_out: Array

    @property
    def histogram(self) -> Array:
        """Shares [M, 10] of the transforms in bins of equal width: .1 each if the distributions are right."""
        return np.stack([np.histogram(u, BINS, (0, 1))[0] / len(u) for u in self.transforms])

    @property
    def wasserstein(self) -> Array:
        """Wasserstein-1 [M] between the returns and the mixture of their distributions, in units of return.

        Both are taken over all states together: distributions that are wrong in opposite directions can cancel here,
        which the transforms show.
        """
        distances = []
        for returns, quantiles in zip(self.returns, self.quantiles, strict=True):
            learnt, found = np.sort(quantiles, axis=None), np.repeat(np.sort(returns), quantiles.shape[1])
            distances.append(np.abs(learnt - found).mean())
        return np.array(distances)

    def coverage(self, central: float) -> Array:
        """Share [M] of the returns within the central interval of their distribution of that probability."""
        return np.array([(np.abs(u - 0.5) <= central / 2).mean() for u in self.transforms])

    def as_json(self) -> dict[str, Any]:
        """All numbers: by member, and their mean with its 95 % interval over members."""
        measures = {
            "wasserstein": self.wasserstein,
            "coverage_50": self.coverage(0.5),
            "coverage_90": self.coverage(0.9),
        }
        document: dict[str, Any] = {name: _summary(values) for name, values in measures.items()}
        document["histogram"] = [_summary(share) for share in self.histogram.T]
        return {**document, "states": [len(u) for u in self.transforms], "left_out": self.left_out.tolist()}

    def __str__(self) -> str:
        parts = []
        for name, values in (
            ("Wasserstein-1", self.wasserstein),
            ("within central 50 %", self.coverage(0.5)),
            ("within central 90 %", self.coverage(0.9)),
        ):
            low, high = interval(values)
            parts.append(f"{name} {values.mean():.3g}" + (f" [{low:.3g}, {high:.3g}]" if len(values) > 1 else ""))
        states, members = sum(len(u) for u in self.transforms), len(self.transforms)
        over = f"{members} members, {states} states, 95 % interval over members" if members > 1 else f"{states} states"
        text = f"{', '.join(parts)}  ({over})"
        share = float(self.left_out.mean())
        return text if share == 0 else f"{text}; {share:.0%} of the states left out, their returns cut by a time limit"

    def write(self, folder: Path, about: dict[str, Any]) -> None:
        """Write `calibration.json` and `calibration.png` into a folder.

        Args:
            folder: Where to.
            about: What else the JSON is to say.
        """
        text = json.dumps({**about, **self.as_json()}, indent=2, allow_nan=False) + "\n"
        (folder / "calibration.json").write_text(text, "utf-8")
        self.draw(folder / "calibration.png")

    def draw(self, path: Path) -> None:
        """Two panels: the histogram with its interval over members; quantiles of returns against those learnt."""
        from matplotlib.figure import Figure  # slow to import, and needed here only

        figure = Figure(figsize=(9, 4), dpi=150, layout="constrained")
        left, right = figure.subplots(1, 2)
        edges, shares = np.linspace(0, 1, BINS + 1), self.histogram
        left.bar(edges[:-1], shares.mean(0), 1 / BINS, align="edge", color="#1f78b4", alpha=0.6)
        for i, share in enumerate(shares.T):
            ends = interval(share)
            left.plot([edges[i] + 0.5 / BINS] * 2, ends, color="#444444")
        left.axhline(1 / BINS, color="#e08214", linestyle="--", label="calibrated")
        left.set(xlabel="probability of at most the return", ylabel="share of states", xlim=(0, 1))
        left.legend(frameon=False, loc="upper left")
        levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
        ends_of_all: list[float] = []
        for returns, quantiles in zip(self.returns, self.quantiles, strict=True):
            found, learnt = np.quantile(returns, levels), np.quantile(quantiles, levels)
            right.plot(found, learnt, color="#1f78b4", alpha=0.6)
            ends_of_all += [*found[[0, -1]], *learnt[[0, -1]]]
        ends = (min(ends_of_all), max(ends_of_all))
        right.plot(ends, ends, color="#e08214", linestyle="--")
        right.set(xlabel="quantiles of the returns", ylabel="quantiles of the learnt distributions")
        figure.savefig(path)


def calibrate(
    policy: QNetwork, source: Source, gamma: float | Sequence[float], *, clip_reward: bool = False
) -> Calibration:
    """Play one episode in each environment, greedily, and compare each distribution with the return that followed.

    A return that a time limit cuts is known only where what it lacks has a discount below 1 %. States of a step of the
    episode at which any return is not known are left out for all: to leave out those episodes alone would keep the ones
    that ended early, which is to choose by the outcome. Where nothing is cut, all states count.

    The distributions are those of the greedy policy, with the discount that it was learnt with. Learnt from n-step
    returns of another driver (n > 1 and ε > 0), they are to some part of that driver's returns, and off by that.

    Args:
        policy: Its distributions, at the means of noisy weights, and its greedy actions.
        source: Fresh: its N environments begin E = N episodes; nothing else is to be done with it.
        gamma: Discount γ, or one a member.
        clip_reward: Whether it has learnt from rewards clipped to [−1, 1].

    Raises:
        ValueError: The policy knows means only, or no return is known.
    """
    recorder = _Recorder(policy)
    blocks: list[tuple[Tensor, ...]] = []
    alive = torch.ones(source.spec.members, source.spec.num_envs, dtype=torch.bool, device=source.spec.device)
    for start in range(0, source.spec.max_steps, _BLOCK):
        if not alive.any():
            break
        seen = source.collect(recorder, min(_BLOCK, source.spec.max_steps - start))
        # The step that ends an episode belongs to it, those after it do not.
        over = seen.done.long().cumsum(0) - seen.done.long()
        playing = alive & (over == 0)
        alive = alive & ~seen.done.any(0)
        reward = seen.reward.clamp(-1, 1) if clip_reward else seen.reward
        blocks.append((reward, seen.terminated, seen.done, playing, seen.extras["quantiles"]))
    rewards, terminated, done, playing, quantiles = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    discount = (
        torch.as_tensor(gamma, dtype=torch.float64, device=source.spec.device).reshape(-1, 1).expand(*playing.shape)
    )
    going_on = discount * ~done
    returns = linear_recurrence(going_on, rewards.double(), reverse=True)
    # Discount of what follows the end of an episode: 0 behind a terminal step.
    lacking = linear_recurrence(going_on, discount * (done & ~terminated), reverse=True)
    known = playing & ((lacking < _COMPLETE) | ~playing).all(-1, keepdim=True)
    noise = Stream(source.spec.seed, "calibrate", source.spec.device).uniform(*playing.shape)
    transforms = transform(quantiles.double(), returns, noise.double())
    chosen = [known[:, m] for m in range(source.spec.members)]
    if not all(mask.any() for mask in chosen):
        raise ValueError(
            f"gamma: with a discount of {gamma} the time limit of {source.spec.max_steps} steps cuts every return; "
            "nothing is known to compare with."
        )

    def parts(x: Tensor) -> list[Array]:
        return [x[:, m][mask].double().cpu().numpy() for m, mask in enumerate(chosen)]

    left_out = 1 - known.sum((0, 2)) / playing.sum((0, 2))
    return Calibration(parts(transforms), parts(returns), parts(quantiles), left_out.double().cpu().numpy())


def transform(quantiles: Tensor, returns: Tensor, noise: Tensor) -> Tensor:
    """Probability-integral transforms F(G) [...], of returns [...] by quantiles at midpoints [..., K].

    A distribution with atoms jumps at them: F(G) is then drawn uniformly between both sides of the jump, by uniforms
    [...] (Czado, Gneiting & Held 2009). What lies within 1 % of the range of all returns counts as equal.
    """
    width = 0.01 * (returns.max() - returns.min())
    levels = quantiles.shape[-1]
    below = (quantiles < (returns - width).unsqueeze(-1)).sum(-1)
    above = (quantiles > (returns + width).unsqueeze(-1)).sum(-1)
    low, high = below.to(noise.dtype), (levels - above).to(noise.dtype)
    # Between two quantiles, the probability is known to within half a share on either side.
    between = (below + above == levels).to(noise.dtype) / 2
    low, high = (low - between).clamp(min=0) / levels, (high + between).clamp(max=levels) / levels
    return low + noise * (high - low)


class _Recorder:
    """The greedy policy, which records the quantiles of the return of what it does."""

    noise = 0

    def __init__(self, policy: QNetwork) -> None:
        self.policy = policy

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The action of greatest mean return."""
        distribution: ReturnDistribution = self.policy.returns(obs)
        if isinstance(distribution, ExpectedReturn):
            raise ValueError("policy: it has learnt the mean of a return, which has no distribution to compare.")
        action = distribution.mean.argmax(-1)
        return action, None, {"quantiles": distribution.take(action).quantile(midpoints(_LEVELS, obs.device))}


def _summary(values: Array) -> dict[str, Any]:
    low, high = (None if value != value else value for value in interval(values))
    return {"mean": float(values.mean()), "ci_low": low, "ci_high": high, "members": values.tolist()}
