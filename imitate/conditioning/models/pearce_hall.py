"""Models in which surprise opens a cue to learning: Pearce & Hall, Pearce, Kaye & Hall, and the hybrid of both errors.

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

__all__ = ["Associable", "HybridPearceHall", "PearceHall", "PearceKayeHall"]


@dataclass(frozen=True)
class Associable:
    """Excitatory and inhibitory strengths, and the associability of each cue."""

    excitation: Tensor  # [..., C, O]
    inhibition: Tensor  # [..., C, O]
    alpha: Tensor  # [..., C]


@dataclass(frozen=True)
class PearceKayeHall:
    """What was surprising of late is learnt about quickly.

        ΔV_i = S_i β_ex x_i α_i λ            if λ > e = Σ x (V − V̄)
        ΔV̄_i = S_i β_in x_i α_i |λ − e|      if λ < e
        α_i ← (1 − θ) α_i + θ γ Σ_outcomes |λ − e|     of the cues present, clipped to [low, high]

    Strengths use the old α.

    Source: Pearce, Kaye & Hall (1982), as in calmr, whose defaults these are; the salience S is that of PALMS.

    Args:
        low: Least α.
        high: Greatest α.
    """

    low: float = 0.1
    high: float = 1.0

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """First associability `alpha` and `salience` of each cue; rates `beta_ex`, `beta_in`, `theta`; `gamma`."""
        return {
            "alpha": Parameter(0.4, self.low, self.high, each_cue=True),
            "salience": Parameter(1.0, each_cue=True),
            "beta_ex": Parameter(0.4),
            "beta_in": Parameter(0.3),
            "theta": Parameter(1.0),
            "gamma": Parameter(0.3),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Associable:
        """Nothing is associated, and associability is as `alpha` says."""
        return _naive(theta, shape, cues, outcomes)

    def predict(self, theta: Theta, state: Associable, cues: Tensor) -> Tensor:
        """Σ x (V − V̄), [..., O]."""
        return expected(cues, self.strengths(state))

    def strengths(self, state: Associable) -> Tensor:
        """V − V̄."""
        return state.excitation - state.inhibition

    def update(self, theta: Theta, state: Associable, trial: Trial) -> Associable:
        """The state after a trial."""
        error = trial.outcome - self.predict(theta, state, trial.cues)
        open_to = theta["salience"] * trial.cues * state.alpha
        surprise = beside(theta["gamma"]) * error.abs().sum(-1, keepdim=True)
        alpha = state.alpha + trial.cues * beside(theta["theta"]) * (surprise - state.alpha)
        return Associable(
            state.excitation + _excite(open_to * beside(theta["beta_ex"]), trial.outcome, error),
            state.inhibition + _inhibit(open_to * beside(theta["beta_in"]), error),
            alpha.clamp(self.low, self.high),
        )


@dataclass(frozen=True)
class PearceHall:
    """What surprised on the last trial is learnt about on this one.

        ΔV_i = S_i x_i α_i λ  if λ > e,   ΔV̄_i = S_i x_i α_i |λ − e|  if λ < e,   e = Σ x (V − V̄)
        α_i ← (1 − γ) α_i + γ Σ_outcomes |λ − e|     of the cues present

    γ = 1, the default, is the original: only the last trial counts. Defaults of S and α are ours.

    Source: Pearce & Hall (1980).
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """First associability `alpha` and `salience` of each cue, and the rate `gamma` of associability."""
        return {
            "alpha": Parameter(0.5, each_cue=True),
            "salience": Parameter(0.1, each_cue=True),
            "gamma": Parameter(1.0),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Associable:
        """Nothing is associated, and associability is as `alpha` says."""
        return _naive(theta, shape, cues, outcomes)

    def predict(self, theta: Theta, state: Associable, cues: Tensor) -> Tensor:
        """Σ x (V − V̄), [..., O]."""
        return expected(cues, self.strengths(state))

    def strengths(self, state: Associable) -> Tensor:
        """V − V̄."""
        return state.excitation - state.inhibition

    def update(self, theta: Theta, state: Associable, trial: Trial) -> Associable:
        """The state after a trial."""
        error = trial.outcome - self.predict(theta, state, trial.cues)
        open_to = theta["salience"] * trial.cues * state.alpha
        surprise = error.abs().sum(-1, keepdim=True)
        return Associable(
            state.excitation + _excite(open_to, trial.outcome, error),
            state.inhibition + _inhibit(open_to, error),
            state.alpha + trial.cues * beside(theta["gamma"]) * (surprise - state.alpha),
        )


@dataclass(frozen=True)
class HybridPearceHall:
    """Rescorla-Wagner's error with Pearce & Hall's associability.

        V_i ← V_i + κ x_i α_i (λ − e),   α_i ← (1 − η) α_i + η Σ_outcomes |λ − e|     of the cues present

    V uses the old α. The defaults are ours.

    Source: Li, Schiller, Schoenbaum, Phelps & Daw (2011).
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """First associability `alpha` of each cue, rate `kappa` of strengths, rate `eta` of associability."""
        first = Parameter(1.0, 0.0, math.inf, each_cue=True)
        return {"alpha": first, "kappa": Parameter(0.3), "eta": Parameter(0.3)}

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> tuple[Tensor, Tensor]:
        """V [..., C, O] and α [..., C]."""
        return zeros(theta, *shape, cues, outcomes), theta["alpha"].expand(*shape, cues)

    def predict(self, theta: Theta, state: tuple[Tensor, Tensor], cues: Tensor) -> Tensor:
        """Σ x V, [..., O]."""
        return expected(cues, state[0])

    def strengths(self, state: tuple[Tensor, Tensor]) -> Tensor:
        """V."""
        return state[0]

    def update(self, theta: Theta, state: tuple[Tensor, Tensor], trial: Trial) -> tuple[Tensor, Tensor]:
        """The state after a trial."""
        strengths, alpha = state
        error = trial.outcome - expected(trial.cues, strengths)
        step = beside(beside(theta["kappa"]) * trial.cues * alpha) * error.unsqueeze(-2)
        surprise = error.abs().sum(-1, keepdim=True)
        return strengths + step, alpha + trial.cues * beside(theta["eta"]) * (surprise - alpha)


def _naive(theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Associable:
    nothing = zeros(theta, *shape, cues, outcomes)
    return Associable(nothing, nothing, theta["alpha"].expand(*shape, cues))


def _excite(rate: Tensor, outcome: Tensor, error: Tensor) -> Tensor:
    """Growth of excitation, [..., C, O], from rates [..., C]."""
    return beside(rate) * torch.where(error > 0, outcome, 0.0).unsqueeze(-2)


def _inhibit(rate: Tensor, error: Tensor) -> Tensor:
    """Growth of inhibition, [..., C, O], from rates [..., C]."""
    return beside(rate) * (-error).clamp(min=0).unsqueeze(-2)
