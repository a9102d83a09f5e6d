"""From Rescorla & Wagner to deep reinforcement learning, in four steps that are checked by numbers and drawn.

1. Rescorla-Wagner is the delta rule, and TD with a discount of 0.
2. TD moves the prediction error from the reward to the cue, and an omitted reward is a dip.
3. Rates that differ for good and bad surprises learn expectiles, in a conditioning model and in a deep network.
4. A Rescorla-Wagner agent teaches a recurrent network, which then learns within an episode as its teacher does.

    python -m benchmarks.bridge --out benchmarks/results/bridge.json --pictures docs
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks import bridge_dopamine, bridge_expectiles, bridge_student
from benchmarks.bridge_identities import identities
from imitate.experiment.report import versions


@dataclass(frozen=True)
class Options:
    """What to do.

    Args:
        members: Seeds of everything that is learnt from random numbers.
        seed: Of the first of them.
        threads: Of torch.
        out: Where to write the numbers.
        pictures: Folder of the pictures.
    """

    members: int = 8
    seed: int = 0
    threads: int = 1
    out: Path = Path("benchmarks/results/bridge.json")
    pictures: Path = Path("docs")


def main(options: Options) -> None:
    """Compute, print, draw, write JSON."""
    torch.set_num_threads(options.threads)
    options.pictures.mkdir(parents=True, exist_ok=True)
    begin = time.perf_counter()

    same = identities(options.seed)
    print("1. Three programs, one path of weights: largest difference over 1,000 random trials")
    print(f"   Rescorla-Wagner and LMS by torch's SGD   {same['rescorla_wagner_lms']:.1e}")
    print(f"   Rescorla-Wagner and TD with γ = λ = 0    {same['rescorla_wagner_td']:.1e}")

    moved, errors = bridge_dopamine.dopamine()
    bridge_dopamine.draw(options.pictures / "bridge_dopamine.png", errors)
    print("2. Prediction error δ: at the reward first and last, at the cue last, at the reward that is left out")
    for name, row in moved.items():
        keys = ("first_at_reward", "last_at_reward", "last_at_cue", "omitted_at_reward")
        print(f"   {name:26}" + "".join(f"{row[key]:9.3f}" for key in keys))

    levels, channels = bridge_expectiles.expectiles(options.members, options.seed)
    bridge_expectiles.draw(options.pictures / "bridge_expectiles.png", channels)
    print(f"3. Expectiles of the juice task, µl; mean of {options.members} seeds and its 95 % interval")
    print(f"   {'level':20}" + "".join(f"{level:22}" for level in levels["levels"]))
    print(f"   {'exact':20}" + "".join(f"{value:22.3f}" for value in levels["exact"]))
    for name in channels:
        cells = zip(*(levels[name][key] for key in ("mean", "low", "high")), strict=True)
        print(f"   {name:20}" + "".join(f"{mean:7.3f} [{low:.3f}, {high:.3f}]".rjust(22) for mean, low, high in cells))

    result = bridge_student.lesson(options.members, options.seed)
    bridge_student.draw(options.pictures / "bridge_student.png", result)
    numbers = result.numbers
    print(f"4. A recurrent student of {numbers['parameters']:,} weights, shown {numbers['choices_shown']:,} choices")
    print(f"   return of an episode: teacher {_text(numbers['return']['teacher'])}, ", end="")
    print(f"student {_text(numbers['return']['student'])}, random {_text(numbers['return']['random'])}")
    print(f"   KL(teacher ‖ student) of a choice: {_text(numbers['divergence_nats'], 4)} nats")
    for who, fitted in numbers["fitted"].items():
        print(f"   Rescorla-Wagner fitted to the {who}: α {_text(fitted['alpha'], 3)}, β {_text(fitted['beta'])}")

    seconds = time.perf_counter() - begin
    print(f"{seconds:.0f} s")
    document = {
        **{key: value for key, value in vars(options).items() if not isinstance(value, Path)},
        "versions": versions(),
        "seconds": seconds,
        "identities": same,
        "dopamine": moved,
        "expectiles": levels,
        "student": numbers,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def _text(row: dict[str, Any], digits: int = 2) -> str:
    return f"{row['mean']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
