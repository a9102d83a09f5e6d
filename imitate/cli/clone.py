"""The command `imitate clone`: behaviour cloning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from imitate.cli.common import Common, as_before, changed, env_of, fresh, options_of, run_before, teacher_for
from imitate.cli.parsing import option
from imitate.configs import config_for
from imitate.data import Demonstrations, demonstrate
from imitate.losses.imitation import ImitationLoss, negative_log_likelihood, squared_error
from imitate.nets.policy_network import Architecture
from imitate.students import BehaviourCloning, BehaviourCloningConfig
from imitate_envs.base import Discrete

__all__ = ["Clone", "command"]


@dataclass(frozen=True)
class Clone:
    """Clone a teacher from demonstrations: behaviour cloning.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner; not needed with --data.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        data: An .npz with arrays obs and action (and done), instead of a teacher.
        demonstrations: Episodes that the teacher shows each member.
        every: Keep one step in so many.
        loss: By default the likelihood for choices and the squared error for continuous actions.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str | None = None
    vec_normalize: Path | None = None
    data: Path | None = None
    demonstrations: int = 25
    every: int = 1
    loss: Literal["default", "nll", "mse"] = "default"
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: BehaviourCloningConfig = field(default_factory=BehaviourCloningConfig)

    def __call__(self) -> None:
        """Clone."""
        if (self.teacher is None) == (self.data is None):
            raise ValueError("teacher: pass either --teacher or --data.")
        if self.demonstrations < 1:
            raise ValueError(f"demonstrations: at least 1, not {self.demonstrations}.")
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, self.demonstrations)
        teacher = None if self.teacher is None else teacher_for(self.teacher, source, self.vec_normalize)
        if teacher is not None:
            demonstrations = demonstrate(source, teacher, self.demonstrations)
        else:
            assert self.data is not None
            demonstrations = Demonstrations.from_npz(self.data, source)
        if self.loss == "mse" and isinstance(source.action, Discrete):
            raise ValueError("loss: mse needs a continuous action; take nll for choices.")
        student = fresh(source, self.student)
        losses: dict[str, ImitationLoss | None] = {
            "default": None,
            "nll": negative_log_likelihood,
            "mse": squared_error,
        }
        config = changed(self.config, self.common.change)
        thinned = demonstrations.thinned(self.every)
        cloning = BehaviourCloning(source, thinned, student, config, loss=losses[self.loss])
        self.common.run(cloning, "clone", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    default = Clone(
        common=Common(env=env),
        student=config_for(Architecture, "student", env or ""),
        config=config_for(BehaviourCloningConfig, "clone", env or ""),
    )
    return Clone, as_before(default, run_before(arguments, "clone", env))
