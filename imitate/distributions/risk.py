"""Risk measures: what a return distribution is worth.

Most are distortions: the expectation of the quantile function at levels β(τ) instead of τ, as in Dabney et al. (2018b).
Whatever answers `quantile` can be scored so; a network that takes any level is asked at the distorted ones themselves.

Letters: A actions, K levels; `...` any leading shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from imitate.core.config import Count, check, checked
from imitate.core.names import closest
from imitate.distributions.returns import ReturnDistribution, midpoints

__all__ = [
    "CPW",
    "RISKS",
    "CVaR",
    "Distorted",
    "Distortion",
    "MeanVariance",
    "Power",
    "Risk",
    "Wang",
    "risk",
]

LEVELS = 64  # midpoints of equal shares at which an expectation over levels is taken


@runtime_checkable
class Risk(Protocol):
    """What the return of an action is worth."""

    def __call__(self, distribution: ReturnDistribution) -> Tensor:
        """Scores [...] of the distributions [...]; more is better."""


@runtime_checkable
class Distortion(Protocol):
    """An increasing map of [0, 1] onto itself, or onto a part of it."""

    def __call__(self, tau: Tensor) -> Tensor:
        """β(τ), of any shape."""


@dataclass(frozen=True)
class Distorted:
    """E F⁻¹(β(τ)), τ uniform (Dabney et al. 2018b), over the midpoints of equal shares.

    Args:
        distortion: β; below τ it makes averse to risk, above it seek it.
        levels: K.
    """

    distortion: Distortion
    levels: Count = LEVELS

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, distribution: ReturnDistribution) -> Tensor:
        """Scores [...]."""
        mean = distribution.mean  # for its device and type
        tau = midpoints(self.levels, mean.device).to(mean.dtype)
        return distribution.quantile(self.distortion(tau)).mean(-1)


@dataclass(frozen=True)
class MeanVariance:
    """E Z − weight · Var Z, over the midpoints of equal shares (Markowitz 1952).

    Args:
        weight: Of the variance, in units of 1/return; negative, it seeks risk.
        levels: K.
    """

    weight: float
    levels: Count = LEVELS

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, distribution: ReturnDistribution) -> Tensor:
        """Scores [...]."""
        mean = distribution.mean
        values = distribution.quantile(midpoints(self.levels, mean.device).to(mean.dtype))
        return mean - self.weight * values.var(-1, correction=0)


@dataclass(frozen=True)
class CVaR:
    """Conditional value at risk, the mean of the worst share of outcomes: β(τ) = ατ (Chow & Ghavamzadeh 2014).

    Args:
        alpha: The share α, in (0, 1]; 1 is the mean.
    """

    alpha: float

    def __post_init__(self) -> None:
        check(self)
        if not 0 < self.alpha <= 1:
            raise ValueError(f"cvar: a share of outcomes lies in (0, 1], not at {self.alpha}.")

    def __call__(self, tau: Tensor) -> Tensor:
        """β(τ)."""
        return self.alpha * tau


@dataclass(frozen=True)
class Wang:
    """β(τ) = Φ(Φ⁻¹(τ) + η): a normal distribution is worth its mean + η standard deviations (Wang 2000).

    Args:
        eta: η; negative is averse to risk.
    """

    eta: float

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, tau: Tensor) -> Tensor:
        """β(τ)."""
        beta: Tensor = torch.special.ndtr(torch.special.ndtri(tau) + self.eta)
        return beta


@dataclass(frozen=True)
class Power:
    """β(τ) = τ^{1/(1 + |η|)} where η ≥ 0, else 1 − (1 − τ)^{1/(1 + |η|)} (Dabney et al. 2018b).

    Args:
        eta: η; negative is averse to risk.
    """

    eta: float

    def __post_init__(self) -> None:
        check(self)

    def __call__(self, tau: Tensor) -> Tensor:
        """β(τ)."""
        exponent = 1 / (1 + abs(self.eta))
        return tau.pow(exponent) if self.eta >= 0 else 1 - (1 - tau).pow(exponent)


@dataclass(frozen=True)
class CPW:
    """β(τ) = τ^η / (τ^η + (1 − τ)^η)^{1/η}, the weighting of cumulative prospect theory (Tversky & Kahneman 1992).

    Both tails weigh more. People choose as with η = .71 (Wu & Gonzalez 1996).

    Args:
        eta: η > 0; 1 is the mean.
    """

    eta: float = 0.71

    def __post_init__(self) -> None:
        check(self)
        if self.eta <= 0:
            raise ValueError(f"cpw: η must be positive, not {self.eta}.")

    def __call__(self, tau: Tensor) -> Tensor:
        """β(τ)."""
        one, other = tau.pow(self.eta), (1 - tau).pow(self.eta)
        return one / (one + other).pow(1 / self.eta)


RISKS: dict[str, Callable[[float], Risk]] = {
    "cvar": lambda number: Distorted(CVaR(number)),
    "wang": lambda number: Distorted(Wang(number)),
    "power": lambda number: Distorted(Power(number)),
    "cpw": lambda number: Distorted(CPW(number)),
    "mean-variance": MeanVariance,
}


@checked
def risk(text: str) -> Risk:
    """A risk measure as it is written on the command line: its name and its number, as in "cvar:0.1".

    Raises:
        ValueError: There is no such measure, or its number does not fit.
    """
    name, _, number = text.partition(":")
    if name not in RISKS:
        raise ValueError(closest("risk", name, RISKS))
    try:
        value = float(number)
    except ValueError:
        raise ValueError(f"risk: '{text}' needs a number after its name, as in {name}:0.5.") from None
    return RISKS[name](value)
