"""What a chooser learns about its actions: terms that add to the logits of `Softmax`.

Letters: A actions; `...` lanes, any leading shape: subjects, restarts, points of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, State, Theta
from imitate.core.config import check

__all__ = [
    "EWA",
    "DualRates",
    "KalmanBandit",
    "OneRate",
    "QLearning",
    "Rates",
    "Term",
    "one_hot",
    "outcome",
    "prediction_error",
]

BETA = Parameter(3.0, 0.0, math.inf)


def one_hot(action: Tensor, actions: int, dtype: torch.dtype) -> Tensor:
    """One-hot actions [..., A] of integers [...].

    In memory the actions lie outermost: all that follows them keeps that order, so every operation on [..., A] runs
    along the lanes.
    """
    return (action == _every(actions, action.dim(), action.device)).to(dtype).movedim(0, -1)


@lru_cache(maxsize=64)
def _every(actions: int, dims: int, device: torch.device) -> Tensor:
    return torch.arange(actions, device=device).reshape(-1, *(1,) * dims)


def wide(theta: Theta, name: str) -> Tensor:
    """A parameter [...] beside actions, [..., 1]."""
    return theta[name].unsqueeze(-1)


@runtime_checkable
class Term(Protocol):
    """Something that speaks for or against each action, and may learn from what came of it."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Names, bounds and defaults."""

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> State:
        """The state of a naive subject."""

    def logits(self, theta: Theta, state: State) -> Tensor:
        """What it adds to the logit of each action, [..., A]."""

    def update(self, theta: Theta, state: State, action: Tensor, reward: Tensor) -> State:
        """The state after choosing `action` [...] (int64) and earning `reward` [...]."""


class Rates(Protocol):
    """Learning rates of a delta rule."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Names, bounds and defaults."""

    def __call__(self, theta: Theta, error: Tensor, reward: Tensor) -> Tensor:
        """Rates, [..., A] or [..., 1], for prediction errors [..., A] and the reward [..., 1]."""


@dataclass(frozen=True)
class OneRate:
    """One learning rate `alpha`."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`alpha`."""
        return {"alpha": Parameter(0.3)}

    def __call__(self, theta: Theta, error: Tensor, reward: Tensor) -> Tensor:
        """The same for all."""
        return wide(theta, "alpha")


def prediction_error(error: Tensor, reward: Tensor) -> Tensor:
    """Learning rates differ by the sign of r − Q, as in mfit and RLSSM."""
    return error


def outcome(error: Tensor, reward: Tensor) -> Tensor:
    """Learning rates differ by the sign of r, as in hBayesDM's `prl_rp`."""
    return reward


