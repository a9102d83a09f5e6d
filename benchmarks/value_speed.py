"""DQN and QR-DQN of Stable-Baselines3 beside ours: same environment, network, batch and update ratio, one run.

Each is warmed up, then timed several times in turn; the median of the ratios is what counts, for machines are noisy.

    python -m benchmarks.value_speed --out benchmarks/results/value_speed.json
"""

from __future__ import annotations

import json
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from sb3_contrib import QRDQN
from stable_baselines3 import DQN as SB3DQN

import imitate
from imitate.experiment.report import versions


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        steps: Environment steps of one member in one timing; a multiple of 128.
        repeats: Timings of each.
        hidden: Widths of the network.
        quantiles: Of QR-DQN.
        threads: Of torch.
        out: Where to write.
    """

    steps: int = 1_024
    repeats: int = 3
    hidden: tuple[int, ...] = (64, 64)
    quantiles: int = 25
    threads: int = 1
    out: Path = Path("benchmarks/results/value_speed.json")


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", category=UserWarning)
    # One update of 64 transitions in two steps, as in the zoo's settings for CartPole-v1.
    theirs: dict[str, Any] = {"batch_size": 64, "train_freq": 128, "gradient_steps": 64, "learning_starts": 128}
    ours: dict[str, Any] = {"batch_size": 64, "rollout": 16, "updates": 64, "learning_starts": 128, "n_step": 1}
    kwargs: dict[str, Any] = {"net_arch": list(options.hidden)}

    def peer(kind: type[Any], **more: Any) -> Callable[[], object]:
        model = kind("MlpPolicy", "CartPole-v1", device="cpu", seed=0, policy_kwargs={**kwargs, **more}, **theirs)
        return lambda: model.learn(options.steps, reset_num_timesteps=False)

    def mine(make: Callable[[Any], imitate.DQN], members: int) -> Callable[[], object]:
        algorithm = make(imitate.make("CartPole-v1", num_envs=8, members=members))

        def train() -> None:
            for _ in range(options.steps // 128):
                algorithm.step()

        return train

    def dqn(source: Any) -> imitate.DQN:
        return imitate.DQN(source, imitate.DQNConfig(hidden=options.hidden, **ours))

    def qr_dqn(source: Any) -> imitate.DQN:
        config = imitate.QRDQNConfig(hidden=options.hidden, quantiles=options.quantiles, **ours)
        return imitate.qr_dqn(source, config)

    families: dict[str, dict[str, tuple[int, Callable[[], object]]]] = {
        "DQN": {
            "Stable-Baselines3, 1 seed": (1, peer(SB3DQN)),
            "imitate, 1 member": (1, mine(dqn, 1)),
            "imitate, 8 members": (8, mine(dqn, 8)),
        },
        "QR-DQN": {
            "sb3-contrib, 1 seed": (1, peer(QRDQN, n_quantiles=options.quantiles)),
            "imitate, 1 member": (1, mine(qr_dqn, 1)),
            "imitate, 8 members": (8, mine(qr_dqn, 8)),
        },
    }
    rows: list[dict[str, Any]] = []
    for family, contestants in families.items():
        speeds: dict[str, list[float]] = {name: [] for name in contestants}
        for repeat in range(options.repeats + 1):
            for name, (members, train) in contestants.items():
                start = time.perf_counter()
                train()
                if repeat > 0:  # the first is the warm-up
                    speeds[name].append(members * options.steps / (time.perf_counter() - start))
        base = next(iter(speeds.values()))
        for name, measured in speeds.items():
            ratios = [one / other for one, other in zip(measured, base, strict=True)]
            row = {
                "family": family,
                "name": name,
                "steps_per_second": statistics.median(measured),
                "ratio": statistics.median(ratios),
                "ratio_low": min(ratios),
                "ratio_high": max(ratios),
            }
            rows.append(row)
            print(
                f"{family:7} {name:26} {row['steps_per_second']:>9,.0f} steps/s   "
                f"x{row['ratio']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]",
                flush=True,
            )
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "processor": platform.processor() or platform.machine(),
        "versions": versions(),
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
