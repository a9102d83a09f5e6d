"""Distillation by features: terms that compare what student and teacher are like inside.

Letters: T time, M members, N environments of one member, B batch, H and K widths of features.

    terms = [Match(student.features, teacher.features, loss=pairwise)]
    PolicyDistillation(source, teacher, student, terms=terms)

A term asks the student for its features once more, beside the distribution that the algorithm asks for: any algorithm
takes it as it is, and a step goes through the student's body twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imitate.core.config import checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream
from imitate.core.terms import Schedule, Term
from imitate.core.types import Metrics, Obs, Rollout, fold
from imitate.core.weak import Weak
from imitate.distributions.actions import Distribution
from imitate.losses.features import FeatureLoss, cosine, hint, pairwise
from imitate.nets.actor import Actor
from imitate.students.kickstarting import Distil
from imitate.teachers.label import whole

__all__ = ["Adversary", "Features", "Hint", "Match", "every_second_layer", "triple_loss"]

Features = Callable[[Obs], Any]  # observations [M, B, ...] -> features [M, B, H], or a list of maps


class Match:
    """A term: a loss of the student's features against the teacher's.

    Args:
        student: Its features: `student.features`, `student.feature_maps`, or a function of your own.
        teacher: The teacher's. Without a memory: they are asked for at single observations.
        weight: A number, one a member, or a schedule.
        loss: `pairwise`, `relational_distance`, `relational_angle`, `cosine`, `attention_transfer` (of maps), or a
            function of your own (student, teacher) -> [M, B].
    """

    @checked
    def __init__(
        self,
        student: Features,
        teacher: Features,
        weight: PerMember | Schedule = 1.0,
        *,
        loss: FeatureLoss = pairwise,
    ) -> None:
        self.student, self.teacher, self.weight, self.loss = student, teacher, weight, loss

    def prepare(self, rollout: Rollout) -> Any:
        """The teacher's features at every step, [M, T·N, ...]."""
        return _prepared(self.teacher, rollout)

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """The loss [M, B]."""
        return self.loss(self.student(batch.obs), _told(self.teacher, batch))


class Hint:
    """A term: ½ ‖r(h_S) − h_T‖², with a regressor r that learns beside the student (Romero et al. 2015, §2.2).

    The regressor maps the student's features to as many as the teacher has. It takes a step of the same loss behind
    each of the student's.

        nets.Linear(members, 16, 64, init=Stream(seed, "init-hint"))

    Args:
        student: Its features, [M, B, H].
        teacher: The teacher's, [M, B, K].
        regressor: r, a module of M members, [M, B, H] -> [M, B, K].
        weight: A number, one a member, or a schedule.
        lr: Learning rate of the regressor.
    """

    @checked
    def __init__(
        self,
        student: Features,
        teacher: Features,
        regressor: nn.Module,
        weight: PerMember | Schedule = 1.0,
        *,
        lr: PerMember = 1e-3,
    ) -> None:
        self.student, self.teacher, self.weight, self.regressor = student, teacher, weight, regressor
        self.learner = Learner([regressor], Weak(self._loss), lr=lr)

    def prepare(self, rollout: Rollout) -> Any:
        """The teacher's features at every step, [M, T·N, K]."""
        return _prepared(self.teacher, rollout)

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """The loss [M, B]."""
        return hint(self.regressor(self.student(batch.obs)), _told(self.teacher, batch))

    def learn(self, batch: Any) -> Metrics:
        """A step of the regressor."""
        return {"error": self.learner(_both(self.student, self.teacher, batch))["loss"]}

    def _loss(self, both: tuple[Tensor, Tensor]) -> tuple[Tensor, Metrics]:
        mine, told = both
        return hint(self.regressor(mine), told).mean(1), {}


