"""How often a policy is where, exactly or as demonstrations show it. Letters: S states, A actions, H horizon."""

from __future__ import annotations

import torch
from torch import Tensor

from imitate.core.config import Count, Proper, checked
from imitate.data import Demonstrations
from imitate_envs.tabular import TabularModel

__all__ = ["empirical_occupancy", "occupancy"]


@checked
def occupancy(
    model: TabularModel, policy: Tensor, gamma: Proper[float] = 0.99, *, horizon: Count | None = None
) -> Tensor:
    """Expected discounted visits of a policy, [S, A]; after the end of an episode there are none.

        D(s, a) = Σ_t γᵗ P(s_t = s, a_t = a),   D = π (p₀ + γ P_πᵀ d)

    Without a horizon it is the solution of a linear system. With one, the first H steps count in full and γ is 1.

    Source: Puterman (1994), §6.9; Ziebart, Bagnell & Dey (2010) call it the visitation count.

    Args:
        model: The environment.
        policy: π(a|s), [S, A]; with a horizon also one for each step, [H, S, A].
        gamma: γ.
        horizon: H, steps of an episode at most.

    Raises:
        ValueError: The policy is none of this environment.
    """
    policy = policy.to(model.reward)
    shape = (model.states, model.actions)
    if policy.shape[-2:] != shape or policy.dim() != (2 if horizon is None else policy.dim()):
        raise ValueError(f"policy: probabilities {shape}, not {tuple(policy.shape)}.")
    start = model.start * ~model.terminal
    if horizon is None:
        going_on = torch.einsum("sa,sat->st", policy, model.continuing)
        visits: Tensor = torch.linalg.solve(torch.eye(model.states).to(going_on) - gamma * going_on.mT, start)
        return visits.unsqueeze(1) * policy
    total = torch.zeros_like(model.reward)
    for now in policy.expand(horizon, *shape):
        here = start.unsqueeze(1) * now
        total += here
        start = torch.einsum("sa,sat->t", here, model.continuing)
    return total


@checked
def empirical_occupancy(
    demonstrations: Demonstrations,
    model: TabularModel,
    gamma: Proper[float] = 0.99,
    *,
    horizon: Count | None = None,
    member: int = 0,
) -> Tensor:
    """Mean discounted visits of the episodes that a member was shown, [S, A]: an estimate of the teacher's.

        D(s, a) = 1/n Σ_i Σ_t γᵗ [s_it = s, a_it = a]

    Args:
        demonstrations: Whole episodes, whose observations are the numbers of the states.
        model: The environment.
        gamma: γ.
        horizon: As in `occupancy`: the first H steps count in full, and later ones not at all.
        member: Whose.

    Raises:
        ValueError: The demonstrations are none of this environment, or no step of them counts.
    """
    keep = demonstrations.mask[member]
    obs, action = demonstrations.examples.obs, demonstrations.examples.action
    if not isinstance(obs, Tensor) or obs.is_floating_point() or obs.dim() != 2 or action.is_floating_point():
        raise ValueError("demonstrations: observations that are numbers of states, and actions that are choices.")
    state, chosen, time, episode = (
        x[member][keep].cpu() for x in (obs, action, demonstrations.time, demonstrations.episode)
    )
    if not len(state):
        raise ValueError("demonstrations: no step of them counts.")
    if int(state.max()) >= model.states or int(chosen.max()) >= model.actions:
        raise ValueError(f"demonstrations: beyond the {model.states} states and {model.actions} actions of the model.")
    weight = gamma ** time.double() if horizon is None else (time < horizon).double()
    total = torch.zeros(model.states * model.actions, dtype=torch.float64)
    total.index_add_(0, state * model.actions + chosen, weight)
    return (total / len(episode.unique())).reshape(model.states, model.actions)
