"""The command line before any command runs: what is imported, help, the version, completion; and the lazy package."""

import ast
import json
import os
import shlex
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import imitate
from imitate.cli.main import COMMANDS, SHELLS, main, parse

ROOT = Path(imitate.__file__).parents[1]
HEAVY = {"torch", "numpy", "gymnasium", "scipy", "stable_baselines3", "matplotlib", "pandas", "tensorboard"}


def program(code, *arguments, **environment):
    """Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")]), **environment},
    )


IMPORTED = f"""
import json, sys
from imitate.cli.main import main
try:
    code = main(sys.argv[1:])
except SystemExit as stop:
    code = stop.code
print(json.dumps([code, sorted({HEAVY} & sys.modules.keys())]))
"""


@pytest.mark.parametrize(
    ("arguments", "code"), [([], 0), (["--help"], 0), (["--version"], 0), (["trian"], 2), (["--versoin"], 2)]
)
def test_what_needs_no_command_imports_none(arguments, code):
    done = program(IMPORTED, *arguments)
    assert json.loads(done.stdout.splitlines()[-1]) == [code, []], done.stderr


def test_a_mistyped_option_imports_what_knows_the_options():
    done = program(IMPORTED, "train", "ppo", "--stepz", "3")
    code, imported = json.loads(done.stdout.splitlines()[-1])
    assert code == 2
    assert not {"scipy", "stable_baselines3", "matplotlib", "pandas", "tensorboard"} & set(imported)


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"imitate {imitate.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_all_commands_says_what_each_says(name):
    """Help has its lines without importing the commands."""
    module = import_module(f"imitate.cli.{name}")
    kind = getattr(module, module.__all__[0])
    assert kind.__doc__.partition("\n")[0] == COMMANDS[name]


def test_every_file_is_a_command_or_shared():
    files = {path.stem for path in (ROOT / "imitate" / "cli").glob("*.py")}
    assert files == {*COMMANDS, "__init__", "main", "parsing", "common", "resuming"}


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--versoin"], "--version"),
        (["train", "ppo", "--gama", "1"], "--gamma"),
        (["clone", "--demonstration", "1"], "--demonstrations"),
        (["dagger", "--teachr", "x"], "--teacher"),
        (["distill", "--teacher", "x", "--driv", "x"], "--drive"),
        (["evaluate", "x", "--episode", "1"], "--episodes"),
        (["calibrate", "x", "--gama", "1"], "--gamma"),
        (["demo", "--member", "1"], "--members"),
        (["condition", "--modle", "x"], "--model"),
        (["fit", "x", "--actions", "2", "--strats", "2"], "--starts"),
        (["fit", "x", "--actoins=2"], "--actions"),
    ],
)
def test_the_nearest_option_is_named(arguments, near, capsys):
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"did you mean {near}?" in line


def test_help_for_training_lists_the_algorithms(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert all(name in out for name in ("ppo", "bootstrapped-dqn", "double-q-learning", "Watkins"))


def test_what_the_documentation_writes_is_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    lines = [line.partition("#")[0] for line in text.splitlines() if line.startswith("imitate ")]
    runs = [shlex.split(line)[1:] for line in lines if "--tyro" not in line]
    assert [parse(words).common.resume for words in runs] == [True] * 3
    scripts = [shlex.split(line)[1:] for line in lines if "--tyro" in line]
    assert {tuple(words[:2]) for words in scripts} == {("--tyro-write-completion", shell) for shell in SHELLS}


COMPLETE = """
source "$1"
function=$(complete -p imitate | sed 's/.*-F \\([^ ]*\\).*/\\1/')
shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}; COMPREPLY=()
$function
echo "${COMPREPLY[@]}"
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_algorithms_options_and_choices(tmp_path):
    script = tmp_path / "imitate.bash"
    with pytest.raises(SystemExit) as stop:
        main(["--tyro-write-completion", "bash", str(script)])
    assert not stop.value.code

    def completed(*words):
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-c", COMPLETE, "bash", str(script), "imitate", *words],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PATH": path},
        )
        return done.stdout.split()

    assert completed("tr") == ["train"]
    assert completed("--ver") == ["--version"]
    assert completed("train", "c5") == ["c51"]
    assert completed("train", "dqn", "--target-e") == ["--target-every"]
    assert completed("distill", "--loss", "forw") == ["forward-kl"]
    assert "--resume" in completed("dagger", "--")


@pytest.mark.parametrize("words", [["print"], ["print", "tcsh"], ["write", "bash"], ["write", "csh", "x"]])
def test_a_completion_script_that_cannot_be_written_is_one_line(words, capsys):
    assert main([f"--tyro-{words[0]}-completion", *words[1:]]) == 2
    assert capsys.readouterr().err == (
        "imitate: completion: pass --tyro-write-completion SHELL FILE; SHELL is bash, zsh, fish.\n"
    )


# The package, which imports a name when it is used.


def test_importing_the_package_imports_nothing():
    done = program(f"import sys, imitate; print(sorted({HEAVY} & sys.modules.keys()))")
    assert done.stdout == "[]\n", done.stderr


def test_every_public_name_is_there():
    assert {"PPO", "losses", "make", "run", "conditioning", "load_checkpoint"} <= set(imitate.__all__)
    assert set(imitate.__all__) <= set(dir(imitate))
    for name in imitate.__all__:
        assert getattr(imitate, name) is not None
        # A module of the same name would replace the value when it is imported.
        is_package = (ROOT / "imitate" / name / "__init__.py").exists()
        assert not (ROOT / "imitate" / f"{name}.py").exists(), name
        assert is_package is (type(getattr(imitate, name)) is type(imitate)), name
    with pytest.raises(AttributeError, match="has no attribute 'PPOO'"):
        _ = imitate.PPOO


def test_the_stub_holds_imports_and_the_version_only():
    """What the run time reads and what a type checker reads is the same."""
    stub = ast.parse((ROOT / "imitate" / "__init__.pyi").read_text("utf-8"))
    others = [node for node in stub.body if not isinstance(node, ast.ImportFrom)]
    assert [ast.unparse(node) for node in others[1:]] == ["__version__: str"]
    for node in stub.body[1:-1]:
        assert [alias.asname for alias in node.names] == [alias.name for alias in node.names]


def test_a_name_is_the_same_however_it_is_imported():
    code = """
import imitate.experiment, imitate.sources, imitate
from imitate import PPO, make
from imitate.baselines import PPO as other
assert PPO is other is imitate.PPO and make is imitate.make and callable(imitate.make)
from imitate import *
assert losses.returns and Evaluation and conditioning.Design
"""
    done = program(code)
    assert done.returncode == 0, done.stderr
