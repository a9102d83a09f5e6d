"""Something run in a forked child, with limits of time and memory: what it imports is imported once, by the parent."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Outcome", "forked"]

GRACE = 10.0  # seconds between an interrupt and the next, harder one


@dataclass(frozen=True)
class Outcome:
    """What became of a child.

    Args:
        code: Its exit code, or minus the signal that ended it.
        out: Its standard output.
        err: Its standard error.
        interrupts: How many were sent, because the time was up; 3: it had to be killed.
        seconds: From fork to end.
        peak: Most resident memory, in bytes.
    """

    code: int
    out: str
    err: str
    interrupts: int
    seconds: float
    peak: int


def forked(call: Callable[[], int], folder: Path, *, seconds: float, limit: int) -> Outcome:
    """Run `call` in a child, whose exit code is what it returns.

    When the time is up the child gets SIGINT, then SIGINT again, then SIGKILL.

    Args:
        call: What to run.
        folder: Its working directory, and that of its temporary files.
        seconds: It may take.
        limit: Bytes of address space that it may add to those of its parent.
    """
    with tempfile.TemporaryFile("w+b") as out, tempfile.TemporaryFile("w+b") as err:
        sys.stdout.flush()
        sys.stderr.flush()
        start = time.monotonic()
        child = os.fork()
        if not child:
            _run(call, folder, (out.fileno(), err.fileno()), limit)
        interrupts, deadline = 0, start + seconds
        while True:
            done, status, usage = os.wait4(child, os.WNOHANG)
            if done:
                break
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGINT if interrupts < 2 else signal.SIGKILL)
                interrupts, deadline = interrupts + 1, time.monotonic() + GRACE
            time.sleep(0.005)
        took = time.monotonic() - start
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read().decode("utf-8", "replace"))
    peak = usage.ru_maxrss * 1024
    return Outcome(os.waitstatus_to_exitcode(status), said[0], said[1], interrupts, took, peak)


def _run(call: Callable[[], int], folder: Path, streams: tuple[int, int], limit: int) -> None:
    code = 99
    try:
        for number, stream in enumerate(streams, 1):
            os.dup2(stream, number)
        os.chdir(folder)
        tempfile.tempdir = str(folder)
        gc.callbacks.clear()  # those of whoever draws the cases
        signal.signal(signal.SIGINT, signal.default_int_handler)
        mapped = int(Path("/proc/self/statm").read_text("ascii").split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (mapped + limit, mapped + limit))
        try:
            code = call()
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 0 if stop.code is None else 1
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code & 255)