class Adversary:
    """A term: −log D(h_S), where a discriminator D learns to tell the teacher's features from the student's.

        L_D = −log D(h_T) − log(1 − D(h_S)),   D = σ(logit)

    Source: Goodfellow et al. (2014, §3), with the loss of the generator that does not vanish where D is small; between
    the features of teacher and student Hong, Yu & Zong (2019). What is compared may also be logits.

    Args:
        student: Its features, [M, B, H].
        teacher: The teacher's, of the same width.
        discriminator: A module of M members, [M, B, H] -> logits [M, B, 1].
        weight: A number, one a member, or a schedule.
        lr: Learning rate of the discriminator.
    """

    @checked
    def __init__(
        self,
        student: Features,
        teacher: Features,
        discriminator: nn.Module,
        weight: PerMember | Schedule = 1.0,
        *,
        lr: PerMember = 1e-3,
    ) -> None:
        self.student, self.teacher, self.weight, self.discriminator = student, teacher, weight, discriminator
        self.learner = Learner([discriminator], Weak(self._loss), lr=lr)

    def prepare(self, rollout: Rollout) -> Any:
        """The teacher's features at every step, [M, T·N, H]."""
        return _prepared(self.teacher, rollout)

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """−log D(h_S), [M, B]."""
        return F.softplus(-self._logits(self.student(batch.obs)))

    def learn(self, batch: Any) -> Metrics:
        """A step of the discriminator; the share that it tells right: ½ where the two are alike."""
        return {"discriminated": self.learner(_both(self.student, self.teacher, batch))["discriminated"]}

    def _loss(self, both: tuple[Tensor, Tensor]) -> tuple[Tensor, Metrics]:
        mine, told = (self._logits(features) for features in both)
        right = ((told > 0).float() + (mine < 0).float()).detach() / 2
        return (F.softplus(-told) + F.softplus(mine)).mean(1), {"discriminated": right}

    def _logits(self, features: Tensor) -> Tensor:
        logits: Tensor = self.discriminator(features)
        return logits.squeeze(-1)


@torch.no_grad()
def _prepared(teacher: Features, rollout: Rollout) -> Any:
    return teacher(fold(whole(rollout)))


@torch.no_grad()
def _told(teacher: Features, batch: Any) -> Any:
    """The teacher's features at a batch: as prepared, or asked for anew where it is no part of a rollout."""
    return teacher(batch.obs) if batch.extras is None else batch.extras


def _both(student: Features, teacher: Features, batch: Any) -> tuple[Tensor, Tensor]:
    """Features of student and teacher as constants."""
    told = _told(teacher, batch)
    with torch.no_grad():
        return student(batch.obs), told


@checked
def triple_loss(student: Actor, teacher: Actor, *, kl: float = 2.5, match: float = 0.5) -> list[Term]:
    """The terms that make of a task's loss DistilBERT's: the softened KL, and the cosine of the features.

        L = L_task + kl·T² KL(teacher ‖ student), T = 2, + match·(1 − cos(h_S, h_T))

    Source: Sanh et al. (2019), §2; the weights are those of the authors' published command, 5 and 1, over the 2 of its
    task.

    Args:
        student: Who learns.
        teacher: Who labels; its last hidden layer is as wide as the student's.
        kl: Weight of the divergence.
        match: Weight of the cosine.
    """
    return [Distil(teacher, kl, temperature=2.0), Match(student.features, teacher.features, match, loss=cosine)]


@checked
@torch.no_grad()
def every_second_layer(teacher: Actor) -> Actor:
    """A student of half the depth that begins with the first of every two layers of its teacher, and with its head.

    Source: Sanh et al. (2019), §3.

    Args:
        teacher: Of numbers, with an even number of hidden layers of one width.

    Raises:
        ValueError: The layers that are left would not fit on each other.
    """
    widths = teacher.architecture.hidden
    if teacher.network is not None or not teacher.body.flat or len(widths) % 2 or len(set(widths)) != 1:
        raise ValueError(
            f"teacher: every second of its layers {widths} makes no student; it takes an even number of hidden layers "
            "of one width, without images or memory."
        )
    kept = replace(teacher.architecture, hidden=widths[::2])
    init = Stream(0, "init-student", teacher.device)  # overwritten
    student = Actor(teacher.observation, teacher.action, teacher.members, kept, init, env=teacher.env)
    layers = list(teacher.body.layers)[::2]
    copied = [*zip(student.body.layers, layers, strict=True), (student.head, teacher.head)]
    if student.body.normaliser is not None and teacher.body.normaliser is not None:
        copied.append((student.body.normaliser, teacher.body.normaliser))
    for mine, told in copied:
        mine.load_state_dict(told.state_dict())
    return student
