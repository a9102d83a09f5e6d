"""Several estimates of each action's value, which disagree where little has been seen.

Letters: K estimates, A actions; `...` any leading shape.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.distributions.returns import EnsembleReturn

__all__ = ["Ensemble"]


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

    def returns(self, out: Tensor, points: Tensor) -> EnsembleReturn:
        """From [..., A, K]."""
        return EnsembleReturn(out)
