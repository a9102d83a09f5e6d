"""One writer a folder. Windows has no such locks; there nothing is refused."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["locked"]

_held: set[int] = set()  # descriptors of this process


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Be the only one who writes into a folder.

    The operating system lets go of the lock as soon as the process ends, however it ends. A child process does not
    inherit it. Where the file system knows no locks, nothing is refused.

    Args:
        folder: Where; `.lock` in it names the process.

    Raises:
        ValueError: Another run writes there, in this process or another one.
    """
    path = folder / ".lock"
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        if not _acquired(file):
            owner = os.read(file, 20).decode("ascii", "replace").strip()
            os.close(file)
            raise ValueError(
                f"checkpoint: another run writes into '{folder}' (process {owner or 'unknown'}); wait for its end, or "
                "take another folder."
            )
        if _is(path, file):
            break
        os.close(file)  # its owner has deleted it meanwhile: the next one at this path counts
    _held.add(file)
    os.ftruncate(file, 0)
    os.write(file, f"{os.getpid()}\n".encode())
    try:
        yield
    finally:
        if file in _held:  # and this is no child of the process that took it
            path.unlink(missing_ok=True)
            _held.discard(file)
            os.close(file)


def _is(path: Path, file: int) -> bool:
    """Whether a file that is open is still the one at a path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(path.stat(), os.fstat(file))
    return False


def _forget() -> None:
    """In a child process: its copies of the descriptors would hold the locks of a parent that is dead."""
    for file in _held:
        os.close(file)
    _held.clear()


if sys.platform == "win32":

    def _acquired(file: int) -> bool:
        return True

else:
    import fcntl

    def _acquired(file: int) -> bool:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # the file system knows no locks
            return True
        return True

    os.register_at_fork(after_in_child=_forget)
