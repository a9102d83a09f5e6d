"""Elements of spaces from foreign arrays, as an environment or a file has them. Letters: B batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import choices
from imitate.core.arrays import as_array, as_tensor
from imitate.core.types import Obs
from imitate_envs.base import Box, Dict, MultiBinary, MultiDiscrete, Space, Tuple

__all__ = ["elements"]

_WHOLE = {torch.uint8: (0, 255), torch.int64: (-(2**63), 2**63 - 1)}  # what a Box of whole numbers holds


def elements(
    values: Any, space: Space, name: str, dtype: Any = None, device: torch.device | str = "cpu"
) -> tuple[Obs, bool]:
    """Elements of a space as tensors [B, ...], and whether they were a batch.

    Choices count from 0 here, whatever the environment calls the first one, and a MultiDiscrete is flat.

    Args:
        values: As the environment has them: an array [*shape] or [B, *shape], or a dict or a tuple of such arrays.
        space: The space.
        name: What a message calls them.
        dtype: Type of the numbers of a Box, one for all or a tree as the elements are. By default bytes stay bytes, and
            all else is float32.
        device: Where they live.

    Raises:
        ValueError: A part is missing, a shape does not fit, or something is no number of the type or the space.
    """
    if not isinstance(space, Dict | Tuple):
        return _leaf(values, space, name, dtype, device)
    parts: dict[Any, Obs] = {}
    batched, lengths = set(), set()
    for key, inner in space.spaces if isinstance(space, Dict) else enumerate(space.spaces):
        try:
            part = values[key]
        except (KeyError, IndexError, TypeError):
            raise ValueError(f"{name}: it lacks {key!r} of {space}.") from None
        kind: Any = dtype[key] if isinstance(dtype, dict | tuple) else dtype  # type: ignore[index]
        parts[key], batch = elements(part, inner, f"{name}: {key!r}", kind, device)
        batched.add(batch)
        lengths.add(len(tree.leaves(parts[key])[0]))
    if len(batched) > 1:
        raise ValueError(f"{name}: some parts are a batch, others are not.")
    if len(lengths) > 1:
        raise ValueError(f"{name}: its parts are of different lengths.")
    return (parts if isinstance(space, Dict) else tuple(parts.values())), batched.pop()


def _leaf(values: Any, space: Any, name: str, dtype: Any, device: torch.device | str) -> tuple[Tensor, bool]:
    array = as_array(values, name)
    shape = space.outer if isinstance(space, MultiDiscrete) else space.shape
    if array.shape[max(0, array.ndim - len(shape)) :] != shape or array.ndim > len(shape) + 1:
        raise ValueError(f"{name}: shape {array.shape} is neither {shape} nor a batch of it.")
    batched = array.ndim > len(shape)
    array = array if batched else array[None]
    if isinstance(space, Box):
        dtype = dtype or (torch.uint8 if array.dtype == np.uint8 else torch.float32)
        if dtype in _WHOLE and array.dtype != np.uint8:
            _require_whole(array, *_WHOLE[dtype], name, batched)
        return as_tensor(array, dtype, device, name=name), batched
    array = array.reshape(len(array), *space.shape)
    start, counts = np.asarray(getattr(space, "start", 0)), choices(space)
    least = start if isinstance(space, MultiDiscrete) else int(start)
    _require_whole(array, least, least + (np.asarray(counts) if start.ndim else counts[0]) - 1, name, batched)
    dtype = torch.uint8 if isinstance(space, MultiBinary) else torch.int64
    return as_tensor(array.astype(np.int64) - start, dtype, device), batched


def _require_whole(array: NDArray[Any], low: Any, high: Any, name: str, batched: bool) -> None:
    """Refuse whatever is no whole number in a range.

    Raises:
        ValueError: There is such a number; the message names its row of a batch.
    """
    whole = (array >= low) & (array <= high)
    if array.dtype.kind == "f":
        whole &= np.floor(array) == array
    if not whole.all():
        at = tuple(np.argwhere(~whole)[0])
        row = f"row {at[0]} holds" if batched else "holds"
        raise ValueError(
            f"{name}: {row} {array[at]:g}; it must be a whole number in {int(np.min(low))} … {int(np.max(high))}."
        )
