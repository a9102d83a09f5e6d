"""The command `imitate airl`: adversarial inverse reinforcement learning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from imitate.cli.common import Common, env_of, learn_from_demonstrations
from imitate.cli.parsing import option
from imitate.cli.resuming import as_before, run_before
from imitate.configs import config_for, settings
from imitate.students import AIRL, AIRLConfig

__all__ = ["Airl", "command"]


@dataclass(frozen=True)
class Airl:
    """Learn a reward and its shaping apart from demonstrations, and a policy from them.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner; not needed with --data.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        data: An .npz with arrays obs and action (and done, where episodes end), instead of a teacher.
        clip_actions: Move actions of that file inside their bounds, instead of refusing it.
        demonstrations: Episodes that the teacher shows each member.
        every: Keep one step in so many.
        common: Options of every run.
        config: Hyper-parameters: --ppo.lr is that of the policy, --reward.lr that of the reward.
    """

    teacher: str | None = None
    vec_normalize: Path | None = None
    data: Path | None = None
    clip_actions: bool = False
    demonstrations: int = 25
    every: int = 1
    common: Annotated[Common, arg(name="")] = field(default_factory=Common)
    config: Annotated[AIRLConfig, arg(name="")] = field(default_factory=AIRLConfig)

    def __call__(self) -> None:
        """Imitate."""
        num_envs = int(settings(self.common.env or "").get("num_envs", 16))
        learn_from_demonstrations(self, "airl", AIRL, num_envs)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = Airl(common=Common(env=env), config=config_for(AIRLConfig, "airl", env or ""))
    return Airl, as_before(default, run_before(arguments, "airl", env))
