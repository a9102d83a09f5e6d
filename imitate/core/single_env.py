"""What is known of one environment of Gymnasium's by looking at it and its wrappers."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.wrappers import FrameStackObservation, OrderEnforcing, PassiveEnvChecker, TimeLimit

from imitate.core.spec import FOREVER

__all__ = ["AnyEnv", "frames_of", "mask_of", "name_of", "time_limit_of"]

AnyEnv = gymnasium.Env[Any, Any]


def name_of(env: AnyEnv) -> str:
    """Its id, or else the name of its class."""
    return type(env.unwrapped).__name__ if env.spec is None else env.spec.id


def time_limit_of(env: AnyEnv) -> int:
    """Most steps of an episode by its wrappers; 2³¹ − 1 where none limits it."""
    limit = FOREVER
    while isinstance(env, gymnasium.Wrapper):
        if isinstance(env, TimeLimit):
            limit = min(limit, env._max_episode_steps)
        env = env.env
    return limit


def frames_of(env: AnyEnv) -> int:
    """Frames of a stacked observation, where it is known to stack them and nothing changes that."""
    while isinstance(env, (OrderEnforcing, PassiveEnvChecker, TimeLimit)):  # what gymnasium.make puts around all
        env = env.env
    return int(env.stack_size) if isinstance(env, FrameStackObservation) else 1


def mask_of(env: AnyEnv, info: dict[str, Any]) -> Any:
    """Which actions it says are valid: `info["action_mask"]`, or its method `action_masks`; or None."""
    mask = info.get("action_mask")
    if mask is None and env.has_wrapper_attr("action_masks"):
        mask = env.get_wrapper_attr("action_masks")()
    return mask
