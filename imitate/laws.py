"""Laws of the return: what a value network says about each action, whether a number or a whole distribution.

A law leads with any shape; before `take` its last dimension but that of its parameters counts actions. Acting, targets
and plots use only the methods here, and know nothing of the kind.

Letters: A actions, Z atoms, Q quantiles or expectiles, K levels; `...` any leading shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.losses.distributional import (
    categorical_projection,
    expectile_regression,
    impute_expectiles,
    quantile_huber,
    quantile_huber_slope,
)
from imitate.losses.value import huber

__all__ = ["AtomsLaw", "Expected", "ExpectileLaw", "Law", "QuantileLaw", "fresh_mean", "midpoints"]


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
        """Inverse of the CDF at levels [..., K] -> [..., K]; leading dimensions of the levels broadcast."""

    def sample(self, noise: Tensor) -> Tensor:
        """Returns drawn by uniforms [..., K] -> [..., K]."""


def midpoints(count: int, device: torch.device | str | None = None) -> Float[Tensor, " K"]:
    """Midpoints of `count` equal shares of [0, 1]."""
    return (torch.arange(count, device=device) + 0.5) / count


def fresh_mean(law: Law) -> Tensor:
    """Expected return at levels apart from those that the law was drawn at, if it is of a network that takes any.

    Who chooses by the levels that are bootstrapped from chooses their luck: Dabney et al. (2018b), algorithm 1, draw
    two sets. Ours chooses at midpoints, as the policy acts.
    """
    if isinstance(law, QuantileLaw) and law.network is not None and law.weights is None:
        return law.quantile(midpoints(law.values.shape[-1], law.values.device)).mean(-1)
    return law.mean


def _take(x: Tensor, action: Tensor) -> Tensor:
    """Rows [..., K] of [..., A, K] at actions [...]."""
    index = action.unsqueeze(-1).unsqueeze(-1).expand(*action.shape, 1, x.shape[-1])
    return x.gather(-2, index).squeeze(-2)


def _inverse(samples: Tensor, cumulative: Tensor, tau: Tensor) -> Tensor:
    """The first sample whose cumulative probability reaches the level; samples [..., Z] in increasing order."""
    levels = tau.expand(*samples.shape[:-1], tau.shape[-1]).contiguous()
    # Rounding may leave the last a little below 1.
    index = torch.searchsorted(cumulative.contiguous(), levels).clamp(max=samples.shape[-1] - 1)
    return samples.gather(-1, index)


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

    def regress(self, target: Expected) -> tuple[Tensor, Tensor]:
        """The distance [...] and its slope in the value, [..., 1]."""
        error = self.value - target.value
        return huber(error), error.clamp(-1, 1).unsqueeze(-1)

    def cdf(self, x: Tensor) -> Tensor:
        """A step at the mean."""
        return (x >= self.value).to(self.value.dtype)

    def quantile(self, tau: Tensor) -> Tensor:
        """The mean, at any level."""
        return self.value.unsqueeze(-1).expand(*self.value.shape, tau.shape[-1])

    def sample(self, noise: Tensor) -> Tensor:
        """The mean, always."""
        return self.quantile(noise)


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
        probs: Tensor = self.log_probs.exp()
        return probs

    @property
    def mean(self) -> Tensor:
        """Σ p z."""
        return (self.probs * self.support).sum(-1)

    def take(self, action: Int[Tensor, "..."]) -> AtomsLaw:
        """Laws of the chosen actions."""
        return AtomsLaw(_take(self.log_probs, action), self.support)

    def after(self, reward: Tensor, discount: Tensor) -> AtomsLaw:
        """The law of reward + discount·return, projected back onto the support."""
        moved = reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.support
        return AtomsLaw(categorical_projection(self.probs, moved, self.support).log(), self.support)

    def distance(self, target: AtomsLaw) -> Tensor:
        """Kullback-Leibler divergence of self from target: algorithm 1's cross-entropy less a constant.

        It is 0 where the target is met, so that prioritised replay can go by it (Hessel et al. 2018).
        """
        probs = target.probs
        divergence = (torch.xlogy(probs, probs) - probs * self.log_probs).sum(-1)
        return divergence.clamp(min=0)  # below by rounding only

    def cdf(self, x: Tensor) -> Tensor:
        """Σ p over the atoms up to x."""
        return (self.probs * (self.support <= x.unsqueeze(-1))).sum(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The first atom whose cumulative probability reaches the level."""
        return _inverse(self.support.expand_as(self.log_probs), self.probs.cumsum(-1), tau)

    def sample(self, noise: Tensor) -> Tensor:
        """Atoms, by the inverse CDF."""
        return self.quantile(noise)


