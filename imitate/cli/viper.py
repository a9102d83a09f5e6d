"""The command `imitate viper`: a decision tree instead of a network."""

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
from imitate.students import VIPER, VIPERConfig

__all__ = ["VIPERCommand", "command"]


@dataclass(frozen=True)
class VIPERCommand:
    """Extract a decision tree from a teacher.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        common: Options of every run.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    common: Common = field(default_factory=Common)
    config: VIPERConfig = field(default_factory=VIPERConfig)

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("dagger_envs", 10)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        config = changed(self.config, self.common.change)
        self.common.run(VIPER(source, teacher, config), "viper", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = VIPERCommand(tyro.MISSING, common=Common(env=env), config=config_for(VIPERConfig, "viper", env or ""))
    return flat(VIPERCommand), as_before(default, run_before(arguments, "viper", env))
