"""The command `imitate distill`: policy distillation, plain or by a row of Czarnecki's table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
import tyro

from imitate.cli.common import Common, env_of, teacher_for
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.cli.views import viewed
from imitate.configs import config_for, settings
from imitate.core.config import Positive
from imitate.core.names import closest
from imitate.core.types import Policy
from imitate.core.wrappers import Privileged
from imitate.losses.distillation import LOSSES
from imitate.nets.actor import Architecture, fresh
from imitate.policies import Mixture
from imitate.students import (
    ROWS,
    ActorCriticDistillation,
    ActorCriticDistillationConfig,
    DataFreeDistillation,
    DataFreeDistillationConfig,
    GeneratedStates,
    PolicyDistillation,
    PolicyDistillationConfig,
    UniformStates,
)

__all__ = ["Distill", "DistillByRow", "DistillWithoutData", "command"]

Rows = Literal["teacher-driven", "on-policy", "entropy", "n-distill", "expected-entropy", "teacher-value"]


@dataclass(frozen=True)
class Distill:
    """Distil a teacher into a student of any size.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        ensemble: All members of the teacher, however many, teach each student together: by the mean of what they say.
        loss: What is minimised.
        drive: Who acts; "mixture" lets the teacher take half of the steps.
        row: Of the table of Czarnecki et al. (2019): who acts, the loss and a reward at once. It has options of its
            own, such as --reward and --gate: imitate distill --row expected-entropy --help
        student_view: What the student sees, while the teacher sees all: keep:0,2 noise:0.1 delay:2 stack:4, in turn.
        states: Take no steps in the environment: label states of a generator that seeks disagreement, or uniform ones.
            That has options of its own, such as --reach: imitate distill --states generated --help
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    ensemble: bool = False
    loss: Literal["forward-kl", "reverse-kl", "cross-entropy", "mse"] = "forward-kl"
    drive: Literal["student", "teacher", "mixture"] = "student"
    row: Rows | None = None
    student_view: tuple[str, ...] = ()
    states: Literal["generated", "uniform"] | None = None
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: PolicyDistillationConfig = field(default_factory=PolicyDistillationConfig)

    def __call__(self) -> None:
        """Distil."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("distill_envs", 16)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize, ensemble=self.ensemble)
        source = viewed(source, self.student_view)
        student = fresh(source, self.student)
        half = torch.full((source.spec.members,), 0.5, device=source.spec.device)
        drivers: dict[str, Policy] = {
            "student": student,
            "teacher": Privileged(teacher),
            "mixture": Mixture(Privileged(teacher), student, half),
        }
        config = changed(self.config, self.common.change)
        loss, driver = LOSSES[self.loss], drivers[self.drive]
        distillation = PolicyDistillation(source, teacher, student, config, loss=loss, driver=driver)
        self.common.run(distillation, "distill", options_of(replace(self, config=config)), teacher)


@dataclass(frozen=True)
class DistillByRow:
    """Distil by a row of the table of Czarnecki et al. (2019): who acts, which loss, which reward.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner. For teacher-value and --gate
            one that tells values: a planner, or a run of a value network.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        row: Of the table.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    row: Rows = "expected-entropy"
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: ActorCriticDistillationConfig = field(default_factory=ActorCriticDistillationConfig)

    def __call__(self) -> None:
        """Distil."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("distill_envs", 16)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        config, row = changed(self.config, self.common.change), ROWS[self.row]
        distillation = ActorCriticDistillation(source, teacher, fresh(source, self.student), config, row=row)
        self.common.run(distillation, "distill", options_of(replace(self, config=config)), teacher)


@dataclass(frozen=True)
class DistillWithoutData:
    """Distil on states that nobody visited: those of a generator that seeks disagreement, or uniform ones.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        states: Which states.
        reach: Bound of the numbers of an observation that have none of their own.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    states: Literal["generated", "uniform"] = "generated"
    reach: Positive[float] = 3.0
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: DataFreeDistillationConfig = field(default_factory=DataFreeDistillationConfig)

    def __call__(self) -> None:
        """Distil."""
        source = self.common.source(self.common.known_env(self.teacher), 1)
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        config = changed(self.config, self.common.change)
        kind = GeneratedStates if self.states == "generated" else UniformStates
        states = kind(source.spec, reach=self.reach)
        distillation = DataFreeDistillation(source, teacher, fresh(source, self.student), config, states=states)
        self.common.run(distillation, "distill", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    before = run_before(arguments, "distill", env)
    row = option(arguments, "--row") or before.get("row")
    if row is not None and row not in ROWS:
        raise ValueError(closest("row", str(row), ROWS))
    without_data = option(arguments, "--states") or before.get("states")
    kind: Any = Distill if row is None else DistillByRow
    config: Any = ActorCriticDistillationConfig()
    if row is None:
        config = config_for(PolicyDistillationConfig, "distill", env or "")
        if without_data is not None:
            kind, config = DistillWithoutData, DataFreeDistillationConfig()
    student = config_for(Architecture, "small_student", env or "")
    default = kind(tyro.MISSING, common=Common(env=env), student=student, config=config)
    return flat(kind), as_before(default, before)
