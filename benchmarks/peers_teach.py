"""Peers that teach each other, generations that follow on each other, and a population distilled to one network.

On Acrobot ten pairs of PPO learn beside ten pairs of the same seeds whose members do not know of each other. The area
under the curve is the mean of evaluations at equal distances, the beginning included; a difference is of one pair, so
the interval is over pairs. Weights were not tuned: 0.1, and 0.5 as a second one, for each way.

On CartPole a PPO of eight members is distilled through three generations, and all of it into one network each of eight
students.

    python -m benchmarks.peers_teach --out benchmarks/results/peers_teach.json

Letters: M members.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro

import imitate
from imitate.baselines import critic_of
from imitate.configs import config_for
from imitate.core.terms import Term
from imitate.distributions import Teacher
from imitate.experiment import Evaluator
from imitate.experiment.evaluate import interval, percent, percent_interval
from imitate.experiment.report import versions
from imitate.nets import Actor, Critic
from imitate.nets.actor import Architecture, fresh
from imitate.policies import Ensemble, Greedy, Random
from imitate.students import (
    BornAgain,
    BornAgainConfig,
    Codistil,
    Dual,
    Mutual,
    PolicyDistillation,
    PolicyDistillationConfig,
    value_of,
)

PAIR = 2
WEIGHTS = (0.1, 0.5)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        pairs: Of peers on Acrobot.
        members: Of the run on CartPole that generations and the single network begin with.
        seed: Of all that is random.
        looks: Evaluations along a curve, behind the one at the beginning.
        episodes: Of each member in an evaluation of a curve.
        last: Of each member in an evaluation of what has been learnt.
        threads: Of torch.
        out: Where to write.
    """

    pairs: int = 10
    members: int = 8
    seed: int = 0
    looks: int = 18
    episodes: int = 10
    last: int = 100
    threads: int = 1
    out: Path = Path("benchmarks/results/peers_teach.json")


Ways = Callable[[Actor, Critic, float], list[Term]]
WAYS: dict[str, Ways] = {
    "mutual learning": lambda policy, critic, weight: [Mutual(policy, weight)],
    "codistillation": lambda policy, critic, weight: [Codistil(policy, weight, every=160)],
    "dual distillation": lambda policy, critic, weight: [Dual(policy, value_of(policy, critic), weight)],
}


def pairs(options: Options) -> dict[str, Any]:
    """Curves on Acrobot, and their areas beside those of independent pairs."""
    env, members = "Acrobot-v1", PAIR * options.pairs
    config = config_for(imitate.PPOConfig, "ppo", env)

    def learn(way: Ways | None, weight: float) -> dict[str, Any]:
        begin = time.perf_counter()
        source = imitate.make(env, num_envs=16, members=members, seed=options.seed)
        policy = imitate.nets.policy(
            source, config.hidden, activation=config.activation, normalise=config.normalise_obs
        )
        critic = critic_of(source, config)
        terms = [] if way is None else way(policy, critic, weight)
        ppo = imitate.PPO(source, config, policy=policy, critic=critic, terms=terms)
        score = Evaluator(source, options.episodes)
        curve, steps = [score(policy).scores], [0]
        while not ppo.progress.finished:
            ppo.step()
            if int(ppo.progress.steps) * options.looks >= len(steps) * ppo.progress.budget:
                curve.append(score(policy).scores)
                steps.append(int(ppo.progress.steps))
        final = Evaluator(source, options.last)(policy).scores
        print(f"{time.perf_counter() - begin:6.0f} s", flush=True)
        return {"steps": steps, "curve": np.array(curve), "final": _paired(final)}

    alone = learn(None, 0.0)
    rows = {"independent": _row(alone, alone)}
    for name, way in WAYS.items():
        for weight in WEIGHTS:
            rows[f"{name}, {weight}"] = _row(learn(way, weight), alone)
    return rows


def _paired(scores: Any) -> Any:
    """[..., M] -> the mean of each pair, [..., pairs]."""
    return scores.reshape(*scores.shape[:-1], -1, PAIR).mean(-1)


def _row(found: dict[str, Any], alone: dict[str, Any]) -> dict[str, Any]:
    area, other = (_paired(one["curve"]).mean(0) for one in (found, alone))
    return {
        "steps": found["steps"],
        "curve": [summary(_paired(one)) for one in found["curve"]],
        "area": summary(area),
        "area_difference": summary(area - other),
        "final": summary(found["final"]),
        "final_difference": summary(found["final"] - alone["final"]),
    }


def generations(options: Options) -> dict[str, Any]:
    """Three generations on CartPole, and a population in one network, beside students of one teacher each."""
    env = "CartPole-v1"

    def place(offset: int, members: int = options.members) -> Any:
        return imitate.make(env, num_envs=16, members=members, seed=options.seed + 1_000 * offset)

    ppo = imitate.PPO(place(0), config_for(imitate.PPOConfig, "ppo", env))
    for _ in imitate.run(ppo):
        pass
    score = Evaluator(place(0), options.last)
    config = config_for(PolicyDistillationConfig, "distill", env)
    small = config_for(Architecture, "small_student", env)
    random = np.asarray(place(0).play(Random(place(0).spec.action), options.last, score.seed).double().mean(1))

    def judged(policy: Any, teacher: Any) -> dict[str, Any]:
        scores, told = (score.returns(Greedy(one)).mean(1) for one in (policy, teacher))
        low, high = percent_interval(scores, told, random)
        return {"return": summary(scores), "percent": [percent(scores, told, random), low, high]}

    born = BornAgain(place(1), ppo.policy, small, BornAgainConfig(3, config))
    rows: dict[str, Any] = {"teacher": judged(ppo.policy, ppo.policy)}
    first: Any = None
    while not born.progress.finished:
        born.step()
        if born.distillation.progress.finished:
            now = fresh(place(1), small)
            now.load_state_dict(born.policy.state_dict())
            first = first or now
            rows[f"generation {int(born.generation)}"] = judged(now, ppo.policy) | {
                "percent_of_the_first": judged(now, first)["percent"]
            }
    teachers: dict[str, Teacher] = {"one teacher each": ppo.policy, "the whole population": Ensemble(ppo.policy)}
    for name, teacher in teachers.items():
        source = place(2)
        student = fresh(source, small)
        distillation = PolicyDistillation(source, teacher, student, config)
        while not distillation.progress.finished:
            distillation.step()
        rows[f"student of {name}"] = judged(student, ppo.policy)
    rows["the population itself, by its mean"] = judged(Ensemble(ppo.policy), ppo.policy)
    return rows


def summary(scores: Any) -> dict[str, Any]:
    """Mean, interval, and all."""
    scores = np.asarray(scores, np.float64)
    low, high = interval(scores)
    return {"mean": float(scores.mean()), "low": low, "high": high, "each": [round(float(x), 4) for x in scores]}


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    lineage = generations(options)
    for name, row in lineage.items():
        print(f"{name:40} {_text(row['return'])}  {' '.join(f'{x:.1f}' for x in row['percent'])} %")
        if "percent_of_the_first" in row:
            print(f"{'  of the first generation':40} {' '.join(f'{x:.1f}' for x in row['percent_of_the_first'])} %")
    peers = pairs(options)
    for name, row in peers.items():
        print(f"{name:40} area {_text(row['area'])}, difference {_text(row['area_difference'])}")
        print(f"{'':40} final {_text(row['final'])}, difference {_text(row['final_difference'])}")
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "peers": peers,
        "cartpole": lineage,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _text(found: dict[str, Any]) -> str:
    return f"{found['mean']:8.2f} [{found['low']:.2f}, {found['high']:.2f}]"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
