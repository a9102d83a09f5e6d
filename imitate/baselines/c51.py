"""C51: DQN with another head, another loss (Bellemare, Dabney & Munos 2017)."""

from __future__ import annotations

from dataclasses import dataclass

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.types import Source
from imitate.nets.value_network import Atoms

__all__ = ["C51Config", "c51"]


@dataclass(frozen=True)
class C51Config(DQNConfig):
    """As `DQNConfig`, with the support of the return.

    Args:
        atoms: Points of the support.
        low: Its least return.
        high: Its greatest; with r a step and T steps it is r·(1 − γᵀ)/(1 − γ).
    """

    atoms: int = 51
    low: float = -10.0
    high: float = 10.0


def c51(source: Source, config: C51Config | None = None) -> DQN:
    """Learn probabilities of fixed returns; arguments and errors as of `DQN`."""
    config = config or C51Config()
    return DQN(source, config, head=Atoms(config.atoms, config.low, config.high))
