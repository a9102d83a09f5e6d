"""Shipped settings of reinforcement learning on base seeds that chose none of them.

    python -m benchmarks.shipped --env CartPole-v1 --algorithms dqn c51

Settings are chosen on base seeds 0 to 2 and measured on 100, 200 and 300. One row an algorithm and seed goes to
benchmarks/results/shipped.json; what the file holds for the same settings is not run again.
`python -m benchmarks.accept value` runs what is missing and judges all of it.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import imitate
from imitate.configs import config_for, settings
from imitate.experiment.report import versions
from imitate.registry import BASELINES

OUT = Path("benchmarks/results/shipped.json")
SEEDS = (100, 200, 300)

# The mean return of all members has to be here, and nine of ten members.
TARGETS = {
    "CartPole-v1": 475.0,
    "Acrobot-v1": -90.0,
    "MountainCar-v0": -115.0,
    "MountainCarContinuous-v0": 90.0,
    "Pendulum-v1": -200.0,
    "LunarLander-v3": 200.0,
}
SHARE = 0.9

Row = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        env: Environment id, one with a target.
        algorithms: Those with settings for it; all if none is named.
        seeds: Of the source, a run each.
        members: Of a run.
        episodes: Of each member in the evaluation, after the last step.
        threads: Of torch.
        out: Where the rows are.
    """

    env: str
    algorithms: tuple[str, ...] = ()
    seeds: tuple[int, ...] = SEEDS
    members: int = 8
    episodes: int = 100
    threads: int = 1
    out: Path = OUT


def algorithms(env: str) -> list[str]:
    """Names of the algorithms that settings are shipped for."""
    return [name for name in BASELINES if name in settings(env)]


def measure(options: Options) -> list[Row]:
    """The rows asked for; those that the file lacks are run and written, one by one."""
    for name in options.algorithms:
        if name not in algorithms(options.env):
            raise SystemExit(f"algorithms: '{name}' is none of {', '.join(algorithms(options.env))}.")
    torch.set_num_threads(options.threads)
    return [
        _row(name, seed, options) for name in options.algorithms or algorithms(options.env) for seed in options.seeds
    ]


def judge(env: str, name: str, rows: list[Row]) -> tuple[Row, bool]:
    """All members of an algorithm in one row, and whether it holds its target."""
    scores = np.array([score for row in rows for score in row["scores"]])
    share = float((scores >= TARGETS[env]).mean())
    found = {"env": env, "algorithm": name, "mean": float(scores.mean()), "lowest": float(scores.min()), "share": share}
    return found, bool(scores.mean() >= TARGETS[env] and share >= SHARE)


def _row(name: str, seed: int, options: Options) -> Row:
    baseline = BASELINES[name]
    num_envs = baseline.num_envs or int(settings(options.env)["num_envs"])
    config = config_for(baseline.config, name, options.env)
    about: Row = {
        "env": options.env,
        "algorithm": name,
        "seed": seed,
        "members": options.members,
        "episodes": options.episodes,
        "num_envs": num_envs,
        "config": json.loads(json.dumps(asdict(config))),
    }
    held = json.loads(options.out.read_text("utf-8")) if options.out.exists() else []
    for row in held:
        if about.items() <= row.items():
            return dict(row)
    source = imitate.make(options.env, num_envs=num_envs, members=options.members, seed=seed, device="cpu")
    algorithm = baseline.algorithm(source, config)
    start = time.process_time()
    while not algorithm.progress.finished:
        algorithm.step()
    seconds = time.process_time() - start
    found = imitate.evaluate(algorithm.policy, options.env, options.episodes)
    measured = {
        "steps": int(algorithm.progress.steps),
        "scores": found.scores.tolist(),
        "cpu_seconds": round(seconds, 1),
    }
    row = {**about, **measured, "threads": options.threads, "versions": versions()}
    key = ("env", "algorithm", "seed")
    others = [one for one in held if any(one[part] != row[part] for part in key)]
    rows = sorted([*others, row], key=lambda one: [one[part] for part in key])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(rows, indent=2) + "\n", "utf-8")
    members = " ".join(f"{score:.0f}" for score in row["scores"])
    print(f"{options.env} {name} seed {seed}: {found.mean:.1f} in {seconds:.0f} s of CPU: {members}", flush=True)
    return row


if __name__ == "__main__":
    measure(tyro.cli(Options, description=__doc__))
