"""Rescue divers from among enemies. S: places for what swims; `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from imitate_envs.base import Box, Discrete
from imitate_envs.minatar.board import (
    CELLS,
    FIRE,
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

__all__ = ["Seaquest", "SeaquestMinimal", "SeaquestState"]

_MINIMAL = (0, 1, 2, 3, 4, 5)
_OXYGEN, _ABOARD = 200, 6  # steps under water, and divers in the submarine, at most
_SPAWN, _RAMPS = 20, 19  # with k ramps an enemy spawns every 20 − k steps and moves every 1 + max(5 − ⌊k/2⌋, 2)
_DIVER_SPAWN, _DIVER_MOVE, _RELOAD = 30, 5, 5

# Cells are counted on a board with a margin: a row above, one below, and a column on the left, which is also the one on
# the right of the row before. A step over the edge leads into the margin, where what is gone is kept, out of sight.
_WIDTH, _AREA = SIZE + 1, (SIZE + 1) * (SIZE + 2)
# Two places, so that a torpedo that is gone meets no enemy that is; what is next to them is out of sight too.
_GONE, _SPENT = 3, 7
_DEEP = 2 * _WIDTH  # where the second row begins


def _seen(cell: int) -> bool:
    return cell % _WIDTH > 0 and _WIDTH < cell < _AREA - _WIDTH


def _goes(action: int, cell: int) -> int:
    after = cell + HORIZONTAL[action] + _WIDTH * VERTICAL[action]
    return after if 0 <= after < _AREA and _seen(after) and after < _AREA - 2 * _WIDTH else cell


_STAYS = tuple(cell if _seen(cell) else _GONE for cell in range(_AREA))
_FLIES = tuple(cell if _seen(cell) else _SPENT for cell in range(_AREA))
_GOES = tuple(_goes(action, cell) for action in range(6) for cell in range(_AREA))

# As many as can be on the board: an enemy that spawns in every step leaves after 10·(2 + 1), a diver after 10·(5 + 1).
_ENEMIES, _DIVERS, _TORPEDOES = 30, 2, 2
# A gun: 0 of a fish; 1 shoots now, 2 to 11 later; 12 of a diver. What each becomes, and the channel of its owner.
_FISH, _NOW, _LOADED, _DIVER = 0, 1, 11, 12
_GUNS = (_FISH, _LOADED, *range(_NOW, _LOADED), _DIVER)
_CHANNELS = tuple(channel * _AREA for channel in (5, *(6,) * _LOADED, 9))
# The bars of oxygen and of divers aboard: the least that each of their cells stands for, and the cells.
_LEVELS = (*(_OXYGEN // SIZE * (column + 1) for column in range(SIZE)), *range(_ABOARD, 0, -1))
_BARS = tuple(
    channel * _AREA + SIZE * _WIDTH + 1 + column
    for channel, columns in ((7, range(SIZE)), (8, range(9 - _ABOARD, 9)))
    for column in columns
)
# The pixel of each cell on the board with a margin, channel after channel.
_PIXELS = tuple(
    channel * CELLS + SIZE * (cell // _WIDTH - 1) + cell % _WIDTH - 1 if _seen(cell) else 10 * CELLS
    for channel in range(10)
    for cell in range(_AREA)
)


@dataclass(frozen=True)
class SeaquestState:
    """Where the submarine is, and all that moves around it, each kind with the newest first."""

    # [..., 10] (int64): the submarine's cell, direction, oxygen, divers aboard, whether it stays at the surface; ramps
    # so far; steps until an enemy spawns, a diver spawns, the submarine can shoot; last action
    numbers: Tensor
    # [..., 5, S] (int64), of 30 enemies and 2 divers: cell, direction, steps until it moves, gun, cell of its bullet,
    # which flies in its direction, and on when it is gone
    swimmers: Tensor
    torpedoes: Tensor  # [..., 2, 2] (int64): cell, direction


@dataclass(frozen=True)
class Seaquest:
    """Shoot fish and enemy submarines, each worth 1, and bring divers to the surface before the oxygen runs out.

    Surfacing with divers aboard costs one of them and refills the oxygen. With six aboard it costs all and one more and
    is worth up to 10, by the oxygen left. Each surfacing makes enemies come more often, every second one makes them
    faster. A hit by an enemy or its bullet, surfacing with no diver, and a step without oxygen end the episode.

    The observation is [10, 10, 10], 1 where there is something: front and back of the submarine, its torpedoes, where
    enemies and divers came from, bullets, fish, enemy submarines, a bar of oxygen, a bar of divers aboard, divers.

    Source: Young & Tian (2019), MinAtar 1.0.15, step by step; an episode's first action repeats a no-op. That a rescue
    of six leaves −1 aboard, with which one may surface again, is the released game's too.

    A step takes six uniforms: whether the last action is repeated; directions of an enemy and of a diver that spawn,
    their rows, and the enemy's kind.

    Args:
        sticky_action_prob: Probability that the last action is repeated in place of the agent's.
        difficulty_ramping: Whether surfacing makes the game harder.
        use_minimal_action_set: All six actions do something here, so this changes nothing.
        max_steps: Time limit; MinAtar has none.
    """

    sticky_action_prob: float = 0.1
    difficulty_ramping: bool = True
    use_minimal_action_set: bool = False
    max_steps: int = 10_000

    observation: ClassVar[Box] = observation_space(10)
    reward_range: ClassVar[tuple[float, float]] = (0.0, 12.0)
    final_reward_range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    step_noise: ClassVar[int] = 6
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check(self.sticky_action_prob, self.max_steps)

    @property
    def action(self) -> Discrete:
        """All six actions."""
        return action_space(_MINIMAL, self.use_minimal_action_set)

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> SeaquestState:
        """The submarine at the surface, alone."""

        def start(values: tuple[int, ...], *shape: int) -> Tensor:
            size = (*noise.shape[:-1], *shape)
            return constant(values, noise.device).view(shape[0], *(1,) * (len(shape) - 1)).expand(size).clone()

        numbers = (_WIDTH + 6, -1, _OXYGEN, 0, 1, 0, _SPAWN, _DIVER_SPAWN, 0, 0)
        swimmers = start((_GONE, 0, 0, _FISH, _GONE), 5, _ENEMIES + _DIVERS)
        return SeaquestState(start(numbers, len(numbers)), swimmers, start((_SPENT, 0), 2, _TORPEDOES))

    def observe(self, state: SeaquestState) -> UInt8[Tensor, "*batch 10 10 10"]:
        """Everything, and what is left of the oxygen."""
        front, facing, oxygen, aboard = state.numbers[..., :4].split(1, -1)
        cell, side, _, gun, bullet = state.swimmers.unbind(-2)
        device = front.device
        shape = front.shape[:-1]
        amount = torch.cat([oxygen.expand(*shape, SIZE), aboard.expand(*shape, _ABOARD)], -1)
        taken = [
            front,
            front - facing + _AREA,
            state.torpedoes[..., 0, :] + 2 * _AREA,
            cell - side + 3 * _AREA,
            bullet + 4 * _AREA,
            cell + constant(_CHANNELS, device).take(gun),
            torch.where(amount >= constant(_LEVELS, device), constant(_BARS, device), 0),
        ]
        return paint(constant(_PIXELS, device).take(torch.cat(taken, -1)), 10)

    def step(
        self, state: SeaquestState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 6"]
    ) -> tuple[SeaquestState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """Spawns, the submarine, its torpedoes, divers, enemies and their bullets, the surface."""
        here, facing, oxygen, aboard, afloat, ramps, enemy_in, diver_in, reload_in, last = state.numbers.unbind(-1)
        device = action.device
        actions = _MINIMAL if self.use_minimal_action_set else None
        done = choose(action, last, noise[..., 0], actions, self.sticky_action_prob)
        pace = (5 - ramps // 2).clamp(min=2)

        enemy_due, diver_due = enemy_in == 0, diver_in == 0
        waits = _each(pace, torch.full_like(pace, _DIVER_MOVE))
        swimmers = _spawn(state.swimmers, enemy_due, diver_due, waits, noise[..., 1:])
        enemy_in = torch.where(enemy_due, _SPAWN - ramps, enemy_in)
        diver_in = torch.where(diver_due, _DIVER_SPAWN, diver_in)

        fires = (done == FIRE) & (reload_in == 0)
        reload_in = torch.where(fires, _RELOAD, reload_in)
        torpedoes = torch.cat([torch.stack([here, facing], -1).unsqueeze(-1), state.torpedoes[..., :-1]], -1)
        torpedoes = torch.where(fires[..., None, None], torpedoes, state.torpedoes)
        here = constant(_GOES, device).take(done * _AREA + here)
        turn = constant(HORIZONTAL, device).take(done)
        facing = torch.where(turn == 0, facing, turn)

        torpedo, heading = torpedoes.unbind(-2)
        cell, side, wait, gun, bullet = swimmers.unbind(-2)
        torpedo = constant(_FLIES, device).take(torpedo + heading)
        killed, spent = _first_hits(torpedo, cell[..., :_ENEMIES], gun[..., :_ENEMIES])
        torpedo = torch.where(spent, _SPENT, torpedo)
        before = torch.cat([torch.where(killed, _GONE, cell[..., :_ENEMIES]), cell[..., _ENEMIES:]], -1)

        moves = wait == 0
        cell = constant(_STAYS, device).take(before + side * moves)
        wait = torch.where(moves, waits, wait - 1)
        muzzle = torch.where(gun == _NOW, cell, bullet)
        bullet = constant(_STAYS, device).take(muzzle + side)
        gun = constant(_GUNS, device).take(gun)

        at = here.unsqueeze(-1)
        crash, meets = ((before == at) | (cell == at)).split([_ENEMIES, _DIVERS], -1)
        struck = (muzzle == at) | (bullet == at)
        terminated = (crash | struck[..., :_ENEMIES]).any(-1)
        boards = meets & (meets.cumsum(-1) <= (_ABOARD - aboard).unsqueeze(-1))  # the newest first, while there is room
        aboard = aboard + boards.sum(-1)
        rams = cell[..., :_ENEMIES].unsqueeze(-2) == torpedo.unsqueeze(-1)
        rammed = rams.any(-2)
        torpedo = torch.where(rams.any(-1), _SPENT, torpedo)
        cell = torch.where(torch.cat([rammed, boards], -1), _GONE, cell)

        deep = here >= _DEEP
        rises = ~deep & (afloat == 0)
        terminated = terminated | (oxygen <= 0) | (rises & (aboard == 0))
        rises = rises & (aboard != 0)
        full = rises & (aboard == _ABOARD)
        reward = spent.sum(-1) + rammed.sum(-1) + full * (oxygen // (_OXYGEN // 10))
        aboard = torch.where(full, 0, aboard) - rises.long()
        oxygen = torch.where(rises, _OXYGEN, oxygen - deep.long())
        afloat = torch.where(deep, 0, afloat | rises)
        if self.difficulty_ramping:
            ramps = (ramps + rises).clamp(max=_RAMPS)

        timers = (torch.stack([enemy_in, diver_in, reload_in], -1) - 1).clamp(min=0)
        numbers = torch.stack([here, facing, oxygen, aboard, afloat, ramps], -1)
        after = SeaquestState(
            torch.cat([numbers, timers, done.unsqueeze(-1)], -1),
            torch.stack([cell, side, wait, gun, bullet], -2),
            torch.stack([torpedo, heading], -2),
        )
        return after, reward.to(noise.dtype), terminated


@dataclass(frozen=True)
class SeaquestMinimal(Seaquest):
    """Seaquest, whose six actions all do something."""

    use_minimal_action_set: bool = True


def _each(enemies: Shaped[Tensor, "*batch"], divers: Shaped[Tensor, "*batch"]) -> Shaped[Tensor, "*batch s"]:
    """What holds for all enemies and for all divers, for each."""
    shape = enemies.shape
    enemies, divers = enemies.unsqueeze(-1).expand(*shape, _ENEMIES), divers.unsqueeze(-1).expand(*shape, _DIVERS)
    return torch.cat([enemies, divers], -1)


def _spawn(
    swimmers: Int[Tensor, "*batch 5 s"],
    enemy_due: Bool[Tensor, "*batch"],
    diver_due: Bool[Tensor, "*batch"],
    waits: Int[Tensor, "*batch s"],
    noise: Float[Tensor, "*batch 5"],
) -> Int[Tensor, "*batch 5 s"]:
    """Add an enemy, one of three a submarine, unless its row has one that goes the other way; and a diver.

    The new one comes first; the oldest, which is off the board by then, makes room.
    """
    device = noise.device
    side = torch.where(noise[..., :2] < 0.5, 1, -1)
    row = integer(8, noise[..., 2:4]) + 2
    cell = row * _WIDTH + torch.where(side > 0, 1, SIZE)
    wait = torch.stack([waits[..., 0], waits[..., -1]], -1)
    gun = torch.where(3 * noise[..., 4:] < constant((1, 0), device), _LOADED, constant((_FISH, _DIVER), device))
    enemy, diver = torch.stack([cell, side, wait, gun, torch.full_like(cell, _GONE)], -2).split(1, -1)

    enemies, divers = swimmers.split([_ENEMIES, _DIVERS], -1)
    faces = (enemies[..., 0, :] // _WIDTH == row[..., :1]) & (enemies[..., 1, :] == -side[..., :1])
    spawns = _each(enemy_due & ~faces.any(-1), diver_due).unsqueeze(-2)
    return torch.where(spawns, torch.cat([enemy, enemies[..., :-1], diver, divers[..., :-1]], -1), swimmers)


def _first_hits(
    torpedo: Int[Tensor, "*batch n"], cell: Int[Tensor, "*batch e"], gun: Int[Tensor, "*batch e"]
) -> tuple[Bool[Tensor, "*batch e"], Bool[Tensor, "*batch n"]]:
    """Which enemies are hit and which torpedoes hit: the oldest fish in the torpedo's cell, else the oldest submarine.

    Two torpedoes are never in one cell: the submarine cannot catch up with the first.
    """
    count = cell.shape[-1]
    rank = constant(tuple(range(1, count + 1)), cell.device) + count * (gun == _FISH)
    rank = rank.unsqueeze(-2) * (torpedo.unsqueeze(-1) == cell.unsqueeze(-2))
    best = rank.amax(-1, keepdim=True)
    spent = best > 0
    return ((rank == best) & spent).any(-2), spent.squeeze(-1)
