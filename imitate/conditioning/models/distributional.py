"""Rescorla-Wagner with a spread of optimists and pessimists: a distribution of outcomes instead of their mean.

Letters: C cues, O outcomes, Q channels; `...` lanes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, present, zeros
from imitate.core.config import check

__all__ = ["DistributionalRescorlaWagner", "expectile", "quantile"]


def expectile(error: Tensor) -> Tensor:
    """The error itself: channels come to rest at expectiles."""
    return error


def quantile(error: Tensor) -> Tensor:
    """The error's sign: channels come to rest at quantiles."""
    return torch.sign(error)


@dataclass(frozen=True)
class DistributionalRescorlaWagner:
    """Each channel weighs good surprises against bad ones in its own way.

        ΔV_iq = 2 w_q α_i β x_i f(d_q),   d_q = λ − Σ_k x_k V_kq,   w_q = τ_q if d_q > 0, else 1 − τ_q

    With f the identity a channel comes to rest at the τ-expectile of the outcomes, with the sign at their τ-quantile.
    τ = 1/2 with the identity is Rescorla-Wagner. The state is V [..., C, O, Q].

    Source: Dabney et al. (2020), eqs. 1-2 of the Methods.

    Args:
        levels: τ of each channel.
        response: What becomes of an error: `expectile` or `quantile`.

    Raises:
        ValueError: A level is not inside (0, 1).
    """

    levels: tuple[float, ...] = (0.1, 0.25, 0.5, 0.75, 0.9)
    response: Callable[[Tensor], Tensor] = expectile

    def __post_init__(self) -> None:
        check(self)
        object.__setattr__(self, "levels", tuple(self.levels))
        if not self.levels or not all(0 < level < 1 for level in self.levels):
            raise ValueError(f"levels: at least one, each inside (0, 1), not {self.levels}.")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Salience `alpha` of each cue; rates `beta_on` and `beta_off`."""
        return {"alpha": Parameter(0.4, each_cue=True), "beta_on": Parameter(0.4), "beta_off": Parameter(0.4)}

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Tensor:
        """Nothing is associated."""
        return zeros(theta, *shape, cues, outcomes, len(self.levels))

    def channels(self, state: Tensor, cues: Tensor) -> Tensor:
        """What each channel expects, [..., O, Q]."""
        return (beside(beside(cues)) * state).sum(-3)

    def predict(self, theta: Theta, state: Tensor, cues: Tensor) -> Tensor:
        """Mean of the channels, [..., O]."""
        return self.channels(state, cues).mean(-1)

    def strengths(self, state: Tensor) -> Tensor:
        """Mean of the channels."""
        return state.mean(-1)

    def update(self, theta: Theta, state: Tensor, trial: Trial) -> Tensor:
        """V + ΔV."""
        error = beside(trial.outcome) - self.channels(state, trial.cues)
        up = state.new_tensor(self.levels)
        weight = 2 * torch.where(error > 0, up, 1 - up)
        step = beside(present(theta["beta_on"], theta["beta_off"], trial.outcome)) * weight * self.response(error)
        return torch.addcmul(state, beside(beside(theta["alpha"] * trial.cues)), step.unsqueeze(-3))
