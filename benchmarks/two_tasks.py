"""One network for CartPole and its mirror, where left and right are exchanged: a head each, or one for both.

Each of eight members has a PPO teacher of its own in each task, and a student of a quarter of their width, which drives
and learns from both teachers at once. Rows differ in the network, and in what is learnt beside the answers:

- a head each: the body does not see which task it is;
- one head: the number of the task is an input; once more with as many steps a task as a student of one task has;
- one head, not told: a control, for which the two tasks cannot be told apart;
- Actor-Mimic: the features of the teachers too, under a learnt map for each task.

    python -m benchmarks.two_tasks --out benchmarks/results/two_tasks.json

Letters: M members.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from torch import Tensor

import imitate
from imitate.configs import config_for
from imitate.core.noise import Stream
from imitate.core.tasks import Tasks
from imitate.core.types import Obs
from imitate.core.wrappers import Viewed
from imitate.experiment import Evaluator
from imitate.experiment.evaluate import interval, percent, percent_interval
from imitate.experiment.report import versions
from imitate.nets.actor import Architecture, fresh
from imitate.policies import Greedy, Random, TaskTeachers
from imitate.students import PolicyDistillation, PolicyDistillationConfig, actor_mimic

ENVS = ("CartPole-v1", "MirroredCartPole-v0")
TUNED = ENVS[0]


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Teachers of each task, and students.
        seed: Of all that is random.
        steps: Environment steps of a student, both tasks together.
        features: Weight of the feature regression.
        episodes: Of each member and task in an evaluation.
        threads: Of torch.
        out: Where to write.
    """

    members: int = 8
    seed: int = 0
    steps: int = 50_000
    features: float = 0.01
    episodes: int = 100
    threads: int = 1
    out: Path = Path("benchmarks/results/two_tasks.json")


def untold(obs: Obs) -> tuple[Obs, Tensor]:
    """The same with the number of the task hidden."""
    return obs[0], torch.zeros_like(obs[1])


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()

    def place(env: str, offset: int) -> Any:
        return imitate.make(env, num_envs=8, members=options.members, seed=options.seed + 1_000 * offset)

    teachers = []
    for number, env in enumerate(ENVS):
        source = imitate.make(env, num_envs=16, members=options.members, seed=options.seed + 1_000 * number)
        ppo = imitate.PPO(source, config_for(imitate.PPOConfig, "ppo", TUNED))
        for _ in imitate.run(ppo):
            pass
        teachers.append(ppo.policy)
    tasks = Tasks([place(env, 2 + number) for number, env in enumerate(ENVS)])
    router = TaskTeachers(teachers, tasks)
    tuned = config_for(PolicyDistillationConfig, "distill", TUNED)
    small = config_for(Architecture, "small_student", TUNED)
    judges = [Evaluator(source, options.episodes) for source in tasks.sources]
    references = [
        (
            judge.returns(Greedy(router)).mean(1),
            source.play(Random(source.spec.action), options.episodes, judge.seed).double().numpy().mean(1),
        )
        for judge, source in zip(judges, tasks.sources, strict=True)
    ]

    def judged(policy: Any) -> dict[str, Any]:
        row = {}
        for env, judge, (told, random) in zip(ENVS, judges, references, strict=True):
            scores = judge.returns(Greedy(policy)).mean(1)
            low, high = percent_interval(scores, told, random)
            row[env] = summary(scores, judge.bounds) | {"percent": [percent(scores, told, random), low, high]}
        return row

    rows = {"teachers": judged(router), "untouched": judged(fresh(tasks, small))}
    for name, heads, weight, told, times in (
        ("a head each", len(ENVS), 0.0, True, 1),
        ("one head, told the task", 0, 0.0, True, 1),
        ("one head, twice the steps", 0, 0.0, True, 2),
        ("one head, not told", 0, 0.0, False, 1),
        ("a head each, Actor-Mimic", len(ENVS), options.features, True, 1),
        ("one head, Actor-Mimic", 0, options.features, True, 1),
    ):
        source = Tasks([place(env, 2 + number) for number, env in enumerate(ENVS)])
        seen: Any = source if told else Viewed(source, untold, source.spec.observation)
        student = fresh(seen, replace(small, heads=heads))
        init = Stream(options.seed, "init-mimic")
        terms = [actor_mimic(student, router, teachers[0].body.width, weight, init=init)] if weight else []
        config = replace(tuned, steps=times * options.steps)
        distillation = PolicyDistillation(seen, router, student, config, terms=terms)
        while not distillation.progress.finished:
            distillation.step()
        rows[name] = judged(student if told else Untold(student)) | {"parameters": student.parameters_per_member}
    for name, row in rows.items():
        for env in ENVS:
            found = row[env]
            share = " ".join(f"{x:.1f}" for x in found["percent"])
            print(f"{name:28}{env:22}{found['mean']:7.1f} [{found['low']:.1f}, {found['high']:.1f}]  {share} %")
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "parameters_of_a_teacher": teachers[0].parameters_per_member,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


class Untold:
    """A policy from which the number of the task is hidden.

    Args:
        policy: The policy.
    """

    def __init__(self, policy: Any) -> None:
        self.policy, self.noise = policy, policy.noise

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> Any:
        """What the policy does where it is told task 0."""
        return self.policy.act(untold(obs), noise, memory)


def summary(scores: NDArray[np.float64], bounds: tuple[float, float]) -> dict[str, Any]:
    """Mean, interval within what a return can be, and all."""
    low, high = interval(scores, bounds=bounds)
    return {"mean": float(scores.mean()), "low": low, "high": high, "each": [round(float(x), 4) for x in scores]}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
