"""A policy without noise. Letters: M members, N environments of one member."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from imitate.core.types import Memory
from imitate.distributions.actions import Distribution, Teacher

__all__ = ["Greedy"]


class Greedy:
    """Takes the mode of a teacher's distribution."""

    noise = 0

    def __init__(self, teacher: Teacher) -> None:
        self.teacher = teacher

    def memory(self, *shape: int) -> Memory:
        """The teacher's."""
        return self.teacher.memory(*shape)

    def act(self, obs: Tensor, noise: Tensor, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """The most likely action."""
        return self.teacher.distribution(obs).mode, memory, {}

    def distribution(self, obs: Tensor) -> Distribution:
        """The teacher's."""
        return self.teacher.distribution(obs)
