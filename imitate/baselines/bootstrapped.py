"""Bootstrapped DQN: several value functions, one of which drives each episode (Osband et al. 2016).

Letters: M members, N environments of one member, A actions, K value functions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, NonNegative, checked
from imitate.core.types import Obs, Source
from imitate.distributions.returns import EnsembleReturn
from imitate.nets.q_network import QNetwork, best
from imitate.nets.return_heads import Ensemble

__all__ = ["BootstrappedConfig", "Committed", "bootstrapped_dqn"]


@dataclass(frozen=True)
class BootstrappedConfig(DQNConfig):
    """As `DQNConfig`, without random actions, with the value functions.

    Args:
        heads: K, value functions of a member.
        prior: β, scale of the random function that each is learnt on top of, see `Ensemble`; 0 for none. It explores
            where these functions are about as large as the returns to be found.
    """

    epsilon: float = 0.0
    epsilon_end: float = 0.0
    heads: Count = 10
    prior: NonNegative[float] = 3.0


@checked
def bootstrapped_dqn(source: Source, config: BootstrappedConfig | None = None) -> DQN:
    """Learn K value functions and follow one a whole episode; arguments and errors as of `DQN`.

    Each value function has targets of its own and learns from every transition (p = 1 of the paper's masks), so that it
    is the priors, and where the weights began, that make them differ. Their mean is evaluated.

    Source: Osband et al. (2016), algorithm 1; the priors are those of Osband, Aslanides & Cassirer (2018).
    """
    config = config or BootstrappedConfig()
    return DQN(source, config, head=Ensemble(config.heads, config.prior), driver=Committed)


class Committed:
    """Greedy by one value function of K, drawn anew for each episode.

    Where the value functions disagree, a whole episode tests one opinion, so that exploration goes as deep as episodes
    are long.

    Args:
        policy: Whose head is an `Ensemble`.
    """

    noise = 1

    def __init__(self, policy: QNetwork) -> None:
        self.policy = policy

    def memory(self, *shape: int) -> Tensor:
        """The value function that drives; −1 before it is drawn."""
        return torch.full(shape, -1, device=self.policy.device)

    def act(self, obs: Obs, noise: Tensor | None, memory: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        """The action that it values most; records who drove. Without noise the first one is drawn."""
        values = cast(EnsembleReturn, self.policy.returns(obs)).values
        count = values.shape[-1]
        uniform = torch.zeros(memory.shape, device=memory.device) if noise is None else noise[..., 0]
        drawn = (uniform * count).long().clamp(max=count - 1)
        head = torch.where(memory < 0, drawn, memory)
        index = head.unsqueeze(-1).unsqueeze(-1).expand(*values.shape[:-1], 1)
        return best(values.gather(-1, index).squeeze(-1), obs), head, {"head": head}
