"""The command `imitate condense`: a few labelled states whose clones act well, by evolution or from a teacher."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from imitate.cli.common import Common, demonstrations_for, env_of, say
from imitate.cli.parsing import flat, option
from imitate.cli.resuming import as_before, changed, folder, options_of, run_before
from imitate.configs import config_for
from imitate.nets.actor import Architecture, fresh
from imitate.students import DatasetDistillation, DatasetDistillationConfig, HaDES, HaDESConfig

__all__ = ["Condense", "CondenseTeacher", "command"]

FILE = "pairs.npz"


@dataclass(frozen=True)
class Condense:
    """Distil behaviour into a few labelled states whose clones act well.

    They are evolved (HaDES), or with --teacher or --data learnt by gradients from demonstrations. The data set goes to
    pairs.npz in the folder of the run, for imitate clone --data FILE --validation 0.

    Args:
        teacher: A run, an SB3 .zip, "control" or "plan", whose demonstrations are distilled by gradients instead. That
            has options of its own: imitate condense --teacher control --help
        data: An .npz of demonstrations, instead of a teacher.
        common: Options of every run; each of the members is a candidate.
        student: The network that is cloned.
        config: Hyper-parameters.
    """

    teacher: str | None = None
    data: Path | None = None
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: HaDESConfig = field(default_factory=HaDESConfig)

    def __call__(self) -> None:
        """Evolve."""
        source = self.common.source(self.common.known_env(), 1)
        config = changed(self.config, self.common.change)
        hades = HaDES(source, fresh(source, self.student), config)
        try:
            self.common.run(hades, "condense", options_of(replace(self, config=config)))
        finally:
            _keep(hades, self.common)


@dataclass(frozen=True)
class CondenseTeacher:
    """Distil demonstrations into a few labelled states, by gradients through cloning.

    The data set of the first member goes to pairs.npz in the folder of the run.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner; not needed with --data.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        data: An .npz with arrays obs and action (and done, where episodes end), instead of a teacher.
        clip_actions: Move actions of that file inside their bounds, instead of refusing it.
        demonstrations: Episodes that the teacher shows each member.
        common: Options of every run.
        student: The network that is cloned.
        config: Hyper-parameters.
    """

    teacher: str | None = None
    vec_normalize: Path | None = None
    data: Path | None = None
    clip_actions: bool = False
    demonstrations: int = 25
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: DatasetDistillationConfig = field(default_factory=DatasetDistillationConfig)

    def __call__(self) -> None:
        """Distil."""
        source, teacher, demonstrations = demonstrations_for(
            self.common,
            self.common.known_env(self.teacher),
            self.teacher,
            self.vec_normalize,
            self.data,
            self.demonstrations,
            self.clip_actions,
        )
        config = changed(self.config, self.common.change)
        distillation = DatasetDistillation(source, demonstrations, fresh(source, self.student), config)
        try:
            self.common.run(distillation, "condense", options_of(replace(self, config=config)), teacher)
        finally:
            _keep(distillation, self.common)


def _keep(algorithm: HaDES | DatasetDistillation, common: Common) -> None:
    """Write the pairs beside the checkpoint, where there is one: also of a run that was interrupted."""
    out = common.out or folder("condense", algorithm.source.spec.id)
    sound = bool(algorithm.pairs.obs.isfinite().all())
    if sound and int(algorithm.progress.steps) > 0 and (out / "checkpoint.json").exists():
        algorithm.demonstrations.save(out / FILE, algorithm.source)
        say(f"the data set is in {out / FILE}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, with the defaults of the environment, or of the run that is resumed."""
    teacher = option(arguments, "--teacher")
    env = option(arguments, "--env") or env_of(teacher)
    before = run_before(arguments, "condense", env)
    shown = [teacher, option(arguments, "--data"), before.get("teacher"), before.get("data")]
    student = config_for(Architecture, "student", env or "")
    if any(name is not None for name in shown):
        return flat(CondenseTeacher), as_before(CondenseTeacher(common=Common(env=env), student=student), before)
    return flat(Condense), as_before(Condense(common=Common(env=env, members=32), student=student), before)
