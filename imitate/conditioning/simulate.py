"""Run an experiment: a scan over its trials, all subjects, groups and parameter points at once.

Letters: T trials, S subjects, G groups, C cues, O outcomes; `...` lanes: those of the parameters, then [G] or [S, G].
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias, TypeVar

import torch
from torch import Tensor

from imitate.conditioning.design import EVERYBODY, NOBODY, Design, Schedule
from imitate.conditioning.model import Model, Parameter, Resting, State, Theta, Trial
from imitate.conditioning.periods import in_time
from imitate.core import tree
from imitate.core.config import checked
from imitate.core.names import closest

__all__ = ["Simulation", "Step", "Values", "parameters", "position", "simulate", "steps"]

_V = TypeVar("_V")
Value: TypeAlias = float | Tensor
Values: TypeAlias = Mapping[str, Value | Mapping[str, Value]]  # by parameter; of each cue: by cue, or [..., C]


class Step(NamedTuple):
    """One trial of all lanes."""

    trial: int
    theta: Theta
    before: State
    after: State


@dataclass(frozen=True)
class Simulation:
    """What happened.

    Args:
        schedule: The trials.
        strengths: Strength of each cue before the first trial and after every one, [T + 1, ..., C, O].
        predictions: What each trial let expect before its outcome, [T, ..., O].
        state: After the last trial.
    """

    schedule: Schedule
    strengths: Tensor
    predictions: Tensor
    state: State

    @property
    def before(self) -> Tensor:
        """Strengths before each trial, as calmr records them, [T, ..., C, O]."""
        return self.strengths[:-1]

    @property
    def after(self) -> Tensor:
        """Strengths after each trial, [T, ..., C, O]."""
        return self.strengths[1:]

    def strength(self, cue: str, group: str | None = None) -> Tensor:
        """Strength of one cue for the first outcome, before the first trial and after every one: [T + 1, ...].

        Args:
            cue: Its name.
            group: Of which group; by default the first.

        Raises:
            ValueError: No trial shows such a cue, or there is no such group.
        """
        c = position("cue", cue, self.schedule.cues)
        g = position("group", self.schedule.groups[0] if group is None else group, self.schedule.groups)
        return self.strengths[..., g, c, 0]


@checked
def simulate(
    model: Model,
    design: Design | Schedule,
    theta: Values | None = None,
    *,
    subjects: int | None = None,
    seed: int = 0,
    state: State = None,
) -> Simulation:
    """Run subjects through an experiment and record everything.

    Args:
        model: How they learn; one of time steps takes its course from the periods of the trials, see `periods`.
        design: The experiment, or its schedule.
        theta: Parameters by name, the defaults for the others. A number, or a tensor of any shape [...]: one lane each.
            A parameter of each cue may be a mapping by cue, or a tensor [..., C]. A name that the model does not have
            stands for all that it begins: `beta` for `beta_on` and `beta_off`.
        subjects: If `design` is no schedule yet: see `Design.compile`.
        seed: Of the orders, likewise.
        state: Where the subjects start, if they are not naive.

    Raises:
        ValueError: A parameter is unknown or out of its bounds, or a cue in it is shown by no trial.
    """
    schedule = design if isinstance(design, Schedule) else design.compile(subjects, seed=seed)
    model = in_time(model, schedule)
    strengths: list[Tensor] = []
    predictions: list[Tensor] = []
    for step in steps(model, schedule, theta, state):
        if not strengths:
            strengths.append(model.strengths(step.before))
        strengths.append(model.strengths(step.after) if step.after is not step.before else strengths[-1])
        predictions.append(model.predict(step.theta, step.before, schedule.stimuli[step.trial]))
        state = step.after
    lanes = strengths[0].shape[:-2]
    expanded = [prediction.expand(*lanes, -1) for prediction in predictions]
    return Simulation(schedule, torch.stack(strengths), torch.stack(expanded), state)


def steps(model: Model, schedule: Schedule, theta: Values | None = None, state: State = None) -> Iterator[Step]:
    """Run subjects through an experiment trial by trial; nothing is kept.

    A trial that teaches nothing, a probe or a wait, leaves the state exactly as it is. Arguments as for `simulate`.
    """
    model = in_time(model, schedule)
    free = parameters(model, schedule, theta)
    shape = torch.broadcast_shapes(schedule.lanes, *(_lanes(model.parameters[name], free[name]) for name in free))
    if state is None:
        state = model.initial(free, shape, len(schedule.cues), len(schedule.outcomes))
    for phase, settings, pause in zip(schedule.phases, schedule.settings, schedule.pauses, strict=True):
        now = {**free, **_overridden(model, free, settings)}
        if pause is not None and isinstance(model, Resting):
            state = model.rest(now, state, pause)
        for t in phase:
            after = state
            if schedule.learners[t] != NOBODY:
                after = model.update(now, state, Trial(schedule.stimuli[t], schedule.outcome[t]))
            if schedule.learners[t] not in (NOBODY, EVERYBODY):
                after = tree.where(schedule.learns[t].expand(shape), after, state)
            yield Step(t, now, state, after)
            state = after


def parameters(model: Model, schedule: Schedule, theta: Values | None = None) -> dict[str, Tensor]:
    """Every parameter of a model as a tensor against the lanes, [..., 1], and [..., 1, C] if each cue has its own.

    A configural cue has the product of its elements' values, unless `theta` gives it one.

    Raises:
        ValueError: A parameter is unknown or out of its bounds, or a cue in it is shown by no trial.
    """
    given = _named(model, theta or {})
    return {
        name: _checked(name, parameter, _value(name, parameter, given.get(name, parameter.default), schedule))
        for name, parameter in model.parameters.items()
    }


def position(what: str, name: str, known: tuple[str, ...]) -> int:
    """Where a name is.

    Raises:
        ValueError: It is not there.
    """
    if name not in known:
        raise ValueError(closest(what, name, known))
    return known.index(name)


def _named(model: Model, theta: Mapping[str, _V]) -> dict[str, _V]:
    """By the model's own names."""
    given = {}
    for name, value in theta.items():
        begun = [own for own in model.parameters if own.startswith(f"{name}_")]
        if name not in model.parameters and not begun:
            raise ValueError(closest("parameter", name, model.parameters))
        given.update(dict.fromkeys([name] if name in model.parameters else begun, value))
    return given


