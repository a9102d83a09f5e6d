"""Thorndike's cats. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Discrete

__all__ = ["PuzzleBox"]

T = TypeVar("T", float, Tensor)


@dataclass(frozen=True)
class PuzzleBox:
    """A cat in a box tries one act after another; one of them opens the door and earns 1.

    The inside of the box looks always the same: the observation is 0. The state counts escapes. After `trials` of them
    the episode terminates, after each earlier one the cat is put back. A learner across episodes takes one trial an
    episode; one whose memory lives inside an episode takes many, and `Feedback` to see that it got out.

    Source: Thorndike (1898); an act as a step of a fixed time is our formalisation.

    Args:
        acts: Acts that a cat has.
        correct: The one that opens the door.
        act_seconds: Time that an act takes, s.
        trials: Escapes that end an episode.
        max_steps: Acts after which the experimenter gives up.
    """

    acts: int = 8
    correct: int = 0
    act_seconds: float = 10.0
    trials: int = 1
    max_steps: int = 1000

    observation: ClassVar[Discrete] = Discrete(1)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if not 0 <= self.correct < self.acts:
            raise ValueError(f"correct: one of the acts 0, …, {self.acts - 1}, not {self.correct}.")
        if self.act_seconds <= 0:
            raise ValueError(f"act_seconds: must be positive, not {self.act_seconds}.")
        if self.trials < 1:
            raise ValueError(f"trials: at least 1, not {self.trials}.")

    @property
    def action(self) -> Discrete:
        """The acts."""
        return Discrete(self.acts)

    def latency(self, steps: T) -> T:
        """Time to escape, s: `act_seconds` for each act, the one that opens the door included."""
        return steps * self.act_seconds

    def reset(self, noise: Float[Tensor, "*batch 0"]) -> Int[Tensor, "*batch"]:
        """No escape yet."""
        return torch.zeros(noise.shape[:-1], dtype=torch.int64, device=noise.device)

    def observe(self, state: Int[Tensor, "*batch"]) -> Int[Tensor, "*batch"]:
        """The box: 0."""
        return torch.zeros_like(state)

    def step(
        self, state: Int[Tensor, "*batch"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 0"]
    ) -> tuple[Int[Tensor, "*batch"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """An act."""
        escaped = action == self.correct
        state = state + escaped.long()
        return state, escaped.to(noise.dtype), state >= self.trials
