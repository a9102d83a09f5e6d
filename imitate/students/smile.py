"""Stochastic mixing iterative learning. Letters: T time, M members, N environments of one member."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import PerMember
from imitate.core.progress import Progress
from imitate.core.replay import Examples
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Source, fold
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, default_loss
from imitate.nets.actor import Actor
from imitate.policies import Greedy, Mixture
from imitate.students.behaviour_cloning import check_student
from imitate.students.successive import Successive
from imitate.teachers.label import labels

__all__ = ["SMILe", "SMILeConfig"]


@dataclass(frozen=True)
class SMILeConfig:
    """Hyper-parameters of SMILe.

    Args:
        rounds: Rounds of driving and labelling, and classifiers in the mixture.
        rollout: T, steps of each environment in a round; a round costs T·N labels a member.
        alpha: α, by how much a round moves away from the teacher.
        updates: Gradient steps in each round, on the labels of that round.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        weight_decay: Decoupled weight decay.
    """

    rounds: Count = 20
    rollout: Count = 64
    alpha: Share[Positive[float]] = 0.1
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    weight_decay: NonNegative[PerMember] = 0.0

    def __post_init__(self) -> None:
        check(self)


class SMILe:
    """Leave the teacher little by little, for a mixture of classifiers (Ross & Bagnell 2010).

        πₙ = (1 − α)ⁿ π* + α Σⱼ (1 − α)ʲ⁻¹ π̂ⱼ

    Classifier π̂ₙ learns what the teacher π* does at states of πₙ₋₁. The policy is the mixture without the teacher,

        α Σⱼ (1 − α)ʲ⁻¹ π̂ⱼ / (1 − (1 − α)ⁿ).

    It draws a classifier at each step, so evaluate it with `deterministic=False`; its mode is the weighted vote.

    Args:
        source: Where to drive.
        teacher: Who labels, and drives greedily in its share of the steps.
        student: What each classifier begins as; without a memory.
        config: Hyper-parameters.
        loss: Of labels; by default the likelihood for choices, the squared error for a Box.

    Raises:
        ValueError: A number of the config does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: SMILeConfig | None = None,
        *,
        loss: ImitationLoss | None = None,
    ) -> None:
        config, spec = config or SMILeConfig(), source.spec
        check_student(source, student, teacher)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.source, self.teacher, self.config = source, teacher, config
        self.classifiers = Successive(
            source,
            student,
            config.rounds,
            loss or default_loss(spec.action),
            updates=config.updates,
            batch_size=config.batch_size,
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        self.policy = self.classifiers.mixture
        self.driver = Mixture(Greedy(Privileged(teacher)), self.policy, torch.ones(spec.members, device=spec.device))
        self.rounds = torch.zeros((), dtype=torch.int64)
        steps = config.rollout * spec.num_envs
        self.progress = Progress(spec, config.rounds * steps, steps)

    @property
    def expert_share(self) -> float:
        """(1 − α)ⁿ behind n rounds, the probability of the teacher at a step."""
        return float((1 - self.config.alpha) ** int(self.rounds))

    def step(self) -> Metrics:
        """One round: drive with the last mixture, label, and add a classifier."""
        self.driver.beta.fill_(self.expert_share)
        rollout = self.source.collect(self.driver, self.config.rollout)
        action = labels(rollout, self.teacher, self.source.spec.action, rollout.memory[0])
        metrics = self.classifiers.learn(int(self.rounds), Examples(fold(rollout.obs), action))
        self.rounds += 1
        self.progress.advance(action.shape[1], action.shape[1])
        share = (1 - self.config.alpha) ** torch.arange(int(self.rounds), dtype=torch.float64)  # (1 − α)ʲ⁻¹
        self.policy.weights[..., : len(share)] = share / share.sum()  # α / (1 − (1 − α)ⁿ) is one over that sum
        return {**metrics, "expert_share": torch.full_like(self.driver.beta, self.expert_share)}
