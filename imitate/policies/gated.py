"""A student that a teacher relieves where a gate says so. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.core.replay import Dataset
from imitate.core.types import Memory, Metrics, Obs, Policy, Rollout
from imitate.core.wrappers import Privileged

__all__ = ["Gate", "Gated", "Lesson", "Moment"]


@dataclass(frozen=True)
class Moment:
    """What a gate judges by, each [M, N, ...].

    Args:
        obs: As the student sees it.
        whole: As the teacher sees it.
        action: What the student would do.
        told: What the teacher would do. Only where the gate asks may its judgement depend on that.
        driving: Whether the teacher drove the step before; False where an episode begins.
    """

    obs: Obs
    whole: Obs
    action: Tensor
    told: Tensor
    driving: Tensor


@dataclass(frozen=True)
class Lesson:
    """What a gate learns from, behind a round.

    Args:
        rollout: Of the round, seen as the student sees it.
        data: The labels that the student was fitted to.
        held_out: Those that it was not.
    """

    rollout: Rollout
    data: Dataset
    held_out: Dataset


class Gate(Protocol):
    """Who drives, and where the teacher is asked."""

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Where the teacher is asked what it would do, and where it drives, both bool [M, N].

        It drives nowhere but where it is asked. An answer is a label.
        """

    def learn(self, lesson: Lesson) -> Metrics:
        """Learn from a round; what there is to report, each [M]."""


class Gated:
    """The student drives, and the teacher where a gate calls it, as long as there are questions left.

    Args:
        teacher: Who is asked.
        student: Who drives otherwise.
        gate: Who says where.
        left: Questions that each member has left, int64 [M]; it is counted down in place. In a step with fewer
            questions left than there are to ask, the first environments ask.
        leads: A scalar bool, changed in place: while it is true the teacher drives everywhere.
    """

    @checked
    def __init__(self, teacher: Policy, student: Policy, gate: Gate, left: Tensor, leads: Tensor) -> None:
        self.teacher, self.student, self.gate, self.left, self.leads = teacher, student, gate, left, leads
        self.eyes: tuple[Policy, Policy] = (_Look(), Privileged(_Look()))

    @property
    def noise(self) -> int:
        """What both need."""
        return self.teacher.noise + self.student.noise

    def memory(self, *shape: int) -> Memory:
        """Who drove, which is the student before an episode, and both memories; each policy sees every step."""
        driving = torch.zeros(shape, dtype=torch.bool, device=self.left.device)
        return driving, self.teacher.memory(*shape), self.student.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Let the gate choose between both; records who was asked and said what, who drives, and where that changed."""
        driving, mine, its = memory
        one, other = (None, None) if noise is None else noise.split([self.teacher.noise, self.student.noise], dim=-1)
        told, mine, _ = self.teacher.act(obs, one, mine)
        action, its, _ = self.student.act(obs, other, its)
        seen, whole = (eye.act(obs, None, None)[0] for eye in self.eyes)
        asked, drives = self.gate(Moment(seen, whole, action, told, driving))
        asked = asked | self.leads
        asked = asked & (asked.cumsum(1) <= self.left.unsqueeze(1))
        drives = (drives | self.leads) & asked
        self.left.sub_(asked.sum(1))
        extras = {"asked": asked, "told": told, "drives": drives, "switched": drives != driving}
        return tree.where(drives, told, action), (drives, mine, its), extras

    def over(self, change: Callable[[Policy], Policy]) -> Gated:
        """The same of other policies, by the same gate and the same questions left."""
        made = Gated(change(self.teacher), change(self.student), self.gate, self.left, self.leads)
        made.eyes = (change(self.eyes[0]), change(self.eyes[1]))
        return made


class _Look:
    """A policy whose action is what it sees: so a gate sees behind a view what student and teacher do."""

    noise = 0

    def memory(self, *shape: int) -> None:
        return None

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Any, None, dict[str, Any]]:
        return obs, None, {}
