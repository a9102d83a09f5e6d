"""Maximum entropy inverse reinforcement learning. Letters: S states, A actions, K features, H horizon."""

from __future__ import annotations

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, Positive, checked
from imitate.inverse.concave import fit
from imitate.inverse.recovered import Recovered, visits
from imitate_envs.tabular import TabularModel

__all__ = ["maximum_entropy"]


@checked
def maximum_entropy(
    model: TabularModel,
    expert: Tensor,
    horizon: Count,
    *,
    features: Tensor | None = None,
    penalty: NonNegative[float] = 1e-3,
    tolerance: Positive[float] = 1e-4,
    max_iterations: Count = 1000,
) -> Recovered:
    """The reward that explains what was shown as a preference among paths τ and nothing else.

        p(τ | s₀) ∝ exp(Σ_t wᵀφ(s_t, a_t)) Π_t P(s_t+1 | s_t, a_t)

    The likelihood is concave in w, and its gradient is f − Σ_sa D_w(s, a) φ(s, a), with the visits D_w of these paths.
    Where the environment is random they are those of no policy: a good end makes good luck likelier
    (`maximum_causal_entropy` has no such hope). Where it is not, both are the same.

    Source: Ziebart et al. (2008), eqs. 4 to 6. The passes are exact for H steps; their algorithm 1 is one for paths
    that end.

    Args:
        model: The environment; its own reward is not looked at.
        expert: Visits of the first H steps that were shown, [S, A]: `occupancy` with this horizon.
        horizon: H.
        features: φ, [S, A, K]; by default the state that is entered, so that each state has a reward.
        penalty: λ of −λ/2 ‖w‖², a Gaussian prior.
        tolerance: It is done when no entry of the gradient is larger.
        max_iterations: Evaluations at most.

    Returns:
        The policy is that of the first step, which has H steps to go.

    Raises:
        ValueError: Shapes do not fit the model, or a number makes no sense.
    """
    expert, phi, shown = visits(expert, features, model)
    going = (~model.terminal).to(model.reward)

    def at(reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # Backwards: log-partitions of the paths from each state, and where they go.
        value, steps = torch.zeros_like(model.start), []
        for _ in range(horizon):
            lucky = model.transition * (value - value.amax()).exp()  # P(s'|s, a) e^v(s'), scaled
            total = lucky.sum(-1)
            q = reward + total.log() + value.amax()
            steps.append((q.softmax(-1), lucky / total.unsqueeze(-1)))
            value = q.logsumexp(-1) * going
        here, visited = model.start * going, torch.zeros_like(reward)
        for policy, following in reversed(steps):
            taken = here.unsqueeze(1) * policy
            visited += taken
            here = torch.einsum("sa,sat->t", taken, following) * going
        return value @ model.start, visited, steps[-1][0]

    w, (_, found, policy), gap, iterations = fit(at, phi, shown, penalty, tolerance, max_iterations)
    return Recovered(w, phi @ w, policy, found, gap, iterations, converged=iterations < max_iterations)
