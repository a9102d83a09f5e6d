"""Responses to cues as data: a model of Pavlovian conditioning with a normal law around what it expects.

Letters: T trials, C cues; `...` lanes, any leading shape, mostly [S] subjects.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from imitate.conditioning.data import first, masks, where
from imitate.conditioning.model import Model, Parameter, Theta, Trial
from imitate.core import tree
from imitate.core.config import check
from imitate.core.scan import scan

__all__ = ["GaussianResponse", "Responses"]


@dataclass(frozen=True)
class GaussianResponse:
    """A response is N(offset + gain·V, sigma²), where V is what the cues let expect before the trial.

    `gain`, `offset` and `sigma` carry the unit of the data, so differences in AIC and BIC do not depend on it.

    Args:
        model: What learns.
        cues: Names of the cues: parameters of each cue become one a name, `alpha_A`. None: all cues share one.
    """

    model: Model
    cues: tuple[str, ...] | None = None

    @property
    def parameters(self) -> Mapping[str, Parameter]:
        """Those of the model, then `gain`, `offset` and `sigma`."""
        found: dict[str, Parameter] = {}
        for name, parameter in self.model.parameters.items():
            names = [f"{name}_{cue}" for cue in self.cues] if parameter.each_cue and self.cues else [name]
            found.update(dict.fromkeys(names, replace(parameter, each_cue=False)))
        return {
            **found,
            "gain": Parameter(1.0, -math.inf, math.inf),
            "offset": Parameter(0.0, -math.inf, math.inf),
            "sigma": Parameter(1.0, 0.0, math.inf),
        }

    def theta(self, theta: Theta) -> dict[str, Tensor]:
        """The model's own parameters, those of each cue as [..., C]."""
        found = {}
        for name, parameter in self.model.parameters.items():
            if not parameter.each_cue:
                found[name] = theta[name]
            elif self.cues is None:
                found[name] = theta[name].unsqueeze(-1)
            else:
                each = torch.broadcast_tensors(*(theta[f"{name}_{cue}"] for cue in self.cues))
                found[name] = torch.stack(each, -1)
        return found


@dataclass(frozen=True)
class Responses:
    """A record of responses, in the form of `Choices`; the first outcome is the one responded to.

    Args:
        cues: Presence or intensity, [T, ..., C].
        outcome: Magnitude, [T, ..., O].
        response: What was measured, [T, ...].
        learns: Whether the trial teaches, [T, ...] (bool); None: all do.
        scored: Whether the response counts, [T, ...] (bool); None: all do.
        subjects: A label of each subject; none: numbers.
        starts: Whether a block begins with the trial, [T, ...] (bool), as in `Choices`.

    Raises:
        ValueError: Shapes or types differ, or what counts or teaches is not finite.
    """

    cues: Tensor
    outcome: Tensor
    response: Tensor
    learns: Tensor = None  # type: ignore[assignment]
    scored: Tensor = None  # type: ignore[assignment]
    subjects: tuple[Hashable, ...] = ()
    starts: Tensor | None = None

    def __post_init__(self) -> None:
        check(self)
        masks(self, self.response)
        for name in ("cues", "outcome"):
            shape = tuple(getattr(self, name).shape)
            if shape[:-1] != tuple(self.response.shape):
                raise ValueError(f"{name}: shape {shape}, but response has {tuple(self.response.shape)}.")
        if at := first(self.scored & ~self.response.isfinite()):
            raise ValueError(
                f"response: {where(self, at)} has {float(self.response[at])}; "
                "set scored to False where nothing was measured."
            )
        for name, used in (("cues", self.learns | self.scored), ("outcome", self.learns)):
            if at := first(used & ~getattr(self, name).isfinite().all(-1)):
                raise ValueError(f"{name}: {where(self, at)} has one that is not finite.")

    @property
    def counts(self) -> Tensor:
        """Scored trials, [...] (int64)."""
        return self.scored.sum(0)

    @cached_property
    def units(self) -> Mapping[str, float]:
        """Where fits begin, in units of the root mean square response."""
        size = float(torch.where(self.scored, self.response, 0).square().mean().sqrt()) or 1.0
        return dict.fromkeys(("gain", "offset", "sigma"), size)

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Which of `learns`, `scored` and `starts` say anything; they come first in `packed`, after the response."""
        said = {"learns": not self.learns.all(), "scored": not self.scored.all(), "starts": self.starts is not None}
        return tuple(name for name, says in said.items() if says)

    def packed(self, dtype: torch.dtype) -> Tensor:
        """All that a run needs in one tensor, [T, 1 + `marks` + C + O, ...]."""
        learns = self.learns.unsqueeze(-1)
        columns = [
            torch.where(self.scored, self.response, 0).unsqueeze(1),
            *(getattr(self, name).unsqueeze(1) for name in self.marks),
            torch.where(learns | self.scored.unsqueeze(-1), self.cues, 0).movedim(-1, 1),
            torch.where(learns, self.outcome, 0).movedim(-1, 1),
        ]
        return torch.cat([column.to(dtype) for column in columns], 1)

    def run(self, model: GaussianResponse, theta: Theta, packed: Tensor, each: bool = False) -> tuple[Tensor, Any]:
        """A model along the record; as `Choices.run`, with the mean responses [T, ...] beside their log-densities."""
        own = model.theta(theta)
        lanes = torch.broadcast_shapes(packed.shape[2:], *(value.shape for value in theta.values()))
        at = {name: i for i, name in enumerate(self.marks, 1)}
        cues, outcome = 1 + len(at), 1 + len(at) + self.cues.shape[-1]
        naive = model.model.initial(own, lanes, self.cues.shape[-1], self.outcome.shape[-1])

        def step(carry: tuple[Any, Tensor], x: Tensor) -> tuple[tuple[Any, Tensor], Any]:
            state, total = carry
            if "starts" in at:
                state = tree.where((x[at["starts"]] > 0).expand(lanes), naive, state)
            trial = Trial(x[cues:outcome].movedim(0, -1), x[outcome:].movedim(0, -1))
            mean = theta["offset"] + theta["gain"] * model.model.predict(own, state, trial.cues)[..., 0]
            error = (x[0] - mean) / theta["sigma"]
            log_prob = -0.5 * error.square() - theta["sigma"].log() - 0.5 * math.log(2 * math.pi)
            if "scored" in at:
                log_prob = torch.where(x[at["scored"]] > 0, log_prob, 0)
            after = model.model.update(own, state, trial)
            if "learns" in at:
                after = tree.where((x[at["learns"]] > 0).expand(lanes), after, state)
            return (after, total + log_prob), (log_prob, mean) if each else None

        (_, total), kept = scan(step, (naive, packed.new_zeros(lanes)), packed)
        return total, kept
