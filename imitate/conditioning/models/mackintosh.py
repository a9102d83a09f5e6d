"""Mackintosh's model: attention goes to the best predictor.

Letters: C cues, O outcomes; `...` lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, expected, others, present, zeros

__all__ = ["Attended", "Mackintosh"]


@dataclass(frozen=True)
class Attended:
    """Strengths, and how much each cue is attended to."""

    strengths: Tensor  # [..., C, O]
    alpha: Tensor  # [..., C]


@dataclass(frozen=True)
class Mackintosh:
    """A cue is attended to as far as it predicts better than all the others together.

        ΔV_i = x_i α_i β (λ − V_i)
        Δα_i = x_i θ Σ_outcomes (|λ − Σ_{k≠i} x_k V_k| − |λ − V_i|),   clipped to [low, high]

    Both use the old V and α. β is `beta_on` or `beta_off` by the outcome's presence. There is no blocking on the
    first compound trial, and none by latent inhibition: with no outcome both errors are zero. calmr's θγ is our θ.

    Source: Mackintosh (1975), in the form of Le Pelley et al. (2016); defaults are those of calmr.

    Args:
        low: Least α.
        high: Greatest α.
    """

    low: float = 0.1
    high: float = 1.0

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """First associability `alpha` of each cue; rates `beta_on`, `beta_off`, and `theta` of attention."""
        return {
            "alpha": Parameter(0.4, self.low, self.high, each_cue=True),
            "beta_on": Parameter(0.4),
            "beta_off": Parameter(0.4),
            "theta": Parameter(0.2),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Attended:
        """Nothing is associated, and attention is as `alpha` says."""
        return Attended(zeros(theta, *shape, cues, outcomes), theta["alpha"].expand(*shape, cues))

    def predict(self, theta: Theta, state: Attended, cues: Tensor) -> Tensor:
        """Σ x V, [..., O]."""
        return expected(cues, state.strengths)

    def strengths(self, state: Attended) -> Tensor:
        """V."""
        return state.strengths

    def update(self, theta: Theta, state: Attended, trial: Trial) -> Attended:
        """V + ΔV and α + Δα."""
        outcome = trial.outcome.unsqueeze(-2)
        error = outcome - state.strengths
        without = outcome - others(trial.cues, state.strengths)
        rate = present(theta["beta_on"], theta["beta_off"], trial.outcome).unsqueeze(-2)
        better = (without.abs() - error.abs()).sum(-1)
        return Attended(
            state.strengths + beside(trial.cues * state.alpha) * rate * error,
            (state.alpha + trial.cues * beside(theta["theta"]) * better).clamp(self.low, self.high),
        )
