"""What the documents say is what benchmarks/results/ holds."""

import pytest

from benchmarks.pages import pages
from benchmarks.pages.frame import COMMAND, ROOT, page
from benchmarks.pages.readme import filled

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
