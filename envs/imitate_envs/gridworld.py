"""Grid worlds drawn in ASCII: frozen lake, cliff walking, four rooms. S: states; `*batch` is any leading shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from imitate_envs.base import Discrete
from imitate_envs.tabular import TabularModel

__all__ = [
    "CliffWalking",
    "CliffWalkingSlippery",
    "FourRooms",
    "FrozenLake",
    "FrozenLake8x8",
    "GridWorld",
]

_MOVES = {"L": (0, -1), "D": (1, 0), "R": (0, 1), "U": (-1, 0)}


@dataclass(frozen=True)
class GridWorld:
    """Walk on a map, one cell a step, on a floor that may be slippery.

    A state is the number of a cell, row·columns + column. On the map, `S` is a cell to start from (one of them is
    drawn), `F` free floor, `#` a wall, `H` a hole and `G` a goal, which end the episode, and `C` a cliff, which
    costs `cliff_reward` and leads back to the first `S`. A move into a wall or off the map leads nowhere.

    On a slippery floor a move goes where it is meant to with probability `success_rate`, straight back with
    `reverse_rate`, and to each side with half of the rest. The names are those of Gymnasium's FrozenLake-v1.
    """

    desc: tuple[str, ...] = ("SSSSS", "SSSHS", "SSSSS", "SHSSS", "SSSSG")
    is_slippery: bool = True
    success_rate: float = 0.8
    reverse_rate: float = 0.0
    reward_schedule: tuple[float, float, float] = (1.0, 0.0, 0.0)  # for entering a goal, a hole, any other cell
    cliff_reward: float = -100.0
    order: str = "LDRU"  # what the actions 0 to 3 mean; neighbours in this cycle are at right angles
    max_steps: int = 100

    action: ClassVar[Discrete] = Discrete(4)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "desc", tuple(self.desc))
        cells = "".join(self.desc)
        if not cells or len({len(row) for row in self.desc}) > 1:
            raise ValueError("desc: the rows of a map have one length, and there is at least one.")
        if unknown := set(cells) - set("SFHGC#"):
            raise ValueError(f"desc: a map is made of S, F, H, G, C and #, not of {', '.join(sorted(unknown))}.")
        if "S" not in cells:
            raise ValueError("desc: a map needs a cell S to start from.")
        if len(self.order) != 4 or (self.order not in "LDRULDR" and self.order not in "URDLURD"):
            raise ValueError(f"order: the moves L, D, R, U in a cycle of right angles, not '{self.order}'.")
        if min(self.success_rate, self.reverse_rate) < 0 or self.success_rate + self.reverse_rate > 1:
            raise ValueError(
                f"success_rate, reverse_rate: probabilities of sum at most 1, not {self.success_rate} and "
                f"{self.reverse_rate}."
            )

    @property
    def observation(self) -> Discrete:
        """The number of the cell."""
        return Discrete(len(self.desc) * len(self.desc[0]))

    @property
    def reward_range(self) -> tuple[float, float]:
        """Of free floor, and of a cliff if there is one."""
        floor = self.reward_schedule[2]
        cliff = self.cliff_reward if any("C" in row for row in self.desc) else floor
        return min(floor, cliff), max(floor, cliff)

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """Of a goal and a hole."""
        goal, hole, _ = self.reward_schedule
        return min(goal, hole), max(goal, hole)

    @property
    def turns(self) -> tuple[float, float, float, float]:
        """Probabilities of moving as the action before, the action itself, the one after and the one opposite."""
        if not self.is_slippery:
            return (0.0, 1.0, 0.0, 0.0)
        side = (1 - self.success_rate - self.reverse_rate) / 2
        return (side, self.success_rate, side, self.reverse_rate)

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> Int[Tensor, "*batch"]:
        """One of the cells `S`."""
        starts = _tables(self, noise.device, noise.dtype).starts
        return starts[(noise[..., 0] * len(starts)).long().clamp(max=len(starts) - 1)]

    def observe(self, state: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The state itself."""
        return state

    def step(
        self, state: Int[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One move, in the direction that the floor lets it take."""
        tables = _tables(self, noise.device, noise.dtype)
        turn = (noise >= tables.thresholds).sum(-1)
        move = 4 * state + (action + turn + 3) % 4
        state = tables.next[move]
        return state, tables.reward[move], tables.ended[state]

    def model(self) -> TabularModel:
        """Probabilities and expected rewards."""
        tables = _tables(self, torch.device("cpu"), torch.float64)
        states = self.observation.n
        transition, reward = torch.zeros(states, 4, states, dtype=torch.float64), torch.zeros(states, 4).double()
        for turn, probability in zip((-1, 0, 1, 2), self.turns, strict=True):
            move = (torch.arange(4) + turn) % 4
            transition += probability * one_hot(tables.next.view(-1, 4)[:, move], states).double()
            reward += probability * tables.reward.view(-1, 4)[:, move]
        start = torch.zeros(states, dtype=torch.float64)
        start[tables.starts] = 1 / len(tables.starts)
        return TabularModel(transition, reward, tables.ended.clone(), start)


@dataclass(frozen=True)
class FrozenLake(GridWorld):
    """Cross a frozen lake without falling into a hole; arriving earns 1. Equal to Gymnasium's FrozenLake-v1."""

    desc: tuple[str, ...] = ("SFFF", "FHFH", "FFFH", "HFFG")
    success_rate: float = 1 / 3


@dataclass(frozen=True)
class FrozenLake8x8(FrozenLake):
    """The larger lake of Gymnasium's FrozenLake8x8-v1."""

    desc: tuple[str, ...] = (
        "SFFFFFFF",
        "FFFFFFFF",
        "FFFHFFFF",
        "FFFFFHFF",
        "FFFHFFFF",
        "FHHFFFHF",
        "FHFFHFHF",
        "FFFHFFFG",
    )
    max_steps: int = 200


@dataclass(frozen=True)
class CliffWalking(GridWorld):
    """Walk along a cliff: a step costs 1, a fall 100 and the way back to the start.

    Source: Sutton & Barto (2018), example 6.6. Equal to Gymnasium's CliffWalking-v1, but for a time limit, of which
    that has none.
    """

    desc: tuple[str, ...] = ("F" * 12, "F" * 12, "F" * 12, "S" + "C" * 10 + "G")
    is_slippery: bool = False
    success_rate: float = 1 / 3
    reward_schedule: tuple[float, float, float] = (-1.0, -1.0, -1.0)
    order: str = "URDL"
    max_steps: int = 500


@dataclass(frozen=True)
class CliffWalkingSlippery(CliffWalking):
    """The same on a slippery floor; equal to Gymnasium's CliffWalkingSlippery-v1."""

    is_slippery: bool = True


@dataclass(frozen=True)
class FourRooms(GridWorld):
    """Four rooms, a hallway between each two neighbours; the goal is the eastern hallway, the start anywhere else.

    Source: the rooms example of Sutton, Precup & Singh (1999): a move succeeds with probability 2/3 and takes each of
    the other three directions with 1/9. Goal, starts and time limit as in Bacon, Harb & Precup (2017).
    """

    desc: tuple[str, ...] = (
        "#############",
        "#SSSSS#SSSSS#",
        "#SSSSS#SSSSS#",
        "#SSSSSSSSSSS#",
        "#SSSSS#SSSSS#",
        "#SSSSS#SSSSS#",
        "##S####SSSSS#",
        "#SSSSS###G###",
        "#SSSSS#SSSSS#",
        "#SSSSS#SSSSS#",
        "#SSSSSSSSSSS#",
        "#SSSSS#SSSSS#",
        "#############",
    )
    success_rate: float = 2 / 3
    reverse_rate: float = 1 / 9
    max_steps: int = 1000


@dataclass(frozen=True)
class _Tables:
    """A map as tensors; a move is numbered 4·state + direction, directions in the order of the actions."""

    next: Tensor  # [4·S]
    reward: Tensor  # [4·S]
    ended: Tensor  # [S]
    starts: Tensor
    thresholds: Tensor  # [3] of the uniform: where its turn changes


@lru_cache(maxsize=64)
def _tables(env: GridWorld, device: torch.device, dtype: torch.dtype) -> _Tables:
    """Made once an environment, device and float type."""
    rows, columns, cells = len(env.desc), len(env.desc[0]), "".join(env.desc)
    starts = [s for s, cell in enumerate(cells) if cell == "S"]
    goal, hole, floor = env.reward_schedule
    entering = {"G": goal, "H": hole, "C": env.cliff_reward}
    nexts, rewards = [], []
    for state, cell in enumerate(cells):
        for name in env.order:
            if cell in "GH":  # over: stay, for nothing
                nexts.append(state)
                rewards.append(0.0)
                continue
            down, right = _MOVES[name]
            row = min(max(state // columns + down, 0), rows - 1)
            column = min(max(state % columns + right, 0), columns - 1)
            entered = row * columns + column if env.desc[row][column] != "#" else state
            rewards.append(entering.get(cells[entered], floor))
            nexts.append(starts[0] if cells[entered] == "C" else entered)
    before, straight, after, _ = env.turns
    # The last outcome that is possible takes all that rounding leaves.
    last = max(i for i, probability in enumerate(env.turns) if probability > 0)
    cumulative = [before, before + straight, before + straight + after]
    thresholds = [bound if i < last else math.inf for i, bound in enumerate(cumulative)]
    return _Tables(
        torch.tensor(nexts, device=device),
        torch.tensor(rewards, device=device, dtype=dtype),
        torch.tensor([cell in "GH" for cell in cells], device=device),
        torch.tensor(starts, device=device),
        torch.tensor(thresholds, device=device, dtype=dtype),
    )
