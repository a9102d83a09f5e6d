"""Distributions over actions as frozen dataclasses of tensors: trees, so they travel inside a `Transition`.

Letters: A actions (choices of a Discrete space, dimensions of a Box); `...` any leading shape. An event is the whole
action: log-probabilities, entropies and divergences of diagonal Gaussians are summed over A.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from imitate.core import noise as noises
from imitate.core.types import Policy

__all__ = ["Categorical", "Distribution", "MultiCategorical", "Normal", "TanhNormal", "Teacher", "decide"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
_CERTAIN = 30.0  # logit margin of a choice that is certain: all else has probability e⁻³⁰, and KL stays finite


@runtime_checkable
class Distribution(Protocol):
    """What a policy says about its action at each observation."""

    @property
    def mode(self) -> Tensor:
        """The most likely action."""

    def sample(self, noise: Tensor) -> Tensor:
        """An action from uniforms."""

    def log_prob(self, action: Tensor) -> Tensor:
        """Log-probability (density) of an action, [...]."""

    def sample_and_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """An action from uniforms and its log-probability, exact however extreme; gradients flow through both."""

    def entropy(self) -> Tensor:
        """Entropy in nats, [...]."""

    def kl(self, other: Any) -> Tensor:
        """KL(self ‖ other) in nats, [...]; both must be of one kind."""


@runtime_checkable
class Teacher(Policy, Protocol):
    """A policy that can also label states it did not choose."""

    def distribution(self, obs: Tensor) -> Distribution:
        """The distribution over actions at observations [M, B, *obs]."""


def decide(distribution: Distribution, noise: Tensor | None) -> Tensor:
    """An action of a distribution: a draw from uniforms, its mode without them."""
    return distribution.mode if noise is None else distribution.sample(noise)


@dataclass(frozen=True)
class Categorical:
    """Choices 0, …, A − 1 from logits [..., A], normalised or not."""

    logits: Float[Tensor, "*batch A"]

    @classmethod
    def certain(cls, action: Int[Tensor, "*batch"], choices: int) -> Categorical:
        """All mass on one choice, up to e⁻³⁰ on each of the others, so that divergences stay finite."""
        return cls(_CERTAIN * F.one_hot(action.long(), choices).float())

    @property
    def mode(self) -> Int[Tensor, "*batch"]:
        """The most likely choice."""
        return self.logits.argmax(-1)

    @property
    def probs(self) -> Float[Tensor, "*batch A"]:
        """Probabilities."""
        return self.logits.softmax(-1)

    @property
    def _log_probs(self) -> Float[Tensor, "*batch A"]:
        # A logit of −∞ (a masked choice) has probability 0 and must give 0·log 0 = 0 below, not NaN.
        return self.logits.log_softmax(-1).clamp(min=torch.finfo(self.logits.dtype).min)

    def sample(self, noise: Float[Tensor, "*batch 1"]) -> Int[Tensor, "*batch"]:
        """One choice from one uniform, by the inverse CDF."""
        return noises.categorical(self.logits, noise[..., 0])

    def log_prob(self, action: Int[Tensor, "*batch"]) -> Float[Tensor, "*batch"]:
        """Log-probability of a choice."""
        return self.logits.log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)

    def sample_and_log_prob(
        self, noise: Float[Tensor, "*batch 1"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """A choice from one uniform and its log-probability."""
        action = self.sample(noise)
        return action, self.log_prob(action)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats."""
        log_probs = self._log_probs
        return -(log_probs.exp() * log_probs).sum(-1)

    def kl(self, other: Categorical) -> Float[Tensor, "*batch"]:
        """KL(self ‖ other) in nats."""
        p, q = self._log_probs, other._log_probs
        return (p.exp() * (p - q)).sum(-1)


