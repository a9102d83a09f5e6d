"""The upper part of a value network: features -> return distribution of each action.

Letters: M members, B batch, H width of the features, A actions, K parameters of a distribution, or levels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import cast

from torch import Tensor, nn

from imitate.core.noise import Stream
from imitate.distributions.returns import QuantileReturn, ReturnDistribution
from imitate.nets.noisy import NoisyLinear, PlainLinear
from imitate.nets.return_heads import CosineEmbedding, FixedHead, Fractions, Implicit, Proposal, ReturnHead

__all__ = ["QHead"]


class QHead(nn.Module):
    """M stacks of hidden layers, advantages and state values, whose outputs a `ReturnHead` gives their meaning.

    Args:
        members: M.
        width: H.
        hidden: Widths of the hidden layers.
        actions: A.
        kind: What is said about a return.
        activation: Of the hidden layers.
        dueling: A state's value and the actions' advantages, by layers of their own (Wang et al. 2016, eq. 9).
        noisy: Learnable noise on all weights (Fortunato et al. 2018).
        init: Stream of the initialisation.
    """

    points: Tensor

    def __init__(
        self,
        members: int,
        width: int,
        hidden: Sequence[int],
        actions: int,
        kind: ReturnHead,
        *,
        activation: Callable[[Tensor], Tensor],
        dueling: bool,
        noisy: bool,
        init: Stream,
    ) -> None:
        super().__init__()
        kind.check()
        self.kind, self.actions, self.activation, self.noisy = kind, actions, activation, noisy
        layer = partial(NoisyLinear if noisy else PlainLinear, members, init=init)
        widths = [width, *hidden]
        self.hidden = nn.ModuleList([layer(i, o) for i, o in pairwise(widths)])
        self.advantage = layer(widths[-1], actions * kind.outputs)
        self.state_value = layer(widths[-1], kind.outputs) if dueling else None
        self.embedding = self.proposal = None
        if isinstance(kind, Implicit | Fractions):
            self.embedding = CosineEmbedding(members, kind.cosines, width, init=init)
        if isinstance(kind, Fractions):
            self.proposal = Proposal(members, width, kind.count, init=init)
        self.register_buffer("points", kind.points(), persistent=False)

    @property
    def affine(self) -> bool:
        """Whether it is a chain of affine maps with an activation between them."""
        return not self.noisy and self.state_value is None and self.embedding is None

    @property
    def layers(self) -> Sequence[nn.Module]:
        """All layers that may take noise, in order."""
        return [*self.hidden, self.advantage, *([self.state_value] if self.state_value is not None else [])]

    @property
    def levels(self) -> int:
        """Levels that are drawn for a row."""
        return self.kind.count if isinstance(self.kind, Implicit) else 0

    @property
    def noise(self) -> int:
        """Uniforms of one row that `forward` takes: levels of an implicit head, then those of noisy weights."""
        return self.levels + sum(cast(int, layer.noise) for layer in self.layers)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> ReturnDistribution:
        """Return distributions [M, B, A] at features [M, B, H] and uniforms [M, B, noise].

        Without noise weights are at their means and levels at midpoints.
        """
        drawn, parts = self._parts(noise)
        if self.embedding is None:
            return cast(FixedHead, self.kind).returns(self._outputs(x, parts), self.points)
        weights = None
        if self.proposal is not None:
            shares: Tensor = self.proposal(x)
            weights, shares = shares.unsqueeze(-2), shares.detach()
            tau = shares.cumsum(-1) - shares / 2
        else:
            tau = self.points.expand(*x.shape[:2], -1) if drawn is None else drawn
        values, kappa = self._at_levels(x, parts, tau), cast("Implicit | Fractions", self.kind).kappa
        return QuantileReturn(values, tau.unsqueeze(-2), kappa, weights, partial(self._quantile, x, parts))

    def features(self, x: Tensor) -> Tensor:
        """What the last layers stand on, [M, B, H'], without noise; of an implicit head what its levels meet."""
        return self._hidden(x, self._parts(None)[1]) if self.embedding is None else x

    def _parts(self, noise: Tensor | None) -> tuple[Tensor | None, Sequence[Tensor | None]]:
        """Drawn levels, and the uniforms of each layer."""
        nothing: list[Tensor | None] = [None] * len(self.layers)
        if noise is None:
            return None, nothing
        drawn, *parts = noise.split([self.levels, *(cast(int, layer.noise) for layer in self.layers)], -1)
        return drawn, parts if self.noisy else nothing

    def _outputs(self, x: Tensor, parts: Sequence[Tensor | None]) -> Tensor:
        """[M, B, H] -> [M, B, A, K]."""
        x = self._hidden(x, parts)
        out: Tensor = self.advantage(x, parts[len(self.hidden)]).unflatten(-1, (self.actions, -1))
        if self.state_value is not None:
            out = out + self.state_value(x, parts[-1]).unsqueeze(-2) - out.mean(-2, keepdim=True)
        return out

    def _hidden(self, x: Tensor, parts: Sequence[Tensor | None]) -> Tensor:
        """[M, B, H] -> [M, B, H'], by the hidden layers."""
        for layer, part in zip(self.hidden, parts, strict=False):
            x = self.activation(layer(x, part))
        return x

    def _at_levels(self, x: Tensor, parts: Sequence[Tensor | None], tau: Tensor) -> Tensor:
        """Quantiles [M, B, A, K] at levels [M, B, K]; a row, or the batch, has its noise once."""
        repeated = [
            part if part is None or part.shape[1] == 1 else part.repeat_interleave(tau.shape[-1], 1) for part in parts
        ]
        assert self.embedding is not None
        out = self._outputs(self.embedding(x, tau), repeated)  # [M, B·K, A, 1]
        values: Tensor = out.squeeze(-1).unflatten(1, tau.shape[1:])
        return values.transpose(-1, -2)

    def _quantile(self, x: Tensor, parts: Sequence[Tensor | None], tau: Tensor) -> Tensor:
        """The same at levels that broadcast to [M, B, A, K]; each action may have its own."""
        own = tau.shape[-2] if tau.dim() > 1 else 1
        values = self._at_levels(x, parts, tau.expand(*x.shape[:2], own, -1).flatten(2))
        return values if own == 1 else values.unflatten(-1, (own, -1)).diagonal(dim1=2, dim2=3).transpose(-1, -2)
