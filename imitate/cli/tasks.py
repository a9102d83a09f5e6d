"""The command `imitate tasks`: one student for several tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import tyro

from imitate.cli.common import Common, env_of, must_exist, say, teacher_for
from imitate.cli.parsing import flat
from imitate.cli.resuming import as_before, changed, folder, options_of, run_before
from imitate.configs import config_for, settings
from imitate.core.config import NonNegative
from imitate.core.noise import Stream
from imitate.core.reading import refusing
from imitate.core.tasks import Tasks
from imitate.core.terms import Term
from imitate.core.types import fold
from imitate.experiment import Evaluator
from imitate.losses.distillation import LOSSES
from imitate.nets.actor import Architecture, fresh
from imitate.nets.tasks import of_task
from imitate.policies import TaskTeachers
from imitate.students import PolicyDistillation, PolicyDistillationConfig, actor_mimic

__all__ = ["Several", "command"]


@dataclass(frozen=True)
class Several:
    """Distil a teacher for each of several tasks into one student.

    Args:
        teachers: One for each task: runs, SB3 .zips, or "control:ID" for a control law.
        envs: Environments of the same spaces, in the order of the teachers; by default those of their runs.
        features: Weight of the regression of the teachers' features (Actor-Mimic); 0: none.
        loss: What is minimised.
        common: Options of every run; --num-envs are those of each task.
        student: Its network. With --heads 2 it has a head for each of two tasks; by default one, that is told the task.
        config: Hyper-parameters; --steps count those of all tasks.
    """

    teachers: tuple[str, ...]
    envs: tuple[str, ...] = ()
    features: NonNegative[float] = 0.0
    loss: Literal["forward-kl", "reverse-kl", "cross-entropy", "mse"] = "forward-kl"
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: PolicyDistillationConfig = field(default_factory=PolicyDistillationConfig)

    def __call__(self) -> None:
        """Distil, say how well the student does in each task, and save a policy of each."""
        envs = self.envs or tuple(_env_of(name) for name in self.teachers)
        if self.common.env is not None:
            raise ValueError(f"env: several tasks have several; pass --envs {' '.join(envs)}.")
        for name in self.teachers:
            must_exist("teachers", name)
        common = self.common
        alone = [
            replace(common, seed=common.seed + task).source(env, int(settings(env).get("distill_envs", 16)))
            for task, env in enumerate(envs)
        ]
        source = Tasks(alone)
        teachers = [teacher_for(name, place) for name, place in zip(self.teachers, alone, strict=False)]
        router, student = TaskTeachers(teachers, source), fresh(source, self.student)
        config = changed(self.config, common.change)
        terms: list[Term] = []
        if self.features > 0:
            width = router.features(fold(source.collect(student, 1).obs)).shape[-1]
            init = Stream(common.seed, "init-mimic", source.spec.device)
            terms = [actor_mimic(student, router, width, self.features, init=init)]
        distillation = PolicyDistillation(source, router, student, config, loss=LOSSES[self.loss], terms=terms)
        common.run(distillation, "tasks", options_of(replace(self, config=config, envs=envs)), router)
        out = common.out or folder("tasks", source.spec.id)
        for task, (env, place) in enumerate(zip(envs, source.sources, strict=True)):
            say(f"tasks: {env}: {Evaluator(place, common.episodes, teacher=router)(student)}")
            of_task(student, task, env=env).save(out / f"task-{task}")
        say(f"policies of single tasks are in {', '.join(str(out / f'task-{task}') for task in range(len(envs)))}")


def _env_of(name: str) -> str:
    kind, _, law = name.partition(":")
    env = law if kind in ("control", "plan") else env_of(name)
    if not env:
        raise ValueError(f"envs: '{name}' does not tell its environment; pass --envs, one for each teacher.")
    return env


def _values(arguments: Sequence[str], name: str) -> list[str]:
    """The values of an option that takes several, before the parser sees it."""
    if name not in arguments:
        return []
    rest = list(arguments[list(arguments).index(name) + 1 :])
    ends = (i for i, word in enumerate(rest) if word.startswith("--"))
    return rest[: next(ends, len(rest))]


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the first environment, or of the run that is resumed."""
    named = _values(arguments, "--envs") or [env_of(name) or name for name in _values(arguments, "--teachers")]
    envs = [name.partition(":")[2] or name for name in named]
    before = run_before(arguments, "tasks", "+".join(envs) or None)
    if before:  # there the number of environments is that of all tasks, and the id is made of all
        with refusing("resume: run.json does not fit this version"):
            before = {**before, "env": None, "num_envs": before["num_envs"] // len(before["envs"])}
    first = next(iter(envs), "")
    default = Several(
        tyro.MISSING,
        student=config_for(Architecture, "small_student", first),
        config=config_for(PolicyDistillationConfig, "distill", first),
    )
    return flat(Several), as_before(default, before)
