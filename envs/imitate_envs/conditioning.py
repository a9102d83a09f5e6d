"""Pavlov's experiments: cues that announce an outcome. C: cues, K: kinds of trials; `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Box, Discrete

__all__ = ["ACQUISITION", "Conditioning", "ConditioningState", "Sessions", "TableCache", "Tables", "TrialKind"]

Sessions = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class TrialKind:
    """One kind of trial.

    Args:
        cues: Intensity of each cue, 0 where it is absent.
        outcome: Magnitude of the outcome, 0 where there is none.
        periods: For each cue the period of the trial in which it comes on, from 0; all in the first by default.
        outcome_period: The period at whose start the outcome comes, or would; the one after the last cue by default.
        name: For tables and pictures.
        probe: Whether it only tests. An environment cannot keep a learner from learning: it tells which trials are.
    """

    cues: tuple[float, ...]
    outcome: float = 0.0
    periods: tuple[int, ...] | None = None
    outcome_period: int | None = None
    name: str = ""
    probe: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "cues", tuple(self.cues))
        if self.periods is not None:
            object.__setattr__(self, "periods", tuple(self.periods))
        if not self.cues or min(self.cues) < 0:
            raise ValueError(f"cues: at least one, of intensities that are at least 0, not {self.cues}.")
        if self.periods is not None and len(self.periods) != len(self.cues):
            raise ValueError(f"periods: one for each of {len(self.cues)} cues, not {len(self.periods)}.")
        if min(*self.onsets, self.outcome_onset) < 0:
            raise ValueError("periods, outcome_period: counted from 0.")

    @property
    def onsets(self) -> tuple[int, ...]:
        """The period in which each cue comes on."""
        return (0,) * len(self.cues) if self.periods is None else self.periods

    @property
    def cue_periods(self) -> int:
        """Periods until that of the last cue is over."""
        return 1 + max((p for p, x in zip(self.onsets, self.cues, strict=True) if x), default=0)

    @property
    def outcome_onset(self) -> int:
        """The period at whose start the outcome comes, or would."""
        return self.cue_periods if self.outcome_period is None else self.outcome_period

    @property
    def length(self) -> int:
        """Periods until the trial is over."""
        return max(self.cue_periods, self.outcome_onset)


ACQUISITION = (TrialKind((1.0,), 1.0, name="A+"),)


@dataclass(frozen=True)
class Tables:
    """Trials and sessions as tensors; the row −1 is that of no trial, when a session is over."""

    order: Int[Tensor, "S T"]  # kind of each trial of each session, −1 from its end on
    cues: Float[Tensor, "K C"]
    outcome: Float[Tensor, " K"]
    probe: Bool[Tensor, " K"]
    onset: Int[Tensor, "K C"]  # period of each cue, far off where it is absent
    outcome_onset: Int[Tensor, " K"]  # period of the outcome
    length: Int[Tensor, " K"]  # periods

    def draw(self, uniform: Float[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Sessions, all with the same probability."""
        return (uniform * len(self.order)).long().clamp(max=len(self.order) - 1)

    def kind(self, session: Int[Tensor, "*batch"], position: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """Kinds of trials after `position` ones; −1 when the session is over."""
        return self.order[session, position.clamp(max=self.order.shape[1] - 1)]


class TableCache:
    """The tables of trials and sessions for each device and float type, made once.

    Args:
        trials: The kinds of trials.
        sessions: The kinds of the trials of an episode, in order; None: each kind is one.

    Raises:
        ValueError: There is no trial, kinds have different numbers of cues, or a session names a kind that is none.
    """

    def __init__(self, trials: tuple[TrialKind, ...], sessions: Sessions | None) -> None:
        if not trials:
            raise ValueError("trials: at least one kind.")
        if len({len(trial.cues) for trial in trials}) > 1:
            raise ValueError(f"trials: all need the same cues, not {[len(trial.cues) for trial in trials]} of them.")
        self.trials = trials
        self.sessions = tuple((kind,) for kind in range(len(trials))) if sessions is None else sessions
        for session in self.sessions:
            if not session or not all(0 <= kind < len(trials) for kind in session):
                raise ValueError(f"sessions: at least one trial each, of kinds 0, …, {len(trials) - 1}, not {session}.")
        if not self.sessions:
            raise ValueError("sessions: at least one.")
        self.longest = max(map(len, self.sessions))
        self._made: dict[tuple[torch.device, torch.dtype], Tables] = {}

    def at(self, like: Tensor) -> Tables:
        """Tables on the device and in the float type of a tensor."""
        key = (like.device, like.dtype)
        if key not in self._made:
            padded = [[*session, *[-1] * (self.longest + 1 - len(session))] for session in self.sessions]
            nothing = TrialKind((0.0,) * len(self.trials[0].cues))
            trials = [*self.trials, nothing]
            onset = [[p if x else 2**31 for p, x in zip(t.onsets, t.cues, strict=True)] for t in trials]

            def table(values: list[Any], dtype: torch.dtype) -> Tensor:
                return torch.tensor(values, device=like.device, dtype=dtype)

            self._made[key] = Tables(
                table(padded, torch.int64),
                table([trial.cues for trial in trials], like.dtype),
                table([trial.outcome for trial in trials], like.dtype),
                table([trial.probe for trial in trials], torch.bool),
                table(onset, torch.int64),
                table([trial.outcome_onset for trial in trials], torch.int64),
                table([trial.length for trial in trials], torch.int64),
            )
        return self._made[key]


@dataclass(frozen=True)
class ConditioningState:
    """Where in the session a subject is."""

    session: Int[Tensor, "*batch"]
    position: Int[Tensor, "*batch"]  # trials that are over
    cues: Float[Tensor, "*batch C"]  # of the present one


@dataclass(frozen=True)
class Conditioning:
    """A trial is a step: its cues are seen, then its outcome comes as the reward.

    The value of cues at γ = 0 is their expected outcome, so a linear learner of values is the Rescorla-Wagner model. An
    episode is one of `sessions`, drawn at random. Without `sessions` it is one trial of a kind drawn at random.

    There is one action, which does nothing. With `omission` there are two, and action 1, the response, cancels the
    outcome of its trial (Sheffield 1965).

    Args:
        trials: The kinds of trials.
        sessions: The kinds of the trials of an episode, in order; of different lengths if need be.
        omission: Whether a response cancels the outcome.

    Raises:
        ValueError: There is no trial, kinds have different numbers of cues, or a session names a kind that is none.
    """

    trials: tuple[TrialKind, ...] = ACQUISITION
    sessions: Sessions | None = None
    omission: bool = False

    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "trials", tuple(self.trials))
        if self.sessions is not None:
            object.__setattr__(self, "sessions", tuple(map(tuple, self.sessions)))
        self.tables  # noqa: B018 - it checks them

    @property
    def observation(self) -> Box:
        """Intensities of the cues."""
        return Box((len(self.trials[0].cues),), 0.0, max(max(trial.cues) for trial in self.trials))

    @property
    def action(self) -> Discrete:
        """Nothing, and with `omission` the response."""
        return Discrete(2 if self.omission else 1)

    @property
    def max_steps(self) -> int:
        """One more than the trials of the longest session: it terminates before."""
        return 1 + self.tables.longest

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> ConditioningState:
        """The first trial of a session."""
        tables = self.tables.at(noise)
        session = tables.draw(noise[..., 0])
        position = torch.zeros_like(session)
        return ConditioningState(session, position, tables.cues[tables.kind(session, position)])

    def observe(self, state: ConditioningState) -> Float[Tensor, "*batch C"]:
        """The cues; none when the session is over."""
        return state.cues

    def step(
        self, state: ConditioningState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 0"]
    ) -> tuple[ConditioningState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """The outcome, then the cues of the next trial."""
        tables = self.tables.at(noise)
        reward = tables.outcome[tables.kind(state.session, state.position)]
        if self.omission:
            reward = reward * (action != 1)
        position = state.position + 1
        kind = tables.kind(state.session, position)
        return ConditioningState(state.session, position, tables.cues[kind]), reward, kind < 0

    def kind(self, state: ConditioningState) -> Int[Tensor, "*batch"]:
        """The number of the present kind of trial; −1 when the session is over."""
        return self.tables.at(state.cues).kind(state.session, state.position)

    def is_probe(self, state: ConditioningState) -> Bool[Tensor, "*batch"]:
        """Whether the present trial only tests."""
        return self.tables.at(state.cues).probe[self.kind(state)]

    def info(self, state: ConditioningState) -> dict[str, Tensor]:
        """`trial_type`, see `kind`, and `probe`, see `is_probe`: what `gymnasium.make` has in its info."""
        return {"trial_type": self.kind(state), "probe": self.is_probe(state)}

    @cached_property
    def tables(self) -> TableCache:
        """Trials and sessions as tensors."""
        return TableCache(self.trials, self.sessions)
