"""Forward training. Letters: T time, M members, N environments of one member, K policies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, check, checked
from imitate.core.learner import PerMember
from imitate.core.progress import Progress
from imitate.core.replay import Examples
from imitate.core.room import admit_steps
from imitate.core.spec import FOREVER
from imitate.core.types import Metrics, Source, fold
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, default_loss
from imitate.nets.actor import Actor
from imitate.policies import Greedy, RollIn
from imitate.students.behaviour_cloning import check_student
from imitate.students.successive import Successive
from imitate.teachers.label import labels

__all__ = ["ForwardTraining", "ForwardTrainingConfig"]


@dataclass(frozen=True)
class ForwardTrainingConfig:
    """Hyper-parameters of forward training.

    Args:
        every: Steps of an episode for which one policy acts; 1 is the paper's.
        rollout: T, steps of each environment in a round; by default twice the time limit, so that each environment
            has at least one whole episode.
        updates: Gradient steps of each policy.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        weight_decay: Decoupled weight decay.
    """

    every: Count = 1
    rollout: Count | None = None
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    weight_decay: NonNegative[PerMember] = 0.0

    def __post_init__(self) -> None:
        check(self)


class ForwardTraining:
    """A policy of its own for each time of an episode (Ross & Bagnell 2010).

    In round k policies 1 … k − 1 act in their times, and the teacher from then on. Policy k learns what the teacher
    does in its own time. Only those steps are labelled, in episodes that begin in the round: there the policies of that
    round have led. Where no episode of a member lasts so long, its policy learns from all steps of the rollout.

    Args:
        source: Where to drive; with a time limit.
        teacher: Who labels, and drives greedily behind the policies.
        student: What each policy begins as; without a memory.
        config: Hyper-parameters.
        loss: Of labels; by default the likelihood for choices, the squared error for a Box.

    Raises:
        ValueError: A number of the config does not fit, or the source has no time limit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: ForwardTrainingConfig | None = None,
        *,
        loss: ImitationLoss | None = None,
    ) -> None:
        config, spec = config or ForwardTrainingConfig(), source.spec
        check_student(source, student, teacher)
        if spec.max_steps >= FOREVER:
            raise ValueError(f"source: {spec.id} has no time limit, so there would be no end of policies; set one.")
        count = -(-spec.max_steps // config.every)
        self.rollout = config.rollout or 2 * spec.max_steps
        admit_steps(spec, {"rollout": self.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.source, self.teacher, self.config = source, teacher, config
        self.policies = Successive(
            source,
            student,
            count,
            loss or default_loss(spec.action),
            updates=config.updates,
            batch_size=config.batch_size,
            lr=config.lr,
            weight_decay=config.weight_decay,
            rows=spec.max_steps,
        )
        self.policy = self.policies.mixture
        self.begin = torch.zeros((), dtype=torch.int64, device=spec.device)  # of the time of the policy that is next
        self.driver = RollIn(self.policy, Greedy(Privileged(teacher)), self.begin)
        steps = self.rollout * spec.num_envs
        self.progress = Progress(spec, count * steps, steps)

    def step(self) -> Metrics:
        """One round: drive, label the time of one policy, and train it."""
        begin, every = int(self.begin), self.config.every
        rollout = self.source.collect(self.driver, self.rollout)
        action = labels(rollout, self.teacher, self.source.spec.action, rollout.memory[2])
        mask = fold(_times(rollout.starts, begin, every))
        mask = torch.where(mask.any(1, keepdim=True), mask, True)
        place = begin // every
        metrics = self.policies.learn(place, Examples(fold(rollout.obs), action), mask)
        self.policy.weights[:, begin:] = torch.eye(self.policy.count, device=mask.device)[place]
        self.begin += every
        self.progress.advance(action.shape[1], mask.sum(1).cpu())
        return metrics


def _times(starts: Tensor, begin: int, every: int) -> Tensor:
    """Which steps [T, M, N] are in a policy's time, of episodes that begin in this rollout.

    Args:
        starts: Where episodes begin, [T, M, N].
        begin: Of its time.
        every: Length of its time.
    """
    steps = torch.arange(len(starts), device=starts.device).reshape(-1, 1, 1).expand(starts.shape)
    last = torch.where(starts, steps, -1).cummax(0).values
    return (last >= 0) & (steps - last >= begin) & (steps - last < begin + every)
