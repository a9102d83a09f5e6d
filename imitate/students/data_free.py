"""Distillation without data: a generator makes the states.

Letters: M members, B batch, Z numbers of noise, F numbers of an observation, A choices.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from imitate.core.actions import bounds
from imitate.core.config import Count, NonNegative, Positive, check, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream, normal
from imitate.core.progress import Progress
from imitate.core.room import admit_steps
from imitate.core.spec import Spec
from imitate.core.types import Metrics, Source
from imitate.core.weak import Weak
from imitate.distributions.actions import Categorical, Teacher
from imitate.losses.data_free import information, one_hot
from imitate.losses.distillation import forward_kl
from imitate.nets.actor import Actor
from imitate.nets.layers import MLP
from imitate.students.behaviour_cloning import check_student
from imitate.students.distillation import check_kinds
from imitate_envs.base import Box

__all__ = ["DataFreeDistillation", "DataFreeDistillationConfig", "GeneratedStates", "UniformStates"]


@dataclass(frozen=True)
class DataFreeDistillationConfig:
    """Hyper-parameters of distillation without data.

    Args:
        steps: Batches of states.
        batch_size: B, states of one member in a batch, each of which the teacher labels.
        lr: Learning rate of Adam for the student.
        anneal_lr: Let it fall linearly to zero.
        max_grad_norm: Bound on the norm of each gradient.
    """

    steps: Count = 3_000
    batch_size: Count = 256
    lr: NonNegative[PerMember] = 2e-3
    anneal_lr: bool = True
    max_grad_norm: Positive[float] = 1.0

    def __post_init__(self) -> None:
        check(self)


class UniformStates:
    """States that are uniform in the bounds of an observation: what a generator is to be compared with.

    Args:
        spec: Of the source.
        reach: Bound of the numbers that have none of their own.

    Raises:
        ValueError: Observations are no vectors of numbers.
    """

    @checked
    def __init__(self, spec: Spec, *, reach: Positive[float] = 3.0) -> None:
        box = spec.observation
        if not isinstance(box, Box) or len(box.shape) != 1 or spec.obs_dtype != torch.float32:
            raise ValueError(f"source: observations of {spec.id} are {box}; only vectors of numbers can be generated.")
        low, high = bounds(box, spec.device)
        # Gymnasium writes the greatest number of float32 for a bound that there is not.
        free = torch.finfo(torch.float32).max
        self.low, self.high = low.where(low > -free, -reach), high.where(high < free, reach)
        self.stream = Stream(spec.seed, "states", spec.device)
        self.members = spec.members

    @torch.no_grad()
    def draw(self, count: int) -> Tensor:
        """States [M, count, F]."""
        return torch.lerp(self.low, self.high, self.stream.uniform(self.members, count, len(self.low)))

    def learn(self, teacher: Teacher, student: Actor, count: int) -> Metrics:
        """There is nothing to learn."""
        return {}


class GeneratedStates:
    """States of a generator that seeks those where student and teacher disagree.

        min_G E_z[ −d·KL(π(G(z)) ‖ π_θ(G(z))) − o·log max_a π(a|G(z)) ] + i·Σ_a p̄_a log p̄_a

    The first summand is the adversarial one of the generative adversarial simulator (Raiman 2020), the others are those
    of DAFL (Chen et al. 2019): the teacher is to be sure, and each choice to come as often. Its generator begins anew
    every so many steps, as the simulator's does, so that it does not stay where it once was right. The gradient goes
    through the teacher, where that has one.

    Args:
        spec: Of the source.
        reach: Bound of the numbers of a state that have none of their own.
        latent: Z, normal numbers that a state is made of.
        hidden: Widths of the generator.
        lr: Learning rate of Adam.
        disagreement: d.
        sure: o; teachers and students of choices alone.
        balance: i; likewise.
        restart: Steps after which it begins anew.
    """

    @checked
    def __init__(
        self,
        spec: Spec,
        *,
        reach: Positive[float] = 3.0,
        latent: Count = 8,
        hidden: tuple[Count, ...] = (64, 64),
        lr: NonNegative[float] = 1e-3,
        disagreement: NonNegative[float] = 1.0,
        sure: NonNegative[float] = 0.0,
        balance: NonNegative[float] = 1.0,
        restart: Count = 100,
    ) -> None:
        within = UniformStates(spec, reach=reach)
        self.low, self.high, self.stream, self.members = within.low, within.high, within.stream, spec.members
        self.latent, self.hidden, self.restart = latent, hidden, restart
        self.disagreement, self.sure, self.balance = disagreement, sure, balance
        self.init = Stream(spec.seed, "init-generator", spec.device)
        self.generator = self._fresh()
        self.learner = Learner([self.generator], Weak(self._loss), lr=lr, max_grad_norm=1.0)
        self.steps = torch.zeros((), dtype=torch.int64)
        self._parties: tuple[Teacher, Actor] | None = None

    @torch.no_grad()
    def draw(self, count: int) -> Tensor:
        """States [M, count, F]."""
        return self._states(self._noise(count))

    def learn(self, teacher: Teacher, student: Actor, count: int) -> Metrics:
        """One step against a teacher and a student, both of which stay as they are; what it reports, each [M]."""
        if int(self.steps) > 0 and int(self.steps) % self.restart == 0:
            with torch.no_grad():
                for mine, new in zip(self.generator.parameters(), self._fresh().parameters(), strict=True):
                    mine.copy_(new)
            for moment in self.learner.state_dict().values():
                moment.zero_()
        self.steps += 1
        self._parties = teacher, student
        metrics = self.learner(self._noise(count))
        self._parties = None
        return {"disagreement": metrics["disagreement"]}

    def _loss(self, noise: Tensor) -> tuple[Tensor, Metrics]:
        assert self._parties is not None
        obs = self._states(noise)
        told, said = (party.distribution(obs) for party in self._parties)
        disagreement = told.kl(said)
        loss = -self.disagreement * disagreement.mean(1)
        if isinstance(told, Categorical):
            loss = loss + self.sure * one_hot(told).mean(1) + self.balance * information(told)
        return loss, {"disagreement": disagreement.detach()}

    def _noise(self, count: int) -> Tensor:
        return normal(self.stream.uniform(self.members, count, self.latent))

    def _states(self, noise: Tensor) -> Tensor:
        return torch.lerp(self.low, self.high, torch.sigmoid(2 * self.generator(noise)))

    def _fresh(self) -> MLP:
        return MLP(self.members, self.latent, self.hidden, len(self.low), init=self.init)


class DataFreeDistillation:
    """A student of a teacher on states that nobody visited (Chen et al. 2019; Raiman 2020).

        min_θ E_s KL(π(s) ‖ π_θ(s)),   s of `states`

    No environment is stepped, and nothing is known of it but the bounds of its observations.

    Args:
        source: Gives the spaces, and is where the student is evaluated; no steps are taken in it.
        teacher: Who labels.
        student: The policy to train.
        config: Hyper-parameters.
        states: `GeneratedStates` by default, or `UniformStates`.

    Raises:
        ValueError: A number does not fit, or observations are no vectors of numbers.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: DataFreeDistillationConfig | None = None,
        *,
        states: GeneratedStates | UniformStates | None = None,
    ) -> None:
        config, spec = config or DataFreeDistillationConfig(), source.spec
        check_student(source, student, teacher)
        admit_steps(spec, {"batch_size": config.batch_size, "members": spec.members})
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.states = states or GeneratedStates(spec)
        check_kinds(*(party.distribution(self.states.draw(1)) for party in (teacher, student)))
        self.learner = Learner([student], Weak(self._loss), lr=config.lr, max_grad_norm=config.max_grad_norm)
        self.hyper = SimpleNamespace(lr=self.learner.lr.clone())
        self.progress = Progress(spec, config.steps)

    def step(self) -> Metrics:
        """The generator learns, then the student."""
        if self.config.anneal_lr:
            self.learner.lr.copy_(self.hyper.lr * (1 - self.progress.share))
        size = self.config.batch_size
        metrics = self.states.learn(self.teacher, self.policy, size)
        obs = self.states.draw(size)
        self.policy.observe(obs)
        with torch.no_grad():
            told = self.teacher.distribution(obs)
        metrics |= self.learner((obs, told))
        self.progress.advance(1, size)
        return {name: value if value.dim() == 1 else value.mean(1) for name, value in metrics.items()}

    def _loss(self, batch: tuple[Tensor, Any]) -> tuple[Tensor, Metrics]:
        obs, told = batch
        said = self.policy.distribution(obs)
        metrics = {"agreement": (told.mode == said.mode).float()} if isinstance(said, Categorical) else {}
        return forward_kl(told, said).mean(1), metrics
