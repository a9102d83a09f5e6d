"""Pictures of experiments: what each group of each model learns about each cue, and the grid of phenomena."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

from imitate.conditioning.design import Schedule
from imitate.conditioning.phenomena import Phenomenon, Result
from imitate.conditioning.simulate import Simulation
from imitate.core.config import checked

__all__ = ["draw_curves", "draw_grid"]

COLOURS = ("#1f78b4", "#e08214", "#33a02c", "#6a3d9a", "#b15928", "#e31a1c", "#a6cee3", "#666666")
STYLES = ("-", (0, (4, 2)), (0, (1, 1.2)), (0, (4, 1, 1, 1)))  # so that equal curves are both seen
YES, NO, UNKNOWN = "#a6d8a8", "#f2b5a7", "#eeeeee"


@checked
def draw_curves(
    path: Path,
    simulations: Mapping[str, Simulation],
    title: str = "",
    results: Mapping[str, Result] | None = None,
) -> None:
    """Strength of every cue over the trials: a row for each model, a column for each group.

    With the results of a phenomenon a last column has the responses that it compares. Subjects are averaged.
    """
    from matplotlib.figure import Figure  # slow to import, and needed here only

    first = next(iter(simulations.values())).schedule
    columns = len(first.groups) + bool(results)
    size = (max(3.6 * columns, 6.0), 2.5 * len(simulations) + 0.9)
    figure = Figure(figsize=size, layout="constrained", dpi=110)
    axes = figure.subplots(len(simulations), columns, squeeze=False)
    for row, (name, simulation) in zip(axes, simulations.items(), strict=True):
        schedule = simulation.schedule
        strengths = simulation.strengths[..., 0].detach().cpu()
        mean = strengths.mean(1) if strengths.dim() > 3 else strengths  # [T + 1, G, C]
        low, high = min(0.0, float(mean.min())), max(1.0, float(mean.max()))
        for g, axis in enumerate(row[: len(schedule.groups)]):
            for c, cue in enumerate(schedule.cues):
                if bool(schedule.stimuli[..., g, c].any()):
                    axis.plot(mean[:, g, c], color=COLOURS[c % len(COLOURS)], label=cue, linestyle=STYLES[c % 4])
            axis.set_ylim(low - 0.08, high + 0.2)
            axis.set_title(name if len(schedule.groups) == 1 else f"{name}: {schedule.groups[g]}", fontsize=9)
            _mark_phases(axis, schedule, g)
        row[0].set_ylabel("associative strength")
        if results:
            _draw_responses(row[-1], results[name])
    for axis in axes[-1][: len(first.groups)]:
        axis.set_xlabel("trials")
    handles = {label: handle for a in axes.flat for handle, label in zip(*a.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower center", ncols=8, frameon=False, fontsize=9)
    figure.suptitle(fill(title, 30 * columns), fontsize=11)
    _save(figure, path)


@checked
def draw_grid(path: Path, phenomena: Mapping[str, Phenomenon], cells: Mapping[tuple[str, str], Result | float]) -> None:
    """Models against phenomena: green where the model does what animals do, red where it fails; or shares of points.

    Args:
        path: Of the picture.
        phenomena: The rows.
        cells: By phenomenon and model: a result, or the share of the parameter space; none is grey.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_hex
    from matplotlib.figure import Figure

    models = list(dict.fromkeys(model for _, model in cells))
    figure = Figure(figsize=(2.6 + 0.78 * len(models), 1.2 + 0.26 * len(phenomena)), layout="constrained", dpi=110)
    axis = figure.subplots()
    shades = LinearSegmentedColormap.from_list("share", [NO, YES])
    for i, phenomenon in enumerate(phenomena):
        for j, model in enumerate(models):
            cell = cells.get((phenomenon, model))
            text, colour = "", UNKNOWN
            if isinstance(cell, Result):
                text, colour = ("yes", YES) if cell.holds else ("no", NO)
            elif cell is not None:
                text, colour = f"{100 * cell:.0f} %", to_hex(shades(cell))
            axis.fill_between([j, j + 1], i, i + 1, color=colour, edgecolor="white", linewidth=1.5)
            axis.text(j + 0.5, i + 0.52, text, ha="center", va="center", fontsize=7)
    axis.set_xlim(0, len(models))
    axis.set_ylim(len(phenomena), 0)
    axis.set_xticks([j + 0.5 for j in range(len(models))], [m.replace("-", "\n") for m in models], fontsize=7)
    axis.set_yticks([i + 0.5 for i in range(len(phenomena))], [p.replace("-", " ") for p in phenomena], fontsize=8)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    for side in axis.spines.values():
        side.set_visible(False)
    _save(figure, path)


def _mark_phases(axis: Any, schedule: Schedule, group: int) -> None:
    """A line where a phase begins, and above it what happens in it."""
    order = schedule.order[..., group].reshape(len(schedule.order), -1)
    for phase in schedule.phases:
        labels = dict.fromkeys(schedule.kinds[k].label for k in order[phase.start : phase.stop].flatten() if k >= 0)
        axis.axvline(phase.start, color="#cccccc", linewidth=0.8, zorder=0)
        if len(phase) > 0.08 * len(order):
            text = fill("/".join(labels), max(6, 40 * len(phase) // len(order)))
            middle = (phase.start + phase.stop) / 2
            axis.text(middle, 0.98, text, fontsize=7, ha="center", va="top", transform=axis.get_xaxis_transform())
    axis.axhline(0, color="#888888", linewidth=0.6, zorder=0)


def _draw_responses(axis: Any, result: Result) -> None:
    names: Sequence[str] = [fill(str(response), 12) for response in result.responses]
    values = list(result.responses.values())
    axis.bar(names, values, color="#777777", width=0.6)
    axis.axhline(0, color="#888888", linewidth=0.6)
    axis.set_xlim(-0.8, max(1, len(values)) - 0.2)
    axis.set_ylim(min(0.0, *values) - 0.15, max(1.0, *values) + 0.2)
    for i, value in enumerate(values):
        axis.text(i, max(value, 0.0), f"{value:.2f}", ha="center", va="bottom", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.set_title("as animals" if result.holds else "not as animals", fontsize=9)
    axis.title.set_color("#1a7a1a" if result.holds else "#b03020")


def _save(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
