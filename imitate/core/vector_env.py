"""What is known of a VectorEnv: its name, time limit and frames, and how to build more of its kind."""

from __future__ import annotations

import copy
from collections.abc import Callable

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from imitate.core.fleet import AnyVectorEnv, is_ale
from imitate.core.single_env import frames_of, name_of, time_limit_of
from imitate.core.spec import FOREVER
from imitate.core.workers import Workers

__all__ = [
    "builder",
    "find_spec",
    "frames",
    "name",
    "require_distinct",
    "require_same_step",
    "time_limit",
]


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


def require_distinct(envs: AnyVectorEnv, argument: str, *others: AnyVectorEnv) -> None:
    """Refuse one and the same environment at several places, as of a function that builds none but returns its own.

    Raises:
        ValueError: There is one.
    """
    each = [
        id(env.unwrapped)
        for one in (envs, *others)
        if isinstance(one.unwrapped, SyncVectorEnv)
        for env in one.unwrapped.envs
    ]
    if len(set(each)) < len(each):
        raise ValueError(f"{argument}: the function gave one environment twice; each call must build a fresh one.")


def find_spec(envs: AnyVectorEnv) -> EnvSpec | None:
    """The spec of a vector environment, or the one that all its sub-environments share."""
    if envs.spec is not None:
        return envs.spec
    if not isinstance(envs.unwrapped, (SyncVectorEnv, AsyncVectorEnv)):
        return None
    first, *others = envs.unwrapped.get_attr("spec")
    return first if all(other == first for other in others) else None


def name(envs: AnyVectorEnv, spec: EnvSpec | None) -> str:
    """Id of the environment, or else the name of its class."""
    inner = envs.unwrapped
    if spec is not None:
        return spec.id
    if isinstance(inner, Workers):
        return inner.id
    return name_of(inner.envs[0]) if isinstance(inner, SyncVectorEnv) else type(inner).__name__


def time_limit(envs: AnyVectorEnv, spec: EnvSpec | None) -> int:
    """Most steps of an episode; 2³¹ − 1 where none is known."""
    limit = getattr(envs.unwrapped, "max_episode_steps", None)
    if limit is None and spec is not None:
        limit = spec.kwargs.get("max_episode_steps", spec.max_episode_steps)
        if limit is None and is_ale(envs):
            limit = (spec.kwargs["max_num_frames_per_episode"] or 0) // spec.kwargs["frameskip"]
    if limit is None and isinstance(envs.unwrapped, SyncVectorEnv):
        limit = max(time_limit_of(env) for env in envs.unwrapped.envs)
    return FOREVER if limit is None or limit < 1 else int(limit)


def frames(envs: AnyVectorEnv) -> int:
    """Frames of a stacked observation, where environments are known to stack them and nothing changes that."""
    if envs.unwrapped is not envs:
        return 1
    if is_ale(envs):
        return int(envs.single_observation_space.shape[0])
    if isinstance(envs, Workers):
        return envs.frames
    return frames_of(envs.envs[0]) if isinstance(envs, SyncVectorEnv) else 1


def builder(envs: AnyVectorEnv, spec: EnvSpec | None) -> Callable[[int], AnyVectorEnv] | None:
    """How to build any number of such environments; None where a vector wrapper or a missing spec hides it.

    Asynchronous ones are built synchronous: a process for each does not pay for the short time of a play.
    """
    if envs.unwrapped is not envs:
        return None
    functions = envs.env_fns if type(envs) in (SyncVectorEnv, AsyncVectorEnv, Workers) else None
    if isinstance(functions, (list, tuple)):  # and no generator, as of gymnasium.make_vec
        return lambda count: SyncVectorEnv(
            [functions[i % len(functions)] for i in range(count)], autoreset_mode=AutoresetMode.SAME_STEP
        )
    if spec is None:
        return None
    spec = copy.deepcopy(spec)
    spec.kwargs.pop("num_envs", None)  # it would win over the argument
    mode = spec.kwargs.pop("vectorization_mode", "sync")
    wrappers, options = spec.kwargs.pop("wrappers", None), spec.kwargs.pop("vector_kwargs", {})
    if mode == "vector_entry_point":
        return lambda count: gymnasium.make_vec(spec, count, mode)
    options = {**(options if mode == "sync" else {}), "autoreset_mode": AutoresetMode.SAME_STEP}
    return lambda count: gymnasium.make_vec(spec, count, "sync", options, wrappers)
