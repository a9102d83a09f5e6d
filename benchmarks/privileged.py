"""CartPole without velocities: students that do not see what their teacher sees.

The teacher is a PPO that sees positions and velocities. Each of its eight members has a student a row, taught by
distillation on the student's own states: it sees the two positions alone, at once (memoryless), four in succession, or
with a GRU that learns through 15 steps. Controls are a student that sees all, students that were not taught, students
of a teacher that chooses at random, and DAgger with four frames. Further rows show the positions late, or with noise.

    python -m benchmarks.privileged --out benchmarks/results/privileged.json

Letters: M members.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import Tensor

import imitate
from imitate.configs import config_for
from imitate.core.types import Memory, Obs, Source
from imitate.core.views import Delay, Noise, Select, Stack, View
from imitate.core.wrappers import Viewed
from imitate.distributions import Categorical
from imitate.distributions.actions import Teacher
from imitate.experiment import Evaluator
from imitate.experiment.report import versions
from imitate.students import DAgger, DAggerConfig, PolicyDistillation, PolicyDistillationConfig

ENV = "CartPole-v1"
POSITIONS = Select((0, 2))


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Teachers, each with a student a row.
        seed: Of all that is random.
        steps: Environment steps of a student, each of which is labelled.
        episodes: Of each member in an evaluation.
        threads: Of torch.
        out: Where to write.
    """

    members: int = 8
    seed: int = 0
    steps: int = 50_000
    episodes: int = 100
    threads: int = 1
    out: Path = Path("benchmarks/results/privileged.json")


@dataclass(frozen=True)
class Row:
    """What a student sees, how many units of memory it has, and who teaches it."""

    views: Sequence[View]
    gru: int = 0
    taught: bool = True
    by_chance: bool = False
    dagger: bool = False


ROWS = {
    "sees all": Row(()),
    "memoryless": Row((POSITIONS,)),
    "four frames": Row((POSITIONS, Stack(4))),
    "GRU": Row((POSITIONS,), gru=32),
    "four frames, DAgger": Row((POSITIONS, Stack(4)), dagger=True),
    "two steps late, memoryless": Row((Delay(2),)),
    "two steps late, GRU": Row((Delay(2),), gru=32),
    "positions with noise 0.01, four frames": Row((POSITIONS, Noise(0.01), Stack(4))),
    "positions with noise 0.01, GRU": Row((POSITIONS, Noise(0.01)), gru=32),
    "untouched, four frames": Row((POSITIONS, Stack(4)), taught=False),
    "untouched, GRU": Row((POSITIONS,), gru=32, taught=False),
    "random teacher, GRU": Row((POSITIONS,), gru=32, by_chance=True),
}


class Chance:
    """A teacher to whom each of two choices is as good: what can be learnt without a teacher."""

    noise = 1

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, None, dict[str, Any]]:
        """A coin."""
        distribution = self.distribution(obs)
        return distribution.mode if noise is None else distribution.sample(noise), None, {}

    def distribution(self, obs: Obs) -> Categorical:
        """Equal logits."""
        return Categorical(torch.zeros_like(obs[..., :2]))


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()

    def place(offset: int) -> Source:
        return imitate.make(ENV, num_envs=16, members=options.members, seed=options.seed + 1_000 * offset)

    ppo = imitate.PPO(place(0), config_for(imitate.PPOConfig, "ppo", ENV))
    for _ in imitate.run(ppo):
        pass
    rows = {"teacher": _scored(ppo.policy, place(0), options)}
    for name, row in ROWS.items():
        source = place(1)
        for view in row.views:
            source = Viewed(source, view)
        rows[name] = _scored(_student(row, source, Chance() if row.by_chance else ppo.policy, options), source, options)
        print(f"{name:40}{rows[name]['mean']:8.1f} [{rows[name]['low']:.1f}, {rows[name]['high']:.1f}]", flush=True)
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _student(row: Row, source: Source, teacher: Teacher, options: Options) -> imitate.Actor:
    """A student of a row, taught or not."""
    student = imitate.nets.policy(source, (32,), gru=row.gru, normalise=True)
    if not row.taught:
        return student
    if row.dagger:
        rounds = 10
        each = options.steps // (rounds * source.spec.num_envs)
        algorithm: Any = DAgger(source, teacher, student, DAggerConfig(rounds=rounds, rollout=each, updates=1_000))
    else:
        config = config_for(PolicyDistillationConfig, "distill", ENV)
        config = replace(config, steps=options.steps, rollout=60, batch_size=240, unroll=15)
        algorithm = PolicyDistillation(source, teacher, student, config)
    while not algorithm.progress.finished:
        algorithm.step()
    return student


def _scored(policy: Any, source: Source, options: Options) -> dict[str, float | list[float]]:
    """Mean return, its interval over members, and that of each member."""
    found = Evaluator(source, options.episodes)(policy)
    return {"mean": found.mean, "low": found.ci[0], "high": found.ci[1], "members": found.scores.tolist()}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