@dataclass(frozen=True)
class MultiCategorical:
    """K independent choices made at once, place k from logits [..., A_k].

    Args:
        logits: One tensor a place.
    """

    logits: tuple[Tensor, ...]

    @property
    def parts(self) -> list[Categorical]:
        """The distribution of each place."""
        return [Categorical(logits) for logits in self.logits]

    @property
    def mode(self) -> Int[Tensor, "*batch K"]:
        """The most likely choices."""
        return torch.stack([part.mode for part in self.parts], -1)

    def sample(self, noise: Float[Tensor, "*batch K"]) -> Int[Tensor, "*batch K"]:
        """Choices from one uniform a place."""
        return torch.stack([noises.categorical(z, u) for z, u in zip(self.logits, noise.unbind(-1), strict=True)], -1)

    def log_prob(self, action: Int[Tensor, "*batch K"]) -> Float[Tensor, "*batch"]:
        """Log-probability of all choices together."""
        each = [part.log_prob(a) for part, a in zip(self.parts, action.unbind(-1), strict=True)]
        return torch.stack(each).sum(0)

    def sample_and_log_prob(
        self, noise: Float[Tensor, "*batch K"]
    ) -> tuple[Int[Tensor, "*batch K"], Float[Tensor, "*batch"]]:
        """Choices and their log-probability."""
        action = self.sample(noise)
        return action, self.log_prob(action)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats: the sum over places."""
        return torch.stack([part.entropy() for part in self.parts]).sum(0)

    def kl(self, other: MultiCategorical) -> Float[Tensor, "*batch"]:
        """KL(self ‖ other) in nats: the sum over places."""
        return torch.stack([p.kl(q) for p, q in zip(self.parts, other.parts, strict=True)]).sum(0)


@dataclass(frozen=True)
class Normal:
    """Diagonal Gaussian with mean `loc` and standard deviation `scale`, both [..., A], in the action's units."""

    loc: Float[Tensor, "*batch A"]
    scale: Float[Tensor, "*batch A"]

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """The mean."""
        return self.loc

    def sample(self, noise: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """Loc + scale·z, z from one uniform a dimension."""
        return self.loc + self.scale * noises.normal(noise)

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Log-density."""
        z = (action - self.loc) / self.scale
        return -(0.5 * z.square() + self.scale.log() + _HALF_LOG_2PI).sum(-1)

    def sample_and_log_prob(
        self, noise: Float[Tensor, "*batch A"]
    ) -> tuple[Float[Tensor, "*batch A"], Float[Tensor, "*batch"]]:
        """A draw and its log-density at it."""
        z = noises.normal(noise)
        log_prob = -(0.5 * z.square() + self.scale.log() + _HALF_LOG_2PI).sum(-1)
        return self.loc + self.scale * z, log_prob

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats."""
        return (self.scale.log() + 0.5 + _HALF_LOG_2PI).sum(-1)

    def kl(self, other: Normal) -> Float[Tensor, "*batch"]:
        """KL(self ‖ other) in nats."""
        ratio = self.scale / other.scale
        distance = (self.loc - other.loc) / other.scale
        return (0.5 * (ratio.square() + distance.square() - 1) - ratio.log()).sum(-1)


@dataclass(frozen=True)
class TanhNormal:
    """A Gaussian squashed into the box [low, high] by a tanh: a = centre + half_range·tanh(x), x ~ N(loc, scale).

    Source: Haarnoja et al. (2018), appendix C. All four are [..., A]; the bounds are usually expanded views.
    """

    loc: Float[Tensor, "*batch A"]
    scale: Float[Tensor, "*batch A"]
    low: Float[Tensor, "*batch A"]
    high: Float[Tensor, "*batch A"]

    def _squash(self, x: Tensor) -> Tensor:
        return self.low + 0.5 * (self.high - self.low) * (1 + x.tanh())

    @property
    def base(self) -> Normal:
        """The Gaussian before the tanh."""
        return Normal(self.loc, self.scale)

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """The squashed mean: what Stable-Baselines3's SAC calls deterministic (the median, not the exact mode)."""
        return self._squash(self.loc)

    def sample(self, noise: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """A squashed draw, from one uniform a dimension."""
        return self._squash(self.base.sample(noise))

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Log-density in the action's units; an action on a bound is moved inside by 10⁻⁶ of the range."""
        half_range = 0.5 * (self.high - self.low)
        unit = ((action - self.low) / half_range - 1).clamp(-1 + 2e-6, 1 - 2e-6)
        x = unit.atanh()
        return self.base.log_prob(x) - self._log_slope(x).sum(-1)

    def sample_and_log_prob(
        self, noise: Float[Tensor, "*batch A"]
    ) -> tuple[Float[Tensor, "*batch A"], Float[Tensor, "*batch"]]:
        """A squashed draw and its log-density, from the draw before the tanh: exact however near it is to a bound."""
        x, log_prob = self.base.sample_and_log_prob(noise)
        return self._squash(x), log_prob - self._log_slope(x).sum(-1)

    def _log_slope(self, x: Tensor) -> Tensor:
        """Log of the slope of the squash at x: log(1 − tanh²x) in the form that does not cancel for large |x|."""
        return 2 * (math.log(2) - x - F.softplus(-2 * x)) + (0.5 * (self.high - self.low)).log()

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats: the Gaussian's plus E[log slope], by 16-point Gauss-Hermite quadrature."""
        nodes, weights = _gauss_hermite(self.loc)
        x = self.loc.unsqueeze(-1) + self.scale.unsqueeze(-1) * nodes
        log_slope = (2 * (math.log(2) - x - F.softplus(-2 * x)) * weights).sum(-1)
        return self.base.entropy() + (log_slope + (0.5 * (self.high - self.low)).log()).sum(-1)

    def kl(self, other: TanhNormal) -> Float[Tensor, "*batch"]:
        """KL(self ‖ other) in nats: that of the Gaussians, since both are squashed alike."""
        return self.base.kl(other.base)


def _gauss_hermite(like: Tensor) -> tuple[Tensor, Tensor]:
    """Nodes and weights of E[f(z)], z ~ N(0, 1), ≈ Σ wᵢ f(zᵢ)."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(16)
    return torch.as_tensor(nodes).to(like), torch.as_tensor(weights / weights.sum()).to(like)
