"""CartPole in a few labelled states: data sets whose clones act well, by evolution and by gradients.

HaDES evolves sets of two and of four pairs, a data set a seed, without a teacher. Dataset distillation learns four from
25 episodes of the control law. The judge knows nothing of either: behaviour cloning of the suite, with its default
settings but without held-out examples, of 20 networks from fresh initialisations, plays 20 episodes a network. Controls
are the same number of pairs drawn from the demonstrations, and of the states that evolution begins with. The interval
is over the means of data sets.

    python -m benchmarks.condense --out benchmarks/results/condense.json

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
from imitate.core.types import Source
from imitate.data import Demonstrations, demonstrate
from imitate.experiment.evaluate import interval
from imitate.experiment.report import versions
from imitate.students import DatasetDistillation, DatasetDistillationConfig, HaDES, HaDESConfig

ENV = "CartPole-v1"
HIDDEN = (32, 32)


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        seeds: Data sets of each row.
        clones: Fresh networks of each data set.
        episodes: Of each of them.
        candidates: Of evolution.
        threads: Of torch.
        out: Where to write.
    """

    seeds: int = 8
    clones: int = 20
    episodes: int = 20
    candidates: int = 32
    threads: int = 1
    out: Path = Path("benchmarks/results/condense.json")


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    distilled = _distilled(options.seeds)
    makers: dict[str, Callable[[int], tuple[Any, Any]]] = {
        "HaDES, four pairs": lambda seed: _evolved(seed, 4, options),
        "HaDES, two pairs": lambda seed: _evolved(seed, 2, options),
        "dataset distillation, four pairs": lambda seed: _member(distilled, seed),
        "four pairs of the teacher": lambda seed: _drawn(seed, 4),
        "four random pairs": _random,
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, make in makers.items():
        scores = np.stack([_judged(*make(seed), seed, options) for seed in range(options.seeds)])
        means = scores.mean(1)
        low, high = interval(means, bounds=(0.0, 500.0))
        rows[name] = {"mean": means.mean(), "low": low, "high": high, "data_sets": means.tolist()}
        rows[name]["worst_network"] = scores.min()
        print(f"{name:36}{means.mean():7.1f} [{low:.1f}, {high:.1f}]  worst network {scores.min():.1f}", flush=True)
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "seconds": time.perf_counter() - begin,
        "rows": rows,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _place(members: int, seed: int, num_envs: int = 1) -> Source:
    return imitate.make(ENV, num_envs=num_envs, members=members, seed=seed)


def _evolved(seed: int, pairs: int, options: Options) -> tuple[Any, Any]:
    source = _place(options.candidates, seed)
    hades = HaDES(source, imitate.nets.policy(source, HIDDEN), HaDESConfig(pairs=pairs))
    while not hades.progress.finished:
        hades.step()
    return _member(hades.demonstrations)


def _distilled(seeds: int) -> Demonstrations:
    """A data set a member, each of its own demonstrations."""
    source = _place(seeds, 0, 25)
    demonstrations = demonstrate(source, imitate.teachers.load("control", source), 25)
    student = imitate.nets.policy(source, HIDDEN)
    distillation = DatasetDistillation(source, demonstrations, student, DatasetDistillationConfig())
    while not distillation.progress.finished:
        distillation.step()
    return distillation.demonstrations


def _drawn(seed: int, pairs: int) -> tuple[Any, Any]:
    source = _place(1, seed)
    obs, action = _member(demonstrate(source, imitate.teachers.load("control", source), 1))
    index = np.random.default_rng(seed).choice(len(obs), pairs, replace=False)
    return obs[index], action[index]


def _random(seed: int) -> tuple[Any, Any]:
    """As the candidates of the first generation: normal states, and actions in turn."""
    return HaDESConfig().sigma * np.random.default_rng(seed).standard_normal((4, 4)), np.array([0, 1, 0, 1])


def _member(demonstrations: Demonstrations, member: int = 0) -> tuple[Any, Any]:
    """Observations and actions of one member."""
    keep, examples = demonstrations.mask[member], demonstrations.examples
    return examples.obs[member][keep].numpy(), examples.action[member][keep].numpy()


def _judged(obs: Any, action: Any, seed: int, options: Options) -> Any:
    """Mean return of each fresh network that is cloned from a data set, [M]."""
    source = _place(options.clones, 1_000 + seed)
    student = imitate.nets.policy(source, HIDDEN)
    config = imitate.BehaviourCloningConfig(validation=0.0)
    cloning = imitate.BehaviourCloning(source, Demonstrations.from_arrays(obs, action, source), student, config)
    while not cloning.progress.finished:
        cloning.step()
    return imitate.evaluate(student, source, options.episodes).scores


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
