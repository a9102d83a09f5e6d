"""The value-based family on one environment: each refinement alone, all together, and the laws of the return.

    python -m benchmarks.value_family --env CartPole-v1

The settings are those of `imitate/configs`, as on the command line, where `dqn` has 5-step returns; a refinement is one
switch on that. What the file holds already is not run again. `benchmarks.shipped` measures the settings themselves.
"""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro

import imitate
from imitate.configs import config_for, settings
from imitate.experiment.report import versions
from imitate.registry import BASELINES

# Some settings choose the next action by the online network already: what is measured alone leaves it out.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DQN, 1-step": ("dqn", {"double": False, "n_step": 1}),
    "n-step DQN": ("dqn", {"double": False}),
    "Double": ("dqn", {"double": True}),
    "Dueling": ("dqn", {"double": False, "dueling": True}),
    "PER": ("dqn", {"double": False, "priority": 0.6}),
    "Rainbow": ("rainbow", {}),
    "C51": ("c51", {}),
    "QR-DQN": ("qr-dqn", {}),
    "IQN": ("iqn", {}),
    "FQF": ("fqf", {}),
    "ER-DQN": ("er-dqn", {}),
}


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        env: Environment id, one with tuned settings.
        variants: Which of them.
        members: Of each.
        seed: Of the source.
        episodes: Of each member in the evaluation, after the last step.
        threads: Of torch.
        out: Where to write; by default benchmarks/results/value_ENV.json.
    """

    env: str = "CartPole-v1"
    variants: tuple[str, ...] = tuple(VARIANTS)
    members: int = 8
    seed: int = 0
    episodes: int = 100
    threads: int = 1
    out: Path | None = None


def main(options: Options) -> None:
    """Run, print and write one row a variant."""
    for variant in options.variants:
        if variant not in VARIANTS:
            raise SystemExit(f"variants: '{variant}' is none of {', '.join(VARIANTS)}.")
    torch.set_num_threads(options.threads)
    asked = {"env": options.env, "members": options.members, "seed": options.seed, "episodes": options.episodes}
    out = options.out or Path(f"benchmarks/results/value_{options.env.replace('/', '-')}.json")
    rows: list[dict[str, Any]] = []
    if out.exists():
        document = json.loads(out.read_text("utf-8"))
        if {key: document.get(key) for key in asked} != asked:
            raise SystemExit(f"out: '{out}' is of another env, seed or number; pass another --out.")
        rows = document["rows"]
    for variant in options.variants:
        name, switches = VARIANTS[variant]
        num_envs = int(settings(options.env)["num_envs"])
        config = replace(config_for(BASELINES[name].config, name, options.env), **switches)
        wanted = json.loads(json.dumps(asdict(config)))
        if any(row["variant"] == variant and row["config"] == wanted for row in rows):
            continue
        source = imitate.make(options.env, num_envs=num_envs, members=options.members, seed=options.seed, device="cpu")
        algorithm = BASELINES[name].algorithm(source, config)
        start = time.perf_counter()
        while not algorithm.progress.finished:
            algorithm.step()
        seconds = time.perf_counter() - start
        found = imitate.evaluate(algorithm.policy, options.env, options.episodes)
        low, high = found.ci
        row = {
            "variant": variant,
            "steps": int(algorithm.progress.steps),
            "mean": found.mean,
            "ci_low": low,
            "ci_high": high,
            "scores": found.scores.tolist(),
            "seconds": round(seconds, 1),
            "num_envs": num_envs,
            "config": wanted,
            "threads": options.threads,
            "versions": versions(),
        }
        rows = [*(old for old in rows if old["variant"] != variant), row]
        rows.sort(key=lambda row: list(VARIANTS).index(row["variant"]))
        out.parent.mkdir(parents=True, exist_ok=True)
        document = {**asked, "rows": rows}
        out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
        scores = " ".join(f"{score:.0f}" for score in row["scores"])
        print(f"{variant:11} {row['mean']:.1f} [{low:.1f}, {high:.1f}] in {seconds:.0f} s: {scores}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
