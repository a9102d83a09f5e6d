"""Policies made of policies. Letters: M members, N environments of one member."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from envs.base import Box, Discrete, Space
from imitate.core import tree
from imitate.core.noise import normal
from imitate.core.rollout import bounds
from imitate.core.types import Memory, Policy
from imitate.distributions import Distribution, Teacher

__all__ = ["EpsilonGreedy", "Greedy", "Mixture", "Perturbed", "Random"]


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
            return (noise[..., 0] * self.action.n).long().clamp_(max=self.action.n - 1), None, {}
        low, high = bounds(self.action, noise.device)
        return low + (high - low) * noise, None, {}


class Mixture:
    """At each step the first policy with probability `beta`, else the second (Ross, Gordon & Bagnell 2011, §3).

    `beta` is a tensor [M] or scalar: change it in place.
    """

    def __init__(self, first: Policy, second: Policy, beta: Tensor) -> None:
        self.first, self.second, self.beta = first, second, beta

    @property
    def noise(self) -> int:
        """One for the choice, and what both need."""
        return 1 + self.first.noise + self.second.noise

    def memory(self, *shape: int) -> Memory:
        """Both memories; each policy sees every step, whoever acts."""
        return self.first.memory(*shape), self.second.memory(*shape)

    def act(self, obs: Tensor, noise: Tensor, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Let both decide and choose between them; records who acted."""
        choice, one, two = noise.split([1, self.first.noise, self.second.noise], dim=-1)
        action_one, memory_one, _ = self.first.act(obs, one, memory[0])
        action_two, memory_two, _ = self.second.act(obs, two, memory[1])
        first_acts = choice[..., 0] < self.beta.reshape(-1, 1)
        action = tree.where(first_acts, action_one, action_two)
        return action, (memory_one, memory_two), {"first_acted": first_acts}


class EpsilonGreedy:
    """A random action with probability `epsilon` (a tensor [M] or scalar), else the mode."""

    def __init__(self, teacher: Teacher, action: Space, epsilon: Tensor) -> None:
        self.mixture = Mixture(Random(action), Greedy(teacher), epsilon)

    @property
    def noise(self) -> int:
        """One for the choice, and what a random action needs."""
        return self.mixture.noise

    def memory(self, *shape: int) -> Memory:
        """That of the greedy policy, beside nothing."""
        return self.mixture.memory(*shape)

    def act(self, obs: Tensor, noise: Tensor, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Explore or exploit."""
        action, memory, extras = self.mixture.act(obs, noise, memory)
        return action, memory, {"explored": extras["first_acted"]}


class Perturbed:
    """Adds Gaussian noise of standard deviation `scale` (tensor [M] or scalar, in action units) to a continuous action.

    Demonstrations gathered so cover the states around the teacher's own path (DART, Laskey et al. 2017).
    """

    def __init__(self, policy: Policy, action: Space, scale: Tensor) -> None:
        if not isinstance(action, Box):
            raise ValueError(f"action: Gaussian noise needs a Box, not {action}.")
        self.policy, self.scale, self.width = policy, scale, action.shape[0]

    @property
    def noise(self) -> int:
        """The policy's, and one a dimension."""
        return self.policy.noise + self.width

    def memory(self, *shape: int) -> Memory:
        """The policy's."""
        return self.policy.memory(*shape)

    def act(self, obs: Tensor, noise: Tensor, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """The policy's action, displaced."""
        own, extra = noise.split([self.policy.noise, self.width], dim=-1)
        action, memory, extras = self.policy.act(obs, own, memory)
        return action + self.scale.reshape(-1, 1, 1) * normal(extra), memory, extras
