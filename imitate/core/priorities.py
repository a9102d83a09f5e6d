"""Drawing in proportion to priorities. Letters: M members, B batch, P priorities of one member in blocks."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["blocks", "bounded", "search"]

_BLOCK = 256
_LEAST, _MOST = 1e-30, 1e30  # of a priority: the sum of a block stays finite and above 0 in float32


def blocks(members: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Room for `count` priorities of each member, zeros in whole blocks [M, P/256, 256]."""
    return torch.zeros(members, -(-count // _BLOCK), _BLOCK, device=device)


def bounded(priority: Tensor) -> Tensor:
    """Priorities of what can be drawn, not negative, as numbers by which `search` can."""
    return priority.clamp(_LEAST, _MOST)


def search(priority: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """Where the cumulative priority passes a share of its total.

    The sums of the blocks are searched first, then one block each: one cumulative sum over all takes longer, the more
    priorities there are. No priority of 0 is ever found, while there are others.

    Args:
        priority: Priorities [M, P/256, 256], 0 or `bounded`; at least one of each member is not 0.
        share: Shares [M, B] in [0, 1], in float64.

    Returns:
        Positions [M, B] among the P, and the priorities there.
    """
    sums = priority.sum(-1).double()
    total = sums.cumsum(1)
    # Rounding must not lead past the last block that holds something, nor past the last priority of the block.
    target = share.clamp(max=1 - 2**-53) * total[:, -1:]
    block = torch.searchsorted(total, target, right=True)
    rest = (target - (total - sums).gather(1, block)) / sums.gather(1, block)
    found = priority[torch.arange(len(priority), device=priority.device).unsqueeze(1), block]
    inner = found.double().cumsum(-1)
    target = rest.clamp(0, 1 - 2**-40).unsqueeze(-1) * inner[..., -1:]
    place = torch.searchsorted(inner, target, right=True)
    return block * priority.shape[-1] + place.squeeze(-1), found.gather(-1, place).squeeze(-1)
