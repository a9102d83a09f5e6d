"""PPO of Stable-Baselines3 beside ours: same environment, network, rollout, minibatches and epochs, one run.

Each is warmed up, then timed several times in turn; the median of the ratios is what counts, for machines are noisy.

    python -m benchmarks.speed --out benchmarks/results/speed.json
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

import gymnasium
import torch
import tyro
from stable_baselines3 import PPO as SB3PPO
from stable_baselines3.common.env_util import make_vec_env

import imitate
from imitate.configs import config_for, settings
from imitate.experiment.report import versions


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        env: Environment id, one with tuned settings.
        steps: Environment steps of one member in one timing.
        repeats: Timings of each.
        threads: Of torch.
        out: Where to write.
    """

    env: str = "CartPole-v1"
    steps: int = 20_480
    repeats: int = 5
    threads: int = 1
    out: Path = Path("benchmarks/results/speed.json")


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    warnings.filterwarnings("ignore", category=UserWarning)
    config = config_for(imitate.PPOConfig, "ppo", options.env)
    num_envs = int(settings(options.env)["num_envs"])
    activation = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}[config.activation]
    theirs = SB3PPO(
        "MlpPolicy",
        make_vec_env(lambda: gymnasium.make(options.env), num_envs),
        n_steps=config.rollout,
        batch_size=config.batch_size,
        n_epochs=config.epochs,
        policy_kwargs={"net_arch": list(config.hidden), "activation_fn": activation},
        device="cpu",
        seed=0,
    )

    def ours(members: int, native: bool) -> Callable[[], object]:
        source = imitate.make(options.env, num_envs=num_envs, members=members, native=native)
        ppo = imitate.PPO(source, config)
        iterations = options.steps // (config.rollout * num_envs)

        def train() -> None:
            for _ in range(iterations):
                ppo.step()

        return train

    contestants: dict[str, tuple[int, Callable[[], object]]] = {
        "Stable-Baselines3, 1 seed": (1, lambda: theirs.learn(options.steps, reset_num_timesteps=False)),
        "imitate on Gymnasium, 1 member": (1, ours(1, native=False)),
        "imitate, 1 member": (1, ours(1, native=True)),
        "imitate, 8 members": (8, ours(8, native=True)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(options.repeats + 1):
        for name, (members, train) in contestants.items():
            start = time.perf_counter()
            train()
            if repeat > 0:  # the first is the warm-up
                speeds[name].append(members * options.steps / (time.perf_counter() - start))
    base = speeds["Stable-Baselines3, 1 seed"]
    rows: list[dict[str, Any]] = []
    for name, measured in speeds.items():
        ratios = [mine / theirs_ for mine, theirs_ in zip(measured, base, strict=True)]
        row = {
            "name": name,
            "steps_per_second": statistics.median(measured),
            "ratio": statistics.median(ratios),
            "ratio_low": min(ratios),
            "ratio_high": max(ratios),
        }
        rows.append(row)
        print(
            f"{name:32} {row['steps_per_second']:>9,.0f} steps/s   "
            f"x{row['ratio']:.1f} [{row['ratio_low']:.1f}, {row['ratio_high']:.1f}]"
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
