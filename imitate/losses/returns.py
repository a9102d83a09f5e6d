"""Returns as one backward recurrence.

Letters: T time; `*rest` is whatever follows it, usually M members and N environments.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from imitate.core.config import checked
from imitate.core.scan import linear_recurrence

__all__ = ["discounted_returns_so_far", "lambda_returns"]


@checked
def lambda_returns(
    reward: Float[Tensor, "T *rest"],
    discount: Float[Tensor, "T *rest"],
    next_value: Float[Tensor, "T *rest"],
    lam: Float[Tensor, "T *rest"],
) -> Float[Tensor, "T *rest"]:
    """λ-returns of a batch of trajectories.

        G_t = r_t + γ_t [(1 − λ_t) v(s_{t+1}) + λ_t G_{t+1}],   G_T = v(s_T)

    A terminal step has γ_t = 0 and a truncated one λ_t = 0, so episodes may end anywhere inside the batch; v is taken
    at the observation before auto-reset. `lambda_returns(…) − value` is GAE (Schulman et al. 2016, eq. 16).
    Source: Sutton & Barto (2018), §12.8, eq. 12.24 with G_{t+1} for the whole bracket's tail.

    Args:
        reward: r_t.
        discount: γ_t.
        next_value: v(s_{t+1}).
        lam: λ_t.
    """
    # Beyond the batch only the value is known: λ = 0 at the last step.
    lam = torch.cat([lam[:-1], torch.zeros_like(lam[-1:])])
    return linear_recurrence(discount * lam, reward + discount * (1 - lam) * next_value, reverse=True)


@checked
def discounted_returns_so_far(
    reward: Float[Tensor, "T *rest"], keep: Float[Tensor, "T *rest"], before: Float[Tensor, " *rest"]
) -> Float[Tensor, "T *rest"]:
    """Discounted sums of the rewards received so far, whose spread scales rewards.

        R_t = r_t + γ·¬done_{t−1}·R_{t−1}

    Source: Engstrom et al. (2020), §3, "reward scaling"; Stable-Baselines3's VecNormalize.

    Args:
        reward: r_t.
        keep: γ·¬done_{t−1}.
        before: R before the first step.
    """
    first = reward[:1] + keep[:1] * before
    return linear_recurrence(keep, torch.cat([first, reward[1:]]))
