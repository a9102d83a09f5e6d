"""Several tasks as one source. Letters: T time, M members, N environments of one member, K tasks, E episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import unmasked
from imitate.core.checkpoint import load_state, state_of
from imitate.core.config import checked
from imitate.core.spec import Spec
from imitate.core.types import Obs, Policy, Rollout, Source
from imitate.core.wrappers import Viewed
from imitate_envs.base import Dict, Discrete, Space, Tuple

__all__ = ["Tasks", "tasks_in", "tell"]


class Tasks:
    """K sources of the same spaces as one: their environments stand side by side, task after task.

    An observation is a pair: what the environment shows, and the number of the task. So a network with one head is told
    the task by a one-hot input, and one with a head for each task (`Architecture.heads`) chooses the head by it.

    Args:
        sources: One a task. Sources that draw alike have another seed each.

    Attributes:
        sources: The same, each behind a view that tells its task.

    Raises:
        ValueError: They differ in their spaces, members or device, or show masks of actions.
    """

    @checked
    def __init__(self, sources: Sequence[Source]) -> None:
        if not sources:
            raise ValueError("sources: at least one task.")
        specs = [source.spec for source in sources]
        first = specs[0]
        for spec in specs[1:]:
            for name in ("observation", "action", "obs_dtype", "frames", "members", "device"):
                mine, theirs = getattr(first, name), getattr(spec, name)
                if mine != theirs:
                    raise ValueError(
                        f"sources: {first.id} has {name} {mine}, {spec.id} has {theirs}; all need the same."
                    )
        if unmasked(first.observation) is not first.observation:
            raise ValueError(f"sources: {first.id} shows masks of actions; wrap each source by without_mask first.")
        observation = Tuple((first.observation, Discrete(len(sources))))
        dtypes = (first.obs_dtype, torch.int64)
        self.sources = [
            Viewed(source, tell(task, first.observation), observation, obs_dtype=dtypes, whole=False)
            for task, source in enumerate(sources)
        ]
        self.spec: Spec = replace(
            first,
            id="+".join(spec.id for spec in specs),
            observation=observation,
            obs_dtype=dtypes,
            frames=1,
            num_envs=sum(spec.num_envs for spec in specs),
            max_steps=max(spec.max_steps for spec in specs),
            reward_range=first.reward_range if len({spec.reward_range for spec in specs}) == 1 else None,
            final_reward_range=first.final_reward_range
            if len({spec.final_reward_range for spec in specs}) == 1
            else None,
        )

    @property
    def finite(self) -> Tensor:
        """Whether all transitions of all tasks so far were finite, a bool of each member [M]."""
        known = [getattr(source.source, "finite", None) for source in self.sources]
        always = torch.ones(self.spec.members, dtype=torch.bool, device=self.spec.device)
        return torch.stack([always, *(one for one in known if one is not None)]).all(0)

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment of every task: [T, M, K·N]."""
        rollouts = [source.collect(policy, steps) for source in self.sources]
        memories = [rollout.memory for rollout in rollouts]
        together: Rollout = _beside([replace(rollout, memory=None) for rollout in rollouts], 2)
        return replace(together, memory=_beside(memories, 1))

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, K·E] of whole episodes, E of each task, task after task."""
        return torch.cat([source.play(policy, episodes, seed) for source in self.sources], 1)

    def state_dict(self) -> dict[str, Any]:
        """What changes in the sources."""
        return {str(task): state_of(source) for task, source in enumerate(self.sources)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        for task, source in enumerate(self.sources):
            load_state(source, state.get(str(task), {}))


def tell(task: int, observation: Space) -> Callable[[Obs], tuple[Obs, Tensor]]:
    """A view of observations of a space, [..., *shape], that tells the number of the task beside them, [...]."""

    def told(obs: Obs) -> tuple[Obs, Tensor]:
        leaf, space = obs, observation
        while isinstance(space, Dict | Tuple):
            key, space = space.spaces[0] if isinstance(space, Dict) else (0, space.spaces[0])
            leaf = leaf[key]
        shape = leaf.shape[: leaf.dim() - len(space.shape)]
        return obs, torch.full(shape, task, device=leaf.device)

    return told


def tasks_in(observation: Space) -> int | None:
    """K of a space of observations that tell their task; None of any other."""
    pair = observation.spaces if isinstance(observation, Tuple) else ()
    return pair[1].n if len(pair) == 2 and isinstance(pair[1], Discrete) else None


def _beside(trees: Sequence[Any], dim: int) -> Any:
    """Trees of one structure, put behind each other along a dimension of their leaves."""
    return tree.map(lambda *leaves: torch.cat(leaves, dim), trees[0], *trees[1:])
