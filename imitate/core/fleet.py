"""The environments of a source at work: reset, step, and what they showed last. Letters: B environments.

`Each` steps single environments itself, `Together` any VectorEnv. Both copy what an environment hands over before they
call it again, as its arrays may be its own memory.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.arrays import as_array, as_number
from imitate.core.single_env import AnyEnv, mask_of
from imitate.core.translation import Observations, flat_mask
from imitate.core.workers import Workers

__all__ = ["AnyVectorEnv", "Each", "Fleet", "Step", "Together", "fleet", "is_ale"]

Array = NDArray[Any]
Flags = NDArray[np.bool_]
AnyVectorEnv = VectorEnv[Any, Any, Any]


@dataclass(frozen=True)
class Step:
    """One step of B environments.

    Args:
        reward: [B].
        terminated: [B].
        truncated: [B].
        last: Of every environment that ended, in order, the leaves of its last observation.
    """

    reward: Array
    terminated: Flags
    truncated: Flags
    last: list[list[Array]]


class Each:
    """Single environments, stepped one by one: also the last observation of one that reuses its memory is right."""

    def __init__(self, envs: Sequence[AnyEnv], name: str) -> None:
        self._envs, self._name = envs, name
        self._scalar = isinstance(envs[0].action_space, spaces.Discrete)
        self._begun: list[tuple[Any, Any]] = []  # first observations and masks

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin episodes."""
        self._begun = []
        for env, seed in zip(self._envs, seeds, strict=True):
            obs, info = env.reset(seed=seed)
            self._begun.append((_owned(obs), copy.deepcopy(mask_of(env, info))))

    def has_masks(self) -> bool:
        """Whether they say which actions are valid; known after a reset."""
        return self._begun[0][1] is not None

    def show(self, observations: Observations, out: Sequence[Array]) -> None:
        """Write the first observations into arrays [B, ...]."""
        count = observations.choices
        for i, (obs, mask) in enumerate(self._begun):
            observations.write_one(out, i, obs, None if count is None else _whole_mask(mask, count, self._name))

    def step(
        self, observations: Observations, out: Sequence[Array], actions: Array, alive: Flags | None = None
    ) -> Step:
        """One step of all, with auto-reset; or one of those that are alive [B] alone, and without."""
        count, last = len(self._envs), []
        reward = np.zeros(count)
        terminated, truncated = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        for i in range(count) if alive is None else np.flatnonzero(alive).tolist():
            env = self._envs[i]
            # The dots keep a single number of a Box an array.
            obs, paid, ended, cut, info = env.step(actions[i] if self._scalar else actions[i, ...])
            reward[i] = as_number(paid, "reward")
            if ended or cut:
                terminated[i], truncated[i] = ended, cut
                last.append(observations.copy(obs, self._mask(observations, i, info, last=True)))
                if alive is not None:
                    continue
                obs, info = env.reset()
            observations.write_one(out, i, obs, self._mask(observations, i, info))
        return Step(reward, terminated, truncated, last)

    def _mask(self, observations: Observations, i: int, info: dict[str, Any], last: bool = False) -> Array | None:
        if observations.choices is None:
            return None
        return _whole_mask(mask_of(self._envs[i], info), observations.choices, self._name, last)


