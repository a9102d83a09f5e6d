"""Write docs/results.md, docs/performance.md and the figures of the README from benchmarks/results/.

python -m benchmarks.table --write
python -m benchmarks.table runs/demo/report.json   # or print the table of one report of `imitate demo`
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import tyro
from tyro.conf import Positional

from benchmarks.pages import pages
from benchmarks.pages.frame import ROOT
from benchmarks.pages.tables import demo_table


@dataclass(frozen=True)
class Options:
    """What to print or write.

    Args:
        reports: Files that `imitate demo` wrote; their tables are printed.
        write: Rewrite the pages.
    """

    reports: Positional[tuple[Path, ...]] = ()
    write: bool = False


def main(options: Options) -> None:
    """Print the tables; write the pages if asked to."""
    for path in options.reports:
        print(demo_table(json.loads(path.read_text("utf-8"))))
    if options.write:
        for name, text in pages().items():
            (ROOT / name).write_text(text, "utf-8")
            print(f"wrote {name}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
