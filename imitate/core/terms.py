"""Losses as sums of terms, and the schedules of their weights. Letters: T time, M members, N environments, B batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from imitate.core.checkpoint import load_state, state_of
from imitate.core.learner import PerMember, per_member
from imitate.core.spec import Spec
from imitate.core.types import Metrics, Rollout

__all__ = ["Learning", "Linear", "Schedule", "Term", "Terms", "UntilReturn"]


@runtime_checkable
class Schedule(Protocol):
    """A weight that changes during a run."""

    def __call__(self, steps: int) -> float | Tensor:
        """The weight, for all members or [M], behind so many environment steps of one member."""

    def watch(self, rollout: Rollout) -> None:
        """Look at a rollout before the weight that it is learnt with is asked for."""


@dataclass(frozen=True)
class Linear:
    """A straight line from `start` to `end`, over `steps` environment steps of one member; constant from then on.

    Args:
        start: Weight at the beginning.
        end: Weight behind `steps`.
        steps: Environment steps of one member; positive.
        begin: Environment steps before the line begins.
    """

    start: float
    end: float
    steps: int
    begin: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1 or self.begin < 0:
            raise ValueError(f"steps: a schedule of {self.steps} steps that begins at {self.begin} goes nowhere.")

    def __call__(self, steps: int) -> float:
        """The weight."""
        share = min(1.0, max(0.0, (steps - self.begin) / self.steps))
        return self.start + share * (self.end - self.start)

    def watch(self, rollout: Rollout) -> None:
        """Nothing: it depends on the steps alone."""


class UntilReturn:
    """Falls to 0 as the return reaches that of a teacher: max(1 − G/G_teacher, 0) (Agarwal et al. 2022, §4.1).

    G is a running mean of the returns of finished training episodes, taken relative to an origin G₀, so that returns of
    either sign will do: the share of the way from there to the teacher's return that is left.

        start · clip((G_teacher − G) / |G_teacher − G₀|, 0, 1)

    Args:
        teacher: G_teacher, the return at which the weight is 0; one for all members, or one a member.
        spec: Of the source that is trained in.
        start: Weight at the beginning.
        decay: Of the running mean, for each finished episode.
        origin: G₀, such as the return of random actions; 0 is the paper's. By default that of the first episodes.
    """

    def __init__(
        self,
        teacher: PerMember | Tensor,
        spec: Spec,
        *,
        start: float = 1.0,
        decay: float = 0.95,
        origin: PerMember | Tensor | None = None,
    ) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay: a share in [0, 1), not {decay}.")
        self.start, self.decay = start, decay
        self.teacher = per_member(teacher, "teacher", spec.members, spec.device)
        self.origin = None if origin is None else per_member(origin, "origin", spec.members, spec.device)
        self.under_way = torch.zeros(spec.members, spec.num_envs, device=spec.device)
        self.mean, self.first = (torch.zeros(spec.members, device=spec.device) for _ in range(2))
        self.episodes = torch.zeros(spec.members, device=spec.device)

    def __call__(self, steps: int) -> Tensor:
        """The weight [M]."""
        origin = self.first if self.origin is None else self.origin
        way = (self.teacher - origin).abs().clamp(min=1e-8)
        left = ((self.teacher - self.mean) / way).clamp(0, 1)
        return self.start * torch.where(self.episodes > 0, left, 1.0)

    @torch.no_grad()
    def watch(self, rollout: Rollout) -> None:
        """Count the returns of the episodes that end in a rollout."""
        for reward, done, starts in zip(rollout.reward, rollout.done, rollout.starts, strict=True):
            self.under_way.masked_fill_(
                starts, 0.0
            )  # also of an episode that a resume begins before the last one ended
            self.under_way += reward
            ended = done.sum(1)
            found = (self.under_way * done).sum(1) / ended.clamp(min=1)
            keep = torch.where(self.episodes > 0, self.decay**ended, (ended == 0).float())
            self.mean.lerp_(found, 1 - keep)
            self.first.copy_(torch.where(self.episodes > 0, self.first, self.mean))
            self.episodes += ended
            self.under_way.masked_fill_(done, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Returns under way and the running mean."""
        names = ("under_way", "mean", "first", "episodes")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place."""
        for name, value in self.state_dict().items():
            value.copy_(state[name])


class Term(Protocol):
    """A summand of a loss."""

    @property
    def weight(self) -> PerMember | Schedule:
        """What it is multiplied by."""

    def prepare(self, rollout: Rollout) -> Any:
        """What it needs of a rollout, once: a tree of tensors [M, T·N, ...] as `fold` orders them, or None."""

    def __call__(self, batch: Any, distribution: Any) -> Tensor:
        """The term [M, B] of a batch and of the distribution there.

        The batch's `extras` are what it prepared, None where a batch is no part of a rollout, as one from a replay.
        """


@runtime_checkable
class Learning(Protocol):
    """A term with parameters of its own, which are none of the student's: a regressor, a discriminator."""

    def learn(self, batch: Any) -> Metrics:
        """Learn from a batch that the student has learnt from; what there is to report, each [M] or [M, B]."""


