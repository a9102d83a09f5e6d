"""Losses as pure functions: unreduced, targets constant, each with its equation and source."""

from imitate.losses.distillation import cross_entropy, forward_kl, mse, reverse_cross_entropy, reverse_kl
from imitate.losses.importance import by_gap, value_gap
from imitate.losses.policy import approximate_kl, clipped_surrogate
from imitate.losses.returns import discounted_returns_so_far, lambda_returns

__all__ = [
    "approximate_kl",
    "by_gap",
    "clipped_surrogate",
    "cross_entropy",
    "discounted_returns_so_far",
    "forward_kl",
    "lambda_returns",
    "mse",
    "reverse_cross_entropy",
    "reverse_kl",
    "value_gap",
]
