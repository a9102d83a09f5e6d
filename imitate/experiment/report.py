"""The report of an experiment: rows, a table, JSON, a picture."""

from __future__ import annotations

import itertools
import json
import math
import platform
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from textwrap import fill
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from imitate.experiment.evaluate import Evaluation, brackets, percent_text, short

__all__ = ["Curve", "Experiment", "Row", "versions"]

Kind = Literal["teacher", "bc", "dagger", "distilled"]
COLOURS: dict[str, str] = {"teacher": "#444444", "bc": "#e08214", "dagger": "#1f78b4", "distilled": "#33a02c"}


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("imitate-suite", "torch", "numpy", "gymnasium", "stable-baselines3")
    return {"python": platform.python_version(), **{package: _version(package) for package in packages}}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


@dataclass(frozen=True)
class Curve:
    """Return against what it cost, with its interval over members."""

    x: list[float] = field(default_factory=list)
    mean: list[float] = field(default_factory=list)
    low: list[float] = field(default_factory=list)
    high: list[float] = field(default_factory=list)

    def add(self, x: float, evaluation: Evaluation) -> None:
        """Append a point."""
        low, high = evaluation.ci
        for values, value in ((self.x, x), (self.mean, evaluation.mean), (self.low, low), (self.high, high)):
            values.append(value)


@dataclass(frozen=True)
class Row:
    """One policy of an experiment.

    Args:
        name: What it is called in the table.
        kind: What made it.
        parameters: Of one member.
        labels: Teacher labels that a member used.
        env_steps: Environment steps that a member took or was shown.
        seconds: Training of all members together; evaluations are not counted.
        evaluation: Its returns, the teacher's and a random policy's on the same noise.
        curve: Return against environment steps (teacher) or labels (students).
    """

    name: str
    kind: Kind
    parameters: int
    labels: int
    env_steps: int
    seconds: float
    evaluation: Evaluation
    curve: Curve

    def as_json(self) -> dict[str, Any]:
        """The row for report.json; a number that does not exist is null."""
        members, episodes = self.evaluation.returns.shape
        low, high = self.evaluation.ci
        iqm_low, iqm_high = self.evaluation.iqm_ci
        percent, percent_ci = self.evaluation.percent_of_teacher, self.evaluation.percent_ci or (None, None)
        row = {
            "name": self.name,
            "kind": self.kind,
            "members": members,
            "parameters": self.parameters,
            "labels": self.labels,
            "env_steps": self.env_steps,
            "seconds": round(self.seconds, 3),
            "mean": self.evaluation.mean,
            "iqm": self.evaluation.iqm,
            "ci_low": low,
            "ci_high": high,
            "iqm_ci_low": iqm_low,
            "iqm_ci_high": iqm_high,
            "percent_of_teacher": percent,
            "percent_ci_low": percent_ci[0],
            "percent_ci_high": percent_ci[1],
            "episodes": episodes,
            "member_means": [float(mean) for mean in self.evaluation.returns.mean(1)],
        }
        return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in row.items()}


