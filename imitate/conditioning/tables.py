"""Tables in and out; pandas is imported only where one is made. Letters: S subjects."""

from __future__ import annotations

import bz2
import codecs
import csv
import gzip
import io
import lzma
import re
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.names import closest

__all__ = ["coded", "frame", "labels", "named", "numbers", "read_csv", "refuse", "stack"]

LARGEST = 2**28  # bytes of text in a table: a compressed one may grow to anything
MISSING = {"", "na", "n/a", "nan", "null", "none"}
_whole = re.compile(r"-?(0|[1-9]\d{0,14})")
_digits = re.compile(r"[+-]?(0\d+|\d{16,})")  # a label, as 007 is: a number would not keep them
_decimal = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?inf(inity)?", re.IGNORECASE)


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
    """A DataFrame from a text file with a header; its rows are named by their lines.

    Columns are separated by commas, tabs or semicolons, whichever the header has most of. Fields may be quoted; spaces
    around them are dropped, and so are lines without any. A column of numbers becomes one, and NaN stands where a field
    is empty or one of NA, N/A, NaN, null and None.

    Args:
        path: Text in UTF-8, or in UTF-16 with a byte-order mark; compressed if it ends in .gz, .bz2 or .xz.

    Raises:
        ValueError: pandas is not installed, there is no such file, or it is no table; the message has the line.
    """
    pandas = _pandas()
    rows = [(line, row) for line, row in _rows(path, _text(path)) if any(row)]
    if not rows:
        raise ValueError(f"data: '{path}' is empty.")
    (first, header), body = rows[0], rows[1:]
    while header and not header[-1]:  # each line ends with a separator
        header = header[:-1]
    if all(_number(name) for name in header):
        raise ValueError(f"data: line {first} of '{path}' has numbers only; begin the file with names of the columns.")
    if not body:
        raise ValueError(f"data: '{path}' has names of columns and no rows.")
    for line, row in body:
        if len(row) < len(header) or any(row[len(header) :]):
            raise ValueError(
                f"data: line {line} of '{path}' has {len(row)} fields, but line {first} names {len(header)} columns."
            )
    columns = zip(*(row[: len(header)] for _, row in body), strict=True)
    index = pandas.Index([line for line, _ in body])
    table = pandas.concat([pandas.Series(_typed(each), index=index) for each in columns], axis=1)
    table.columns = header
    return table


def _text(path: Path) -> str:
    """What a file says.

    Raises:
        ValueError: There is no such file, or it is no text.
    """
    if not path.is_file():
        raise ValueError(f"data: there is no file '{path}'.")
    opened: Any = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}.get(path.suffix.lower(), open)
    try:
        with opened(path, "rb") as file:
            held: bytes = file.read(LARGEST + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise ValueError(f"data: '{path}' cannot be read: {str(error)[:100]}.") from None
    if len(held) > LARGEST:
        raise ValueError(f"data: '{path}' is longer than {LARGEST >> 20} MB; keep the columns that are needed.")
    wide = held.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = held.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = held[: error.start].count(b"\n") + 1
        raise ValueError(f"data: line {line} of '{path}' is not in UTF-8; save it as text (CSV) in UTF-8.") from None
    if "\0" in text:
        raise ValueError(f"data: '{path}' is no text; save it as text (CSV) in UTF-8.")
    return text


def _rows(path: Path, text: str) -> Iterator[tuple[int, list[str]]]:
    """Records of a text, each with the line that it begins in.

    Raises:
        ValueError: A quote is not closed.
    """
    lines = [line for line in text.splitlines() if line.strip()]
    header = lines[0] if lines else ""
    delimiter = max(",\t;", key=lambda one: len(next(csv.reader([header], delimiter=one), [])))
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    try:
        for row in reader:
            yield line, [field.strip() for field in row]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(f"data: line {line} of '{path}' cannot be read: {error}.") from None


def _typed(fields: Sequence[str]) -> Any:
    """Truth values, numbers or words, by what all fields are."""
    present = {field for field in fields if field.lower() not in MISSING}
    kinds: Sequence[tuple[Callable[[str], Any], Callable[[str], bool]]] = (
        (lambda field: field.lower() == "true", lambda field: field.lower() in ("true", "false")),
        (int, lambda field: _whole.fullmatch(field) is not None),
        (float, lambda field: _number(field) and not _digits.fullmatch(field)),
    )
    kind = next((read for read, suits in kinds if present and all(map(suits, present))), None)
    if kind is None:
        return np.array([field if field in present else np.nan for field in fields], dtype=object)
    values = {field: kind(field) for field in present}
    if len(present) < len(set(fields)):
        return np.array([float(values.get(field, np.nan)) for field in fields])
    return np.array([values[field] for field in fields])


def named(table: Any, roles: Mapping[str, str | None]) -> None:
    """Look for columns, by the arguments that named them.

    Raises:
        ValueError: Some are not there.
    """
    lacking = {role: name for role, name in roles.items() if name is not None and name not in table.columns}
    if lacking:
        (role, name), *others = lacking.items()
        likewise = f"; likewise {', '.join(other for other, _ in others)}" if others else ""
        known = map(str, table.columns)
        raise ValueError(f"{closest('column', name, known)} Pass the name of the column as {role}{likewise}.")


def column(table: Any, name: str, role: str) -> Any:
    """A column of a DataFrame.

    Args:
        table: The DataFrame.
        name: Of the column.
        role: The argument that named it.

    Raises:
        ValueError: There is none of that name, or there are two.
    """
    named(table, {role: name})
    found = list(table.columns).count(name)
    if found > 1:
        raise ValueError(f"{role}: the table has {found} columns '{name}'; keep one of them.")
    return table[name]


def _fields(table: Any, name: str, role: str) -> tuple[list[Any], NDArray[np.bool_]]:
    """What a column holds, words without the spaces around them, None where nothing is; and where that is."""
    values = column(table, name, role)
    given = [value.strip() if isinstance(value, str) else value for value in values.tolist()]
    lacking = values.isna().to_numpy(dtype=bool) | np.array([value == "" for value in given], dtype=bool)
    return [None if none else value for none, value in zip(lacking, given, strict=True)], lacking


def refuse(table: Any, name: str, bad: NDArray[np.bool_], what: str) -> None:
    """Look at a column.

    Raises:
        ValueError: A row is `bad`; the message names the first one.
    """
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"{name}: row {table.index[row]} holds {_shown(table[name].iloc[row])}, which {what}.")


