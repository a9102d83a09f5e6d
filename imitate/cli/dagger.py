"""The command `imitate dagger`: labels on the states that the student visits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from imitate.cli.common import AT_ONCE, Common, env_of, shown, teacher_for
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.cli.views import viewed
from imitate.configs import config_for, settings
from imitate.core.config import Count, NonNegative
from imitate.nets.actor import Architecture, fresh
from imitate.students import DAgger, DAggerConfig

__all__ = ["DAggerCommand", "command"]


@dataclass(frozen=True)
class DAggerCommand:
    """Teach a student on the states that it visits itself.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        demonstrations: Episodes that the teacher shows each member as a start.
        every: Keep one step in so many of them.
        student_view: What the student sees, while the teacher sees all: keep:0,2 noise:0.1 delay:2 stack:4, in turn.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    demonstrations: NonNegative[int] = 0
    every: Count = 1
    student_view: tuple[str, ...] = ()
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: DAggerConfig = field(default_factory=DAggerConfig)

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("dagger_envs", 10)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        source = viewed(source, self.student_view)
        demonstrations = None
        if self.demonstrations > 0:
            # A place of their own, so that the student's first drive begins with whole episodes.
            place = replace(self.common, num_envs=None).source(env, min(self.demonstrations, AT_ONCE))
            demonstrations = shown(viewed(place, self.student_view), teacher, self.demonstrations).thinned(self.every)
        config = changed(self.config, self.common.change)
        dagger = DAgger(source, teacher, fresh(source, self.student), config, demonstrations=demonstrations)
        self.common.run(dagger, "dagger", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = DAggerCommand(
        tyro.MISSING,
        common=Common(env=env),
        student=config_for(Architecture, "student", env or ""),
        config=config_for(DAggerConfig, "dagger", env or ""),
    )
    return flat(DAggerCommand), as_before(default, run_before(arguments, "dagger", env))
