"""Losses of action values, unreduced: pure functions of tensors of one shape `*batch`. Letters: A actions."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

__all__ = ["greedy_action", "munchausen_bonus", "soft_value"]


def greedy_action(values: Float[Tensor, "*batch A"]) -> Int[Tensor, "*batch"]:
    """The action of greatest value; double Q-learning passes the online network's (van Hasselt et al. 2016)."""
    return values.argmax(-1)


def soft_value(values: Float[Tensor, "*batch A"], temperature: float) -> Float[Tensor, "*batch"]:
    """Value of the softmax policy with its entropy: τ log Σ exp(q/τ) (Haarnoja et al. 2017, eq. 3)."""
    return temperature * torch.logsumexp(values / temperature, dim=-1)


def munchausen_bonus(
    values: Float[Tensor, "*batch A"], action: Int[Tensor, "*batch"], temperature: float, lowest: float = -1.0
) -> Float[Tensor, "*batch"]:
    """The agent's own log-policy as a reward: max(l₀, τ log π(a|s)), π = softmax(q/τ) (Vieillard et al. 2020, eq. 1).

    Args:
        values: q of the target network at s.
        action: a.
        temperature: τ.
        lowest: l₀, which keeps it finite.
    """
    log_policy = (values / temperature).log_softmax(-1).gather(-1, action.unsqueeze(-1)).squeeze(-1)
    return (temperature * log_policy).clamp(min=lowest, max=0.0)
