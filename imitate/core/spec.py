"""What is known of a source before it is used."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from imitate_envs.base import Space

__all__ = ["FOREVER", "Spec"]

FOREVER = 2**31 - 1  # time limit where none is known


@dataclass(frozen=True)
class Spec:
    """Where experience comes from, in figures: all that an algorithm must know to build its networks and memories.

    Args:
        id: Name of the environment.
        observation: Space of observations.
        action: Space of actions.
        members: M.
        num_envs: N, environments of one member.
        max_steps: Time limit of an episode, in steps.
        seed: Seed of all that is drawn there; algorithms name their own streams of it.
        device: Where its tensors live.
        obs_dtype: Type of the numbers of an observation: a tree as observations are.
        frames: Successive frames that an observation stacks along its first axis, the newest last; 1: it is no stack.
        reward_range: Least and greatest reward of a step that does not terminate the episode; None where unknown.
        final_reward_range: The same of a step that does.
    """

    id: str
    observation: Space
    action: Space
    members: int = 1
    num_envs: int = 8
    max_steps: int = FOREVER
    seed: int = 0
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - it is frozen
    obs_dtype: Any = torch.float32
    frames: int = 1
    reward_range: tuple[float, float] | None = None
    final_reward_range: tuple[float, float] | None = None
