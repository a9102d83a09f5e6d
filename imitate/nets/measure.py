"""What a network takes, before it is made."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from imitate.core.noise import Stream
from imitate.core.room import admit

__all__ = ["admit_network"]

LARGEST = 2**48  # what a layer may have of anything: a few times more fills the address space


def admit_network(
    build: Callable[[Stream], nn.Module], copies: int, init: Stream, sizes: Mapping[str, int | Sequence[int]]
) -> None:
    """Refuse a population whose weights do not fit into memory, before they are drawn.

    One member is built on the device "meta", where tensors have shapes and no memory. What it needs to learn, gradients
    and moments, is the affair of `Learner`.

    Args:
        build: Makes a network of one member from the stream of its initialisation.
        copies: Of that network: M, or M·K.
        init: The stream that the population will be drawn from; while a network is measured nothing is looked at.
        sizes: The arguments that say how much it is.

    Raises:
        ValueError: It takes more than is free; or as `build` does.
    """
    if init.device.type == "meta":
        return
    numbers = {name: max(size, default=0) if isinstance(size, Sequence) else size for name, size in sizes.items()}
    each = math.inf if max(numbers.values()) > LARGEST else _bytes(build)
    admit("the weights", copies * each, numbers, init.device)


def _bytes(build: Callable[[Stream], nn.Module]) -> float:
    """What one member takes; infinitely many where a tensor has more numbers than can be counted."""
    try:
        with torch.device("meta"):
            made = build(Stream(0, "measured", "meta"))
    except (RuntimeError, TypeError) as error:
        if "overflow" not in str(error).lower():
            raise
        return math.inf
    parts = [part.nbytes for part in (*made.parameters(), *made.buffers())]
    return sum(parts) + max(parts, default=0)  # the largest is laid out twice while it is drawn
