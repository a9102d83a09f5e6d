"""Growth of memory: one thing over and over in one process, for as long as is asked.

    python -m benchmarks.soak ppo --minutes 30

The names are `ppo`, `dqn` (its replay full before it counts), `dagger` (its data at capacity before it counts),
`evaluation` and `runs` (whole runs in turn, files included). Each second the memory is read: what is
resident, what the C heap has handed out and not got back, and the blocks that Python has allocated. A growth is the
slope of a least-squares line over the iterations, without the first fifth of the time. Resident memory that grows while
neither of the others does is fragmentation, not a leak. Linux only. The rows go to benchmarks/results/soak.json.
Exits with 1 if resident memory grows by more than 0.2 MB per 1,000 iterations.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import imitate
from imitate.experiment.evaluate import Evaluator
from imitate.experiment.report import versions

RESULTS = Path(__file__).parent / "results" / "soak.json"
ENV = "CartPole-v1"
BOUND = 0.2  # MB per 1,000 iterations
WARM_UP = 0.2  # share of the time
NEVER = 10**12


@dataclass(frozen=True)
class Options:
    """What to repeat.

    Args:
        name: ppo, dqn, dagger, evaluation or runs.
        minutes: How long, filling and warm-up included.
        threads: Of torch.
        out: Where the row goes; the other rows of the file are kept.
    """

    name: tyro.conf.Positional[str]
    minutes: float = 30
    threads: int = 1
    out: Path = RESULTS


def _source(num_envs: int = 16) -> Any:
    return imitate.make(ENV, num_envs=num_envs, members=2, seed=0)


def ppo() -> Callable[[], object]:
    """Iterations of PPO."""
    return imitate.PPO(_source(), imitate.PPOConfig(steps=NEVER, rollout=32)).step


def dqn() -> Callable[[], object]:
    """Iterations of DQN with prioritised replay that is full."""
    config = imitate.DQNConfig(steps=NEVER, capacity=20_000, priority=0.6, n_step=3)
    algorithm = imitate.DQN(_source(), config)
    while int(algorithm.progress.steps) < config.capacity:
        algorithm.step()
    return algorithm.step


def dagger() -> Callable[[], object]:
    """Rounds of DAgger whose data is at its capacity, that held out too."""
    source = _source()
    config = imitate.DAggerConfig(rounds=NEVER, rollout=32, updates=50, capacity=2_000, validation=0.5)
    algorithm = imitate.DAgger(source, imitate.teachers.load("control", source), imitate.nets.policy(source), config)
    while int(algorithm.progress.labels.min()) < 2.2 * config.capacity:
        algorithm.step()
    return algorithm.step


def evaluation() -> Callable[[], object]:
    """Evaluations of five episodes against a teacher."""
    source = _source()
    teacher = imitate.teachers.load("control", source)
    policy = imitate.nets.policy(source)
    return lambda: str(Evaluator(source, 5, teacher=teacher)(policy))


def runs() -> Callable[[], object]:
    """Whole runs of PPO, DQN and DAgger in turn, with evaluations, checkpoints and logs in a folder that is deleted."""

    def made(number: int) -> Any:
        source = _source(4)
        if number % 3 == 0:
            return imitate.PPO(source, imitate.PPOConfig(steps=256, rollout=16, epochs=2, batch_size=32, hidden=(8,)))
        if number % 3 == 1:
            return imitate.DQN(source, imitate.DQNConfig(steps=256, learning_starts=64, capacity=10_000, hidden=(8,)))
        teacher, student = imitate.teachers.load("control", source), imitate.nets.policy(source, (8,))
        return imitate.DAgger(source, teacher, student, imitate.DAggerConfig(rounds=2, rollout=16, updates=5))

    numbers = itertools.count()

    def once() -> None:
        algorithm = made(next(numbers))
        with tempfile.TemporaryDirectory() as folder:
            for _ in imitate.run(algorithm, evaluate_every=128, episodes=2, checkpoint=folder):
                pass

    return once


NAMES: dict[str, Callable[[], Callable[[], object]]] = {
    "ppo": ppo,
    "dqn": dqn,
    "dagger": dagger,
    "evaluation": evaluation,
    "runs": runs,
}


class _Heap(ctypes.Structure):
    """`struct mallinfo2` of glibc."""

    _fields_ = [
        *((name, ctypes.c_size_t) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd")),
        *((name, ctypes.c_size_t) for name in ("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost")),
    ]


def _readings() -> Iterator[tuple[float, float, float]]:
    """Resident MB, MB in use in the C heap, and blocks of Python, now."""
    library = ctypes.CDLL("libc.so.6")
    library.mallinfo2.restype = _Heap
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        resident = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * page
        heap = library.mallinfo2()
        yield resident / 1e6, (heap.uordblks + heap.hblkhd) / 1e6, float(sys.getallocatedblocks())


def growth(iterations: np.ndarray[Any, Any], readings: np.ndarray[Any, Any]) -> float:
    """Slope of a least-squares line, per 1,000 iterations."""
    return float(np.polyfit(iterations / 1_000, readings, 1)[0])


def soak(once: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Repeat, and read the memory each second.

    Raises:
        ValueError: There was no time for two readings after the warm-up.
    """
    samples = np.empty((int(seconds) + 2, 5))  # beforehand: what is measured is not to grow by the measurement
    start, done, rows, read = time.monotonic(), 0, 0, _readings()
    while (now := time.monotonic() - start) < seconds:
        once()
        done += 1
        if now >= rows and rows < len(samples):
            samples[rows] = (now, done, *next(read))
            rows += 1
    kept = samples[:rows][samples[:rows, 0] >= WARM_UP * seconds]
    if len(kept) < 2:
        raise ValueError(f"minutes: {seconds / 60:g} are too few for two readings after the warm-up.")
    _, iterations, resident, heap, blocks = kept.T
    return {
        "minutes": round(now / 60, 1),
        "iterations": done,
        "measured_iterations": int(iterations[-1] - iterations[0]),
        "resident_mb": [round(float(resident[0]), 1), round(float(resident[-1]), 1)],
        "resident_mb_per_1000": round(growth(iterations, resident), 4),
        "heap_mb_per_1000": round(growth(iterations, heap), 4),
        "python_blocks_per_1000": round(growth(iterations, blocks), 1),
        "samples": [[int(n), round(float(mb), 1)] for n, mb in zip(iterations, resident, strict=True)][
            :: len(kept) // 20 or 1
        ],
    }


def main(options: Options) -> int:
    """Run one and write its row; 1 above the bound."""
    if options.name not in NAMES:
        raise SystemExit(f"name: '{options.name}' is none of {', '.join(NAMES)}.")
    torch.set_num_threads(options.threads)
    begin = time.monotonic()
    once = NAMES[options.name]()
    row = {"name": options.name, **soak(once, 60 * options.minutes - (time.monotonic() - begin))}
    row |= {"threads": options.threads, "versions": versions()}
    rows = json.loads(options.out.read_text("utf-8"))["rows"] if options.out.exists() else []
    rows = sorted(
        [*(one for one in rows if one["name"] != options.name), row], key=lambda one: [*NAMES].index(one["name"])
    )
    options.out.write_text(json.dumps({"env": ENV, "bound": BOUND, "rows": rows}, indent=2) + "\n", "utf-8")
    print(
        f"{options.name}: {row['iterations']:,} iterations in {row['minutes']} minutes; per 1,000 iterations "
        f"{row['resident_mb_per_1000']:+.3f} MB resident, {row['heap_mb_per_1000']:+.3f} MB in the heap, "
        f"{row['python_blocks_per_1000']:+,.0f} blocks of Python"
    )
    return int(row["resident_mb_per_1000"] > BOUND)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
