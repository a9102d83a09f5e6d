"""Markdown tables of what `imitate demo` measured.

python -m benchmarks.table benchmarks/results/demo/*.json
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from tyro.conf import Positional


@dataclass(frozen=True)
class Options:
    """What to print.

    Args:
        reports: Files that `imitate demo` wrote.
        summary: One line an environment instead of one a policy.
    """

    reports: Positional[tuple[Path, ...]]
    summary: bool = False


def main(options: Options) -> None:
    """Print the tables."""
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


def _interval(row: dict[str, Any]) -> str:
    return f"{row['mean']:.1f} [{row['ci_low']:.1f}, {row['ci_high']:.1f}]"


def _percent(row: dict[str, Any]) -> str:
    return f"{row['percent_of_teacher']:.1f} [{row['percent_ci_low']:.1f}, {row['percent_ci_high']:.1f}]"


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
