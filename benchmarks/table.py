"""Markdown tables of what `imitate demo`, `benchmarks.value_family` and `benchmarks.versus` measured.

python -m benchmarks.table benchmarks/results/demo/*.json
python -m benchmarks.table --values benchmarks/results/value_{CartPole-v1,Acrobot-v1,MountainCar-v0}.json
python -m benchmarks.table --speed benchmarks/results/versus.json
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional

from benchmarks.versus import arrived


@dataclass(frozen=True)
class Options:
    """What to print.

    Args:
        reports: Files that `imitate demo` wrote.
        summary: One line an environment instead of one a policy.
        values: Files that `benchmarks.value_family` wrote; their table is printed instead, an environment a column.
        speed: File that `benchmarks.versus` wrote; its table is printed instead.
    """

    reports: Positional[tuple[Path, ...]] = ()
    summary: bool = False
    values: tuple[Path, ...] = ()
    speed: Path | None = None


def main(options: Options) -> None:
    """Print the tables."""
    if options.speed is not None:
        print(speed_table(json.loads(options.speed.read_text("utf-8"))))
        return
    if options.values:
        print(value_table([json.loads(path.read_text("utf-8")) for path in options.values]))
        return
    documents = [json.loads(path.read_text("utf-8")) for path in options.reports]
    if options.summary:
        print("| environment | PPO teacher | BC | BC, thinned | DAgger | distilled |")
        print("| --- | --- | --- | --- | --- | --- |")
        for document in documents:
            teacher, *students = document["rows"]
            cells = [_interval(teacher), *(_percent(row) for row in students)]
            print(f"| {document['env']} | {' | '.join(cells)} |")
        return
    for document in documents:
        print(f"\n**{document['env']}**, seed {document['seed']}\n")
        print("| policy | parameters | labels | env steps | seconds | return | IQM | % of teacher |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
        for row in document["rows"]:
            share = "" if row["kind"] == "teacher" else _percent(row)
            print(
                f"| {row['name']} | {row['parameters']:,} | {row['labels']:,} | {row['env_steps']:,} "
                f"| {row['seconds']:.1f} | {_interval(row)} | {row['iqm']:.1f} | {share} |"
            )


def value_table(documents: Sequence[dict[str, Any]]) -> str:
    """One line a variant; a cell says its steps where they are not those of most rows of its column."""
    usual = [Counter(row["steps"] for row in document["rows"]).most_common(1)[0][0] for document in documents]
    names = dict.fromkeys(row["variant"] for document in documents for row in document["rows"])
    heads = [f"{document['env']}, {steps // 1000}k steps" for document, steps in zip(documents, usual, strict=True)]
    found = [f"| variant | {' | '.join(heads)} |", f"| --- |{' --- |' * len(heads)}"]
    for name in names:
        cells = []
        for document, steps in zip(documents, usual, strict=True):
            row = next((row for row in document["rows"] if row["variant"] == name), None)
            other = "" if row is None or row["steps"] == steps else f" ({row['steps'] // 1000}k)"
            cells.append("not run" if row is None else _interval(row) + other)
        found.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(found)


def speed_table(document: dict[str, Any]) -> str:
    """One line a contestant; of ours with the ratio to each peer, its range over the rounds in brackets."""
    found = ["| work | who | speed | times as fast |", "| --- | --- | ---: | ---: |"]
    notes = []
    for row in document["rows"]:
        for number, one in enumerate(row["contestants"]):
            speed = f"{one['median']:,.1f} s" if row["unit"] == "seconds" else f"{one['median']:,.0f} {row['unit']}"
            peers = [c["name"] for c in row["contestants"] if c["who"] != "ours"]
            ratios = [r for r in row["ratios"] if r["name"] == one["name"] and r["against"] in peers]
            named = len(peers) > 1
            cell = "<br>".join(_ratio(ratio) + (f" {ratio['against']}" if named else "") for ratio in ratios)
            found.append(f"| {row['title'] if number == 0 else ''} | {one['name']} | {speed}{arrived(one)} | {cell} |")
        notes.append(f"- {row['title']}: {row['note']}")
    return "\n".join([*found, "", *notes])


def _ratio(ratio: dict[str, Any]) -> str:
    return f"{ratio['ratio']:.3g} [{ratio['low']:.3g}, {ratio['high']:.3g}]"


def _interval(row: dict[str, Any]) -> str:
    return f"{row['mean']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def _percent(row: dict[str, Any]) -> str:
    return f"{row['percent_of_teacher']:.1f} [{row['percent_ci_low']:.1f}, {row['percent_ci_high']:.1f}]"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
