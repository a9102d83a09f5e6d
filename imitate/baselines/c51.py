"""C51: DQN with another head, another loss (Bellemare, Dabney & Munos 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, checked
from imitate.core.return_range import discounted_range
from imitate.core.types import Source
from imitate.nets.return_heads import Atoms

__all__ = ["C51Config", "c51"]


@dataclass(frozen=True)
class C51Config(DQNConfig):
    """As `DQNConfig`, with the support of the return.

    Args:
        atoms: Points of the support.
        low: Its least return; by default from the rewards of the environment and the discount, see `discounted_range`.
        high: Its greatest; likewise.
    """

    atoms: Count = 51
    low: float | None = None
    high: float | None = None


@checked
def c51(source: Source, config: C51Config | None = None) -> DQN:
    """Learn probabilities of fixed returns; arguments and errors as of `DQN`.

    Raises:
        ValueError: An end of the support is not given, and not known of the environment.
    """
    config = config or C51Config()
    low, high = config.low, config.high
    if low is None or high is None:
        gammas = config.gamma if isinstance(config.gamma, tuple) else (config.gamma,)
        ranges = [discounted_range(source.spec, gamma, config.clip_reward) for gamma in gammas]
        if None in ranges:
            raise ValueError(f"low, high: the rewards of {source.spec.id} are unknown; pass --low and --high.")
        lows, highs = zip(*filter(None, ranges), strict=True)
        low, high = min(lows) if low is None else low, max(highs) if high is None else high
        if low >= high:
            raise ValueError(f"low, high: every return in {source.spec.id} is {low}; pass --low and --high.")
    return DQN(source, config, head=Atoms(config.atoms, low, high))
