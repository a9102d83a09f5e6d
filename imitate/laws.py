"""Laws of the return: what a value network says about each action, whether a number or a whole distribution.

A law leads with any shape; before `take` its last dimension but that of its parameters counts actions. Acting, targets
and plots use only the methods here, and know nothing of the kind.

Letters: A actions, Z atoms, Q quantiles; `...` any leading shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.losses.distributional import categorical_projection, quantile_huber
from imitate.losses.value import huber

__all__ = ["AtomsLaw", "Expected", "Law", "QuantileLaw"]


@runtime_checkable
class Law(Protocol):
    """The law of a return, or of one a choice."""

    @property
    def mean(self) -> Tensor:
        """Expected return."""

    def take(self, action: Tensor) -> Law:
        """The laws [...] of the chosen actions [...], out of [..., A]."""

    def after(self, reward: Tensor, discount: Tensor) -> Law:
        """The law of reward + discount·return; both [...]."""

    def distance(self, target: Any) -> Tensor:
        """Loss [...] against a constant target of the same kind."""

    def cdf(self, x: Tensor) -> Tensor:
        """Probability of at most x; x broadcasts against [...]."""

    def quantile(self, tau: Tensor) -> Tensor:
        """Inverse of the CDF at levels [..., K] -> [..., K]; a uniform gives a sample."""


def _take(x: Tensor, action: Tensor) -> Tensor:
    """Rows [..., K] of [..., A, K] at actions [...]."""
    index = action.unsqueeze(-1).unsqueeze(-1).expand(*action.shape, 1, x.shape[-1])
    return x.gather(-2, index).squeeze(-2)


@dataclass(frozen=True)
class Expected:
    """Only the mean is known: all mass there."""

    value: Float[Tensor, "*batch"]

    @property
    def mean(self) -> Float[Tensor, "*batch"]:
        """Itself."""
        return self.value

    def take(self, action: Int[Tensor, "..."]) -> Expected:
        """Values of the chosen actions."""
        return Expected(self.value.gather(-1, action.unsqueeze(-1)).squeeze(-1))

    def after(self, reward: Tensor, discount: Tensor) -> Expected:
        """Reward + discount·value."""
        return Expected(reward + discount * self.value)

    def distance(self, target: Expected) -> Tensor:
        """Huber loss of the temporal difference (Mnih et al. 2015)."""
        return huber(target.value - self.value)

    def cdf(self, x: Tensor) -> Tensor:
        """A step at the mean."""
        return (x >= self.value).to(self.value.dtype)

    def quantile(self, tau: Tensor) -> Tensor:
        """The mean, at any level."""
        return self.value.unsqueeze(-1).expand(*self.value.shape, tau.shape[-1])


@dataclass(frozen=True)
class AtomsLaw:
    """Probabilities of fixed returns, evenly spaced (Bellemare, Dabney & Munos 2017).

    Args:
        log_probs: [..., Z].
        support: [Z].
    """

    log_probs: Float[Tensor, "*batch Z"]
    support: Float[Tensor, " Z"]

    @property
    def probs(self) -> Float[Tensor, "*batch Z"]:
        """Probabilities."""
        return self.log_probs.exp()

    @property
    def mean(self) -> Tensor:
        """Σ p z."""
        return self.probs @ self.support

    def take(self, action: Int[Tensor, "..."]) -> AtomsLaw:
        """Laws of the chosen actions."""
        return AtomsLaw(_take(self.log_probs, action), self.support)

    def after(self, reward: Tensor, discount: Tensor) -> AtomsLaw:
        """The law of reward + discount·return, projected back onto the support."""
        moved = reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.support
        return AtomsLaw(categorical_projection(self.probs, moved, self.support).log(), self.support)

    def distance(self, target: AtomsLaw) -> Tensor:
        """Cross-entropy H(target, self) (algorithm 1)."""
        return -(target.probs * self.log_probs).sum(-1)

    def cdf(self, x: Tensor) -> Tensor:
        """Σ p over the atoms up to x."""
        return (self.probs * (self.support <= x.unsqueeze(-1))).sum(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The first atom whose cumulative probability reaches the level."""
        cumulative = self.probs.cumsum(-1)
        # Rounding may leave the last a little below 1.
        levels = tau.expand(*cumulative.shape[:-1], tau.shape[-1])
        index = torch.searchsorted(cumulative.contiguous(), levels.contiguous()).clamp(max=len(self.support) - 1)
        return self.support[index]


@dataclass(frozen=True)
class QuantileLaw:
    """Returns at levels τ, all of the same weight (Dabney et al. 2018).

    Args:
        values: [..., Q].
        tau: Levels, [Q] or with leading dimensions that broadcast; a member of a batch may have its own.
        kappa: κ of the loss. Errors below it pull quantiles towards the mean: with κ = 1 a fair coin that pays 0 or 10
            is learnt as τ/(1 − τ) and 10 − (1 − τ)/τ, .386 away in Wasserstein-1; a small κ mends that.
    """

    values: Float[Tensor, "*batch Q"]
    tau: Float[Tensor, "*levels Q"]
    kappa: float = 1.0

    @property
    def mean(self) -> Tensor:
        """Mean of the values."""
        return self.values.mean(-1)

    def take(self, action: Int[Tensor, "..."]) -> QuantileLaw:
        """Laws of the chosen actions."""
        tau = self.tau if self.tau.dim() == 1 else self.tau.squeeze(-2)
        return QuantileLaw(_take(self.values, action), tau, self.kappa)

    def after(self, reward: Tensor, discount: Tensor) -> QuantileLaw:
        """Every value moved."""
        return QuantileLaw(reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.values, self.tau, self.kappa)

    def distance(self, target: QuantileLaw) -> Tensor:
        """Quantile Huber loss, divided by the number of quantiles so that it does not grow with it."""
        tau = self.tau.expand(*self.values.shape)
        return quantile_huber(self.values, tau, target.values, self.kappa) / self.values.shape[-1]

    def cdf(self, x: Tensor) -> Tensor:
        """Share of the values up to x."""
        return (self.values <= x.unsqueeze(-1)).to(self.values.dtype).mean(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The value of that rank; values that cross are sorted first."""
        count = self.values.shape[-1]
        cumulative = torch.arange(1, count + 1, device=tau.device).to(tau.dtype) / count
        rank = torch.searchsorted(cumulative, tau.contiguous()).clamp(max=count - 1)
        return self.values.sort(-1).values.gather(-1, rank.expand(*self.values.shape[:-1], tau.shape[-1]))
