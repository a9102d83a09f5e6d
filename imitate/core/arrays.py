"""Foreign arrays as tensors: whatever numpy takes for an array of numbers, and torch alone does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["as_array", "as_tensor"]

# What torch has no full set of operations for, and the least type that holds the same numbers.
_WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "float128": np.float64, "float96": np.float64}


def as_array(values: Any, name: str = "array") -> NDArray[Any]:
    """Numbers or bools as a numpy array, which may share the memory of `values`.

    Args:
        values: An array of any library that numpy understands, a number, or a nested list of numbers.
        name: What a message calls them.

    Raises:
        ValueError: They are no numbers, or their rows differ in length.
    """
    try:
        array = np.asarray(values)
    except ValueError:
        raise ValueError(f"{name}: rows of different lengths are no array.") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: must hold numbers, not {array.dtype}.")
    return array


def as_tensor(
    values: Any, dtype: torch.dtype | None = None, device: torch.device | str = "cpu", *, name: str = "array"
) -> Tensor:
    """Numbers or bools as a tensor with memory of its own.

    Views with negative strides, foreign byte orders, read-only and non-contiguous arrays are all copied right. Unsigned
    integers of 16 bits and more become signed ones that hold them, extended floats become float64.

    Args:
        values: A tensor, an array of any library that numpy understands, a number, or a nested list of numbers.
        dtype: Type of the tensor; that of the values by default.
        device: Where it lives.
        name: What a message calls them.

    Raises:
        ValueError: They are no numbers, their rows differ in length, or a uint64 is beyond int64.
    """
    if isinstance(values, Tensor):
        return values.detach().to(device=device, dtype=dtype, copy=True)
    array = as_array(values, name)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: {array.max()} is beyond int64.")
    native = _WIDER.get(array.dtype.name, array.dtype.newbyteorder("="))
    return torch.from_numpy(np.array(array, native, order="C")).to(device=device, dtype=dtype)
