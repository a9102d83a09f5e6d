"""Uniform actions. Letters: M members, N environments of one member, A dimensions, K choices made at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imitate.core import noise as noises
from imitate.core import tree
from imitate.core.actions import action_mask, bounds, choices, width
from imitate.core.config import checked
from imitate.core.types import Obs
from imitate_envs.base import Box, Discrete, Space, constant

__all__ = ["Random"]


class Random:
    """Uniform over a space of actions; of choices, over those that the mask of an observation admits.

    Args:
        action: The space.

    Raises:
        ValueError: The space is a Box without finite bounds.
    """

    @checked
    def __init__(self, action: Space) -> None:
        if isinstance(action, Box) and not action.bounded:
            raise ValueError(f"action: nothing is uniform over {action} without finite bounds.")
        self.action, self.noise = action, width(action)

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """A uniform action; without noise the middle one, and of choices the first that is admitted."""
        if noise is None:
            first = tree.leaves(obs)[0]
            middle = 0.5 if isinstance(self.action, Box) else 0.0
            noise = torch.full((*first.shape[:2], self.noise), middle, device=first.device)
        if isinstance(self.action, Box):
            low, high = bounds(self.action, noise.device)
            return low + (high - low) * noise, None, {}
        counts, mask = choices(self.action), action_mask(obs)
        if mask is None:
            # float32 rounds no u·n with u < 1 up to n
            action = (noise * constant(tuple(map(float, counts)), noise)).long()
        else:
            parts = mask.split(list(counts), -1)
            logits = [torch.where(part, 0.0, -torch.inf) for part in parts]
            drawn = [noises.categorical(part, u) for part, u in zip(logits, noise.unbind(-1), strict=True)]
            action = torch.stack(drawn, -1)
        return action.squeeze(-1) if isinstance(self.action, Discrete) else action, None, {}
