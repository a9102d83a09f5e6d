"""When things happen in a conditioning trial, and what of them is seen at each time step.

C: cues, D: features of a cue; `...` is any leading shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

__all__ = [
    "CompleteSerialCompound",
    "ExponentialPause",
    "FixedPause",
    "Microstimuli",
    "Pause",
    "Presence",
    "Representation",
    "Timing",
    "UniformPause",
    "microstimuli",
    "presence",
    "serial_compound",
]


def serial_compound(since: Tensor, steps: int) -> Tensor:
    """One feature for each time step since a cue came on, 1 at its moment.

    Source: Sutton & Barto (1990).

    Args:
        since: Steps since each cue came on, [..., C] (int64); −1 if it has not.
        steps: D; beyond that nothing is seen.

    Returns:
        Features [..., C, D] (bool).
    """
    return since.unsqueeze(-1) == torch.arange(steps, device=since.device)


def presence(since: Tensor, duration: int) -> Tensor:
    """One feature a cue: whether it is on.

    Source: Sutton & Barto (1990); Ludvig, Sutton & Kehoe (2012).

    Args:
        since: Steps since each cue came on, [..., C] (int64); −1 if it has not.
        duration: Steps that a cue lasts.

    Returns:
        Features [..., C, 1] (bool).
    """
    return ((since >= 0) & (since < duration)).unsqueeze(-1)


def microstimuli(since: Tensor, count: int, width: float, decay: float, dtype: torch.dtype) -> Tensor:
    """A decaying trace of each cue, seen through overlapping windows.

        y = decay^since,   f_i = y · N(y; i/m, σ²) with peak 1/√(2π),   i = 1, …, m

    Source: Ludvig, Sutton & Kehoe (2008; 2012).

    Args:
        since: Steps since each cue came on, [..., C] (int64); −1 if it has not.
        count: m.
        width: σ of the windows, in units of the trace.
        decay: Of the trace in one step.
        dtype: Float type of the features.

    Returns:
        Features [..., C, m].
    """
    trace = (decay ** since.to(dtype)).unsqueeze(-1)
    center = torch.arange(1, count + 1, device=since.device, dtype=dtype) / count
    seen = trace / math.sqrt(2 * math.pi) * torch.exp(-((trace - center) ** 2) / (2 * width**2))
    return seen * (since >= 0).unsqueeze(-1)


class Representation(Protocol):
    """What a subject sees of its cues at a time step."""

    def width(self, horizon: int) -> int:
        """D, where the outcome may come `horizon` steps after the first cue."""

    def features(self, since: Tensor, duration: int, horizon: int, dtype: torch.dtype) -> Tensor:
        """Features [..., C, D] of cues that came on `since` steps ago [..., C] and last `duration` steps."""


@dataclass(frozen=True)
class CompleteSerialCompound:
    """Every moment since a cue came on looks different, as far as the outcome: see `serial_compound`."""

    def width(self, horizon: int) -> int:
        """One a step."""
        return horizon

    def features(self, since: Tensor, duration: int, horizon: int, dtype: torch.dtype) -> Tensor:
        """1 at the moment."""
        return serial_compound(since, horizon).to(dtype)


@dataclass(frozen=True)
class Presence:
    """A cue is on or off: see `presence`."""

    def width(self, horizon: int) -> int:
        """1."""
        return 1

    def features(self, since: Tensor, duration: int, horizon: int, dtype: torch.dtype) -> Tensor:
        """1 while it is on."""
        return presence(since, duration).to(dtype)


@dataclass(frozen=True)
class Microstimuli:
    """Moments look the more alike the longer ago the cue came on: see `microstimuli`."""

    count: int = 6
    sigma: float = 0.08
    decay: float = 0.985

    def __post_init__(self) -> None:
        if self.count < 1 or self.sigma <= 0 or not 0 < self.decay <= 1:
            raise ValueError(
                "count, sigma, decay: at least 1, positive, and in (0, 1], "
                f"not {self.count}, {self.sigma} and {self.decay}."
            )

    def width(self, horizon: int) -> int:
        """The windows."""
        return self.count

    def features(self, since: Tensor, duration: int, horizon: int, dtype: torch.dtype) -> Tensor:
        """The trace through the windows."""
        return microstimuli(since, self.count, self.sigma, self.decay, dtype)


class Pause(Protocol):
    """The time from the end of a trial to the first cue of the next one, s."""

    @property
    def longest(self) -> float:
        """Upper bound."""

    def draw(self, uniform: Tensor) -> Tensor:
        """Pauses from uniforms of one shape, s."""


@dataclass(frozen=True)
class FixedPause:
    """Always the same."""

    mean: float

    @property
    def longest(self) -> float:
        """Itself."""
        return self.mean

    def draw(self, uniform: Tensor) -> Tensor:
        """The mean."""
        return torch.full_like(uniform, self.mean)


@dataclass(frozen=True)
class ExponentialPause:
    """Exponential, cut at a longest one; short of it, how long it has lasted does not tell when it ends.

    Args:
        mean: Before the cut.
        bound: The longest interval; three means by default.
    """

    mean: float
    bound: float | None = None

    @property
    def longest(self) -> float:
        """The bound."""
        return 3 * self.mean if self.bound is None else self.bound

    def draw(self, uniform: Tensor) -> Tensor:
        """By the inverse CDF."""
        return (-self.mean * torch.log1p(-uniform)).clamp(max=self.longest)


@dataclass(frozen=True)
class UniformPause:
    """Uniform within ± `spread`, a share of the mean."""

    mean: float
    spread: float = 0.2

    @property
    def longest(self) -> float:
        """The upper end."""
        return self.mean * (1 + self.spread)

    def draw(self, uniform: Tensor) -> Tensor:
        """By the inverse CDF."""
        return self.mean * (1 + self.spread * (2 * uniform - 1))


@dataclass(frozen=True)
class Timing:
    """The time course of trials, s: cue, perhaps a gap, outcome; then a pause until the next trial's cue.

    A trial of several periods has a cue and a gap for each.

    Args:
        duration: Time that a cue lasts.
        gap: From a cue's end to what follows: 0 is delay conditioning, more is trace conditioning.
        pause: From the outcome to the next trial.
        dt: One time step.

    Raises:
        ValueError: A time is negative, or one that must not vanish rounds to no step.
    """

    duration: float = 25.0
    gap: float = 0.0
    pause: Pause = FixedPause(50.0)
    dt: float = 1.0

    def __post_init__(self) -> None:
        if self.dt <= 0:
            raise ValueError(f"dt: must be positive, not {self.dt}.")
        if self.gap < 0:
            raise ValueError(f"gap: at least 0, not {self.gap}.")
        for name, time in (("duration", self.duration), ("pause", self.pause.longest)):
            if self.steps(time) < 1:
                raise ValueError(f"{name}: at least one step of {self.dt} s, not {time} s.")

    @property
    def isi(self) -> float:
        """Interstimulus interval, from a cue's onset to what follows, s."""
        return self.duration + self.gap

    def steps(self, seconds: float) -> int:
        """Whole time steps that are closest."""
        return round(seconds / self.dt)

    def pause_steps(self, uniform: Tensor) -> Tensor:
        """Pauses in steps (int64), at least 1, from uniforms of one shape."""
        return (self.pause.draw(uniform) / self.dt).round().long().clamp(min=1)
