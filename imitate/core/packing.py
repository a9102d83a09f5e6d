"""Observations of several parts as one row of bytes, and back: what is kept of them is kept in one place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from imitate.core.spec import Spec
from imitate.core.types import Obs
from imitate_envs.base import Dict, Space, Tuple

__all__ = ["Packing"]


class Packing:
    """Rows of bytes for observations of a Dict or a Tuple; any other observation stays as it is.

    Args:
        spec: Whose observations.

    Attributes:
        shape: Of one row.
        dtype: Of its numbers.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype

    def __init__(self, spec: Spec) -> None:
        self._space = spec.observation
        self.composite = isinstance(spec.observation, Dict | Tuple)
        described = list(_leaves(spec.observation, spec.obs_dtype))
        self._shapes = [shape for shape, _ in described]
        self._dtypes: list[torch.dtype] = [dtype for _, dtype in described]
        self._sizes = [math.prod(shape) * dtype.itemsize for shape, dtype in described]
        self.shape = (sum(self._sizes),) if self.composite else self._shapes[0]
        self.dtype = torch.uint8 if self.composite else self._dtypes[0]

    def pack(self, obs: Obs) -> Tensor:
        """Observations [..., *shape] as rows."""
        if not self.composite:
            row: Tensor = obs
            return row
        # In the order of the space: an environment may name its parts in another one.
        parts = [leaf for _, leaf in _leaves(self._space, obs)]
        lead = parts[0].dim() - len(self._shapes[0])
        return torch.cat([part.reshape(*part.shape[:lead], -1).contiguous().view(torch.uint8) for part in parts], -1)

    def unpack(self, rows: Tensor) -> Obs:
        """Rows as observations."""
        if not self.composite:
            return rows
        parts = zip(rows.split(self._sizes, -1), self._dtypes, self._shapes, strict=True)
        leaves = iter([part.clone().view(dtype).reshape(*rows.shape[:-1], *shape) for part, dtype, shape in parts])
        return _filled(self._space, leaves)


def _leaves(space: Space, tree: Any) -> Iterator[tuple[tuple[int, ...], Any]]:
    """The shapes in a space, each with what a tree of its structure holds there."""
    if isinstance(space, Dict):
        for name, inner in space.spaces:
            yield from _leaves(inner, tree[name])
    elif isinstance(space, Tuple):
        for inner, part in zip(space.spaces, tree, strict=True):
            yield from _leaves(inner, part)
    else:
        yield space.shape, tree


def _filled(space: Space, leaves: Iterator[Tensor]) -> Obs:
    if isinstance(space, Dict):
        return {name: _filled(inner, leaves) for name, inner in space.spaces}
    if isinstance(space, Tuple):
        return tuple(_filled(inner, leaves) for inner in space.spaces)
    return next(leaves)
