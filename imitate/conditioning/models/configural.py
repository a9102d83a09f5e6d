"""Pearce's configural model: every compound is a stimulus of its own, and generalises by likeness.

Letters: C cues, U = 2^C − 1 compounds, O outcomes; `...` lanes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta, Trial
from imitate.conditioning.models.lanes import beside, zeros

__all__ = ["PearceConfigural", "similarity"]

MOST = 12  # cues, for 4095 compounds


@dataclass(frozen=True)
class PearceConfigural:
    """A compound answers with its own strength and with those of all compounds like it.

        V(P) = Σ_Q S(P, Q) E_Q,   S(P, Q) = (n_PQ / n_P)(n_PQ / n_Q),   ΔE_P = β (λ − V(P))

    n counts cues: those of P, of Q, and those that both share. Cues are there (x > 0) or not. A compound that was never
    met has E = 0, so all of them have a place from the start: the state is E [..., U, O], compound u holding the cues
    of the binary digits of u + 1. The default of β is ours, that of Rescorla-Wagner's αβ.

    Source: Pearce (1987); Pearce (1994).
    """

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Rate `beta`."""
        return {"beta": Parameter(0.16)}

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> Tensor:
        """Nothing is associated.

        Raises:
            ValueError: There are more than 12 cues.
        """
        if cues > MOST:
            raise ValueError(f"cues: {cues} make 2^{cues} compounds; Pearce's model takes {MOST} cues at the most.")
        return zeros(theta, *shape, 2**cues - 1, outcomes)

    def predict(self, theta: Theta, state: Tensor, cues: Tensor) -> Tensor:
        """V of the compound, [..., O]; nothing without cues."""
        return _answer(similarity(cues), state)

    def strengths(self, state: Tensor) -> Tensor:
        """V of each cue alone."""
        count = (state.shape[-2] + 1).bit_length() - 1
        return similarity(torch.eye(count, dtype=state.dtype, device=state.device)) @ state

    def update(self, theta: Theta, state: Tensor, trial: Trial) -> Tensor:
        """E + ΔE of the compound met."""
        likeness = similarity(trial.cues)
        error = trial.outcome - _answer(likeness, state)
        itself = (likeness == 1).to(state.dtype)
        return torch.addcmul(state, beside(beside(theta["beta"]) * itself), error.unsqueeze(-2))


def similarity(cues: Tensor) -> Tensor:
    """S of a compound [..., C] with all compounds, [..., U]; exactly 1 with itself alone."""
    compounds = _compounds(cues.shape[-1], cues.dtype, cues.device)
    here = (cues > 0).to(cues.dtype)
    shared = here @ compounds.T
    # Counts are exact in floating point, so a compound's likeness with itself is n²/n² = 1. No cues at all: 0/1.
    return shared.square() / (here.sum(-1, keepdim=True).clamp(min=1) * compounds.sum(-1))


@lru_cache(maxsize=64)
def _compounds(count: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Which cues each compound has, [U, C]."""
    number = torch.arange(1, 2**count, device=device).unsqueeze(-1)
    return (number >> torch.arange(count, device=device) & 1).to(dtype)


def _answer(likeness: Tensor, state: Tensor) -> Tensor:
    return (likeness.unsqueeze(-2) @ state).squeeze(-2)
