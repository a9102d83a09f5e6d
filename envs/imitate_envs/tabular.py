"""The exact model of an environment with finitely many states. Letters: S states, A actions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

__all__ = ["Tabular", "TabularModel"]


@dataclass(frozen=True)
class TabularModel:
    """All that there is to know about a finite Markov decision process, in float64.

    An episode that enters a terminal state is over. In the model such a state leads to itself and pays nothing.

    Source: Sutton & Barto (2018), §3.1, eq. 3.4 and 3.5.

    Args:
        transition: P(s' | s, a), [S, A, S].
        reward: E[r | s, a], [S, A].
        terminal: Whether entering a state ends the episode, [S].
        start: P(s₀), [S].
    """

    transition: Float[Tensor, "S A S"]
    reward: Float[Tensor, "S A"]
    terminal: Bool[Tensor, " S"]
    start: Float[Tensor, " S"]

    @property
    def states(self) -> int:
        """S."""
        return self.reward.shape[0]

    @property
    def actions(self) -> int:
        """A."""
        return self.reward.shape[1]

    @property
    def continuing(self) -> Float[Tensor, "S A S"]:
        """P(s' | s, a) where the episode goes on in s', else 0: what a value of s' is multiplied by."""
        return self.transition * ~self.terminal

    @property
    def reachable(self) -> Bool[Tensor, " S"]:
        """States that some sequence of actions leads to; a map also has walls."""
        adjacent = (self.transition.sum(1) > 0) & ~self.terminal.unsqueeze(1)
        reached = self.start > 0
        for _ in range(self.states):
            reached = reached | (adjacent & reached.unsqueeze(1)).any(0)
        return reached

    def to(self, device: torch.device | str) -> TabularModel:
        """The same model on another device."""
        return TabularModel(*(x.to(device) for x in (self.transition, self.reward, self.terminal, self.start)))


@runtime_checkable
class Tabular(Protocol):
    """An environment that can tell its model; its observation is Discrete: the number of the state."""

    def model(self) -> TabularModel:
        """Probabilities and expected rewards, exact."""
