"""Random grid worlds, another one for each member. S: states; `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from imitate_envs.base import Discrete
from imitate_envs.tabular import TabularModel

__all__ = ["RandomGrids"]

_Cells = npt.NDArray[np.int64]
_WALL, _GOAL, _PIT = 2, 1, -1  # free floor is 0
_MOVES = ((0, -1), (1, 0), (0, 1), (-1, 0))  # left, down, right, up, as in `GridWorld`


@dataclass(frozen=True)
class RandomGrids:
    """Walk from the centre of a random square to what pays, past walls and what costs.

    Each cell is a wall, a goal that earns `prize`, a pit that costs `prize`, or free floor, drawn independently. Goals
    and pits end an episode. So does chance, with probability `ending` after each step: a discount of 1 − `ending`, made
    real. A move slips with probability `slip`, and then goes to any of the four sides. A move into a wall or off the
    map leads nowhere. Worlds in which no goal can be reached are drawn again.

    Member m walks in world m: `reset` takes leading shapes [..., M, N], one of a single world any. A state knows its
    world, so `step` takes any.

    Source: the worlds of Czarnecki et al. (2019), appendix: size, centre, slip, ending and the prize are theirs. The
    shares of walls, goals and pits are ours.

    Args:
        worlds: How many there are; a member beyond them walks in one of the first again.
        size: Cells of a side.
        seed: Draws the worlds.
        walls: Share of walls.
        goals: Share of goals.
        pits: Share of pits.
        prize: Of a goal, and cost of a pit.
        slip: Probability that chance chooses the side.
        ending: Probability that chance ends the episode.
        copies: Actions that mean the same: action a moves to side a modulo 4.
        max_steps: Time limit.
    """

    worlds: int = 1
    size: int = 20
    seed: int = 0
    walls: float = 0.1
    goals: float = 0.01
    pits: float = 0.03
    prize: float = 10.0
    slip: float = 0.1
    ending: float = 0.01
    copies: int = 1
    max_steps: int = 1000

    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        for name, least in (("worlds", 1), ("size", 2), ("copies", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: at least {least}, not {getattr(self, name)}.")
        if min(self.walls, self.pits, self.slip, self.ending) < 0 or max(self.slip, self.ending) > 1:
            raise ValueError(
                "walls, pits, slip, ending: probabilities, not "
                f"{self.walls}, {self.pits}, {self.slip} and {self.ending}."
            )
        if self.goals <= 0 or self.walls + self.goals + self.pits > 0.5:
            raise ValueError(
                "goals: more than 0, and with walls and pits half of the cells at most; else no way is found."
            )

    @property
    def observation(self) -> Discrete:
        """The cell, row·size + column, and size² where chance ended the episode."""
        return Discrete(self._states)

    @property
    def action(self) -> Discrete:
        """Left, down, right, up, and their copies."""
        return Discrete(4 * self.copies)

    @property
    def reward_range(self) -> tuple[float, float]:
        """Floor pays nothing."""
        return 0.0, 0.0

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """Of a pit and a goal."""
        return -abs(self.prize), abs(self.prize)

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> Int[Tensor, "*batch"]:
        """The centre of each member's world: the state is world·S + cell."""
        shape = noise.shape[:-1]
        world = torch.arange(shape[-2] if len(shape) > 1 else 1, device=noise.device) % self.worlds
        state = world * self._states + self._centre
        return (state.unsqueeze(1) if len(shape) > 1 else state[0]).expand(shape).clone()

    def observe(self, state: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The cell."""
        return state % self._states

    def step(
        self, state: Int[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One move, to the side that chance lets it take."""
        following, reward, ended = _tables(self, noise.device, noise.dtype)
        # One uniform: a quarter of `slip` for each side, the rest for the move itself; where in its part says the end.
        uniform, width = noise[..., 0], max(self.slip, 1e-9) / 4
        quarter = (uniform / width).floor()
        slips = quarter < 4
        part = torch.where(slips, uniform / width - quarter, (uniform - self.slip) / max(1 - self.slip, 1e-9))
        state = following[4 * state + torch.where(slips, quarter.long(), action % 4)]
        earned, ended = reward[state], ended[state]
        over = ~ended & (part < self.ending)
        state = torch.where(over, state - state % self._states + self._states - 1, state)
        return state, earned, ended | over

    def model(self, world: int = 0) -> TabularModel:
        """Probabilities and expected rewards of one world."""
        states = self._states
        following, reward, ended = _tables(self, torch.device("cpu"), torch.float64)
        rows = slice(world * states, (world + 1) * states)
        after = one_hot(following.view(-1, 4)[rows] - world * states, states).double()  # [S, 4, S]
        after = (1 - self.slip) * after + self.slip * after.mean(1, keepdim=True)
        paid, ended = after @ reward[rows], ended[rows]
        going_on = after * ~ended * (~ended).view(-1, 1, 1)
        after = after - self.ending * going_on
        after[..., -1] += self.ending * going_on.sum(-1)
        paid = paid * ~ended.unsqueeze(1)
        start = one_hot(torch.tensor(self._centre), states).double()
        return TabularModel(after.repeat(1, self.copies, 1), paid.repeat(1, self.copies), ended.clone(), start)

    @property
    def _states(self) -> int:
        return self.size**2 + 1

    @property
    def _centre(self) -> int:
        return (self.size // 2) * self.size + self.size // 2


@lru_cache(maxsize=64)
def _tables(env: RandomGrids, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Of all worlds: the state behind each move [4·W·S], the reward of entering a state and whether it ends, [W·S]."""
    cells = np.stack([_drawn(env, world) for world in range(env.worlds)])  # [W, size, size]
    row, column = np.indices((env.size, env.size))
    pays = np.where(cells == _WALL, 0, cells)
    following = np.tile(np.arange(env.size**2 + 1)[:, None], (env.worlds, 1, 4))  # a state that is over leads to itself
    for side, (down, right) in enumerate(_MOVES):
        to = np.clip(row + down, 0, env.size - 1), np.clip(column + right, 0, env.size - 1)
        stays = (cells[:, to[0], to[1]] == _WALL) | (pays != 0)
        number = np.where(stays, row * env.size + column, to[0] * env.size + to[1])
        following[:, :-1, side] = number.reshape(env.worlds, -1)
    following += np.arange(env.worlds).reshape(-1, 1, 1) * (env.size**2 + 1)
    pays = np.pad(pays.reshape(env.worlds, -1), ((0, 0), (0, 1)))
    ended = pays != 0
    ended[:, -1] = True
    return (
        torch.tensor(following.reshape(-1), device=device),
        torch.tensor(env.prize * pays.reshape(-1), device=device, dtype=dtype),
        torch.tensor(ended.reshape(-1), device=device),
    )


def _drawn(env: RandomGrids, world: int) -> _Cells:
    """Cells of a world in which a goal can be reached, [size, size]."""
    generator = np.random.default_rng((env.seed, world))
    while True:
        lot = generator.random((env.size, env.size))
        kinds = np.cumsum([env.walls, env.goals, env.pits])
        cells: _Cells = np.array([_WALL, _GOAL, _PIT, 0])[np.searchsorted(kinds, lot, side="right")]
        cells[env.size // 2, env.size // 2] = 0
        if _reachable(cells):
            return cells


def _reachable(cells: _Cells) -> bool:
    """Whether a way leads from the centre to a goal."""
    seen = np.zeros_like(cells, bool)
    todo = [(len(cells) // 2, len(cells) // 2)]
    while todo:
        row, column = todo.pop()
        if not (0 <= row < len(cells) and 0 <= column < len(cells)) or seen[row, column]:
            continue
        seen[row, column] = True
        if cells[row, column] == _GOAL:
            return True
        if cells[row, column] == 0:
            todo += [(row + down, column + right) for down, right in _MOVES]
    return False
