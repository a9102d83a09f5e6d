"""DeepSea, where only one path of 2ᴺ is worth anything: who finds it, and in how many episodes.

    python -m benchmarks.deep_sea --out benchmarks/results/deep_sea.json

A member has solved it if the greedy policy that it ends with finds the treasure. What goes right differs from cell to
cell, and is the same for all members. What the file holds already is not run again.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import imitate
from imitate.baselines.dqn import DQN
from imitate.experiment.report import versions
from imitate.policies import Greedy
from imitate.registry import BASELINES

NOISY = {"noisy": True, "epsilon": 0.0, "epsilon_end": 0.0}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "DQN, epsilon-greedy": ("dqn", {}),
    "QR-DQN, noisy": ("qr-dqn", NOISY),
    "Bootstrapped DQN": ("bootstrapped-dqn", {"heads": 20}),
}


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        sizes: N.
        variants: Which of them.
        episodes: Of each member.
        members: Of each variant.
        seed: Of the source.
        mapping_seed: Of what goes right where.
        threads: Of torch.
        out: Where to write.
    """

    sizes: tuple[int, ...] = (10, 20)
    variants: tuple[str, ...] = tuple(VARIANTS)
    episodes: int = 2_000
    members: int = 8
    seed: int = 0
    mapping_seed: int = 42
    threads: int = 1
    out: Path = Path("benchmarks/results/deep_sea.json")


def wilson(count: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927)."""
    share, square = count / trials, z * z / trials
    middle, half = share + square / 2, z * math.sqrt(share * (1 - share) / trials + square / trials / 4)
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


def train(variant: str, size: int, options: Options) -> tuple[DQN, list[int | None]]:
    """The learner after its last step, and the episode in which each member first saw the treasure."""
    name, switches = VARIANTS[variant]
    steps = options.episodes * size
    if name == "bootstrapped-dqn":
        # Of one-hot inputs a network makes the less the more there are: the prior keeps its size.
        switches = {**switches, "prior": float(size)}
    config = BASELINES[name].config(
        steps=steps,
        rollout=size,
        updates=5,
        batch_size=64,
        capacity=steps,
        learning_starts=10 * size,
        target_every=50,
        hidden=(64,),
        **switches,
    )
    source = imitate.make(
        "DeepSea-v0",
        num_envs=1,
        members=options.members,
        seed=options.seed,
        env_kwargs={"size": size, "mapping_seed": options.mapping_seed},
    )
    learner = BASELINES[name].algorithm(source, config)
    first: list[int | None] = [None] * options.members
    while not learner.progress.finished:
        learner.step()
        seen = (learner.replay.reward > 0.5).any(1).tolist()
        now = int(learner.progress.steps) // size
        first = [now if old is None and found else old for old, found in zip(first, seen, strict=True)]
    return learner, first


def measure(variant: str, size: int, options: Options) -> dict[str, Any]:
    """A row of the table."""
    start = time.perf_counter()
    learner, first = train(variant, size, options)
    returns = learner.source.play(Greedy(learner.policy), 1, seed=1)[:, 0]  # nothing is drawn: one episode is all
    solved = int((returns > 0.9).sum())
    low, high = wilson(solved, options.members)
    return {
        "variant": variant,
        "size": size,
        "steps": int(learner.progress.steps),
        "solved": solved,
        "share": solved / options.members,
        "ci_low": low,
        "ci_high": high,
        "returns": [round(value, 4) for value in returns.tolist()],
        "first_treasure": first,
        "seconds": round(time.perf_counter() - start, 1),
        "config": json.loads(json.dumps(asdict(learner.config))),
    }


def main(options: Options) -> None:
    """Run, print and write one row a variant and size."""
    torch.set_num_threads(options.threads)
    asked = {key: getattr(options, key) for key in ("episodes", "members", "seed", "mapping_seed")}
    rows: list[dict[str, Any]] = []
    if options.out.exists():
        document = json.loads(options.out.read_text("utf-8"))
        if {key: document.get(key) for key in asked} != asked:
            raise SystemExit(f"out: '{options.out}' is of other episodes, members or seeds; pass another --out.")
        rows = document["rows"]
    for size in options.sizes:
        for variant in options.variants:
            if any(row["variant"] == variant and row["size"] == size for row in rows):
                continue
            row = measure(variant, size, options)
            rows.append(row)
            rows.sort(key=lambda row: (row["size"], list(VARIANTS).index(row["variant"])))
            options.out.parent.mkdir(parents=True, exist_ok=True)
            document = {**asked, "threads": options.threads, "versions": versions(), "rows": rows}
            options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
            found = ", ".join("-" if episode is None else str(episode) for episode in row["first_treasure"])
            print(
                f"{variant:20} {size}x{size}: {row['solved']} of {options.members} solved "
                f"[{row['ci_low']:.2f}, {row['ci_high']:.2f}] in {row['seconds']:.0f} s; "
                f"treasure first seen in episode {found}",
                flush=True,
            )


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
