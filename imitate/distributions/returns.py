"""Return distributions: what a value network says about each action, whether a number or a whole distribution.

A distribution leads with any shape; before `take` its last dimension but that of its parameters counts actions. Acting,
targets and plots use only the methods here, and know nothing of the kind.

Letters: A actions, Z atoms, Q quantiles or expectiles, K levels; `...` any leading shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.core.config import checked
from imitate.distributions.regression import (
    categorical_projection,
    expectile_regression,
    huber,
    impute_expectiles,
    quantile_huber,
    quantile_huber_grad,
)

__all__ = [
    "CategoricalReturn",
    "EnsembleReturn",
    "ExpectedReturn",
    "ExpectileReturn",
    "QuantileReturn",
    "ReturnDistribution",
    "fresh_mean",
    "midpoints",
]


@runtime_checkable
class ReturnDistribution(Protocol):
    """The distribution of a return, or of one a choice."""

    @property
    def mean(self) -> Tensor:
        """Expected return."""

    def take(self, action: Tensor) -> ReturnDistribution:
        """The distributions [...] of the chosen actions [...], out of [..., A]."""

    def bellman_backup(self, reward: Tensor, discount: Tensor) -> ReturnDistribution:
        """The distribution of reward + discount·return; both [...]."""

    def clamp(self, low: Tensor, high: Tensor) -> ReturnDistribution:
        """The distribution with what lies outside of [low, high] moved to these ends; both broadcast against [...]."""

    def loss(self, target: Any) -> Tensor:
        """Loss [...] against a constant target of the same kind."""

    def cdf(self, x: Tensor) -> Tensor:
        """Probability of at most x; x broadcasts against [...]."""

    def quantile(self, tau: Tensor) -> Tensor:
        """Inverse of the CDF at levels [..., K] -> [..., K]; leading dimensions of the levels broadcast."""

    def sample(self, noise: Tensor) -> Tensor:
        """Returns drawn by uniforms [..., K] -> [..., K]."""


@checked
def midpoints(count: int, device: torch.device | str | None = None) -> Float[Tensor, " K"]:
    """Midpoints of `count` equal shares of [0, 1]."""
    return (torch.arange(count, device=device) + 0.5) / count


@checked
def fresh_mean(distribution: ReturnDistribution) -> Tensor:
    """Expected return at levels apart from those that it was drawn at, if it is of a network that takes any.

    Who chooses by the levels that are bootstrapped from chooses their luck: Dabney et al. (2018b), algorithm 1, draw
    two sets. Ours chooses at midpoints, as the policy acts.
    """
    if isinstance(distribution, QuantileReturn) and distribution.network is not None and distribution.weights is None:
        return distribution.quantile(midpoints(distribution.values.shape[-1], distribution.values.device)).mean(-1)
    return distribution.mean


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
class ExpectedReturn:
    """Only the mean is known: all mass there."""

    value: Float[Tensor, "*batch"]

    @property
    def mean(self) -> Float[Tensor, "*batch"]:
        """Itself."""
        return self.value

    def take(self, action: Int[Tensor, "..."]) -> ExpectedReturn:
        """Values of the chosen actions."""
        return ExpectedReturn(self.value.gather(-1, action.unsqueeze(-1)).squeeze(-1))

    def bellman_backup(self, reward: Tensor, discount: Tensor) -> ExpectedReturn:
        """Reward + discount·value."""
        return ExpectedReturn(reward + discount * self.value)

    def clamp(self, low: Tensor, high: Tensor) -> ExpectedReturn:
        """The mean moved to the nearer end, if it is outside."""
        return ExpectedReturn(self.value.clamp(low, high))

    def loss(self, target: ExpectedReturn) -> Tensor:
        """Huber loss of the temporal difference (Mnih et al. 2015)."""
        return huber(target.value - self.value)

    def loss_and_grad(self, target: ExpectedReturn) -> tuple[Tensor, Tensor]:
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
class CategoricalReturn:
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

    def take(self, action: Int[Tensor, "..."]) -> CategoricalReturn:
        """Distributions of the chosen actions."""
        return CategoricalReturn(_take(self.log_probs, action), self.support)

    def bellman_backup(self, reward: Tensor, discount: Tensor) -> CategoricalReturn:
        """The distribution of reward + discount·return, projected back onto the support."""
        moved = reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.support
        return CategoricalReturn(categorical_projection(self.probs, moved, self.support).log(), self.support)

    def clamp(self, low: Tensor, high: Tensor) -> CategoricalReturn:
        """The mass of atoms outside moved to the ends, and projected back onto the support."""
        inside = self.support.clamp(low.unsqueeze(-1), high.unsqueeze(-1)).expand_as(self.log_probs)
        return CategoricalReturn(categorical_projection(self.probs, inside, self.support).log(), self.support)

    def loss(self, target: CategoricalReturn) -> Tensor:
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
class QuantileReturn:
    """Returns at levels τ, of the same weight unless weights are given (Dabney et al. 2018a).

    Args:
        values: [..., Q].
        tau: Levels, [Q] or with leading dimensions that broadcast; a member of a batch may have its own.
        kappa: κ of the loss. Errors below it pull quantiles towards the mean: with κ = 1 a fair coin that pays 0 or 10
            is learnt as τ/(1 − τ) and 10 − (1 − τ)/τ, .386 away in Wasserstein-1; a small κ mends that.
        weights: Probabilities, of the shape of `tau`: the width of the share that each level is the middle of
            (Yang et al. 2019).
        network: Quantiles at any levels, where a network makes them. It answers `quantile` itself, unless there are
            weights: then it has been trained at no level but these, and the distribution is the staircase that they
                make.
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

    def take(self, action: Int[Tensor, "..."]) -> QuantileReturn:
        """Distributions of the chosen actions."""
        tau = self.tau if self.tau.dim() == 1 else self.tau.squeeze(-2)
        weights = None if self.weights is None else self.weights.squeeze(-2)
        network = self.network
        taken = None if network is None else lambda tau: _take(network(tau.unsqueeze(-2)), action)
        return QuantileReturn(_take(self.values, action), tau, self.kappa, weights, taken)

    def bellman_backup(self, reward: Tensor, discount: Tensor) -> QuantileReturn:
        """Every value moved."""
        reward, discount = reward.unsqueeze(-1), discount.unsqueeze(-1)
        network = self.network
        moved = None if network is None else lambda tau: reward + discount * network(tau)
        return QuantileReturn(reward + discount * self.values, self.tau, self.kappa, self.weights, moved)

    def clamp(self, low: Tensor, high: Tensor) -> QuantileReturn:
        """Values outside moved to the nearer end."""
        low, high = low.unsqueeze(-1), high.unsqueeze(-1)
        network = self.network
        inside = None if network is None else lambda tau: network(tau).clamp(low, high)
        return QuantileReturn(self.values.clamp(low, high), self.tau, self.kappa, self.weights, inside)

    def loss(self, target: QuantileReturn) -> Tensor:
        """Quantile Huber loss, divided by the number of quantiles so that it does not grow with it."""
        tau = self.tau.expand(*self.values.shape)
        return quantile_huber(self.values, tau, target.values, self.kappa, target.weights) / self.values.shape[-1]

    def loss_and_grad(self, target: QuantileReturn) -> tuple[Tensor, Tensor]:
        """The distance [...] and its slope in each value, [..., Q]."""
        loss, slope = quantile_huber_grad(self.values, self.tau, target.values, self.kappa, target.weights)
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
class ExpectileReturn:
    """Expectiles at levels τ (Rowland et al. 2019).

    Expectiles are no samples: those of the expectiles lie closer together. So targets, CDF and quantiles are of the
    distribution that `impute_expectiles` finds to have them.

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

    def take(self, action: Int[Tensor, "..."]) -> ExpectileReturn:
        """Distributions of the chosen actions."""
        return ExpectileReturn(_take(self.values, action), self.tau)

    def bellman_backup(self, reward: Tensor, discount: Tensor) -> ExpectileReturn:
        """Every expectile moved, as those of reward + discount·return are."""
        return ExpectileReturn(reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.values, self.tau)

    def clamp(self, low: Tensor, high: Tensor) -> ExpectileReturn:
        """Expectiles outside moved to the nearer end: those of a return that stays inside are inside."""
        return ExpectileReturn(self.values.clamp(low.unsqueeze(-1), high.unsqueeze(-1)), self.tau)

    def loss(self, target: ExpectileReturn) -> Tensor:
        """Expectile regression onto the target's imputed samples, divided by the number of expectiles."""
        return expectile_regression(self.values, self.tau, *target.imputed()) / len(self.tau)

    def imputed(self) -> tuple[Tensor, Tensor]:
        """Samples [..., Q − 1] in increasing order of a distribution with these expectiles, and their probabilities."""
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


