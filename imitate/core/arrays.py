"""Foreign arrays as tensors: whatever numpy takes for an array of numbers, and torch alone does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["as_array", "as_number", "as_tensor"]

# What torch has no full set of operations for, and the least type that holds the same numbers.
_WIDER = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64, "float128": np.float64, "float96": np.float64}


def as_array(values: Any, name: str = "array") -> NDArray[Any]:
    """Numbers or bools as a numpy array, which may share the memory of `values`.

    Args:
        values: A tensor, an array of any library that numpy understands, a number, or a nested list of these.
        name: What a message calls them.

    Raises:
        ValueError: They are no numbers, some are masked, or their rows differ in length.
    """
    if type(values) is not np.ndarray:  # what most are, a million times a minute
        values = _untied(values, name)
    try:
        array = np.asarray(values)
        if array.dtype.kind == "O":
            array = np.asarray(array.tolist())  # numbers that are kept as objects
    except ValueError:
        raise ValueError(f"{name}: rows of different lengths are no array.") from None
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{name}: no array can be made of it ({str(error).splitlines()[0]}).") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name}: must hold numbers, not {array.dtype}.")
    return array


def _untied(values: Any, name: str) -> Any:
    """The same, without what numpy does not see: gradients and devices of tensors, masks of arrays."""
    if isinstance(values, Tensor):
        values = values.detach().cpu().resolve_neg()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    if isinstance(values, (list, tuple)) and values and not isinstance(values[0], (int, float)):
        return [_untied(value, name) for value in values]
    if np.ma.is_masked(values):
        raise ValueError(f"{name}: some of its values are masked; fill them, or leave their rows out.")
    return values


def as_number(value: Any, name: str = "number") -> float:
    """One number, also of an array or a tensor that holds one.

    Raises:
        ValueError: It is none, or there are several.
    """
    if isinstance(value, (float, int)):
        return value
    array = as_array(value, name)
    if array.size != 1:
        raise ValueError(f"{name}: one number is needed, not an array of shape {array.shape}.")
    return float(array.reshape(()))


def as_tensor(
    values: Any, dtype: torch.dtype | None = None, device: torch.device | str = "cpu", *, name: str = "array"
) -> Tensor:
    """Numbers or bools as a tensor with memory of its own.

    Views with negative strides, foreign byte orders, read-only and non-contiguous arrays are all copied right. Unsigned
    integers of 16 bits and more become signed ones that hold them, extended floats become float64.

    Args:
        values: A tensor, an array of any library that numpy understands, a number, or a nested list of these.
        dtype: Type of the tensor; that of the values by default.
        device: Where it lives.
        name: What a message calls them.

    Raises:
        ValueError: They are no numbers, some are masked, their rows differ in length, or a uint64 is beyond int64.
    """
    if isinstance(values, Tensor):
        return values.detach().to(device=device, dtype=dtype, copy=True).contiguous()
    array = as_array(values, name)
    if array.dtype.kind == "u" and array.size and array.max() > np.iinfo(np.int64).max:
        raise ValueError(f"{name}: {array.max()} is beyond int64.")
    native = _WIDER.get(array.dtype.name, array.dtype.newbyteorder("="))
    return torch.from_numpy(np.array(array, native, order="C")).to(device=device, dtype=dtype)
