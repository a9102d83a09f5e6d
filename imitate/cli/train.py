"""The command `imitate train`: reinforcement learning."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
from tyro.conf import Positional, arg, subcommand

from imitate.baselines.ppo import PPOConfig, architecture_of
from imitate.cli.common import Common, env_of, teacher_for
from imitate.cli.parsing import NOTHING, flat, option
from imitate.cli.resuming import as_before, changed, run_before
from imitate.configs import config_for, settings
from imitate.core.config import Count, NonNegative
from imitate.core.names import closest
from imitate.core.options import plain
from imitate.core.terms import Linear
from imitate.distributions.actions import Teacher
from imitate.nets.actor import fresh
from imitate.registry import BASELINES
from imitate.students import Distil

__all__ = ["Train", "command"]

C = TypeVar("C")


@dataclass(frozen=True)
class Kickstart:
    """Options of learning near a teacher while that helps; for ppo, dqn and sac.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        distil: Weight of the distance to the teacher at the beginning.
        distil_steps: Steps of a member behind which the weight has fallen to 0; by default a quarter of the run.
    """

    teacher: str | None = None
    vec_normalize: Path | None = None
    distil: NonNegative[float] = 1.0
    distil_steps: Count | None = None


@dataclass(frozen=True)
class Train(Generic[C]):
    """Train a teacher, or a baseline, from rewards.

    Args:
        algorithm: Its name; `imitate list` shows all.
        common: Options of every run.
        kickstart: A teacher to learn near.
        config: Hyper-parameters; by default those tuned for the environment.
    """

    algorithm: Annotated[Positional[str], arg(metavar="ALGORITHM")]
    common: Common
    kickstart: Kickstart
    config: C

    def __call__(self) -> None:
        """Train."""
        env = self.common.known_env(self.kickstart.teacher)
        if self.algorithm not in BASELINES:
            raise ValueError(closest("algorithm", self.algorithm, BASELINES))
        baseline = BASELINES[self.algorithm]
        if not isinstance(self.config, baseline.config):
            raise ValueError(f"algorithm: write it first, as in 'imitate train {self.algorithm} --env {env}'.")
        config = changed(self.config, self.common.change)
        source = self.common.source(env, baseline.num_envs or int(settings(env).get("num_envs", 16)))
        options = {"kickstart": plain(self.kickstart), "config": plain(config)}
        if self.kickstart.teacher is None:
            self.common.run(baseline.algorithm(source, config), self.algorithm, options)
            return
        if "terms" not in signature(baseline.algorithm).parameters:
            raise ValueError(f"teacher: {self.algorithm} is not kickstarted; ppo, dqn and sac are.")
        teacher = teacher_for(self.kickstart.teacher, source, self.kickstart.vec_normalize)
        made: dict[str, Any] = {"terms": [_distil(self.kickstart, teacher, config.steps)]}
        if isinstance(config, PPOConfig):  # a student, which is not to begin as its teacher of the same seed did
            made["policy"] = fresh(source, architecture_of(config))
        self.common.run(baseline.algorithm(source, config, **made), self.algorithm, options, teacher)


def _distil(kickstart: Kickstart, teacher: Teacher, steps: int) -> Distil:
    """The term that keeps a student near a teacher."""
    length = max(1, steps // 4) if kickstart.distil_steps is None else kickstart.distil_steps
    return Distil(teacher, Linear(kickstart.distil, 0.0, steps=length))


@dataclass(frozen=True)
class _Options(Generic[C]):
    """Options of one algorithm, whose name stands before them."""

    common: Common
    kickstart: Kickstart
    config: C


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed: the options of the algorithm that stands first, with the defaults of its environment.

    Without any argument but a call for help, all algorithms: help lists them, and a completion script knows them.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        return _algorithms(), NOTHING
    name = "ppo" if arguments[0].startswith("-") else arguments[0]
    if name not in BASELINES:
        raise ValueError(closest("algorithm", name, BASELINES))
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    kind = BASELINES[name].config
    default = Train(tyro.MISSING, Common(env=env), Kickstart(), config_for(kind, name, env or ""))
    return flat(Train[kind]), as_before(default, run_before(arguments, name, env))  # type: ignore[valid-type]


def _algorithms() -> Any:
    """The options of every algorithm, as subcommands."""
    parts = []
    for name, baseline in BASELINES.items():
        algorithm, kind = baseline.algorithm, baseline.config
        about, options = (algorithm.__doc__ or "").partition("\n")[0], _Options(Common(), Kickstart(), kind())
        parts.append(Annotated[_Options[kind], subcommand(name, default=options, description=about)])  # type: ignore[valid-type]
    return flat(functools.reduce(operator.or_, parts))
