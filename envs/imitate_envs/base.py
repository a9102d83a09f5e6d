"""What an environment is: a pure function of tensors, with its randomness passed in.

An environment is a frozen dataclass of physical constants. It has no device, no generator and no counter:
every method maps tensors with any leading shape `...` to tensors with the same leading shape, on the device
and in the float type of its inputs. Noise is a tensor of uniforms in [0, 1) whose width the environment
declares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from imitate_envs.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

__all__ = [
    "Box",
    "Dict",
    "Discrete",
    "Env",
    "Informative",
    "KnownRewards",
    "MultiBinary",
    "MultiDiscrete",
    "Space",
    "State",
    "Tuple",
    "constant",
]

State = Any  # a tensor, or a dataclass, tuple or dict of tensors, all with the same leading shape


class Env(Protocol):
    """A batched environment as pure functions; `...` is any leading shape."""

    @property
    def observation(self) -> Space:
        """Space of observations."""

    @property
    def action(self) -> Space:
        """Space of actions."""

    @property
    def step_noise(self) -> int:
        """Uniforms that one environment consumes in a step."""

    @property
    def reset_noise(self) -> int:
        """Uniforms that one environment consumes in a reset."""

    @property
    def max_steps(self) -> int:
        """Time limit in steps; the caller enforces it and marks the step as truncated."""

    def reset(self, noise: Tensor) -> State:
        """First states of episodes, from uniforms [..., reset_noise]."""

    def observe(self, state: State) -> Tensor:
        """Observations [..., *observation.shape]."""

    def step(self, state: State, action: Tensor, noise: Tensor) -> tuple[State, Tensor, Tensor]:
        """One step: actions [...] (Discrete) or [..., *action.shape] (Box), uniforms [..., step_noise].

        Returns:
            The next states, rewards [...] and `terminated` [...] (bool).
        """


@runtime_checkable
class KnownRewards(Protocol):
    """An environment that knows what its rewards can be; what needs a range of returns asks for it."""

    @property
    def reward_range(self) -> tuple[float, float]:
        """Least and greatest reward of a step that does not terminate the episode."""

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """Least and greatest reward of a step that does."""


@runtime_checkable
class Informative(Protocol):
    """An environment that tells more than it shows: what Gymnasium calls `info`, for the experimenter's eyes."""

    def info(self, state: State) -> dict[str, Tensor]:
        """Tensors [...] by name, about what `observe` shows of this state."""


def constant(value: float | tuple[float, ...], like: Tensor) -> Tensor:
    """A constant as a tensor of the type and device of `like`, made once: torch converts a plain number at each use."""
    return _constant(value, like.dtype, like.device)


@lru_cache(maxsize=256)
def _constant(value: float | tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(value, dtype=dtype, device=device)
