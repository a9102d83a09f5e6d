"""Break a wall with a ball. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn.functional import pad

from imitate_envs.base import Box, Discrete
from imitate_envs.minatar.board import (
    CELLS,
    HORIZONTAL,
    SIZE,
    action_space,
    check,
    choose,
    constant,
    integer,
    observation_space,
    paint,
    picture,
)

__all__ = ["Breakout", "BreakoutMinimal", "BreakoutState"]

_MINIMAL = (0, 1, 3)
_FIRST, _BRICKS = 1 * SIZE, 3 * SIZE  # cell of the first brick, and how many a fresh wall has


@dataclass(frozen=True)
class BreakoutState:
    """Where the paddle, the ball and the bricks are."""

    # [..., 9] (int64): column of the paddle; column and row of the ball, its velocity in both, its column and row one
    # step before, whether it met a brick in the last step; last action
    numbers: Tensor
    bricks: Tensor  # [..., 30] (bool), rows 1 to 3


@dataclass(frozen=True)
class Breakout:
    """Bounce a ball off a paddle so that it breaks the bricks of a wall, each worth 1.

    The ball moves one cell a step along a diagonal. Walls, the paddle and bricks turn it around, the paddle's own cell
    straight up and the one beside it back to where it came from. In the step after one brick it breaks no other.
    Three rows of bricks stand anew when all are broken and the ball is down. A missed ball ends the episode.

    The observation is [4, 10, 10], 1 where there is something: paddle, ball, where the ball was, bricks.

    Source: Young & Tian (2019), MinAtar 1.0.15, step by step; an episode's first action repeats a no-op. This game has
    no difficulty ramping.

    A step takes one uniform: whether the last action is repeated. A reset takes one: the side on which the ball starts.

    Args:
        sticky_action_prob: Probability that the last action is repeated in place of the agent's.
        use_minimal_action_set: Whether the actions are no-op, left and right, not all six.
        max_steps: Time limit; MinAtar has none.
    """

    sticky_action_prob: float = 0.1
    use_minimal_action_set: bool = False
    max_steps: int = 10_000

    observation: ClassVar[Box] = observation_space(4)
    reward_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    final_reward_range: ClassVar[tuple[float, float]] = (0.0, 0.0)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 1

    def __post_init__(self) -> None:
        check(self.sticky_action_prob, self.max_steps)

    @property
    def action(self) -> Discrete:
        """All six actions or the three that do something."""
        return action_space(_MINIMAL, self.use_minimal_action_set)

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> BreakoutState:
        """The ball below the wall on the left or the right, on its way down."""
        right = integer(2, noise.squeeze(-1))
        x, one = (SIZE - 1) * right, torch.ones_like(right)
        numbers = [4 * one, x, 3 * one, 1 - 2 * right, one, x, 3 * one, 0 * one, 0 * one]
        bricks = torch.ones(*right.shape, _BRICKS, dtype=torch.bool, device=noise.device)
        return BreakoutState(torch.stack(numbers, -1), bricks)

    def observe(self, state: BreakoutState) -> UInt8[Tensor, "*batch 4 10 10"]:
        """Paddle, ball, trail and bricks."""
        paddle, x, y, _, _, last_x, last_y, _, _ = state.numbers.unbind(-1)
        pixels = [paddle + (CELLS - SIZE), y * SIZE + x + CELLS, last_y * SIZE + last_x + 2 * CELLS]
        wall = pad(state.bricks, (_FIRST, CELLS - _FIRST - _BRICKS)).unsqueeze(-2)
        return torch.cat([paint(torch.stack(pixels, -1), 3), picture(wall)], -3)

    def step(
        self, state: BreakoutState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[BreakoutState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """The paddle moves, then the ball."""
        paddle, x, y, dx, dy, _, _, struck, last = state.numbers.unbind(-1)
        actions = _MINIMAL if self.use_minimal_action_set else None
        done = choose(action, last, noise[..., 0], actions, self.sticky_action_prob)
        paddle = (paddle + constant(HORIZONTAL, action.device).take(done)).clamp(0, SIZE - 1)

        ahead, below = x + dx, y + dy
        column, row = ahead.clamp(0, SIZE - 1), below.clamp(0, SIZE - 1)
        dx = torch.where(column == ahead, dx, -dx)
        place = row * SIZE + column - _FIRST
        brick = place.clamp(0, _BRICKS - 1)
        there = state.bricks.gather(-1, brick.unsqueeze(-1)).squeeze(-1)
        hit = there & (brick == place)
        broken = hit & (struck == 0)
        bricks = state.bricks.scatter(-1, brick.unsqueeze(-1), (there & ~broken).unsqueeze(-1))

        bottom = below == SIZE - 1
        bricks = bricks | (bottom & (bricks.sum(-1) == 0)).unsqueeze(-1)
        straight = x == paddle
        saved = bottom & (straight | (column == paddle))
        turned = broken | saved
        row = torch.where(turned, y, row)
        dy = torch.where(turned | (below < 0), -dy, dy)
        dx = torch.where(saved & ~straight, -dx, dx)
        numbers = torch.stack([paddle, column, row, dx, dy, x, y, hit.long(), done], -1)
        return BreakoutState(numbers, bricks), broken.to(noise.dtype), bottom & ~saved


@dataclass(frozen=True)
class BreakoutMinimal(Breakout):
    """Breakout with the three actions that do something in it."""

    use_minimal_action_set: bool = True