@dataclass(frozen=True)
class QuantileLaw:
    """Returns at levels τ, of the same weight unless weights are given (Dabney et al. 2018a).

    Args:
        values: [..., Q].
        tau: Levels, [Q] or with leading dimensions that broadcast; a member of a batch may have its own.
        kappa: κ of the loss. Errors below it pull quantiles towards the mean: with κ = 1 a fair coin that pays 0 or 10
            is learnt as τ/(1 − τ) and 10 − (1 − τ)/τ, .386 away in Wasserstein-1; a small κ mends that.
        weights: Probabilities, of the shape of `tau`: the width of the share that each level is the middle of
            (Yang et al. 2019).
        network: Quantiles at any levels, where a network makes them. It answers `quantile` itself, unless there are
            weights: then it has been trained at no level but these, and the law is the staircase that they make.
    """

    values: Float[Tensor, "*batch Q"]
    tau: Float[Tensor, "*levels Q"]
    kappa: float = 1.0
    weights: Float[Tensor, "*levels Q"] | None = None
    network: Callable[[Tensor], Tensor] | None = None

    @property
    def mean(self) -> Tensor:
        """Mean of the values."""
        return self.values.mean(-1) if self.weights is None else (self.weights * self.values).sum(-1)

    def take(self, action: Int[Tensor, "..."]) -> QuantileLaw:
        """Laws of the chosen actions."""
        tau = self.tau if self.tau.dim() == 1 else self.tau.squeeze(-2)
        weights = None if self.weights is None else self.weights.squeeze(-2)
        network = self.network
        taken = None if network is None else lambda tau: _take(network(tau.unsqueeze(-2)), action)
        return QuantileLaw(_take(self.values, action), tau, self.kappa, weights, taken)

    def after(self, reward: Tensor, discount: Tensor) -> QuantileLaw:
        """Every value moved."""
        reward, discount = reward.unsqueeze(-1), discount.unsqueeze(-1)
        network = self.network
        moved = None if network is None else lambda tau: reward + discount * network(tau)
        return QuantileLaw(reward + discount * self.values, self.tau, self.kappa, self.weights, moved)

    def distance(self, target: QuantileLaw) -> Tensor:
        """Quantile Huber loss, divided by the number of quantiles so that it does not grow with it."""
        tau = self.tau.expand(*self.values.shape)
        return quantile_huber(self.values, tau, target.values, self.kappa, target.weights) / self.values.shape[-1]

    def regress(self, target: QuantileLaw) -> tuple[Tensor, Tensor]:
        """The distance [...] and its slope in each value, [..., Q]."""
        loss, slope = quantile_huber_slope(self.values, self.tau, target.values, self.kappa, target.weights)
        count = self.values.shape[-1]
        return loss / count, slope.div_(count)

    def cdf(self, x: Tensor) -> Tensor:
        """Share of the values up to x."""
        below = (self.values <= x.unsqueeze(-1)).to(self.values.dtype)
        return below.mean(-1) if self.weights is None else (self.weights * below).sum(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The value of that rank; values that cross are sorted first."""
        if self.network is not None and self.weights is None:
            return self.network(tau)
        values, order = self.values.sort(-1)
        if self.weights is None:
            count = values.shape[-1]
            cumulative = (torch.arange(1, count + 1, device=values.device).to(tau.dtype) / count).expand_as(values)
        else:
            cumulative = self.weights.expand_as(values).gather(-1, order).cumsum(-1)
        return _inverse(values, cumulative, tau)

    def sample(self, noise: Tensor) -> Tensor:
        """Values, by the inverse CDF."""
        return self.quantile(noise)


@dataclass(frozen=True)
class ExpectileLaw:
    """Expectiles at levels τ (Rowland et al. 2019).

    Expectiles are no samples: those of the expectiles lie closer together. So targets, CDF and quantiles are of the
    law that `impute_expectiles` finds to have them.

    Args:
        values: [..., Q].
        tau: Levels [Q], increasing, Q odd, ½ in the middle.
    """

    values: Float[Tensor, "*batch Q"]
    tau: Float[Tensor, " Q"]

    @property
    def mean(self) -> Tensor:
        """The expectile at ½."""
        return self.values[..., len(self.tau) // 2]

    def take(self, action: Int[Tensor, "..."]) -> ExpectileLaw:
        """Laws of the chosen actions."""
        return ExpectileLaw(_take(self.values, action), self.tau)

    def after(self, reward: Tensor, discount: Tensor) -> ExpectileLaw:
        """Every expectile moved, as those of reward + discount·return are."""
        return ExpectileLaw(reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.values, self.tau)

    def distance(self, target: ExpectileLaw) -> Tensor:
        """Expectile regression onto the target's imputed samples, divided by the number of expectiles."""
        return expectile_regression(self.values, self.tau, *target.imputed()) / len(self.tau)

    def imputed(self) -> tuple[Tensor, Tensor]:
        """Samples [..., Q − 1] in increasing order of a law with these expectiles, and their probabilities."""
        return impute_expectiles(self.values, self.tau)

    def cdf(self, x: Tensor) -> Tensor:
        """Σ p over the imputed samples up to x."""
        samples, probs = self.imputed()
        return (probs * (samples <= x.unsqueeze(-1))).sum(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The first imputed sample whose cumulative probability reaches the level."""
        samples, probs = self.imputed()
        return _inverse(samples, probs.cumsum(-1), tau)

    def sample(self, noise: Tensor) -> Tensor:
        """Imputed samples, by the inverse CDF."""
        return self.quantile(noise)