def labels(table: Any, name: str, role: str) -> list[Hashable]:
    """A column of labels.

    Raises:
        ValueError: There is no such column, or a label is missing; the message names the row.
    """
    found, lacking = _fields(table, name, role)
    refuse(table, name, lacking, f"is no label of a {role}; leave the row out, or fill it in")
    return found


def numbers(table: Any, name: str, role: str) -> NDArray[np.float64]:
    """A column of numbers; NaN where one is missing.

    Raises:
        ValueError: There is no such column, or something in it is no number; the message names the row.
    """
    values = column(table, name, role)
    if values.dtype.kind in "biuf" and isinstance(values.dtype, np.dtype):
        return np.asarray(values.to_numpy(dtype=float))
    given, lacking = _fields(table, name, role)
    suits = np.array([none or _number(value) for none, value in zip(lacking, given, strict=True)], dtype=bool)
    comma = any(isinstance(value, str) and _number(value.replace(",", ".", 1)) for value in given)
    refuse(
        table, name, ~suits, f"is no number{'; write decimal points, not commas' if comma and not suits.all() else ''}"
    )
    return np.array([np.nan if none else float(value) for none, value in zip(lacking, given, strict=True)])


def coded(table: Any, name: str, actions: int | Sequence[Hashable]) -> tuple[NDArray[np.float64], tuple[Hashable, ...]]:
    """A column of actions as numbers from 0, NaN where one is missing; and what they are called.

    Raises:
        ValueError: Something in it is none of the actions; the message names the row.
    """
    given, lacking = _fields(table, name, "action")
    words = all(isinstance(value, str) and not _number(value) for value in given if value is not None)
    if isinstance(actions, int) and words and not lacking.all():
        counts = Counter(value for value in given if value is not None)
        if len(counts) > actions:
            odd = min(counts, key=lambda word: counts[word])
            refuse(
                table, name, np.array([value == odd for value in given]),
                f"is one of {len(counts)} words ({_listed(sorted(counts))}) for {actions} actions; "
                "name the actions in their order instead of their number",
            )  # fmt: skip
        actions = sorted(counts)
    if isinstance(actions, int):
        found = numbers(table, name, "action")
        refuse(table, name, ~lacking & (found != np.round(found)), "is no whole number")
        outside = ~lacking & ((found < 0) | (found >= actions))
        called = sorted({value for value in given if value is not None}, key=float)
        hint = f"; if they are called so, give {_listed(called)} as the actions" if len(called) == actions else ""
        refuse(table, name, outside, f"is none of the actions 0 to {actions - 1}{hint}")
        return found, ()
    place = {_key(action): i for i, action in enumerate(actions)}
    if len(place) < len(actions):
        raise ValueError(f"actions: two of {_listed(actions)} are the same.")
    unknown = np.array([value is not None and _key(value) not in place for value in given], dtype=bool)
    refuse(table, name, unknown, f"is none of the actions {_listed(actions)}")
    return np.array([np.nan if value is None else place[_key(value)] for value in given]), tuple(actions)


def _key(value: Hashable) -> Hashable:
    """A number as such, whether it is written as a word or not."""
    return float(value) if _number(value) else str(value).strip()  # type: ignore[arg-type]


def _listed(values: Sequence[Hashable]) -> str:
    """A few of many, in words."""
    return ", ".join(map(str, values[:8])) + (", …" if len(values) > 8 else "")


def _shown(value: Any) -> str:
    """At most forty characters of a field."""
    text = repr(value.item() if isinstance(value, np.generic) else value)
    return text if len(text) <= 40 else f"{text[:39]}…"


def _number(value: Any) -> bool:
    if isinstance(value, str):
        return _decimal.fullmatch(value) is not None
    return isinstance(value, Real)
