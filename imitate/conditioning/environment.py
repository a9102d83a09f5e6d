"""A design as an environment, so that agents learn in the experiment that models are simulated in."""

from __future__ import annotations

from imitate.conditioning.design import Design, Schedule
from imitate.conditioning.notation import TrialType
from imitate.conditioning.simulate import position
from imitate.core.config import checked
from imitate_envs.conditioning import Conditioning, Sessions, TrialKind
from imitate_envs.stimuli import CompleteSerialCompound, Representation, Timing
from imitate_envs.timed_conditioning import TimedConditioning

__all__ = ["to_env", "to_timed_env"]


@checked
def to_env(
    design: Design | Schedule,
    group: str | None = None,
    *,
    outcome: str | None = None,
    omission: bool = False,
    subjects: int | None = None,
    seed: int = 0,
) -> Conditioning:
    """The experiment of one group, a trial a step; an episode is the whole of it.

    Parameters that a phase sets and pauses before phases are a model's: an environment leaves them to the learner.

    Args:
        design: The experiment, or its schedule.
        group: Whose; by default the first.
        outcome: Which one is the reward; needed where there are several.
        omission: Whether a response cancels the outcome.
        subjects: If `design` is no schedule yet: orders of randomised phases, of which an episode draws one.
        seed: Of the orders, likewise.

    Raises:
        ValueError: There is no such group or outcome, or the group has no trials.
    """
    trials, sessions = _trials(_compiled(design, subjects, seed), group, outcome, timed=False)
    return Conditioning(trials, sessions, omission)


@checked
def to_timed_env(
    design: Design | Schedule,
    group: str | None = None,
    *,
    timing: Timing | None = None,
    representation: Representation | None = None,
    outcome: str | None = None,
    omission: bool = False,
    subjects: int | None = None,
    seed: int = 0,
) -> TimedConditioning:
    """The experiment of one group in time; an episode is the whole of it.

    A period takes the interstimulus interval of `timing`, and a cue comes on when its period begins. `A(US)` and
    `A>(US)` both bring the outcome at the end of A's period. A context comes on with the first cue.

    Args:
        design: As for `to_env`, and likewise `group`, `outcome`, `omission`, `subjects` and `seed`.
        group: See there.
        timing: When things happen; by default a cue of 25 steps that ends with the outcome.
        representation: What is seen of a cue at a step; by default the complete serial compound.
        outcome: See there.
        omission: See there.
        subjects: See there.
        seed: See there.

    Raises:
        ValueError: As for `to_env`, or a cue is there in several periods of a trial.
    """
    trials, sessions = _trials(_compiled(design, subjects, seed), group, outcome, timed=True)
    return TimedConditioning(trials, sessions, timing or Timing(), representation or CompleteSerialCompound(), omission)


def _compiled(design: Design | Schedule, subjects: int | None, seed: int) -> Schedule:
    return design if isinstance(design, Schedule) else design.compile(subjects, seed=seed)


def _trials(
    schedule: Schedule, group: str | None, outcome: str | None, *, timed: bool
) -> tuple[tuple[TrialKind, ...], Sessions]:
    """The kinds of trials that a group meets, contexts and magnitudes included, and the sessions of its subjects."""
    if outcome is None and len(schedule.outcomes) > 1:
        raise ValueError(f"outcome: there are several, {', '.join(schedule.outcomes)}; say which one is the reward.")
    g = position("group", schedule.groups[0] if group is None else group, schedule.groups)
    o = position("outcome", schedule.outcomes[0] if outcome is None else outcome, schedule.outcomes)
    subjects = range(schedule.order[0, ..., g].numel())
    order, magnitude, stimuli = (
        x.reshape(len(x), len(subjects), *x.shape[schedule.order.dim() - 1 :]).tolist()
        for x in (schedule.order[..., g], schedule.outcome[..., g, o], schedule.stimuli[..., g, :])
    )
    numbers: dict[TrialKind, int] = {}
    sessions = []
    for s in subjects:
        session = []
        for number, there, size in zip(order, stimuli, magnitude, strict=True):
            if number[s] >= 0:
                kind = _kind(schedule, schedule.kinds[number[s]], tuple(there[s]), size[s], timed=timed)
                session.append(numbers.setdefault(kind, len(numbers)))
        sessions.append(tuple(session))
    if not numbers:
        raise ValueError(f"group: '{schedule.groups[g]}' has no trials.")
    return tuple(numbers), tuple(sessions if len(set(sessions)) > 1 else sessions[:1])


def _kind(schedule: Schedule, kind: TrialType, cues: tuple[float, ...], outcome: float, *, timed: bool) -> TrialKind:
    if not timed:
        return TrialKind(cues, outcome, name=kind.label, probe=kind.probe)
    onsets: dict[str, int] = {}
    for i, period in enumerate(kind.periods):
        for cue in period:
            if cue in onsets:
                raise ValueError(
                    f"design: '{cue}' is there in two periods of '{kind.label}'; in time a cue comes on once."
                )
            onsets[cue] = i
    for compound, elements in schedule.compounds.items():
        onsets[compound] = max(onsets.get(cue, 0) for cue in elements)
    given = min(kind.times.values(), default=None)
    end = None if given is None else given + 1 if kind.periods[given] or not given else given
    periods = tuple(onsets.get(cue, 0) for cue in schedule.cues)
    return TrialKind(cues, outcome, periods, end, name=kind.label, probe=kind.probe)
