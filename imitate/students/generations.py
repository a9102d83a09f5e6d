"""Born-again policies: each generation is the teacher of the next. Letters: M members."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from imitate.core.config import Count, checked
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Obs, Source
from imitate.distributions.actions import Distribution, Teacher
from imitate.losses.distillation import DistillationLoss, forward_kl
from imitate.nets.actor import Actor, Architecture, fresh
from imitate.students.distillation import PolicyDistillation, PolicyDistillationConfig

__all__ = ["BornAgain", "BornAgainConfig"]


@dataclass(frozen=True)
class BornAgainConfig(PolicyDistillationConfig):
    """Hyper-parameters of generations: those of policy distillation, whose `steps` are of one generation.

    Args:
        generations: How many students follow on each other.
    """

    generations: Count = 3


class BornAgain:
    """Distil a teacher into a fresh network, that into another fresh one, and so on (Furlanello et al. 2018).

        θ_k = argmin_θ E_{s∼π_θ}[KL(π_{k−1}(·|s) ‖ π_θ(·|s))],   k = 1 … generations

    All generations have one architecture; each begins with other weights, a new optimiser and a new schedule. The
    paper's loss holds the labels of a data set too. A policy has none, so here it is what the teacher says alone.

    Args:
        source: Where to drive.
        teacher: Of the first generation, without a memory.
        architecture: Of every generation.
        config: Hyper-parameters.
        loss: As of `PolicyDistillation`.

    Attributes:
        policy: The generation that learns.
        generation: Its number, from 1 on.

    Raises:
        ValueError: The teacher has a memory, or a number does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        architecture: Architecture | None = None,
        config: BornAgainConfig | None = None,
        *,
        loss: DistillationLoss = forward_kl,
    ) -> None:
        if teacher.memory(1, 1) is not None:
            raise ValueError("teacher: it has a memory; distil it first into a student that has none.")
        self.source, self.config = source, config or BornAgainConfig()
        self.architecture, self.teacher = architecture or Architecture(), teacher
        self.policy, self.parent = self._newborn(1), self._newborn(1)
        self.generation = torch.ones((), dtype=torch.int64)
        told_by = _Ancestor(teacher, self.parent, self.generation)
        self.distillation = PolicyDistillation(source, told_by, self.policy, self.config, loss=loss)
        each = self.distillation.progress.budget
        self.progress = Progress(source.spec, self.config.generations * each, each)

    def step(self) -> Metrics:
        """One step of distillation; in between a generation becomes the teacher, and another is born."""
        if self.distillation.progress.finished:
            self._pass_on()
        before = int(self.distillation.progress.steps)
        metrics = self.distillation.step()
        taken = int(self.distillation.progress.steps) - before
        self.progress.advance(taken, taken)
        if int(self.generation) == self.config.generations and self.distillation.progress.finished:
            self.progress.stop()
        number = self.generation.to(metrics["loss"])
        return {**metrics, "generation": number.expand_as(metrics["loss"]).clone()}

    @torch.no_grad()
    def _pass_on(self) -> None:
        """The student becomes the teacher; its place is taken by a newborn, whose optimiser knows nothing yet."""
        self.generation += 1
        self.parent.load_state_dict(self.policy.state_dict())
        self.policy.load_state_dict(self._newborn(int(self.generation)).state_dict())
        for moment in self.distillation.learner.state_dict().values():
            moment.zero_()
        self.distillation.progress.steps.zero_()

    def _newborn(self, number: int) -> Actor:
        return fresh(self.source, self.architecture, f"init-generation-{number}")


class _Ancestor:
    """Who teaches: the first teacher, or behind the first generation the parent."""

    noise = 0

    def __init__(self, first: Teacher, parent: Actor, generation: torch.Tensor) -> None:
        self.first, self.parent, self.generation = first, parent, generation
        self.members = getattr(first, "members", 1)

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def distribution(self, obs: Obs) -> Distribution:
        """What it says at observations [M, B, ...]."""
        return (self.first if int(self.generation) == 1 else self.parent).distribution(obs)

    def act(self, obs: Obs, noise: Any, memory: None) -> Any:
        """Nothing: the student drives."""
        raise AssertionError("the student drives")
