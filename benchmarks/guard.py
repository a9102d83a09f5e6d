"""Is the working tree slower than a revision? Both in one run, pair by pair, each in a process of its own.

    python -m benchmarks.guard --against origin/main

A row is slower if the median of its paired ratios of seconds, now over then, is above 1 + `tolerance`; then the exit
code is 1. A change of a few per cent is within what a machine does by itself: no claim is made about it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import tyro

from benchmarks.pairing import Spread, Worker, WorkerError, alternate, paired

HERE = Path(__file__).parent

# Task and arguments of each row, for `worker_ours.py`: every path through the core, in a fraction of a second each.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "environment step": ("steps", {"num_envs": 64, "steps": 1_000}),
    "rollout": ("rollout", {"num_envs": 64, "steps": 500}),
    "PPO": ("ppo", {"members": 4, "num_envs": 8, "rollout": 32, "epochs": 10, "steps": 1_024}),
    "behaviour cloning": ("clone", {"members": 4, "batch": 64, "updates": 200, "samples": 5_000}),
    "DAgger": ("dagger", {"members": 4, "rounds": 2, "rollout": 100, "updates": 50, "batch": 64, "fading": None}),
    "DQN": ("dqn", {"members": 4, "steps": 256}),
}


@dataclass(frozen=True)
class Options:
    """What to compare.

    Args:
        against: Revision, as git names it.
        rounds: Pairs of timings of each row.
        tolerance: Slowdown that is let pass; 0.15 is 15 %.
        rows: Names of rows, or beginnings of them; all by default.
        threads: Of torch.
    """

    against: str
    rounds: int = 9
    tolerance: float = 0.15
    rows: tuple[str, ...] = ()
    threads: int = 1


def main(options: Options) -> int:
    """Compare, print a line a row; 1 if one is slower, 2 if the working tree cannot run one."""
    wanted = {name: row for name, row in ROWS.items() if not options.rows or name.startswith(options.rows)}
    if not wanted:
        raise ValueError(f"rows: none begins with {' or '.join(options.rows)}; there are {', '.join(ROWS)}.")
    code = 0
    with tempfile.TemporaryDirectory() as folder:
        unpack(options.against, Path(folder))
        with _worker(Path(folder), options) as then, _worker(HERE.parent, options) as now:
            for name, (task, arguments) in wanted.items():
                timings = {
                    side: partial(_seconds, worker, task, arguments) for side, worker in (("now", now), ("then", then))
                }
                try:
                    timings["then"](0)
                except WorkerError as error:
                    print(f"{name:18} not compared: {options.against} cannot run {error}", flush=True)
                    continue
                try:
                    timings["now"](0)
                    seconds = alternate(timings, options.rounds)
                except WorkerError as error:
                    print(f"{name:18} FAILED: {error}", flush=True)
                    code = 2
                    continue
                spread = paired(seconds["now"], seconds["then"])
                print(f"{name:18} {line(spread, options.tolerance)}", flush=True)
                code = max(code, int(slower(spread, options.tolerance)))
                now.forget()
                then.forget()
    return code


def slower(spread: Spread, tolerance: float) -> bool:
    """Whether the median ratio of seconds, now over then, is beyond the tolerance."""
    return spread.median > 1 + tolerance


def line(spread: Spread, tolerance: float) -> str:
    """The verdict on one row in words."""
    verdict = "SLOWER" if slower(spread, tolerance) else "ok"
    change, low, high = (100 * (ratio - 1) for ratio in (spread.median, spread.low, spread.high))
    return f"{change:+6.1f} % time [{low:+.1f}, {high:+.1f}]  {verdict}"


def unpack(revision: str, folder: Path) -> None:
    """The packages of a revision, and its worker.

    Raises:
        ValueError: Git has no such revision, or it lacks the packages.
    """
    command = ["git", "-C", str(HERE.parent), "archive", "--format=tar", revision, "imitate", "envs", "benchmarks"]
    found = subprocess.run(command, capture_output=True, check=False)
    if found.returncode:
        reason = found.stderr.decode().strip().splitlines()[-1].removeprefix("fatal: ")
        raise ValueError(f"against: '{revision}' cannot be unpacked: {reason}.")
    with tarfile.open(fileobj=io.BytesIO(found.stdout)) as archive:
        archive.extractall(folder, filter="data")


def _worker(root: Path, options: Options) -> Worker:
    """The worker of a tree, for each speaks with the names of its own revision.

    Memory is kept as the command line has it, which also keeps page faults out of the ratios.
    """
    script = root / "benchmarks" / "worker_ours.py"
    return Worker(sys.executable, script, threads=options.threads, keep_memory=True, path=root)


def _seconds(worker: Worker, task: str, arguments: dict[str, Any], number: int) -> float:
    answer = worker.ask(task, arguments, seed=number)
    return float(answer["seconds"]) / float(answer["count"])


if __name__ == "__main__":
    try:
        sys.exit(main(tyro.cli(Options, description=__doc__)))
    except ValueError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
