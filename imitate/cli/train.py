"""The command `imitate train`: reinforcement learning."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Generic, TypeVar

import tyro
from tyro.conf import Positional, subcommand

from imitate.cli.common import Common, as_before, changed, run_before
from imitate.cli.parsing import NOTHING, option
from imitate.configs import config_for, settings
from imitate.core.names import closest
from imitate.core.options import plain
from imitate.registry import BASELINES

__all__ = ["Train", "command"]

C = TypeVar("C")


@dataclass(frozen=True)
class Train(Generic[C]):
    """Train a teacher, or a baseline, from rewards.

    Args:
        algorithm: Its name; `imitate list` shows all.
        common: Options of every run.
        config: Hyper-parameters; by default those tuned for the environment.
    """

    algorithm: Positional[str]
    common: Common
    config: C

    def __call__(self) -> None:
        """Train."""
        env = self.common.known_env()
        if self.algorithm not in BASELINES:
            raise ValueError(closest("algorithm", self.algorithm, BASELINES))
        baseline = BASELINES[self.algorithm]
        if not isinstance(self.config, baseline.config):
            raise ValueError(f"algorithm: write it first, as in 'imitate train {self.algorithm} --env {env}'.")
        config = changed(self.config, self.common.change)
        source = self.common.source(env, int(settings(env).get("num_envs", 16)))
        self.common.run(baseline.algorithm(source, config), self.algorithm, {"config": plain(config)})


@dataclass(frozen=True)
class _Options(Generic[C]):
    """Options of one algorithm, whose name stands before them."""

    common: Common
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
    env = option(arguments, "--env")
    kind = BASELINES[name].config
    default = Train(tyro.MISSING, Common(env=env), config_for(kind, name, env or ""))
    return Train[kind], as_before(default, run_before(arguments, name, env))  # type: ignore[valid-type]


def _algorithms() -> Any:
    """The options of every algorithm, as subcommands."""
    parts = []
    for name, (algorithm, kind) in BASELINES.items():
        about, options = (algorithm.__doc__ or "").partition("\n")[0], _Options(Common(), kind())
        parts.append(Annotated[_Options[kind], subcommand(name, default=options, description=about)])  # type: ignore[valid-type]
    return functools.reduce(operator.or_, parts)
