"""A treasure that only one path of many leads to. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from imitate_envs.base import Discrete
from imitate_envs.tabular import TabularModel

__all__ = ["DeepSea"]


@dataclass(frozen=True)
class DeepSea:
    """Dive N rows deep in a square of N columns; each step leads one row down, and left or right.

    Going right costs `move_cost`/N. Who goes right in every row finds the treasure at the bottom right, worth 1:
    0.99 in all. Anything else earns at most 0, and a random diver needs 2ᴺ episodes on average to see the treasure.

    The state is row·N + column, and N² at the bottom, where the episode is over.

    Source: Osband et al. (2019), bsuite's `deep_sea`, deterministic: its N×N picture is the one-hot of the state.

    Args:
        size: N.
        move_cost: Cost of going right in all rows.
        mapping_seed: Draws for each cell which action, 0 or 1, goes right; None: 1 everywhere.
    """

    size: int = 10
    move_cost: float = 0.01
    mapping_seed: int | None = None

    action: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"size: at least 1, not {self.size}.")

    @property
    def max_steps(self) -> int:
        """N + 1: an episode terminates after N."""
        return self.size + 1

    @property
    def observation(self) -> Discrete:
        """The cell, and the bottom."""
        return Discrete(self.size**2 + 1)

    @property
    def reward_range(self) -> tuple[float, float]:
        """Going left, and right."""
        cost = self.move_cost / self.size
        return min(0.0, -cost), max(0.0, -cost)

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """With and without the treasure."""
        cost = self.move_cost / self.size
        return min(0.0, -cost), max(0.0, 1 - cost)

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> Int[Tensor, "*batch"]:
        """The top left."""
        return torch.zeros(noise.shape[:-1], dtype=torch.int64, device=noise.device)

    def observe(self, state: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The state itself."""
        return state

    def step(
        self, state: Int[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 0"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One row down."""
        row, column = state // self.size, state % self.size
        sunk = row == self.size
        right = action == _rightwards(self, state.device)[state]
        found = right & (column == self.size - 1)
        reward = (found.to(noise.dtype) - (self.move_cost / self.size) * right.to(noise.dtype)) * ~sunk
        column = (column + 2 * right.long() - 1).clamp(0, self.size - 1)
        state = torch.where(row + 1 < self.size, (row + 1) * self.size + column, self.size**2)
        return state, reward, row + 1 >= self.size

    def model(self) -> TabularModel:
        """Probabilities and expected rewards."""
        states = self.observation.n
        state = torch.arange(states).unsqueeze(1).expand(states, 2)
        action = torch.arange(2).expand(states, 2)
        after, reward, _ = self.step(state, action, torch.empty(states, 2, 0, dtype=torch.float64))
        cells = torch.arange(states)
        return TabularModel(
            one_hot(after, states).double(), reward, cells == states - 1, one_hot(cells[0], states).double()
        )


@lru_cache(maxsize=64)
def _rightwards(env: DeepSea, device: torch.device) -> Tensor:
    """The action that goes right, [N² + 1]; drawn as bsuite draws it."""
    cells = (env.size, env.size)
    if env.mapping_seed is None:
        drawn = np.ones(cells, np.int64)
    else:
        # bsuite's generator, for its mapping of a seed
        drawn = np.random.RandomState(env.mapping_seed).binomial(1, 0.5, cells)
    return torch.tensor([*drawn.ravel().tolist(), 1], device=device)
