"""What a phenomenon of conditioning is: a design, what animals do in it, and whether a model does the same.

Letters: P parameter points, T trials, S subjects, G groups, C cues, O outcomes; `...` lanes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import torch
from torch import Tensor

from imitate.conditioning.design import Design, Schedule
from imitate.conditioning.model import Model
from imitate.conditioning.periods import in_time
from imitate.conditioning.simulate import Simulation, Values, position, simulate, steps
from imitate.core.config import checked
from imitate.core.noise import Stream

__all__ = ["Contender", "Contrast", "Phenomenon", "Response", "Result", "examine", "sample_points", "share"]


@dataclass(frozen=True)
class Response:
    """How strongly a group responds in a test: what the last probe of that kind in a phase lets expect.

    Args:
        probe: Label of the trial, "#B".
        group: By default the first.
        phase: Counted from 0; by default the last.
    """

    probe: str
    group: str | None = None
    phase: int = -1

    def __str__(self) -> str:
        where = f" after phase {self.phase}" if self.phase >= 0 else ""
        return f"{self.probe.removeprefix('#')}{f' ({self.group})' if self.group else ''}{where}"


Side: TypeAlias = Response | float


@dataclass(frozen=True)
class Contrast:
    """One response is stronger than another, or than a number.

    Args:
        more: The stronger.
        less: The weaker.
        margin: By how much at least, in units of λ: less is no difference.
        factor: What `more` is multiplied by.
    """

    more: Side
    less: Side
    margin: float = 0.01
    factor: float = 1.0

    def __str__(self) -> str:
        more, less = (f"{side:g}" if isinstance(side, float) else str(side) for side in (self.more, self.less))
        return f"{f'{self.factor:g} x ' if self.factor != 1 else ''}{more} > {less}"

    def difference(self, responses: Mapping[Response, Any]) -> Any:
        """factor·more − less; of numbers, or of tensors of one shape."""
        more, less = (responses[s] if isinstance(s, Response) else s for s in (self.more, self.less))
        return self.factor * more - less


@dataclass(frozen=True)
class Phenomenon:
    """A result of experiments with animals.

    Args:
        title: What happens, in a line.
        design: The experiment, with probes where it is measured.
        contrasts: What the animals show; all of them.
        source: Where it was found.
        passes: Names of the contenders that show it, with their defaults; the others of the library do not.
        also: Responses to show beside those that are compared.
        settings: Parameters that an illustration needs, by the model's name.
        subjects: Of each group, where trials are randomised; responses are their means.
        alike: Whether different cues are compared, so that `share` must give all of them the same parameters.
    """

    title: str
    design: Design
    contrasts: tuple[Contrast, ...]
    source: str
    passes: frozenset[str] = frozenset()
    also: tuple[Response, ...] = ()
    settings: Mapping[str, Values] = field(default_factory=dict)
    subjects: int | None = None
    alike: bool = False

    @cached_property
    def responses(self) -> tuple[Response, ...]:
        """All that is measured."""
        sides = [side for contrast in self.contrasts for side in (contrast.more, contrast.less)]
        return tuple(dict.fromkeys([*(side for side in sides if isinstance(side, Response)), *self.also]))


@dataclass(frozen=True)
class Contender:
    """A model in the tests.

    Args:
        model: How it learns; one of time steps takes its course from the periods of the trials.
        configural: Whether compounds are cues of their own to it.
        theta: Parameters that differ from the model's defaults.
    """

    model: Model
    configural: bool = False
    theta: Values = field(default_factory=dict)

    def schedule(self, phenomenon: Phenomenon, subjects: int | None, seed: int, dtype: torch.dtype) -> Schedule:
        """The experiment as this model sees it."""
        design = replace(phenomenon.design, configural=self.configural or phenomenon.design.configural)
        return design.compile(subjects, seed=seed, dtype=dtype)

    def values(self, phenomenon: Phenomenon, name: str, theta: Values | None = None) -> Values:
        """Parameters: those given come before those of the phenomenon, and these before the contender's."""
        return {**self.theta, **phenomenon.settings.get(name, {}), **(theta or {})}

    def simulate(self, phenomenon: Phenomenon, name: str, theta: Values | None = None, *, seed: int = 0) -> Simulation:
        """Run the experiment and record everything, in float64."""
        schedule = self.schedule(phenomenon, phenomenon.subjects, seed, torch.float64)
        return simulate(self.model, schedule, self.values(phenomenon, name, theta))


@dataclass(frozen=True)
class Result:
    """What a model does in a phenomenon's experiment.

    Args:
        responses: Of each group and probe that is compared.
        differences: more − less of each contrast.
        holds: Whether every contrast exceeds its margin.
        expected: Whether it was to hold; None with parameters of one's own.
    """

    responses: Mapping[Response, float]
    differences: tuple[float, ...]
    holds: bool
    expected: bool | None


