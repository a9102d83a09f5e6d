"""ER-DQN: DQN that learns expectiles, with imputed samples as targets (Rowland et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import checked
from imitate.core.types import Source
from imitate.nets.return_heads import Expectiles

__all__ = ["ERDQNConfig", "er_dqn"]


@dataclass(frozen=True)
class ERDQNConfig(DQNConfig):
    """As `DQNConfig`, with the expectiles.

    Args:
        expectiles: How many, evenly spaced; odd, so that the mean is one of them.
        edge: The first level; the last is 1 − edge.
    """

    expectiles: int = 11
    edge: float = 0.01


@checked
def er_dqn(source: Source, config: ERDQNConfig | None = None) -> DQN:
    """Learn expectiles at fixed levels; arguments and errors as of `DQN`."""
    config = config or ERDQNConfig()
    return DQN(source, config, head=Expectiles(config.expectiles, config.edge))
