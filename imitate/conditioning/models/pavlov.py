"""Pavlov's conditioned reflex as a linear operator: every cue learns as if it were alone.

Letters: C cues, O outcomes; `...` lanes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, expected, zeros
from imitate.core.config import check

__all__ = ["InternalInhibition", "Pavlov", "Reflex"]


@dataclass(frozen=True)
class Pavlov:
    """A reflex grows by a share of what is left to learn.

        ΔV_i = α_i β x_i e^{−gap/τ} (λ − V_i)

    Each cue has an error of its own, so there is no blocking. Pavlov gave no equation; the linear operator is that of
    Bush & Mosteller (1951). The stimulus trace is our formalisation of his contiguity: a cue that ended `gap` before
    the outcome acts by what is left of it, so trace conditioning is slower than delay conditioning.
    The state is V [..., C, O]; the defaults are ours.

    Source: Pavlov (1927), lectures 2-4, in words; Bush & Mosteller (1951), eq. 1.

    Args:
        gap: From the end of a cue to the outcome, in units of τ (`trace_tau`); with 0 that parameter is absent.

    Raises:
        ValueError: The gap is negative.
    """

    gap: float = 0.0

    def __post_init__(self) -> None:
        check(self)
        if self.gap < 0:
            raise ValueError(f"gap: {self.gap:g} is negative; a cue ends before the outcome, or with it at gap=0.")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Salience `alpha` of each cue, rate `beta`, and `trace_tau` where there is a gap."""
        own = {"alpha": Parameter(0.1, each_cue=True), "beta": Parameter(1.0)}
        return own | ({"trace_tau": Parameter(10.0, 0.0, math.inf)} if self.gap else {})

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Tensor:
        """Nothing is associated."""
        return zeros(theta, *shape, cues, outcomes)

    def predict(self, theta: Theta, state: Tensor, cues: Tensor) -> Tensor:
        """Σ x V, [..., O]."""
        return expected(cues, state)

    def strengths(self, state: Tensor) -> Tensor:
        """V."""
        return state

    def update(self, theta: Theta, state: Tensor, trial: Trial) -> Tensor:
        """V + ΔV."""
        return state + self.rate(theta, trial.cues) * (trial.outcome.unsqueeze(-2) - state)

    def rate(self, theta: Theta, cues: Tensor) -> Tensor:
        """α_i β x_i e^{−gap/τ}, [..., C, 1]."""
        rate = theta["alpha"] * beside(theta["beta"]) * cues
        if self.gap:
            rate = rate * beside(torch.exp(-self.gap / theta["trace_tau"]))
        return beside(rate)


@dataclass(frozen=True)
class Reflex:
    """What a reflex is made of."""

    excitation: Tensor  # [..., C, O]
    inhibition: Tensor  # [..., C, O]


@dataclass(frozen=True)
class InternalInhibition:
    """Extinction does not undo a reflex but inhibits it, and the inhibition fades between sessions.

        V = E − I,   ΔE_i = α_i β x_i (λ − V_i)₊,   ΔI_i = α_i β_I x_i (V_i − λ)₊,   rest: I ← I e^{−t/τ_I}

    The concept is Pavlov's, the formalisation is ours. `rest` gives spontaneous recovery.

    Source: Pavlov (1927), lecture 4, in words.
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Salience `alpha` of each cue, rates `beta` and `beta_inhibition`, and `tau_inhibition`, a time."""
        return {
            "alpha": Parameter(0.1, each_cue=True),
            "beta": Parameter(1.0),
            "beta_inhibition": Parameter(1.0),
            "tau_inhibition": Parameter(10.0, 0.0, math.inf),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Reflex:
        """Neither excitation nor inhibition."""
        nothing = zeros(theta, *shape, cues, outcomes)
        return Reflex(nothing, nothing)

    def predict(self, theta: Theta, state: Reflex, cues: Tensor) -> Tensor:
        """Σ x V, [..., O]."""
        return expected(cues, self.strengths(state))

    def strengths(self, state: Reflex) -> Tensor:
        """E − I."""
        return state.excitation - state.inhibition

    def update(self, theta: Theta, state: Reflex, trial: Trial) -> Reflex:
        """E + ΔE and I + ΔI."""
        error = trial.outcome.unsqueeze(-2) - self.strengths(state)
        open_to = theta["alpha"] * trial.cues
        excite, inhibit = (beside(open_to * beside(theta[name])) for name in ("beta", "beta_inhibition"))
        return Reflex(state.excitation + excite * error.clamp(min=0), state.inhibition - inhibit * error.clamp(max=0))

    def rest(self, theta: Theta, state: Reflex, time: float | Tensor) -> Reflex:
        """The state after a pause, in the units of `tau_inhibition`; a tensor [...] has one for each lane."""
        left = beside(beside(torch.exp(-time / theta["tau_inhibition"])))
        return Reflex(state.excitation, state.inhibition * left)
