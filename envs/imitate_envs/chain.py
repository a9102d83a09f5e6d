"""A chain on which the near reward hides the far one. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from imitate_envs.base import Discrete
from imitate_envs.tabular import TabularModel

__all__ = ["Chain"]


@dataclass(frozen=True)
class Chain:
    """Walk forwards (0) along n states, for nothing but at the last one, or go back (1) to the first, for a little.

    Every forward step in the last state earns `large`, every step back `small`; with probability `slip` an action does
    what the other should. There is no end but the time limit. The best policy always walks forwards.

    Source: the chain of Dearden, Friedman & Russell (1998) and Strens (2000), with the numbers of NChain-v0 in OpenAI
    Gym.
    """

    n: int = 5
    slip: float = 0.2
    small: float = 2.0
    large: float = 10.0
    max_steps: int = 1000

    action: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.n < 2 or not 0 <= self.slip <= 1:
            raise ValueError(f"n, slip: at least 2 states and a probability, not {self.n} and {self.slip}.")

    @property
    def observation(self) -> Discrete:
        """The place on the chain."""
        return Discrete(self.n)

    @property
    def reward_range(self) -> tuple[float, float]:
        """Of nothing, `small` and `large`."""
        return min(0.0, self.small, self.large), max(0.0, self.small, self.large)

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """The same: no step terminates."""
        return self.reward_range

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> Int[Tensor, "*batch"]:
        """The first state."""
        return torch.zeros(noise.shape[:-1], dtype=torch.int64, device=noise.device)

    def observe(self, state: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The state itself."""
        return state

    def step(
        self, state: Int[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One step, forwards or back."""
        forwards = (action == 0) ^ (noise[..., 0] < self.slip)
        earned = torch.where(state == self.n - 1, self.large, 0.0)
        reward = torch.where(forwards, earned, self.small).to(noise.dtype)
        state = torch.where(forwards, (state + 1).clamp(max=self.n - 1), 0)
        return state, reward, torch.zeros_like(forwards)

    def model(self) -> TabularModel:
        """Probabilities and expected rewards."""
        state = torch.arange(self.n)
        forwards = one_hot((state + 1).clamp(max=self.n - 1), self.n).double()
        back = one_hot(torch.zeros_like(state), self.n).double()
        earned = torch.where(state == self.n - 1, self.large, 0.0).double()
        returned = torch.full((self.n,), self.small, dtype=torch.float64)

        def mixed(first: Tensor, second: Tensor) -> Tensor:
            keep, swap = 1 - self.slip, self.slip
            return torch.stack([keep * first + swap * second, keep * second + swap * first], 1)

        none = torch.zeros(self.n, dtype=torch.bool)
        return TabularModel(mixed(forwards, back), mixed(earned, returned), none, one_hot(state[0], self.n).double())
