"""Temporal-difference learning: prediction within trials, time step by time step.

Letters: T time steps of a trial, C cues, D features of a cue, O outcomes; `...` lanes.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import cast

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, expected, zeros
from imitate.core.config import check
from imitate_envs.stimuli import CompleteSerialCompound, Representation

__all__ = ["Course", "Eligible", "TemporalDifference", "TrialTemporalDifference", "features"]


@dataclass(frozen=True)
class Eligible:
    """Weights, and what of the past may still change them."""

    weights: Tensor  # w [..., C, O]
    trace: Tensor  # e [..., C]
    last: Tensor  # x of the step before, [..., C]


@dataclass(frozen=True)
class TemporalDifference:
    """TD(λ) as a model of conditioning in real time: a `Trial` here is one time step, its cues are features.

        δ_t = r_t + γ [w·x_t]₊ − [w·x_{t−1}]₊,   w ← w + α δ_t e_{t−1},   e ← γλ e + x_t

    With γ = λ = 0 and an outcome one step after its cues it is Rescorla-Wagner.

    Source: Sutton & Barto (1990); Ludvig, Sutton & Kehoe (2012), of which the defaults are.

    Args:
        clip: Whether predictions are cut at 0, as [·]₊ says.
    """

    clip: bool = True

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Rate `alpha` of each cue, discount `gamma` and decay `lam` (λ) of the trace, both of a step."""
        return {"alpha": Parameter(0.05, each_cue=True), "gamma": Parameter(0.97), "lam": Parameter(0.95)}

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Eligible:
        """Nothing is predicted, and nothing has happened yet."""
        nothing = zeros(theta, *shape, cues)
        return Eligible(zeros(theta, *shape, cues, outcomes), nothing, nothing)

    def predict(self, theta: Theta, state: Eligible, cues: Tensor) -> Tensor:
        """[w·x]₊, the discounted outcomes to come, [..., O]."""
        return self.value(state.weights, cues)

    def strengths(self, state: Eligible) -> Tensor:
        """Weights w."""
        return state.weights

    def update(self, theta: Theta, state: Eligible, trial: Trial) -> Eligible:
        """The state after a time step."""
        return self.step(theta, state, trial)[0]

    def step(self, theta: Theta, state: Eligible, trial: Trial) -> tuple[Eligible, Tensor]:
        """The state after a time step, and its prediction error δ [..., O]."""
        gamma = theta["gamma"]
        ahead = beside(gamma) * self.value(state.weights, trial.cues)
        error = trial.outcome + ahead - self.value(state.weights, state.last)
        weights = torch.addcmul(state.weights, beside(theta["alpha"] * state.trace), error.unsqueeze(-2))
        trace = torch.addcmul(trial.cues, beside(gamma * theta["lam"]), state.trace)
        return Eligible(weights, trace, trial.cues), error

    def value(self, weights: Tensor, cues: Tensor) -> Tensor:
        """[w·x]₊."""
        value = expected(cues, weights)
        return value.clamp(min=0) if self.clip else value


@dataclass(frozen=True)
class Course:
    """When things happen in a trial, in time steps from its beginning.

    Args:
        onsets: When cues come on: one number, or one a cue.
        durations: How long they last, likewise.
        gap: From the end of the last cue to the outcome: 0 is delay conditioning, more is trace conditioning.
        rest: Steps after the outcome; then traces are forgotten.

    Raises:
        ValueError: A time is negative, or a cue lasts no step.
    """

    onsets: int | tuple[int, ...] = 0
    durations: int | tuple[int, ...] = 10
    gap: int = 0
    rest: int = 24

    def __post_init__(self) -> None:
        check(self)
        for name, least in (("onsets", 0), ("durations", 1), ("gap", 0), ("rest", 0)):
            value = getattr(self, name)
            if min(value if isinstance(value, tuple) else (value,)) < least:
                raise ValueError(f"{name}: at least {least}, not {value}.")

    def each(self, cues: int) -> list[tuple[int, int]]:
        """Onset and duration of each cue.

        Raises:
            ValueError: There are other than `cues` numbers.
        """
        columns = []
        for name, value in (("onsets", self.onsets), ("durations", self.durations)):
            column = value if isinstance(value, tuple) else (value,) * cues
            if len(column) != cues:
                raise ValueError(f"{name}: {len(column)} for {cues} cues; give one, or one a cue.")
            columns.append(column)
        return list(zip(*columns, strict=True))

    def outcome(self, cues: int) -> int:
        """The step at which the outcome comes."""
        return max(onset + duration for onset, duration in self.each(cues)) + self.gap


