"""The command `imitate generations`: born-again policies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tyro

from imitate.cli.common import Common, env_of, teacher_for
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.configs import config_for, settings
from imitate.nets.actor import Architecture
from imitate.students import BornAgain, BornAgainConfig

__all__ = ["Generations", "command"]


@dataclass(frozen=True)
class Generations:
    """Distil a teacher through generations, each the teacher of the next.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner; of the first generation.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        common: Options of every run.
        student: The network of every generation.
        config: Hyper-parameters; --steps are those of one generation.
    """

    teacher: str
    vec_normalize: Path | None = None
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: BornAgainConfig = field(default_factory=BornAgainConfig)

    def __call__(self) -> None:
        """Distil."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("distill_envs", 16)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        config = changed(self.config, self.common.change)
        born = BornAgain(source, teacher, self.student, config)
        self.common.run(born, "generations", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = Generations(
        tyro.MISSING,
        common=Common(env=env),
        student=config_for(Architecture, "small_student", env or ""),
        config=config_for(BornAgainConfig, "distill", env or ""),
    )
    return flat(Generations), as_before(default, run_before(arguments, "generations", env))
