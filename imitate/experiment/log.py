"""Where a run leaves its numbers: a CSV, TensorBoard events, and lines or a bar for whoever watches."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from imitate.core.checkpoint import replace

__all__ = ["Log", "Progress"]


class Log:
    """`progress.csv` and TensorBoard events in a folder; nothing without one.

    A row is written when its events are, so that whoever finds the row finds them too.

    Args:
        folder: Where to write, or None.
        start: Step that the run goes on from; rows beyond it, written after the last checkpoint, are dropped. Of a run
            that begins, at step 0, all are.
    """

    def __init__(self, folder: Path | None, start: int) -> None:
        self.folder, self.start = folder, start
        self.rows: list[dict[str, Any]] = []
        self.events: Any = None

    def __enter__(self) -> Log:
        if self.folder is None:
            return self
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.start == 0:
            self._csv.unlink(missing_ok=True)
        elif self._csv.exists():
            self.rows = [row for row in _rows(self._csv) if float(row["steps"]) <= self.start]
        return self

    @property
    def _csv(self) -> Path:
        assert self.folder is not None
        return self.folder / "progress.csv"

    def holds(self, step: int) -> bool:
        """Whether there is a row of a step."""
        return any(float(row["steps"]) == step for row in self.rows)

    def write(self, row: dict[str, float | None], step: int) -> None:
        """Add one row; columns that are new widen the file, and a number that does not exist leaves its field empty."""
        if self.folder is None:
            return
        if self.events is None:
            from torch.utils.tensorboard import SummaryWriter  # takes a second to import: only where it is needed

            # What a run wrote that was killed since is no longer shown.
            self.events = SummaryWriter(str(self.folder), purge_step=min(step, self.start + 1))
        for name, value in row.items():
            if name != "steps" and value is not None and math.isfinite(value):
                self.events.add_scalar(name, value, step)
        self.events.flush()
        self.rows.append({name: _text(value) for name, value in row.items()})
        columns = list(dict.fromkeys(name for r in self.rows for name in r))
        table = io.StringIO(newline="")
        writer = csv.DictWriter(table, columns, restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        replace(self._csv, table.getvalue().encode())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.events is not None:
            self.events.close()


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a table that `Log` wrote.

    Raises:
        ValueError: Somebody else wrote it.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file, strict=True))
        if all(None not in row and None not in row.values() and math.isfinite(float(row["steps"])) for row in rows):
            return rows
    except (KeyError, ValueError, csv.Error):
        pass
    raise ValueError(f"'{path}' is no table of a run's steps; move it away to go on without the rows so far.")


def _text(value: float | None) -> str:
    """Whole numbers in full, since a resumed run compares steps; others to eight digits; nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if float(value).is_integer() else f"{value:.8g}"


class Progress:
    """A bar on a terminal, a line a report elsewhere, nothing if not asked for.

    Args:
        shown: Whether to show anything.
        total: Steps at the end.
        start: Steps at the beginning.
    """

    def __init__(self, shown: bool, total: int, start: int) -> None:
        self.console = Console(stderr=True, highlight=False) if shown else None
        self.total, self.start = total, start
        self.bar: RichProgress | None = None

    def __enter__(self) -> Progress:
        if self.console is not None and self.console.is_terminal:
            columns = (
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.description}"),
            )
            self.bar = RichProgress(*columns, console=self.console, transient=True)
            self.bar.start()
            self.task = self.bar.add_task("", total=self.total, completed=self.start)
        return self

    def advance(self, now: int) -> None:
        """Move the bar."""
        if self.bar is not None:
            self.bar.update(self.task, completed=now)

    def report(self, line: str, now: int) -> None:
        """Show the latest report."""
        if self.bar is not None:
            self.bar.update(self.task, completed=now, description=line)
        elif self.console is not None:
            self.console.print(line, soft_wrap=True, markup=False)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
