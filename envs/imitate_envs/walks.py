"""How a mean drifts from trial to trial: random walks on uniforms, of any shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate_envs.bandit import Gaussian

__all__ = ["Decay", "Reflect"]


@dataclass(frozen=True)
class Decay:
    """A Gaussian walk that is drawn back to its centre.

        μ ← λ μ + (1 − λ) θ + ν,   ν ~ N(0, σ²)

    It starts from its stationary law N(θ, σ²/(1 − λ²)), or at θ if λ = 1.

    Source: Daw et al. (2006), supplementary methods.

    Args:
        decay: λ in [0, 1].
        center: θ.
        deviation: σ.
    """

    decay: float = 0.9836
    center: float = 50.0
    deviation: float = 2.8

    def __post_init__(self) -> None:
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay: from 0 to 1, not {self.decay}.")

    def start(self, uniform: Tensor) -> Tensor:
        """Where walks begin, from uniforms of one shape."""
        spread = self.deviation / math.sqrt(1 - self.decay**2) if self.decay < 1 else 0.0
        return Gaussian(spread).pay(torch.full_like(uniform, self.center), uniform)

    def step(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """One step, from uniforms of one shape."""
        return Gaussian(self.deviation).pay(self.decay * mean + (1 - self.decay) * self.center, uniform)


@dataclass(frozen=True)
class Reflect:
    """A Gaussian walk between two walls that reflect it.

    It starts from its stationary law, uniform between the walls.

    Source: Daw et al. (2011), experimental procedures.

    Args:
        low: Lower wall.
        high: Upper wall.
        deviation: Standard deviation of a step.
    """

    low: float = 0.25
    high: float = 0.75
    deviation: float = 0.025

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low, high: a lower and a higher wall, not {self.low} and {self.high}.")

    def start(self, uniform: Tensor) -> Tensor:
        """Where walks begin, from uniforms of one shape."""
        return self.low + (self.high - self.low) * uniform

    def step(self, mean: Tensor, uniform: Tensor) -> Tensor:
        """One step, from uniforms of one shape."""
        width = self.high - self.low
        beyond = Gaussian(self.deviation).pay(mean, uniform) - self.low
        return self.high - ((beyond % (2 * width)) - width).abs()  # any number of reflections
