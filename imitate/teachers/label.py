"""What a teacher says about the states of a rollout. Letters: T time, M members, N environments of one member."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import clip
from imitate.core.carried import Carried
from imitate.core.types import Memory, Obs, Policy, Rollout, fold
from imitate.distributions.actions import Distribution
from imitate_envs.base import Space

__all__ = ["Answers", "labels", "whole"]


class Answers:
    """A teacher's distributions along rollouts that follow on each other.

    Behind a view the teacher sees what was there, see `Viewed`.

    Args:
        teacher: Without a memory it needs `distribution`, with one `unroll`, as an `Actor` has them.
    """

    def __init__(self, teacher: Policy) -> None:
        self.teacher = teacher
        self.memory = Carried()  # begun at the first rollout, which tells its shape

    @torch.no_grad()
    def __call__(self, rollout: Rollout) -> Distribution:
        """The distribution at each state of a rollout [T, M, N], whoever drove: [M, T·N, ...].

        Raises:
            ValueError: The teacher tells actions alone.
        """
        if self.memory.tree is None:
            self.memory.begin(self.teacher.memory(*rollout.starts.shape[1:]))
        unroll = getattr(self.teacher, "unroll", None)
        if self.memory.tree is None or unroll is None:
            return self.at(fold(whole(rollout)))
        found, memories = unroll(whole(rollout), self.memory.tree, rollout.starts)
        self.memory.tree = tree.map(lambda leaf: leaf[-1], memories)
        return cast(Distribution, fold(found))

    @torch.no_grad()
    def at(self, obs: Obs) -> Distribution:
        """The distribution at single observations [M, B, ...]."""
        distribution = getattr(self.teacher, "distribution", None)
        if distribution is None or self.teacher.memory(1, 1) is not None:
            raise ValueError(f"teacher: a {type(self.teacher).__name__} does not tell how likely what it does is.")
        return cast(Distribution, distribution(obs))

    def state_dict(self) -> dict[str, Any]:
        """The teacher's memory of the episodes under way."""
        return self.memory.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        self.memory.load_state_dict(state)


@torch.no_grad()
def labels(rollout: Rollout, teacher: Policy, action: Space, memory: Memory = None) -> Tensor:
    """What the teacher would do at each state of a rollout, inside the bounds of a Box: [M, T·N, ...].

    Args:
        rollout: [T, M, N], whoever drove.
        teacher: Any policy.
        action: Space of actions.
        memory: Its own before the first step, [M, N, ...]; None without a memory.
    """
    if memory is None:
        return clip(action, teacher.act(fold(whole(rollout)), None, None)[0])
    steps, fresh = [], teacher.memory(*rollout.starts.shape[1:])
    for obs, starts in zip(tree.unbind(whole(rollout)), rollout.starts, strict=True):
        memory = tree.where(starts, fresh, memory)
        label, memory, _ = teacher.act(obs, None, memory)
        steps.append(label)
    return clip(action, fold(torch.stack(steps)))


def whole(rollout: Rollout) -> Obs:
    """What a teacher sees of a rollout: all that there was, also where the student has a view of it."""
    return rollout.extras.get("obs", rollout.obs)
