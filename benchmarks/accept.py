"""Acceptance gates: algorithms that must reach their number, each beside what it is to be better than.

    python -m benchmarks.accept gail

Exits with 1 below the gate. The rows go to benchmarks/results/accept_NAME.json. Settings were chosen on source seed 0;
the gates are measured on others.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

import imitate
from benchmarks import shipped
from imitate.configs import config_for
from imitate.core.terms import Linear
from imitate.core.types import Algorithm, Policy, Source
from imitate.core.wrappers import Viewed
from imitate.data import Demonstrations
from imitate.experiment.evaluate import Evaluation, Evaluator
from imitate.experiment.report import versions
from imitate.nets import Architecture
from imitate.nets.actor import fresh
from imitate.policies import Random
from imitate.students import GAILConfig
from imitate_envs.base import Box

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Options:
    """What to run.

    Args:
        gate: Which one: gail, airl, kickstarting, sac, recurrent or value.
        members: Of each row.
        seed: Of the source; `value` has three of its own.
        episodes: Of each member in an evaluation after the last step.
        threads: Of torch.
        out: Where to write; by default benchmarks/results/accept_GATE.json.
    """

    gate: tyro.conf.Positional[str]
    members: int = 8
    seed: int = 100
    episodes: int = 100
    threads: int = 1
    out: Path | None = None


def gail(options: Options) -> tuple[Rows, bool]:
    """One demonstration of CartPole, one step in 20 of it: GAIL, and cloning the same."""
    source = _source("CartPole-v1", options, 16)
    teacher = imitate.teachers.load("control", source)
    at = _source("CartPole-v1", replace(options, seed=options.seed + 1), 1)
    demonstrations = imitate.demonstrate(at, teacher, 1).thinned(20)
    learner = imitate.GAIL(source, demonstrations, config_for(GAILConfig, "gail", "CartPole-v1"))
    student = fresh(source, config_for(Architecture, "student", "CartPole-v1"))
    config = config_for(imitate.BehaviourCloningConfig, "clone", "CartPole-v1")
    clone = imitate.BehaviourCloning(source, demonstrations, student, config)
    rows = [_trained("GAIL", learner, options), _trained("BC on the same", clone, options)]
    return [*rows, _row("random", Random(source.spec.action), source, 0, 0.0, options)], rows[0]["mean"] >= 475


def airl(options: Options) -> tuple[Rows, bool]:
    """One demonstration of CartPole, one step in 20 of it: AIRL, and AIRL of random actions."""
    config = config_for(imitate.AIRLConfig, "airl", "CartPole-v1")
    return _beside_random("AIRL", lambda source, shown: imitate.AIRL(source, shown, config), 16, options)


def kickstarting(options: Options) -> tuple[Rows, bool]:
    """Steps of PPO on CartPole until a member's return is 475: from scratch, and near a teacher of return 500."""
    config = config_for(imitate.PPOConfig, "ppo", "CartPole-v1")
    at = _source("CartPole-v1", replace(options, seed=options.seed + 1), 16)
    made = imitate.PPO(at, config)
    rows = [_trained("teacher", made, options)]
    for name, terms in (
        ("scratch", []),
        ("kickstarted", [imitate.Distil(made.policy, Linear(1.0, 0.0, steps=20_000))]),
    ):
        learner = imitate.PPO(_source("CartPole-v1", options, 16), config, terms=terms)
        rows.append(_raced(name, learner, 475.0, options))
    return rows, rows[2]["mean"] <= rows[1]["mean"] / 3


def sac(options: Options) -> tuple[Rows, bool]:
    """SAC on Pendulum with the zoo's settings, 20,000 steps."""
    learner = imitate.SAC(_source("Pendulum-v1", options, 1), imitate.SACConfig(steps=20_000, lr=1e-3))
    rows = [_trained("SAC", learner, options)]
    return rows, rows[0]["mean"] >= -160


def recurrent(options: Options) -> tuple[Rows, bool]:
    """PPO on CartPole without velocities, with a gated recurrent unit and without a memory."""
    config = config_for(imitate.PPOConfig, "ppo-gru", "CartPole-v1")
    rows = []
    for name, units in (("PPO, GRU", config.gru), ("PPO, no memory", 0)):
        source = Viewed(_source("CartPole-v1", options, 16), _still, Box((2,)))
        rows.append(_trained(name, imitate.PPO(source, replace(config, gru=units)), options))
    return rows, rows[0]["mean"] >= 450


