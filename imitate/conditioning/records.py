"""Simulations as tables: one row a trial, for spreadsheets and pandas."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imitate.conditioning.simulate import Simulation
from imitate.core.config import checked

__all__ = ["records", "write_records"]


@checked
def records(simulation: Simulation) -> dict[str, list[Any]]:
    """Columns of equal length: `pandas.DataFrame(records(simulation))`.

    group, subject, phase and trial, all but the first counted from 1; what kind of trial it is; what it lets expect of
    each outcome; and the strength V of each cue before it.

    Args:
        simulation: Of numbers as parameters.

    Raises:
        ValueError: The parameters had lanes of their own, so there are several values a trial.
    """
    schedule = simulation.schedule
    order = schedule.order.reshape(len(schedule.order), -1, len(schedule.groups))
    if simulation.predictions[..., 0].numel() != order.numel():
        lanes = tuple(simulation.predictions.shape[1:-1])
        raise ValueError(f"records: parameters of shape {lanes}; a table is of one set of parameters.")
    expects = simulation.predictions.reshape(*order.shape, -1)
    strengths = simulation.before.reshape(*order.shape, len(schedule.cues), len(schedule.outcomes))
    g, s, t = (order.permute(2, 1, 0) >= 0).nonzero(as_tuple=True)
    phase = {trial: i + 1 for i, trials in enumerate(schedule.phases) for trial in trials}
    columns: dict[str, list[Any]] = {
        "group": [schedule.groups[i] for i in g.tolist()],
        "subject": (s + 1).tolist(),
        "phase": [phase[i] for i in t.tolist()],
        "trial": (t + 1).tolist(),
        "kind": [schedule.kinds[i].label for i in order[t, s, g].tolist()],
    }
    for o, outcome in enumerate(schedule.outcomes):
        columns[f"expects {outcome}"] = expects[t, s, g, o].tolist()
        for c, cue in enumerate(schedule.cues):
            columns[f"V {cue} {outcome}"] = strengths[t, s, g, c, o].tolist()
    return columns


@checked
def write_records(path: Path, simulations: Mapping[str, Simulation]) -> None:
    """Write the tables of several models into one CSV file, with the model's name in the first column.

    Numbers have seven digits, those of float32.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    tables = {name: records(simulation) for name, simulation in simulations.items()}
    header = list(dict.fromkeys(column for table in tables.values() for column in table))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["model", *header])
        for name, table in tables.items():
            size = len(table["trial"])
            rows = zip([name] * size, *(table.get(column, [""] * size) for column in header), strict=True)
            writer.writerows([f"{x:.7g}" if isinstance(x, float) else x for x in row] for row in rows)
