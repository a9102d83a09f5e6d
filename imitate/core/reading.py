"""Reading what others wrote: a file is looked over before it is read, and whatever is wrong with it is one line.

A file can be damaged, or made to harm. So sizes are bounded before anything is allocated, documents and archives are
held to what ours look like, nothing in a file is executed, and `refusing` turns every error into a ValueError.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any

__all__ = ["Archive", "content", "decoded", "document", "line", "refusing", "sound"]

_CAUSE = 200  # characters of an error that a message repeats
_DOCUMENT = 2**22  # bytes of a document of ours
_FOREIGN = 2**23  # of those of others; as objects they take up to twenty times as much
_DEEP = 64  # levels of a document
_ENTRIES = 10_000  # of an archive
_ROOM = 2**27  # bytes that the entries of an archive may always grow to
_RATIO = 200  # what they may grow by beyond that; real data reach 100, zeros 1,000


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn whatever a reader raises into `what: the error`, on one line; a file that is missing stays missing.

    Args:
        what: The file by its name, and what it should have been.

    Raises:
        ValueError: Anything was raised.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # a damaged file raises almost anything: RecursionError, MemoryError, struct.error, …
        raise ValueError(f"{what}: {line(error)}") from error


def line(error: object) -> str:
    """An error, or any text of a file, as one printable line of at most 200 characters."""
    text = " ".join(str(error)[: 10 * _CAUSE].split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return (text if len(text) <= _CAUSE else text[: _CAUSE - 1] + "…") or type(error).__name__


def content(path: Path, most: int) -> bytes:
    """The bytes of a file.

    Raises:
        FileNotFoundError: It is no regular file.
        ValueError: There are more than `most`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"No file '{path}'.")
    size = path.stat().st_size
    if size > most:
        raise ValueError(f"it has {size:,} bytes, and such a file never more than {most:,}")
    with path.open("rb") as file:
        return file.read(most)


def document(path: Path) -> dict[str, Any]:
    """The JSON object of a file of ours.

    Raises:
        ValueError: It is none, or is not `sound`.
    """
    found = decoded(content(path, _DOCUMENT))
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} instead of an object")
    sound(found)
    return found


def decoded(text: bytes) -> Any:
    """A JSON document in UTF-8; Python's NaN and Infinity are read too.

    Raises:
        ValueError: It is none, it is too long, or an object has two values for a key.
    """
    if len(text) > _FOREIGN:
        raise ValueError(f"a document of {len(text):,} bytes; at most {_FOREIGN:,}")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"it has two values for '{line(twice)}'")
    return made


def sound(found: Any) -> None:
    """Make sure that a document is what ours are: of finite numbers below 2⁶³, valid text, and not deeply nested.

    Raises:
        ValueError: It is not.
    """
    left = [([found], 0)]
    while left:
        values, depth = left.pop()
        if depth > _DEEP:
            raise ValueError(f"it is nested more than {_DEEP} levels deep")
        for value in values:
            if isinstance(value, dict):
                left += [(list(value), depth + 1), (list(value.values()), depth + 1)]
            elif isinstance(value, list):
                left.append((value, depth + 1))
            elif isinstance(value, str):
                value.encode("utf-8")  # half a surrogate pair cannot be printed
            elif isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"it holds {value}, which is not finite")
            elif isinstance(value, int) and abs(value) >= 2**63:
                raise ValueError("it holds a number beyond 64 bits")


class Archive:
    """A zip whose directory was looked over; entries are read by name, and others are never touched.

    Args:
        file: The open file.

    Raises:
        ValueError: It has more than 10,000 entries, or some share a name or their bytes.
        zipfile.BadZipFile: It is no zip.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._zip = zipfile.ZipFile(file)
        self._packed, self._grown = 0, 0  # bytes of what was read
        entries = sorted(self._zip.infolist(), key=lambda entry: entry.header_offset)
        if len(entries) > _ENTRIES:
            raise ValueError(f"it has {len(entries):,} entries; at most {_ENTRIES:,}")
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) < len(entries):
            raise ValueError("two of its entries have one name")
        # 30: the least header of an entry. The directory lies behind all of them.
        ends = [entry.header_offset + 30 + entry.compress_size for entry in entries]
        begins = [entry.header_offset for entry in entries[1:]] + [self._zip.start_dir]
        if any(end > begin for end, begin in zip(ends, begins, strict=True)):
            raise ValueError("its entries overlap")

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._zip.close()

    def read(self, name: str) -> bytes:
        """The content of an entry.

        Raises:
            ValueError: There is no such entry, it is not as it says, or it would grow by more than data do.
        """
        if name not in self.entries:
            raise ValueError(f"it has no {name}")
        entry = self.entries[name]
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"{line(name)} is packed by method {entry.compress_type}; only deflate is read")
        self._packed += entry.compress_size
        self._grown += entry.file_size
        if self._grown > max(_ROOM, _RATIO * self._packed):
            raise ValueError(f"{self._packed:,} bytes would grow to {self._grown:,}; store {line(name)} uncompressed")
        with self._zip.open(entry) as file:
            found = file.read(entry.file_size)
        if len(found) != entry.file_size:
            raise ValueError(f"{line(name)} has {len(found):,} bytes instead of {entry.file_size:,}")
        return found
