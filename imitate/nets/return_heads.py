"""Heads of value networks: what is said about a return, and the levels at which it is said.

Letters: M members, B batch, H hidden, A actions, K levels or parameters of a distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from imitate.core.noise import Stream
from imitate.distributions.returns import (
    CategoricalReturn,
    EnsembleReturn,
    ExpectedReturn,
    ExpectileReturn,
    QuantileReturn,
    ReturnDistribution,
    midpoints,
)
from imitate.nets.layers import Linear

__all__ = [
    "Atoms",
    "CosineEmbedding",
    "Ensemble",
    "Expectiles",
    "FixedHead",
    "Fractions",
    "Implicit",
    "Proposal",
    "Quantiles",
    "ReturnHead",
    "Scalar",
]


@dataclass(frozen=True)
class Scalar:
    """The expected return alone (DQN)."""

    @property
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {}

    @property
    def outputs(self) -> int:
        """Outputs of the network for one action."""
        return 1

    def check(self) -> None:
        """Nothing can be wrong."""

    def points(self) -> Tensor:
        """None."""
        return torch.empty(0)

    def returns(self, out: Tensor, points: Tensor) -> ReturnDistribution:
        """The mean, from [..., A, 1]."""
        return ExpectedReturn(out.squeeze(-1))


@dataclass(frozen=True)
class Atoms:
    """Probabilities of `count` returns from `low` to `high`, evenly spaced (C51; Bellemare, Dabney & Munos 2017)."""

    count: int = 51
    low: float = -10.0
    high: float = 10.0

    @property
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {"atoms": self.count}

    @property
    def outputs(self) -> int:
        """Logits of one action."""
        return self.count

    def check(self) -> None:
        """Raise ValueError unless the support has two points and increases."""
        _at_least(2, self)
        if self.low >= self.high:
            raise ValueError(f"head: the support must increase, not go from {self.low} to {self.high}.")

    def points(self) -> Tensor:
        """The support."""
        return torch.linspace(self.low, self.high, self.count)

    def returns(self, out: Tensor, points: Tensor) -> ReturnDistribution:
        """From logits [..., A, K]."""
        return CategoricalReturn(out.log_softmax(-1), points)


@dataclass(frozen=True)
class Quantiles:
    """Quantiles at the midpoints of `count` equal shares of probability (QR-DQN; Dabney et al. 2018a).

    Args:
        count: Quantiles.
        kappa: κ of the loss, in units of return; see `QuantileReturn`.
    """

    count: int = 51
    kappa: float = 1.0

    @property
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {"quantiles": self.count}

    @property
    def outputs(self) -> int:
        """Quantiles of one action."""
        return self.count

    def check(self) -> None:
        """Raise ValueError unless there is a quantile and κ is positive."""
        _at_least(1, self)
        _positive("kappa", self.kappa)

    def points(self) -> Tensor:
        """Their levels."""
        return midpoints(self.count)

    def returns(self, out: Tensor, points: Tensor) -> ReturnDistribution:
        """From [..., A, K]."""
        return QuantileReturn(out, points, self.kappa)


@dataclass(frozen=True)
class Implicit:
    """Quantiles at any levels, `count` uniform ones at a time (IQN; Dabney et al. 2018b).

    Args:
        count: Levels drawn for a loss, and midpoints used to act.
        cosines: Width of the levels' embedding (eq. 4).
        kappa: κ of the loss, in units of return; see `QuantileReturn`.
    """

    count: int = 32
    cosines: int = 64
    kappa: float = 1.0

    @property
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {"levels": self.count, "cosines": self.cosines}

    @property
    def outputs(self) -> int:
        """One value of an action, at the level that goes in."""
        return 1

    def check(self) -> None:
        """Raise ValueError unless there are levels and cosines and κ is positive."""
        _at_least(1, self)
        _positive("cosines", self.cosines)
        _positive("kappa", self.kappa)

    def points(self) -> Tensor:
        """Levels to act by."""
        return midpoints(self.count)


@dataclass(frozen=True)
class Fractions:
    """Quantiles at the middles of `count` shares of probability that a network proposes (FQF; Yang et al. 2019).

    Args:
        count: Shares.
        cosines: Width of the levels' embedding.
        kappa: κ of the loss, in units of return; see `QuantileReturn`.
    """

    count: int = 32
    cosines: int = 64
    kappa: float = 1.0

    @property
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {"fractions": self.count, "cosines": self.cosines}

    @property
    def outputs(self) -> int:
        """One value of an action, at the level that goes in."""
        return 1

    def check(self) -> None:
        """Raise ValueError unless there are two shares, there are cosines and κ is positive."""
        _at_least(2, self)
        _positive("cosines", self.cosines)
        _positive("kappa", self.kappa)

    def points(self) -> Tensor:
        """None: levels are proposed for each observation."""
        return torch.empty(0)


@dataclass(frozen=True)
class Expectiles:
    """Expectiles at `count` evenly spaced levels, ½ among them (ER-DQN; Rowland et al. 2019).

    Args:
        count: Expectiles; odd.
        edge: Levels go from `edge` to 1 − `edge`.
    """

    count: int = 11
    edge: float = 0.01

    @property
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {"expectiles": self.count}

    @property
    def outputs(self) -> int:
        """Expectiles of one action."""
        return self.count

    def check(self) -> None:
        """Raise ValueError unless the count is odd and at least 3, and the edge lies between 0 and ½."""
        _at_least(3, self)
        if self.count % 2 == 0:
            raise ValueError(f"head: the mean is the middle expectile; take an odd count, not {self.count}.")
        if not 0 < self.edge < 0.5:
            raise ValueError(f"head: edge must lie between 0 and .5, not at {self.edge}.")

    def points(self) -> Tensor:
        """Their levels."""
        return torch.linspace(self.edge, 1 - self.edge, self.count)

    def returns(self, out: Tensor, points: Tensor) -> ReturnDistribution:
        """From [..., A, K]."""
        return ExpectileReturn(out, points)


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
    def sizes(self) -> dict[str, int]:
        """What shapes the network, by the names of the options."""
        return {"heads": self.count}

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


FixedHead = Scalar | Atoms | Quantiles | Expectiles | Ensemble  # what outputs mean is known beforehand
ReturnHead = FixedHead | Implicit | Fractions


class CosineEmbedding(nn.Module):
    """Features modulated by levels: ψ ⊙ relu(Σ_i cos(π i τ) w_i + b) (Dabney et al. 2018b, eq. 4).

    Args:
        members: M.
        cosines: Terms of the sum, from i = 0.
        width: H.
        init: Stream of the initialisation.
    """

    def __init__(self, members: int, cosines: int, width: int, *, init: Stream) -> None:
        super().__init__()
        self.linear = Linear(members, cosines, width, init=init)
        self.cosines = cosines

    def forward(self, x: Tensor, tau: Tensor) -> Tensor:
        """[M, B, H] at levels [M, B, K] -> [M, B·K, H]."""
        harmonics = math.pi * torch.arange(self.cosines, device=x.device, dtype=x.dtype)
        cosines = torch.cos(tau.unsqueeze(-1) * harmonics).flatten(1, 2)
        each = x.unsqueeze(2).expand(-1, -1, tau.shape[-1], -1).flatten(1, 2)
        return each * torch.relu(cast(Tensor, self.linear(cosines)))


class Proposal(nn.Module):
    """Shares of probability for each observation: softmax of a linear map of its features (Yang et al. 2019).

    The features are taken as constant: what is learnt here changes no value.

    Args:
        members: M.
        width: H.
        count: K, shares.
        init: Stream of the initialisation.
    """

    def __init__(self, members: int, width: int, count: int, *, init: Stream) -> None:
        super().__init__()
        self.linear = Linear(members, width, count, init=init, gain=0.01)  # begins with nearly equal shares

    def forward(self, x: Tensor) -> Tensor:
        """[M, B, H] -> [M, B, K], positive, of sum 1."""
        return cast(Tensor, self.linear(x.detach())).softmax(-1)


def _at_least(least: int, head: Atoms | Quantiles | Implicit | Fractions | Expectiles) -> None:
    if head.count < least:
        raise ValueError(f"head: {head.count} are too few for {type(head).__name__}.")


def _positive(name: str, value: float) -> None:
    if value <= 0:
        raise ValueError(f"head: {name} must be positive, not {value}.")
