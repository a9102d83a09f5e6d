"""Observations in and actions out: what Gymnasium's environments say, as tensors, and what policies say, as arrays.

Letters: M members, N environments of one member, B = M·N, A numbers of one action.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.arrays import as_array
from imitate_envs.gymnasium_spaces import from_gymnasium
from imitate_envs.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space

__all__ = ["Actions", "Observations", "flat_mask"]

Array = NDArray[Any]
_NUMPY = {torch.float32: np.float32, torch.int64: np.int64, torch.uint8: np.uint8}
_EXACT = 2**24  # up to here float32 holds every whole number


@dataclass(frozen=True)
class _Leaf:
    """One tensor of an observation.

    Args:
        path: The keys and places that lead to its values.
        outer: Their shape in the environment.
        shape: Its shape here, of one environment.
        dtype: Its type.
        start: What the environment counts from, flat; None where that is 0 or nothing is counted.
    """

    path: tuple[str | int, ...]
    outer: tuple[int, ...]
    shape: tuple[int, ...]
    dtype: torch.dtype
    start: Array | None

    def of(self, obs: Any) -> Array:
        """Its values in an observation of one environment or of all."""
        try:
            for key in self.path:
                obs = obs[key]
        except (KeyError, IndexError, TypeError):
            where = "".join(f"[{key!r}]" for key in self.path)
            raise ValueError(f"observation: lacks {where}, which its space has.") from None
        return as_array(obs, "observation")

    def one(self, obs: Any) -> Array:
        """Its values in an observation of one environment, [*shape]; they may share the environment's memory."""
        array = self.of(obs)
        if array.shape != self.outer:  # numpy would broadcast it
            raise ValueError(f"observation: of shape {array.shape}, but its space says {self.outer}.")
        array = array.reshape(self.shape)
        return array if self.start is None else array - self.start


class Observations:
    """The observations of an environment, with the masks of its actions if they are wanted.

    Bytes stay bytes, and integers beyond ±2²⁴, which float32 would merge, stay int64; every other Box is float32.
    Choices are int64 and count from 0, bits are uint8. With masks an observation is a dict of `observation` and
    `action_mask`.

    Args:
        space: What Gymnasium says that one environment shows.
        choices: How many entries a mask has; None: without masks.

    Attributes:
        space: The same in our words.
        dtype: Types of the tensors, a tree as observations are.

    Raises:
        ValueError: The space is none of ours.
    """

    def __init__(self, space: spaces.Space[Any], choices: int | None = None) -> None:
        self.choices = choices
        self.space = _ours(space, "observation")
        self._leaves = _leaves(space)
        self._tree = _refill(space, iter(range(len(self._leaves))))
        self._dtypes = [leaf.dtype for leaf in self._leaves]
        self._shapes = [leaf.shape for leaf in self._leaves]
        if choices is not None:
            self.space = Dict.of({"observation": self.space, "action_mask": MultiBinary((choices,))})
            self._tree = {"observation": self._tree, "action_mask": len(self._leaves)}
            self._dtypes.append(torch.uint8)
            self._shapes.append((choices,))
        self.dtype = _fill(self._tree, self._dtypes)

    def tree(self, leaves: Sequence[Tensor]) -> Any:
        """The tree of these leaves."""
        return _fill(self._tree, leaves)

    def room(self, *lead: int, device: torch.device | str = "cpu", pinned: bool = False) -> list[Tensor]:
        """Memory for the leaves of observations [*lead, ...]."""
        return [
            torch.empty(*lead, *shape, dtype=dtype, device=device, pin_memory=pinned)
            for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
        ]

    def write(self, out: Sequence[Array], obs: Any, masks: Array | None) -> None:
        """Copy the observations of all environments, and their masks [B, choices], into arrays [B, ...]."""
        for into, leaf in zip(out, self._leaves, strict=False):
            array = leaf.of(obs).reshape(into.shape)
            into[...] = array if leaf.start is None else array - leaf.start
        if masks is not None:
            out[-1][...] = masks

    def write_one(self, out: Sequence[Array], i: int, obs: Any, mask: Array | None) -> None:
        """Copy the observation of environment i, and its mask [choices], into its rows of arrays [B, ...]."""
        for into, leaf in zip(out, self._leaves, strict=False):
            into[i] = leaf.one(obs)
        if mask is not None:
            out[-1][i] = mask

    def copy(self, obs: Any, mask: Array | None) -> list[Array]:
        """The leaves of the observation of one environment, in memory of their own."""
        copied = [np.array(leaf.one(obs), _NUMPY[leaf.dtype]) for leaf in self._leaves]
        return copied if mask is None else [*copied, mask.astype(np.uint8)]


