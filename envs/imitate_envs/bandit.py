"""A slot machine with several arms. K: arms; `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Discrete
from imitate_envs.tabular import TabularModel

__all__ = ["Bandit", "Bernoulli", "Gaussian"]


@dataclass(frozen=True)
class Gaussian:
    """An arm pays N(mean, deviation²)."""

    deviation: float = 1.0

    def pay(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """Rewards from means and uniforms of one shape."""
        z: Tensor = torch.special.ndtri(uniform.clamp(2**-25, 1 - 2**-24))
        return torch.add(mean, z, alpha=self.deviation)


@dataclass(frozen=True)
class Bernoulli:
    """An arm pays 1 with a probability, its mean, and else 0."""

    def pay(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """Rewards from means and uniforms of one shape."""
        return (uniform < mean).to(mean.dtype)


@dataclass(frozen=True)
class Bandit:
    """Pull one of K arms; every pull is an episode.

    State 0 is before the pull, state 1 after it.

    Source: Sutton & Barto (2018), §2.3; the default means are about those of figure 2.1.

    Args:
        means: Expected reward of each arm.
        law: What an arm pays around its mean.
    """

    means: tuple[float, ...] = (0.2, -0.85, 1.55, 0.3, 1.2, -1.5, -0.2, -1.0, 0.9, -0.6)
    law: Gaussian | Bernoulli = Gaussian()
    max_steps: int = 2  # a pull terminates, so no clock ever cuts

    observation: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "means", tuple(self.means))
        if not self.means:
            raise ValueError("means: at least one arm.")
        if isinstance(self.law, Bernoulli) and not all(0 <= mean <= 1 for mean in self.means):
            raise ValueError(f"means: those of Bernoulli arms are probabilities, not {self.means}.")

    @classmethod
    def testbed(cls, arms: int = 10, seed: int = 0) -> Bandit:
        """A bandit of the 10-armed testbed: means drawn from N(0, 1), rewards from N(mean, 1)."""
        drawn = torch.randn(arms, generator=torch.Generator().manual_seed(seed))
        return cls(tuple(drawn.tolist()))

    @property
    def action(self) -> Discrete:
        """The arms."""
        return Discrete(len(self.means))

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> Int[Tensor, "*batch"]:
        """Before the pull."""
        return torch.zeros(noise.shape[:-1], dtype=torch.int64, device=noise.device)

    def observe(self, state: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The state itself."""
        return state

    def step(
        self, state: Int[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Pull."""
        mean = torch.zeros_like(noise[..., 0])
        for arm, value in enumerate(self.means):  # numbers of the machine, so nothing has to be put on a device
            mean = torch.where(action == arm, value, mean)
        reward = self.law.pay(mean, noise[..., 0]) * (state == 0)
        return torch.ones_like(state), reward, torch.ones_like(state, dtype=torch.bool)

    def model(self) -> TabularModel:
        """Probabilities and expected rewards."""
        transition = torch.zeros(2, len(self.means), 2, dtype=torch.float64)
        transition[..., 1] = 1
        reward = torch.tensor([self.means, (0.0,) * len(self.means)], dtype=torch.float64)
        return TabularModel(
            transition,
            reward,
            torch.tensor([False, True]),
            torch.tensor([1.0, 0.0], dtype=torch.float64),
        )
