"""How probable a record is under a model: the sum, its summands, and what would have been chosen instead.

Letters: T trials, A actions; `...` lanes, any leading shape, mostly [S] subjects.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, Theta
from imitate.core.names import closest

__all__ = ["Data", "log_likelihood", "one_step", "parameters_of", "trial_log_likelihood"]


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


def parameters_of(model: Any, theta: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    """All parameters of a model as tensors of one float type: those given, and defaults for the others.

    Numbers become float64, unless there are tensors to take the type from.

    Raises:
        ValueError: A name is unknown, or a value is outside its bounds.
    """
    known: Mapping[str, Parameter] = model.parameters
    for name in theta:
        if name not in known:
            raise ValueError(closest("theta", name, known))
    tensors = [value for value in theta.values() if isinstance(value, Tensor)]
    dtype = tensors[0].dtype if tensors else torch.float64
    for value in tensors[1:]:
        dtype = torch.promote_types(dtype, value.dtype)
    device = tensors[0].device if tensors else None
    filled = {}
    for name, parameter in known.items():
        value = torch.as_tensor(theta.get(name, parameter.default), dtype=dtype, device=device)
        outside = ~((value >= parameter.low) & (value <= parameter.high))
        if outside.any():
            lane = outside.nonzero()[0].tolist()
            at = f" in lane {', '.join(map(str, lane))}" if lane else ""
            raise ValueError(
                f"{name}: {float(value[tuple(lane)]):g}{at} is outside [{parameter.low:g}, {parameter.high:g}]."
            )
        filled[name] = value
    return filled


def log_likelihood(model: Any, theta: Mapping[str, Tensor | float], data: Data) -> Tensor:
    """Log-likelihood of each subject, [...]: the sum over scored trials of log p(what was done | what came before).

    Differentiable in `theta`. Trials that are masked change neither it nor its gradient, not even in the last bit.

    Args:
        model: A `ChoiceModel` for `Choices`, or a `GaussianResponse` for `Responses`.
        theta: Parameters by name, numbers or tensors that broadcast to the lanes of the data; defaults for the others.
        data: The record.

    Raises:
        ValueError: A name is unknown, or a value is outside its bounds.
    """
    full = parameters_of(model, theta)
    return data.run(model, full, data.packed(_dtype(full)))[0]


def trial_log_likelihood(model: Any, theta: Mapping[str, Tensor | float], data: Data) -> Tensor:
    """The summands of `log_likelihood`, [T, ...], 0 where a trial is not scored: what LOO and WAIC begin with."""
    full = parameters_of(model, theta)
    log_prob: Tensor = data.run(model, full, data.packed(_dtype(full)), each=True)[1][0]
    return log_prob


def one_step(model: Any, theta: Mapping[str, Tensor | float], data: Data) -> Tensor:
    """What the model expects in each trial, given what the subject did and got before: one-step prediction.

    Returns:
        Log-probabilities of every action [T, ..., A] for `Choices`, mean responses [T, ...] for `Responses`. What it
        does left to itself is another question: `simulate`.
    """
    full = parameters_of(model, theta)
    expected: Tensor = data.run(model, full, data.packed(_dtype(full)), each=True)[1][1]
    return expected


def _dtype(theta: Theta) -> torch.dtype:
    return next(iter(theta.values())).dtype
