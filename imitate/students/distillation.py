"""Policy distillation. Letters: T time, M members, N environments of one member, B batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import Count, NonNegative, Positive, check, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.room import admit_steps
from imitate.core.terms import Term, Terms
from imitate.core.types import Metrics, Obs, Policy, Source, fold, mean_metrics
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
        batch_size: Observations of one member in a minibatch; must divide rollout·num_envs.
        lr: Learning rate of Adam.
        anneal_lr: Let the learning rate fall linearly to zero.
        temperature: T of the loss; above 1 softens both sides, below 1 sharpens them.
        max_grad_norm: Bound on the gradient's norm.
    """

    steps: Count = 50_000
    rollout: Count = 64
    epochs: Count = 4
    batch_size: Count = 256
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


class PolicyDistillation:
    """Match the teacher's whole distribution (Rusu et al. 2016; Czarnecki et al. 2019).

    Who drives is an argument: the student by default, which learns about three times faster than from the teacher's own
    states (Czarnecki et al. 2019, §4); `teacher`, or `Mixture(teacher, student, beta)`, are the alternatives.

    Args:
        source: Where to drive.
        teacher: Who labels.
        student: The policy to train, of any size.
        config: Hyper-parameters.
        loss: `forward_kl`, `reverse_kl`, `cross_entropy`, `mse`, or a function of your own
            (teacher, student, temperature) -> [M, B].
        driver: Who acts; the student by default.
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
        if size % config.batch_size:
            raise ValueError(f"batch_size: {config.batch_size} does not divide rollout·num_envs = {size}.")
        check_student(source, student, teacher)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.divergence, self.driver = loss, driver or student
        self.hyper = SimpleNamespace(lr=per_member(config.lr, "lr", spec.members, spec.device))
        self.answers = Answers(teacher)
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
        members, size = rollout.starts.shape[1], rollout.starts[:, 0].numel()
        rows = torch.arange(members, device=rollout.starts.device).unsqueeze(1)
        batches = (
            tree.map(lambda x: x[rows, index], labelled)  # noqa: B023
            for _ in range(self.config.epochs)
            for index in self.shuffle.uniform(members, size).argsort(1).split(self.config.batch_size, 1)
        )
        updates = [self.learner(batch) | self.terms.learn(batch) for batch in batches]
        self.progress.advance(size, size)
        return mean_metrics(updates)

    def _loss(self, batch: _Labelled) -> tuple[Tensor, Metrics]:
        student = self.policy.distribution(batch.obs)
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
