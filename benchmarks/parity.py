"""Whether the same settings reach the same returns here and in Stable-Baselines3: PPO, DQN and QR-DQN on CartPole.

The settings are those of the zoo (rl-baselines3-zoo, `hyperparams/`), chosen there for Stable-Baselines3. Each seed is
trained once; the policy behind the last step plays 100 greedy episodes. QR-DQN differs in what the zoo does not set:
sb3-contrib clips no gradient, has another ε in Adam, and sums its loss over the quantiles where ours is their mean.
`make peers` builds the peer's environment.

    python -m benchmarks.parity --out benchmarks/results/parity.json
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from benchmarks.pairing import Worker, WorkerError
from imitate.experiment.evaluate import interval

HERE = Path(__file__).parent
TASKS = {"PPO": "trained_ppo", "DQN": "trained_dqn", "QR-DQN": "trained_qr_dqn"}


@dataclass(frozen=True)
class Options:
    """What to compare.

    Args:
        algorithms: Which; rows of the file that are not asked for stay.
        seeds: Runs of theirs, one after the other, and members of ours.
        episodes: Of each in the evaluation.
        peers: Folder of the peers' environments.
        out: Where to write.
    """

    algorithms: tuple[Literal["PPO", "DQN", "QR-DQN"], ...] = ("PPO", "DQN", "QR-DQN")
    seeds: int = 8
    episodes: int = 100
    peers: Path = Path(".peers")
    out: Path = Path("benchmarks/results/parity.json")


def main(options: Options) -> None:
    """Train, print a line each, and write JSON after every one."""
    ours = Worker(sys.executable, HERE / "worker_ours.py", path=HERE.parent)
    document: dict[str, Any] = {"rows": []}
    if options.out.exists():
        document = json.loads(options.out.read_text("utf-8"))
    with ours, Worker(options.peers / "sb3" / "bin" / "python", HERE / "worker_sb3.py") as theirs:
        for algorithm in options.algorithms:
            task = TASKS[algorithm]
            together = ours.ask(task, {"members": options.seeds, "episodes": options.episodes})
            alone = [theirs.ask(task, {"episodes": options.episodes}, seed) for seed in range(options.seeds)]
            row = {
                "algorithm": algorithm,
                "episodes": options.episodes,
                "imitate": _summary(together["scores"], together["seconds"]),
                "stable-baselines3": _summary(
                    [one["scores"][0] for one in alone], sum(one["seconds"] for one in alone)
                ),
                "versions": {"imitate": ours.versions, "stable-baselines3": theirs.versions},
            }
            document["rows"] = [*(old for old in document["rows"] if old["algorithm"] != algorithm), row]
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
            for who in ("imitate", "stable-baselines3"):
                one: dict[str, Any] = row[who]  # type: ignore[assignment]
                scores = " ".join(f"{score:.0f}" for score in one["scores"])
                print(
                    f"{algorithm:6} {who:17} {one['mean']:.1f} [{one['ci_low']:.1f}, {one['ci_high']:.1f}] "
                    f"in {one['seconds']:.0f} s: {scores}",
                    flush=True,
                )


def _summary(scores: list[float], seconds: float) -> dict[str, Any]:
    found = np.asarray(scores, np.float64)
    low, high = interval(found)
    return {"scores": scores, "mean": float(found.mean()), "ci_low": low, "ci_high": high, "seconds": round(seconds, 1)}


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except (KeyError, OSError, WorkerError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
