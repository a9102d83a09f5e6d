"""Observations as networks take them: numbers and one-hot choices side by side, images apart.

Letters: M members, B batch, F features, C channels, H height, W width; `...` any leading shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import reduce
from operator import getitem
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core.types import Obs
from imitate_envs.base import Box, Dict, Discrete, MultiDiscrete, Space, Tuple

__all__ = ["Inputs", "image_shape"]

SMALLEST = 3  # pixels: the kernel of the MinAtar network


class Inputs:
    """How the elements of a space become inputs of networks.

    Numbers come first, in the order of the space and flat, then choices, one-hot; every image stands by itself as
    [C, H, W], bytes in [0, 1] whatever type they are kept in. A space without images, or of one image alone, gives one
    tensor; any other a tuple of the flat features and the images.

    Args:
        space: Space of observations, without a mask.

    Attributes:
        numbers: How many numbers there are: what a normaliser standardises.
        flat: Numbers and one-hot choices together, F.
        images: (C, H, W) of each image.
    """

    def __init__(self, space: Space) -> None:
        self.space = space
        leaves = list(_leaves(space))
        self._images = [(at, leaf) for at, leaf in leaves if isinstance(leaf, Box) and image_shape(leaf) is not None]
        self._choices = [(at, leaf) for at, leaf in leaves if isinstance(leaf, Discrete | MultiDiscrete)]
        taken = [id(leaf) for _, leaf in (*self._images, *self._choices)]
        self._numbers = [(at, leaf) for at, leaf in leaves if id(leaf) not in taken]
        self.images = [shape for _, leaf in self._images if (shape := image_shape(leaf)) is not None]
        self.numbers = sum(math.prod(leaf.shape) for _, leaf in self._numbers)
        self.flat = self.numbers + sum(
            leaf.n if isinstance(leaf, Discrete) else sum(leaf.nvec) for _, leaf in self._choices
        )
        self._vector = isinstance(space, Box) and len(space.shape) == 1

    @property
    def one_image(self) -> bool:
        """Whether observations are one image and nothing else."""
        return len(self.images) == 1 and self.flat == 0

    @property
    def normalised(self) -> tuple[int, ...]:
        """Shape of what a normaliser standardises: the numbers, or one image alone; (0,) where there is neither."""
        return self._images[0][1].shape if self.one_image else (self.numbers,)

    def numbers_of(self, obs: Obs) -> Tensor:
        """What a normaliser standardises: all numbers of observations, [..., numbers], or one image as it is."""
        if self.one_image:
            image: Tensor = self._images[0][0](obs)
            return image
        if self._vector:
            vector: Tensor = obs
            return vector if vector.is_floating_point() else vector.float()
        parts = [_flat(at(obs), leaf).float() for at, leaf in self._numbers]
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)

    def __call__(self, obs: Obs, normalise: Callable[[Tensor], Tensor] | None = None) -> Any:
        """Observations [M, B, ...] as inputs; numbers, or one image alone, go through `normalise` first."""
        if self.one_image:
            image, space = self.numbers_of(obs), self._images[0][1]
            return _image(image, space) if normalise is None else _channels_first(normalise(image), space)
        flat = self._flat(obs, normalise)
        return flat if not self._images else (flat, *(_image(at(obs), leaf) for at, leaf in self._images))

    def _flat(self, obs: Obs, normalise: Callable[[Tensor], Tensor] | None) -> Tensor:
        parts = []
        if self.numbers:
            numbers = self.numbers_of(obs)
            parts.append(numbers if normalise is None else normalise(numbers))
        parts += [_one_hot(at(obs), leaf) for at, leaf in self._choices]
        if not parts:
            image: Tensor = self._images[0][0](obs)
            return torch.zeros(*image.shape[: image.dim() - 3], 0, device=image.device)
        return parts[0] if len(parts) == 1 else torch.cat(parts, -1)


def _leaves(space: Space, path: tuple[Any, ...] = ()) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    """The spaces that are neither a Dict nor a Tuple, each with what takes its element out of an observation."""
    if isinstance(space, Dict | Tuple):
        named = space.spaces if isinstance(space, Dict) else tuple(enumerate(space.spaces))
        for key, inner in named:
            yield from _leaves(inner, (*path, key))
    else:
        yield (lambda obs: reduce(getitem, path, obs)), space


def _flat(x: Tensor, space: Space) -> Tensor:
    """[..., *shape] -> [..., numbers]."""
    dims = len(space.shape)  # type: ignore[union-attr]
    return x.unsqueeze(-1) if dims == 0 else x.flatten(x.dim() - dims)


def _one_hot(x: Tensor, space: Discrete | MultiDiscrete) -> Tensor:
    if isinstance(space, Discrete):
        return F.one_hot(x.long(), space.n).float()
    parts = [F.one_hot(one, n).float() for one, n in zip(x.long().unbind(-1), space.nvec, strict=True)]
    return torch.cat(parts, -1)


def _image(x: Tensor, space: Box) -> Tensor:
    # Of a space from 0 to 255 floating numbers are bytes too; elsewhere they have a unit of their own.
    if not x.is_floating_point() or (space.low, space.high) == (0, 255):
        x = x.float() / _brightest(space)
    return _channels_first(x, space)


def _channels_first(x: Tensor, space: Box) -> Tensor:
    return x.movedim(-1, -3) if _channels_last(space) else x


def image_shape(observation: Space) -> tuple[int, ...] | None:
    """(C, H, W) of observations that are images, [C, H, W] or [H, W, C] of 3x3 pixels at least; None for others."""
    if not isinstance(observation, Box) or len(observation.shape) != 3:
        return None
    shape = observation.shape
    shape = shape[-1:] + shape[:-1] if _channels_last(observation) else shape
    return shape if min(shape[1:]) >= SMALLEST else None


def _brightest(observation: Box) -> float:
    """What a pixel is at most: 255, or 1 in an image of bits."""
    high = observation.high
    return 255.0 if isinstance(high, tuple) or math.isinf(high) else float(high)


def _channels_last(observation: Box) -> bool:
    """Whether an image is [H, W, C]: its channels are its smallest dimension, as Stable-Baselines3 has it too."""
    return min(observation.shape) < observation.shape[0]
