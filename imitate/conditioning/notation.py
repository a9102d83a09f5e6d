"""The notation in which psychologists write experiments down, read into trials.

    design  =  phase | phase | ...                          "10A(US) | 10AB(US) | 1#B"
    phase   =  [!] [settings /] trials / trials / ...       "!5AB(US)/5AB", "lambda=2; beta=.3 / 10A(US)", or nothing
    trials  =  count [percent %] [#] period > period > ...  "10A(US)", "100F>T>(US)", "10A>>(US)", "1#A", "20 50%A(US)"
            |  count (trials / trials / ...)                "50(A(US)/AX)": so often in turn
    period  =  cues and outcomes [+ | ++ | -]               "AB(tone)(US)", "AB+", "AB-"

`!` randomises the phase. `>` begins the next period of a trial, and `>>` leaves one empty between. A probe `#` is
answered but teaches nothing. `+` is a US, `-` says that there is none; in `20 50%A(US)` every second trial has its
outcome. A cue is a letter, perhaps with primes or a number (A' X^12), or a name in parentheses; A_1 and A_2 are two
occurrences of A. Which names are outcomes, the design says.

The notation is that of calmr (Navarro, CRAN) with the `+`, `-` and settings of PALMS (Fixman et al. 2026).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn

from imitate.core.config import checked

__all__ = ["Phase", "TrialType", "parse"]

COUNT = re.compile(r"\d+(?![\d.]*%)(?!\.\d)")
PERCENT = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*%")
LETTER = re.compile(r"([^\W\d_]'*(?:\^\d+)?)(?:_\d+)?")
NAME = re.compile(r"\(\s*(\w[^()/|>#!=+]*?)\s*\)")
SETTING = re.compile(r"([^\W\d]\w*)\s*=\s*([^;/|\s]*)")
MOST = 1_000_000  # a slip of the keyboard is not to fill the memory
NUMBER = re.compile(r"-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class TrialType:
    """One kind of trial.

    Args:
        label: What is written after the count, in one spelling: A+ is A(US).
        periods: Cues of each period of the trial.
        outcomes: Magnitude of each outcome in units of λ: 1, and 2 for `++`.
        times: The period in which each outcome comes.
        probe: Whether nothing is learned from it.
    """

    label: str
    periods: tuple[tuple[str, ...], ...]
    outcomes: Mapping[str, float] = field(default_factory=dict)
    times: Mapping[str, int] = field(default_factory=dict)
    probe: bool = False

    @property
    def cues(self) -> tuple[str, ...]:
        """The cues of all periods, each once."""
        return tuple(dict.fromkeys(cue for period in self.periods for cue in period))


@dataclass(frozen=True)
class Phase:
    """One phase of one group: its trials as written, one by one.

    Args:
        trials: In order.
        randomised: Whether each subject gets them in an order of its own.
        settings: Parameters for this phase alone; `lambda` is the magnitude of an outcome, `pause` the time before it.
        context: The context of this phase, if it is not the design's.
    """

    trials: tuple[TrialType, ...] = ()
    randomised: bool = False
    settings: Mapping[str, float] = field(default_factory=dict)
    context: str | None = None


@checked
def parse(text: str, outcomes: tuple[str, ...] = ()) -> tuple[Phase, ...]:
    """The phases of one group.

    Args:
        text: Its phases, separated by `|`.
        outcomes: Names that are outcomes, beside those that begin with US; the first of them is what `+` means.

    Raises:
        ValueError: The text cannot be read; the message names the column, counted from 1.
    """
    reader = _Reader(text, outcomes)
    phases = [reader.phase()]
    while reader.take("|"):
        phases.append(reader.phase())
    if not reader.done:
        reader.fail("a phase ends here, with '|'" if text[reader.at] == ")" else "'/' or '|' must come first")
    return tuple(phases)


class _Reader:
    """A cursor in the text."""

    def __init__(self, text: str, outcomes: tuple[str, ...]) -> None:
        self.text, self.outcomes, self.at = text, outcomes, 0
        self.skip()

    @property
    def done(self) -> bool:
        return self.at == len(self.text)

    def skip(self) -> None:
        while not self.done and self.text[self.at].isspace():
            self.at += 1

    def peek(self, *tokens: str) -> bool:
        return self.text.startswith(tokens, self.at)

    def take(self, token: str) -> bool:
        found = self.peek(token)
        if found:
            self.at += len(token)
            self.skip()
        return found

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
            self.skip()
        return found

    def fail(self, message: str, at: int | None = None) -> NoReturn:
        column = (self.at if at is None else at) + 1
        raise ValueError(f"design: '{self.text}', column {column}: {message}.")

    def phase(self) -> Phase:
        randomised = self.take("!")
        settings: dict[str, float] = {}
        context = None
        while SETTING.match(self.text, self.at):
            start = self.at
            while found := self.match(SETTING):
                name, value = found.groups()
                if name == "context" and value:
                    context = value
                elif NUMBER.fullmatch(value):
                    settings[name] = float(value)
                else:
                    self.fail(f"'{name}' needs a number, as in {name}=0.5", start)
                self.take(";")
                start = self.at
            self.take("/")
        randomised = self.take("!") or randomised
        trials: list[TrialType] = []
        if not self.done and not self.peek("|"):
            trials = self.trials(inside=False)
            while self.take("/"):
                trials += self.trials(inside=False)
        return Phase(tuple(trials), randomised, settings, context)

    def trials(self, *, inside: bool) -> list[TrialType]:
        """So many trials of one kind, or a block so many times."""
        start = self.at
        found = self.match(COUNT)
        if found is None and not inside:
            if self.done or self.peek("/", "|"):
                self.fail("trials are missing here; a phase without any has no '/'")
            self.fail("how many trials? The number comes first, as in 10AB, and before a '#'")
        count = 1 if found is None else int(found[0])
        if not 1 <= count <= MOST:
            self.fail(f"at least 1 trial, and {MOST} at the most", start)
        if self.peek("(") and not NAME.match(self.text, self.at):
            return self.block() * count
        start = self.at
        percent = self.match(PERCENT)
        kind = self.trial()
        if percent is None:
            return [kind] * count
        share = float(percent[1]) / 100
        if not kind.outcomes or kind.probe or share > 1:
            self.fail("a percentage up to 100 belongs before a trial with an outcome, as in 20 50%A(US)", start)
        if abs(count * share - round(count * share)) > 1e-9:
            self.fail(f"{percent[1]} % of {count} trials is not a whole number", start)
        without = _kind(kind.periods, {}, {}, probe=False)
        # Spread evenly, and a reinforced one at the end.
        given = [math.floor((i + 1) * share + 1e-9) > math.floor(i * share + 1e-9) for i in range(count)]
        return [kind if one else without for one in given]

    def block(self) -> list[TrialType]:
        """(trials / trials / ...)."""
        start = self.at
        self.take("(")
        trials = self.trials(inside=True)
        while self.take("/"):
            trials += self.trials(inside=True)
        if not self.take(")"):
            self.fail("this '(' is not closed", start)
        return trials

    def trial(self) -> TrialType:
        probe = self.take("#")
        periods: list[tuple[str, ...]] = []
        outcomes: dict[str, float] = {}
        times: dict[str, int] = {}
        while True:
            gap = bool(periods) and self.peek(">")
            periods.append(() if gap else self.period(outcomes, times, len(periods)))
            if not self.take(">"):
                break
        return _kind(tuple(periods), outcomes, times, probe=probe)

    def period(self, outcomes: dict[str, float], times: dict[str, int], number: int) -> tuple[str, ...]:
        start = self.at
        cues: list[str] = []
        given = len(outcomes)
        while True:
            here = self.at
            if found := self.match(NAME):
                name = found[1]
                outcome = name in self.outcomes or name.startswith("US")
            elif self.peek("("):
                self.fail("a name in parentheses is expected, as in (tone), and its ')'")
            elif found := self.match(LETTER):
                name, outcome = found[1], False
            else:
                break
            if name in cues or name in outcomes:
                self.fail(f"'{name}' is there already", here)
            if outcome:
                outcomes[name], times[name] = 1.0, number
            else:
                cues.append(name)
        here = self.at
        if self.take("-"):
            if outcomes:
                self.fail("'-' says that there is no outcome, but there is one", here)
        else:
            pluses = 0
            while self.take("+"):
                pluses += 1
            name = self.outcomes[0] if self.outcomes else "US"
            if pluses and name in outcomes:
                self.fail(f"'+' is ({name}), which is there already", here)
            if pluses:
                outcomes[name], times[name] = float(pluses), number
        if self.at == start or (self.at == here + 1 and not cues and len(outcomes) == given):
            self.fail("a cue is expected: a letter, or a name as in (tone)", start)
        return tuple(cues)


def _kind(
    periods: tuple[tuple[str, ...], ...], outcomes: dict[str, float], times: dict[str, int], *, probe: bool
) -> TrialType:
    """A kind of trial with its label."""
    parts = ["".join(cue if LETTER.fullmatch(cue) else f"({cue})" for cue in period) for period in periods]
    for name, magnitude in outcomes.items():
        parts[times[name]] += f"({name})" if magnitude == 1 else "+" * int(magnitude)
    return TrialType("#" * probe + ">".join(parts), periods, outcomes, times, probe)
