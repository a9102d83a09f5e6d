"""A task of two choices that tells planning from habit. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.bandits import take
from imitate_envs.base import Discrete
from imitate_envs.walks import Reflect

__all__ = ["TwoStep", "TwoStepState"]


@dataclass(frozen=True)
class TwoStepState:
    """Where the subject is, and what is rewarded there."""

    stage: Int[Tensor, "*batch"]  # 0: first stage; 1, 2: the two second stages
    chance: Float[Tensor, "*batch 4"]  # of a reward, at (second stage, action)


@dataclass(frozen=True)
class TwoStep:
    """Choose between two second stages, then there between two options that pay 1 with a slowly drifting probability.

    First-stage action a leads to second stage 1 + a with probability `common`, otherwise to the other one. A rewarded
    rare transition tells a planner to change the first action and a habit to repeat it. The observation is the stage.
    A trial is two steps, and all four probabilities walk after each; the episode is truncated after `trials` of them.

    Source: Daw et al. (2011), experimental procedures; the start of the walks is ours.

    Args:
        common: Probability of the common transition.
        walk: How the probabilities of reward move.
        trials: Trials of an episode.
    """

    common: float = 0.7
    walk: Reflect = Reflect()  # noqa: RUF009 - it is frozen
    trials: int = 201

    observation: ClassVar[Discrete] = Discrete(3)
    action: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 5
    reset_noise: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if not 0 <= self.common <= 1:
            raise ValueError(f"common: a probability, not {self.common}.")
        if not 0 <= self.walk.low < self.walk.high <= 1:
            raise ValueError(f"walk: between probabilities, not {self.walk.low} and {self.walk.high}.")
        if self.trials < 1:
            raise ValueError(f"trials: at least 1, not {self.trials}.")

    @property
    def max_steps(self) -> int:
        """Two a trial."""
        return 2 * self.trials

    def reset(self, noise: Float[Tensor, "*batch 4"]) -> TwoStepState:
        """The first stage."""
        stage = torch.zeros(noise.shape[:-1], dtype=torch.int64, device=noise.device)
        return TwoStepState(stage, self.walk.start(noise))

    def observe(self, state: TwoStepState) -> Int[Tensor, "*batch"]:
        """The stage."""
        return state.stage

    def step(
        self, state: TwoStepState, action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 5"]
    ) -> tuple[TwoStepState, Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """A transition from the first stage; a reward, the next trial and a move of the walks from a second one."""
        first = state.stage == 0
        rare = noise[..., 0] >= self.common
        option = (2 * (state.stage - 1)).clamp(min=0) + action
        reward = ((noise[..., 0] < take(state.chance, option)) & ~first).to(noise.dtype)
        stage = (1 + (action ^ rare)) * first
        walked = self.walk.step(state.chance, noise[..., 1:])
        chance = torch.where(first.unsqueeze(-1), state.chance, walked)
        return TwoStepState(stage, chance), reward, torch.zeros_like(first)
