"""Le Pelley's hybrid: attention as Mackintosh has it, associability as Pearce and Hall have it.

Letters: C cues, O outcomes; `...` lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, expected, others, zeros

__all__ = ["Hybrid", "LePelley"]


@dataclass(frozen=True)
class Hybrid:
    """Excitatory and inhibitory strengths, and what opens each cue to learning."""

    excitation: Tensor  # E [..., C, O]
    inhibition: Tensor  # I [..., C, O]
    attention: Tensor  # α [..., C], by relative predictiveness
    associability: Tensor  # σ [..., C], by surprise


@dataclass(frozen=True)
class LePelley:
    """Attention and associability together open a cue to learning.

        R > 0:  ΔE_i = x_i α_i σ_i β_E (1 − E_i + I_i)|R|,  Δα_i = −x_i θ_E (|λ − E_i + I_i| − |λ − E_X + I_X|)
        R < 0:  ΔI_i = x_i α_i σ_i β_I (1 − I_i + E_i)|R|,  Δα_i = −x_i θ_I (||R| − I_i + E_i| − ||R| − I_X + E_X|)
        σ_i ← (1 − γ) σ_i + γ |R|     of the cues present
        R = λ − Σ_k x_k (E_k − I_k),   E_X = Σ_{k≠i} x_k E_k,   I_X likewise

    α stays within `attention_bounds`, σ within `associability_bounds`. Strengths use the old α and σ. Several outcomes
    add up in Δα and in |R|.

    Source: Le Pelley (2004); the numbers are those of PALMS (Fixman et al. 2026), but γ, which is that of its
    Pearce-Kaye-Hall. PALMS moves σ by the signed R, which lets surprising omissions close a cue; here it is |R|.

    Args:
        attention_bounds: Least and greatest α.
        associability_bounds: Least and greatest σ.
    """

    attention_bounds: tuple[float, float] = (0.05, 1.0)
    associability_bounds: tuple[float, float] = (0.5, 1.0)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """First `alpha_mack` (α) and `alpha_hall` (σ) of each cue, and rates."""
        return {
            "alpha_mack": Parameter(0.9, *self.attention_bounds, each_cue=True),
            "alpha_hall": Parameter(0.9, *self.associability_bounds, each_cue=True),
            "beta_ex": Parameter(0.3),
            "beta_in": Parameter(0.1),
            "theta_ex": Parameter(0.3),
            "theta_in": Parameter(0.1),
            "gamma": Parameter(0.2),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Hybrid:
        """Nothing is associated."""
        nothing = zeros(theta, *shape, cues, outcomes)
        attention, associability = (theta[name].expand(*shape, cues) for name in ("alpha_mack", "alpha_hall"))
        return Hybrid(nothing, nothing, attention, associability)

    def predict(self, theta: Theta, state: Hybrid, cues: Tensor) -> Tensor:
        """Σ x (E − I), [..., O]."""
        return expected(cues, self.strengths(state))

    def strengths(self, state: Hybrid) -> Tensor:
        """E − I."""
        return state.excitation - state.inhibition

    def update(self, theta: Theta, state: Hybrid, trial: Trial) -> Hybrid:
        """The state after a trial."""
        net = self.strengths(state)
        rest = others(trial.cues, net)
        outcome = trial.outcome.unsqueeze(-2)
        error = outcome - expected(trial.cues, net).unsqueeze(-2)
        size = error.abs()
        rate = beside(trial.cues * state.attention * state.associability) * size
        excite = torch.where(error > 0, rate * (1 - net), 0.0)
        inhibit = torch.where(error < 0, rate * (1 + net), 0.0)
        predictive = torch.where(error > 0, (outcome - rest).abs() - (outcome - net).abs(), 0.0).sum(-1)
        preventive = torch.where(error < 0, (size + rest).abs() - (size + net).abs(), 0.0).sum(-1)
        attention = state.attention + trial.cues * (
            beside(theta["theta_ex"]) * predictive + beside(theta["theta_in"]) * preventive
        )
        surprise = size.sum(-1)
        associability = state.associability + trial.cues * beside(theta["gamma"]) * (surprise - state.associability)
        return Hybrid(
            state.excitation + beside(beside(theta["beta_ex"])) * excite,
            state.inhibition + beside(beside(theta["beta_in"])) * inhibit,
            attention.clamp(*self.attention_bounds),
            associability.clamp(*self.associability_bounds),
        )
