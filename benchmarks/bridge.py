"""From Rescorla & Wagner to deep reinforcement learning, in four steps that are checked by numbers and drawn.

1. Rescorla-Wagner is the delta rule, and TD with a discount of 0.
2. TD moves the prediction error from the reward to the cue, and an omitted reward is a dip.
3. Rates that differ for good and bad surprises learn expectiles, in a conditioning model and in a deep network.
4. A Rescorla-Wagner agent teaches a recurrent network, which then learns within an episode as its teacher does.

    python -m benchmarks.bridge --out benchmarks/results/bridge.json --pictures docs

Letters: T time, M members, N environments of one member, Q channels.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks import bridge_dopamine, bridge_expectiles, bridge_student
from imitate.conditioning.model import Trial
from imitate.conditioning.models import Course, RescorlaWagner, TemporalDifference, TrialTemporalDifference
from imitate.experiment.report import versions
from envs.stimuli import Presence


@dataclass(frozen=True)
class Options:
    """What to do.

    Args:
        members: M, seeds of everything that is learnt from random numbers.
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
