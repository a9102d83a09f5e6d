"""Labelled examples kept on the device: a growing set for each member.

Letters: M members, B batch.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.finite import finite
from imitate.core.noise import Stream, integers
from imitate.core.types import Obs, parts

__all__ = ["AT_ONCE", "Dataset", "Examples", "shuffled"]

T = TypeVar("T")

AT_ONCE = 16 * 2**20  # bytes of observations of several batches that are drawn together


def _rows(x: Tensor, index: Tensor) -> Tensor:
    """Rows [M, B, ...] of [M, C, ...] at indices [M, B]."""
    return x[torch.arange(len(x), device=x.device).unsqueeze(1), index]


def _append(old: Tensor, new: Tensor) -> Tensor:
    return torch.cat([old, new], 1)


def shuffled(batch: T, stream: Stream, epochs: int, size: int) -> Iterator[T]:
    """Minibatches of `size` rows of a tree [M, B, ...], in an order of its own for each member and epoch."""
    members, count = tree.leaves(batch)[0].shape[:2]
    for _ in range(epochs):
        for index in stream.uniform(members, count).argsort(1).split(size, 1):
            yield tree.map(lambda x: _rows(x, index), batch)  # noqa: B023


@dataclass(frozen=True)
class Examples:
    """Observations [M, B, ...] and what a teacher would do there, [M, B, *action]."""

    obs: Obs
    action: Tensor
    extras: Any = ()  # of the terms of a loss

    def at(self, index: Tensor) -> Examples:
        """The examples at indices [M, B]."""
        return tree.map(lambda x: _rows(x, index), self)


class Dataset:
    """Labelled examples of each member, aggregated on the device; members may hold different numbers of them.

    Beyond `capacity` it is a uniform sample of all that was ever added: every example draws a random key and those with
    the smallest keys stay: reservoir sampling without its loop (Efraimidis & Spirakis 2006, with equal weights).

    Args:
        members: M.
        capacity: Examples kept of each member.
        stream: Where keys and the indices of `sample` come from.

    Attributes:
        finite: Whether all examples so far were finite, a bool of each member [M].
    """

    def __init__(self, members: int, capacity: int, stream: Stream) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: at least 1 example, not {capacity}.")
        self.members, self.capacity, self.stream = members, capacity, stream
        self.size = torch.zeros(members, dtype=torch.int64, device=stream.generator.device)
        self.key = torch.empty(members, 0, device=stream.generator.device)
        self.finite = torch.ones(members, dtype=torch.bool, device=stream.generator.device)
        self._examples: Examples | None = None
        self._lacking = True  # whether a member has no examples; follows from `size`, known without a sync

    def add(self, examples: Examples, mask: Tensor | None = None) -> None:
        """Aggregate examples [M, B]; of those, only where `mask` [M, B] is true."""
        well = finite(examples, 0, 1)
        self.finite &= (well if mask is None else well | ~mask).all(1)
        key = self.stream.uniform(*examples.action.shape[:2])
        if mask is not None:
            key = torch.where(mask, key, math.inf)
        old = self._examples
        # A copy in either case: what a source collected is valid only until it collects again.
        joined = tree.map(Tensor.clone, examples) if old is None else tree.map(_append, old, examples)
        key = torch.cat([self.key, key], 1)
        if mask is not None or key.shape[1] > self.capacity or bool((self.size < self.key.shape[1]).any()):
            # Keep the smallest keys in their order, what does not count (key ∞) behind all that does.
            kept = key.topk(min(self.capacity, key.shape[1]), largest=False).indices.sort(1).values
            kept = kept.gather(1, key.gather(1, kept).isinf().int().argsort(dim=1, stable=True))
            longest = int((~key.gather(1, kept).isinf()).sum(1).max())
            kept = kept[:, :longest]
            joined, key = tree.map(lambda x: _rows(x, kept), joined), key.gather(1, kept)
        self._examples, self.key = joined, key
        self.size.copy_((~key.isinf()).sum(1))
        self._lacking = bool((self.size == 0).any())

    def sample(self, batch_size: int) -> Examples:
        """A batch [M, batch_size], uniform with replacement.

        Raises:
            ValueError: A member has no examples.
        """
        if self._examples is None or self._lacking:
            raise ValueError("demonstrations: a member has no examples to learn from.")
        uniform = self.stream.uniform(self.members, batch_size, dtype=torch.float64)
        index = integers(self.size.unsqueeze(1), uniform)
        return tree.map(lambda x: _rows(x, index), self._examples)

    def batches(self, batch_size: int, count: int) -> Iterator[Examples]:
        """`count` batches in turn, as of `sample`; as many as fit into `AT_ONCE` bytes are drawn together."""
        one = [] if self._examples is None else [leaf[:, :1].nbytes for leaf in tree.leaves(self._examples.obs)]
        each = max(1, sum(one) * batch_size)
        together = max(1, min(count, AT_ONCE // each))
        for done in range(0, count, together):
            these = min(together, count - done)
            yield from parts(self.sample(batch_size * these), these)

    def all(self) -> tuple[Examples, Tensor]:
        """All examples [M, C], and which of them count [M, C]; C is the largest member's size.

        Raises:
            ValueError: Nothing was added yet.
        """
        if self._examples is None:
            raise ValueError("demonstrations: the dataset is empty.")
        return self._examples, ~self.key.isinf()

    def state_dict(self) -> dict[str, Any]:
        """Examples, keys and the stream."""
        state: dict[str, Any] = {"size": self.size, "key": self.key, "stream": self.stream.state_dict()}
        if self._examples is not None:
            state["examples"] = {"obs": tree.as_dicts(self._examples.obs), "action": self._examples.action}
            if self._examples.extras:
                state["examples"]["extras"] = tree.as_dicts(self._examples.extras)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore.

        Raises:
            ValueError: Keys, examples and sizes do not go together.
        """
        device, shape = self.stream.generator.device, state["key"].shape
        rows = [leaf.shape[:2] for _, leaf in tree.flatten(state.get("examples", {}))]
        counted = (~state["key"].isinf()).sum(1)
        if shape[0] != self.members or any(row != shape for row in rows) or not torch.equal(counted, state["size"]):
            raise ValueError(f"keys {tuple(shape)} of {self.members} members do not go with their examples")
        self.stream.load_state_dict(state["stream"])
        self.size.copy_(state["size"])
        self._lacking = bool((self.size == 0).any())
        self.key = state["key"].to(device)
        saved = state.get("examples")  # absent where there were none: what is here now goes
        extras = {"extras": tree.of_dicts(saved["extras"])} if saved and "extras" in saved else {}
        found = saved and Examples(tree.of_dicts(saved["obs"]), saved["action"], **extras)
        self._examples = found and tree.map(lambda leaf: leaf.to(device), found)
