"""The Rescorla-Wagner model: all cues of a trial share one error.

Letters: C cues, O outcomes; `...` lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, expected, present, zeros

__all__ = ["RescorlaWagner"]


@dataclass(frozen=True)
class RescorlaWagner:
    """Cues compete for what their compound does not yet predict.

        ΔV_i = α_i β x_i (λ − Σ_k x_k V_k),   β = β_on if the outcome is present, else β_off

    With β_on = β_off and α = 1 it is the delta rule of Widrow & Hoff (1960). It converges if β·Σ α_i x_i < 2.
    The state is V [..., C, O]; defaults are those of calmr.

    Source: Rescorla & Wagner (1972).
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Salience `alpha` of each cue; rates `beta_on` and `beta_off`."""
        return {"alpha": Parameter(0.4, each_cue=True), "beta_on": Parameter(0.4), "beta_off": Parameter(0.4)}

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
        error = trial.outcome - expected(trial.cues, state)
        step = present(theta["beta_on"], theta["beta_off"], trial.outcome) * error
        return torch.addcmul(state, beside(theta["alpha"] * trial.cues), step.unsqueeze(-2))
