"""Peers that teach each other, generations that follow on each other, and a population distilled to one network.

On Acrobot ten pairs of PPO learn beside ten pairs of the same seeds whose members do not know of each other. The area
under the curve is the mean of evaluations at equal distances, the beginning included; a difference is of one pair, so
the interval is over pairs. The weight of each way is 0.1 and was not tuned.

On CartPole a PPO of eight members is distilled through three generations, and all of it into one network each of eight
students. What the file holds already is not run again.

    python -m benchmarks.peers_teach --out benchmarks/results/peers_teach.json

Letters: M members.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
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
WEIGHT = 0.1


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
    looks: int = 12
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


def pairs(options: Options, rows: dict[str, Any]) -> Iterator[None]:
    """Curves on Acrobot, way by way, and their areas beside those of independent pairs."""
    env, members = "Acrobot-v1", PAIR * options.pairs
    config = config_for(imitate.PPOConfig, "ppo", env)

    def learn(way: Ways | None) -> dict[str, Any]:
        begin = time.perf_counter()
        source = imitate.make(env, num_envs=16, members=members, seed=options.seed)
        policy = imitate.nets.policy(
            source, config.hidden, activation=config.activation, normalise=config.normalise_obs
        )
        critic = critic_of(source, config)
        terms = [] if way is None else way(policy, critic, WEIGHT)
        ppo = imitate.PPO(source, config, policy=policy, critic=critic, terms=terms)
        score = Evaluator(source, options.episodes)
        curve, steps = [score(policy).scores], [0]
        while not ppo.progress.finished:
            ppo.step()
            if int(ppo.progress.steps) * options.looks >= len(steps) * ppo.progress.budget:
                curve.append(score(policy).scores)
                steps.append(int(ppo.progress.steps))
        final = Evaluator(source, options.last)(policy).scores
        found = [paired(one) for one in curve]
        return {
            "seconds": time.perf_counter() - begin,
            "steps": steps,
            "curve": [summary(one) for one in found],
            "area": summary(np.mean(found, 0)),
            "final": summary(paired(final)),
        }

    for name, way in {"independent": None, **WAYS}.items():
        if name not in rows:
            rows[name] = learn(way)
            yield
        for key in ("area", "final"):
            mine, theirs = (np.array(rows[one][key]["each"]) for one in (name, "independent"))
            rows[name][f"{key}_difference"] = summary(mine - theirs)


def paired(scores: Any) -> Any:
    """[M] -> the mean of each pair, [pairs]."""
    return scores.reshape(-1, PAIR).mean(-1)


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

    born = BornAgain(place(1), ppo.policy, small, BornAgainConfig(**vars(config), generations=3))
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
    asked = {key: value for key, value in vars(options).items() if key not in ("out", "threads")}
    document: dict[str, Any] = {**asked, "weight": WEIGHT, "versions": versions(), "peers": {}}
    if options.out.exists():
        document = json.loads(options.out.read_text("utf-8"))
        if {key: document.get(key) for key in asked} != asked:
            raise SystemExit(f"out: '{options.out}' is of other numbers; pass another --out.")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    if "cartpole" not in document:
        document["cartpole"] = generations(options)
    for _ in pairs(options, document["peers"]):
        options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    for name, row in document["cartpole"].items():
        print(f"{name:40} {_text(row['return'])}  {' '.join(f'{x:.1f}' for x in row['percent'])} %")
        if "percent_of_the_first" in row:
            print(f"{'  of the first generation':40} {' '.join(f'{x:.1f}' for x in row['percent_of_the_first'])} %")
    for name, row in document["peers"].items():
        print(f"{name:40} area {_text(row['area'])}, difference {_text(row['area_difference'])}")
        print(f"{'':40} final {_text(row['final'])}, difference {_text(row['final_difference'])}")


def _text(found: dict[str, Any]) -> str:
    return f"{found['mean']:8.2f} [{found['low']:.2f}, {found['high']:.2f}]"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
