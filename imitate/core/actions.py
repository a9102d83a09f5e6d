"""What follows from a space of actions: choices, bounds, units, and the mask of an observation.

Letters: A dimensions of a Box, K choices made at once; `...` any leading shape.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from imitate.core.types import Obs
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space

__all__ = [
    "ACTION_MASK",
    "action_mask",
    "bounds",
    "choices",
    "clip",
    "flattened",
    "observed",
    "outside",
    "scaled",
    "unit",
    "unmasked",
    "width",
]

ACTION_MASK = "action_mask"  # PettingZoo's key; beside it stands "observation"
FORGIVEN = 1e-4  # of the range of a Box: rounding is not an action out of range


def choices(action: Space) -> tuple[int, ...]:
    """How many choices there are at each of K places; empty for a Box.

    Raises:
        ValueError: The space is composite: nobody acts in a Dict or a Tuple.
    """
    if isinstance(action, Discrete):
        return (action.n,)
    if isinstance(action, MultiDiscrete):
        return action.nvec
    if isinstance(action, MultiBinary):
        return (2,) * math.prod(action.shape)
    if isinstance(action, Box):
        return ()
    raise ValueError(f"action: policies act in Discrete, MultiDiscrete, MultiBinary and Box spaces, not in {action}.")


def width(action: Space) -> int:
    """Numbers of an action: A of a Box, K of choices. It is also how many uniforms draw one."""
    return math.prod(action.shape) if isinstance(action, Box) else len(choices(action))


@lru_cache(maxsize=64)
def bounds(box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of a Box as flat tensors [A], made once a device."""
    low, high = (torch.tensor(b, device=device, dtype=torch.float32) for b in (box.low, box.high))
    size = math.prod(box.shape)
    return low.expand(size), high.expand(size)


@lru_cache(maxsize=64)
def unit(box: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    """Centre and half range [A] of a Box; 0 and 1 in dimensions without finite bounds or without a range.

    A range that float32 does not hold, as between its own extremes, is no bound.
    """
    low, high = bounds(box, device)
    finite = (high - low).isfinite() & (high > low)
    return torch.where(finite, low + (high - low) / 2, 0.0), torch.where(finite, (high - low) / 2, 1.0)


def clip(space: Space, action: Tensor) -> Tensor:
    """An action inside the bounds of its space, as the environment receives it."""
    if not isinstance(space, Box):
        return action
    if isinstance(space.low, tuple) or isinstance(space.high, tuple):
        low, high = bounds(space, action.device)
        return action.clamp(low.to(action.dtype), high.to(action.dtype))
    return action.clamp(space.low, space.high)


def scaled(space: Space, action: Tensor) -> Tensor:
    """An action as the environment receives it; that of a Box in half ranges from its centre."""
    if not isinstance(space, Box):
        return action
    centre, half_range = unit(space, action.device)
    return (clip(space, action) - centre) / half_range


def flattened(space: Space) -> Space:
    """The space of actions as policies give them: flat, whatever shape the environment's have."""
    return type(space)((width(space),)) if isinstance(space, Box | MultiBinary) else space


def outside(box: Box, action: Tensor, rounding: float = 2**-23) -> Tensor:
    """Which numbers of actions [..., A] are beyond the bounds of a Box by more than rounding, bool [..., A].

    Args:
        box: The space.
        action: The actions.
        rounding: Relative error of their type. A ten-thousandth of the range is forgiven on top, for what was computed.
    """
    low, high = bounds(box, action.device)
    span = high - low
    margin = torch.where(span.isfinite(), FORGIVEN * span, 0.0)
    return (action < low - margin - rounding * low.abs()) | (action > high + margin + rounding * high.abs())


def action_mask(obs: Obs) -> Tensor | None:
    """Which choices an observation admits, bool [..., Σ choices]; None where it does not say."""
    return obs[ACTION_MASK].bool() if isinstance(obs, dict) and ACTION_MASK in obs else None


def unmasked(observation: Space) -> Space:
    """A space of observations without its mask; what stands alone beside it as "observation" is taken out."""
    if not isinstance(observation, Dict) or ACTION_MASK not in observation.named:
        return observation
    rest = {name: space for name, space in observation.spaces if name != ACTION_MASK}
    return rest["observation"] if rest.keys() == {"observation"} else Dict.of(rest)


def observed(obs: Obs) -> Any:
    """An observation without its mask, as `unmasked` says."""
    if not isinstance(obs, dict) or ACTION_MASK not in obs:
        return obs
    rest = {name: value for name, value in obs.items() if name != ACTION_MASK}
    return rest["observation"] if rest.keys() == {"observation"} else rest
