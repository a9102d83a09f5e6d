"""Apprenticeship learning by projection. Letters: S states, A actions, K features."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from imitate.core.config import Count, Positive, Proper, checked
from imitate.inverse.occupancy import occupancy
from imitate.inverse.recovered import Recovered, visits
from imitate.teachers.planning import policy_iteration
from imitate_envs.tabular import TabularModel

__all__ = ["apprenticeship"]


@checked
def apprenticeship(
    model: TabularModel,
    expert: Tensor,
    gamma: Proper[float] = 0.99,
    *,
    features: Tensor | None = None,
    tolerance: Positive[float] = 1e-2,
    max_iterations: Count = 1000,
) -> Recovered:
    """A mixture of best policies whose features are those that were shown.

    From the features μ̄ of the mixture so far, the reward is w = f − μ̄. Its best policy, of features μ, joins with the
    share that brings the mixture nearest to f:

        μ̄ ← μ̄ + λ (μ − μ̄),   λ = (μ − μ̄)ᵀ(f − μ̄) / ‖μ − μ̄‖², at most 1

    Of any reward with ‖w‖ <= 1 the mixture then earns as much as was shown, but for ‖f − μ̄‖.

    Source: Abbeel & Ng (2004), §3.1, the projection method, and lemma 3. A mixture of policies, one drawn for each
    episode, has the same visits as one policy that draws in each state (Puterman 1994, theorem 6.9.1): that one
    is returned.

    Args:
        model: The environment; its own reward is not looked at.
        expert: Discounted visits that were shown, [S, A].
        gamma: γ, the same as of the visits.
        features: φ, [S, A, K]; by default the state that is entered.
        tolerance: ε, it is done when ‖f − μ̄‖ is no larger.
        max_iterations: Policies at most.

    Raises:
        ValueError: Shapes do not fit the model, or a number makes no sense.
    """
    expert, phi, shown = visits(expert, features, model)
    uniform = torch.full_like(model.reward, 1 / model.actions)
    mixed = occupancy(model, uniform, gamma)
    for iteration in range(1, max_iterations + 1):
        w = shown - torch.einsum("sa,sak->k", mixed, phi)
        if float(w.norm()) <= tolerance or iteration == max_iterations:
            break
        plan = policy_iteration(replace(model, reward=phi @ w), gamma)
        best = occupancy(model, one_hot(plan.actions, model.actions), gamma)
        apart = torch.einsum("sa,sak->k", best - mixed, phi)
        share = ((apart @ w) / (apart @ apart).clamp(min=1e-300)).clamp(0, 1)
        mixed = mixed + share * (best - mixed)
        if float(share) == 0:
            break  # no policy is nearer
    here = mixed.sum(-1, keepdim=True)
    policy = torch.where(here > 0, mixed / here.clamp(min=1e-300), uniform)
    gap = float(w.abs().amax())
    return Recovered(w, phi @ w, policy, mixed, gap, iteration, converged=float(w.norm()) <= tolerance)
