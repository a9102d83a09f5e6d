"""Rules of tabular learning as pure functions.

Letters: M members, B transitions of one member, A actions, K entries of a table (S states, or S·A pairs of a state and
an action); `*batch` is any leading shape.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

__all__ = [
    "decayed_trace",
    "deposit",
    "double_value",
    "greedy_value",
    "is_greedy",
    "soft_value",
    "step_size",
    "td_error",
]


def td_error(
    reward: Float[Tensor, "*batch"],
    discount: Float[Tensor, "*batch"],
    next_value: Float[Tensor, "*batch"],
    value: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch"]:
    """What a step tells beyond what was expected.

        δ_t = r_t + γ_t v(s_{t+1}) − v(s_t)

    Source: Sutton & Barto (2018), eq. 6.5; of SARSA, Expected SARSA and Q-learning the bracket of eq. 6.7 to 6.9.

    Args:
        reward: r_t.
        discount: γ_t, 0 where the step is terminal.
        next_value: v(s_{t+1}), whichever the algorithm takes.
        value: v(s_t).
    """
    return reward + discount * next_value - value


def greedy_value(q: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """max_a Q(s, a): the next value of Q-learning (Watkins 1989; Sutton & Barto 2018, eq. 6.8)."""
    return q.amax(-1)


def soft_value(q: Float[Tensor, "*batch A"], epsilon: Float[Tensor, "*#batch"]) -> Float[Tensor, "*batch"]:
    """Σ_a π(a|s) Q(s, a) for the ε-greedy π: the next value of Expected SARSA.

        (1 − ε) max_a Q(s, a) + ε mean_a Q(s, a)

    Source: van Seijen et al. (2009); Sutton & Barto (2018), eq. 6.9.
    """
    return (1 - epsilon) * q.amax(-1) + epsilon * q.mean(-1)


def double_value(q: Float[Tensor, "*batch A"], other: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """Q'(s, argmax_a Q(s, a)): one table chooses, the other one tells the value.

    Source: van Hasselt (2010), algorithm 1; Sutton & Barto (2018), eq. 6.10.

    Args:
        q: Values of the table that learns.
        other: Values of the other table.
    """
    return other.gather(-1, q.argmax(-1, keepdim=True)).squeeze(-1)


def is_greedy(q: Float[Tensor, "*batch A"], action: Int[Tensor, "*batch"]) -> Bool[Tensor, "*batch"]:
    """Whether an action is one of those of the largest value: Watkins's Q(λ) cuts its traces at any other."""
    return q.gather(-1, action.unsqueeze(-1)).squeeze(-1) >= q.amax(-1)


def decayed_trace(
    trace: Float[Tensor, "M B K"], index: Int[Tensor, "M B"], decay: Float[Tensor, "M B"]
) -> Float[Tensor, "M B K"]:
    """Accumulating eligibility traces after one more visit.

        e ← decay·e + 1[k = index],   decay = γλ, and 0 where an episode begins

    Source: Sutton & Barto (2018), eq. 12.5 with one-hot features.
    """
    decayed = trace * decay.unsqueeze(-1)
    return decayed.scatter_add(-1, index.unsqueeze(-1), torch.ones_like(index, dtype=trace.dtype).unsqueeze(-1))


def deposit(index: Int[Tensor, "M B"], amount: Float[Tensor, "M B"], entries: int) -> Float[Tensor, "M {entries}"]:
    """Sums of amounts by entry, the same from run to run: Σ_b amount_b 1[k = index_b]."""
    sums = torch.zeros(len(index), entries, dtype=amount.dtype, device=amount.device)
    if not amount.is_cuda:
        return sums.scatter_add_(1, index, amount)
    # On a GPU a scatter adds in any order; accumulating by index sorts first.
    member = torch.arange(len(index), device=index.device).unsqueeze(1).expand_as(index)
    return sums.index_put_((member, index), amount, accumulate=True)


def step_size(
    count: Float[Tensor, "M K"],
    share: Float[Tensor, "M K"],
    alpha: Float[Tensor, "M 1"],
    omega: Float[Tensor, "M 1"],
) -> Float[Tensor, "M K"]:
    """Step size of one visit to an entry that was visited `count` times, `share` of them at this moment.

        α_n = min(α / n^ω, 1 / share)

    For 1/2 < ω ≤ 1 it meets the conditions of stochastic approximation, Σα_n = ∞ and Σα_n² < ∞ (Sutton & Barto 2018,
    eq. 2.7; rates for Q-learning in Even-Dar & Mansour 2003). Where several environments are in one entry at a time
    their errors add up: with α = ω = 1 to the running mean of all targets. The bound 1/share keeps the entry from going
    past the mean of the targets of that moment; for a single environment it binds only where a step would exceed 1.

    Args:
        count: n, visits so far with the present ones.
        share: Present visits, or the sum of the present traces.
        alpha: α.
        omega: ω; 0 for a constant step size.
    """
    return torch.minimum(alpha * count.clamp(min=1) ** -omega, share.clamp(min=1).reciprocal())
