"""Our spaces as Gymnasium's, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from imitate_envs.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

__all__ = ["from_gymnasium", "to_gymnasium"]

GymnasiumSpace = spaces.Space[Any]


def to_gymnasium(space: Space) -> GymnasiumSpace:
    """The Gymnasium space of one of ours; a Box is one of float32."""
    if isinstance(space, Discrete):
        return spaces.Discrete(space.n, start=space.start)
    if isinstance(space, MultiDiscrete):
        nvec, start = (np.reshape(numbers, space.outer) for numbers in (space.nvec, space.start))
        return spaces.MultiDiscrete(nvec, start=start)
    if isinstance(space, MultiBinary):
        return spaces.MultiBinary(space.shape[0] if len(space.shape) == 1 else space.shape)
    if isinstance(space, Dict):
        # Pairs, as Gymnasium sorts a mapping by its keys.
        return spaces.Dict([(name, to_gymnasium(inner)) for name, inner in space.spaces])
    if isinstance(space, Tuple):
        return spaces.Tuple([to_gymnasium(inner) for inner in space.spaces])
    # A scalar bound stands for all entries. The cast comes first: Gymnasium warns when it has to round.
    low, high = (
        np.broadcast_to(
            np.array(bound, np.float32).reshape(space.shape if isinstance(bound, tuple) else ()), space.shape
        )
        for bound in (space.low, space.high)
    )
    return spaces.Box(low, high, space.shape, np.float32)


def from_gymnasium(space: GymnasiumSpace) -> Space:
    """Our space of one of Gymnasium's. The type of a Box is not kept.

    Raises:
        ValueError: It is, or holds, a Graph, Text, Sequence, OneOf, or a space of the user's own.
    """
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n), int(space.start))
    if isinstance(space, spaces.MultiDiscrete):
        nvec, start = (tuple(int(number) for number in numbers.ravel()) for numbers in (space.nvec, space.start))
        return MultiDiscrete(nvec, start, tuple(space.nvec.shape))
    if isinstance(space, spaces.MultiBinary):
        return MultiBinary(tuple(space.shape))
    if isinstance(space, spaces.Dict):
        return Dict.of({name: from_gymnasium(inner) for name, inner in space.spaces.items()})
    if isinstance(space, spaces.Tuple):
        return Tuple(tuple(from_gymnasium(inner) for inner in space.spaces))
    if isinstance(space, spaces.Box):
        low, high = (
            flat[0] if len(set(flat)) == 1 else tuple(flat)
            for flat in (space.low.ravel().tolist(), space.high.ravel().tolist())
        )
        return Box(space.shape, low, high)
    raise ValueError(
        f"{type(space).__name__} is not supported: a space must be a Box, Discrete, MultiDiscrete, MultiBinary, or a "
        "Dict or Tuple of these."
    )
