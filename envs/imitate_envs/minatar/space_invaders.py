"""Shoot aliens before they land. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from imitate_envs.base import Box, Discrete
from imitate_envs.minatar.board import (
    CELLS,
    FIRE,
    HORIZONTAL,
    SIZE,
    action_space,
    check,
    choose,
    constant,
    observation_space,
    paint,
    picture,
)

__all__ = ["SpaceInvaders", "SpaceInvadersMinimal", "SpaceInvadersState"]

_MINIMAL = (0, 1, 3, 5)
_RELOAD, _MOVE, _SHOOT = 5, 12, 10  # steps between the player's shots, the aliens' moves at first, and their shots
_FASTEST = 6  # steps between moves of a fresh wave, at the end of the ramp
_BOTTOM = CELLS - SIZE


@dataclass(frozen=True)
class SpaceInvadersState:
    """Where the player, the aliens and all shots are."""

    # [..., 7] (int64): the player's column, steps until it can shoot, last action; the aliens' direction, most steps
    # between their moves, steps until the next, steps until their next shot
    numbers: Tensor
    maps: Tensor  # [..., 3, 100] (bool): aliens, the player's shots, the aliens' shots


@dataclass(frozen=True)
class SpaceInvaders:
    """Shoot aliens, each worth 1, that come down and shoot back.

    The aliens move to the side and, at the edge, one row down and back, the faster the fewer they are below 12. Each
    wave begins faster than the last. Of the aliens in the column nearest to the player the lowest shoots. A hit of the
    player, by a shot or an alien, and aliens that turn in the last row end the episode.

    The observation is [6, 10, 10], 1 where there is something: the player, aliens, aliens on their way to the left,
    to the right, the player's shots, the aliens' shots.

    Source: Young & Tian (2019), MinAtar 1.0.15, step by step; an episode's first action repeats a no-op.

    A step takes one uniform: whether the last action is repeated.

    Args:
        sticky_action_prob: Probability that the last action is repeated in place of the agent's.
        difficulty_ramping: Whether each wave begins faster than the last.
        use_minimal_action_set: Whether the actions are no-op, left, right and fire, not all six.
        max_steps: Time limit; MinAtar has none.
    """

    sticky_action_prob: float = 0.1
    difficulty_ramping: bool = True
    use_minimal_action_set: bool = False
    max_steps: int = 10_000

    observation: ClassVar[Box] = observation_space(6)
    reward_range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    final_reward_range: ClassVar[tuple[float, float]] = (0.0, 2.0)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        check(self.sticky_action_prob, self.max_steps)

    @property
    def action(self) -> Discrete:
        """All six actions or the four that do something."""
        return action_space(_MINIMAL, self.use_minimal_action_set)

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> SpaceInvadersState:
        """A fresh wave on its way to the left."""
        first = constant((5, 0, 0, -1, _MOVE, _MOVE, _SHOOT), noise.device)
        aliens = _wave(noise.device)
        maps = torch.stack([aliens, torch.zeros_like(aliens), torch.zeros_like(aliens)])
        shape = noise.shape[:-1]
        return SpaceInvadersState(first.expand(*shape, 7).clone(), maps.expand(*shape, 3, CELLS).clone())

    def observe(self, state: SpaceInvadersState) -> UInt8[Tensor, "*batch 6 10 10"]:
        """Player, aliens, aliens by direction, shots."""
        player = paint(state.numbers[..., :1] + _BOTTOM, 1)
        aliens, shots = state.maps.split([1, 2], -2)
        left = aliens & (state.numbers[..., 3] < 0)[..., None, None]
        return torch.cat([player, picture(torch.cat([aliens, left, aliens ^ left, shots], -2))], -3)

    def step(
        self, state: SpaceInvadersState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[SpaceInvadersState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """The player, shots, aliens; then whom the shots hit."""
        x, reload_in, last, direction, move_every, move_in, shoot_in = state.numbers.unbind(-1)
        aliens, shots, bombs = state.maps.unbind(-2)
        device = action.device
        actions = _MINIMAL if self.use_minimal_action_set else None
        done = choose(action, last, noise[..., 0], actions, self.sticky_action_prob)

        fires = (done == FIRE) & (reload_in == 0)
        reload_in = torch.where(fires, _RELOAD, reload_in)
        x = (x + constant(HORIZONTAL, device).take(done)).clamp(0, SIZE - 1)
        blank = torch.zeros_like(shots[..., :SIZE])
        # A shot flies as soon as it is fired.
        shots = _add(torch.cat([shots[..., SIZE:], blank], -1), x + (_BOTTOM - SIZE), fires, empty=_BOTTOM)
        bombs = torch.cat([blank, bombs[..., :-SIZE]], -1)

        moves = move_in == 0
        turns = moves & torch.where(direction < 0, aliens[..., ::SIZE].any(-1), aliens[..., SIZE - 1 :: SIZE].any(-1))
        landed = turns & aliens[..., _BOTTOM:].any(-1)
        count = aliens.sum(-1)
        move_in = torch.where(moves, count.minimum(move_every), move_in)
        heading = torch.where(turns, 3, direction * moves + 1)
        direction = torch.where(turns, -direction, direction)
        before, aliens = aliens, aliens.gather(-1, _sources(device).index_select(0, heading.flatten()).view_as(aliens))
        touched = (before | aliens | bombs).gather(-1, (x + _BOTTOM).unsqueeze(-1)).squeeze(-1)

        shoots = shoot_in == 0
        shoot_in = torch.where(shoots, _SHOOT, shoot_in)
        shooter = (_ranks(device).index_select(0, x.flatten()).view_as(aliens) * aliens).argmax(-1)
        bombs = _add(bombs, shooter, shoots, empty=0)

        hits = aliens & shots
        aliens, shots = aliens ^ hits, shots ^ hits
        reward = hits.sum(-1)
        cleared = reward == count
        if self.difficulty_ramping:
            move_every = torch.where(cleared, (move_every - 1).clamp(min=_FASTEST), move_every)
        aliens = aliens | (_wave(device) & cleared.unsqueeze(-1))
        numbers = [x, (reload_in - 1).clamp(min=0), done, direction, move_every, move_in - 1, shoot_in - 1]
        after = SpaceInvadersState(torch.stack(numbers, -1), torch.stack([aliens, shots, bombs], -2))
        return after, reward.to(noise.dtype), touched | landed


@dataclass(frozen=True)
class SpaceInvadersMinimal(SpaceInvaders):
    """SpaceInvaders with the four actions that do something in it."""

    use_minimal_action_set: bool = True


def _add(
    shots: Bool[Tensor, "*batch 100"], cell: Int[Tensor, "*batch"], fires: Bool[Tensor, "*batch"], empty: int
) -> Bool[Tensor, "*batch 100"]:
    """Shots and, where one fires, another; `empty` is a cell without any, which stays so where nobody fires."""
    return shots.scatter(-1, torch.where(fires, cell, empty).unsqueeze(-1), fires.unsqueeze(-1))


@lru_cache(maxsize=8)
def _wave(device: torch.device) -> Bool[Tensor, "100"]:
    """Where the aliens of a fresh wave are."""
    return torch.tensor([cell // SIZE < 4 and 2 <= cell % SIZE < 8 for cell in range(CELLS)], device=device)


@lru_cache(maxsize=8)
def _sources(device: torch.device) -> Int[Tensor, "4 100"]:
    """Where each cell's content comes from when the aliens move left, stay, move right, and move down.

    To the side the column that would wrap around is empty; the row that wraps around ends the episode.
    """
    return torch.tensor(
        [[(cell - shift) % CELLS for cell in range(CELLS)] for shift in (-1, 0, 1, SIZE)], device=device
    )


@lru_cache(maxsize=8)
def _ranks(device: torch.device) -> UInt8[Tensor, "10 100"]:
    """For each column of the player which alien shoots: the highest rank.

    It is in the nearest column, the left one of two, and the lowest there.
    """
    ranks = [
        [SIZE * (2 * SIZE - 2 * abs(cell % SIZE - x) - (cell % SIZE > x)) + cell // SIZE for cell in range(CELLS)]
        for x in range(SIZE)
    ]
    return torch.tensor(ranks, device=device, dtype=torch.uint8)
