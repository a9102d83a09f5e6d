"""Rescorla-Wagner as a Kalman filter: what is uncertain is learnt quickly, and cues that came together are entangled.

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

__all__ = ["Belief", "KalmanRescorlaWagner"]


@dataclass(frozen=True)
class Belief:
    """A Gaussian over the weights of the cues."""

    mean: Tensor  # w [..., C, O]
    covariance: Tensor  # Σ [..., C, C], shared by the outcomes


@dataclass(frozen=True)
class KalmanRescorlaWagner:
    """The weights of the cues drift, outcomes are noisy, and learning is inference.

        Σ ← Σ + qI,   k = Σx / (xᵀΣx + s),   w ← w + k (λ − xᵀw),   Σ ← Σ − k xᵀΣ

    in this order: the drift comes before the outcome, so the first gain is (c + q)/(c + q + s). Absent cues change
    through the covariance: backward blocking. With q = 0 it is ridge regression with penalty s/c.

    Source: Dayan & Kakade (2001); Gershman (2015), whose defaults these are.
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Variances: `prior` c of a weight, `noise` s of an outcome, `drift` q a trial."""
        return {
            "prior": Parameter(1.0, 0.0, math.inf),
            "noise": Parameter(1.0, 0.0, math.inf),
            "drift": Parameter(0.01, 0.0, math.inf),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Belief:
        """Weights of zero, each with variance c."""
        covariance = beside(beside(theta["prior"])) * torch.eye(cues).to(theta["prior"])
        return Belief(zeros(theta, *shape, cues, outcomes), covariance.expand(*shape, cues, cues))

    def predict(self, theta: Theta, state: Belief, cues: Tensor) -> Tensor:
        """xᵀw, [..., O]."""
        return expected(cues, state.mean)

    def strengths(self, state: Belief) -> Tensor:
        """Mean weights w."""
        return state.mean

    def update(self, theta: Theta, state: Belief, trial: Trial) -> Belief:
        """The belief after a trial."""
        cues = trial.cues
        # (Σ + qI) x, without a second matrix
        reach = (state.covariance @ cues.unsqueeze(-1)).squeeze(-1) + beside(theta["drift"]) * cues
        gain = reach / ((cues * reach).sum(-1, keepdim=True) + beside(theta["noise"]))
        error = trial.outcome - expected(cues, state.mean)
        drifted = state.covariance + torch.diag_embed(beside(theta["drift"]).expand(*reach.shape))
        return Belief(
            torch.addcmul(state.mean, beside(gain), error.unsqueeze(-2)),
            drifted - beside(gain) * reach.unsqueeze(-2),
        )
