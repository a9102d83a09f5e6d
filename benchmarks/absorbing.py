"""The sign of a learnt reward, and absorbing states: two tasks whose ends mean the opposite.

    python -m benchmarks.absorbing

CartPole's episodes should not end early, MountainCar's should. GAIL with a reward of one sign, with and without
absorbing states (Kostrikov et al. 2019): one that is never negative rewards to stay, one that is never positive to
leave. The demonstrations are whole episodes of a control law, one in each row; `control` are as many of random actions.
The rows go to benchmarks/results/absorbing.json.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

import imitate
from imitate.configs import config_for
from imitate.core.types import Policy, Source
from imitate.experiment.report import versions
from imitate.losses.adversarial import log_odds, negative, positive
from imitate.policies import Random
from imitate.rewards import DiscriminatorConfig

REWARDS: dict[str, Callable[[Tensor], Tensor]] = {"positive": positive, "negative": negative, "log-odds": log_odds}
PENALTY = 1.0
# What PPO is told beside the settings of GAIL on CartPole.
ENVS: dict[str, dict[str, Any]] = {
    "CartPole-v1": {"steps": 150_000, "normalise_reward": True},
    "MountainCar-v0": {"steps": 300_000, "normalise_obs": True, "lam": 0.98, "normalise_reward": True},
}
OUT = Path("benchmarks/results/absorbing.json")


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        envs: Which tasks.
        rewards: Which rewards.
        members: Of each row.
        seed: Of the source.
        demonstrations: Episodes of the teacher.
        episodes: Of each member in the evaluation.
        controls: Also without a teacher, with absorbing states.
        out: Where to write.
    """

    envs: tuple[str, ...] = ("CartPole-v1", "MountainCar-v0")
    rewards: tuple[str, ...] = tuple(REWARDS)
    members: int = 8
    seed: int = 100
    demonstrations: int = 10
    episodes: int = 50
    controls: bool = True
    out: Path = OUT


def row(env: str, reward: str, absorbing: bool, random: bool, options: Options) -> dict[str, Any]:
    """One run of GAIL, evaluated by the environment's own reward."""
    source = _source(env, options.seed, options, 16)
    place = _source(env, options.seed + 1, options, options.demonstrations)
    teacher: Policy = Random(source.spec.action) if random else imitate.teachers.load("control", place)
    shown = imitate.demonstrate(place, teacher, options.demonstrations, deterministic=not random)
    ppo = config_for(imitate.GAILConfig, "gail", "CartPole-v1").ppo
    mine = replace(ppo, **ENVS[env])
    config = imitate.GAILConfig(
        mine, DiscriminatorConfig(absorbing=absorbing, gradient_penalty=PENALTY, normalise=True)
    )
    learner = imitate.GAIL(source, shown, config, reward=REWARDS[reward])
    start = time.process_time()
    while not learner.progress.finished:
        learner.step()
    seconds = time.process_time() - start
    found = imitate.evaluate(learner.policy, source, options.episodes, deterministic=True)
    low, high = found.ci
    name = f"{env:15} {reward:9} {'absorbing' if absorbing else '-':10} {'random' if random else 'control law':12}"
    print(f"{name} return {found.mean:,.1f} [{low:,.1f}, {high:,.1f}], {seconds:.0f} s of CPU", flush=True)
    return {
        "env": env,
        "reward": reward,
        "absorbing": absorbing,
        "demonstrations": "random" if random else "control law",
        "mean": found.mean,
        "ci_low": low,
        "ci_high": high,
        "scores": found.scores.tolist(),
        "steps": int(learner.progress.steps),
        "cpu_seconds": round(seconds, 1),
    }


def _source(env: str, seed: int, options: Options, num_envs: int) -> Source:
    return imitate.make(env, num_envs=num_envs, members=options.members, seed=seed)


def main(options: Options) -> None:
    """All rows, and the file."""
    torch.set_num_threads(1)
    rows = []
    for env in options.envs:
        for reward in options.rewards:
            cases = [(False, False), (True, False), *([(True, True)] if options.controls else [])]
            rows += [row(env, reward, absorbing, random, options) for absorbing, random in cases]
    about = {"members": options.members, "seed": options.seed, "episodes": options.episodes}
    document = {**about, "demonstrations": options.demonstrations, "versions": versions(), "rows": rows}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
