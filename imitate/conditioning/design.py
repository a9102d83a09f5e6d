"""An experiment, written down as text and turned into tensors that any model can run through.

Letters: T trials, S subjects, G groups, C cues, O outcomes; `...` is [G], or [S, G] if subjects differ in their orders.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import torch
from torch import Tensor

from imitate.conditioning.notation import Phase, TrialType, parse
from imitate.core.config import check
from imitate.core.noise import Stream
from imitate.core.room import admit

__all__ = ["Design", "Schedule"]

NOBODY, SOMEBODY, EVERYBODY = range(3)


@dataclass(frozen=True)
class Schedule:
    """The trials of an experiment in the order in which they are met.

    A phase begins at the same trial for every group; a group with fewer trials waits for the others.

    Args:
        groups: Names.
        cues: Names; those of compounds, if the design is configural, come last.
        outcomes: Names.
        phases: Trials of each phase.
        kinds: What kinds of trials there are.
        order: Kind of each trial, [T, ...] (int64); -1 where a group waits.
        stimuli: Presence of each cue, [T, ..., C].
        outcome: Magnitude of each outcome, [T, ..., O].
        learns: Whether the trial teaches, [T, ...] (bool): it is there, and is no probe.
        learners: Who learns in each trial, nobody (0), somebody (1) or everybody (2): `learns` as the host knows it.
        settings: Parameters that differ in each phase, [G] each; NaN where a group keeps its own.
        pauses: Time before each phase, [G]; None where there is none.
        compounds: Elements of each configural cue.
    """

    groups: tuple[str, ...]
    cues: tuple[str, ...]
    outcomes: tuple[str, ...]
    phases: tuple[range, ...]
    kinds: tuple[TrialType, ...]
    order: Tensor
    stimuli: Tensor
    outcome: Tensor
    learns: Tensor
    learners: tuple[int, ...]
    settings: tuple[Mapping[str, Tensor], ...]
    pauses: tuple[Tensor | None, ...]
    compounds: Mapping[str, tuple[str, ...]]

    @property
    def lanes(self) -> tuple[int, ...]:
        """[G], or [S, G]."""
        return tuple(self.order.shape[1:])


@dataclass(frozen=True)
class Design:
    """An experiment: its groups and the trials of their phases, in the notation of `imitate.conditioning.notation`.

    Args:
        groups: Phases of each group by its name, `{"blocked": "10A(US) | 10AB(US) | 1#B"}`; a string is a single group.
        outcomes: Names that are outcomes, beside those that begin with US.
        context: A cue that is there in every trial; a phase may name another, as in `context=cage2 / 10A`.
        configural: Every compound of a trial is a cue of its own beside its elements (A&B), there if all of them are.
        miniblocks: A randomised phase is shuffled in the smallest blocks of the right proportions, not as a whole.

    Raises:
        ValueError: A text cannot be read; the message names the column.
    """

    groups: Mapping[str, str] | str
    outcomes: tuple[str, ...] = ()
    context: str | None = None
    configural: bool = False
    miniblocks: bool = True
    phases: Mapping[str, tuple[Phase, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check(self)
        groups = {"all": self.groups} if isinstance(self.groups, str) else self.groups
        phases = {name: parse(text, self.outcomes) for name, text in groups.items()}
        if not any(phase.trials for group in phases.values() for phase in group):
            raise ValueError("design: there is no trial in it; write at least one, as in 10A(US).")
        object.__setattr__(self, "phases", phases)

    @cached_property
    def kinds(self) -> dict[str, TrialType]:
        """The kinds of trials by label, in order of appearance."""
        return {kind.label: kind for group in self.phases.values() for phase in group for kind in phase.trials}

    @cached_property
    def compounds(self) -> dict[str, tuple[str, ...]]:
        """Elements of each configural cue by its name."""
        together = [kind.cues for kind in self.kinds.values() if self.configural and len(kind.cues) > 1]
        unique = {frozenset(cues): cues for cues in reversed(together)}
        return {"&".join(cues): cues for cues in reversed(unique.values())}

    @cached_property
    def cues(self) -> tuple[str, ...]:
        """Names of all cues: elements, contexts, compounds."""
        shown = [cue for kind in self.kinds.values() for cue in kind.cues]
        contexts = [self._context(phase) for group in self.phases.values() for phase in group if phase.trials]
        return tuple(dict.fromkeys([*shown, *filter(None, contexts), *self.compounds]))

    @cached_property
    def outcome_names(self) -> tuple[str, ...]:
        """Names of the outcomes that occur; a US if none does."""
        return tuple(dict.fromkeys(name for kind in self.kinds.values() for name in kind.outcomes)) or ("US",)

    def compile(
        self,
        subjects: int | None = None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> Schedule:
        """The experiment as tensors.

        Args:
            subjects: Of each group; every subject gets an order of its own in randomised phases. None: a single one,
                and no dimension for it.
            seed: Of the orders.
            device: Where the tensors are.
            dtype: Of stimuli and outcomes.
        """
        if subjects is not None and subjects < 1:
            raise ValueError(f"subjects: at least 1, not {subjects}.")
        count = max(len(group) for group in self.phases.values())
        columns = [[group[i] if i < len(group) else Phase() for group in self.phases.values()] for i in range(count)]
        starts = [0]
        for column in columns:
            starts.append(starts[-1] + max(len(phase.trials) for phase in column))
        labels = list(self.kinds)
        size = (starts[-1], 1 if subjects is None else subjects, len(self.phases))
        each = 8 + dtype.itemsize * (len(self.cues) + len(self.outcome_names))
        admit("the trials", math.prod(size) * each, {"design": size[0], "subjects": size[1]}, "cpu")
        order = torch.full(size, -1)
        stimuli = torch.zeros(*size, len(self.cues), dtype=dtype)
        outcome = torch.zeros(*size, len(self.outcome_names), dtype=dtype)
        learns = torch.zeros(size, dtype=torch.bool)
        orders = Stream(seed, "design")
        for start, column in zip(starts, columns, strict=False):
            for g, phase in enumerate(column):
                if not phase.trials:
                    continue
                trials = self._blocks(phase) if phase.randomised else [list(phase.trials)]
                rows = [kind for block in trials for kind in block]
                where = torch.arange(len(rows)).unsqueeze(-1).expand(-1, size[1])
                if phase.randomised:
                    u = orders.uniform(len(trials), len(trials[0]), size[1])
                    first = torch.arange(0, len(rows), len(trials[0])).view(-1, 1, 1)
                    where = (u.argsort(1) + first).flatten(0, 1)
                here = slice(start, start + len(rows))
                order[here, :, g] = torch.tensor([labels.index(kind.label) for kind in rows])[where]
                learns[here, :, g] = torch.tensor([not kind.probe for kind in rows])[where]
                stimuli[here, :, g] = torch.tensor([self._stimuli(kind, phase) for kind in rows], dtype=dtype)[where]
                outcome[here, :, g] = torch.tensor([self._outcome(kind, phase) for kind in rows], dtype=dtype)[where]
        if subjects is None:
            order, stimuli, outcome, learns = (x.squeeze(1) for x in (order, stimuli, outcome, learns))
        taught = learns.flatten(1)
        return Schedule(
            groups=tuple(self.phases),
            cues=self.cues,
            outcomes=self.outcome_names,
            phases=tuple(range(a, b) for a, b in pairwise(starts)),
            kinds=tuple(self.kinds.values()),
            order=order.to(device),
            stimuli=stimuli.to(device),
            outcome=outcome.to(device),
            learns=learns.to(device),
            learners=tuple((taught.any(1).int() + taught.all(1).int()).tolist()),
            settings=tuple(_settings(column, device, dtype) for column in columns),
            pauses=tuple(_pause(column, device, dtype) for column in columns),
            compounds=self.compounds,
        )

    def _context(self, phase: Phase) -> str | None:
        return phase.context or self.context

    def _blocks(self, phase: Phase) -> list[list[TrialType]]:
        counts = Counter(kind.label for kind in phase.trials)
        blocks = math.gcd(*counts.values()) if self.miniblocks else 1
        block = [self.kinds[label] for label, count in counts.items() for _ in range(count // blocks)]
        return [block] * blocks

    def _stimuli(self, kind: TrialType, phase: Phase) -> list[float]:
        there = {*kind.cues, self._context(phase)}
        there |= {name for name, elements in self.compounds.items() if there.issuperset(elements)}
        return [float(cue in there) for cue in self.cues]

    def _outcome(self, kind: TrialType, phase: Phase) -> list[float]:
        return [kind.outcomes.get(name, 0.0) * phase.settings.get("lambda", 1.0) for name in self.outcome_names]


def _settings(column: list[Phase], device: torch.device | str, dtype: torch.dtype) -> dict[str, Tensor]:
    """Parameters of one phase by group."""
    names = dict.fromkeys(name for phase in column for name in phase.settings if name not in ("lambda", "pause"))
    return {
        name: torch.tensor([phase.settings.get(name, math.nan) for phase in column], device=device, dtype=dtype)
        for name in names
    }


def _pause(column: list[Phase], device: torch.device | str, dtype: torch.dtype) -> Tensor | None:
    """Time before one phase by group."""
    pauses = [phase.settings.get("pause", 0.0) for phase in column]
    return torch.tensor(pauses, device=device, dtype=dtype) if any(pauses) else None
