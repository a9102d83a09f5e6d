"""Policy distillation. Letters: T time, M members, N environments of one member, B batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.carried import Carried
from imitate.core.config import Count, NonNegative, Positive, check, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import shuffled
from imitate.core.room import admit_steps
from imitate.core.terms import Term, Terms
from imitate.core.types import Memory, Metrics, Obs, Policy, Source, fold, mean_metrics, unfold
from imitate.core.weak import Weak
from imitate.distributions.actions import Categorical, Distribution, Teacher
from imitate.losses.distillation import LOSSES, DistillationLoss, forward_kl
from imitate.nets.actor import Actor
from imitate.students.behaviour_cloning import check_student
from imitate.teachers.label import Answers

__all__ = ["PolicyDistillation", "PolicyDistillationConfig", "check_kinds"]


@dataclass(frozen=True)
class PolicyDistillationConfig:
    """Hyper-parameters of policy distillation.

    Args:
        steps: Environment steps of one member, each of which the teacher labels.
        rollout: T, steps of each environment between two updates.
        epochs: Passes over a rollout.
        batch_size: Observations of one member in a minibatch; must divide rollout·num_envs. Of a student with a memory
            nothing is shuffled: a batch is `unroll` steps of all environments.
        unroll: Steps through which gradients go back in a student with a memory; must divide the rollout then.
        lr: Learning rate of Adam.
        anneal_lr: Let the learning rate fall linearly to zero.
        temperature: T of the loss; above 1 softens both sides, below 1 sharpens them.
        max_grad_norm: Bound on the gradient's norm.
    """

    steps: Count = 50_000
    rollout: Count = 64
    epochs: Count = 4
    batch_size: Count = 256
    unroll: Count = 16
    lr: NonNegative[PerMember] = 1e-3
    anneal_lr: bool = True
    temperature: Positive[float] = 1.0
    max_grad_norm: Positive[float] = 1.0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Labelled:
    obs: Obs
    teacher: Distribution
    extras: Any = ()  # of the terms
    memory: Memory = None  # of a student that has one, before the first step, [M, N, ...]
    starts: Tensor | None = None  # where it is empty, [T, M, N]


class PolicyDistillation:
    """Match the teacher's whole distribution (Rusu et al. 2016; Czarnecki et al. 2019).

    Who drives is an argument: the student by default, which learns about three times faster than from the teacher's own
    states (Czarnecki et al. 2019, §4); `teacher`, or `Mixture(teacher, student, beta)`, are the alternatives.

    A student with a memory learns by back-propagation through `unroll` steps, not beyond the beginning of an episode.
    Its memory goes on from batch to batch, and from rollout to rollout, as a constant (truncated back-propagation,
    Williams & Peng 1990).

    Args:
        source: Where to drive; in a `Viewed` one the teacher sees all, and the student the view.
        teacher: Who labels.
        student: The policy to train, of any size.
        config: Hyper-parameters.
        loss: `forward_kl`, `reverse_kl`, `cross_entropy`, `mse`, or a function of your own
            (teacher, student, temperature) -> [M, B].
        driver: Who acts; the student by default. Behind a view the teacher acts as `Privileged(teacher)`.
        terms: What is added to the loss, such as the distance of features.

    Raises:
        ValueError: `batch_size` does not divide a rollout, or a number does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: PolicyDistillationConfig | None = None,
        *,
        loss: DistillationLoss = forward_kl,
        driver: Policy | None = None,
        terms: Sequence[Term] = (),
    ) -> None:
        config, spec = config or PolicyDistillationConfig(), source.spec
        size = config.rollout * spec.num_envs
        if not student.recurrent and size % config.batch_size:
            raise ValueError(f"batch_size: {config.batch_size} does not divide rollout·num_envs = {size}.")
        if student.recurrent and config.rollout % config.unroll:
            raise ValueError(f"unroll: {config.unroll} does not divide rollout = {config.rollout}.")
        check_student(source, student, teacher, sequences=True)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.divergence, self.driver = loss, driver or student
        self.hyper = SimpleNamespace(lr=per_member(config.lr, "lr", spec.members, spec.device))
        self.answers = Answers(teacher)
        self.memory = Carried(student.memory(spec.members, spec.num_envs))
        self.terms = Terms(terms, spec)
        self.learner = Learner([student], Weak(self._loss), lr=config.lr, max_grad_norm=config.max_grad_norm)
        self.shuffle = Stream(spec.seed, "shuffle", spec.device)
        self.progress = Progress(spec, config.steps, size)

    def step(self) -> Metrics:
        """Collect one rollout, label it, learn from it."""
        if self.config.anneal_lr:
            self.learner.lr.copy_(self.hyper.lr * (1 - self.progress.share))
        rollout = self.source.collect(self.driver, self.config.rollout)
        obs = fold(rollout.obs)
        self.policy.observe(obs)
        extras = self.terms.prepare(rollout, int(self.progress.steps))
        labelled = _Labelled(obs, self.answers(rollout), extras)
        if self.divergence in LOSSES.values():
            with torch.no_grad():
                check_kinds(labelled.teacher, self.policy.distribution(tree.map(lambda x: x[:, :1], obs)))
        if self.policy.recurrent:
            batches = self._sequences(labelled, rollout.starts)
        else:
            batches = shuffled(labelled, self.shuffle, self.config.epochs, self.config.batch_size)
        updates = [self.learner(batch) | self.terms.learn(batch) for batch in batches]
        size = rollout.starts[:, 0].numel()
        self.progress.advance(size, size)
        return mean_metrics(updates)

    def _sequences(self, labelled: _Labelled, starts: Tensor) -> Iterator[_Labelled]:
        """Batches of successive steps, each with the memory that the student of the moment has of those before."""
        in_time, before = unfold(labelled, len(starts)), self.memory.tree
        for _ in range(self.config.epochs):
            self.memory.tree = before
            for first in range(0, len(starts), self.config.unroll):
                some = slice(first, first + self.config.unroll)
                batch = tree.map(lambda x: fold(x[some]), in_time)  # noqa: B023
                yield replace(batch, memory=self.memory.tree, starts=starts[some])
                obs = tree.map(lambda x: x[some], in_time.obs)  # noqa: B023
                with torch.no_grad():  # the student has learnt from the batch
                    memories = self.policy.unroll(obs, self.memory.tree, starts[some])[1]
                self.memory.tree = tree.map(lambda x: x[-1], memories)

    def _loss(self, batch: _Labelled) -> tuple[Tensor, Metrics]:
        if batch.starts is None:
            student = self.policy.distribution(batch.obs)
        else:
            obs = unfold(batch.obs, len(batch.starts))
            student = fold(self.policy.unroll(obs, batch.memory, batch.starts)[0])
        extra, metrics = self.terms(batch, student)
        loss = self.divergence(batch.teacher, student, self.config.temperature) + extra
        if isinstance(student, Categorical):
            metrics["agreement"] = (batch.teacher.mode == student.mode).float().mean(1)
        return loss.mean(1), metrics


def check_kinds(teacher: Distribution, student: Distribution) -> None:
    """Raise ValueError unless our losses can compare what teacher and student answer."""
    if type(student) is not type(teacher):
        raise ValueError(
            f"teacher: its answers are {type(teacher).__name__}, those of the student {type(student).__name__}, and no "
            "loss compares the two; choose the student's `squash` to match."
        )