class Terms:
    """The terms of a loss, with the weights of the moment.

    Args:
        terms: In the order in which they are added.
        spec: Of the source.
    """

    def __init__(self, terms: Sequence[Term], spec: Spec) -> None:
        self.terms = list(terms)
        self.weights = torch.zeros(len(self.terms), spec.members, 1, device=spec.device)
        self._constant = [
            None if isinstance(term.weight, Schedule) else per_member(term.weight, "weight", spec.members, spec.device)
            for term in self.terms
        ]

    def __bool__(self) -> bool:
        return bool(self.terms)

    def watch(self, rollout: Rollout, steps: int) -> Rollout:
        """Set the weights that a rollout is learnt with, behind so many steps; the rollout as it is.

        A schedule that several terms share sees the rollout once.
        """
        schedules = {id(term.weight): term.weight for term in self.terms if isinstance(term.weight, Schedule)}
        for schedule in schedules.values():
            schedule.watch(rollout)
        self.weigh(steps)
        return rollout

    def weigh(self, steps: int) -> None:
        """Set the weights behind so many steps, where nothing is collected."""
        for term, weight, constant in zip(self.terms, self.weights, self._constant, strict=True):
            if constant is not None:
                weight.copy_(constant.unsqueeze(1))
            elif isinstance(term.weight, Schedule):
                weight.copy_(torch.as_tensor(term.weight(steps), device=weight.device).reshape(-1, 1))

    def prepare(self, rollout: Rollout, steps: int) -> tuple[Any, ...]:
        """What each term needs of a rollout, [M, T·N, ...]; sets the weights too."""
        self.watch(rollout, steps)
        return tuple(term.prepare(rollout) for term in self.terms)

    def __call__(self, batch: Any, distribution: Any) -> tuple[Tensor | float, Metrics]:
        """Their weighted sum [M, B], and each by itself.

        The `extras` of the batch are what `prepare` gave, or nothing where a batch is no part of a rollout.
        """
        total: Tensor | float = 0.0
        metrics = {}
        for index, (term, weight) in enumerate(zip(self.terms, self.weights, strict=True)):
            found = term(_own(batch, index), distribution)
            total = total + weight * found
            metrics[_name(term, index)] = found.detach()
        return total, metrics

    def learn(self, batch: Any) -> Metrics:
        """Let those terms learn that have something to learn, behind the student; what they report."""
        metrics: Metrics = {}
        for index, term in enumerate(self.terms):
            if isinstance(term, Learning):
                found = term.learn(_own(batch, index))
                metrics |= {f"{_name(term, index)}_{name}": value for name, value in found.items()}
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """What changes in the terms and in their schedules."""
        return {str(i): state_of(term) for i, term in enumerate(self.terms)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        for i, term in enumerate(self.terms):
            load_state(term, state.get(str(i), {}))


def _own(batch: Any, index: int) -> Any:
    """A batch with what one term prepared for it."""
    return replace(batch, extras=batch.extras[index] if batch.extras else None)


def _name(term: Term, index: int) -> str:
    """Its class and its place: what an algorithm reports itself has no number behind it."""
    return f"{type(term).__name__.lower()}_{index}"
