"""Policy distillation. Letters: T time, M members, N environments of one member, B batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.types import Metrics, Policy, Source, fold, mean_metrics
from imitate.distributions.actions import Categorical, Distribution, Teacher
from imitate.losses.distillation import LOSSES, DistillationLoss, forward_kl
from imitate.nets.policy_network import NetworkPolicy
from imitate.students.behaviour_cloning import check_members

__all__ = ["PolicyDistillation", "PolicyDistillationConfig"]


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

    steps: int = 50_000
    rollout: int = 64
    epochs: int = 4
    batch_size: int = 256
    lr: PerMember = 1e-3
    anneal_lr: bool = True
    temperature: float = 1.0
    max_grad_norm: float = 1.0


@dataclass(frozen=True)
class _Labelled:
    obs: Tensor
    teacher: Distribution


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

    Raises:
        ValueError: `batch_size` does not divide a rollout, or a number does not fit.
    """

    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: NetworkPolicy,
        config: PolicyDistillationConfig | None = None,
        *,
        loss: DistillationLoss = forward_kl,
        driver: Policy | None = None,
    ) -> None:
        config = config or PolicyDistillationConfig()
        for name in ("steps", "rollout", "epochs", "batch_size"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(config, name)}.")
        size = config.rollout * source.num_envs
        if size % config.batch_size:
            raise ValueError(f"batch_size: {config.batch_size} does not divide rollout·num_envs = {size}.")
        if config.temperature <= 0:
            raise ValueError(f"temperature: must be positive, not {config.temperature}.")
        check_members(source, student, teacher)
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.distance, self.driver = loss, driver or student
        self.lr = per_member(config.lr, "lr", source.members, source.device)
        self.learner = Learner([student], self._loss, lr=config.lr, max_grad_norm=config.max_grad_norm)
        self.shuffle = Stream(source.seed, "shuffle", source.device)
        self.steps = torch.zeros((), dtype=torch.int64)
        self.labels = torch.zeros(source.members, dtype=torch.int64)

    @property
    def budget(self) -> int:
        """Environment steps of a member."""
        return self.config.steps

    @property
    def finished(self) -> bool:
        """Whether all the configured steps are done."""
        return int(self.steps) >= self.config.steps

    def step(self) -> Metrics:
        """Collect one rollout, label it, learn from it."""
        if self.config.anneal_lr:
            self.learner.lr.copy_(self.lr * max(0.0, 1 - int(self.steps) / self.config.steps))
        obs = fold(self.source.collect(self.driver, self.config.rollout).obs)
        if self.policy.normaliser is not None:
            self.policy.normaliser.update(obs)
        with torch.no_grad():
            labelled = _Labelled(obs, self.teacher.distribution(obs))
            mine = self.policy.distribution(obs[:, :1])
        if self.distance in LOSSES.values() and type(mine) is not type(labelled.teacher):
            raise ValueError(
                f"teacher: its answers are {type(labelled.teacher).__name__}, those of the student "
                f"{type(mine).__name__}, and no loss compares the two; choose the student's `squash` to match."
            )
        rows = torch.arange(len(obs), device=obs.device).unsqueeze(1)
        updates = [
            self.learner(tree.map(lambda x: x[rows, index], labelled))  # noqa: B023
            for _ in range(self.config.epochs)
            for index in self.shuffle.uniform(*obs.shape[:2]).argsort(1).split(self.config.batch_size, 1)
        ]
        self.steps += obs.shape[1]
        self.labels += obs.shape[1]
        return mean_metrics(updates)

    def _loss(self, batch: _Labelled) -> tuple[Tensor, Metrics]:
        student = self.policy.distribution(batch.obs)
        loss = self.distance(batch.teacher, student, self.config.temperature).mean(1)
        if not isinstance(student, Categorical):
            return loss, {}
        return loss, {"agreement": (batch.teacher.mode == student.mode).float().mean(1)}
