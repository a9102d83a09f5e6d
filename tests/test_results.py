"""What the documents say is what benchmarks/results/ holds."""

import numpy as np
import pytest

from benchmarks.pages import pages
from benchmarks.pages.frame import COMMAND, ROOT, measured, page
from benchmarks.pages.readme import filled
from benchmarks.pages.results import DEMO
from benchmarks.pages.tables import interval
from imitate.experiment.evaluate import interval as interval_of
from imitate.experiment.evaluate import percent

PAGES = pages()


@pytest.mark.parametrize("name", PAGES)
def test_pages_are_as_measured(name):
    path = ROOT / name
    assert path.exists() and path.read_text("utf-8") == PAGES[name], f"{name} is stale; run `{COMMAND}`."


def test_blocks_are_filled_between_their_marks():
    text = "a\n<!-- x: how -->\nold\n<!-- end of x -->\nb <!-- y: -->\n<!-- end of y -->"
    found = filled(text, {"x": "new\nlines", "y": "z"})
    assert found == "a\n<!-- x: how -->\n\nnew\nlines\n\n<!-- end of x -->\nb <!-- y: -->\n\nz\n\n<!-- end of y -->"
    assert filled(found, {"x": "new\nlines", "y": "z"}) == found


@pytest.mark.parametrize("text", ["", "<!-- x: how -->\n", "<!-- end of x -->\n<!-- x: how -->"])
def test_a_missing_mark_is_named(text):
    with pytest.raises(ValueError, match=r"\Ax: the text has no '<!-- x: … -->'"):
        filled(text, {"x": "new"})


def test_a_page_lists_its_sections():
    lines = page("Title", "Why.", ["## One, two\n\ntext\n", "## Three\n"]).splitlines()
    assert "- [One, two](#one-two)" in lines
    assert "- [Three](#three)" in lines


def test_intervals_are_those_of_the_scores_and_not_those_that_a_file_holds():
    row = {"mean": 1.0, "ci_low": -9.0, "ci_high": 9.0, "scores": [1.0, 2.0, 4.0, 9.0]}
    low, high = interval_of(np.array(row["scores"]))
    assert interval(row) == f"4.0 [{low:.1f}, {high:.1f}]"
    assert (
        interval({"member_means": row["scores"], "members": 4}) == interval({"members": row["scores"]}) == interval(row)
    )


@pytest.mark.parametrize("env", DEMO)
def test_a_percentage_of_a_report_is_that_of_its_scores(env):
    """So `random_means` are those of the run, the ones that were found by playing it again included."""
    document = measured(f"demo/{env}")
    teacher, *students = document["rows"]
    for row in students:
        scores = (np.array(one) for one in (row["member_means"], teacher["member_means"], document["random_means"]))
        assert percent(*scores) == pytest.approx(row["percent_of_teacher"], rel=1e-9)
