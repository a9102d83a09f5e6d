"""From the periods of a design's trials to the course of a trial in time steps."""

from __future__ import annotations

from dataclasses import replace

from imitate.conditioning.design import Schedule
from imitate.conditioning.model import Model
from imitate.conditioning.models import Course, TrialTemporalDifference
from imitate.conditioning.notation import TrialType
from imitate.core.config import checked

__all__ = ["course", "in_time"]


@checked
def in_time(model: Model, schedule: Schedule) -> Model:
    """The model with the course of trials that a design's periods describe.

    A model without time steps stays as it is, and so does one whose course says what each cue does, or that meets no
    trial of several periods.
    """
    if not isinstance(model, TrialTemporalDifference) or all(len(kind.periods) < 2 for kind in schedule.kinds):
        return model
    return model if isinstance(model.course.onsets, tuple) else replace(model, course=course(schedule, model.course))


@checked
def course(schedule: Schedule, like: Course) -> Course:
    """When each cue comes on and how long it lasts, in time steps.

    A cue lasts for its periods, and all of them are equally long. `A(US)` and `A>(US)` both bring the outcome when A
    ends; `A>>(US)` leaves a period between. A cue has one place before the outcome in the whole experiment; one that is
    never followed by an outcome keeps its distance from its companions, or ends where the outcome would come.

    Args:
        schedule: The experiment.
        like: Gives the steps of a period, which are a cue's duration, a gap before the outcome, and the rest after it.

    Raises:
        ValueError: A cue comes after the outcome, or at different times before it.
    """
    steps = like.durations if isinstance(like.durations, int) else like.durations[0]
    lead: dict[str, int] = {}  # periods from a cue's onset to the outcome
    lasts: dict[str, int] = {}
    for kind in sorted(schedule.kinds, key=lambda kind: not kind.outcomes):  # first those that say when it comes
        onsets = {cue: next(i for i, period in enumerate(kind.periods) if cue in period) for cue in kind.cues}
        end = _end(kind)
        known = [lead[cue] + onset for cue, onset in onsets.items() if cue in lead]
        end = known[0] if known and not kind.outcomes else end
        for cue, onset in onsets.items():
            length = sum(cue in period for period in kind.periods)
            as_before = lasts.setdefault(cue, length) == length or not kind.outcomes
            if lead.setdefault(cue, end - onset) != end - onset or not as_before:
                raise ValueError(
                    f"design: '{cue}' comes at another time in '{kind.label}'; models of time steps need one."
                )
            if end - onset < lasts[cue]:
                raise ValueError(f"design: '{cue}' goes on after the outcome in '{kind.label}'; let it end before.")
    for compound, elements in schedule.compounds.items():
        lead[compound] = min(lead[cue] for cue in elements)
        lasts[compound] = lead[compound]
    longest = max(lead.values(), default=1)
    for cue in schedule.cues:  # a context is there all the time
        lead.setdefault(cue, longest)
        lasts.setdefault(cue, longest)
    comes = tuple((longest - lead[cue]) * steps for cue in schedule.cues)
    stays = tuple(lasts[cue] * steps for cue in schedule.cues)
    last = max(a + b for a, b in zip(comes, stays, strict=True))
    return Course(comes, stays, gap=longest * steps - last + like.gap, rest=like.rest)


def _end(kind: TrialType) -> int:
    """The period at whose start the outcome comes, or would; one beside cues comes when they end."""
    if not kind.times:
        return max(i for i, period in enumerate(kind.periods) if period) + 1 if kind.cues else 1
    first = min(kind.times.values())
    return first + 1 if kind.periods[first] or not first else first
