"""Models of choice: habits, a softmax over terms, and win-stay-lose-shift.

Letters: A actions; `...` lanes, any leading shape: subjects, restarts, points of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.conditioning.model import ChoiceModel, Parameter, State, Theta
from imitate.conditioning.values import DualRates, QLearning, Term, one_hot, outcome, wide

__all__ = ["CHOICE_MODELS", "Bias", "ChoiceKernel", "Perseveration", "Softmax", "WinStayLoseShift"]


def _mixed(probs: Tensor, share: Tensor) -> Tensor:
    """Log of (1 − share)·probs + share/A, finite even where that is 0."""
    mixed = (1 - share) * probs + share / probs.shape[-1]
    return mixed.clamp(min=torch.finfo(probs.dtype).tiny).log()


@dataclass(frozen=True)
class ChoiceKernel:
    """A habit of what was chosen before: CK += α_c(chosen − CK), with logits β_c·CK.

    Source: Wilson & Collins (2019), eqs. 5-6.
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`alpha_c` and `beta_c`."""
        return {"alpha_c": Parameter(0.3), "beta_c": Parameter(1.0, 0.0, math.inf)}

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """No habit, [..., A]."""
        return torch.zeros_like(theta["alpha_c"]).unsqueeze(-1).expand(*shape, actions)

    def logits(self, theta: Theta, state: Tensor) -> Tensor:
        """β_c·CK."""
        return wide(theta, "beta_c") * state

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Move the kernel towards the choice."""
        return state + wide(theta, "alpha_c") * (one_hot(action, state.shape[-1], state.dtype) - state)


@dataclass(frozen=True)
class Perseveration:
    """Adds `persist` to the logit of the last choice: a choice kernel with α_c = 1, of either sign."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`persist`; negative for alternation."""
        return {"persist": Parameter(0.0, -math.inf, math.inf)}

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """Nothing chosen yet, [..., A]."""
        return torch.zeros_like(theta["persist"]).unsqueeze(-1).expand(*shape, actions)

    def logits(self, theta: Theta, state: Tensor) -> Tensor:
        """For the last choice."""
        return wide(theta, "persist") * state

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Remember the choice."""
        return one_hot(action, state.shape[-1], state.dtype).expand_as(state)


@dataclass(frozen=True)
class Bias:
    """Adds `bias_<action>` to the logit of one action, whatever comes of it.

    Args:
        action: The action that is liked or disliked; beside others that are, leave one without.
    """

    action: int = 1

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`bias_<action>`."""
        return {f"bias_{self.action}": Parameter(0.0, -math.inf, math.inf)}

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """Which action, one-hot [..., A].

        Raises:
            ValueError: There is no such action.
        """
        if not 0 <= self.action < actions:
            raise ValueError(f"action: Bias({self.action}) needs an action of 0 … {actions - 1}.")
        like = theta[f"bias_{self.action}"]
        return one_hot(torch.tensor(self.action, device=like.device), actions, like.dtype).expand(*shape, actions)

    def logits(self, theta: Theta, state: Tensor) -> Tensor:
        """For the one action."""
        return wide(theta, f"bias_{self.action}") * state

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Nothing is learnt."""
        return state


@dataclass(frozen=True, init=False)
class Softmax:
    """Chooses with log-odds that are a sum of terms; with a lapse, at random in a share of the trials.

        p ∝ exp(Σ terms),   p' = (1 − lapse)·p + lapse/A

    `Softmax(QLearning(), ChoiceKernel())` is Q-learning with a choice kernel: p ∝ exp(βQ + β_c·CK).

    Args:
        *terms: What speaks for each action; each learns by itself.
        lapse: Whether there is a lapse.

    Raises:
        ValueError: There is no term, or two have a parameter of one name.
    """

    terms: tuple[Term, ...]
    lapse: bool

    def __init__(self, *terms: Term, lapse: bool = False) -> None:
        names = [name for term in terms for name in term.parameters]
        twice = sorted({name for name in names if names.count(name) > 1})
        if not terms or twice:
            raise ValueError(f"terms: two have a parameter '{twice[0]}'." if twice else "terms: at least one.")
        object.__setattr__(self, "terms", terms)
        object.__setattr__(self, "lapse", lapse)

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Those of the terms, and `lapse`."""
        found = {name: parameter for term in self.terms for name, parameter in term.parameters.items()}
        return {**found, "lapse": Parameter(0.05)} if self.lapse else found

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> State:
        """That of each term, in a tuple."""
        return tuple(term.initial(theta, shape, actions) for term in self.terms)

    def log_probs(self, theta: Theta, state: State) -> Tensor:
        """Log-probability of each action, [..., A]."""
        logits = self.terms[0].logits(theta, state[0])
        for term, own in zip(self.terms[1:], state[1:], strict=True):
            logits = logits + term.logits(theta, own)
        log_probs = logits - logits.logsumexp(-1, keepdim=True)
        return _mixed(log_probs.exp(), wide(theta, "lapse")) if self.lapse else log_probs

    def update(self, theta: Theta, state: State, action: Tensor, reward: Tensor) -> State:
        """Every term learns."""
        return tuple(term.update(theta, own, action, reward) for term, own in zip(self.terms, state, strict=True))


@dataclass(frozen=True)
class WinStayLoseShift:
    """Repeats what was rewarded and leaves what was not, but for a share `epsilon` of trials at random.

    A win is a reward above 0. After a loss the other actions are equally likely; the first choice is random.

    Source: Wilson & Collins (2019), eq. 2, for two actions.
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """`epsilon`."""
        return {"epsilon": Parameter(0.1)}

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> Tensor:
        """What it would do without `epsilon`: anything, [..., A]."""
        return torch.full_like(theta["epsilon"], 1 / actions).unsqueeze(-1).expand(*shape, actions)

    def log_probs(self, theta: Theta, state: Tensor) -> Tensor:
        """Log-probability of each action, [..., A]."""
        return _mixed(state, wide(theta, "epsilon"))

    def update(self, theta: Theta, state: Tensor, action: Tensor, reward: Tensor) -> Tensor:
        """Stay or shift."""
        actions = state.shape[-1]
        chosen = one_hot(action, actions, state.dtype)
        shift = (1 - chosen) / max(actions - 1, 1)
        return torch.where(reward.unsqueeze(-1) > 0, chosen, shift).expand_as(state)


CHOICE_MODELS: dict[str, ChoiceModel] = {
    "random": Softmax(Bias(1)),
    "win-stay-lose-shift": WinStayLoseShift(),
    "q-learning": Softmax(QLearning()),
    "choice-kernel": Softmax(ChoiceKernel()),
    "q-learning-kernel": Softmax(QLearning(), ChoiceKernel()),
    "reward-punishment": Softmax(QLearning(DualRates(outcome))),
}
