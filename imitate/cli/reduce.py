"""The command `imitate reduce`: imitation reduced to classification, besides DAgger."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

import tyro
from tyro.conf import Positional, arg, subcommand

from imitate.cli.common import Common, env_of, teacher_for
from imitate.cli.parsing import NOTHING, flat, option
from imitate.cli.resuming import as_before, changed, run_before
from imitate.configs import config_for, settings
from imitate.core.names import closest
from imitate.core.options import plain
from imitate.core.rollout import TensorSource
from imitate.nets.actor import Architecture, fresh
from imitate.policies import Greedy
from imitate.registry import REDUCTIONS
from imitate.students import ForwardTraining, SMILe

__all__ = ["Reduce", "command"]

C = TypeVar("C")


@dataclass(frozen=True)
class Reduce(Generic[C]):
    """Reduce imitation to classification, round by round: forward training, SMILe, SEARN, AggreVaTe(D).

    Args:
        method: Its name; `imitate list` shows all.
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        common: Options of every run.
        student: The network, of each classifier.
        config: Hyper-parameters.
    """

    method: Annotated[Positional[str], arg(metavar="METHOD")]
    teacher: str
    vec_normalize: Path | None
    common: Common
    student: Architecture
    config: C

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        if self.method not in REDUCTIONS:
            raise ValueError(closest("method", self.method, REDUCTIONS))
        algorithm, kind = REDUCTIONS[self.method]
        if not isinstance(self.config, kind):
            raise ValueError(f"method: write it first, as in 'imitate reduce {self.method} --teacher {self.teacher}'.")
        source = self.common.source(env, int(settings(env).get("dagger_envs", 10)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        # These label greedily themselves; the others go on as the teacher acts, and ask it where nothing is branched.
        labels = algorithm in (ForwardTraining, SMILe) or not isinstance(source, TensorSource)
        config = changed(self.config, self.common.change)
        made = algorithm(source, teacher if labels else Greedy(teacher), fresh(source, self.student), config)
        options = {"teacher": self.teacher, "vec_normalize": plain(self.vec_normalize), "student": plain(self.student)}
        self.common.run(made, self.method, {**options, "config": plain(config)}, teacher)


@dataclass(frozen=True)
class _Options(Generic[C]):
    """Options of one method, whose name stands before them."""

    teacher: str
    vec_normalize: Path | None
    common: Common
    student: Architecture
    config: C


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed: the options of the method that stands first, with the defaults of its environment.

    Without any argument but a call for help, all methods: help lists them, and a completion script knows them.
    """
    if not arguments or arguments[0] in ("-h", "--help"):
        return _methods(), NOTHING
    name = next(iter(REDUCTIONS)) if arguments[0].startswith("-") else arguments[0]
    if name not in REDUCTIONS:
        raise ValueError(closest("method", name, REDUCTIONS))
    env, (_, kind) = option(arguments, "--env") or env_of(option(arguments, "--teacher")), REDUCTIONS[name]
    student = config_for(Architecture, "student", env or "")
    default = Reduce(tyro.MISSING, tyro.MISSING, None, Common(env=env), student, config_for(kind, name, env or ""))
    return flat(Reduce[kind]), as_before(default, run_before(arguments, name, env))  # type: ignore[valid-type]


def _methods() -> Any:
    """The options of every method, as subcommands."""
    parts = []
    for name, (algorithm, kind) in REDUCTIONS.items():
        about = (algorithm.__doc__ or "").partition("\n")[0]
        options = _Options(tyro.MISSING, None, Common(), Architecture(), kind())
        parts.append(Annotated[_Options[kind], subcommand(name, default=options, description=about)])  # type: ignore[valid-type]
    return flat(functools.reduce(operator.or_, parts))
