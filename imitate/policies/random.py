"""Uniform actions. Letters: M members, N environments of one member."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from imitate.core.rollout import bounds
from imitate_envs.base import Box, Discrete, Space

__all__ = ["Random"]


class Random:
    """Uniform over a space.

    Raises:
        ValueError: The space is a Box without finite bounds.
    """

    def __init__(self, action: Space) -> None:
        if isinstance(action, Box) and not action.bounded:
            raise ValueError(f"action: nothing is uniform over {action} without finite bounds.")
        self.action = action
        self.noise = 1 if isinstance(action, Discrete) else action.shape[0]

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Tensor, noise: Tensor, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Ignore the observation."""
        if isinstance(self.action, Discrete):
            return (noise[..., 0] * self.action.n).long(), None, {}  # float32 rounds no u·n with u < 1 up to n
        low, high = bounds(self.action, noise.device)
        return low + (high - low) * noise, None, {}
