"""What inverse reinforcement learning finds. Letters: S states, A actions, K features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.nets.tabular_policy import TabularPolicy
from imitate_envs.tabular import TabularModel

__all__ = ["Recovered", "entered", "visits"]

_LEAST = -30.0  # log-probability of what is never done: it keeps divergences finite


@dataclass(frozen=True)
class Recovered:
    """A reward that explains what was shown, and the policy that it leads to, in float64.

    Args:
        weights: Of the features, [K].
        reward: r(s, a) = wᵀφ(s, a), [S, A].
        policy: π(a|s), [S, A].
        visits: Of the policy, [S, A], as those that were shown are counted.
        gap: Largest difference between its expected features and those that were shown.
        iterations: Evaluations of a reward.
        converged: Whether the method came to its end.
    """

    weights: Tensor
    reward: Tensor
    policy: Tensor
    visits: Tensor
    gap: float
    iterations: int
    converged: bool

    def teacher(self, env: str | None = None) -> TabularPolicy:
        """The policy, as a teacher that can be played and saved."""
        log = self.policy.log().clamp(min=_LEAST).float()
        return TabularPolicy(log.unsqueeze(0), temperature=1.0, env=env)


def entered(model: TabularModel) -> Tensor:
    """The features that tell nothing but the state that is entered, [S, A, S]: a reward for each state."""
    return model.transition


def visits(expert: Tensor, features: Tensor | None, model: TabularModel) -> tuple[Tensor, Tensor, Tensor]:
    """What was shown, the features, and what was shown of them: [S, A], [S, A, K], [K].

    Raises:
        ValueError: The shapes are not those of the model, or a number makes no sense.
    """
    shape = (model.states, model.actions)
    phi = (entered(model) if features is None else features).to(model.reward)
    expert = expert.to(model.reward)
    if expert.shape != shape:
        raise ValueError(f"expert: visits {shape}, not {tuple(expert.shape)}.")
    if not bool(expert.isfinite().all()) or bool((expert < 0).any()) or not bool(expert.any()):
        raise ValueError("expert: visits are finite, at least 0, and not all 0.")
    if phi.dim() != 3 or phi.shape[:2] != shape or not bool(phi.isfinite().all()):
        raise ValueError(f"features: finite numbers ({shape[0]}, {shape[1]}, K), not {tuple(phi.shape)}.")
    return expert, phi, torch.einsum("sa,sak->k", expert, phi)
