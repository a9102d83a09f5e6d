"""What is held out to see whether a student generalises: whole episodes. Letters: M members, B batch, E episodes."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core.replay import Dataset, Examples
from imitate.core.types import fold
from imitate.losses.imitation import ImitationLoss
from imitate.nets.actor import Actor

__all__ = ["BY_STEPS", "Split", "held_out_error", "numbered"]

BY_STEPS = (
    "validation: of a single episode steps are held out; they resemble those trained on, so the held-out error says "
    "little of new episodes. Give more episodes, say where they end (done), or take more environments."
)

_TRAINED, _HELD_OUT = 1, 2  # sides of an episode; 0: it was not seen yet


class Split:
    """Deals examples out to a training and a held-out set; an episode is on one side for good.

    Steps of one episode resemble each other, so an error on held-out steps of a trained one says little of new ones.
    Of e episodes of a member ⌈share·e⌉ are held out, at least one and never all, at random. While a member has had one
    episode alone, a share of its steps is held out instead.

    Args:
        data: What is trained on.
        held_out: What is not; its stream draws the lots.
        share: Share of the episodes held out; 0: all is trained on.
    """

    def __init__(self, data: Dataset, held_out: Dataset, share: float) -> None:
        self.data, self.held_out, self.share = data, held_out, share
        self.side = torch.zeros(data.members, 0, dtype=torch.int8, device=data.size.device)  # [M, E]

    @property
    def by_steps(self) -> bool:
        """Whether steps of one and the same episode are on both sides, for lack of a second one."""
        return self.share > 0 and bool(((self.side > 0).sum(1) == 1).any())

    def add(self, examples: Examples, mask: Tensor, episode: Tensor) -> Tensor:
        """Deal out examples [M, B]; of those, only where `mask` [M, B] is true.

        Args:
            examples: The examples.
            mask: Which of them count, [M, B].
            episode: Number of the episode of each, from 0, [M, B].

        Returns:
            Which of them are trained on, [M, B].
        """
        if self.share == 0:
            self.data.add(examples, mask)
            return mask
        size, count = mask.shape[1], max(self.side.shape[1], int(episode.max()) + 1)
        lots, step = self.held_out.stream.uniform(*mask.shape), torch.arange(size, device=mask.device)
        # An episode draws the lot of its first example, so that a member draws what it would draw alone.
        first = torch.full((len(mask), count), size, device=mask.device)
        first.scatter_reduce_(1, episode, torch.where(mask, step, size), "amin")
        side = F.pad(self.side, (0, count - self.side.shape[1]))
        new = (first < size) & (side == 0)
        episodes = ((side > 0) | new).sum(1, keepdim=True)
        wanted = self._of(episodes) - (side == _HELD_OUT).sum(1, keepdim=True)
        chosen = _least(F.pad(lots, (0, 1)).gather(1, first), new, wanted)
        self.side = torch.where(chosen, _HELD_OUT, torch.where(new, _TRAINED, side)).to(torch.int8)
        steps = _least(lots, mask, self._of(mask.sum(1, keepdim=True)))
        held = torch.where(episodes == 1, steps, mask & (self.side.gather(1, episode) == _HELD_OUT))
        self.data.add(examples, mask & ~held)
        self.held_out.add(examples, held)
        return mask & ~held

    def _of(self, count: Tensor) -> Tensor:
        """How many of so many are held out: not all, and of none none."""
        return (count * self.share).ceil().minimum(count - 1).clamp(min=0)

    def state_dict(self) -> dict[str, Any]:
        """The side of each episode."""
        return {"side": self.side}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        self.side = state["side"].to(self.side.device)


def _least(lots: Tensor, among: Tensor, count: Tensor) -> Tensor:
    """Those `count` [M, 1] among some [M, K] that drew the least lots, [M, K] (bool)."""
    rank = torch.where(among, lots, math.inf).argsort(1).argsort(1)
    return among & (rank < count)


@torch.no_grad()
def held_out_error(student: Actor, held_out: Dataset, loss: ImitationLoss) -> Tensor:
    """Mean loss of each member [M] on its held-out examples."""
    examples, counts = held_out.all()
    error = loss(student.distribution(examples.obs), examples.action)
    return (error * counts).sum(1) / counts.sum(1)


def numbered(starts: Tensor, episode: Tensor) -> Tensor:
    """Numbers [M, T·N] of the episodes of a rollout, for `Split`, which goes on where the last one ended.

    Args:
        starts: Where an episode begins, [T, M, N].
        episode: Numbers of those under way, [M, N]: 0 … N − 1 before the first rollout. It counts on in place, by N.
    """
    numbers = episode + starts.cumsum(0) * starts.shape[2]
    episode.copy_(numbers[-1])
    return fold(numbers)
