"""Policies for several tasks. Letters: M members, N environments of one member, B batch, K tasks, H features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core.config import checked
from imitate.core.tasks import Tasks
from imitate.core.types import Obs
from imitate.distributions.actions import Distribution, Teacher, decide
from imitate.policies.router import alike, chosen

__all__ = ["TaskTeachers", "by_task"]


class TaskTeachers:
    """A teacher for each task of a `Tasks` source: at an observation of task k the k-th one answers.

    Args:
        teachers: One a task, in the order of the tasks, without a memory. They see what the environment shows.
        tasks: The source.

    Raises:
        ValueError: A task has no teacher, or a teacher has a memory, or other members or spaces.
    """

    @checked
    def __init__(self, teachers: Sequence[Teacher], tasks: Tasks) -> None:
        ids = [source.source.spec.id for source in tasks.sources]
        if len(teachers) < len(ids):
            missing = ", ".join(ids[len(teachers) :])
            raise ValueError(f"teachers: none for {missing}; give one for each of {', '.join(ids)}.")
        if len(teachers) > len(ids):
            raise ValueError(f"teachers: {len(teachers)} for {len(ids)} tasks, {', '.join(ids)}; give one each.")
        members = tasks.spec.members
        for name, teacher, source in zip(ids, teachers, tasks.sources, strict=True):
            if teacher.memory(1, 1) is not None:
                raise ValueError(f"teachers: that of {name} has a memory; distil it first into one that has none.")
            if (count := getattr(teacher, "members", 1)) not in (1, members):
                raise ValueError(f"teachers: that of {name} has {count} members, the source {members}; one serves all.")
            for what in ("observation", "action"):
                mine, wanted = getattr(teacher, what, None), getattr(source.source.spec, what)
                if mine is not None and str(mine) != str(wanted):
                    raise ValueError(f"teachers: that of {name} is made for {what}s {mine}, not for {wanted}.")
        self.teachers, self.members = list(teachers), members

    @property
    def noise(self) -> int:
        """As much as any of them needs."""
        return max(teacher.noise for teacher in self.teachers)

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def distribution(self, obs: Obs) -> Distribution:
        """What the teacher of each task says at observations [M, B, ...] of it.

        Raises:
            ValueError: Answers of different tasks are of different kinds.
        """
        shown, task = obs
        said = alike([teacher.distribution(shown) for teacher in self.teachers])
        return chosen(said, task, range(len(said)))

    def features(self, obs: Obs) -> Tensor:
        """The features [M, B, H] of the teacher of each task, which all have the same width.

        Raises:
            ValueError: A teacher has none, or they are of several widths.
        """
        shown, task = obs
        if lacking := [type(one).__name__ for one in self.teachers if not hasattr(one, "features")]:
            raise ValueError(f"teachers: a {lacking[0]} does not tell its features; give a network.")
        found: list[Tensor] = [teacher.features(shown) for teacher in self.teachers]  # type: ignore[attr-defined]
        if len(widths := {x.shape[-1] for x in found}) > 1:
            raise ValueError(f"teachers: their features are {sorted(widths)} wide; take networks of one width.")
        return chosen(found, task, range(len(found)))

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action from uniforms [M, N, noise]; take the mode without them."""
        return decide(self.distribution(obs), noise), None, {}


def by_task(features: Callable[[Obs], Tensor], tasks: int) -> Callable[[Obs], Tensor]:
    """Features of a `Tasks` source, those of each task apart: [M, B, H] -> [M, B, K·(H + 1)].

    Of task k they are in the k-th place, with a one behind them; all else is 0. A linear map of them is a map of its
    own, with a bias, for each task.
    """

    def apart(obs: Obs) -> Tensor:
        found = F.pad(features(obs), (0, 1), value=1.0)
        one_hot = F.one_hot(obs[1], tasks).to(found)
        return torch.einsum("mbk,mbh->mbkh", one_hot, found).flatten(2)

    return apart
