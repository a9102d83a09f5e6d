"""What was done and what came of it, as part of the observation. A: actions; `*batch` is any leading shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Box, Discrete, Env, Informative

__all__ = ["Feedback", "FeedbackState"]


@dataclass(frozen=True)
class FeedbackState:
    """The state of the environment inside, and what the last step was."""

    inner: Any
    action: Tensor  # [...] (int64), −1 before the first step of an episode
    reward: Tensor  # [...], 0 before the first step


@dataclass(frozen=True)
class Feedback:
    """An environment whose observation also tells the last action and its reward.

    The observation is [that of the environment (one-hot if Discrete), one-hot last action (A), last reward (1)], of
    which the last two are zeros at the first step of an episode. A policy with memory needs no more to learn inside an
    episode: a Rescorla-Wagner learner on a bandit, or a recurrent network (Wang et al. 2016; Duan et al. 2016).

    Args:
        env: An environment with Discrete actions, whose observation is Discrete or a flat Box.

    Raises:
        ValueError: A space of `env` is another one.
    """

    env: Env

    def __post_init__(self) -> None:
        if not isinstance(self.env.action, Discrete):
            raise ValueError(f"env: its action must be Discrete to be shown one-hot, not {self.env.action}.")
        seen = self.env.observation
        if not (isinstance(seen, Discrete) or (isinstance(seen, Box) and len(seen.shape) == 1)):
            raise ValueError(f"env: its observation must be Discrete or a flat Box to be joined, not {seen}.")

    @property
    def observation(self) -> Box:
        """The three parts, flat."""
        seen, count = self.env.observation, self.action.n
        if isinstance(seen, Discrete):
            low, high = (0.0,) * seen.n, (1.0,) * seen.n
        else:
            assert isinstance(seen, Box)
            low, high = (b if isinstance(b, tuple) else (b,) * seen.shape[0] for b in (seen.low, seen.high))
        low, high = (*low, *(0.0,) * count, -math.inf), (*high, *(1.0,) * count, math.inf)
        return Box((len(low),), low, high)

    @property
    def action(self) -> Discrete:
        """That of the environment inside."""
        assert isinstance(self.env.action, Discrete)
        return self.env.action

    @property
    def step_noise(self) -> int:
        """That of the environment inside."""
        return self.env.step_noise

    @property
    def reset_noise(self) -> int:
        """That of the environment inside."""
        return self.env.reset_noise

    @property
    def max_steps(self) -> int:
        """That of the environment inside."""
        return self.env.max_steps

    def reset(self, noise: Float[Tensor, "*batch reset_noise"]) -> FeedbackState:
        """Nothing has happened yet."""
        shape, device = noise.shape[:-1], noise.device
        nothing = torch.full(shape, -1, dtype=torch.int64, device=device)
        return FeedbackState(self.env.reset(noise), nothing, torch.zeros(shape, dtype=noise.dtype, device=device))

    def observe(self, state: FeedbackState) -> Float[Tensor, "*batch features"]:
        """The three parts, joined."""
        obs = self.env.observe(state.inner)
        if isinstance(self.env.observation, Discrete):
            obs = _one_hot(obs, self.env.observation.n)
        parts = (obs, _one_hot(state.action, self.action.n), state.reward.unsqueeze(-1))
        return torch.cat([part.to(state.reward.dtype) for part in parts], -1)

    def step(
        self, state: FeedbackState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch step_noise"]
    ) -> tuple[FeedbackState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One step of the environment inside, kept for the observation."""
        inner, reward, terminated = self.env.step(state.inner, action, noise)
        return FeedbackState(inner, action.long(), reward.to(noise.dtype)), reward, terminated

    def info(self, state: FeedbackState) -> dict[str, Tensor]:
        """That of the environment inside, if it has any."""
        return self.env.info(state.inner) if isinstance(self.env, Informative) else {}


def _one_hot(index: Tensor, count: int) -> Tensor:
    """All false where the index is −1; torch's own reads the range of the indices, a sync."""
    return index.unsqueeze(-1) == torch.arange(count, device=index.device)