def _value(name: str, parameter: Parameter, given: Value | Mapping[str, Value], schedule: Schedule) -> Tensor:
    like = schedule.stimuli
    if not parameter.each_cue:
        if isinstance(given, Mapping):
            raise ValueError(f"{name}: cues share it; give one number, not one for each cue.")
        return torch.as_tensor(given, dtype=like.dtype, device=like.device).unsqueeze(-1)
    elements = [cue for cue in schedule.cues if cue not in schedule.compounds]
    own = given if isinstance(given, Mapping) else {}
    for cue in own:
        position(f"cue of {name}", cue, schedule.cues)
    if isinstance(given, Tensor) and given.dim() > 0 and given.shape[-1] != 1:
        if given.shape[-1] != len(schedule.cues):
            raise ValueError(
                f"{name}: the last dimension is {given.shape[-1]}, but there are {len(schedule.cues)} cues "
                f"({', '.join(schedule.cues)}); one value for all of them is [..., 1]."
            )
        return given.to(like).unsqueeze(-2)
    if isinstance(given, Tensor) and given.dim() > 0:
        given = given.squeeze(-1)
    common = parameter.default if isinstance(given, Mapping) else given
    by_cue = {cue: torch.as_tensor(own.get(cue, common), dtype=like.dtype, device=like.device) for cue in elements}
    for compound, parts in schedule.compounds.items():
        product = torch.stack(torch.broadcast_tensors(*(by_cue[cue] for cue in parts))).prod(0)
        by_cue[compound] = torch.as_tensor(own.get(compound, product), dtype=like.dtype, device=like.device)
    return torch.stack(torch.broadcast_tensors(*(by_cue[cue] for cue in schedule.cues)), -1).unsqueeze(-2)


def _checked(name: str, parameter: Parameter, value: Tensor) -> Tensor:
    outside = value[~(value.isfinite() & (value >= parameter.low) & (value <= parameter.high))]
    if outside.numel():
        finite = "" if math.isfinite(float(outside[0])) else ", and finite"
        bounds = f"{parameter.low:g} to {parameter.high:g}{finite}"
        raise ValueError(f"{name}: {float(outside[0]):g} is outside its bounds, {bounds}.")
    return value


def _overridden(model: Model, theta: Theta, settings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters that a phase sets for some of its groups."""
    changed = {}
    for name, value in _named(model, settings).items():
        parameter = model.parameters[name]
        _checked(name, parameter, value[~value.isnan()])
        by_group = value.unsqueeze(-1) if parameter.each_cue else value
        changed[name] = torch.where(by_group.isnan(), theta[name], by_group)
    return changed


def _lanes(parameter: Parameter, value: Tensor) -> tuple[int, ...]:
    return tuple(value.shape[:-1] if parameter.each_cue else value.shape)
