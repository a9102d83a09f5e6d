"""Random actions now and then. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Any

from torch import Tensor

from imitate.core.config import checked
from imitate.core.types import Memory, Obs, Policy
from imitate.policies.mixture import Mixture
from imitate.policies.random import Random
from imitate_envs.base import Space

__all__ = ["EpsilonGreedy"]


class EpsilonGreedy:
    """A uniformly random action with probability ε, else what a policy does; `Greedy(policy)` makes that its mode.

    Args:
        policy: Who acts otherwise.
        action: Space of actions.
        epsilon: ε, a tensor [M] or scalar: change it in place.
    """

    @checked
    def __init__(self, policy: Policy, action: Space, epsilon: Tensor) -> None:
        self.policy, self.epsilon = policy, epsilon
        self.mixture = Mixture(Random(action), policy, epsilon)

    @property
    def noise(self) -> int:
        """One for the choice, what a random action needs, and what the policy does."""
        return self.mixture.noise

    def memory(self, *shape: int) -> Memory:
        """Nothing, beside the policy's."""
        return self.mixture.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Explore or exploit, without noise exploit; records which steps were random."""
        if noise is None:
            action, own, extras = self.policy.act(obs, None, memory[1])
            return action, (memory[0], own), extras
        action, memory, extras = self.mixture.act(obs, noise, memory)
        return action, memory, {"explored": extras["first_acted"]}

    def over(self, change: Callable[[Policy], Policy]) -> EpsilonGreedy:
        """The same over another policy, by the same `epsilon`."""
        made = copy(self)
        made.mixture = self.mixture.over(change)
        made.policy = made.mixture.second
        return made
