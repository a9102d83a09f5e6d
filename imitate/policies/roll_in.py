"""One policy at the beginning of an episode, then another. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import checked
from imitate.core.types import Memory, Obs, Policy

__all__ = ["RollIn"]


class RollIn:
    """The first policy in the first `steps` of each episode, then the second (Uchendu et al. 2023).

    `steps` is a tensor [M] or scalar: change it in place.

    Args:
        first: Who begins, the guide.
        second: Who goes on.
        steps: For how long the first one acts.
    """

    @checked
    def __init__(self, first: Policy, second: Policy, steps: Tensor) -> None:
        self.first, self.second, self.steps = first, second, steps

    @property
    def noise(self) -> int:
        """What both need."""
        return self.first.noise + self.second.noise

    def memory(self, *shape: int) -> Memory:
        """Steps since the episode began, and both memories; each policy sees every step, whoever acts."""
        elapsed = torch.zeros(shape, dtype=torch.int64, device=self.steps.device)
        return elapsed, self.first.memory(*shape), self.second.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Let both decide, and take what the one decides whose turn it is; records where the first acted."""
        elapsed, memory_one, memory_two = memory
        one, two = (None, None) if noise is None else noise.split([self.first.noise, self.second.noise], dim=-1)
        action_one, memory_one, _ = self.first.act(obs, one, memory_one)
        action_two, memory_two, _ = self.second.act(obs, two, memory_two)
        first_acts = elapsed < self.steps.reshape(-1, 1)
        action = tree.where(first_acts, action_one, action_two)
        return action, (elapsed + 1, memory_one, memory_two), {"first_acted": first_acts}

    def over(self, change: Callable[[Policy], Policy]) -> RollIn:
        """The same of other policies, by the same `steps`."""
        return RollIn(change(self.first), change(self.second), self.steps)
