"""How much memory there is for what a run is about to allocate."""

from __future__ import annotations

import os
from pathlib import Path

import torch

__all__ = ["available", "mebibytes"]


def available(device: torch.device | str) -> int | None:
    """Bytes free on a device; None where the system does not say.

    On Linux the caches that the system would give back count as free, and a limit of the container is kept to.
    """
    device = torch.device(device)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
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
    return free


def mebibytes(count: int) -> str:
    """A number of bytes in MiB, for a message."""
    return f"{count / 2**20:,.0f} MiB"
