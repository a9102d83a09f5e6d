"""Cross a road of eight lanes. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imitate_envs.base import Box, Discrete
from imitate_envs.minatar.board import (
    CELLS,
    SIZE,
    VERTICAL,
    action_space,
    check,
    choose,
    constant,
    integer,
    observation_space,
    paint,
)

__all__ = ["Freeway", "FreewayMinimal"]

_MINIMAL = (0, 2, 4)
_LANES = tuple(range(1, 9))  # their rows
_CARS = len(_LANES)
_COLUMN = 4  # the chicken's
_REST = 3  # steps from one move of the chicken to the next
_STEPS = 2500


@dataclass(frozen=True)
class Freeway:
    """Lead a chicken to the top of the board across eight lanes of cars; each crossing is worth 1.

    The chicken moves at most every third step. A car that it meets puts it back at the bottom. A car of speed ±1, …, ±5
    moves one cell, to the left if negative, every 1 + |speed| steps, and comes back on the other side of the board.
    Each crossing draws new speeds. The episode terminates in step 2501.

    The observation is [7, 10, 10], 1 where there is something: the chicken, cars, and where the cars came from, one
    channel for each |speed|. The state is (row of the chicken, steps until it can move, steps left, last action,
    columns of the cars, steps until they move, speeds), 28 integers.

    Source: Young & Tian (2019), MinAtar 1.0.15, step by step; an episode's first action repeats a no-op. This game has
    no difficulty ramping.

    A step takes 17 uniforms: whether the last action is repeated, then what a crossing draws, which is what a reset
    takes: eight |speed|s, eight directions.

    Args:
        sticky_action_prob: Probability that the last action is repeated in place of the agent's.
        use_minimal_action_set: Whether the actions are no-op, up and down, not all six.
        max_steps: Time limit; by default one that is never reached.
    """

    sticky_action_prob: float = 0.1
    use_minimal_action_set: bool = False
    max_steps: int = _STEPS + 2

    observation: ClassVar[Box] = observation_space(7)
    reward_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    final_reward_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    step_noise: ClassVar[int] = 1 + 2 * _CARS
    reset_noise: ClassVar[int] = 2 * _CARS

    def __post_init__(self) -> None:
        check(self.sticky_action_prob, self.max_steps)

    @property
    def action(self) -> Discrete:
        """All six actions or the three that do something."""
        return action_space(_MINIMAL, self.use_minimal_action_set)

    def reset(self, noise: Float[Tensor, "*batch 16"]) -> Int[Tensor, "*batch 28"]:
        """The chicken at the bottom, all cars on the left."""
        speed = _speeds(noise)
        first = constant((SIZE - 1, _REST, _STEPS, 0), noise.device).expand(*noise.shape[:-1], 4)
        return torch.cat([first, torch.zeros_like(speed), speed.abs(), speed], -1)

    def observe(self, state: Int[Tensor, "*batch 28"]) -> UInt8[Tensor, "*batch 7 10 10"]:
        """Chicken, cars, and their trails by speed."""
        column, _, speed = state[..., 4:].unflatten(-1, (3, _CARS)).unbind(-2)
        lane = SIZE * constant(_LANES, state.device)
        behind = (column - speed.sign()) % SIZE
        trail = (speed.abs() + 1) * CELLS + lane + behind
        return paint(torch.cat([state[..., :1] * SIZE + _COLUMN, CELLS + lane + column, trail], -1), 7)

    def step(
        self, state: Int[Tensor, "*batch 28"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 17"]
    ) -> tuple[Int[Tensor, "*batch 28"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """The chicken moves, then the cars."""
        row, rest, left, last = state[..., :4].unbind(-1)
        column, wait, speed = state[..., 4:].unflatten(-1, (3, _CARS)).unbind(-2)
        device = action.device
        actions = _MINIMAL if self.use_minimal_action_set else None
        done = choose(action, last, noise[..., 0], actions, self.sticky_action_prob)
        move = constant(VERTICAL, device).take(done) * (rest == 0)
        row = (row + move).clamp(0, SIZE - 1)
        rest = torch.where(move == 0, rest, _REST)

        crossed = row == 0
        fresh = crossed.unsqueeze(-1)
        speed = torch.where(fresh, _speeds(noise[..., 1:]), speed)
        pace = speed.abs()
        wait = torch.where(fresh, pace, wait)
        row = torch.where(crossed, SIZE - 1, row)

        drives = wait == 0
        moved = torch.where(drives, (column + speed.sign()) % SIZE, column)
        wait = torch.where(drives, pace, wait - 1)
        # A lane has one car, so no car depends on what another did to the chicken before.
        meets = (column == _COLUMN) | (moved == _COLUMN)
        run_over = (meets & (constant(_LANES, device) == row.unsqueeze(-1))).any(-1)
        row = torch.where(run_over, SIZE - 1, row)
        left = left - 1
        numbers = torch.stack([row, (rest - 1).clamp(min=0), left, done], -1)
        return torch.cat([numbers, moved, wait, speed], -1), crossed.to(noise.dtype), left < 0


@dataclass(frozen=True)
class FreewayMinimal(Freeway):
    """Freeway with the three actions that do something in it."""

    use_minimal_action_set: bool = True


def _speeds(noise: Float[Tensor, "*batch 16"]) -> Int[Tensor, "*batch 8"]:
    """Speeds uniform in ±1, …, ±5."""
    # At exactly 1/2 the released game draws a speed of 0, which it cannot paint; here the car goes right.
    pace, side = noise.split(_CARS, -1)
    return (1 + integer(5, pace)) * torch.where(side < 0.5, -1, 1)
