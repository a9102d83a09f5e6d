"""The command `imitate gated`: DAgger that asks where a gate says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Generic, NamedTuple, TypeVar

import torch
import tyro
from tyro.conf import Positional, arg

from imitate.cli.common import Common, env_of, teacher_for
from imitate.cli.parsing import option
from imitate.cli.resuming import as_before, changed, options_of, run_before
from imitate.cli.views import viewed
from imitate.configs import config_for, settings
from imitate.core.names import closest
from imitate.core.types import Source
from imitate.nets.actor import Actor, Architecture, fresh
from imitate.policies import Gate
from imitate.students import (
    EnsembleGate,
    EnsembleGateConfig,
    GatedDAgger,
    GatedDAggerConfig,
    HumanGate,
    HumanGateConfig,
    LazyGate,
    LazyGateConfig,
    SafeGate,
    SafeGateConfig,
    ThriftyGate,
    ThriftyGateConfig,
)
from imitate_envs.base import Box

__all__ = ["GatedCommand", "command"]

C = TypeVar("C")


def _human(source: Source, student: Actor, config: HumanGateConfig) -> Gate:
    """A scripted supervisor, who can look at what the environment shows."""
    observation = source.spec.observation
    if not isinstance(observation, Box):
        raise ValueError(f"name: the supervisor of hg looks at numbers of a Box, not of {observation}.")
    config.takes_over(torch.zeros(1, 1, *observation.shape))
    return HumanGate(config.takes_over, config.hands_back)


class Kind(NamedTuple):
    """A gate: what makes it, of where the teacher acts and sees, and its config."""

    make: Callable[[Source, Actor, Any], Gate]
    config: type[Any]


GATES = {
    "safe": Kind(SafeGate, SafeGateConfig),
    "lazy": Kind(LazyGate, LazyGateConfig),
    "ensemble": Kind(EnsembleGate, EnsembleGateConfig),
    "thrifty": Kind(ThriftyGate, ThriftyGateConfig),
    "hg": Kind(_human, HumanGateConfig),
}


@dataclass(frozen=True)
class GatedCommand(Generic[C]):
    """Teach a student by DAgger with a teacher that drives and is asked where a gate says so.

    Args:
        name: safe (SafeDAgger), lazy (LazyDAgger), ensemble (EnsembleDAgger), thrifty (ThriftyDAgger) or hg (HG-DAgger,
            with a scripted supervisor: --gate.numbers 2 0 --gate.limits 0.1 1.2).
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        student_view: What the student sees, while the teacher sees all: keep:0,2 noise:0.1 delay:2 stack:4, in turn.
        common: Options of every run.
        student: Its network.
        gate: Hyper-parameters of the gate.
        config: Hyper-parameters.
    """

    name: Annotated[Positional[str], arg(metavar="{" + ",".join(GATES) + "}")]
    teacher: str
    gate: C
    common: Annotated[Common, arg(name="")]
    student: Annotated[Architecture, arg(name="")]
    config: Annotated[GatedDAggerConfig, arg(name="")]
    vec_normalize: Path | None = None
    student_view: tuple[str, ...] = ()

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        whole = self.common.source(env, int(settings(env).get("dagger_envs", 10)))
        teacher = teacher_for(self.teacher, whole, self.vec_normalize)
        if self.name not in GATES:
            raise ValueError(closest("name", self.name, GATES))
        if not isinstance(self.gate, GATES[self.name].config):
            raise ValueError(f"name: write it first, as in 'imitate gated {self.name} --env {env}'.")
        source = viewed(whole, self.student_view)
        student = fresh(source, self.student)
        # A supervisor sees what the teacher does, a learnt gate what the student does.
        gate = GATES[self.name].make(whole if self.name == "hg" else source, student, self.gate)
        config = changed(self.config, self.common.change)
        dagger = GatedDAgger(source, teacher, student, gate, config)
        self.common.run(dagger, f"{self.name}-dagger", options_of(replace(self, config=config)), teacher)


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed: the options of the gate that stands first, with the defaults of its environment."""
    name = next((word for word in arguments[:1] if not word.startswith("-")), "safe")
    if name not in GATES:
        raise ValueError(closest("name", name, GATES))
    env = option(arguments, "--env") or env_of(option(arguments, "--teacher"))
    kind = GATES[name].config
    default = GatedCommand(
        tyro.MISSING,
        tyro.MISSING,
        kind(),
        Common(env=env),
        config_for(Architecture, "student", env or ""),
        config_for(GatedDAggerConfig, "gated", env or ""),
    )
    return GatedCommand[kind], as_before(default, run_before(arguments, f"{name}-dagger", env))  # type: ignore[valid-type]
