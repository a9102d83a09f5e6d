"""Acting as in Stable-Baselines3: arrays in, arrays out. Letters: M members, B batch, K choices."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import ACTION_MASK, clip, unmasked
from imitate.core.arrays import as_tensor
from imitate.core.elements import elements
from imitate.core.types import Memory, Obs
from imitate_envs.base import Box, Discrete, MultiBinary, MultiDiscrete, Space

__all__ = ["predict"]


class Predicting(Protocol):
    """What `predict` needs of a policy."""

    members: int

    @property
    def observation(self) -> Space:
        """Space of observations."""

    @property
    def action(self) -> Space:
        """Space of actions."""

    @property
    def noise(self) -> int:
        """Uniforms that one decision consumes."""

    @property
    def device(self) -> torch.device:
        """Where it lives."""

    def memory(self, *shape: int) -> Memory:
        """Nothing remembered."""

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Decide."""


@torch.no_grad()
def predict(
    policy: Predicting,
    observation: Any,
    state: Any = None,
    episode_start: Any = None,
    deterministic: bool = False,
    *,
    member: int = 0,
    action_masks: Any = None,
) -> tuple[NDArray[Any], Any]:
    """One member's actions for one observation or a batch of them.

    Args:
        policy: Who acts.
        observation: As the environment gives it: an array [*obs] or [B, *obs], or a dict or tuple of them.
        state: What the last call gave; None at the first step. Without a memory it is passed through.
        episode_start: Where an episode begins, [B] (bool): the memory is empty there.
        deterministic: The mode instead of a draw (from torch's global generator).
        member: Which member of the population answers.
        action_masks: Which choices are admitted, [K] or [B, K]; by default what the observation says, or all.

    Returns:
        The action as the environment takes it, [*action] or [B, *action], inside the bounds of a Box; and the state
        for the next call.

    Raises:
        ValueError: The observation does not fit the space, a mask not the observation, or there is no such member.
    """
    if not -policy.members <= member < policy.members:
        raise ValueError(f"member: {member} is not one of the {policy.members} members.")
    space, mask = unmasked(policy.observation), action_masks
    if isinstance(observation, dict) and ACTION_MASK in observation:
        mask = observation[ACTION_MASK] if mask is None else mask
        rest = {name: value for name, value in observation.items() if name != ACTION_MASK}
        observation = rest["observation"] if rest.keys() == {"observation"} else rest
    obs, batched = elements(observation, space, "observation", device=policy.device)
    if mask is not None:
        bits = as_tensor(mask, torch.bool, policy.device, name="action_masks")
        rows = tree.leaves(obs)[0].shape[0]
        if bits.dim() > 2 or (bits.dim() == 2 and len(bits) != rows):
            raise ValueError(f"action_masks: shape {tuple(bits.shape)} is neither one mask nor one for each of {rows}.")
        obs = {"observation": obs, ACTION_MASK: bits.expand(rows, -1)}
    obs = tree.map(lambda x: x.unsqueeze(0).expand(policy.members, *x.shape), obs)
    shape = tree.leaves(obs)[0].shape[:2]
    memory = policy.memory(*shape)
    if memory is not None and state is not None:
        saved = iter(state)
        memory = tree.map(lambda fresh: as_tensor(next(saved), fresh.dtype, fresh.device, name="state"), memory)
        if episode_start is not None:
            began = as_tensor(episode_start, torch.bool, policy.device, name="episode_start").reshape(1, -1)
            memory = tree.where(began.expand(shape), policy.memory(*shape), memory)
    noise = None if deterministic else torch.rand(*shape, policy.noise, device=policy.device)
    action, memory, _ = policy.act(obs, noise, memory)
    answer = outward(clip(policy.action, action)[member].cpu().numpy(), policy.action)
    if memory is not None:
        state = tuple(leaf.cpu().numpy() for leaf in tree.leaves(memory))
    return (answer if batched else answer[0]), state


def outward(action: Any, space: Space) -> Any:
    """Actions [B, ...] as the environment takes them, [B, *action]."""
    if isinstance(space, Discrete):
        return action + space.start
    if isinstance(space, MultiDiscrete):
        return (action + np.asarray(space.start)).reshape(len(action), *space.outer)
    if isinstance(space, MultiBinary | Box):
        return action.reshape(len(action), *space.shape)
    return action
