"""The command `imitate distill`: policy distillation."""

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
from imitate.configs import config_for, settings
from imitate.core.types import Policy
from imitate.losses.distillation import LOSSES
from imitate.nets.actor import Architecture, fresh
from imitate.policies import Mixture
from imitate.students import PolicyDistillation, PolicyDistillationConfig

__all__ = ["Distill", "command"]


@dataclass(frozen=True)
class Distill:
    """Distil a teacher into a student of any size.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        loss: What is minimised.
        drive: Who acts; "mixture" lets the teacher take half of the steps.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    loss: Literal["forward-kl", "reverse-kl", "cross-entropy", "mse"] = "forward-kl"
    drive: Literal["student", "teacher", "mixture"] = "student"
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: PolicyDistillationConfig = field(default_factory=PolicyDistillationConfig)

    def __call__(self) -> None:
        """Distil."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("distill_envs", 16)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        student = fresh(source, self.student)
        half = torch.full((source.spec.members,), 0.5, device=source.spec.device)
        drivers: dict[str, Policy] = {
            "student": student,
            "teacher": teacher,
            "mixture": Mixture(teacher, student, half),
        }
        config = changed(self.config, self.common.change)
        loss, driver = LOSSES[self.loss], drivers[self.drive]
        distillation = PolicyDistillation(source, teacher, student, config, loss=loss, driver=driver)
        self.common.run(distillation, "distill", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = Distill(
        tyro.MISSING,
        common=Common(env=env),
        student=config_for(Architecture, "small_student", env or ""),
        config=config_for(PolicyDistillationConfig, "distill", env or ""),
    )
    return flat(Distill), as_before(default, run_before(arguments, "distill", env))
