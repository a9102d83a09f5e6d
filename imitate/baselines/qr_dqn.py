"""QR-DQN and IQN: DQN that learns quantiles (Dabney et al. 2018a, 2018b)."""

from __future__ import annotations

from dataclasses import dataclass

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, Positive, checked
from imitate.core.types import Source
from imitate.nets.return_heads import Implicit, Quantiles

__all__ = ["IQNConfig", "QRDQNConfig", "iqn", "qr_dqn"]


@dataclass(frozen=True)
class QRDQNConfig(DQNConfig):
    """As `DQNConfig`, with the quantiles.

    Args:
        quantiles: How many, at the midpoints of equal shares.
        kappa: κ of the quantile Huber loss, in units of return.
    """

    quantiles: Count = 25
    kappa: Positive[float] = 1.0


@checked
def qr_dqn(source: Source, config: QRDQNConfig | None = None) -> DQN:
    """Learn quantiles at fixed levels; arguments and errors as of `DQN`."""
    config = config or QRDQNConfig()
    return DQN(source, config, head=Quantiles(config.quantiles, config.kappa))


@dataclass(frozen=True)
class IQNConfig(DQNConfig):
    """As `DQNConfig`, with the levels.

    Args:
        levels: Drawn for a loss; the midpoints of as many act.
        cosines: Width of their embedding.
        kappa: κ of the quantile Huber loss, in units of return.
    """

    levels: Count = 16
    cosines: Count = 32
    kappa: Positive[float] = 1.0


@checked
def iqn(source: Source, config: IQNConfig | None = None) -> DQN:
    """Learn quantiles at levels drawn anew for each loss; arguments and errors as of `DQN`."""
    config = config or IQNConfig()
    return DQN(source, config, head=Implicit(config.levels, config.cosines, config.kappa))
