"""docs/conditioning.md keeps its promises: its Python runs, its commands parse, its numbers and pictures are there."""

import re
import shlex
from pathlib import Path

import pandas as pd
import pytest

from imitate.cli import main as cli
from imitate.conditioning.contenders import CONTENDERS
from imitate.conditioning.notation import parse

PAGE = Path(__file__).parents[2] / "docs" / "conditioning.md"
TEXT = PAGE.read_text("utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


COMMANDS = "".join(blocks("bash")).splitlines()


def test_python_blocks_run_as_written(tmp_path, monkeypatch, capsys):
    """And what the page prints of the fits, by Python and by the command, is what comes out."""
    monkeypatch.chdir(tmp_path)
    namespace = {}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), namespace)
    out = capsys.readouterr().out
    estimates, table, mistake = blocks("text")[-3:]
    assert out.endswith(estimates)
    command = shlex.split(COMMANDS[-1])[1:]
    assert cli.main(command) == 0
    assert capsys.readouterr().out.split() == table.split()
    choices = Path("choices.csv")
    rows = pd.read_csv(choices)
    rows.assign(action=rows["action"] + 1).to_csv(choices, index=False)
    assert cli.main(command) == 2
    assert capsys.readouterr().err == mistake
    assert "B at the end: 0.026 blocked, 0.398 control" in out
    assert "blocked A(US) [0.0, 0.24, 0.422]" in out
    assert "rescorla-wagner True" in out
    assert namespace["found"].alpha_.shape == (3,)


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command):
    assert cli.parse(shlex.split(command)[1:]) is not None


def test_the_first_command_prints_what_the_page_says(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(shlex.split(COMMANDS[0])[1:]) == 0
    shown = blocks("text")[0].split()
    assert shown == capsys.readouterr().out.split()[: len(shown)]
    assert (tmp_path / "docs" / "conditioning_blocking.png").exists()


def test_the_message_of_an_unreadable_text(capsys):
    assert cli.main(["condition", "--design", "AB/10AC"]) == 2
    assert capsys.readouterr().err.strip() in TEXT


def test_every_line_of_the_notation_is_read():
    table = re.findall(r"^\| `(.*?)` \| ", TEXT[TEXT.index("| write | for |") :], re.MULTILINE)
    lines = [line.replace("\\|", "|") for line in table if not re.fullmatch(r"[a-z-]+(`, `[a-z-]+)*", line)]
    assert len(lines) >= 15
    for line in lines:
        assert any(phase.trials for phase in parse(line))


def test_every_model_is_in_the_table():
    section = TEXT[TEXT.index("## The models") : TEXT.index("## From Python")]
    assert set(re.findall(r"`([a-z-]+)`", section)) >= set(CONTENDERS)


def test_links_lead_somewhere():
    anchors = {
        "#" + re.sub(r"[^a-z -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.*)", TEXT, re.M)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert target in anchors if target.startswith("#") else (PAGE.parent / target).exists(), target
