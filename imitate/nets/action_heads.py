"""Heads of actors: features -> distribution over actions.

Letters: M members, B batch, H width of the features, A dimensions of a Box, K choices made at once.
"""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor, nn

from imitate.core.actions import choices, unit, width
from imitate.core.noise import Stream
from imitate.distributions.actions import Categorical, Distribution, MultiCategorical, Normal, TanhNormal
from imitate.nets.layers import Linear
from imitate_envs.base import Box, Discrete, Space

__all__ = ["ActionHead", "CategoricalHead", "GaussianHead", "MultiCategoricalHead", "SquashedGaussianHead"]

GAIN = 0.01  # of the last layer: a policy starts out undecided
LOG_STD = (-20.0, 2.0)  # bounds of a log standard deviation that depends on the state (Haarnoja et al. 2018)


class ActionHead(Protocol):
    """What an actor's head is: a linear map, and what its outputs mean."""

    linear: Linear | None

    def of(self, out: Tensor, mask: Tensor | None) -> Distribution:
        """The distribution that outputs [M, B, outputs] describe, of what a mask [M, B, choices] admits."""


class CategoricalHead(nn.Module):
    """Logits of n choices.

    Args:
        members: M.
        width: H; None where a network of the user's own gives the outputs.
        count: n.
        init: Stream of the initialisation.
    """

    def __init__(self, members: int, width: int | None, count: int, *, init: Stream) -> None:
        super().__init__()
        self.linear = _linear(members, width, count, init)

    def of(self, out: Tensor, mask: Tensor | None) -> Categorical:
        """Logits as they are, −∞ where the mask forbids."""
        return Categorical(out if mask is None else out.masked_fill(~mask, -torch.inf))


class MultiCategoricalHead(nn.Module):
    """Logits of K independent choices.

    Args:
        members: M.
        width: H; None where a network of the user's own gives the outputs.
        counts: How many choices there are at each of K places.
        init: Stream of the initialisation.
    """

    def __init__(self, members: int, width: int | None, counts: tuple[int, ...], *, init: Stream) -> None:
        super().__init__()
        self.linear, self.counts = _linear(members, width, sum(counts), init), list(counts)

    def of(self, out: Tensor, mask: Tensor | None) -> MultiCategorical:
        """Logits of each place, −∞ where the mask forbids."""
        return MultiCategorical((out if mask is None else out.masked_fill(~mask, -torch.inf)).split(self.counts, -1))


class GaussianHead(nn.Module):
    """Means of a diagonal Gaussian, with one learnt standard deviation a dimension; the source clips its draws.

    Args:
        members: M.
        width: H; None where a network of the user's own gives the outputs.
        box: Space of actions.
        scaled: Whether outputs count in half ranges from the centre of a bounded dimension, or in its own units.
        init: Stream of the initialisation.
    """

    centre: Tensor
    half_range: Tensor

    def __init__(self, members: int, width: int | None, box: Box, *, scaled: bool, init: Stream) -> None:
        super().__init__()
        centre, half = unit(box, torch.device("cpu"))
        self.linear = _linear(members, width, len(centre), init)
        self.log_std = nn.Parameter(torch.zeros(members, 1, len(centre), device=init.device))
        self.scaled = scaled and not (bool((centre == 0).all()) and bool((half == 1).all()))
        self.register_buffer("centre", centre.to(init.device), persistent=False)
        self.register_buffer("half_range", half.to(init.device), persistent=False)

    def of(self, out: Tensor, mask: Tensor | None) -> Normal:
        """Mean centre + half range·out, deviation half range·exp(log_std)."""
        scale = self.log_std.exp()
        if not self.scaled:
            return Normal(out, scale.expand_as(out))
        return Normal(torch.addcmul(self.centre, self.half_range, out), (self.half_range * scale).expand_as(out))


class SquashedGaussianHead(nn.Module):
    """Means and log standard deviations of a Gaussian that a tanh squashes into a bounded Box.

    Args:
        members: M.
        width: H; None where a network of the user's own gives the outputs.
        box: Space of actions, bounded.
        init: Stream of the initialisation.
    """

    low: Tensor
    high: Tensor

    def __init__(self, members: int, width: int | None, box: Box, *, init: Stream) -> None:
        super().__init__()
        centre, half = unit(box, torch.device("cpu"))
        self.linear = _linear(members, width, 2 * len(centre), init)
        self.register_buffer("low", centre - half, persistent=False)
        self.register_buffer("high", centre + half, persistent=False)
        self.to(init.device)

    def of(self, out: Tensor, mask: Tensor | None) -> TanhNormal:
        """The first half of the outputs are means, the second log standard deviations."""
        loc, log_std = out.chunk(2, -1)
        return TanhNormal(loc, log_std.clamp(*LOG_STD).exp(), self.low.expand_as(loc), self.high.expand_as(loc))


def action_head(
    action: Space, members: int, width: int | None, *, squash: bool, scaled: bool, init: Stream
) -> CategoricalHead | MultiCategoricalHead | GaussianHead | SquashedGaussianHead:
    """The head that suits a space of actions.

    Raises:
        ValueError: Nobody acts in such a space, or nothing can be squashed into it.
    """
    counts = choices(action)
    if squash and not (isinstance(action, Box) and action.bounded):
        raise ValueError(f"squash: a tanh-Gaussian needs a Box with finite bounds, not {action}.")
    if isinstance(action, Box):
        if squash:
            return SquashedGaussianHead(members, width, action, init=init)
        return GaussianHead(members, width, action, scaled=scaled, init=init)
    if isinstance(action, Discrete):
        return CategoricalHead(members, width, action.n, init=init)
    return MultiCategoricalHead(members, width, counts, init=init)


def outputs_of(action: Space, squash: bool) -> int:
    """Numbers that a network of the user's own gives for one observation."""
    return width(action) * (2 if squash else 1) if isinstance(action, Box) else sum(choices(action))


def _linear(members: int, width: int | None, outputs: int, init: Stream) -> Linear | None:
    return None if width is None else Linear(members, width, outputs, init=init, gain=GAIN)


def linear_of(head: ActionHead) -> Linear:
    """The linear map of a head that has one."""
    return cast(Linear, head.linear)
