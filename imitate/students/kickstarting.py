"""Kickstarting: reinforcement learning with a term that keeps a student near its teacher, for as long as that helps."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from imitate.core.config import checked
from imitate.core.learner import PerMember
from imitate.core.terms import Schedule
from imitate.core.types import Policy, Rollout
from imitate.distributions.actions import Distribution
from imitate.losses.distillation import DistillationLoss, forward_kl
from imitate.teachers.label import Answers

__all__ = ["Distil"]


class Distil:
    """A term: the distance from a teacher's distribution (Schmitt et al. 2018, eq. 4).

        kickstarted = PPO(source, config, terms=[Distil(teacher, Linear(1.0, 0.0, steps=50_000))])

    Args:
        teacher: Who labels every state of a rollout.
        weight: λ; a number, one a member, or a schedule.
        loss: As of `PolicyDistillation`: the paper's cross-entropy has the gradient of the `forward_kl`.
        temperature: Of the loss.
    """

    @checked
    def __init__(
        self,
        teacher: Policy,
        weight: PerMember | Schedule = 1.0,
        *,
        loss: DistillationLoss = forward_kl,
        temperature: float = 1.0,
    ) -> None:
        if temperature <= 0:
            raise ValueError(f"temperature: must be positive, not {temperature}.")
        self.answers, self.weight, self.loss, self.temperature = Answers(teacher), weight, loss, temperature

    def prepare(self, rollout: Rollout) -> Distribution:
        """The teacher's distribution at every step, [M, T·N, ...]."""
        return self.answers(rollout)

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """The distance [M, B] of the student's distribution from the teacher's, asked anew where none was prepared."""
        told = self.answers.at(batch.obs) if batch.extras is None else batch.extras
        return self.loss(told, distribution, self.temperature)
