"""Slot machines pulled many times an episode, so that there is something to learn in one.

K: arms; `*batch` is any leading shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.bandit import Bernoulli, Gaussian
from imitate_envs.base import Discrete
from imitate_envs.walks import Decay, Reflect

__all__ = [
    "DriftingBandit",
    "NormalMeans",
    "Points",
    "ReversalBandit",
    "ReversalState",
    "StationaryBandit",
    "UniformMeans",
    "take",
]


@dataclass(frozen=True)
class UniformMeans:
    """Means of an episode drawn uniformly and independently."""

    arms: int = 2
    low: float = 0.0
    high: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """What may be drawn."""
        return self.low, self.high

    def draw(self, uniform: Tensor) -> Tensor:
        """Means from uniforms of one shape."""
        return self.low + (self.high - self.low) * uniform


@dataclass(frozen=True)
class NormalMeans:
    """Means of an episode drawn from N(mean, deviation²) independently."""

    arms: int = 10
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def bounds(self) -> tuple[float, float]:
        """What may be drawn."""
        return -math.inf, math.inf

    def draw(self, uniform: Tensor) -> Tensor:
        """Means from uniforms of one shape."""
        return Gaussian(self.deviation).pay(torch.full_like(uniform, self.mean), uniform)


@dataclass(frozen=True)
class Points:
    """An arm pays N(mean, deviation²) rounded to a whole number of points, from `low` to `high`.

    Source: Daw et al. (2006), supplementary methods.
    """

    deviation: float = 4.0
    low: float = 1.0
    high: float = 100.0

    def pay(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """Rewards from means and uniforms of one shape."""
        return Gaussian(self.deviation).pay(mean, uniform).round().clamp(self.low, self.high)


@dataclass(frozen=True)
class StationaryBandit:
    """Pull one of K arms whose means stay what they are for an episode.

    The episode is truncated after `max_steps` pulls and never terminates, for nothing tells the player what time it is.
    The observation is always 0; with `Feedback` it shows the last pull.

    Source: with drawn means, the tasks of Wang et al. (2016), §3.1.

    Args:
        means: Expected reward of each arm, or what they are drawn from anew for each episode.
        law: What an arm pays around its mean.
        max_steps: Pulls of an episode.
    """

    means: tuple[float, ...] | UniformMeans | NormalMeans = UniformMeans()
    law: Gaussian | Bernoulli | Points = Bernoulli()  # noqa: RUF009 - it is frozen
    max_steps: int = 100

    observation: ClassVar[Discrete] = Discrete(1)
    step_noise: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if not isinstance(self.means, (UniformMeans, NormalMeans)):
            object.__setattr__(self, "means", tuple(self.means))
        _check_arms(self.action.n, self.max_steps)
        _check_chances(self.means if isinstance(self.means, tuple) else self.means.bounds, self.law)

    @property
    def action(self) -> Discrete:
        """The arms."""
        return Discrete(len(self.means) if isinstance(self.means, tuple) else self.means.arms)

    @property
    def reset_noise(self) -> int:
        """One a mean that is drawn."""
        return 0 if isinstance(self.means, tuple) else self.means.arms

    def reset(self, noise: Float[Tensor, "*batch reset_noise"]) -> Float[Tensor, "*batch K"]:
        """The means."""
        return _constant(self.means, noise) if isinstance(self.means, tuple) else self.means.draw(noise)

    def observe(self, state: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Nothing: 0."""
        return _nothing(state)

    def step(
        self, state: Float[Tensor, "*batch K"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[Float[Tensor, "*batch K"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Pull."""
        reward = self.law.pay(take(state, action), noise[..., 0])
        return state, reward, torch.zeros_like(reward, dtype=torch.bool)


@dataclass(frozen=True)
class DriftingBandit:
    """Pull one of K arms whose means walk at random, each by itself, after every pull.

    By default the four machines of Daw et al. (2006), that pay about 50 points. `walk=Reflect(), law=Bernoulli()` makes
    one of drifting probabilities. As with `StationaryBandit`, episodes are truncated and the observation is always 0.

    Source: Daw et al. (2006), supplementary methods; the start of the walks is ours.

    Args:
        arms: K.
        walk: How a mean moves.
        law: What an arm pays around its mean.
        max_steps: Pulls of an episode.
    """

    arms: int = 4
    walk: Decay | Reflect = Decay()  # noqa: RUF009 - it is frozen
    law: Gaussian | Bernoulli | Points = Points()
    max_steps: int = 150

    observation: ClassVar[Discrete] = Discrete(1)

    def __post_init__(self) -> None:
        _check_arms(self.arms, self.max_steps)
        walls = (self.walk.low, self.walk.high) if isinstance(self.walk, Reflect) else (self.walk.center,)
        _check_chances(walls, self.law)

    @property
    def action(self) -> Discrete:
        """The arms."""
        return Discrete(self.arms)

    @property
    def step_noise(self) -> int:
        """One for the reward and one a walk."""
        return 1 + self.arms

    @property
    def reset_noise(self) -> int:
        """One a walk."""
        return self.arms

    def reset(self, noise: Float[Tensor, "*batch K"]) -> Float[Tensor, "*batch K"]:
        """The means."""
        return self.walk.start(noise)

    def observe(self, state: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch"]:
        """Nothing: 0."""
        return _nothing(state)

    def step(
        self, state: Float[Tensor, "*batch K"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1+K"]
    ) -> tuple[Float[Tensor, "*batch K"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Pull, then every mean moves."""
        reward = self.law.pay(take(state, action), noise[..., 0])
        return self.walk.step(state, noise[..., 1:]), reward, torch.zeros_like(reward, dtype=torch.bool)


@dataclass(frozen=True)
class ReversalState:
    """Which arm is how good now, and for how many pulls in a row the best one has been chosen."""

    means: Float[Tensor, "*batch K"]
    run: Int[Tensor, "*batch"]


@dataclass(frozen=True)
class ReversalBandit:
    """Pull one of K arms that now and then swap their means: the best one is another one then.

    After a pull, the means move on by one arm with probability `hazard`; with a criterion, only once the best arm was
    pulled `criterion` times in a row. Which arm is the best at the start is drawn. As with `StationaryBandit`, episodes
    are truncated and the observation is always 0.

    Args:
        means: Expected rewards; for two arms moving on swaps them.
        hazard: Probability of a reversal after a pull.
        criterion: Pulls of the best arm in a row before which nothing reverses.
        law: What an arm pays around its mean.
        max_steps: Pulls of an episode.
    """

    means: tuple[float, ...] = (0.8, 0.2)
    hazard: float = 0.05
    criterion: int = 0
    law: Gaussian | Bernoulli | Points = Bernoulli()  # noqa: RUF009 - it is frozen
    max_steps: int = 200

    observation: ClassVar[Discrete] = Discrete(1)
    step_noise: ClassVar[int] = 2
    reset_noise: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "means", tuple(self.means))
        _check_arms(len(self.means), self.max_steps)
        _check_chances(self.means, self.law)
        if not 0 <= self.hazard <= 1:
            raise ValueError(f"hazard: a probability, not {self.hazard}.")
        if self.criterion < 0:
            raise ValueError(f"criterion: at least 0, not {self.criterion}.")

    @property
    def action(self) -> Discrete:
        """The arms."""
        return Discrete(len(self.means))

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> ReversalState:
        """The means, moved on by a random number of arms."""
        arms = len(self.means)
        moved = (noise * arms).long().clamp(max=arms - 1)
        arm = (torch.arange(arms, device=noise.device) - moved) % arms
        return ReversalState(_constant(self.means, noise).gather(-1, arm), torch.zeros_like(moved[..., 0]))

    def observe(self, state: ReversalState) -> Int[Tensor, "*batch"]:
        """Nothing: 0."""
        return _nothing(state.means)

    def step(
        self, state: ReversalState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 2"]
    ) -> tuple[ReversalState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Pull, then perhaps a reversal."""
        mean = take(state.means, action)
        reward = self.law.pay(mean, noise[..., 0])
        run = (state.run + 1) * (mean == state.means.amax(-1))
        reverses = (run >= self.criterion) & (noise[..., 1] < self.hazard)
        means = torch.where(reverses.unsqueeze(-1), state.means.roll(1, -1), state.means)
        return ReversalState(means, run * ~reverses), reward, torch.zeros_like(reverses)


def take(means: Float[Tensor, "*batch K"], action: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
    """The mean of the arm that was pulled."""
    return means.gather(-1, action.long().unsqueeze(-1)).squeeze(-1)


def _constant(means: tuple[float, ...], noise: Tensor) -> Tensor:
    """The same means for every lane of `noise` [..., any], [..., K]; nothing has to be put on a device."""
    return torch.stack([torch.full(noise.shape[:-1], m, dtype=noise.dtype, device=noise.device) for m in means], -1)


def _nothing(means: Tensor) -> Tensor:
    return torch.zeros(means.shape[:-1], dtype=torch.int64, device=means.device)


def _check_arms(arms: int, steps: int) -> None:
    if arms < 1:
        raise ValueError("arms, means: at least one arm.")
    if steps < 1:
        raise ValueError(f"max_steps: at least 1 pull, not {steps}.")


def _check_chances(means: tuple[float, ...], law: Gaussian | Bernoulli | Points) -> None:
    if isinstance(law, Bernoulli) and not all(0 <= mean <= 1 for mean in means):
        raise ValueError(f"means, walk: means of Bernoulli arms are probabilities, not {means}.")
