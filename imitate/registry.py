"""Names of what the command line offers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple

from imitate.baselines import PPO, PPOConfig

__all__ = ["BASELINES", "Baseline", "closest"]


class Baseline(NamedTuple):
    """A reinforcement learning algorithm: called with a source and its config."""

    algorithm: Any
    config: type[Any]


BASELINES: dict[str, Baseline] = {"ppo": Baseline(PPO, PPOConfig)}


def closest(what: str, name: str, known: Iterable[str]) -> str:
    """One line about an unknown name, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
    return f"{what}: '{name}' is unknown; {hint}"
