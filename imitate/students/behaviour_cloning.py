"""Behaviour cloning. Letters: M members, B batch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, Proper, check, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.terms import Term, Terms
from imitate.core.types import Metrics, Source, mean_metrics
from imitate.data.demonstrations import Demonstrations
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, categorical_likelihood, default_loss, negative_log_likelihood
from imitate.nets.actor import Actor
from imitate.students.held_out import BY_STEPS, Split, held_out_error

__all__ = ["BehaviourCloning", "BehaviourCloningConfig", "check_student", "imitator"]


@dataclass(frozen=True)
class BehaviourCloningConfig:
    """Hyper-parameters of behaviour cloning.

    Args:
        updates: Gradient steps at the most.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        entropy: Weight of an entropy bonus, in nats.
        weight_decay: Decoupled weight decay.
        validation: Share of the episodes held out, at least one; of a single episode the share of its steps.
        validate_every: Gradient steps between two looks at the held-out examples.
        patience: Looks without improvement after which a member counts as done; each keeps its best parameters.
    """

    updates: Count = 2_000
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    entropy: PerMember = 0.0
    weight_decay: NonNegative[PerMember] = 0.0
    validation: Proper[float] = 0.1
    validate_every: Count = 100
    patience: Count = 5

    def __post_init__(self) -> None:
        check(self)


class BehaviourCloning:
    """Learn from demonstrations as from any labelled data (Pomerleau 1991).

    Args:
        source: Gives the seed and the device, and is where the policy is evaluated; no steps are taken in it.
        demonstrations: Each member's data; `labels` counts them all, held-out ones too.
        student: The policy to train.
        config: Hyper-parameters.
        loss: `negative_log_likelihood` or `squared_error`; by default the first for choices, the second for a Box.
        terms: What is added to the loss, such as the distance from a teacher. A schedule goes by gradient steps, and is
            asked between two looks at the held-out examples, whose error is of the loss alone.

    Raises:
        ValueError: A number of the config does not fit, a member has no demonstrations, or the student other members.
    """

    @checked
    def __init__(
        self,
        source: Source,
        demonstrations: Demonstrations,
        student: Actor,
        config: BehaviourCloningConfig | None = None,
        *,
        loss: ImitationLoss | None = None,
        terms: Sequence[Term] = (),
    ) -> None:
        config, spec = config or BehaviourCloningConfig(), source.spec
        check_student(source, student)
        admit_steps(spec, {"batch_size": config.batch_size, "members": spec.members}, seen=1)
        self.source, self.config, self.policy = source, config, student
        self.imitation = loss or default_loss(spec.action)
        labels = demonstrations.labels.cpu()
        if len(labels) != spec.members:
            raise ValueError(f"demonstrations: of {len(labels)} members, the source has {spec.members}.")
        if int(labels.min()) < 2:
            raise ValueError(f"demonstrations: a member has {int(labels.min())} examples; 2 at the least.")
        capacity = demonstrations.mask.shape[1]
        self.data = Dataset(spec.members, capacity, Stream(spec.seed, "shuffle", spec.device))
        self.held_out = Dataset(spec.members, capacity, Stream(spec.seed, "held-out", spec.device))
        self.split = Split(self.data, self.held_out, config.validation)
        trained = self.split.add(demonstrations.examples, demonstrations.mask, demonstrations.episode)
        student.observe(demonstrations.examples.obs, trained)
        self.terms = Terms(terms, spec)
        self.learner = imitator(
            student, self.imitation, source, config.entropy, config.lr, config.weight_decay, self.terms
        )
        self.best = self.learner.flat.clone()
        self.best_error = torch.full((spec.members,), math.inf, device=spec.device)
        self.waited = torch.zeros(spec.members, dtype=torch.int64, device=spec.device)
        self.progress = Progress(spec, config.updates)
        self.progress.advance(0, labels)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        return (BY_STEPS,) if self.split.by_steps else ()

    def step(self) -> Metrics:
        """`validate_every` gradient steps and a look at the held-out examples."""
        count = min(self.config.validate_every, self.config.updates - int(self.progress.steps))
        self.terms.weigh(int(self.progress.steps))
        batches = self.data.batches(self.config.batch_size, count)
        updates = [self.learner(batch) | self.terms.learn(batch) for batch in batches]
        self.progress.advance(count)
        error = self._validate()
        if bool((self.waited >= self.config.patience).all()):
            self.progress.stop()
        if self.progress.finished:
            self.learner.flat.copy_(self.best)
        return {**mean_metrics(updates), "held_out": error}

    @torch.no_grad()
    def _validate(self) -> Tensor:
        """Error on the held-out examples; remembers each member's best parameters."""
        if self.config.validation == 0:
            self.best.copy_(self.learner.flat)
            return torch.zeros_like(self.best_error)
        error = held_out_error(self.policy, self.held_out, self.imitation)
        # A member that is done stays so while others go on: it is what it would be alone.
        better = (error < self.best_error) & (self.waited < self.config.patience)
        self.best_error.copy_(torch.where(better, error, self.best_error))
        self.best.copy_(torch.where(better.unsqueeze(1), self.learner.flat, self.best))
        self.waited.copy_(torch.where(better, 0, self.waited + 1))
        return error


def check_student(source: Source, student: Actor, teacher: Teacher | None = None, *, sequences: bool = False) -> None:
    """Whether a student can be taught here: it has as many members as the source, and so has its teacher, or one.

    Args:
        source: Where it acts.
        student: The policy to train.
        teacher: Who labels, if anybody.
        sequences: Whether it learns from steps in their order, as a student with a memory has to.

    Raises:
        ValueError: It cannot.
    """
    if student.members != source.spec.members:
        raise ValueError(f"student: has {student.members} members, the source {source.spec.members}.")
    if student.recurrent and not sequences:
        raise ValueError(
            "student: it has a memory, and single labelled steps teach none; distil the teacher into it "
            "(PolicyDistillation, imitate distill), or take gru=0 and lstm=0."
        )
    members = getattr(teacher, "members", 1)
    if members not in (1, source.spec.members):
        raise ValueError(f"teacher: has {members} members, the source {source.spec.members}; one serves all.")


def imitator(
    student: Actor,
    loss: ImitationLoss,
    source: Source,
    entropy: PerMember,
    lr: PerMember,
    weight_decay: PerMember,
    terms: Terms | None = None,
) -> Learner[Examples]:
    """The learner of a student: the mean loss of each member less its entropy bonus, weighted by `entropy`, and terms.

    Its gradient is written out for the likelihood of choices by a multilayer perceptron, without terms.
    """
    weight = per_member(entropy, "entropy", source.spec.members, source.spec.device).unsqueeze(1)

    def objective(batch: Examples) -> tuple[Tensor, Metrics]:
        distribution = student.distribution(batch.obs)
        error, spread = loss(distribution, batch.action), distribution.entropy()
        extra, metrics = terms(batch, distribution) if terms else (0.0, {})
        metrics |= {"error": error.detach(), "entropy": spread.detach()}
        return (error - weight * spread + extra).mean(1), metrics

    def gradient(batch: Examples) -> tuple[Tensor, Metrics, list[Tensor]] | None:
        if not student.plain:
            return None
        found = student.outputs(student.prepare(batch.obs))
        error, spread, grad = categorical_likelihood(found[-1], batch.action, weight)
        grads = student.gradients(found, grad / error.shape[1])
        return error - weight * spread, {"error": error, "entropy": spread}, grads

    known = gradient if loss is negative_log_likelihood and not terms else None
    return Learner([student], objective, gradient=known, lr=lr, weight_decay=weight_decay)