def features(representation: Representation, course: Course, cues: int, dtype: torch.dtype) -> Tensor:
    """What is seen of each cue at each step of a trial, [T, C, D].

    T ends with the rest after the outcome, or as soon as nothing is seen any more.
    """
    outcome = course.outcome(cues)
    steps = torch.arange(outcome + 1 + course.rest)
    seen = [
        representation.features((steps - onset).clamp(min=-1).unsqueeze(-1), duration, outcome, dtype)
        for onset, duration in course.each(cues)
    ]
    table = torch.cat(seen, 1)
    last = int(table.flatten(1).any(1).nonzero().max())
    return table[: max(last + 2, outcome + 1)]


@lru_cache(maxsize=64)
def _cached(representation: Hashable, course: Course, cues: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The features on a device, made once."""
    return features(cast(Representation, representation), course, cues, dtype).to(device)


@dataclass(frozen=True)
class TrialTemporalDifference:
    """TD(λ) over the time steps of whole trials; traces do not outlast a trial.

    What a trial lets expect is the greatest prediction in its course, V of a cue that of the cue alone.
    The state is w [..., C·D, O].

    Args:
        representation: What a subject sees of its cues at a time step.
        course: When things happen in a trial.
        rule: The rule of a step.
    """

    representation: Representation = field(default_factory=CompleteSerialCompound)
    course: Course = Course()
    rule: TemporalDifference = TemporalDifference()

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Those of `TemporalDifference`."""
        return self.rule.parameters

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Tensor:
        """Nothing is predicted."""
        return zeros(theta, *shape, cues * self._width(cues), outcomes)

    def predict(self, theta: Theta, state: Tensor, cues: Tensor) -> Tensor:
        """Greatest prediction in the course of a trial, [..., O]."""
        return self.values(state, cues).amax(0)

    def values(self, state: Tensor, cues: Tensor) -> Tensor:
        """Predictions in the course of a trial, [T, ..., O]."""
        return torch.stack([self.rule.value(state, _seen(cues, now)) for now in self._table(cues.shape[-1], state)])

    def strengths(self, state: Tensor) -> Tensor:
        """Greatest prediction of each cue alone, [..., C, O]."""
        cues = self._cues(state)
        value = torch.einsum("tcd,...cdo->t...co", self._table(cues, state), state.unflatten(-2, (cues, -1)))
        return (value.clamp(min=0) if self.rule.clip else value).amax(0)

    def update(self, theta: Theta, state: Tensor, trial: Trial) -> Tensor:
        """Weights after a trial."""
        return self.run(theta, state, trial)[0]

    def run(self, theta: Theta, state: Tensor, trial: Trial) -> tuple[Tensor, Tensor]:
        """Weights after a trial, and the prediction error δ at each of its steps, [T, ..., O]."""
        count = trial.cues.shape[-1]
        table = self._table(count, state)
        when = self.course.outcome(count)
        alpha = theta["alpha"]
        if alpha.dim() and alpha.shape[-1] == count:
            alpha = alpha.repeat_interleave(table.shape[-1], -1)
        theta = {**theta, "alpha": alpha}
        nothing = torch.zeros_like(trial.outcome)
        trace = _seen(trial.cues, torch.zeros_like(table[0]))
        eligible = Eligible(state, trace, trace)
        errors = []
        for t, now in enumerate(table):
            step = Trial(_seen(trial.cues, now), trial.outcome if t == when else nothing)
            eligible, error = self.rule.step(theta, eligible, step)
            errors.append(error)
        return eligible.weights, torch.stack(errors)

    def _table(self, cues: int, like: Tensor) -> Tensor:
        return _cached(cast(Hashable, self.representation), self.course, cues, like.dtype, like.device)

    def _width(self, cues: int) -> int:
        return self.representation.width(self.course.outcome(cues))

    def _cues(self, state: Tensor) -> int:
        """C, from C·D: the width of a cue depends on when the outcome comes, which does not depend on C."""
        known = self.course.onsets, self.course.durations
        cues = next((len(value) for value in known if isinstance(value, tuple)), None)
        return cues or state.shape[-2] // self._width(1)


def _seen(cues: Tensor, table: Tensor) -> Tensor:
    """Features of cues [..., C] by a row [C, D] of the table, [..., C·D]."""
    return (cues.unsqueeze(-1) * table).flatten(-2)
