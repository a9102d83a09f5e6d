"""Our environments as Gymnasium's Env and VectorEnv, and spaces there and back. N: environments of one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, iterate
from numpy.typing import NDArray
from torch import Tensor

from imitate_envs import ENVS
from imitate_envs.base import Box, Dict, Discrete, Env, Informative, MultiDiscrete, Space, State, Tuple
from imitate_envs.gymnasium_spaces import GymnasiumSpace, from_gymnasium, to_gymnasium
from imitate_envs.rendering import Renderer, metadata

__all__ = ["TensorEnv", "TensorVectorEnv", "from_gymnasium", "to_gymnasium"]

Array = NDArray[Any]


class TensorEnv(gymnasium.Env[Any, Any]):
    """One environment of ours for whatever expects a `gymnasium.Env`.

    The simulation runs in float64 and takes its uniforms from `np_random` as Gymnasium's classic control
    does, so the same seed and actions give the same episode here and there. Observations are float32. The
    time limit is left to `gymnasium.make`, whose TimeLimit may call a step both terminated and truncated;
    `TensorVectorEnv` never does.

    Args:
        env: An environment, or its id in `imitate_envs.ENVS`.
        render_mode: None or "rgb_array".
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - declared so by Gymnasium

    def __init__(self, env: Env | str, render_mode: str | None = None) -> None:
        self.env = _find(env)
        self.observation_space = to_gymnasium(self.env.observation)
        self.action_space = to_gymnasium(self.env.action)
        self.render_mode = render_mode
        self.metadata = metadata(self.env)
        self._renderer = Renderer(self.env)
        self._state: State = None  # until the first reset
        self._action: Tensor | None = None  # until an episode's first step

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; there are no options.

        Raises:
            ValueError: `options` holds something.
        """
        super().reset(seed=seed)
        _refuse(options or {})
        self._state, self._action = self.env.reset(_uniforms(self.np_random, self.env.reset_noise)), None
        return _observe(self.env, self._state, self.observation_space), self._info()

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step; never truncated.

        Raises:
            ResetNeeded: There was no reset yet.
            ValueError: A discrete action is not one of the environment's.
        """
        _require(self._state)
        self._action = _action(action, self.env.action, self.action_space)
        noise = _uniforms(self.np_random, self.env.step_noise)
        self._state, reward, terminated = self.env.step(self._state, self._action, noise)
        obs = _observe(self.env, self._state, self.observation_space)
        return obs, float(reward), bool(terminated), False, self._info()

    def render(self) -> Array | None:
        """An RGB image [H, W, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        _require(self._state)
        return self._renderer(self._state, self._action)

    def close(self) -> None:
        """Free the renderer."""
        self._renderer.close()

    def _info(self) -> dict[str, Any]:
        return {name: value.item() for name, value in _info(self.env, self._state).items()}


class TensorVectorEnv(VectorEnv[Any, Any, Array]):
    """N environments of ours in one batch for whatever expects a `gymnasium.vector.VectorEnv`.

    As `TensorEnv`, with one generator for all and the time limit kept here: a step may be terminated or
    truncated, never both. When episodes end under SAME_STEP, `infos` hold `final_obs` and `final_info` with
    their masks, as those of Gymnasium's `SyncVectorEnv` do.

    Args:
        env: An environment, or its id in `imitate_envs.ENVS`.
        num_envs: N.
        max_episode_steps: Time limit; that of the environment if None.
        autoreset_mode: When ended episodes begin anew: SAME_STEP, NEXT_STEP or DISABLED.
        render_mode: None or "rgb_array".
    """

    metadata = {"render_modes": ["rgb_array"], "autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(
        self,
        env: Env | str,
        num_envs: int = 1,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
    ) -> None:
        self.env = _find(env)
        self.num_envs = num_envs
        self.max_episode_steps = self.env.max_steps if max_episode_steps is None else max_episode_steps
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.single_observation_space = to_gymnasium(self.env.observation)
        self.single_action_space = to_gymnasium(self.env.action)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = render_mode
        self.metadata = {**metadata(self.env), "autoreset_mode": self.autoreset_mode}
        self._renderer = Renderer(self.env)
        self._state: State = None
        self._action: Tensor | None = None
        self._elapsed = np.zeros(num_envs, dtype=np.int64)
        self._done = np.zeros(num_envs, dtype=np.bool_)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        """Begin episodes.

        Args:
            seed: One seed for all N.
            options: Nothing, or a bool array [N] under "reset_mask" that says which environments to reset.

        Raises:
            ResetNeeded: The first reset has a mask.
            ValueError: `options` holds something else.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        mask = options.pop("reset_mask", None)
        _refuse(options)
        if mask is None:
            mask = np.ones(self.num_envs, dtype=np.bool_)
        else:
            _require(self._state)
        self._restart(mask)
        self._done[mask] = False
        return self._observe(), self._infos(mask)

    def step(self, actions: Any) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        """One step of all N.

        Raises:
            ResetNeeded: There was no reset yet.
            ValueError: A discrete action is not one of the environment's.
            RuntimeError: An episode has ended, and autoreset is disabled.
        """
        _require(self._state)
        if self.autoreset_mode is AutoresetMode.DISABLED and self._done.any():
            raise RuntimeError(f"Environments {np.flatnonzero(self._done).tolist()} have ended: reset them.")
        self._action = _action(actions, self.env.action, self.action_space)
        self._state, rewards, terminations = self.env.step(
            self._state, self._action, self._uniforms(self.env.step_noise)
        )
        reward, terminated = rewards.double().numpy(), terminations.numpy()
        self._elapsed += 1
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and self._done.any():
            self._restart(self._done)
            reward, terminated = np.where(self._done, 0.0, reward), terminated & ~self._done
        truncated = (self._elapsed >= self.max_episode_steps) & ~terminated
        self._done = terminated | truncated
        obs = self._observe()
        infos: dict[str, Any] = {}
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._done.any():
            last, ends = _info(self.env, self._state), list(iterate(self.observation_space, obs))
            for i in np.flatnonzero(self._done).tolist():
                final = {name: value[i].item() for name, value in last.items()}
                infos = self._add_info(infos, {"final_obs": ends[i], "final_info": final}, i)
            self._restart(self._done)
            obs = self._observe()
        infos |= self._infos(np.ones(self.num_envs, dtype=np.bool_))
        return obs, reward, terminated, truncated, infos

    def render(self) -> tuple[Array, ...] | None:
        """N RGB images [H, W, 3]; None without a render mode."""
        if self.render_mode is None:
            return None
        _require(self._state)
        return tuple(
            self._renderer(self._state[i], self._action[i] if self._elapsed[i] and self._action is not None else None)
            for i in range(self.num_envs)
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Free the renderer."""
        self._renderer.close()

    def _uniforms(self, width: int) -> Tensor:
        return _uniforms(self.np_random, self.num_envs, width)

    def _infos(self, mask: Array) -> dict[str, Any]:
        """What there is to know about the environments of a mask, and Gymnasium's masks for it."""
        infos: dict[str, Any] = {}
        for name, value in _info(self.env, self._state).items():
            infos[name], infos[f"_{name}"] = np.where(mask, value.numpy(), False), mask.copy()
        return infos

    def _observe(self) -> Any:
        return _observe(self.env, self._state, self.observation_space)

    def _restart(self, mask: Array) -> None:
        fresh = self.env.reset(self._uniforms(self.env.reset_noise))
        self._state = fresh if mask.all() else _where(torch.from_numpy(mask), fresh, self._state)
        self._elapsed[mask] = 0


def _find(env: Env | str) -> Env:
    if not isinstance(env, str):
        return env
    if env not in ENVS:
        raise ValueError(f"{env!r} is none of {', '.join(ENVS)}.")
    return ENVS[env]()


def _uniforms(generator: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(generator.random(shape))


def _observe(env: Env, state: State, space: GymnasiumSpace) -> Any:
    """Fresh arrays, or numpy scalars where one observation is a number; choices as Gymnasium counts them."""
    return _shown(env.observe(state), env.observation, space)


def _shown(obs: Any, ours: Space, theirs: Any) -> Any:
    """An observation of ours as the (batched) space of Gymnasium's has it."""
    if isinstance(ours, Dict):
        return {name: _shown(obs[name], inner, theirs[name]) for name, inner in ours.spaces}
    if isinstance(ours, Tuple):
        return tuple(_shown(one, *pair) for one, *pair in zip(obs, ours.spaces, theirs, strict=True))
    array = obs.numpy()
    if isinstance(ours, (Discrete, MultiDiscrete)):
        array = array + np.asarray(ours.start)
    return np.array(array, dtype=theirs.dtype).reshape(theirs.shape)[()]


def _info(env: Env, state: State) -> dict[str, Tensor]:
    return env.info(state) if isinstance(env, Informative) else {}


def _action(action: Any, ours: Any, theirs: GymnasiumSpace) -> Tensor:
    """The action as a tensor, choices counted from 0; a Box is left to the environment to clip."""
    if isinstance(ours, Box):
        return torch.from_numpy(np.array(action, dtype=np.float64).reshape(theirs.shape))
    if not theirs.contains(action):
        raise ValueError(f"{action!r} is not in the action space {theirs}.")
    choices = torch.from_numpy(np.array(action, dtype=np.int64))
    if isinstance(ours, Discrete):
        return choices - ours.start
    element = ours.outer if isinstance(ours, MultiDiscrete) else ours.shape
    flat = choices.reshape(*choices.shape[: choices.dim() - len(element)], -1)
    return flat - torch.tensor(ours.start) if isinstance(ours, MultiDiscrete) else flat


def _require(state: State) -> None:
    if state is None:
        raise gymnasium.error.ResetNeeded("Call reset first.")


def _refuse(options: dict[str, Any]) -> None:
    if options:
        raise ValueError(f"reset has no option {', '.join(map(repr, options))}.")


def _tree(function: Callable[..., Tensor], *states: State) -> State:
    """Apply `function` to the tensors of states, each a tensor or a dataclass, tuple or dict of states."""
    first = states[0]
    if isinstance(first, Tensor):
        return function(*states)
    if isinstance(first, dict):
        return {key: _tree(function, *(state[key] for state in states)) for key in first}
    if isinstance(first, tuple):
        return tuple(_tree(function, *entries) for entries in zip(*states, strict=True))
    changes = {f.name: _tree(function, *(getattr(state, f.name) for state in states)) for f in fields(first)}
    return replace(first, **changes)


def _where(mask: Tensor, new: State, old: State) -> State:
    return _tree(lambda a, b: torch.where(mask.reshape(-1, *[1] * (a.dim() - 1)), a, b), new, old)