class Actions:
    """The actions of an environment: choices count from 0 here, and a Box or bits of any shape are flat.

    Numbers of a Box are clipped to its bounds, and whole ones are rounded to the nearest.

    Args:
        space: What Gymnasium says that one environment takes.

    Attributes:
        space: The same in our words.

    Raises:
        ValueError: It is a Dict, a Tuple, or none of ours.
    """

    def __init__(self, space: spaces.Space[Any]) -> None:
        self.space = _ours(space, "action")
        if not isinstance(self.space, (Box, Discrete, MultiBinary, MultiDiscrete)):
            raise ValueError(
                f"action: {self.space} is not supported: an action is one Box, Discrete, MultiDiscrete or MultiBinary; "
                "flatten it with a gymnasium.ActionWrapper."
            )
        self._theirs: Any = space
        self._shape = tuple(space.shape or ())
        start = np.asarray(getattr(space, "start", 0), space.dtype)
        self._start = start if start.any() else None
        self._whole = isinstance(space, spaces.Box) and not np.issubdtype(space.dtype, np.floating)

    def outward(self, action: Tensor) -> Array:
        """Actions [M, N, ...] as the environments take them, [B, *shape], in memory of their own."""
        space = self._theirs
        array: Array = action.cpu().numpy().reshape(-1, *self._shape)
        if not isinstance(space, spaces.Box):
            theirs: Array = array.astype(space.dtype)
            return theirs if self._start is None else theirs + self._start
        if self._whole:  # before the cast, which would wrap what is out of bounds
            whole: Array = np.rint(np.clip(array.astype(np.float64), space.low, space.high)).astype(space.dtype)
            return whole
        # After the cast and by the environment's own numbers, so that rounding leaves nothing out of bounds.
        clipped: Array = np.clip(array.astype(space.dtype, copy=False), space.low, space.high)
        return clipped


def flat_mask(mask: Any, count: int) -> Array:
    """A mask of one environment as zeros and ones [count], from an array or one array a place.

    Raises:
        ValueError: It has another number of entries.
    """
    ragged = isinstance(mask, (tuple, list)) and len(mask) > 0 and np.ndim(mask[0]) > 0
    flat: Array = np.concatenate([np.ravel(place) for place in mask]) if ragged else np.ravel(mask)
    if len(flat) != count:
        raise ValueError(f"action_masks: a mask of {len(flat)} entries for {count} choices.")
    return flat.astype(np.bool_)


def _ours(space: spaces.Space[Any], argument: str) -> Space:
    """Our space of one of Gymnasium's, or a ValueError that names the argument."""
    try:
        return from_gymnasium(space)
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from None


def _leaves(space: spaces.Space[Any], path: tuple[str | int, ...] = ()) -> list[_Leaf]:
    if isinstance(space, spaces.Dict):
        return [leaf for name, inner in space.spaces.items() for leaf in _leaves(inner, (*path, name))]
    if isinstance(space, spaces.Tuple):
        return [leaf for i, inner in enumerate(space.spaces) for leaf in _leaves(inner, (*path, i))]
    outer = tuple(space.shape or ())
    if isinstance(space, (spaces.Discrete, spaces.MultiDiscrete)):
        shape = (math.prod(outer),) if isinstance(space, spaces.MultiDiscrete) else ()
        start = np.asarray(space.start).reshape(shape)
        return [_Leaf(path, outer, shape, torch.int64, start if start.any() else None)]
    return [_Leaf(path, outer, outer, _dtype(space), None)]


def _dtype(space: spaces.Space[Any]) -> torch.dtype:
    """Type here of the numbers of a Box or MultiBinary."""
    if isinstance(space, spaces.MultiBinary) or space.dtype == np.uint8:
        return torch.uint8
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.integer) or not space.low.size:
        return torch.float32
    return torch.int64 if space.low.min() < -_EXACT or space.high.max() > _EXACT else torch.float32


def _refill(space: spaces.Space[Any], values: Any) -> Any:
    """The structure of a space with the next of `values` at each leaf."""
    if isinstance(space, spaces.Dict):
        return {name: _refill(inner, values) for name, inner in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_refill(inner, values) for inner in space.spaces)
    return next(values)


def _fill(places: Any, leaves: Sequence[Any]) -> Any:
    """A tree of places in `leaves` with the leaves themselves."""
    if isinstance(places, dict):
        return {name: _fill(inner, leaves) for name, inner in places.items()}
    if isinstance(places, tuple):
        return tuple(_fill(inner, leaves) for inner in places)
    return leaves[places]
