"""How probable a record is under a model: the sum, its summands, and what would have been chosen instead.

Letters: T trials, A actions; `...` lanes, any leading shape, mostly [S] subjects.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from imitate.conditioning.model import Parametrised, Theta, parameters_of
from imitate.core.config import checked

__all__ = ["Data", "log_likelihood", "one_step", "trial_log_likelihood"]


class Data(Protocol):
    """A record that a model can be run along: `Choices`, `Responses`."""

    @property
    def subjects(self) -> tuple[Hashable, ...]:
        """Labels."""

    @property
    def counts(self) -> Tensor:
        """Scored trials, [...] (int64)."""

    @property
    def units(self) -> Mapping[str, float]:
        """By what to multiply the default of a parameter, and the spread of its starts, to suit the record's scale."""

    def packed(self, dtype: torch.dtype) -> Tensor:
        """All that `run` needs, [T, any, ...]."""

    def run(self, model: Any, theta: Theta, packed: Tensor, each: bool = False) -> tuple[Tensor, Any]:
        """The log-likelihood [...]; and, if `each`, that of every trial [T, ...] with what was expected there."""


@checked
def log_likelihood(model: Parametrised, theta: Mapping[str, Tensor | float], data: Data) -> Tensor:
    """Log-likelihood of each subject, [...]: the sum over scored trials of log p(what was done | what came before).

    Differentiable in `theta`. Trials that are masked change neither it nor its gradient, not even in the last bit.

    Args:
        model: A `ChoiceModel` for `Choices`, or a `GaussianResponse` for `Responses`.
        theta: Parameters by name, numbers or tensors that broadcast to the lanes of the data; defaults for the others.
        data: The record.

    Raises:
        ValueError: A name is unknown, a value is not finite or outside its bounds, or what comes out is no number.
    """
    return _run(model, theta, data, each=False)[0]


@checked
def trial_log_likelihood(model: Parametrised, theta: Mapping[str, Tensor | float], data: Data) -> Tensor:
    """The summands of `log_likelihood`, [T, ...], 0 where a trial is not scored: what LOO and WAIC begin with."""
    log_prob: Tensor = _run(model, theta, data, each=True)[1][0]
    return log_prob


@checked
def one_step(model: Parametrised, theta: Mapping[str, Tensor | float], data: Data) -> Tensor:
    """What the model expects in each trial, given what the subject did and got before: one-step prediction.

    Returns:
        Log-probabilities of every action [T, ..., A] for `Choices`, mean responses [T, ...] for `Responses`. What it
        does left to itself is another question: `simulate`.
    """
    expected: Tensor = _run(model, theta, data, each=True)[1][1]
    return expected


def _run(model: Any, theta: Mapping[str, Tensor | float], data: Data, each: bool) -> tuple[Tensor, Any]:
    """A model along a record, after a look at its parameters and before one at what comes out."""
    full = parameters_of(model, theta)
    total, kept = data.run(model, full, data.packed(next(iter(full.values())).dtype), each)
    if total.isnan().any():
        lane = ", ".join(map(str, total.isnan().nonzero()[0].tolist()))
        raise ValueError(
            f"theta: the log-likelihood{f' of lane {lane}' if lane else ''} is no number; a value overflows."
        )
    return total, kept
