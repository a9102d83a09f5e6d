"""Several estimates of each action's value, which disagree where little has been seen.

Letters: K estimates, A actions; `...` any leading shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.losses.value import huber

__all__ = ["Ensemble", "EnsembleLaw"]


@dataclass(frozen=True)
class EnsembleLaw:
    """Estimates of an expected return, all equally likely: what is not known of it, not how it is spread.

    Args:
        values: [..., K].
    """

    values: Float[Tensor, "*batch K"]

    @property
    def mean(self) -> Tensor:
        """Mean of the estimates."""
        return self.values.mean(-1)

    def take(self, action: Int[Tensor, "..."]) -> EnsembleLaw:
        """Estimates [..., K] of the chosen actions [...]."""
        index = action.unsqueeze(-1).unsqueeze(-1).expand(*action.shape, 1, self.values.shape[-1])
        return EnsembleLaw(self.values.gather(-2, index).squeeze(-2))

    def greedy(self, by: EnsembleLaw) -> EnsembleLaw:
        """Estimates [..., K] of the actions that each of another ensemble [..., A, K] likes best."""
        return EnsembleLaw(self.values.gather(-2, by.values.argmax(-2, keepdim=True)).squeeze(-2))

    def after(self, reward: Tensor, discount: Tensor) -> EnsembleLaw:
        """Every estimate moved."""
        return EnsembleLaw(reward.unsqueeze(-1) + discount.unsqueeze(-1) * self.values)

    def distance(self, target: EnsembleLaw) -> Tensor:
        """Huber loss of each against its own target, mean over the estimates."""
        return huber(target.values - self.values).mean(-1)

    def cdf(self, x: Tensor) -> Tensor:
        """Share of the estimates up to x."""
        return (self.values <= x.unsqueeze(-1)).to(self.values.dtype).mean(-1)

    def quantile(self, tau: Tensor) -> Tensor:
        """The estimate of that rank."""
        count = self.values.shape[-1]
        levels = tau.expand(*self.values.shape[:-1], tau.shape[-1])
        rank = (torch.ceil(levels * count) - 1).long().clamp(0, count - 1)
        return self.values.sort(-1).values.gather(-1, rank)

    def sample(self, noise: Tensor) -> Tensor:
        """Estimates, drawn."""
        return self.quantile(noise)


@dataclass(frozen=True)
class Ensemble:
    """`count` expected returns, each learnt on top of a random function of its own (bootstrapped DQN).

        q_k(s, a) = f_k(s, a; θ) + β p_k(s, a)

    p is a network like f with weights that stay as they were drawn. Far from all data the f_k say little, so the q_k
    differ as the p_k do.

    Source: Osband et al. (2016); with the prior Osband, Aslanides & Cassirer (2018).

    Args:
        count: K.
        prior: β; 0 for none.
    """

    count: int = 10
    prior: float = 0.0

    @property
    def outputs(self) -> int:
        """Estimates of one action."""
        return self.count

    def check(self) -> None:
        """Raise ValueError unless there is an estimate, and β is not negative."""
        if self.count < 1:
            raise ValueError(f"head: {self.count} are too few for Ensemble.")
        if self.prior < 0:
            raise ValueError(f"head: prior must not be negative, not {self.prior}.")

    def points(self) -> Tensor:
        """None."""
        return torch.empty(0)

    def law(self, out: Tensor, points: Tensor) -> EnsembleLaw:
        """From [..., A, K]."""
        return EnsembleLaw(out)