def value(options: Options) -> tuple[Rows, bool]:
    """Every shipped setting on seeds that chose none: the mean at its target, and nine members of ten."""
    rows, passed = [], True
    for env in shipped.TARGETS:
        asked = shipped.Options(env, members=options.members, episodes=options.episodes, threads=options.threads)
        for name in shipped.algorithms(env):
            row, well = shipped.judge(env, name, shipped.measure(replace(asked, algorithms=(name,))))
            print(f"{env:24} {name:8} {row['mean']:.1f}, {row['share']:.0%} of members at {shipped.TARGETS[env]:g}")
            rows.append({**row, "passed": well})
            passed = passed and well
    return rows, passed


GATES: dict[str, Callable[[Options], tuple[Rows, bool]]] = {
    "gail": gail,
    "airl": airl,
    "kickstarting": kickstarting,
    "sac": sac,
    "recurrent": recurrent,
    "value": value,
}


def _beside_random(
    name: str, make: Callable[[Source, Demonstrations], Algorithm], num_envs: int, options: Options
) -> tuple[Rows, bool]:
    """One episode of CartPole thinned 1:20, of a control law and of random actions; passed from 475 on."""
    rows = []
    for who in ("the control law", "random actions"):
        source = _source("CartPole-v1", options, num_envs)
        at = _source("CartPole-v1", replace(options, seed=options.seed + 1), 1)
        random = who == "random actions"
        teacher = Random(source.spec.action) if random else imitate.teachers.load("control", at)
        shown = imitate.demonstrate(at, teacher, 1, deterministic=not random).thinned(20)
        rows.append(_trained(f"{name} of {who}", make(source, shown), options))
    return rows, rows[0]["mean"] >= 475


def _still(obs: Tensor) -> Tensor:
    """Position and angle, without their velocities."""
    return obs[..., ::2]


def _source(env: str, options: Options, num_envs: int) -> Source:
    return imitate.make(env, num_envs=num_envs, members=options.members, seed=options.seed)


def _trained(name: str, algorithm: Algorithm, options: Options) -> dict[str, Any]:
    """Train to the end, evaluate, print."""
    start = time.process_time()
    while not algorithm.progress.finished:
        algorithm.step()
    seconds = time.process_time() - start
    return _row(name, algorithm.policy, algorithm.source, int(algorithm.progress.steps), seconds, options)


def _raced(name: str, algorithm: Algorithm, target: float, options: Options) -> dict[str, Any]:
    """Steps of each member until its mean return of 20 episodes is at the target; those of the whole run if never."""
    evaluator = Evaluator(algorithm.source, 20)
    reached = np.full(options.members, float(algorithm.progress.budget))
    start = time.process_time()
    while not algorithm.progress.finished and (reached == algorithm.progress.budget).any():
        algorithm.step()
        there = evaluator.returns(algorithm.policy).mean(1) >= target
        now = float(algorithm.progress.steps)
        reached = np.where(there & (reached == algorithm.progress.budget), now, reached)
    found = Evaluation(reached[:, None])
    return _printed(name, found, int(algorithm.progress.steps), time.process_time() - start, f"steps to {target:g}")


def _row(name: str, policy: Policy, source: Source, steps: int, seconds: float, options: Options) -> dict[str, Any]:
    drawn = isinstance(policy, Random)  # its mode is one action for ever
    found = imitate.evaluate(policy, source, options.episodes, deterministic=not drawn)
    return _printed(name, found, steps, seconds, "return")


def _printed(name: str, found: Evaluation, steps: int, seconds: float, unit: str) -> dict[str, Any]:
    low, high = found.ci
    print(f"{name:25} {unit} {found.mean:,.1f} [{low:,.1f}, {high:,.1f}] after {steps:,} steps, {seconds:.0f} s of CPU")
    return {
        "name": name,
        "unit": unit,
        "mean": found.mean,
        "ci_low": low,
        "ci_high": high,
        "scores": found.scores.tolist(),
        "steps": steps,
        "cpu_seconds": round(seconds, 1),
    }


def main(options: Options) -> int:
    """Run one gate and write its rows; 1 below it."""
    if options.gate not in GATES:
        raise SystemExit(f"gate: '{options.gate}' is none of {', '.join(GATES)}.")
    torch.set_num_threads(options.threads)
    rows, passed = GATES[options.gate](options)
    out = options.out or Path(f"benchmarks/results/accept_{options.gate}.json")
    about = {"gate": options.gate, "members": options.members, "seed": options.seed, "episodes": options.episodes}
    document = {**about, "threads": options.threads, "passed": passed, "versions": versions(), "rows": rows}
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"{options.gate}: {'passed' if passed else 'BELOW THE GATE'}")
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
