"""Pavlov's experiments step by step in time. C: cues, D: features of a cue; `*batch` is any leading shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Box, Discrete
from imitate_envs.conditioning import ACQUISITION, Sessions, TableCache, TrialKind
from imitate_envs.stimuli import CompleteSerialCompound, Representation, Timing

__all__ = ["TimedConditioning", "TimedState"]


@dataclass(frozen=True)
class TimedState:
    """Where in the session a subject is, and what it may remember of its cues."""

    session: Int[Tensor, "*batch"]
    position: Int[Tensor, "*batch"]  # trials that are over
    clock: Int[Tensor, "*batch"]  # steps since the trial began; negative in the pause before it
    since: Int[Tensor, "*batch C"]  # steps since each cue last came on; −1 if it never has
    intensity: Float[Tensor, "*batch C"]  # of each cue when it last came on
    responded: Bool[Tensor, "*batch"]  # in this trial


@dataclass(frozen=True)
class TimedConditioning:
    """A trial takes time: a pause, then its cues come on, then its outcome comes as the reward of a step.

    An episode is one of `sessions`, drawn at random; without `sessions` it is one trial of a kind drawn at random, and
    a pause before it. It terminates with the step of its last trial's outcome, or that where it would be.

    The reward of the step from t to t + 1 is the outcome at t + 1, so δ = r + γ V(next_obs) − V(obs) is the prediction
    error at t + 1 of Sutton & Barto (1990).

    There is one action, which does nothing. With `omission` there are two, and action 1, the response, anywhere in a
    trial but its pause cancels the outcome of that trial (Sheffield 1965).

    Args:
        trials: The kinds of trials.
        sessions: The kinds of the trials of an episode, in order; of different lengths if need be.
        timing: When things happen.
        representation: What is seen of a cue at a step.
        omission: Whether a response cancels the outcome.

    Raises:
        ValueError: There is no trial, kinds have different numbers of cues, or a session names a kind that is none.
    """

    trials: tuple[TrialKind, ...] = ACQUISITION
    sessions: Sessions | None = None
    timing: Timing = Timing()  # noqa: RUF009 - it is frozen
    representation: Representation = CompleteSerialCompound()  # noqa: RUF009 - it is frozen
    omission: bool = False

    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "trials", tuple(self.trials))
        if self.sessions is not None:
            object.__setattr__(self, "sessions", tuple(map(tuple, self.sessions)))
        self.tables  # noqa: B018 - it checks them

    @property
    def observation(self) -> Box:
        """Features of the cues, cue by cue."""
        size = len(self.trials[0].cues) * self.representation.width(self.horizon)
        return Box((size,), 0.0, max(max(trial.cues) for trial in self.trials))

    @property
    def action(self) -> Discrete:
        """Nothing, and with `omission` the response."""
        return Discrete(2 if self.omission else 1)

    @cached_property
    def horizon(self) -> int:
        """Steps of the longest trial, without its pause."""
        return self._isi * max(trial.length for trial in self.trials)

    @cached_property
    def max_steps(self) -> int:
        """More than the steps of the longest session: it terminates before."""
        pause = math.ceil(self.timing.pause.longest / self.timing.dt)
        lengths = [pause + self._isi * trial.length for trial in self.trials]
        return 1 + max(sum(lengths[kind] for kind in session) for session in self.tables.sessions)

    def reset(self, noise: Float[Tensor, "*batch 2"]) -> TimedState:
        """The pause before the first trial."""
        session = self.tables.at(noise).draw(noise[..., 0])
        clock = -self.timing.pause_steps(noise[..., 1])
        shape = (*session.shape, len(self.trials[0].cues))
        since = torch.full(shape, -1, dtype=torch.int64, device=noise.device)
        nothing = torch.zeros(shape, dtype=noise.dtype, device=noise.device)
        return TimedState(session, torch.zeros_like(session), clock, since, nothing, session < 0)

    def observe(self, state: TimedState) -> Float[Tensor, "*batch CD"]:
        """Features of the cues, by their intensities."""
        duration = self.timing.steps(self.timing.duration)
        features = self.representation.features(state.since, duration, self.horizon, state.intensity.dtype)
        return (features * state.intensity.unsqueeze(-1)).flatten(-2)

    def step(
        self, state: TimedState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 1"]
    ) -> tuple[TimedState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One time step."""
        tables = self.tables.at(noise)
        kind, clock = tables.kind(state.session, state.position), state.clock + 1
        comes_on = self._isi * tables.onset[kind] == clock.unsqueeze(-1)
        since = (state.since + (state.since >= 0)).masked_fill(comes_on, 0)
        intensity = torch.where(comes_on, tables.cues[kind], state.intensity)
        responded = state.responded
        if self.omission:
            responded = responded | ((action == 1) & (state.clock >= 0))
        reward = tables.outcome[kind] * ((self._isi * tables.outcome_onset[kind] == clock) & ~responded)
        over = self._isi * tables.length[kind] == clock
        position = state.position + over
        clock = torch.where(over, -self.timing.pause_steps(noise[..., 0]), clock)
        state = TimedState(state.session, position, clock, since, intensity, responded & ~over)
        return state, reward, self.kind(state) < 0

    def kind(self, state: TimedState) -> Int[Tensor, "*batch"]:
        """The number of the present kind of trial, or in a pause of the next one; −1 when the session is over."""
        return self.tables.at(state.intensity).kind(state.session, state.position)

    def is_probe(self, state: TimedState) -> Bool[Tensor, "*batch"]:
        """Whether the present trial only tests."""
        return self.tables.at(state.intensity).probe[self.kind(state)]

    def info(self, state: TimedState) -> dict[str, Tensor]:
        """`trial_type`, see `kind`, and `probe`, see `is_probe`: what `gymnasium.make` has in its info."""
        return {"trial_type": self.kind(state), "probe": self.is_probe(state)}

    @cached_property
    def _isi(self) -> int:
        """Steps of a period."""
        return self.timing.steps(self.timing.isi)

    @cached_property
    def tables(self) -> TableCache:
        """Trials and sessions as tensors."""
        return TableCache(self.trials, self.sessions)
