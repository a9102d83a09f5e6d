"""The command `imitate clone`: behaviour cloning."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from imitate.cli.common import Common, demonstrations_for, env_of
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.configs import config_for
from imitate.losses.imitation import ImitationLoss, SquaredError, negative_log_likelihood
from imitate.nets.actor import Architecture, fresh
from imitate.students import BehaviourCloning, BehaviourCloningConfig
from imitate_envs.base import Box

__all__ = ["Clone", "command"]


@dataclass(frozen=True)
class Clone:
    """Clone a teacher from demonstrations: behaviour cloning.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner; not needed with --data.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        data: An .npz with arrays obs and action (and done, where episodes end), instead of a teacher.
        clip_actions: Move actions of that file inside their bounds, instead of refusing it.
        demonstrations: Episodes that the teacher shows each member.
        every: Keep one step in so many.
        loss: By default the likelihood for choices and the squared error for continuous actions.
        student_view: What the student sees, while the teacher sees all: keep:0,2 noise:0.1 delay:2 stack:4, in turn.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str | None = None
    vec_normalize: Path | None = None
    data: Path | None = None
    clip_actions: bool = False
    demonstrations: int = 25
    every: int = 1
    loss: Literal["default", "nll", "mse"] = "default"
    student_view: tuple[str, ...] = ()
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: BehaviourCloningConfig = field(default_factory=BehaviourCloningConfig)

    def __call__(self) -> None:
        """Clone."""
        source, teacher, demonstrations = demonstrations_for(
            self.common,
            self.common.known_env(self.teacher),
            self.teacher,
            self.vec_normalize,
            self.data,
            self.demonstrations,
            self.clip_actions,
            self.student_view,
        )
        action = source.spec.action
        if self.loss == "mse" and not isinstance(action, Box):
            raise ValueError("loss: mse needs a continuous action; take nll for choices.")
        student = fresh(source, self.student)
        losses: dict[str, ImitationLoss | None] = {
            "default": None,
            "nll": negative_log_likelihood,
            "mse": SquaredError(action) if isinstance(action, Box) else None,
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
    return flat(Clone), as_before(default, run_before(arguments, "clone", env))