@dataclass(frozen=True)
class Experiment:
    """All rows of one experiment."""

    env: str
    seed: int
    device: str
    rows: list[Row]

    def table(self, *, wide: bool = True) -> Table:
        """For the terminal; a narrow one leaves out what a row cost in steps and seconds, and the IQM."""
        table = Table(title=f"{self.env}, seed {self.seed}, {self.device}", title_justify="left", box=SIMPLE_HEAD)
        cells: dict[str, Callable[[Row], str]] = {
            "policy": lambda row: row.name,
            "parameters": lambda row: f"{row.parameters:,}",
            "labels": lambda row: f"{row.labels:,}",
            "env steps": lambda row: f"{row.env_steps:,}",
            "seconds": lambda row: f"{row.seconds:.1f}",
            "return": lambda row: f"{short(row.evaluation.mean)} {brackets(row.evaluation.ci)}",
            "IQM": lambda row: short(row.evaluation.iqm),
            "% of teacher": _share,
        }
        if not wide:
            cells = {name: cells[name] for name in ("policy", "labels", "return", "% of teacher")}
        for name in cells:
            table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(cell(row) for cell in cells.values()))
        members, episodes = self.rows[0].evaluation.returns.shape
        table.caption = (
            f"{members} members x {episodes} episodes, all on the same noise; 95 % intervals over members; "
            "costs are of one member, seconds of all together"
        )
        return table

    def save(self, folder: Path | str) -> None:
        """Write report.json and report.png."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        random = self.rows[0].evaluation.random
        document = {
            "env": self.env,
            "seed": self.seed,
            "device": self.device,
            "versions": versions(),
            "random_means": None if random is None else random.mean(1).tolist(),
            "rows": [row.as_json() for row in self.rows],
        }
        temporary = folder / ".report.json.tmp"
        temporary.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", "utf-8")
        temporary.replace(folder / "report.json")
        self._draw(folder / "report.png")

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure  # slow to import, and needed here only
        from matplotlib.ticker import EngFormatter, MaxNLocator

        figure = Figure(figsize=(14, 4.8), layout="constrained", dpi=120)
        left, middle, right = figure.subplots(1, 3)
        teacher, random = self.rows[0].evaluation, self.rows[0].evaluation.random
        base = float(random.mean()) if random is not None else 0.0
        for axis in (left, middle):
            axis.axhline(teacher.mean, color=COLOURS["teacher"], linewidth=1, linestyle="--")
            axis.axhline(base, color="#bbbbbb", linewidth=1, linestyle=":")
            axis.grid(alpha=0.25)
            axis.set_ylabel("return")
        markers = itertools.cycle("osD^v")
        for row in self.rows:
            axis = left if row.kind == "teacher" else middle
            curve, colour = row.curve, COLOURS[row.kind]
            if row.kind == "bc":  # all of its labels are there from the start: a point
                below, above = _arms(curve.mean[-1], curve.low[-1], curve.high[-1])
                style = next(markers)
                error = [[below], [above]]
                axis.errorbar(curve.x[-1], curve.mean[-1], error, fmt=style, color=colour, capsize=3, label=row.name)
                continue
            axis.plot(curve.x, curve.mean, color=colour, label=row.name)
            axis.fill_between(curve.x, curve.low, curve.high, color=colour, alpha=0.2, linewidth=0)
        left.set_title("teacher: return against experience", fontsize=10)
        left.set_xlabel("environment steps of a member")
        left.xaxis.set_major_formatter(EngFormatter(sep=""))
        left.xaxis.set_major_locator(MaxNLocator(6))
        middle.set_title("students: return against labels", fontsize=10)
        middle.set_xlabel("labels of a member")
        middle.set_xscale("log")
        middle.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
        means = [row.evaluation.mean for row in self.rows]
        errors = list(zip(*(_arms(row.evaluation.mean, *row.evaluation.ci) for row in self.rows), strict=True))
        right.barh(
            [fill(row.name, 24) for row in self.rows],
            [mean - base for mean in means],
            left=base,
            xerr=errors,
            capsize=3,
            color=[COLOURS[row.kind] for row in self.rows],
        )
        right.invert_yaxis()
        right.axvline(teacher.mean, color=COLOURS["teacher"], linewidth=1, linestyle="--")
        right.xaxis.set_major_locator(MaxNLocator(5))
        right.set_xlabel("return; bars start at a random policy's")
        right.set_title("mean and 95 % interval over members", fontsize=10)
        right.tick_params(axis="y", labelsize=9)
        right.grid(axis="x", alpha=0.25)
        figure.suptitle(f"{self.env}: teaching a policy with a policy", fontsize=11)
        figure.savefig(path)


def _arms(mean: float, low: float, high: float) -> tuple[float, float]:
    """Lengths of an error bar below and above: never negative, not even by rounding; 0 where there is no interval."""
    return max(0.0, mean - low), max(0.0, high - mean)


def _share(row: Row) -> str:
    percent = row.evaluation.percent_of_teacher
    return "" if row.kind == "teacher" or percent is None else percent_text(percent, row.evaluation.percent_ci, unit="")
