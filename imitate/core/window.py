"""Observations of one rollout, written once as arrays and read as tensors. Letters: T time, M members, N, B = M·N."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.translation import Observations

__all__ = ["Window", "arrays"]

Array = NDArray[Any]


def arrays(leaves: Sequence[Tensor]) -> list[Array]:
    """Leaves [M, N, ...] on the CPU as arrays [B, ...] over the same memory."""
    return [leaf.flatten(0, 1).numpy() for leaf in leaves]


class Window:
    """T + 1 observations of M·N environments: on the CPU one copy into their place, and one more to a device.

    Args:
        observations: What they are.
        steps: T.
        shape: (M, N).
        device: Where the tensors live.
    """

    def __init__(self, observations: Observations, steps: int, shape: tuple[int, int], device: torch.device) -> None:
        self._observations = observations
        self._host = observations.room(steps + 1, *shape, pinned=device.type == "cuda")
        on_host = device.type == "cpu"
        self._leaves = self._host if on_host else observations.room(steps + 1, *shape, device=device)
        self._copies = [] if on_host else list(zip(self._leaves, self._host, strict=True))
        self._arrays = [leaf.flatten(1, 2).numpy() for leaf in self._host]
        self._rows = list(zip(*(leaf.unbind() for leaf in self._leaves), strict=True))

    def put(self, t: int, leaves: Sequence[Tensor]) -> None:
        """Copy leaves [M, N, ...] to place t."""
        for into, leaf in zip(self._host, leaves, strict=True):
            into[t] = leaf
        self.send(t)

    def rows(self, t: int) -> list[Array]:
        """Where observation t goes, [B, ...]."""
        return [array[t] for array in self._arrays]

    def send(self, t: int) -> None:
        """Hand observation t to the device, after it was written."""
        for there, here in self._copies:
            there[t].copy_(here[t], non_blocking=True)

    def obs(self, t: int) -> Any:
        """Observation t, [M, N, ...]."""
        return self._observations.tree(self._rows[t])

    def last(self) -> list[Tensor]:
        """The leaves of the last observation on the CPU."""
        return [leaf[-1] for leaf in self._host]

    def before(self) -> Any:
        """Observations before the steps, [T, M, N, ...]."""
        return self._observations.tree([leaf[:-1] for leaf in self._leaves])

    def after(self, ends: Array, last: Sequence[Sequence[Array]]) -> Any:
        """Observations after the steps, [T, M, N, ...], the last ones of episodes where they ended.

        Args:
            ends: Places in [T·M·N] where episodes ended, in order.
            last: Their last observations, leaf by leaf.
        """
        following = [leaf[1:].clone() for leaf in self._leaves]
        for leaf, column in zip(following, zip(*last, strict=True), strict=False):
            places = torch.from_numpy(ends).to(leaf.device)
            leaf.flatten(0, 2)[places] = torch.from_numpy(np.stack(column)).to(leaf)
        return self._observations.tree(following)
