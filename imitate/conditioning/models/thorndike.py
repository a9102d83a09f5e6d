"""Instrumental learning before reinforcement learning: Thorndike's law of effect, and Bush & Mosteller's operator.

Letters: A actions; `...` lanes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta
from imitate.conditioning.models.lanes import beside, zeros

__all__ = ["BushMosteller", "LawOfEffect"]


@dataclass(frozen=True)
class LawOfEffect:
    """Acts that satisfy are stamped in, acts that annoy are stamped out.

        p_a = s_a / Σ_b s_b
        s_a ← s_a + η r          if the act was rewarded, r > 0
        s_a ← (1 − κ) s_a        if it was not
        s_a ← s_a + ε            after either: the law of exercise

    Thorndike stated the law in words; the formalisation, with Luce's choice rule, is ours. Where κ = ε = 0, one act
    opens the door and an act takes d seconds, the expected latency of trial n is `latency`: a hyperbola. log s as a
    preference makes it a gradient bandit. The state is s [..., A].

    Source: Thorndike (1898; 1911), in words; Luce (1959), choice rule.
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """First `strength` of every act; `eta` (η) of a reward, `kappa` (κ) of a failure, `exercise` (ε)."""
        return {
            "strength": Parameter(1.0, 0.0, math.inf),
            "eta": Parameter(1.0, 0.0, math.inf),
            "kappa": Parameter(0.0),
            "exercise": Parameter(0.0, 0.0, math.inf),
        }

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """All acts are equal."""
        return beside(theta["strength"]).expand(*shape, actions)

    def log_probs(self, theta: Theta, state: Tensor) -> Tensor:
        """Of Luce's rule: log s_a − log Σ s."""
        return state.log() - state.sum(-1, keepdim=True).log()

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Strengths after an act."""
        chosen = _chosen(action, state)
        reward = beside(reward)
        change = torch.where(reward > 0, beside(theta["eta"]) * reward, -beside(theta["kappa"]) * state)
        return state + chosen * (change + beside(theta["exercise"]))

    @staticmethod
    def latency(trial: Tensor, seconds: float, strength: Tensor, others: Tensor, eta: Tensor) -> Tensor:
        """Expected latency d (1 + S_other / (s + η (n − 1))) of trial n = 1, 2, …, where κ = ε = 0.

        Args:
            trial: n.
            seconds: d, the time that an act takes.
            strength: s, first strength of the act that succeeds.
            others: S_other, that of all the others together.
            eta: η.
        """
        return seconds * (1 + others / (strength + eta * (trial - 1)))


@dataclass(frozen=True)
class BushMosteller:
    """The probability of an act moves by a share of what is left.

        p_a ← p_a + α r (1 − p_a)              after a reward, r in (0, 1]; all other acts lose in proportion
        p_a ← (1 − β) p_a                      after a failure; all other acts share equally in what it loses

    With β = 0 an act that alone succeeds has p_n = 1 − (1 − p_1)(1 − α)^(n−1) after n − 1 successes, and latency d/p_n.
    The state is p [..., A]; the defaults are ours.

    Source: Bush & Mosteller (1951; 1955, ch. 3).
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Rates `alpha` of rewards and `beta` of failures."""
        return {"alpha": Parameter(0.1), "beta": Parameter(0.0)}

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """All acts are equal."""
        return zeros(theta, *shape, actions) + 1 / actions

    def log_probs(self, theta: Theta, state: Tensor) -> Tensor:
        """Of the state itself: log p."""
        # An act whose probability has rounded to 0 keeps a finite logarithm, and so a gradient.
        return state.clamp(min=torch.finfo(state.dtype).tiny).log()

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Probabilities after an act."""
        chosen = _chosen(action, state)
        count = state.shape[-1]
        reward = beside(reward)
        spread = (1 - chosen) / max(count - 1, 1)
        lost = beside(theta["beta"]) * (chosen * state).sum(-1, keepdim=True) * (count > 1)
        rewarded = state + beside(theta["alpha"]) * reward * (chosen - state)
        return torch.where(reward > 0, rewarded, state + lost * (spread - chosen))


def _chosen(action: Tensor, state: Tensor) -> Tensor:
    """One-hot [..., A] of actions [...]."""
    return (beside(action) == torch.arange(state.shape[-1], device=state.device)).to(state.dtype)
