"""FQF: IQN whose levels are proposed by a network of their own (Yang et al. 2019).

Letters: B batch, K shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.core.config import Count, NonNegative, Positive, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.sequence_replay import Sample
from imitate.core.types import Metrics, Source
from imitate.distributions.regression import fraction_loss
from imitate.distributions.returns import QuantileReturn
from imitate.nets.q_network import QNetwork
from imitate.nets.return_heads import Fractions

__all__ = ["FQFConfig", "fqf"]


@dataclass(frozen=True)
class FQFConfig(DQNConfig):
    """As `DQNConfig`, with the shares of probability.

    Args:
        fractions: Shares of probability; a quantile stands for each.
        cosines: Width of the embedding of levels.
        kappa: κ of the quantile Huber loss, in units of return.
        fraction_lr: Learning rate of the proposals.
        entropy: Bonus on the entropy of the shares, in units of return: it keeps them from vanishing.
    """

    fractions: Count = 16
    cosines: Count = 32
    kappa: Positive[float] = 1.0
    fraction_lr: NonNegative[PerMember] = 1e-4
    entropy: float = 0.0


@checked
def fqf(source: Source, config: FQFConfig | None = None) -> DQN:
    """Learn quantiles, and where they say most about the return distribution; arguments and errors as of `DQN`.

    In a target each quantile counts with the width of its share, as the distribution has it; the paper's loss counts
    all alike, which is another distribution as soon as shares differ.
    """
    config = config or FQFConfig()

    def learner(policy: QNetwork) -> Learner[Sample]:
        assert policy.head.proposal is not None

        def loss(batch: Sample) -> tuple[Tensor, Metrics]:
            return _loss(policy, batch, config.entropy)

        # RMSprop, as in the paper: Adam without a first moment.
        return Learner([policy.head.proposal], loss, lr=config.fraction_lr, betas=(0.0, 0.95), epsilon=1e-5)

    head = Fractions(config.fractions, config.cosines, config.kappa)
    return DQN(source, config, head=head, proposals=learner)


def _loss(policy: QNetwork, batch: Sample, bonus: float) -> tuple[Tensor, Metrics]:
    """Loss of the shares [M], the values being constant; reports their entropy."""
    distribution = policy.returns(batch.obs).take(batch.action)
    assert (
        isinstance(distribution, QuantileReturn)
        and distribution.weights is not None
        and distribution.network is not None
    )
    upper = distribution.weights.cumsum(-1)
    tau = torch.cat([torch.zeros_like(upper[..., :1]), upper], -1)
    with torch.no_grad():
        at_tau = distribution.network(tau[..., 1:-1])
    entropy = torch.special.entr(distribution.weights).sum(-1)
    loss = fraction_loss(tau, at_tau, distribution.values.detach()) - bonus * entropy
    return (batch.weight * loss).mean(1), {"entropy": entropy.detach().mean(1)}
