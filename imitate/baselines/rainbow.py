"""Rainbow: C51 with every refinement of its day switched on (Hessel et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass

from imitate.baselines.c51 import C51Config, c51
from imitate.baselines.dqn import DQN
from imitate.core.config import checked
from imitate.core.types import Source

__all__ = ["RainbowConfig", "rainbow"]


@dataclass(frozen=True)
class RainbowConfig(C51Config):
    """As `C51Config`, with Double, Dueling, 3-step returns, prioritised replay and noisy weights (table 1)."""

    double: bool = True
    dueling: bool = True
    n_step: int = 3
    priority: float = 0.5
    noisy: bool = True
    epsilon: float = 0.0
    epsilon_end: float = 0.0


@checked
def rainbow(source: Source, config: RainbowConfig | None = None) -> DQN:
    """Learn with all of them; arguments and errors as of `c51`."""
    return c51(source, config or RainbowConfig())
