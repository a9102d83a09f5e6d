"""Numbers of float32, and of eight bits, in C."""

from __future__ import annotations

import math
from collections.abc import Sequence
from textwrap import fill

import numpy as np

__all__ = ["array", "byte_array", "hexadecimal"]


def hexadecimal(number: float) -> str:
    """A number, rounded to float32, as a constant of C99: exact, where a decimal one may be rounded either way."""
    number = float(np.float32(number))
    if math.isinf(number):
        return "INFINITY" if number > 0 else "-INFINITY"  # of math.h
    mantissa, exponent = number.hex().split("p")
    return f"{mantissa.rstrip('0').rstrip('.') if '.' in mantissa else mantissa}p{exponent}f"


def array(name: str, numbers: Sequence[float]) -> str:
    """A constant array."""
    return _array("float", name, list(map(hexadecimal, numbers)))


def byte_array(name: str, numbers: Sequence[int]) -> str:
    """A constant array of whole numbers in [−127, 127]."""
    return _array("signed char", name, list(map(str, numbers)))


def _array(kind: str, name: str, numbers: Sequence[str]) -> str:
    rows = fill(", ".join(numbers), 112, break_long_words=False, break_on_hyphens=False)
    return f"static const {kind} {name}[{len(numbers)}] = {{\n{rows}\n}};\n"
