"""Catch a falling ball, seen as a picture. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Box, Discrete

__all__ = ["Catch"]


@dataclass(frozen=True)
class Catch:
    """A ball falls one row a step from a random column; the paddle at the bottom moves left (0), stays (1), or right.

    Caught earns 1, missed −1, and either ends the episode. The observation is the board, 1 at the ball and the paddle,
    0 elsewhere; the state is (column of the ball, its row, column of the paddle) as floats.

    Source: Mnih et al. (2014); sizes and rewards are those of Osband et al. (2019), bsuite's `catch`.
    """

    rows: int = 10
    columns: int = 5

    action: ClassVar[Discrete] = Discrete(3)
    reward_range: ClassVar[tuple[float, float]] = (0.0, 0.0)
    final_reward_range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 1

    def __post_init__(self) -> None:
        if self.rows < 2 or self.columns < 1:
            raise ValueError(f"rows, columns: at least 2 and 1, not {self.rows} and {self.columns}.")

    @property
    def max_steps(self) -> int:
        """One a row: an episode terminates one step before."""
        return self.rows

    @property
    def observation(self) -> Box:
        """The board."""
        return Box((self.rows, self.columns), 0.0, 1.0)

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 3"]:
        """The ball at the top of a random column, the paddle in the middle."""
        column = (noise * self.columns).floor().clamp(max=self.columns - 1)
        return torch.cat([column, torch.zeros_like(column), torch.full_like(column, self.columns // 2)], -1)

    def observe(self, state: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch rows columns"]:
        """The board as a picture."""
        ball_column, ball_row, paddle = state.unsqueeze(-1).unbind(-2)
        row = torch.arange(self.rows, device=state.device).unsqueeze(-1)
        column = torch.arange(self.columns, device=state.device)
        ball = (row == ball_row.unsqueeze(-1)) & (column == ball_column.unsqueeze(-1))
        bottom = (row == self.rows - 1) & (column == paddle.unsqueeze(-1))
        return (ball | bottom).to(state.dtype)

    def step(
        self, state: Float[Tensor, "*batch 3"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 0"]
    ) -> tuple[Float[Tensor, "*batch 3"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """The paddle moves, the ball falls."""
        ball, row, paddle = state.unbind(-1)
        paddle = (paddle + (action - 1)).clamp(0, self.columns - 1)
        row = row + 1
        landed = row >= self.rows - 1
        reward = torch.where(paddle == ball, 1.0, -1.0).to(state.dtype) * landed
        return torch.stack([ball, row, paddle], -1), reward, landed
