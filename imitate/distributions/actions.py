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
from imitate_envs.base import constant

__all__ = [
    "Categorical",
    "Distribution",
    "MultiCategorical",
    "Normal",
    "TanhNormal",
    "Teacher",
    "Valued",
    "decide",
    "log_prob_of",
]

_ROOT_2PI = math.sqrt(2 * math.pi)
_HALF_LOG_2PI = math.log(_ROOT_2PI)
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


@runtime_checkable
class Valued(Protocol):
    """A teacher that knows what each of its choices is worth."""

    def action_values(self, obs: Any) -> Tensor:
        """Q(s, a) [..., A] at observations [..., *obs]; −∞ where a choice is not admitted."""


def decide(distribution: Distribution, noise: Tensor | None) -> Tensor:
    """An action of a distribution: a draw from uniforms, its mode without them."""
    return distribution.mode if noise is None else distribution.sample(noise)


def log_prob_of(distribution: Distribution, action: Tensor, draw: Tensor | None) -> Tensor:
    """Log-probability (density) of an action, by its draw before the tanh where that was recorded."""
    if draw is not None and isinstance(distribution, TanhNormal):
        return distribution.log_prob_of_draw(draw)
    return distribution.log_prob(action)


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
        """KL(self ‖ other) in nats.

        Raises:
            ValueError: The other one is squashed, or no Gaussian.
        """
        _of_one_kind(self, other)
        ratio = self.scale / other.scale
        distance = (self.loc - other.loc) / other.scale
        return (0.5 * (ratio.square() + distance.square() - 1) - ratio.log()).sum(-1)


