"""Random actions that last. Letters: M members, N environments of one member."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imitate.core.actions import action_mask
from imitate.core.config import checked
from imitate.core.types import Memory, Obs, Policy
from imitate.policies.random import Random
from imitate_envs.base import Discrete, Space

__all__ = ["EpsilonZGreedy"]


class EpsilonZGreedy:
    """ε-greedy whose random actions last: with probability `epsilon` one begins, and is repeated for n steps.

    n has the heavy tail P(n ≥ k) = 1/k, so now and then a whole episode follows one whim: what finds the goals that no
    walk of single random steps reaches. An episode ends it, and so does a mask that forbids it.

    Source: Dabney, Ostrovski & Barreto (2021), εz-greedy, §4, with a discrete Pareto law for their zeta law of μ = 2.

    Args:
        policy: Who acts otherwise.
        action: A Discrete space.
        epsilon: ε, a tensor [M] or scalar: change it in place. The share of random steps is several times as large.
    """

    @checked
    def __init__(self, policy: Policy, action: Space, epsilon: Tensor) -> None:
        if not isinstance(action, Discrete):
            raise ValueError(f"action: what lasts is one of finitely many, not one of {action}.")
        self.policy, self.random, self.epsilon = policy, Random(action), epsilon

    @property
    def noise(self) -> int:
        """Whether to begin, for how long, with what; and the policy's."""
        return 2 + self.random.noise + self.policy.noise

    def memory(self, *shape: int) -> Memory:
        """Steps that are left of a random action, the action, and the policy's own memory."""
        nothing = torch.zeros(shape, dtype=torch.int64, device=self.epsilon.device)
        return nothing, nothing, self.policy.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Go on with a random action, begin one, or let the policy decide; records which steps were random.

        Without noise the policy decides.
        """
        left, lasting, inner = memory
        if noise is None:
            action, inner, extras = self.policy.act(obs, None, inner)
            return action, (left, lasting, inner), extras
        choice, length, one, two = noise.split([1, 1, self.random.noise, self.policy.noise], dim=-1)
        begins = (left == 0) & (choice[..., 0] < self.epsilon.reshape(-1, 1))
        drawn, _, _ = self.random.act(obs, one, None)
        action, inner, _ = self.policy.act(obs, two, inner)
        lasting = torch.where(begins, drawn, lasting)
        # The inverse of the tail at 1 − u, which is never 0.
        left = torch.where(begins, (1 / (1 - length[..., 0])).long(), left)
        if (mask := action_mask(obs)) is not None:
            left = left * mask.gather(-1, lasting.unsqueeze(-1)).squeeze(-1)
        explored = left > 0
        return torch.where(explored, lasting, action), ((left - 1).clamp(min=0), lasting, inner), {"explored": explored}
