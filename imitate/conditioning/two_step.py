"""Planning and habit side by side, in the two-step task. `...` lanes, any leading shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta
from imitate.conditioning.values import one_hot, wide

__all__ = ["TwoStepHybrid", "TwoStepState"]


@dataclass(frozen=True)
class TwoStepState:
    """What has been learnt, and where the subject is."""

    first: Tensor  # values of the first choice from experience, [..., 2]
    second: Tensor  # values of the choices in the second stages, [..., stage, action]
    chosen: Tensor  # the last first choice, one-hot [..., 2]; zeros before any
    stage: Tensor  # [...] (int64): 0 first, 1 or 2 second


@dataclass(frozen=True)
class TwoStepHybrid:
    """Chooses by a mixture of planned and experienced values; the first action again with `pi` on its logit.

        planned_a = Σ_s P(s | a) max_b second_sb,   logits = β1·[w·planned + (1 − w)·first] + π·(chosen before)
        in a second stage s: logits = β2·second_s; on its reward r, with actions a and then b:
        first_a += α1(second_sb − first_a);  second_sb += α2(r − second_sb);  first_a += λα1(r − second_sb)

    The last line uses the value already updated, as hBayesDM's `ts_par7` does, so what reaches the first stage is
    λ(1 − α2) of the error. One decision is one trial of the record, its context the stage: 0, 1, 2 as in `TwoStep`.

    Source: Daw et al. (2011), supplementary experimental procedures; the order of hBayesDM (Ahn, Haines & Zhang 2017).

    Args:
        common: Probability that first action a leads to second stage 1 + a.
    """

    common: float = 0.7

    places: ClassVar[int] = 3

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`alpha1`, `beta1`, `alpha2`, `beta2`, `pi`, `w` (1: all planning), `lambda`."""
        return {
            "alpha1": Parameter(0.5),
            "beta1": Parameter(1.0, 0.0, math.inf),
            "alpha2": Parameter(0.5),
            "beta2": Parameter(1.0, 0.0, math.inf),
            "pi": Parameter(1.0, 0.0, 5.0),
            "w": Parameter(0.5),
            "lambda": Parameter(0.5),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> TwoStepState:
        """All values 0.

        Raises:
            ValueError: There are not two actions.
        """
        if actions != 2:
            raise ValueError(f"actions: the two-step task has 2, not {actions}.")
        like = theta["w"]
        zeros = torch.zeros(*shape, 2, dtype=like.dtype, device=like.device)
        stage = torch.zeros(shape, dtype=torch.int64, device=like.device)
        return TwoStepState(zeros, zeros.unsqueeze(-1).expand(*shape, 2, 2), zeros, stage)

    def observe(self, theta: Theta, state: TwoStepState, context: Tensor) -> TwoStepState:
        """Arrive at a stage."""
        return TwoStepState(state.first, state.second, state.chosen, context.expand_as(state.stage))

    def log_probs(self, theta: Theta, state: TwoStepState) -> Tensor:
        """Log-probability of each action at this stage, [..., 2]."""
        best = state.second.amax(-1)
        planned = self.common * best + (1 - self.common) * best.flip(-1)
        mixed = wide(theta, "w") * planned + (1 - wide(theta, "w")) * state.first
        first = wide(theta, "beta1") * mixed + wide(theta, "pi") * state.chosen
        here = self._here(state).unsqueeze(-1)
        second = wide(theta, "beta2") * (here * state.second).sum(-2)
        logits = torch.where((state.stage == 0).unsqueeze(-1), first, second)
        return logits - logits.logsumexp(-1, keepdim=True)

    def update(self, theta: Theta, state: TwoStepState, action: Tensor, reward: Tensor) -> TwoStepState:
        """Remember the first choice; learn from the reward of the second."""
        choice = one_hot(action, 2, state.first.dtype).expand_as(state.first)
        taken = self._here(state).unsqueeze(-1) * choice.unsqueeze(-2)  # zeros at the first stage
        value = (taken * state.second).sum((-2, -1))
        updated = value + theta["alpha2"] * (reward - value)
        follow = (state.stage > 0).unsqueeze(-1) * state.chosen * wide(theta, "alpha1")
        first = state.first + follow * (value.unsqueeze(-1) - state.first)
        first = first + follow * wide(theta, "lambda") * (reward - updated).unsqueeze(-1)
        second = state.second + taken * (updated - value).unsqueeze(-1).unsqueeze(-1)
        chosen = torch.where((state.stage == 0).unsqueeze(-1), choice, state.chosen)
        return TwoStepState(first, second, chosen, state.stage)

    def _here(self, state: TwoStepState) -> Tensor:
        """Which second stage, one-hot [..., 2]; zeros at the first."""
        return one_hot(state.stage - 1, 2, state.first.dtype)
