"""Timings in turn: workers in processes of their own, and the ratios of what they measured in one round."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

T = TypeVar("T")

# glibc keeps freed memory instead of returning it to the kernel; fresh tensors then cost no page faults.
KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_TOP_PAD_": "67108864",
}


class WorkerError(RuntimeError):
    """A worker could not do what it was asked, with its reason in one line."""


class Worker:
    """A process that measures what it is asked to, see `serving.py`.

    Args:
        python: Its interpreter.
        script: What it runs.
        threads: Of torch and of the linear algebra below it.
        keep_memory: Whether freed memory is kept, see `KEEP_MEMORY`.
        path: Folder that its imports look in first, then in that of its environments, if there is one.

    Raises:
        WorkerError: It does not start.
    """

    def __init__(
        self, python: Path | str, script: Path, *, threads: int = 1, keep_memory: bool = False, path: Path | None = None
    ) -> None:
        names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        kept = {name: value for name, value in os.environ.items() if name not in {*KEEP_MEMORY, "PYTHONPATH"}}
        environment = {**kept, **dict.fromkeys(names, str(threads)), **(KEEP_MEMORY if keep_memory else {})}
        if path is not None:
            # A folder `envs` of an older revision is a package itself, whose modules must not stand at the top.
            inner = [path / "envs"] if (path / "envs" / "imitate_envs").is_dir() else []
            environment["PYTHONPATH"] = os.pathsep.join(map(str, [path, *inner]))
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(
            [str(python), str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=environment,
        )
        try:
            self.versions: dict[str, str] = self._answer()
        except WorkerError:
            self.close()
            raise

    def ask(self, task: str, arguments: Mapping[str, Any], seed: int = 0) -> dict[str, Any]:
        """One timing; the first of a task builds and warms up what is timed.

        Raises:
            WorkerError: The task failed, or the process is gone.
        """
        self._write({"task": task, "arguments": dict(arguments), "seed": seed})
        answer = self._answer()
        if "error" in answer:
            raise WorkerError(f"{task}: {answer['error']}")
        return answer

    def forget(self) -> None:
        """Let go of everything that was built."""
        self._write({"forget": True})
        self._answer()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):  # of a request that nobody read
            self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._said.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        self.close()

    def _write(self, request: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise WorkerError(self._last_words()) from None

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise WorkerError(self._last_words())
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _last_words(self) -> str:
        self._process.wait()
        self._said.seek(0)
        lines = self._said.read().splitlines()
        return f"the worker ended with code {self._process.returncode}: {lines[-1] if lines else 'no reason given'}"


@dataclass(frozen=True)
class Spread:
    """Median and range of some numbers."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one number."""
        return cls(statistics.median(values), min(values), max(values))


def paired(mine: Sequence[float], other: Sequence[float]) -> Spread:
    """Of the ratios mine/other, round by round: what slows a whole round down cancels.

    Raises:
        ValueError: They are not of the same rounds.
    """
    if len(mine) != len(other) or not mine:
        raise ValueError(f"rounds: {len(mine)} and {len(other)} cannot be paired.")
    return Spread.of([one / another for one, another in zip(mine, other, strict=True)])


def alternate(turns: Mapping[str, Callable[[int], T]], rounds: int) -> dict[str, list[T]]:
    """Call each with the number of the round, in turn; every other round backwards, so that a drift favours nobody."""
    found: dict[str, list[T]] = {name: [] for name in turns}
    for number in range(rounds):
        for name in list(turns) if number % 2 == 0 else reversed(list(turns)):
            found[name].append(turns[name](number))
    return found
