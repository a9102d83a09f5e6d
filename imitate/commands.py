"""The commands of the command line: what each takes, as dataclasses, and what each does."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Generic, Literal, TypeVar

import torch
from rich.table import Table
from tyro.conf import Positional

import imitate_envs
from imitate.common import OUT, Common, Device, fresh, members_of, must_exist, options_of, teacher_for
from imitate.configs import available, settings
from imitate.core.types import Policy
from imitate.demo import demo
from imitate.experiment.evaluate import evaluate
from imitate.losses.distillation import LOSSES
from imitate.losses.imitation import ImitationLoss, negative_log_likelihood, squared_error
from imitate.make import make
from imitate.nets.policy_network import Architecture
from imitate.policies import Mixture, risk_sensitive
from imitate.registry import BASELINES, closest
from imitate.students import (
    BehaviourCloning,
    BehaviourCloningConfig,
    DAgger,
    DAggerConfig,
    Demonstrations,
    PolicyDistillation,
    PolicyDistillationConfig,
    demonstrate,
)
from imitate_envs.base import Discrete

__all__ = ["Clone", "DAggerCommand", "Demo", "Distill", "Evaluate", "List", "Train"]

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
        source = self.common.source(env, int(settings(env).get("num_envs", 16)))
        algorithm = baseline.algorithm(source, self.config)
        self.common.run(algorithm, self.algorithm, {"config": asdict(self.config)})


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
            shown = demonstrate(source, teacher, self.demonstrations)
        else:
            assert self.data is not None
            shown = Demonstrations.from_npz(self.data, source)
        if self.loss == "mse" and isinstance(source.action, Discrete):
            raise ValueError("loss: mse needs a continuous action; take nll for choices.")
        student = fresh(source, self.student)
        losses: dict[str, ImitationLoss | None] = {
            "default": None,
            "nll": negative_log_likelihood,
            "mse": squared_error,
        }
        cloning = BehaviourCloning(source, shown.thinned(self.every), student, self.config, loss=losses[self.loss])
        self.common.run(cloning, "clone", options_of(self), teacher)


@dataclass(frozen=True)
class DAggerCommand:
    """Teach a student on the states that it visits itself.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        demonstrations: Episodes that the teacher shows each member as a start.
        every: Keep one step in so many of them.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    demonstrations: int = 0
    every: int = 1
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: DAggerConfig = field(default_factory=DAggerConfig)

    def __call__(self) -> None:
        """Teach."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("dagger_envs", 10)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        shown = None
        if self.demonstrations > 0:
            # A place of their own, so that the student's first drive begins with whole episodes.
            shown = demonstrate(
                replace(self.common, num_envs=None).source(env, self.demonstrations),
                teacher,
                self.demonstrations,
            ).thinned(self.every)
        dagger = DAgger(source, teacher, fresh(source, self.student), self.config, demonstrations=shown)
        self.common.run(dagger, "dagger", options_of(self), teacher)


@dataclass(frozen=True)
class Distill:
    """Distil a teacher into a student of any size.

    Args:
        teacher: A run, an SB3 .zip, "control" for a control law, or "plan" for a planner.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 teacher.
        loss: What is minimised.
        drive: Who acts; "mixture" lets the teacher take half of the steps.
        common: Options of every run.
        student: Its network.
        config: Hyper-parameters.
    """

    teacher: str
    vec_normalize: Path | None = None
    loss: Literal["forward-kl", "reverse-kl", "cross-entropy", "mse"] = "forward-kl"
    drive: Literal["student", "teacher", "mixture"] = "student"
    common: Common = field(default_factory=Common)
    student: Architecture = field(default_factory=Architecture)
    config: PolicyDistillationConfig = field(default_factory=PolicyDistillationConfig)

    def __call__(self) -> None:
        """Distil."""
        env = self.common.known_env(self.teacher)
        source = self.common.source(env, int(settings(env).get("distill_envs", 16)))
        teacher = teacher_for(self.teacher, source, self.vec_normalize)
        student = fresh(source, self.student)
        half = torch.full((source.members,), 0.5, device=source.device)
        drivers: dict[str, Policy] = {
            "student": student,
            "teacher": teacher,
            "mixture": Mixture(teacher, student, half),
        }
        distillation = PolicyDistillation(
            source, teacher, student, self.config, loss=LOSSES[self.loss], driver=drivers[self.drive]
        )
        self.common.run(distillation, "distill", options_of(self), teacher)


@dataclass(frozen=True)
class Evaluate:
    """Play whole episodes with a policy; against a teacher, on the same noise, if one is given.

    Args:
        policy: A run, an SB3 .zip, "control" or "plan".
        env: Environment id; by default the one that the policy was made for.
        teacher: Against whom.
        vec_normalize: VecNormalize statistics (.pkl) of an SB3 policy.
        teacher_vec_normalize: The same of an SB3 teacher.
        episodes: Of each member.
        members: By default the policy's.
        stochastic: Draw actions instead of taking the most likely.
        risk: Go by a risk measure of each action's return: cvar:0.1, wang:-0.75, power:-2, cpw:0.71, mean-variance:0.1.
        seed: Of the noise.
        device: Where it runs.
        json: Print JSON instead of a line.
    """

    policy: Positional[str]
    env: str | None = None
    teacher: str | None = None
    vec_normalize: Path | None = None
    teacher_vec_normalize: Path | None = None
    episodes: int = 100
    members: int | None = None
    stochastic: bool = False
    risk: str | None = None
    seed: int = 1_000_003
    device: Device = "auto"
    json: bool = False

    def __call__(self) -> None:
        """Evaluate."""
        if self.env is None:
            must_exist("policy", self.policy)
            raise ValueError("env: which environment? Pass --env, for example --env CartPole-v1.")
        members = self.members or members_of(self.policy) or 1
        source = make(self.env, num_envs=1, members=members, seed=self.seed, device=self.device)
        learnt = teacher_for(self.policy, source, self.vec_normalize)
        if self.risk is not None:
            learnt = risk_sensitive(learnt, self.risk)
        against = None if self.teacher is None else teacher_for(self.teacher, source, self.teacher_vec_normalize)
        found = evaluate(
            learnt, source, self.episodes, teacher=against, deterministic=not self.stochastic, seed=self.seed
        )
        if not self.json:
            OUT.print(str(found), markup=False, soft_wrap=True)
            return
        low, high = (None if value != value else value for value in found.ci)
        percent = found.percent_of_teacher
        document = {
            "env": self.env,
            "members": members,
            "episodes": self.episodes,
            "mean": found.mean,
            "iqm": found.iqm,
            "ci_low": low,
            "ci_high": high,
            "interval_over": found.unit,
            "percent_of_teacher": percent if percent is None or math.isfinite(percent) else None,
            "member_means": found.returns.mean(1).tolist(),
        }
        OUT.print_json(data=document)


@dataclass(frozen=True)
class Demo:
    """The main job, end to end: a PPO teacher and four students; prints a table, writes report.json and report.png.

    Args:
        env: Environment id.
        members: Independent copies trained together: seeds, for intervals.
        seed: Of everything.
        device: Where it all runs.
        episodes: Of each member in the last evaluation.
        out: Folder for the report and the policies.
    """

    env: str = "CartPole-v1"
    members: int = 8
    seed: int = 0
    device: Device = "auto"
    episodes: int = 100
    out: Path = Path("runs/demo")

    def __call__(self) -> None:
        """Run the demo."""
        experiment = demo(
            self.env,
            seed=self.seed,
            members=self.members,
            episodes=self.episodes,
            device=self.device,
            out=self.out,
            say=lambda line: OUT.print(line, markup=False, soft_wrap=True),
        )
        OUT.print(experiment.table(wide=OUT.width >= 130))
        OUT.print(f"wrote {self.out / 'report.json'} and {self.out / 'report.png'}", markup=False, soft_wrap=True)


@dataclass(frozen=True)
class List:
    """List algorithms, environments and teachers."""

    def __call__(self) -> None:
        """Print what there is."""
        table = Table(show_header=False, box=None)
        table.add_row("baselines", ", ".join(BASELINES), "imitate train NAME --env ID")
        table.add_row("students", "clone, dagger, distill", "imitate NAME --teacher RUN")
        table.add_row("environments", ", ".join(imitate_envs.ENVS), "ours; any other Gymnasium id works too")
        table.add_row("tuned settings", ", ".join(available()), "used by default")
        table.add_row("teachers", "a run, an SB3 .zip, control, plan", "--teacher")
        table.add_row("losses", ", ".join(LOSSES), "imitate distill --loss")
        OUT.print(table)
