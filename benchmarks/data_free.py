"""CartPole without data: students on states that nobody visited, of a generator or uniform.

Each of eight PPO teachers has a student a row. No step is taken in the environment but to evaluate. Positions have
bounds and velocities have none; they are taken to be within ±3, or within ±30, where most states are far from any that
an episode comes to. Students are looked at after a hundred batches of 256 states, and at the end. Controls are a
student that was not taught, and one of a teacher that chooses at random.

    python -m benchmarks.data_free --out benchmarks/results/data_free.json

Letters: M members.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

import imitate
from benchmarks.privileged import Chance
from imitate.configs import config_for
from imitate.core.types import Source
from imitate.experiment import Evaluator
from imitate.experiment.report import versions
from imitate.students import DataFreeDistillation, DataFreeDistillationConfig, GeneratedStates, UniformStates

ENV = "CartPole-v1"


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Teachers, each with a student a row.
        seed: Of all that is random.
        steps: Batches of a student.
        early: Batches after which it is looked at before.
        episodes: Of each member in an evaluation.
        threads: Of torch.
        out: Where to write.
    """

    members: int = 8
    seed: int = 0
    steps: int = 1_000
    early: int = 100
    episodes: int = 50
    threads: int = 1
    out: Path = Path("benchmarks/results/data_free.json")


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()

    def place(offset: int) -> Source:
        return imitate.make(ENV, num_envs=16, members=options.members, seed=options.seed + 1_000 * offset)

    ppo = imitate.PPO(place(0), config_for(imitate.PPOConfig, "ppo", ENV))
    for _ in imitate.run(ppo):
        pass
    score, source = Evaluator(place(0), options.episodes), place(1)
    rows = {"teacher": _row(score, ppo.policy), "untouched": _row(score, imitate.nets.policy(source, (16, 16)))}
    made: dict[str, tuple[Any, Any]] = {
        "generated, velocities within 3": (GeneratedStates(source.spec), ppo.policy),
        "uniform, velocities within 3": (UniformStates(source.spec), ppo.policy),
        "generated, velocities within 30": (GeneratedStates(source.spec, reach=30.0), ppo.policy),
        "uniform, velocities within 30": (UniformStates(source.spec, reach=30.0), ppo.policy),
        "generated, random teacher": (GeneratedStates(source.spec), Chance()),
    }
    for name, (states, teacher) in made.items():
        student = imitate.nets.policy(source, (16, 16))
        config = DataFreeDistillationConfig(steps=options.steps)
        distillation = DataFreeDistillation(source, teacher, student, config, states=states)
        while not distillation.progress.finished:
            distillation.step()
            if int(distillation.progress.steps) == options.early:
                rows[f"{name}, early"] = _row(score, student)
        rows[name] = _row(score, student)
    for name, row in rows.items():
        print(f"{name:42}{row['mean']:7.1f} [{row['low']:.1f}, {row['high']:.1f}]", flush=True)
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _row(score: Evaluator, policy: Any) -> dict[str, Any]:
    """Mean return, its interval over members, and that of each member."""
    found = score(policy)
    return {"mean": found.mean, "low": found.ci[0], "high": found.ci[1], "members": found.scores.tolist()}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
