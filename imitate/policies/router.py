"""Several teachers, one at each state. Letters: M members, B batch, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.core.types import Memory, Obs, Policy
from imitate.distributions.actions import Distribution, Valued

__all__ = ["Router", "alike", "by_value", "chosen"]

T = TypeVar("T")


class Router:
    """Answers at each state as the teacher does who is responsible for it.

        Router({0: walker, 1: runner}, lambda obs: obs["task"])                 # by the task that is observed
        Router({0: left, 1: right}, lambda obs: (obs[..., 0] > 0).long())       # by a function of the observation
        Router(dict(enumerate(teachers)), by_value(teachers))                   # by who promises the most

    Each look at who is responsible waits for the device, to refuse a task without a teacher.

    Args:
        teachers: By their numbers.
        choose: Observations [M, B, ...] -> numbers [M, B] of who is responsible.

    Raises:
        ValueError: There is no teacher; and at a state: none has its number, or their answers are of several kinds.
    """

    @checked
    def __init__(self, teachers: Mapping[int, Policy], choose: Callable[[Obs], Tensor]) -> None:
        if not teachers:
            raise ValueError("teachers: there is none to choose from; pass at least one.")
        self.teachers, self.choose = dict(teachers), choose

    @property
    def noise(self) -> int:
        """What all need."""
        return sum(teacher.noise for teacher in self.teachers.values())

    def memory(self, *shape: int) -> Memory:
        """All memories, each teacher sees every step; None where no teacher has one."""
        each = tuple(teacher.memory(*shape) for teacher in self.teachers.values())
        return None if all(memory is None for memory in each) else each

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """What the one who is responsible does; records its number."""
        number = self._responsible(obs)
        widths = [teacher.noise for teacher in self.teachers.values()]
        parts = [None] * len(widths) if noise is None else noise.split(widths, dim=-1)
        memories = [None] * len(widths) if memory is None else memory
        acted = [
            teacher.act(obs, part, own)
            for teacher, part, own in zip(self.teachers.values(), parts, memories, strict=True)
        ]
        after = None if memory is None else tuple(own for _, own, _ in acted)
        action = chosen([action for action, _, _ in acted], number, self.teachers)
        return action, after, {"teacher": number}

    def distribution(self, obs: Obs) -> Distribution:
        """That of the one who is responsible, at observations [M, B, ...]."""
        number = self._responsible(obs)
        for teacher in self.teachers.values():
            if not hasattr(teacher, "distribution"):
                raise ValueError(
                    f"teachers: a {type(teacher).__name__} does not tell how likely what it does is; take one that has "
                    "`distribution`."
                )
        answers: list[Distribution] = [teacher.distribution(obs) for teacher in self.teachers.values()]  # type: ignore[attr-defined]
        return chosen(alike(answers), number, self.teachers)

    def _responsible(self, obs: Obs) -> Tensor:
        number = self.choose(obs)
        known = torch.isin(number, torch.tensor(list(self.teachers), device=number.device))
        if not bool(known.all()):
            unknown, there = int(number[~known][0]), ", ".join(map(str, self.teachers))
            raise ValueError(f"teachers: there is none for task {unknown}, only for {there}; add one for it.")
        return number


def alike(said: Sequence[T]) -> Sequence[T]:
    """Distributions of one kind, or a ValueError."""
    if len(kinds := sorted({type(one).__name__ for one in said})) > 1:
        raise ValueError(f"teachers: their answers are {' and '.join(kinds)}; take teachers of one kind.")
    return said


def chosen(each: Sequence[T], number: Tensor, keys: Iterable[int]) -> T:
    """Of several trees [M, B, ...] at each place the one whose key is the number [M, B] there, leaf by leaf."""
    found = each[0]
    for key, one in zip(keys, each, strict=True):
        found = tree.where(number == key, one, found)
    return found


@checked
def by_value(teachers: Sequence[Valued]) -> Callable[[Obs], Tensor]:
    """The place in a sequence of the teacher whose best choice is worth the most to itself, max_a Q(s, a)."""

    def choose(obs: Obs) -> Tensor:
        return torch.stack([teacher.action_values(obs).amax(-1) for teacher in teachers]).argmax(0)

    return choose
