"""Gaussian noise on actions. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from imitate.core.actions import width
from imitate.core.config import checked
from imitate.core.noise import normal
from imitate.core.types import Memory, Obs, Policy
from imitate_envs.base import Box, Space

__all__ = ["Perturbed"]


class Perturbed:
    """Adds Gaussian noise to a continuous action.

    Demonstrations gathered so cover the states around the teacher's own path; `DART` says how large it should be.

    Args:
        policy: Whose actions.
        action: Space of actions.
        scale: Standard deviation in the units of the action, [M] or scalar; or L [M, A, A], for a covariance LLᵀ.
            Change it in place.

    Raises:
        ValueError: The actions are choices.
    """

    @checked
    def __init__(self, policy: Policy, action: Space, scale: Tensor) -> None:
        if not isinstance(action, Box):
            raise ValueError(f"action: Gaussian noise needs a Box, not {action}.")
        self.policy, self.action, self.scale, self.width = policy, action, scale, width(action)

    @property
    def noise(self) -> int:
        """The policy's, and one a dimension."""
        return self.policy.noise + self.width

    def memory(self, *shape: int) -> Memory:
        """The policy's."""
        return self.policy.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """The policy's action, displaced; without noise as it is."""
        if noise is None:
            return self.policy.act(obs, None, memory)
        own, extra = noise.split([self.policy.noise, self.width], dim=-1)
        action, memory, extras = self.policy.act(obs, own, memory)
        extras.pop("draw", None)  # of the action before it was displaced
        draw = normal(extra)
        noise = draw @ self.scale.mT if self.scale.dim() == 3 else self.scale.reshape(-1, 1, 1) * draw
        return action + noise, memory, extras

    def over(self, change: Callable[[Policy], Policy]) -> Perturbed:
        """The same over another policy, by the same `scale`."""
        return Perturbed(change(self.policy), self.action, self.scale)
