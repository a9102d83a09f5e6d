"""Collect treasure, avoid enemies. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imitate_envs.base import Box, Discrete
from imitate_envs.minatar.board import (
    CELLS,
    HORIZONTAL,
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

__all__ = ["Asterix", "AsterixMinimal"]

_MINIMAL = (0, 1, 2, 3, 4)
_LANES = tuple(range(1, 9))  # their rows
_SLOTS = len(_LANES)
_RAMP, _RAMPS = 102, 9  # steps from one ramp to the next, and how many there are
_SPAWN, _MOVE = 10, 5  # steps between spawns and between moves at first; with k ramps 10 − k and 5 − ⌊k/2⌋


@dataclass(frozen=True)
class Asterix:
    """Walk among enemies, which end the episode, and treasure, worth 1, that come from both sides.

    Each of the eight lanes holds one of them at a time. A third are treasure. As time goes on they come more often and
    move faster.

    The observation is [4, 10, 10], 1 where there is something: player, enemies, where enemies and treasure came from,
    treasure. The state is (column and row of the player, steps until something spawns and until all move, steps so far,
    last action; then of what is in each lane the column, direction, 0 for nothing, and whether it is treasure), 30
    integers.

    Source: Young & Tian (2019), MinAtar 1.0.15, step by step; an episode's first action repeats a no-op.

    A step takes four uniforms: whether the last action is repeated; direction, kind and lane of what spawns.

    Args:
        sticky_action_prob: Probability that the last action is repeated in place of the agent's.
        difficulty_ramping: Whether the game becomes harder.
        use_minimal_action_set: Whether the actions are all but fire.
        max_steps: Time limit; MinAtar has none.
    """

    sticky_action_prob: float = 0.1
    difficulty_ramping: bool = True
    use_minimal_action_set: bool = False
    max_steps: int = 10_000

    observation: ClassVar[Box] = observation_space(4)
    reward_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    final_reward_range: ClassVar[tuple[float, float]] = (0.0, 0.0)
    step_noise: ClassVar[int] = 4
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check(self.sticky_action_prob, self.max_steps)

    @property
    def action(self) -> Discrete:
        """All six actions or the five that do something."""
        return action_space(_MINIMAL, self.use_minimal_action_set)

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> Int[Tensor, "*batch 30"]:
        """The player near the middle, alone."""
        first = (5, 5, _SPAWN, _MOVE, 0, 0, *(0,) * (3 * _SLOTS))
        return constant(first, noise.device).expand(*noise.shape[:-1], len(first)).clone()

    def observe(self, state: Int[Tensor, "*batch 30"]) -> UInt8[Tensor, "*batch 4 10 10"]:
        """Player, enemies, trails and treasure."""
        column, side, gold = state[..., 6:].unflatten(-1, (3, _SLOTS)).unbind(-2)
        behind = column - side
        lane = SIZE * constant(_LANES, state.device)
        hidden = 4 * CELLS
        thing = torch.where(side == 0, hidden, lane + column + (2 * gold + 1) * CELLS)
        visible = (side != 0) & (behind >= 0) & (behind < SIZE)
        trail = torch.where(visible, lane + behind + 2 * CELLS, hidden)
        return paint(torch.cat([state[..., 1:2] * SIZE + state[..., :1], thing, trail], -1), 4)

    def step(
        self, state: Int[Tensor, "*batch 30"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 4"]
    ) -> tuple[Int[Tensor, "*batch 30"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Something spawns, the player moves, then everything else."""
        x, y, spawn_in, move_in, clock, last = state[..., :6].unbind(-1)
        column, side, gold = state[..., 6:].unflatten(-1, (3, _SLOTS)).unbind(-2)
        device = action.device
        actions = _MINIMAL if self.use_minimal_action_set else None
        done = choose(action, last, noise[..., 0], actions, self.sticky_action_prob)

        ramps = (clock // _RAMP).clamp(max=_RAMPS) if self.difficulty_ramping else torch.zeros_like(clock)

        spawns = spawn_in == 0
        spawn_in = torch.where(spawns, _SPAWN - ramps, spawn_in)
        free = (side == 0) & spawns.unsqueeze(-1)
        rank = free.cumsum(-1)
        new = free & (rank == integer(rank[..., -1].clamp(min=1), noise[..., 3]).unsqueeze(-1) + 1)
        rightwards = noise[..., 1:2] < 0.5
        column = torch.where(new, torch.where(rightwards, 0, SIZE - 1), column)
        side = torch.where(new, torch.where(rightwards, 1, -1), side)
        gold = torch.where(new, (noise[..., 2:3] < 1 / 3).long(), gold)

        x = (x + constant(HORIZONTAL, device).take(done)).clamp(0, SIZE - 1)
        y = (y + constant(VERTICAL, device).take(done)).clamp(_LANES[0], _LANES[-1])

        moves = move_in == 0
        move_in = torch.where(moves, _MOVE - ramps // 2, move_in)
        before, column = column, column + side * moves.unsqueeze(-1)
        met = (before == x.unsqueeze(-1)) | (column == x.unsqueeze(-1))
        met = met & (constant(_LANES, device) == y.unsqueeze(-1)) & (side != 0)
        found = met & (gold == 1)
        gone = found | (column < 0) | (column >= SIZE)
        side = torch.where(gone, 0, side)
        numbers = [x, y, spawn_in - 1, move_in - 1, clock + 1, done]
        after = torch.cat([torch.stack(numbers, -1), column, side, gold], -1)
        return after, found.any(-1).to(noise.dtype), (met & (gold == 0)).any(-1)


@dataclass(frozen=True)
class AsterixMinimal(Asterix):
    """Asterix with the five actions that do something in it."""

    use_minimal_action_set: bool = True