class Together:
    """A VectorEnv, stepped as it is, with auto-reset in mode SAME_STEP."""

    def __init__(self, envs: AnyVectorEnv, name: str) -> None:
        self._envs, self._name = envs, name
        self._obs: Any = None
        self._infos: dict[str, Any] = {}
        self._by_method: bool | None = None  # until somebody wants to know

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin episodes; an environment with one generator for all takes the first seed alone."""
        seed: Any = seeds[0]
        envs = self._envs.unwrapped
        if isinstance(envs, (SyncVectorEnv, AsyncVectorEnv, Workers)):
            seed = list(seeds)
        elif is_ale(envs):
            seed = np.asarray(seeds)
        obs, infos = self._envs.reset(seed=seed)
        told: dict[str, Any] = {key: infos[key] for key in ("action_mask", "_action_mask") if key in infos}
        self._obs, self._infos = copy.deepcopy((obs, told))

    def has_masks(self) -> bool:
        """Whether they say which actions are valid; known after a reset."""
        return "action_mask" in self._infos or self._has_method()

    def show(self, observations: Observations, out: Sequence[Array]) -> None:
        """Write the first observations into arrays [B, ...]."""
        observations.write(out, self._obs, self._masks(observations, self._infos))

    def step(
        self, observations: Observations, out: Sequence[Array], actions: Array, alive: Flags | None = None
    ) -> Step:
        """One step of all; what comes back of those that are not alive means nothing."""
        obs, reward, terminated, truncated, infos = self._envs.step(actions)
        observations.write(out, obs, None)
        terminated, truncated = np.array(terminated, np.bool_), np.array(truncated, np.bool_)
        done, last = terminated | truncated, []
        paid = as_array(reward, "reward").flatten()  # a copy
        if paid.size != len(done):
            raise ValueError(
                f"reward: of shape {np.shape(reward)}; one for each of {len(done)} environments is needed."
            )
        if done.any():
            last = self._last(observations, infos, done)
        masks = self._masks(observations, infos)  # a method of the environment may be called for them
        if masks is not None:
            out[-1][...] = masks
        return Step(paid, terminated, truncated, last)

    def _last(self, observations: Observations, infos: dict[str, Any], done: Flags) -> list[list[Array]]:
        """The observations before auto-reset of the environments that are done.

        Raises:
            RuntimeError: Some are missing: the environment does not do what its autoreset mode says.
        """
        # Without a mask it is there for all or for none.
        if not infos.get("_final_obs", np.full_like(done, "final_obs" in infos))[done].all():
            raise RuntimeError(f"'{self._name}' ended episodes without their last observations in infos['final_obs'].")
        final, told = infos["final_obs"], infos.get("final_info", {})
        found = []
        for i in np.flatnonzero(done).tolist():
            mask = None
            if observations.choices is not None:
                given = _entry(told, "action_mask", i) if isinstance(told, dict) else (told[i] or {}).get("action_mask")
                mask = _whole_mask(given, observations.choices, self._name, last=True)
            found.append(observations.copy(_row(final, i), mask))
        return found

    def _has_method(self) -> bool:
        if self._by_method is None:
            envs = self._envs.unwrapped
            if isinstance(envs, (SyncVectorEnv, AsyncVectorEnv)):
                # Asked for an attribute that it lacks, a worker would stop.
                self._by_method = all(envs.call("has_wrapper_attr", "action_masks"))
            else:
                self._by_method = callable(getattr(envs, "action_masks", None))
        return self._by_method

    def _masks(self, observations: Observations, infos: dict[str, Any]) -> Array | None:
        """Masks [B, choices] of what is shown now."""
        count, envs = observations.choices, self._envs.unwrapped
        if count is None:
            return None
        if "action_mask" in infos:
            masks: Any = [_entry(infos, "action_mask", i) for i in range(self._envs.num_envs)]
        elif not self._has_method():
            masks = [None] * self._envs.num_envs
        else:
            is_list = isinstance(envs, (SyncVectorEnv, AsyncVectorEnv))
            masks = envs.call("action_masks") if is_list else envs.action_masks()
        return np.stack([_whole_mask(mask, count, self._name) for mask in masks])


class _Copied(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment whose observations and masks are its own: Gymnasium resets it before it looks at the last ones."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        obs, info = self.env.reset(seed=seed, options=options)
        return copy.deepcopy(obs), _with_own_mask(info)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return copy.deepcopy(obs), reward, terminated, truncated, _with_own_mask(info)


def _with_own_mask(info: dict[str, Any]) -> dict[str, Any]:
    return {**info, "action_mask": copy.deepcopy(info["action_mask"])} if "action_mask" in info else info


Fleet = Each | Together


def fleet(envs: AnyVectorEnv, name: str) -> Fleet:
    """A plain SyncVectorEnv is only a list of environments; any other one steps itself."""
    if type(envs) is SyncVectorEnv:
        return Each(envs.envs, name)
    inner = envs.unwrapped
    if isinstance(inner, SyncVectorEnv):
        inner.envs = [env if isinstance(env, _Copied) else _Copied(env) for env in inner.envs]
    return Together(envs, name)


def is_ale(envs: AnyVectorEnv) -> bool:
    """Whether they are games of the Arcade Learning Environment, simulated together."""
    return type(envs.unwrapped).__module__.partition(".")[0] == "ale_py"


def _whole_mask(mask: Any, count: int, name: str, last: bool = False) -> Array:
    """A mask of one environment [count]; nobody acts on the last observation of an episode, so it may lack one.

    Raises:
        RuntimeError: It lacks one elsewhere.
    """
    if mask is None and last:
        return np.ones(count, np.bool_)
    if mask is None:
        raise RuntimeError(f"'{name}' gave masks of its actions before, and none now; pass action_masks=False.")
    return flat_mask(mask, count)


def _owned(obs: Any) -> Any:
    """A copy of an observation; also of tensors that are results of a computation, which know no deep copy."""
    if isinstance(obs, dict):
        return {key: _owned(inner) for key, inner in obs.items()}
    if isinstance(obs, tuple):
        return tuple(_owned(inner) for inner in obs)
    return obs.detach().clone() if isinstance(obs, Tensor) else copy.deepcopy(obs)


def _entry(infos: dict[str, Any], key: str, i: int) -> Any:
    """What environment i said in stacked infos; None if nothing."""
    if key not in infos or not infos.get(f"_{key}", np.ones(i + 1, np.bool_))[i]:
        return None
    return _row(infos[key], i)


def _row(stacked: Any, i: int) -> Any:
    """What belongs to environment i in arrays, or dicts or tuples of them, that are stacked over environments."""
    if isinstance(stacked, dict):
        return {key: _row(inner, i) for key, inner in stacked.items()}
    if isinstance(stacked, tuple):
        return tuple(_row(inner, i) for inner in stacked)
    return stacked[i]
