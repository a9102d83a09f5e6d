"""What all pages share: where results lie, the frame of a page, and the line that says what a table is of."""

from __future__ import annotations

import functools
import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
COMMAND = "python -m benchmarks.table --write"
INTERVAL = "95 % interval over members"

Document = dict[str, Any]


@functools.cache
def measured(name: str) -> Document:
    """What benchmarks/results/NAME.json holds."""
    document: Document = json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))
    return document


def page(title: str, introduction: str, sections: list[str]) -> str:
    """A page with a list of its sections, each of which begins with its heading."""
    titles = [section.partition("\n")[0].removeprefix("## ") for section in sections]
    contents = "\n".join(f"- [{title}](#{_anchor(title)})" for title in titles)
    mark = f"<!-- Written by `{COMMAND}`: edit benchmarks/pages/ instead. -->"
    return "\n\n".join([mark, f"# {title}", introduction, contents, *(one.strip() for one in sections)]) + "\n"


def facts(command: str, *what: str) -> str:
    """The line above a table: its command, then seeds, members and interval."""
    return f"`{command}`  \n{' · '.join(what)}"


def members(document: Document) -> str:
    """The seed, the members and the episodes of a file."""
    return f"seed {document['seed']} · {document['members']} members of {document['episodes']} episodes"


def _anchor(title: str) -> str:
    """A heading's address, as GitHub makes it."""
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
