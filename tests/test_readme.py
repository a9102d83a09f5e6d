"""The README keeps its promises: its Python runs as written, its commands parse, its files exist."""

import re
import shlex
from pathlib import Path

import pytest

from imitate.cli import main as cli

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_python_blocks_run_as_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {}
    assert len(blocks("python")) >= 4
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), namespace)
    assert "% of the teacher" in capsys.readouterr().out
    assert namespace["action"] in (0, 1)


def commands() -> list[str]:
    lines = "".join(blocks("bash")).splitlines()
    return [line.split("#")[0] for line in lines if line.startswith("imitate ")]


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    assert cli.parse(shlex.split(command)[1:]) is not None


def test_every_command_is_shown():
    assert {shlex.split(command)[1] for command in commands()} == set(cli.COMMANDS)


def test_links_lead_somewhere():
    targets = re.findall(r"\]\(([^)#]+)\)", TEXT)
    assert targets
    for target in targets:
        assert target.startswith("http") or (README.parent / target).exists(), target


def test_make_targets_exist():
    makefile = (README.parent / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make ([\w-]+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