@dataclass(frozen=True)
class DualRates:
    """`alpha_pos` where a sign is positive, else `alpha_neg`.

    Args:
        sign_of: `prediction_error` or `outcome`. Rewards of 0 or 1 and Q0 strictly between make the two equal.
    """

    sign_of: Callable[[Tensor, Tensor], Tensor] = prediction_error

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`alpha_pos` and `alpha_neg`."""
        return {"alpha_pos": Parameter(0.3), "alpha_neg": Parameter(0.3)}

    def __call__(self, theta: Theta, error: Tensor, reward: Tensor) -> Tensor:
        """By the sign."""
        return torch.where(self.sign_of(error, reward) > 0, wide(theta, "alpha_pos"), wide(theta, "alpha_neg"))


@dataclass(frozen=True)
class QLearning:
    """The delta rule on the chosen action: Q_c += α(r − Q_c), with logits βQ.

    For a bandit this is Rescorla-Wagner with the action as the cue. `beta` is the inverse temperature.

    Source: Sutton & Barto (2018), eq. 2.5; fictitious update: Gläscher, Hampton & O'Doherty (2009).

    Args:
        rates: `OneRate()` or `DualRates()`.
        forgetting: Values not chosen decay: Q_u += forget·(Q0 − Q_u).
        fictitious: Values not chosen learn from −r, at the rate of the chosen one: Q_u += α(−r − Q_u).

    Raises:
        ValueError: Values not chosen are to do both.
    """

    rates: Rates = OneRate()
    forgetting: bool = False
    fictitious: bool = False

    def __post_init__(self) -> None:
        check(self)
        if self.forgetting and self.fictitious:
            raise ValueError("forgetting, fictitious: what is not chosen either decays or learns from −r; choose one.")

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`beta`, `Q0` (not fitted unless asked for), those of the rates, and `forget`."""
        own = {**self.rates.parameters, "beta": BETA, "Q0": Parameter(0.0, -math.inf, math.inf, free=False)}
        return {**own, "forget": Parameter(0.1)} if self.forgetting else own

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """Q0 for every action, [..., A]."""
        return wide(theta, "Q0").expand(*shape, actions)

    def logits(self, theta: Theta, state: Tensor) -> Tensor:
        """βQ."""
        return wide(theta, "beta") * state

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Move the chosen value towards the reward."""
        chosen = one_hot(action, state.shape[-1], state.dtype)
        reward = reward.unsqueeze(-1)
        error = reward - state
        rate = self.rates(theta, error, reward)
        after = state + chosen * rate * error
        if self.forgetting:
            after = after + (1 - chosen) * wide(theta, "forget") * (wide(theta, "Q0") - state)
        if self.fictitious:
            after = after + (1 - chosen) * (chosen * rate).sum(-1, keepdim=True) * (-reward - state)
        return after


@dataclass(frozen=True)
class EWA:
    """Experience-weighted attraction of the chosen action: n' = ρn + 1, v' = (φ n v + r)/n', with logits βv.

    n counts from 0 and v from Q0, which n = 0 lets no later value see.

    Source: den Ouden et al. (2013), eqs. 5-6, after Camerer & Ho (1999).
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`phi` (1 − learning rate), `rho` (decay of experience), `beta`, and `Q0` (not fitted unless asked for)."""
        return {
            "phi": Parameter(0.5),
            "rho": Parameter(0.1),
            "beta": BETA,
            "Q0": Parameter(0.0, -math.inf, math.inf, free=False),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> tuple[Tensor, Tensor]:
        """Values and experience weights, [..., A] each."""
        value = wide(theta, "Q0").expand(*shape, actions)
        return value, torch.zeros_like(value)

    def logits(self, theta: Theta, state: tuple[Tensor, Tensor]) -> Tensor:
        """βv."""
        return wide(theta, "beta") * state[0]

    def update(
        self, theta: Theta, state: tuple[Tensor, Tensor], action: Tensor, reward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Value and weight of the chosen action."""
        value, weight = state
        chosen = one_hot(action, value.shape[-1], value.dtype)
        grown = wide(theta, "rho") * weight + 1
        learnt = (wide(theta, "phi") * weight * value + reward.unsqueeze(-1)) / grown
        return value + chosen * (learnt - value), weight + chosen * (grown - weight)


@dataclass(frozen=True)
class KalmanBandit:
    """Kalman filter of drifting arms, with logits βμ.

        k = s²/(s² + σ_O²), μ_c += k(r − μ_c), s²_c ← (1 − k)s²_c for the chosen arm;
        then for all arms μ ← λμ + (1 − λ)θ, s² ← λ²s² + σ_D².

    Source: Daw et al. (2006), supplementary methods.

    Args:
        sd_observation: σ_O, in units of reward.
    """

    sd_observation: float = 4.0

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`lambda`, `theta`, `sd_diffusion`, `mean0` and `sd0` of the naive subject, `beta`; units of reward."""
        return {
            "lambda": Parameter(0.9836),
            "theta": Parameter(50.0, 0.0, 100.0),
            "sd_diffusion": Parameter(2.8, 0.0, 15.0),
            "mean0": Parameter(50.0, 0.0, 100.0),
            "sd0": Parameter(4.0, 0.0, 15.0),
            "beta": Parameter(0.2, 0.0, math.inf),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> tuple[Tensor, Tensor]:
        """Means and variances, [..., A] each."""
        return wide(theta, "mean0").expand(*shape, actions), wide(theta, "sd0").square().expand(*shape, actions)

    def logits(self, theta: Theta, state: tuple[Tensor, Tensor]) -> Tensor:
        """βμ."""
        return wide(theta, "beta") * state[0]

    def update(
        self, theta: Theta, state: tuple[Tensor, Tensor], action: Tensor, reward: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Learn about the chosen arm, then let all drift."""
        mean, variance = state
        gain = one_hot(action, mean.shape[-1], mean.dtype) * variance / (variance + self.sd_observation**2)
        mean = mean + gain * (reward.unsqueeze(-1) - mean)
        keep = wide(theta, "lambda")
        drift = wide(theta, "sd_diffusion").square()
        return keep * mean + (1 - keep) * wide(theta, "theta"), keep.square() * (1 - gain) * variance + drift
