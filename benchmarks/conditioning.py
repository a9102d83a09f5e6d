"""Rescorla-Wagner through a blocking design: ours beside cpm-toolbox, the same design and learning rates, in one run.

cpm-toolbox stays in an environment of its own; every round runs it and then ours:

    python -m venv other && other/bin/pip install 'cpm-toolbox[numba]==0.26.0'
    python -m benchmarks.conditioning --theirs other/bin/python --out benchmarks/results/conditioning.json
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro

from imitate.conditioning.design import Design
from imitate.conditioning.models import RescorlaWagner
from imitate.conditioning.simulate import simulate, steps
from imitate.experiment.report import versions


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        theirs: Python of the environment that has cpm-toolbox; without it only ours is measured.
        design: The experiment, of one group.
        lanes: Learning rates that ours runs at once.
        subjects: Learning rates that theirs runs; ours runs the same ones among its lanes.
        repeats: Rounds.
        threads: Of torch.
        out: Where to write.
    """

    theirs: Path | None = None
    design: str = "10A(US)|10AB(US)"
    lanes: int = 100_000
    subjects: int = 2_000
    repeats: int = 5
    threads: int = 1
    out: Path = Path("benchmarks/results/conditioning.json")


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    alpha = np.random.default_rng(0).uniform(0, 0.5, max(options.lanes, options.subjects))
    design, model = Design(options.design), RescorlaWagner()
    speeds: dict[str, list[float]] = {}
    differences: dict[str, float] = {}
    for repeat in range(options.repeats + 1):
        if options.theirs is not None:
            theirs = run_theirs(options, design, alpha[: options.subjects])
        for dtype in (torch.float32, torch.float64):
            schedule = design.compile(dtype=dtype)
            theta = {"alpha": torch.tensor(alpha[: options.lanes], dtype=dtype).unsqueeze(-1), "beta": 1.0}
            updates = options.lanes * len(schedule.order)
            name = str(dtype).removeprefix("torch.")
            start = time.perf_counter()
            for _ in steps(model, schedule, theta):
                pass
            middle = time.perf_counter()
            strengths = simulate(model, schedule, theta).after
            end = time.perf_counter()
            if repeat == 0:
                continue  # the warm-up
            speeds.setdefault(f"imitate, {name}", []).append(updates / (middle - start))
            speeds.setdefault(f"imitate, {name}, all strengths kept", []).append(updates / (end - middle))
        if options.theirs is None or repeat == 0:
            continue
        ours = strengths[:, : options.subjects, 0, :, 0].transpose(0, 1).numpy()  # the last: float64
        for key in (key.removeprefix("seconds ") for key in theirs if key.startswith("seconds")):
            name = f"cpm-toolbox, {key}"
            trials = options.subjects * len(schedule.order)
            speeds.setdefault(name, []).append(trials / float(theirs[f"seconds {key}"]))
            error = float(np.abs(theirs[f"strengths {key}"] - ours[: options.subjects]).max())
            differences[name] = max(differences.get(name, 0.0), error)
    rows = []
    for name, measured in speeds.items():
        row = {"name": name, "updates_per_second": statistics.median(measured), "all": measured}
        if name in differences:
            kept = speeds["imitate, float64, all strengths kept"]
            ratios = [ours / theirs for ours, theirs in zip(kept, measured, strict=True)]
            row |= {"ratio": statistics.median(ratios), "ratio_low": min(ratios), "ratio_high": max(ratios)}
            row |= {"largest_difference": differences[name]}
        rows.append(row)
        extra = f"  ours x{row['ratio']:,.0f}, largest |dV| {row['largest_difference']:.1e}" if "ratio" in row else ""
        print(f"{name:40} {row['updates_per_second']:>14,.0f} trial-updates/s{extra}")
    document = {
        **{key: value for key, value in vars(options).items() if key not in ("out", "theirs")},
        "processor": platform.processor() or platform.machine(),
        "versions": versions(),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def run_theirs(options: Options, design: Design, alpha: np.ndarray) -> dict[str, np.ndarray]:
    """Seconds and strengths of each way of cpm-toolbox."""
    schedule = design.compile(dtype=torch.float64)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        stimuli, feedback = schedule.stimuli[:, 0].numpy(), schedule.outcome[:, 0].numpy()
        np.savez(source, stimuli=stimuli, feedback=feedback, alpha=alpha)
        peer = Path(__file__).with_name("peer_cpm.py")
        subprocess.run([str(options.theirs), str(peer), str(source), str(target)], check=True)
        with np.load(target, allow_pickle=False) as found:
            return dict(found)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
