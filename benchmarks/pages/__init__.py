"""The documents made of benchmarks/results/; `python -m benchmarks.table --write` writes what `pages()` renders."""

from benchmarks.pages.frame import ROOT
from benchmarks.pages.performance import performance_page
from benchmarks.pages.readme import readme_page
from benchmarks.pages.results import results_page

__all__ = ["pages"]


def pages() -> dict[str, str]:
    """Each document's path from the root of the repository, and what it is to hold."""
    return {
        "README.md": readme_page((ROOT / "README.md").read_text("utf-8")),
        "docs/results.md": results_page(),
        "docs/performance.md": performance_page(),
    }
