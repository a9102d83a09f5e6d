"""README and guide keep their promises: their Python runs, their commands parse, their links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from imitate.cli import main as cli

ROOT = Path(__file__).parents[1]
README, GUIDE = ROOT / "README.md", ROOT / "docs" / "guide.md"
DOCS = tuple(ROOT / "docs" / f"{name}.md" for name in ("architecture", "extending", "performance", "results"))
PAGES = (README, GUIDE, ROOT / "CONTRIBUTING.md", *DOCS)


def blocks(page, language):
    return re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


def run_blocks(page):
    namespace: dict[str, object] = {}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), namespace)
    return namespace


def commands():
    lines = "".join(blocks(README, "bash") + blocks(GUIDE, "bash")).splitlines()
    return [line.split("#")[0] for line in lines if line.startswith("imitate ")]


def anchors(page):
    """Addresses of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(blocks(README, "python")) == 1
    run_blocks(README)
    assert "% of the teacher" in capsys.readouterr().out


def test_the_guide_runs_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert len(blocks(GUIDE, "python")) >= 6
    assert run_blocks(GUIDE)["action"] in (0, 1)
    assert "% of the teacher" in capsys.readouterr().out


def test_the_readme_is_short():
    lines = README.read_text("utf-8").splitlines()
    assert len(lines) <= 150


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    assert cli.parse(shlex.split(command)[1:]) is not None


def test_every_command_is_shown():
    assert {shlex.split(command)[1] for command in commands()} == set(cli.COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8"))
    assert targets
    for target in targets:
        if target.startswith("http"):
            continue
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make ([\w-]+)", README.read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nobody_is_sent_to_a_package_of_another(page):
    """On the public index `imitate` is somebody else's."""
    assert not re.search(r"pip install '?\"?imitate\b(?!-suite)", page.read_text("utf-8"))