@dataclass(frozen=True)
class TanhNormal:
    """A Gaussian squashed into the box [low, high] by a tanh: a = centre + half_range·tanh(x), x ~ N(loc, scale).

    Source: Haarnoja et al. (2018), appendix C. All four are [..., A]; the bounds are usually expanded views.

    Near a bound many x give one action, for an action is a rounded number: beyond |x| = 9 all of them do in float32. So
    whoever asks for the density of a sample later keeps its draw: `sample_and_draw` and `log_prob_of_draw`. Of the last
    sample a distribution knows the draw, as the transforms of torch do with a cache of one.
    """

    loc: Float[Tensor, "*batch A"]
    scale: Float[Tensor, "*batch A"]
    low: Float[Tensor, "*batch A"]
    high: Float[Tensor, "*batch A"]

    @property
    def base(self) -> Normal:
        """The Gaussian before the tanh."""
        return Normal(self.loc, self.scale)

    @property
    def mode(self) -> Float[Tensor, "*batch A"]:
        """The squashed mean: what Stable-Baselines3's SAC calls deterministic (the median, not the exact mode)."""
        return self._squash(self.loc)

    def sample(self, noise: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch A"]:
        """A squashed draw, from one uniform a dimension; never beyond a bound."""
        return self.sample_and_draw(noise)[0]

    def sample_and_draw(
        self, noise: Float[Tensor, "*batch A"]
    ) -> tuple[Float[Tensor, "*batch A"], Float[Tensor, "*batch A"]]:
        """A squashed draw, and what it was before the tanh."""
        x = self.base.sample(noise)
        return self._squash(x), x

    def log_prob(self, action: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Log-density in the action's units.

        It is exact for the last sample itself. Any other action is taken as it is rounded, and one that is closer to a
        bound than 10⁻⁶ of the range, where |x| > 6.9, as one that is so close. Up to there x is off by 0.01 at most if
        the box is [−1, 1] and the action float32, and so the log-density of a dimension by 0.01·(|x − loc|/scale² + 2).
        """
        last, x = vars(self).get("_squashed", (None, None))
        if last is not action:
            span = self.high - self.low
            above, below = ((y / span).clamp(_MARGIN, 1) for y in (action - self.low, self.high - action))
            x = 0.5 * (above.log() - below.log())
        return self.log_prob_of_draw(x)

    def log_prob_of_draw(self, x: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
        """Log-density in the action's units, at what an action was before the tanh: exact."""
        return self.base.log_prob(x) - self._log_slope(x).sum(-1)

    def sample_and_log_prob(
        self, noise: Float[Tensor, "*batch A"]
    ) -> tuple[Float[Tensor, "*batch A"], Float[Tensor, "*batch"]]:
        """A squashed draw and its log-density, from the draw before the tanh: exact however near it is to a bound."""
        x, log_prob = self.base.sample_and_log_prob(noise)
        return self._squash(x), log_prob - self._log_slope(x).sum(-1)

    def entropy(self) -> Float[Tensor, "*batch"]:
        """Entropy in nats: the Gaussian's plus E[log slope], within 10⁻⁵ a dimension for any `loc` and `scale`."""
        slope = _mean_log_slope(self.loc, self.scale) + (0.5 * (self.high - self.low)).log()
        return self.base.entropy() + slope.sum(-1)

    def kl(self, other: TanhNormal) -> Float[Tensor, "*batch"]:
        """KL(self ‖ other) in nats: that of the Gaussians, since both are squashed alike.

        Raises:
            ValueError: The other one is not squashed.
        """
        _of_one_kind(self, other)
        return self.base.kl(other.base)

    def _squash(self, x: Tensor) -> Tensor:
        # ½(1 + tanh x) = σ(2x), and a lerp ends at the bounds themselves.
        action = torch.lerp(self.low, self.high, (2 * x).sigmoid())
        object.__setattr__(self, "_squashed", (action, x))
        return action

    def _log_slope(self, x: Tensor) -> Tensor:
        """Log of the slope of the squash at x: log(1 − tanh²x) in the form that does not cancel for large |x|."""
        return 2 * (math.log(2) - x - F.softplus(-2 * x)) + (0.5 * (self.high - self.low)).log()


def _of_one_kind(one: Distribution, other: Distribution) -> None:
    if type(one) is not type(other):
        kinds = f"a {type(one).__name__} and a {type(other).__name__}"
        raise ValueError(f"distribution: {kinds} have no divergence here; give teacher and student the same `squash`.")


_MARGIN = 1e-6  # of the range: closer to a bound an action in float32 says little of what it was before the tanh
_WIDE = 0.75  # standard deviation before the tanh from which on a Gaussian is wide


def _floats(array: Any) -> tuple[float, ...]:
    return tuple(float(number) for number in array)


_HERMITE, _HERMITE_WEIGHTS = map(_floats, np.polynomial.hermite_e.hermegauss(12))
_LEGENDRE, _LEGENDRE_WEIGHTS = np.polynomial.legendre.leggauss(12)
_PLACES = _floats(4 * (_LEGENDRE + 1))  # in [0, 8], where the last term of `_mean_log_slope` is
_REST = _floats(4 * _LEGENDRE_WEIGHTS * np.log1p(np.exp(-8 * (_LEGENDRE + 1))))


def _mean_log_slope(loc: Tensor, scale: Tensor) -> Tensor:
    """E[log(1 − tanh²x)], x ~ N(loc, scale), within 10⁻⁵.

    Of a narrow Gaussian it is a Gauss-Hermite quadrature. Between the nodes of a wide one its bend at 0 would be lost:

        log(1 − tanh²x) = 2 log 2 − 2|x| − 2 log(1 + e^(−2|x|))

    The mean of |x| is known, and the last term lives in [−8, 8], where a Gauss-Legendre quadrature sees it.
    """
    x = torch.addcmul(loc.unsqueeze(-1), scale.unsqueeze(-1), constant(_HERMITE, loc))
    narrow = 2 * (math.log(2) - loc) - (2 / _ROOT_2PI) * (F.softplus(-2 * x) @ constant(_HERMITE_WEIGHTS, loc))
    wide = scale.clamp(min=_WIDE)
    m = loc / wide
    size = (2 / _ROOT_2PI) * wide * (-0.5 * m.square()).exp() + loc * torch.erf(m / math.sqrt(2))
    z, m = constant(_PLACES, loc) / wide.unsqueeze(-1), m.unsqueeze(-1)
    density = ((-0.5 * (z - m).square()).exp() + (-0.5 * (z + m).square()).exp()) @ constant(_REST, loc)
    return torch.where(scale < _WIDE, narrow, 2 * (math.log(2) - size) - (2 / _ROOT_2PI) * density / wide)
