"""Members who are asked about what other members see. Letters: M members, N environments of one member, B batch.

The members of a policy stand in circles of K, one behind the other: 0 … K−1, K … 2K−1, and so on. Everything about a
circle is one batch, for its members are rows of one tensor.
"""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import Count, checked
from imitate.core.types import Obs
from imitate.distributions.actions import Distribution, Teacher, decide
from imitate.distributions.mean import mean_of

__all__ = ["Ensemble", "Peers", "neighbours"]

T = TypeVar("T")


def neighbours(x: T, size: int, distance: int = 1) -> T:
    """What stands `distance` places further in the circle of each member: a tree [M, ...] -> [M, ...]."""
    return tree.map(lambda leaf: leaf.unflatten(0, (-1, size)).roll(-distance, 1).flatten(0, 1), x)


class Peers:
    """What the others in a member's circle say together at what that member sees: the mean of their distributions.

    It is a `Teacher`. Its answers are those of the moment, so they change as the members learn.

    Args:
        policy: A policy of M members without a memory.
        size: K, members of a circle; divides M.

    Raises:
        ValueError: The members do not form such circles, or the policy has a memory.
    """

    @checked
    def __init__(self, policy: Teacher, size: Count = 2) -> None:
        members = int(getattr(policy, "members", 1))
        if size < 2 or members % size:
            raise ValueError(f"size: {members} members form no circles of {size}; take a divisor of {members} above 1.")
        _memoryless(policy)
        self.policy, self.size, self.members = policy, size, members
        self.noise = policy.noise

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    @torch.no_grad()
    def distribution(self, obs: Obs) -> Distribution:
        """The mean of K − 1 distributions at observations [M, B, ...]."""
        others = (self._at(obs, distance) for distance in range(1, self.size))
        return mean_of(list(others))

    def _at(self, obs: Obs, distance: int) -> Distribution:
        """What the member says that stands so many places further: it is handed the observations, and hands back."""
        said = self.policy.distribution(neighbours(obs, self.size, -distance))
        return neighbours(said, self.size, distance)

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action of the mean from uniforms [M, N, noise]; take its mode without them."""
        return decide(self.distribution(obs), noise), None, {}


class Ensemble:
    """All members of a policy as one: the mean of their distributions, at observations of anybody.

    It is a `Teacher` of one member, which serves students of any number of members: a population is distilled to one
    network. Every member is asked about every observation.

    Args:
        policy: A policy of M members without a memory.

    Raises:
        ValueError: The policy has a memory.
    """

    members = 1

    @checked
    def __init__(self, policy: Teacher) -> None:
        _memoryless(policy)
        self.policy, self.count = policy, int(getattr(policy, "members", 1))
        self.noise = policy.noise
        for name in ("observation", "action"):  # so that who teaches where is checked as for the policy itself
            if hasattr(policy, name):
                setattr(self, name, getattr(policy, name))

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    @torch.no_grad()
    def distribution(self, obs: Obs) -> Distribution:
        """The mean of M distributions at observations [M', B, ...]."""
        shape = tree.leaves(obs)[0].shape[:2]
        asked = tree.map(lambda x: x.flatten(0, 1).expand(self.count, -1, *x.shape[2:]), obs)
        said = mean_of(tree.unbind(self.policy.distribution(asked)))
        return tree.map(lambda x: x.unflatten(0, shape), said)

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action of the mean from uniforms [M', N, noise]; take its mode without them."""
        return decide(self.distribution(obs), noise), None, {}


def _memoryless(policy: Teacher) -> None:
    if policy.memory(1, 1) is not None:
        raise ValueError(
            "policy: it has a memory, so single observations do not tell what it says; take gru=0, lstm=0."
        )
