"""How small a student may be: students of many sizes, weights of eight bits, pruned weights, and learning from scratch.

Letters: M members, B observations.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from torch import nn

from imitate.baselines import PPO, PPOConfig
from imitate.configs import config_for, settings
from imitate.core import checkpoint, reading, tree
from imitate.core.actions import unmasked
from imitate.core.config import Count, Proper, check, checked
from imitate.core.lock import locked
from imitate.core.options import agreed, plain
from imitate.core.reading import refusing
from imitate.core.room import admit_steps
from imitate.core.types import Algorithm, Obs, Source, fold
from imitate.distributions.actions import TanhNormal, Teacher
from imitate.experiment.compression import Compression, Kind, Row
from imitate.experiment.evaluate import Evaluator
from imitate.experiment.fidelity import fidelity
from imitate.experiment.run import run
from imitate.export.timing import latency, missing
from imitate.nets.actor import Actor, Architecture, fresh
from imitate.nets.compression import dequantised, int8_bytes, nonzero, prune, pruned_bytes
from imitate.nets.inputs import Inputs
from imitate.nets.layers import Activation
from imitate.policies import Greedy
from imitate.sources import make
from imitate.students import PolicyDistillation, PolicyDistillationConfig
from imitate.teachers.label import Answers

__all__ = ["CompressConfig", "compress"]

TIMED = 256  # observations of the teacher on which decisions are timed
STATES = 256  # steps of each environment on which answers are compared


@dataclass(frozen=True)
class CompressConfig:
    """What is made of a teacher.

    Args:
        sizes: Units of each hidden layer of a student, one student a size.
        layers: Hidden layers of a student.
        activation: Of the hidden layers.
        normalise: Students standardise observations by running statistics.
        prune: Shares of the weights of the largest student that are pruned, which is then distilled again; may be none.
        scratch: Train each size by PPO without the teacher, too.
        distillation: Hyper-parameters of each distillation, of a pruned student too.
    """

    sizes: tuple[Count, ...] = (4, 8, 16, 32, 64)
    layers: Count = 2
    activation: Activation = "tanh"
    normalise: bool = False
    prune: tuple[Proper[float], ...] = (0.5, 0.9)
    scratch: bool = True
    distillation: PolicyDistillationConfig = field(default_factory=PolicyDistillationConfig)

    def __post_init__(self) -> None:
        check(self)
        if not self.sizes:
            raise ValueError("sizes: at least one size, such as 16.")
        for name in ("sizes", "prune"):
            if len(set(getattr(self, name))) < len(getattr(self, name)):
                raise ValueError(f"{name}: each once, not {list(getattr(self, name))}.")


@checked
def compress(
    teacher: Teacher,
    env: str,
    config: CompressConfig | None = None,
    *,
    seed: int = 0,
    members: Count = 8,
    num_envs: Count | None = None,
    episodes: Count = 100,
    device: str = "cpu",
    out: Path | str = "runs/compress",
    resume: bool = False,
    say: Callable[[str], None] = lambda line: None,
) -> Compression:
    """Distil a teacher into students of many sizes, and compare them with it and with learning from scratch.

    Every size is distilled from the same teacher, on states that the student visits. Each student is also evaluated
    with weights of eight bits. The largest one is pruned, and distilled again with the pruned weights held at zero.
    Training is kept in a folder for each row; all is measured at the end, so that times are of one run.

    Args:
        teacher: Of M members, or of one that serves all.
        env: Environment id.
        config: What is made; by default the settings of the environment.
        seed: Of everything.
        members: M.
        num_envs: Environments of each member; by default the setting of the environment.
        episodes: Of each member in an evaluation.
        device: Where it all runs.
        out: Folder for the rows, report.json and report.png.
        resume: Go on in the folder: what is trained is kept, what is missing is trained. `sizes`, `prune`, `scratch`
            and `episodes` may differ from those before.
        say: Receives one line for each thing done.

    Raises:
        ValueError: A number does not fit, the folder holds a compression and `resume` is false, or one with other
            options.
        KeyboardInterrupt: A run within it was interrupted; there is no report then.
    """
    job = _Job(teacher, env, config or default_config(env), seed, members, num_envs, device, Path(out), say)
    admit_steps(job.place(0).spec, {"episodes": episodes, "members": members}, seen=1)  # of the evaluations to come
    job.out.mkdir(parents=True, exist_ok=True)
    with locked(job.out):
        job.begin(resume)
        policies = job.policies()
        for note in missing():
            say(note)
        found = Compression(env, seed, job.measured(policies, episodes))
        found.save(job.out)
    return found


def default_config(env: str) -> CompressConfig:
    """The settings of an environment: its small student, of many sizes, and its distillation."""
    small = config_for(Architecture, "small_student", env)
    return CompressConfig(
        layers=max(1, len(small.hidden)),
        activation=small.activation,
        normalise=small.normalise,
        distillation=config_for(PolicyDistillationConfig, "distill", env),
    )


@dataclass(frozen=True)
class _Made:
    """A policy, and what it took."""

    name: str
    kind: Kind
    policy: Any
    bytes: int | None
    parameters: int | None
    env_steps: int = 0
    labels: int = 0


@dataclass(frozen=True)
class _Job:
    """What `compress` was called with."""

    teacher: Any
    env: str
    config: CompressConfig
    seed: int
    members: int
    num_envs: int | None
    device: str
    out: Path
    say: Callable[[str], None]

    def place(self, offset: int, setting: str = "distill_envs") -> Source:
        """A fresh source; each job has a seed of its own."""
        count = self.num_envs or int(settings(self.env).get(setting, 16))
        return make(self.env, num_envs=count, members=self.members, seed=self.seed + 1_000 * offset, device=self.device)

    def begin(self, resume: bool) -> None:
        """Write what this is, or make sure that the folder holds the same.

        Raises:
            ValueError: It does not, or `resume` is false.
        """
        path = self.out / "run.json"
        now = {
            "command": "compress",
            **{name: getattr(self, name) for name in ("env", "seed", "members", "num_envs")},
            "teacher_weights": _digest(self.teacher),
            "config": plain(self.config),
        }
        if path.exists():
            if not resume:
                raise ValueError(f"out: '{self.out}' holds a run already; resume it, or take another folder.")
            with refusing(f"out: '{path}' was not written by imitate"):
                before = _fixed(reading.document(path))
            agreed(before, _fixed(now), (), refusal=f"out: '{self.out}' was made with other options")
        checkpoint.replace(path, (json.dumps(now, indent=2) + "\n").encode())

    def policies(self) -> list[_Made]:
        """The teacher, and all that is made of it, trained."""
        whole = getattr(self.teacher, "parameters_per_member", None)
        made = [_Made("teacher", "teacher", self.teacher, None if whole is None else 4 * whole, whole)]
        shape = self._architecture()
        students: dict[int, Actor] = {}
        for size in self.config.sizes:
            source = self.place(1)
            student = students[size] = fresh(source, replace(shape, hidden=(size,) * self.config.layers))
            made.append(self._distilled(f"distilled {size}", "distilled", source, student, f"size-{size}"))
        for size, student in students.items():
            parts = int8_bytes(student), student.parameters_per_member
            made.append(_Made(f"{size}, int8", "int8", dequantised(student), *parts))
        largest = max(students)
        for share in self.config.prune:
            source, name = self.place(2), f"{largest}, {100 * share:g} % pruned"
            made.append(
                self._distilled(
                    name, "pruned", source, prune(students[largest], share), f"pruned-{share:g}-of-{largest}"
                )
            )
        for size in self.config.sizes if self.config.scratch else ():
            hidden = (size,) * self.config.layers
            tuned = config_for(PPOConfig, "ppo", self.env)
            ppo = PPO(self.place(3, "num_envs"), replace(tuned, hidden=hidden))
            self._trained(ppo, f"scratch {size}", f"scratch-{size}")
            count = ppo.policy.parameters_per_member
            steps = int(ppo.progress.steps)
            made.append(_Made(f"scratch {size}", "scratch", ppo.policy, 4 * count, count, steps))
        return made

    def _architecture(self) -> Architecture:
        """That of all students, but for their width.

        Raises:
            ValueError: The width of a layer makes no student small: an image alone takes the layers of the papers.
        """
        source = self.place(1)
        if Inputs(unmasked(source.spec.observation)).one_image:
            raise ValueError(
                f"sizes: a student for the images of {self.env} takes the layers of the papers, of one size."
            )
        squash = isinstance(Answers(self.teacher)(source.collect(Greedy(self.teacher), 1)), TanhNormal)
        return Architecture((), self.config.activation, self.config.normalise, squash)

    def _distilled(self, name: str, kind: Kind, source: Source, student: Actor, folder: str) -> _Made:
        """A student, trained."""
        distillation = PolicyDistillation(source, self.teacher, student, self.config.distillation)
        self._trained(distillation, name, folder)
        steps, labels = int(distillation.progress.steps), int(distillation.progress.labels[0])
        pruned = kind == "pruned"
        count = nonzero(student) if pruned else student.parameters_per_member
        return _Made(name, kind, student, pruned_bytes(student) if pruned else 4 * count, count, steps, labels)

    def _trained(self, algorithm: Algorithm, name: str, folder: str) -> None:
        """Run to the end, or to where it was."""
        every, seconds = max(1, algorithm.progress.budget // 10), None
        for report in run(algorithm, report_every=every, checkpoint=self.out / folder, resume=True):
            seconds = report.seconds
        if not algorithm.progress.finished:
            raise KeyboardInterrupt
        self.say(f"{name}: {'trained before' if seconds is None else f'trained in {seconds:.1f} s'}")

    def measured(self, made: list[_Made], episodes: int) -> list[Row]:
        """Returns, answers beside the teacher's, and times of decisions."""
        source = self.place(4)
        evaluator = Evaluator(source, episodes, teacher=self.teacher)
        obs = tree.map(lambda x: x[0, :TIMED], fold(source.collect(Greedy(self.teacher), 64).obs))
        return [self._row(one, evaluator, obs) for one in made]

    def _row(self, made: _Made, evaluator: Evaluator, obs: Obs) -> Row:
        beside = (None, None)
        if made.kind != "teacher":
            beside = tuple(  # type: ignore[assignment]
                fidelity(self.place(5), self.teacher, made.policy, driver=driver, steps=STATES)
                for driver in (self.teacher, made.policy)
            )
        evaluation = evaluator(made.policy)
        self.say(f"{made.name}: {evaluation}")
        times = latency(made.policy, obs, evaluator.source.spec.action, int8=made.kind == "int8")
        return Row(
            made.name, made.kind, made.parameters, made.bytes, made.env_steps, made.labels, times, evaluation, *beside
        )


def _fixed(document: dict[str, Any]) -> dict[str, Any]:
    """What two runs in one folder have in common: all options but those that only say which rows there are."""
    config = {name: value for name, value in document["config"].items() if name not in ("sizes", "prune", "scratch")}
    return {**{name: value for name, value in document.items() if name != "config"}, **config}


def _digest(teacher: Any) -> str:
    """What tells a teacher from another one: its kind, and a hash of its weights if it has any."""
    weights = teacher.state_dict() if isinstance(teacher, nn.Module) else {}
    found = sha256()
    for name, value in sorted(weights.items()):
        found.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    return f"{type(teacher).__name__} {found.hexdigest()[:16]}"
