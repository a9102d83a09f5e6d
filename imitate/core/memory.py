"""How much memory there is for what a run is about to allocate, and how it is held."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

try:
    import resource
except ModuleNotFoundError:  # on Windows
    resource = None  # type: ignore[assignment]

__all__ = ["available", "keep_freed", "mebibytes"]


def available(device: torch.device | str) -> int | None:
    """Bytes free on a device; None where the system does not say.

    On Linux the caches that the system would give back count as free, and so does on a GPU what torch holds for later;
    the limits of the container and of the process (`ulimit -v`) are kept to.
    """
    device = torch.device(device)
    if device.type == "cuda":
        held = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + held
    try:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
    meminfo, limit = Path("/proc/meminfo"), Path("/sys/fs/cgroup/memory.max")
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text("ascii").splitlines())
        free = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else free
    if limit.is_file() and (bound := limit.read_text("ascii").strip()).isdigit():
        free = min(free, int(bound))
    return min(free, _left_of_limit())


def _left_of_limit() -> int:
    """Bytes that the process may still map; as good as endless where it has no limit, or nobody says what it has."""
    statm = Path("/proc/self/statm")
    if resource is None or not statm.is_file():
        return sys.maxsize
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(0, limit - int(statm.read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE"))


def mebibytes(count: int) -> str:
    """A number of bytes in MiB, for a message."""
    return f"{count / 2**20:,.0f} MiB"


def keep_freed() -> bool:
    """Let the process keep the memory of freed tensors for the next ones; whether the C library can (glibc).

    By default glibc hands blocks of more than 128 KiB back to the system, and every page of the next one is a fault:
    the tensors of a few MiB that populations are made of then cost several times their arithmetic. Blocks from 32 MiB
    on still go back. The command line calls this; a library leaves the choice to its user.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    settings = {-3: 32 * 2**20, -1: 2**30, -2: 64 * 2**20}  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, M_TOP_PAD
    return all(ctypes.CDLL(None).mallopt(name, value) for name, value in settings.items())
