"""What `GymnasiumSource` asks of a VectorEnv. Letters: B sub-environments."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import iterate
from gymnasium.wrappers import FrameStackObservation, OrderEnforcing, PassiveEnvChecker, TimeLimit
from numpy.typing import NDArray

__all__ = [
    "AnyVectorEnv",
    "builder",
    "find_spec",
    "frames",
    "last_observations",
    "require_same_step",
    "reset",
    "step_alive",
    "time_limit",
]

Array = NDArray[Any]
Flags = NDArray[np.bool_]
AnyVectorEnv = VectorEnv[Any, Any, Any]

_FOREVER = 2**31 - 1


def require_same_step(envs: AnyVectorEnv, name: str, argument: str) -> None:
    """Refuse environments that do not auto-reset in the step in which an episode ends.

    Raises:
        ValueError: They do not; the message says how to build ones that do.
    """
    # The vector environments of one class share `metadata`, and the last one built has written its mode
    # there, so the attribute is asked first.
    mode = getattr(envs.unwrapped, "autoreset_mode", envs.metadata.get("autoreset_mode"))
    if mode != AutoresetMode.SAME_STEP:
        raise ValueError(
            f"{argument}: autoreset mode {getattr(mode, 'name', mode)} is not supported; use "
            f"imitate.make({name!r}, ...) or gymnasium.make_vec({name!r}, num_envs={envs.num_envs}, "
            'vectorization_mode="sync", '
            'vector_kwargs={"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}).'
        )


def find_spec(envs: AnyVectorEnv) -> EnvSpec | None:
    """The spec of a vector environment, or the one that all its sub-environments share."""
    if envs.spec is not None:
        return envs.spec
    if not isinstance(envs.unwrapped, (SyncVectorEnv, AsyncVectorEnv)):
        return None
    first, *others = envs.unwrapped.get_attr("spec")
    return first if all(other == first for other in others) else None


def time_limit(envs: AnyVectorEnv, spec: EnvSpec | None) -> int:
    """Most steps of an episode; 2³¹ − 1 where none is known."""
    limit = getattr(envs.unwrapped, "max_episode_steps", None)
    if limit is None and spec is not None:
        limit = spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
        if limit is None and _is_ale(envs):
            limit = (spec.kwargs["max_num_frames_per_episode"] or 0) // spec.kwargs["frameskip"]
    return _FOREVER if limit is None or limit < 1 else int(limit)


def frames(envs: AnyVectorEnv) -> int:
    """Frames of a stacked observation, where environments are known to stack them and nothing changes that."""
    if envs.unwrapped is not envs:
        return 1
    if _is_ale(envs):
        return int(envs.single_observation_space.shape[0])
    first: Any = envs.envs[0] if isinstance(envs, SyncVectorEnv) else None
    while isinstance(first, (OrderEnforcing, PassiveEnvChecker, TimeLimit)):  # what gymnasium.make puts around all
        first = first.env
    return int(first.stack_size) if isinstance(first, FrameStackObservation) else 1


def _is_ale(envs: AnyVectorEnv) -> bool:
    """Whether they are games of the Arcade Learning Environment, simulated together."""
    return type(envs.unwrapped).__module__.partition(".")[0] == "ale_py"


def builder(envs: AnyVectorEnv, spec: EnvSpec | None) -> Callable[[int], AnyVectorEnv] | None:
    """How to build any number of such environments; None where a vector wrapper or a missing spec hides it.

    Asynchronous ones are built synchronous: a process for each does not pay for the short time of a play.
    """
    if spec is None or envs.unwrapped is not envs:
        return None
    spec = copy.deepcopy(spec)
    spec.kwargs.pop("num_envs", None)  # it would win over the argument
    mode = spec.kwargs.pop("vectorization_mode", "sync")
    wrappers, options = spec.kwargs.pop("wrappers", None), spec.kwargs.pop("vector_kwargs", {})
    if mode == "vector_entry_point":
        return lambda count: gymnasium.make_vec(spec, count, mode)
    options = {**(options if mode == "sync" else {}), "autoreset_mode": AutoresetMode.SAME_STEP}
    return lambda count: gymnasium.make_vec(spec, count, "sync", options, wrappers)


def reset(envs: AnyVectorEnv, seeds: Sequence[int]) -> Array:
    """First observations [B, *obs]; an environment with one generator for all takes the first seed alone."""
    seed: Any = seeds[0]
    if isinstance(envs.unwrapped, (SyncVectorEnv, AsyncVectorEnv)):
        seed = list(seeds)
    elif _is_ale(envs):
        seed = np.asarray(seeds)
    obs, _ = envs.reset(seed=seed)
    return np.asarray(obs)


def last_observations(infos: dict[str, Any], done: Flags, name: str) -> list[Array]:
    """The observations before auto-reset of the environments that are done.

    Raises:
        RuntimeError: Some are missing: the environment does not do what its autoreset mode says.
    """
    # Without a mask it is there for all or for none.
    if not infos.get("_final_obs", np.full_like(done, "final_obs" in infos))[done].all():
        raise RuntimeError(f"'{name}' ended episodes without their last observations in infos['final_obs'].")
    return [infos["final_obs"][i] for i in np.flatnonzero(done)]


def step_alive(envs: AnyVectorEnv, actions: Array, alive: Flags, obs: Array) -> tuple[Array, Array, Flags]:
    """One step of the environments that are `alive` [B]; what comes back of the others means nothing.

    In a plain SyncVectorEnv those stand still, which saves their time; any other steps all.

    Args:
        envs: The environments.
        actions: [B, *action].
        alive: Which to step.
        obs: The last observations [B, *obs], which may be overwritten.

    Returns:
        Observations [B, *obs], rewards [B], and whether the episode ended [B].
    """
    if type(envs) is not SyncVectorEnv:
        seen, reward, terminated, truncated, _ = envs.step(actions)
        return np.asarray(seen), reward, terminated | truncated
    reward, done = np.zeros(len(alive)), np.zeros(len(alive), np.bool_)
    commands = list(iterate(envs.action_space, actions))
    for i in np.flatnonzero(alive):
        obs[i], reward[i], terminated, truncated, _ = envs.envs[i].step(commands[i])
        done[i] = terminated or truncated
    return obs, reward, done
