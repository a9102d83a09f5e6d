"""The command `imitate jumpstart`: DQN from where a teacher leads."""

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
from imitate.students import JumpStart, JumpStartConfig

__all__ = ["JumpStartCommand", "command"]


@dataclass(frozen=True)
class JumpStartCommand:
    """Let a teacher begin the episodes, and hand over ever earlier to DQN.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        common: Options of every run.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    common: Common = field(default_factory=Common)
    config: JumpStartConfig = field(default_factory=JumpStartConfig)

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("num_envs", 16)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        config = changed(self.config, self.common.change)
        learner = JumpStart(source, teacher, config)
        self.common.run(learner, "jumpstart", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = JumpStartCommand(
        tyro.MISSING, common=Common(env=env), config=config_for(JumpStartConfig, "jumpstart", env or "")
    )
    return flat(JumpStartCommand), as_before(default, run_before(arguments, "jumpstart", env))
