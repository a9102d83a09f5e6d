"""The command `imitate dart`: cloning from a teacher under noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from imitate.cli.common import Common, env_of, teacher_for
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.cli.views import viewed
from imitate.configs import config_for, settings
from imitate.nets.actor import Architecture, fresh
from imitate.students import DART, DARTConfig

__all__ = ["DARTCommand", "command"]


@dataclass(frozen=True)
class DARTCommand:
    """Clone a teacher that acts under noise as large as the student's error.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        student_view: What the student sees, while the teacher sees all: keep:0,2 noise:0.1 delay:2 stack:4, in turn.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    student_view: tuple[str, ...] = ()
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: DARTConfig = field(default_factory=DARTConfig)

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("dagger_envs", 10)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        source = viewed(source, self.student_view)
        config = changed(self.config, self.common.change)
        dart = DART(source, teacher, fresh(source, self.student), config)
        self.common.run(dart, "dart", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = DARTCommand(
        tyro.MISSING,
        common=Common(env=env),
        student=config_for(Architecture, "student", env or ""),
        config=config_for(DARTConfig, "dart", env or ""),
    )
    return flat(DARTCommand), as_before(default, run_before(arguments, "dart", env))
