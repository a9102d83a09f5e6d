"""The report of a compression: rows, a table, JSON, a picture. Letters: M members, E episodes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from rich.box import SIMPLE_HEAD
from rich.table import Table

from imitate.core.checkpoint import replace
from imitate.experiment.evaluate import Evaluation, brackets, short
from imitate.experiment.fidelity import Fidelity
from imitate.experiment.report import versions
from imitate.export.timing import Latency

__all__ = ["Compression", "Kind", "Row"]

Kind = Literal["teacher", "distilled", "int8", "pruned", "scratch"]
STYLES: dict[Kind, tuple[str, str]] = {
    "teacher": ("#444444", "*"),
    "distilled": ("#33a02c", "o"),
    "int8": ("#1f78b4", "s"),
    "pruned": ("#6a3d9a", "D"),
    "scratch": ("#e08214", "^"),
}


@dataclass(frozen=True)
class Row:
    """One policy of a compression.

    Args:
        name: What it is called in the table.
        kind: What made it: a distillation, weights of eight bits, pruning, or reinforcement learning from scratch.
        parameters: Learnable numbers of one member that are not zero; None where it has none, as a control law.
        bytes: What these numbers take in a file.
        env_steps: Environment steps that a member was trained with.
        labels: Of the teacher, that a member was trained with.
        latency: Microseconds of a decision.
        evaluation: Its returns, the teacher's and a random policy's on the same noise.
        on_teacher: Beside the teacher, on the states that the teacher visits; None for the teacher itself.
        on_own: The same on the states that it visits itself.
    """

    name: str
    kind: Kind
    parameters: int | None
    bytes: int | None
    env_steps: int
    labels: int
    latency: Latency
    evaluation: Evaluation
    on_teacher: Fidelity | None
    on_own: Fidelity | None

    def as_json(self) -> dict[str, Any]:
        """The row for report.json; a number that does not exist is null."""
        found, percent_ci = self.evaluation, self.evaluation.percent_ci or (None, None)
        numbers = {
            "mean": found.mean,
            "ci_low": found.ci[0],
            "ci_high": found.ci[1],
            "percent_of_teacher": found.percent_of_teacher,
            "percent_ci_low": percent_ci[0],
            "percent_ci_high": percent_ci[1],
        }
        plain = ("name", "kind", "parameters", "bytes", "env_steps", "labels")
        return {
            **{name: getattr(self, name) for name in plain},
            "microseconds": asdict(self.latency),
            **{name: x if x is not None and math.isfinite(x) else None for name, x in numbers.items()},
            "member_means": found.returns.mean(1).tolist(),
            "on_teacher": self.on_teacher and self.on_teacher.as_json(),
            "on_own": self.on_own and self.on_own.as_json(),
        }


@dataclass(frozen=True)
class Compression:
    """A teacher, and what was made of it.

    Args:
        env: Environment id.
        seed: Of everything.
        rows: The teacher first.
    """

    env: str
    seed: int
    rows: Sequence[Row]

    def table(self, *, wide: bool = True) -> Table:
        """For the terminal; a narrow one leaves out the times and what is told on the teacher's states."""
        table = Table(title=f"{self.env}, seed {self.seed}", title_justify="left", box=SIMPLE_HEAD)
        cells: dict[str, Callable[[Row], str]] = {
            "policy": lambda row: row.name,
            "numbers": lambda row: _count(row.parameters),
            "bytes": lambda row: _count(row.bytes),
            "µs torch": lambda row: _number(row.latency.eager, ".0f"),
            "ONNX": lambda row: _number(row.latency.onnx, ".1f"),
            "C": lambda row: _number(row.latency.c, ".3f"),
            "return": lambda row: f"{short(row.evaluation.mean)} {brackets(row.evaluation.ci)}",
            "% of teacher": _percent,
            "agrees": lambda row: _share(row.on_teacher),
            "on own": lambda row: _share(row.on_own),
            "KL": lambda row: _kl(row.on_teacher),
            "on own ": lambda row: _kl(row.on_own),
        }
        if not wide:
            cells = {name: cells[name] for name in ("policy", "numbers", "bytes", "return", "on own")}
        for name in cells:
            table.add_column(name, justify="left" if name == "policy" else "right", no_wrap=True)
        for row in self.rows:
            table.add_row(*(cell(row) for cell in cells.values()))
        members, episodes = self.rows[0].evaluation.returns.shape
        table.caption = (
            f"{members} members x {episodes} episodes, all on the same noise; 95 % intervals over members; numbers "
            "that are not zero; µs of one decision; agreement and KL on the teacher's states and on the policy's own"
        )
        return table

    def save(self, folder: Path | str) -> None:
        """Write report.json and report.png."""
        folder, random = Path(folder), self.rows[0].evaluation.random
        document = {
            "env": self.env,
            "seed": self.seed,
            "versions": versions(),
            "random_means": None if random is None else random.mean(1).tolist(),
            "rows": [row.as_json() for row in self.rows],
        }
        replace(folder / "report.json", (json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
        self._draw(folder / "report.png")

    def _draw(self, path: Path) -> None:
        from matplotlib.figure import Figure  # slow to import, and needed here only
        from matplotlib.ticker import NullFormatter

        figure = Figure(figsize=(14, 4.6), layout="constrained", dpi=120)
        left, middle, right = figure.subplots(1, 3)
        teacher = self.rows[0].evaluation
        left.axhline(teacher.mean, color=STYLES["teacher"][0], linewidth=1, linestyle="--")
        if teacher.random is not None:
            left.axhline(float(teacher.random.mean()), color="#bbbbbb", linewidth=1, linestyle=":")
        for kind, (colour, marker) in STYLES.items():
            rows = [row for row in self.rows if row.kind == kind and row.bytes is not None]
            style: dict[str, Any] = {"color": colour, "marker": marker, "label": kind, "markersize": 5}
            style["linestyle"] = "-" if kind in ("distilled", "scratch") else "none"
            if rows:
                arms = [_arms(row.evaluation) for row in rows]
                left.errorbar(
                    [row.bytes for row in rows],
                    [row.evaluation.mean for row in rows],
                    list(zip(*arms, strict=True)),
                    capsize=3,
                    **style,
                )
            alike = [row for row in rows if row.on_own is not None and row.on_own.kl is not None]
            kls = [max(float(row.on_own.kl.mean()), 1e-6) for row in alike]  # type: ignore[union-attr]
            middle.plot([row.bytes for row in alike], kls, **style)
        for name, marker in (("eager", "o"), ("onnx", "s"), ("c", "D")):
            timed = [row for row in self.rows if row.kind == "distilled" and getattr(row.latency, name) is not None]
            times = [getattr(row.latency, name) for row in timed]
            if timed:
                right.plot([row.parameters for row in timed], times, marker=marker, label=name)
        for axis, label in ((left, "return"), (middle, "KL(teacher ‖ policy) on its own states, nats")):
            axis.set_xlabel("bytes of one member")
            axis.set_ylabel(label)
        right.set_xlabel("learnable numbers, distilled")
        right.set_ylabel("microseconds a decision")
        middle.set_yscale("log")
        right.set_yscale("log")
        for axis, place in ((left, "lower right"), (middle, "upper right"), (right, "upper left")):
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(NullFormatter())  # labels of a short axis would overlap
            axis.grid(alpha=0.25)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(fontsize=8, frameon=False, loc=place)
        figure.suptitle(f"{self.env}: how small a student may be", fontsize=11)
        figure.savefig(path)


def _arms(evaluation: Evaluation) -> tuple[float, float]:
    """Lengths of an error bar below and above; 0 where there is no interval."""
    low, high = evaluation.ci
    return max(0.0, evaluation.mean - low), max(0.0, high - evaluation.mean)


def _percent(row: Row) -> str:
    percent = row.evaluation.percent_of_teacher
    return "" if row.kind == "teacher" or percent is None or math.isnan(percent) else f"{percent:.1f}"


def _count(number: int | None) -> str:
    return "" if number is None else f"{number:,}"


def _number(value: float | None, digits: str) -> str:
    return "" if value is None else format(value, digits)


def _share(found: Fidelity | None) -> str:
    return "" if found is None or found.agreement is None else f"{100 * found.agreement.mean():.1f} %"


def _kl(found: Fidelity | None) -> str:
    return "" if found is None or found.kl is None else f"{found.kl.mean():.2g}"