@dataclass(frozen=True)
class EnsembleReturn:
    """Estimates of an expected return, all equally likely: what is not known of it, not how it is spread.

    Args:
        values: [..., K].
    """

    values: Float[Tensor, "*batch K"]

    @property
    def mean(self) -> Tensor:
        """Mean of the estimates."""
        return self.values.mean(-1)

    def take(self, action: Int[Tensor, "..."]) -> EnsembleReturn:
        """Estimates [..., K] of the chosen actions [...]."""
        index = action.unsqueeze(-1).unsqueeze(-1).expand(*action.shape, 1, self.values.shape[-1])
        return EnsembleReturn(self.values.gather(-2, index).squeeze(-2))

    def greedy(self, by: EnsembleReturn, mask: Tensor | None = None) -> EnsembleReturn:
        """Estimates [..., K] of the actions that each of another ensemble [..., A, K] likes best.

        Args:
            by: Who chooses.
            mask: Which actions are admitted, bool [..., A]; None: all.
        """
        values = by.values if mask is None else by.values.masked_fill(~mask.unsqueeze(-1), -torch.inf)
        return EnsembleReturn(self.values.gather(-2, values.argmax(-2, keepdim=True)).squeeze(-2))

    def bellman_backup(self, reward: Tensor, discount: Tensor) -> EnsembleReturn:
        """Every estimate moved."""
        return EnsembleReturn(reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.values)

    def clamp(self, low: Tensor, high: Tensor) -> EnsembleReturn:
        """Estimates outside moved to the nearer end."""
        return EnsembleReturn(self.values.clamp(low.unsqueeze(-1), high.unsqueeze(-1)))

    def loss(self, target: EnsembleReturn) -> Tensor:
        """Huber loss of each against its own target, mean over the estimates."""
        return huber(target.values - self.values).mean(-1)

    def cdf(self, x: Tensor) -> Tensor:
        """Share of the estimates up to x."""
        return (self.values <= x.unsqueeze(-1)).to(self.values.dtype).mean(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The estimate of that rank."""
        count = self.values.shape[-1]
        levels = tau.expand(*self.values.shape[:-1], tau.shape[-1])
        rank = (torch.ceil(levels * count) - 1).long().clamp(0, count - 1)
        return self.values.sort(-1).values.gather(-1, rank)

    def sample(self, noise: Tensor) -> Tensor:
        """Estimates, drawn."""
        return self.quantile(noise)
