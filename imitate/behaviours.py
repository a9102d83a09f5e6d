"""Policies made of policies. Letters: M members, N environments of one member."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from envs.base import Box, Discrete, Space
from imitate.core import tree
from imitate.core.noise import normal
from imitate.core.rollout import bounds
from imitate.core.types import Memory, Policy
from imitate.distributions import Distribution, Teacher

__all__ = ["EpsilonGreedy", "Greedy", "Mixture", "Persistent", "Perturbed", "Random"]


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
            return (noise[..., 0] * self.action.n).long(), None, {}  # float32 rounds no u·n with u < 1 up to n
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


class Persistent:
    """ε-greedy whose random actions last: with probability `beta` one begins, and is repeated for n steps.

    n has the heavy tail P(n ≥ k) = 1/k, so now and then a whole episode follows one whim: what finds the goals that no
    walk of single random steps reaches. An episode ends it.

    Source: Dabney, Ostrovski & Barreto (2021), εz-greedy, §4, with a discrete Pareto law for their zeta law of μ = 2.

    Args:
        policy: Who acts otherwise.
        action: A Discrete space.
        beta: ε, a tensor [M] or scalar: change it in place. The share of random steps is several times as large.
    """

    def __init__(self, policy: Policy, action: Space, beta: Tensor) -> None:
        if not isinstance(action, Discrete):
            raise ValueError(f"action: what lasts is one of finitely many, not one of {action}.")
        self.policy, self.random, self.beta = policy, Random(action), beta

    @property
    def noise(self) -> int:
        """Whether to begin, for how long, with what; and the policy's."""
        return 2 + self.random.noise + self.policy.noise

    def memory(self, *shape: int) -> Memory:
        """Steps that are left of a random action, the action, and the policy's own memory."""
        nothing = torch.zeros(shape, dtype=torch.int64, device=self.beta.device)
        return nothing, nothing, self.policy.memory(*shape)

    def act(self, obs: Tensor, noise: Tensor, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Go on with a random action, begin one, or let the policy decide; records which steps were random."""
        left, lasting, inner = memory
        choice, length, one, two = noise.split([1, 1, self.random.noise, self.policy.noise], dim=-1)
        begins = (left == 0) & (choice[..., 0] < self.beta.reshape(-1, 1))
        drawn, _, _ = self.random.act(obs, one, None)
        action, inner, _ = self.policy.act(obs, two, inner)
        lasting = torch.where(begins, drawn, lasting)
        # The inverse of the tail at 1 − u, which is never 0.
        left = torch.where(begins, (1 / (1 - length[..., 0])).long(), left)
        explored = left > 0
        return torch.where(explored, lasting, action), ((left - 1).clamp(min=0), lasting, inner), {"explored": explored}


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
