"""Arrays in an .npz, those that are asked for: of numbers only, and of no more bytes than the file has of them."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from imitate.core.reading import Archive, line

__all__ = ["read_npz"]

_HEADER = 1024  # bytes; numpy writes 118


def read_npz(path: Path, wanted: Callable[[str], bool]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """The arrays of an .npz that are wanted, by name, and the names of all; the others stay packed.

    Raises:
        ValueError: It is no .npz, an array does not hold numbers, or has more or fewer of them than it says.
    """
    with path.open("rb") as file, Archive(file) as archive:
        names = [name.removesuffix(".npy") for name in archive.entries if name.endswith(".npy")]
        arrays = {name: _array(line(name), archive.read(f"{name}.npy")) for name in names if wanted(name)}
        return arrays, names


def _array(name: str, content: bytes) -> NDArray[Any]:
    file = io.BytesIO(content)
    version = npy.read_magic(file)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise ValueError(f"{name} is of version {version}")
    try:
        shape, fortran, dtype = read_header(file, max_header_size=_HEADER)
    except ValueError as error:  # whose next line advises to trust the file
        raise ValueError(f"{name}: {str(error).partition(chr(10))[0]}") from error
    if dtype.kind not in "biuf":
        raise ValueError(f"{name} holds {line(dtype)} instead of numbers")
    if any(size < 0 for size in shape) or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise ValueError(f"{name} says that it is {line(shape)}, and has {len(content) - file.tell():,} bytes")
    return np.frombuffer(content, dtype, offset=file.tell()).reshape(shape, order="F" if fortran else "C")
