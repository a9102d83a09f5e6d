"""Maximum causal entropy inverse reinforcement learning. Letters: S states, A actions, K features."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from imitate.core.config import Count, NonNegative, Positive, Proper, checked
from imitate.inverse.concave import fit
from imitate.inverse.occupancy import occupancy
from imitate.inverse.recovered import Recovered, visits
from imitate.teachers.planning import soft_policy_iteration
from imitate_envs.tabular import TabularModel

__all__ = ["maximum_causal_entropy"]


@checked
def maximum_causal_entropy(
    model: TabularModel,
    expert: Tensor,
    gamma: Proper[float] = 0.99,
    *,
    features: Tensor | None = None,
    penalty: NonNegative[float] = 1e-3,
    tolerance: Positive[float] = 1e-4,
    max_iterations: Count = 1000,
) -> Recovered:
    """Of all policies with the features that were shown, the one of greatest causal entropy, and its reward.

    The policy is softmax(Q) of soft values (`soft_policy_iteration`) for r = wᵀφ. The dual is convex in w:

        min_w  Σ_s p₀(s) v_w(s) − wᵀf + λ/2 ‖w‖²,   gradient  Σ_sa D_w(s, a) φ(s, a) − f + λw

    Source: Ziebart, Bagnell & Dey (2010), theorem 2 and its gradient; over an unbounded time Bloem & Bambos (2014).

    Args:
        model: The environment; its own reward is not looked at.
        expert: Discounted visits that were shown, [S, A]: `occupancy` of a policy, `empirical_occupancy` of episodes.
        gamma: γ, the same as of the visits.
        features: φ, [S, A, K]; by default the state that is entered, so that each state has a reward.
        penalty: λ. Without one no finite weights explain a teacher who never errs, or what chance kept from showing.
        tolerance: It is done when no entry of the gradient is larger.
        max_iterations: Evaluations at most.

    Raises:
        ValueError: Shapes do not fit the model, or a number makes no sense.
    """
    expert, phi, shown = visits(expert, features, model)

    def at(reward: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        plan = soft_policy_iteration(replace(model, reward=reward), gamma)
        policy = plan.q.softmax(-1)
        return plan.values @ model.start, occupancy(model, policy, gamma), policy

    w, (_, found, policy), gap, iterations = fit(at, phi, shown, penalty, tolerance, max_iterations)
    return Recovered(w, phi @ w, policy, found, gap, iterations, converged=iterations < max_iterations)
