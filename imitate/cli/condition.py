"""The command `imitate condition`: experiments of conditioning on models of learning."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from tyro.conf import Positional

from imitate.cli.common import OUT, say
from imitate.conditioning.contenders import CONTENDERS
from imitate.conditioning.design import Design
from imitate.conditioning.draw import draw_curves, draw_grid
from imitate.conditioning.phenomena import Contender, Result, examine, share
from imitate.conditioning.phenomena_library import PHENOMENA
from imitate.conditioning.records import write_records
from imitate.conditioning.simulate import Simulation, simulate
from imitate.core.config import Count
from imitate.core.names import closest

__all__ = ["Condition", "command"]

Settings = dict[str, Any]


@dataclass(frozen=True)
class Condition:
    """Run experiments of conditioning on models of learning, and compare with what animals do.

    imitate condition blocking --model rescorla-wagner mackintosh

    Args:
        phenomenon: One or more of the library; none lists them all.
        model: One or more models; --all takes all of them by default, other commands rescorla-wagner.
        all: The grid of all models against all phenomena.
        design: An experiment of your own instead, a string for each group: "blocked: 10A(US) | 10AB(US) | 1#B".
        context: A cue that is there in every trial of that experiment.
        configural: Its compounds are cues of their own as well.
        set: Parameters, as in --set alpha=0.3 alpha.B=0.1 for one cue.
        points: Draw so many points of each model's parameter space and say in what share the phenomenon holds.
        subjects: Of each group, where trials of your own experiment are randomised.
        seed: Of random orders and points.
        out: Where the picture goes; by default runs/condition-NAME.png.
        table: Where to write every trial as a CSV file, for one phenomenon or --design.
    """

    phenomenon: Positional[tuple[str, ...]] = ()
    model: tuple[str, ...] = ()
    all: bool = False
    design: tuple[str, ...] = ()
    context: str | None = None
    configural: bool = False
    set: tuple[str, ...] = ()
    points: int = 0
    subjects: Count | None = None
    seed: int = 0
    out: Path | None = None
    table: Path | None = None

    def __call__(self) -> None:
        """Run."""
        for name in self.phenomenon:
            if name not in PHENOMENA:
                raise ValueError(closest("phenomenon", name, PHENOMENA))
        for name in self.model:
            if name not in CONTENDERS:
                raise ValueError(closest("model", name, CONTENDERS))
        if bool(self.phenomenon) + self.all + bool(self.design) > 1:
            raise ValueError("condition: name phenomena, or pass --all, or --design; not several of them.")
        if self.points < 0:
            raise ValueError(f"points: at least 0, not {self.points}.")
        if self.set and self.points:
            raise ValueError("set: --points draws all parameters; leave one of the two out.")
        if self.design and self.points:
            raise ValueError(
                "points: a share needs a phenomenon, which says what is to hold; leave it out with --design."
            )
        if not self.design and (self.context or self.configural or self.subjects):
            raise ValueError("context, configural, subjects: are for an experiment of your own; add it with --design.")
        if self.table and (self.all or len(self.phenomenon) != 1) and not self.design:
            raise ValueError("table: is of one experiment; name one phenomenon, or write one with --design.")
        if self.design:
            self._own()
        elif self.all or len(self.phenomenon) > 1:
            self._grid()
        elif self.phenomenon:
            self._one(self.phenomenon[0])
        else:
            _list()

    def _chosen(self) -> dict[str, Contender]:
        default = tuple(CONTENDERS) if self.all else ("rescorla-wagner",)
        return {name: CONTENDERS[name] for name in self.model or default}

    def _one(self, name: str) -> None:
        """One phenomenon: what is compared, and the curves."""
        phenomenon, chosen = PHENOMENA[name], self._chosen()
        values = _values(self.set)
        results = {key: examine(phenomenon, key, one, values, seed=self.seed) for key, one in chosen.items()}
        say(f"{name}: {phenomenon.title} ({phenomenon.source})")
        table = Table(box=SIMPLE_HEAD)
        table.add_column("model")
        for response in phenomenon.responses:
            table.add_column(str(response), justify="right")
        for contrast in phenomenon.contrasts:
            table.add_column(str(contrast), justify="right")
        table.add_column("as animals")
        if self.points:
            table.add_column("share of parameters", justify="right")
        for key, result in results.items():
            cells = [f"{value:.4f}" for value in (*result.responses.values(), *result.differences)]
            shares = [f"{share(phenomenon, chosen[key], self.points, seed=self.seed):.3f}"] if self.points else []
            table.add_row(key, *cells, _verdict(result), *shares)
        OUT.print(table)
        runs = {key: one.simulate(phenomenon, key, values, seed=self.seed) for key, one in chosen.items()}
        out = self.out or Path("runs") / f"condition-{name}.png"
        draw_curves(out, runs, f"{name}: {phenomenon.title}", results)
        self._wrote(out, runs)

    def _grid(self) -> None:
        """Models against phenomena."""
        phenomena = {name: PHENOMENA[name] for name in self.phenomenon or PHENOMENA}
        chosen, values = self._chosen(), _values(self.set)
        table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column("phenomenon", no_wrap=True)
        for i, name in enumerate(chosen):
            table.add_column(name.replace("-", " ") if len(chosen) < 6 else str(i + 1), justify="center")
        cells: dict[tuple[str, str], Result | float] = {}
        for name, phenomenon in phenomena.items():
            for key, one in chosen.items():
                cells[name, key] = (
                    share(phenomenon, one, self.points, seed=self.seed)
                    if self.points
                    else examine(phenomenon, key, one, values, seed=self.seed)
                )
            row = [cells[name, key] for key in chosen]
            table.add_row(name, *(_verdict(cell) if isinstance(cell, Result) else f"{cell:.2f}" for cell in row))
        if len(chosen) >= 6:
            say("models: " + ", ".join(f"{i + 1} {name}" for i, name in enumerate(chosen)))
        OUT.print(table)
        if self.points:
            say(f"shares of {self.points:,} points of each model's parameter space in which it does what animals do")
        else:
            say("yes: the model does what animals do; no: it fails; with a star: not what is expected of the model")
        out = self.out or Path("runs/condition-grid.png")
        draw_grid(out, phenomena, cells)
        say(f"wrote {out}")

    def _own(self) -> None:
        """An experiment that the user wrote down."""
        design = Design(_groups(self.design), context=self.context, configural=self.configural)
        values = _values(self.set)
        table = Table(box=SIMPLE_HEAD)
        for header in ("model", "group", "phase", "trial", "expects"):
            table.add_column(header, justify="right" if header == "expects" else "left")
        runs = {}
        for key, one in self._chosen().items():
            theta = {**one.theta, **values}
            own = design if not one.configural else Design(design.groups, context=self.context, configural=True)
            runs[key] = simulate(one.model, own, theta, subjects=self.subjects, seed=self.seed)
            for row in _expectations(runs[key]):
                table.add_row(key, *row)
        say("what each kind of trial lets expect, at the last one of a phase")
        OUT.print(table)
        out = self.out or Path("runs/condition-design.png")
        draw_curves(out, runs)
        self._wrote(out, runs)

    def _wrote(self, picture: Path, runs: dict[str, Simulation]) -> None:
        if self.table is not None:
            write_records(self.table, runs)
        say(f"wrote {' and '.join(str(path) for path in (picture, self.table) if path is not None)}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return Condition, Condition()


def _list() -> None:
    table = Table(box=SIMPLE_HEAD)
    table.add_column("phenomenon", no_wrap=True)
    table.add_column("what animals do")
    table.add_column("found by")
    for name, phenomenon in PHENOMENA.items():
        table.add_row(name, phenomenon.title, phenomenon.source)
    OUT.print(table)
    say(f"models: {', '.join(CONTENDERS)}")


def _verdict(result: Result) -> str:
    text = "[green]yes[/]" if result.holds else "[red]no[/]"
    return text if result.expected in (None, result.holds) else f"{text} *"


def _groups(texts: tuple[str, ...]) -> dict[str, str]:
    """Name and phases of each group; without a name it is numbered."""
    groups: dict[str, str] = {}
    for i, text in enumerate(texts):
        name, colon, phases = text.partition(":")
        name = name.strip() if colon else f"group {i + 1}"
        if name in groups:
            raise ValueError(f"design: two groups are called '{name}'.")
        groups[name] = phases if colon else text
    return groups


def _values(texts: tuple[str, ...]) -> Settings:
    """Parameters by name, and by cue."""
    values: Settings = {}
    for text in texts:
        found = re.fullmatch(r"(\w+)(?:\.(.+?))?=(-?[\d.]+(?:[eE][+-]?\d+)?)", text)
        try:
            name, cue, number = found[1], found[2], float(found[3])  # type: ignore[index]
        except (TypeError, ValueError):
            raise ValueError(f"set: '{text}' is no parameter; write alpha=0.3, or alpha.B=0.1 for one cue.") from None
        if cue is None:
            values[name] = number
        else:
            given = values.setdefault(name, {})
            if not isinstance(given, dict):
                raise ValueError(f"set: '{name}' is set for all cues and for '{cue}'; name every cue instead.")
            given[cue] = number
    return values


def _expectations(simulation: Simulation) -> list[tuple[str, str, str, str]]:
    """Group, phase, trial and its expectation, averaged over subjects."""
    schedule = simulation.schedule
    rows = []
    for g, group in enumerate(schedule.groups):
        for p, phase in enumerate(schedule.phases):
            order = schedule.order[phase.start : phase.stop, ..., g].reshape(len(phase), -1)
            expected = simulation.predictions[phase.start : phase.stop, ..., g, 0].reshape(len(phase), -1)
            for k, kind in enumerate(schedule.kinds):
                there = order == k
                if bool(there.any()):
                    last = len(phase) - 1 - there.flip(0).int().argmax(0)
                    mean = float(expected.gather(0, last.unsqueeze(0)).mean())
                    rows.append((group, str(p + 1), kind.label, f"{mean:.4f}"))
    return rows
