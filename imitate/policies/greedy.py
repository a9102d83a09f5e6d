"""A policy without noise. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from imitate.core.config import checked
from imitate.core.types import Memory, Obs, Policy

__all__ = ["Greedy"]


class Greedy:
    """Answers with the mode of what a policy would draw from.

    Args:
        policy: Any policy, with a memory or without.
    """

    noise = 0

    @checked
    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def memory(self, *shape: int) -> Memory:
        """The policy's."""
        return self.policy.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """The most likely action."""
        return self.policy.act(obs, None, memory)

    def over(self, change: Callable[[Policy], Policy]) -> Greedy:
        """The mode of another policy."""
        return Greedy(change(self.policy))
