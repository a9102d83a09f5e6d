"""Bodies of networks: observation -> normaliser -> encoder -> memory -> features. Heads stand on them.

Letters: T time, M members, B batch, F features, H width of the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from imitate.core import tree
from imitate.core.actions import observed, unmasked
from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.core.parts import Parts
from imitate.core.types import Memory, Obs, fold, unfold
from imitate.nets import dense
from imitate.nets.convolution import Convolutions
from imitate.nets.inputs import Inputs
from imitate.nets.layers import ACTIVATIONS, Activation, Linear, RunningNorm
from imitate.nets.measure import admit_network
from imitate.nets.recurrent import GRU, LSTM
from imitate_envs.base import Space

__all__ = ["Body"]


class Body(nn.Module):
    """M bodies: observations of any space -> features [M, B, H].

    Numbers go through the hidden layers. Each image goes through convolutions and, where there are hidden layers at
    all, a layer of the width of the papers; one image alone ends there, others join the numbers before the hidden
    layers. A memory comes last.

    Args:
        observation: Space of observations; a mask of actions in it is not looked at.
        members: M.
        hidden: Widths of the hidden layers; None: observations are prepared, and nothing is made of them.
        activation: Of the hidden layers.
        init: Stream of the initialisation.
        normalise: Standardise numbers by running statistics, which are saved.
        clip_obs: Bound on a standardised number.
        gru: Units of a gated recurrent unit behind the hidden layers; 0: none.
        lstm: Units of a long short-term memory there; 0: none.
        spread: Draw weights uniformly, as value networks want them, instead of orthogonal ones; see `Linear.spread`.

    Attributes:
        width: H.
        flat: Whether it is a chain of affine maps with an activation between them and nothing else.

    Raises:
        ValueError: There is nothing to standardise, a width is less than 1, `clip_obs` is not positive, or two memories
            are asked for.
    """

    @checked
    def __init__(
        self,
        observation: Space,
        members: int,
        *,
        hidden: Sequence[int] | None,
        activation: Activation,
        init: Stream,
        normalise: bool = False,
        clip_obs: float = 10.0,
        gru: int = 0,
        lstm: int = 0,
        spread: bool = False,
    ) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation: '{activation}' is none of {', '.join(ACTIVATIONS)}.")
        for name, least, found in (("hidden", 1, hidden or ()), ("gru", 0, (gru,)), ("lstm", 0, (lstm,))):
            if any(units < least for units in found):
                raise ValueError(f"{name}: at least {least} units, not {min(found)}.")
        if not clip_obs > 0:
            raise ValueError(f"clip_obs: must be positive, not {clip_obs}.")
        if gru and lstm:
            raise ValueError(f"gru, lstm: one memory at most, not a gru of {gru} and an lstm of {lstm}.")
        admit_network(
            lambda init: Body(
                observation, 1, hidden=hidden, activation=activation, init=init, normalise=normalise, gru=gru, lstm=lstm
            ),
            members,
            init,
            {"members": members, "hidden": hidden or (), "gru": gru, "lstm": lstm},
        )
        self.inputs = Inputs(unmasked(observation))
        one_image = self.inputs.one_image
        if normalise and self.inputs.normalised == (0,):
            raise ValueError(
                f"normalise: observations of {observation} hold no numbers; there is nothing to standardise."
            )
        self.normaliser = RunningNorm(members, self.inputs.normalised, clip=clip_obs) if normalise else None

        def linear(inputs: int, outputs: int) -> Linear:
            made = Linear(members, inputs, outputs, init=init)
            return made.spread(init) if spread else made

        shapes = [] if hidden is None else self.inputs.images
        images = [Convolutions(members, image, init=init) for image in shapes]
        self.images = nn.ModuleList(images)
        self.image_layers = nn.ModuleList([linear(image.outputs, image.hidden) for image in images if hidden])
        wide = sum(image.hidden if hidden else image.outputs for image in images)
        widths = [self.inputs.flat + wide, *(() if one_image or hidden is None else hidden)]
        self.layers = nn.ModuleList([linear(i, o) for i, o in pairwise(widths)])
        self.activation = ACTIVATIONS[activation]
        self.cell: GRU | LSTM | None = None
        if gru:
            self.cell = GRU(members, widths[-1], gru, init=init)
        if lstm:
            self.cell = LSTM(members, widths[-1], lstm, init=init)
        self.width = gru or lstm or widths[-1]
        self.to(init.device)
        self.chain = list(self.layers.parameters())  # weight, bias, weight, …; walking the modules costs a layer
        self._layers = Parts([self.layers])

    @property
    def flat(self) -> bool:
        """Whether it is a chain of affine maps."""
        return not self.inputs.images and self.cell is None

    def prepare(self, obs: Obs) -> Any:
        """Observations [M, B, ...] as the encoder takes them: normalised, flat, images apart."""
        return self.inputs(observed(obs), self.normaliser)

    def observe(self, obs: Obs, mask: Tensor | None = None) -> None:
        """Let the normaliser, if there is one, learn from observations [M, B, ...], where a mask [M, B] says so."""
        if self.normaliser is not None:
            self.normaliser.update(self.inputs.numbers_of(observed(obs)), mask)

    def encode(self, x: Any) -> Tensor:
        """Prepared observations -> features before the memory."""
        if self.inputs.images:
            seen = [convolutions(picture) for convolutions, picture in zip(self.images, self._pictures(x), strict=True)]
            if self.image_layers:
                seen = [torch.relu(layer(each)) for layer, each in zip(self.image_layers, seen, strict=True)]
            x = seen[0] if self.inputs.one_image else torch.cat([x[0], *seen], -1)
        if self.chain and self._layers.untouched():
            return self.activation(dense.dense(x, self.chain, self.activation))
        for layer in self.layers:
            x = self.activation(layer(x))
        return cast(Tensor, x)

    def maps(self, x: Any) -> list[Tensor]:
        """What each convolution makes of prepared observations, [M, B, C, H, W]; of several images in turn."""
        pairs = zip(self.images, self._pictures(x), strict=True)
        return [layer for convolutions, picture in pairs for layer in cast(Convolutions, convolutions).maps(picture)]

    def _pictures(self, x: Any) -> Sequence[Tensor]:
        """The images of prepared observations."""
        if not self.inputs.images:
            return ()
        return [x] if self.inputs.one_image else x[1:]

    def memory(self, *shape: int) -> Memory:
        """Nothing remembered, for decisions of the shape (M, B); None without a memory."""
        return None if self.cell is None else self.cell.memory(*shape)

    def forward(self, x: Any, memory: Memory = None) -> tuple[Tensor, Memory]:
        """Prepared observations [M, B, ...] and the memory before them -> features [M, B, H], memory behind them."""
        features = self.encode(x)
        if self.cell is None:
            return features, None
        memory = self.memory(*features.shape[:2]) if memory is None else memory
        return cast("tuple[Tensor, Memory]", self.cell(features, memory))

    def unroll(self, x: Any, memory: Memory, starts: Tensor) -> tuple[Tensor, Memory]:
        """Sequences, with gradients through time.

        Args:
            x: Prepared observations [T, M, B, ...].
            memory: Before the first step, [M, B, ...].
            starts: Where an episode begins, [T, M, B] (bool): there the memory is empty before the step.

        Returns:
            Features [T, M, B, H], and the memory behind each step, [T, M, B, ...].
        """
        features = unfold(self.encode(fold(x)), len(starts))
        if self.cell is None:
            return features, None
        memory = self.memory(*starts.shape[1:]) if memory is None else memory
        states = self.cell.unroll(features, memory, starts)
        return (states if isinstance(states, Tensor) else states[0]), states


def last(memories: Memory) -> Memory:
    """The memory behind the last of T steps, of what `Body.unroll` returned."""
    return tree.map(lambda x: x[-1], memories)
