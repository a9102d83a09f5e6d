"""Tables in and out; pandas is imported only where one is made. Letters: S subjects."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.names import closest

__all__ = ["column", "frame", "numbers", "read_csv", "stack"]


def _pandas() -> Any:
    try:
        import pandas
    except ImportError:
        raise ValueError("pandas: not installed; pip install pandas.") from None
    return pandas


def frame(columns: Mapping[str, Any], index: Sequence[Hashable], name: str = "subject") -> Any:
    """A pandas DataFrame of columns (tensors or sequences), one row for each of `index`.

    Raises:
        ValueError: pandas is not installed.
    """
    pandas = _pandas()
    arrays = {key: c.detach().cpu().numpy() if isinstance(c, Tensor) else c for key, c in columns.items()}
    return pandas.DataFrame(arrays, index=pandas.Index(list(index), name=name))


def stack(tables: Sequence[Any]) -> Any:
    """DataFrames one below the other; what one lacks is empty there."""
    return _pandas().concat(tables)


def read_csv(path: Path) -> Any:
    """A DataFrame from a file; its rows are named by their lines.

    Raises:
        ValueError: pandas is not installed, or there is no such file, or it is no table.
    """
    pandas = _pandas()
    if not path.is_file():
        raise ValueError(f"data: there is no file '{path}'.")
    table = pandas.read_csv(path)
    table.index = pandas.RangeIndex(2, len(table) + 2)  # the header is line 1
    return table


def column(table: Any, name: str) -> Any:
    """A column of a DataFrame.

    Raises:
        ValueError: There is none of that name.
    """
    if name not in table.columns:
        raise ValueError(closest("column", name, map(str, table.columns)))
    return table[name]


def numbers(table: Any, name: str) -> NDArray[np.float64]:
    """A column of numbers; NaN where one is missing.

    Raises:
        ValueError: There is no such column, or something in it is no number; the message names the row.
    """
    values = column(table, name)
    try:
        return np.asarray(values.to_numpy(dtype=float, na_value=np.nan))
    except (TypeError, ValueError):
        row, value = next((r, v) for r, v in zip(table.index, values, strict=True) if not _number(v))
        raise ValueError(f"{name}: row {row} holds {value!r}, which is no number.") from None


def _number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