@checked
def examine(
    phenomenon: Phenomenon, name: str, contender: Contender, theta: Values | None = None, *, seed: int = 0
) -> Result:
    """Run a phenomenon's experiment on one model, in float64.

    Args:
        phenomenon: The experiment.
        name: Of the contender, for its settings and for what is expected of it.
        contender: The model.
        theta: Parameters that come before those of the phenomenon and of the contender; with any, nothing is expected.
        seed: Of random orders.
    """
    schedule = contender.schedule(phenomenon, phenomenon.subjects, seed, torch.float64)
    found = _measure(phenomenon, contender, schedule, contender.values(phenomenon, name, theta))
    means = {response: float(found[response].mean()) for response in phenomenon.responses}
    differences = tuple(c.difference(means) for c in phenomenon.contrasts)
    holds = all(d > c.margin for d, c in zip(differences, phenomenon.contrasts, strict=True))
    return Result(means, differences, holds, None if theta else name in phenomenon.passes)


def share(
    phenomenon: Phenomenon, contender: Contender, points: int = 100_000, *, seed: int = 0, at_once: int = 8192
) -> float:
    """The share of a model's parameter space in which a phenomenon holds.

    Every parameter is drawn by itself, and for each cue if each has its own: uniformly between its bounds; without an
    upper bound, uniformly on a logarithmic scale from a tenth of its default above the lower bound to ten times that.

    Args:
        phenomenon: The experiment.
        contender: The model.
        points: Of the space.
        seed: Of the points and of random orders.
        at_once: Points in one go: enough to fill the processor, few enough for its caches.
    """
    if points < 1:
        raise ValueError(f"points: at least 1, not {points}.")
    few = None if phenomenon.subjects is None else min(phenomenon.subjects, 4)
    schedule = contender.schedule(phenomenon, few, seed, torch.float32)
    stream = Stream(seed, "points")
    held = 0
    for start in range(0, points, at_once):
        values = sample_points(contender.model, schedule, min(at_once, points - start), stream, alike=phenomenon.alike)
        found = {r: v.reshape(len(v), -1).mean(1) for r, v in _measure(phenomenon, contender, schedule, values).items()}
        good = [c.difference(found) > c.margin for c in phenomenon.contrasts]
        held += int(torch.stack(good).all(0).sum())
    return held / points


@checked
def sample_points(
    model: Model, schedule: Schedule, points: int, stream: Stream, *, alike: bool = False
) -> dict[str, Tensor]:
    """Points of the parameter space, see `share`: [P, 1, ...], and [P, 1, ..., C] of each cue, or 1 if `alike`."""
    values = {}
    lanes, cues = (1,) * (len(schedule.lanes) - 1), 1 if alike else len(schedule.cues)
    for name, parameter in model.parameters.items():
        u = stream.uniform(points, *lanes, *((cues,) if parameter.each_cue else ())).to(schedule.stimuli)
        if math.isfinite(parameter.high):
            values[name] = parameter.low + (parameter.high - parameter.low) * u
        else:
            low = parameter.low if math.isfinite(parameter.low) else 0.0
            values[name] = low + (parameter.default - low) * 10 ** (2 * u - 1)
    return values


def _measure(
    phenomenon: Phenomenon, contender: Contender, schedule: Schedule, values: Values
) -> dict[Response, Tensor]:
    """Every response, [...] without the groups."""
    wanted: dict[int, list[tuple[Response, int]]] = {}
    for response in phenomenon.responses:
        trial, group = _when(schedule, response)
        wanted.setdefault(trial, []).append((response, group))
    found = {}
    model = in_time(contender.model, schedule)
    for step in steps(model, schedule, values):
        if step.trial in wanted:
            prediction = model.predict(step.theta, step.before, schedule.stimuli[step.trial])
            found.update({response: prediction[..., group, 0] for response, group in wanted[step.trial]})
    return found


def _when(schedule: Schedule, response: Response) -> tuple[int, int]:
    """Trial and group of a probe.

    Raises:
        ValueError: The group or the probe is not there, or it comes at different times for different subjects.
    """
    group = position("group", response.group or schedule.groups[0], schedule.groups)
    labels = tuple(kind.label for kind in schedule.kinds)
    kind = position("probe", response.probe, labels)
    phase = schedule.phases[response.phase]
    order = schedule.order[phase.start : phase.stop, ..., group].reshape(len(phase), -1)
    there = (order == kind).all(1).nonzero()
    if not len(there):
        raise ValueError(
            f"probe: no trial '{response.probe}' for group '{schedule.groups[group]}' in phase {response.phase}, "
            "or not at the same time for all subjects; put it in a phase of its own."
        )
    return phase.start + int(there[-1]), group
