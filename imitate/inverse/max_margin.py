"""Maximum margin planning. Letters: S states, A actions, K features."""

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

__all__ = ["max_margin"]


@checked
def max_margin(
    model: TabularModel,
    expert: Tensor,
    gamma: Proper[float] = 0.99,
    *,
    features: Tensor | None = None,
    penalty: Positive[float] = 1e-2,
    iterations: Count = 500,
) -> Recovered:
    """The reward under which what was shown is better than anything else, by the more the less it is alike.

        min_w  λ/2 ‖w‖² + max_D Σ_sa D(s, a) (wᵀφ(s, a) + l(s, a)) − wᵀf

    l is 1 for what was never shown and 0 for what was. The maximum is planned; a subgradient of the whole is
    λw + Σ_sa D(s, a) φ(s, a) − f, and a step along it is 1/(λt) long. The weights are the mean of the later half.

    Source: Ratliff, Bagnell & Zinkevich (2006), §3: the loss-augmented plan and its subgradient. The steps: Shalev-
    Shwartz, Singer & Srebro (2007); the mean: Rakhlin, Shamir & Sridharan (2012).

    Args:
        model: The environment; its own reward is not looked at.
        expert: Discounted visits that were shown, [S, A].
        gamma: γ, the same as of the visits.
        features: φ, [S, A, K]; by default the state that is entered.
        penalty: λ.
        iterations: Steps.

    Returns:
        The policy is the greedy one.

    Raises:
        ValueError: Shapes do not fit the model, or a number makes no sense.
    """
    expert, phi, shown = visits(expert, features, model)
    margin = (expert == 0).to(phi)

    def best(reward: Tensor) -> tuple[Tensor, Tensor]:
        plan = policy_iteration(replace(model, reward=reward), gamma)
        policy = one_hot(plan.actions, model.actions).to(phi)
        return policy, occupancy(model, policy, gamma)

    w, mean = torch.zeros_like(shown), torch.zeros_like(shown)
    later = iterations // 2
    for t in range(1, iterations + 1):
        _, found = best(phi @ w + margin)
        w = w - (penalty * w + torch.einsum("sa,sak->k", found, phi) - shown) / (penalty * t)
        if t > later:
            mean += (w - mean) / (t - later)
    policy, found = best(phi @ mean)
    gap = float((torch.einsum("sa,sak->k", found, phi) - shown).abs().amax())
    return Recovered(mean, phi @ mean, policy, found, gap, iterations, converged=True)
