"""One of two policies at each step. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.core.types import Memory, Obs, Policy

__all__ = ["Mixture"]


class Mixture:
    """At each step the first policy with probability `beta`, else the second (Ross, Gordon & Bagnell 2011, §3).

    `beta` is a tensor [M] or scalar: change it in place.
    """

    @checked
    def __init__(self, first: Policy, second: Policy, beta: Tensor) -> None:
        self.first, self.second, self.beta = first, second, beta

    @property
    def noise(self) -> int:
        """One for the choice, and what both need."""
        return 1 + self.first.noise + self.second.noise

    def memory(self, *shape: int) -> Memory:
        """Both memories; each policy sees every step, whoever acts."""
        return self.first.memory(*shape), self.second.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Let both decide and choose between them, without noise the likelier one; records who acted."""
        one: Tensor | None
        two: Tensor | None
        one = two = None
        first_acts = self.beta.reshape(-1, 1) >= 0.5
        if noise is not None:
            choice, one, two = noise.split([1, self.first.noise, self.second.noise], dim=-1)
            first_acts = choice[..., 0] < self.beta.reshape(-1, 1)
        action_one, memory_one, _ = self.first.act(obs, one, memory[0])
        action_two, memory_two, _ = self.second.act(obs, two, memory[1])
        first_acts = first_acts.expand(tree.leaves(obs)[0].shape[:2])
        action = tree.where(first_acts, action_one, action_two)
        return action, (memory_one, memory_two), {"first_acted": first_acts}

    def over(self, change: Callable[[Policy], Policy]) -> Mixture:
        """The mixture of other policies, by the same `beta`."""
        return Mixture(change(self.first), change(self.second), self.beta)
