"""What a learning model is: parameters with bounds, a state, and one `update` that serves three uses.

The same `update` simulates an experiment, lets an agent act in an environment, and computes a likelihood. A model is
a frozen dataclass of options with pure functions of tensors: no device, no generator, no counter.

Letters: C cues, O outcomes, A actions; `...` lanes, any leading shape: subjects, restarts, points of a grid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core.config import checked
from imitate.core.names import closest

__all__ = ["ChoiceModel", "Contextual", "Model", "Parameter", "Resting", "State", "Theta", "Trial", "parameters_of"]

State = Any  # a tensor, or a dataclass, tuple or dict of tensors, all with the same leading lanes
Theta = Mapping[str, Tensor]  # by name: [...] or broadcastable to it; a parameter of each cue is [..., C]


@dataclass(frozen=True)
class Parameter:
    """A free number of a model.

    Args:
        default: Its value unless set.
        low: Lower bound; may be infinite.
        high: Upper bound; may be infinite.
        each_cue: Whether every cue has its own: a saliency.
        free: Whether a fit estimates it unless told otherwise.
    """

    default: float
    low: float = 0.0
    high: float = 1.0
    each_cue: bool = False
    free: bool = True

    def constrain(self, z: Tensor) -> Tensor:
        """From an unbounded z, increasing: low + (high − low)·sigmoid(z), low + exp(z), high − exp(−z), or z."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return self.low + (self.high - self.low) * torch.sigmoid(z)
        if math.isfinite(self.high):
            return self.high - torch.exp(-z)
        return self.low + torch.exp(z) if math.isfinite(self.low) else z

    def unconstrain(self, value: Tensor) -> Tensor:
        """The inverse of `constrain`; a value at a bound gives an infinite z."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return torch.logit((value - self.low) / (self.high - self.low))
        if math.isfinite(self.high):
            return -torch.log(self.high - value)
        return torch.log(value - self.low) if math.isfinite(self.low) else value

    def log_slope(self, z: Tensor) -> Tensor:
        """Log dθ/dz of `constrain`: carries densities and standard errors between the two."""
        if math.isfinite(self.low) and math.isfinite(self.high):
            return math.log(self.high - self.low) + F.logsigmoid(z) + F.logsigmoid(-z)
        if math.isfinite(self.high):
            return -z
        return z if math.isfinite(self.low) else torch.zeros_like(z)

    def check(self, name: str, value: Tensor) -> None:
        """Look at values of the parameter.

        Raises:
            ValueError: One is not finite, or outside the bounds; the message has its lane.
        """
        outside = ~(value.isfinite() & (value >= self.low) & (value <= self.high))
        if outside.any():
            lane = outside.nonzero()[0].tolist()
            at = f" in lane {', '.join(map(str, lane))}" if lane else ""
            found = float(value[tuple(lane)])
            bounds = f"outside [{self.low:g}, {self.high:g}]" if math.isfinite(found) else "no finite number"
            raise ValueError(f"{name}: {found:g}{at} is {bounds}.")


@dataclass(frozen=True)
class Trial:
    """What a subject meets in one trial."""

    cues: Tensor  # [..., C], presence or intensity
    outcome: Tensor  # [..., O], magnitude λ·u; 0 where it is absent


class Parametrised(Protocol):
    """Whatever is fitted: a `ChoiceModel`, or a `Model` with a response."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Names, bounds and defaults."""


@runtime_checkable
class Model(Protocol):
    """Learns to predict outcomes from cues: a model of Pavlovian conditioning."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Names, bounds and defaults."""

    def initial(self, theta: Theta, shape: tuple[int, ...], cues: int, outcomes: int) -> State:
        """The state of a naive subject, in the float type and on the device of `theta`."""

    def predict(self, theta: Theta, state: State, cues: Tensor) -> Tensor:
        """The outcomes [..., O] that cues [..., C] let expect."""

    def strengths(self, state: State) -> Tensor:
        """Strength V of each cue for each outcome, [..., C, O]: what is plotted."""

    def update(self, theta: Theta, state: State, trial: Trial) -> State:
        """The state after a trial. Whoever masks a trial keeps the old state."""


@runtime_checkable
class Resting(Protocol):
    """A `Model` in which time alone changes something."""

    def rest(self, theta: Theta, state: State, time: float | Tensor) -> State:
        """The state after a pause, in the model's unit of time; a tensor [...] has one for each lane."""


@runtime_checkable
class ChoiceModel(Protocol):
    """Learns to choose among actions from rewards."""

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Names, bounds and defaults."""

    def initial(self, theta: Theta, shape: tuple[int, ...], actions: int) -> State:
        """The state of a naive subject, in the float type and on the device of `theta`."""

    def log_probs(self, theta: Theta, state: State) -> Tensor:
        """Log-probability of each action, [..., A]."""

    def update(self, theta: Theta, state: State, action: Tensor, reward: Tensor) -> State:
        """The state after choosing `action` [...] (int64) and earning `reward` [...]. Masking is the caller's."""


@runtime_checkable
class Contextual(Protocol):
    """A `ChoiceModel` for choices in several places: it is told where it is before it chooses."""

    @property
    def places(self) -> int:
        """How many there are; they count from 0."""

    def observe(self, theta: Theta, state: State, context: Tensor) -> State:
        """The state on arriving at `context` [...] (int64)."""


@checked
def parameters_of(model: Parametrised, theta: Mapping[str, Tensor | float]) -> dict[str, Tensor]:
    """All parameters of a model as tensors of one float type: those given, and defaults for the others.

    Numbers become float64, unless there are tensors to take the type from.

    Raises:
        ValueError: A name is unknown, or a value is not finite or outside its bounds.
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
        filled[name] = torch.as_tensor(theta.get(name, parameter.default), dtype=dtype, device=device)
        parameter.check(name, filled[name])
    return filled
