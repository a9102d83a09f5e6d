"""The command line before any command runs: what is imported, help, the version, completion; and the lazy package."""

import ast
import errno
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, make_dataclass
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest

import imitate
from imitate.cli.main import COMMANDS, SHELLS, _of_file, main, parse

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
    assert files == {*COMMANDS, "__init__", "main", "parsing", "common", "resuming", "views"}


@pytest.mark.parametrize(
    ("arguments", "near"),
    [
        (["--versoin"], "--version"),
        (["train", "ppo", "--gama", "1"], "--gamma"),
        (["clone", "--demonstration", "1"], "--demonstrations"),
        (["dagger", "--teachr", "x"], "--teacher"),
        (["dart", "--teacher", "x", "--eror", "1"], "--error"),
        (["gated", "lazy", "--teacher", "x", "--gate.bak", "1"], "--gate.back"),
        (["distill", "--teacher", "x", "--driv", "x"], "--drive"),
        (["evaluate", "x", "--episode", "1"], "--episodes"),
        (["calibrate", "x", "--gama", "1"], "--gamma"),
        (["demo", "--member", "1"], "--members"),
        (["jumpstart", "--teacher", "x", "--horizn", "1"], "--horizon"),
        (["qdagger", "--teacher", "x", "--offline-update", "1"], "--offline-updates"),
        (["finetune", "x", "--warmpu", "1"], "--warmup"),
        (["compress", "x", "--episode", "4"], "--episodes"),
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
    understood = [parse(words) for words in runs]
    assert sum(command.common.resume for command in understood if hasattr(command, "common")) == 3
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


# What fails, and with which exit code.


def said(capsys, *arguments):
    """The exit code of a command, and its last line on standard error."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    lines = capsys.readouterr().err.splitlines()
    return code, lines[-1] if lines else ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["evaluate"], 'POLICY is missing: a run, an SB3 .zip, "control" or "plan". See imitate evaluate --help.'),
        (["calibrate"], "RUN is missing: the folder of a run of c51, rainbow, "),
        (["fit"], "DATA is missing: a text file with a header and one row a trial, "),
        (["fit", "x.csv"], "--actions is missing: how many there are to choose from, "),
        (["dagger"], "--teacher is missing: a run, an SB3 .zip, "),
        (["train", "ppo", "--steps", "1e5"], "--steps: invalid literal"),
        (["train", "ppo", "--lr", "x"], "--lr: ['x'] is no FLOAT"),
        (["train", "ppo", "--lr", "nan"], "lr: must be finite, not nan."),
        (["gail", "--ppo.clip", "-1"], "ppo: clip: must be at least 0, not -1.0."),
        (["train", "ppo", "--env", "CartPole-v1", "--members", "0"], "members: must be at least 1, not 0."),
        (["train", "ppo", "--env", "CartPole-v1", "--num-envs", "-1"], "num_envs: must be at least 1, not -1."),
        (["train", "ppo", "--env", "CartPole-v1", "--seed", str(10**30)], "seed: must be less than 2^63, not "),
        (
            ["train", "ppo", "--env", "CartPole-v1", "--members", str(10**12)],
            "members: 1,000,000,000,000 is too much; ",
        ),
        (["train", "ppo", "--env", "CartPole-v1", "--hidden", str(10**12)], "hidden: 1,000,000,000,000 is too much; "),
        (["train", "ppo", "--env", "CartPole-v1", "--hidden", "-1"], "hidden: at least 1 units, not -1."),
        (["evaluate", "control", "--env", "CartPole-v1", "--episodes", str(10**12)], "episodes: 1,000,000,000,000 is "),
        (
            ["gail", "--teacher", "control", "--env", "CartPole-v1", "--demonstrations", str(10**12)],
            "demonstrations: ",
        ),
        (["train", "ppo", "--env", "Cart\0Pole"], "--env: 'Cart\\x00Pole' holds a null character."),
        (["evaluate", "run\0s"], "argument: 'run\\x00s' holds a null character."),
        (["evaluate", "x" * 300], "policy: File name too long: 'xxx"),
        (["train", "ppo", "--env", "CartPole-v1", "--out", "x" * 300], "out: File name too long: 'xxx"),
        (["train", "ppo", "--env", "CartPole-v1", "--out", "/proc/none/x"], "out: No such file or directory: '/proc"),
        (["train", "ppo", "--env", "CartPole-v1", "--teacher", "/"], "teacher: No policy.json in '/'."),
        (["condition", "blocking", "--out", "/proc/none/x.png"], "out: No such file or directory: '/proc/none'."),
        (["condition", "blocking", "--points", "-1"], "points: at least 0, not -1."),
    ],
)
def test_what_is_wrong_names_its_argument(arguments, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, found = said(capsys, *arguments)
    assert found.startswith(f"imitate: {line}")
    assert code == 2


def failing(monkeypatch, error):
    """Let the command `list` fail."""

    def fail(self):
        raise error

    monkeypatch.setattr(import_module("imitate.cli.list").List, "__call__", fail)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("shapes\ndo not match"), "RuntimeError: shapes do not match. The traceback is in '"),
        (MemoryError(), "out of memory. The traceback is in '"),
        (KeyError("x" * 1000), f"KeyError: '{'x' * 199}. The traceback is in '"),
        (RecursionError("too deep."), "RecursionError: too deep. The traceback is in '"),
    ],
)
def test_what_nobody_expected_leaves_its_traceback_in_a_file(error, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    failing(monkeypatch, error)
    code, line = said(capsys, "list")
    assert code == 1
    assert line.startswith(f"imitate: {words}")
    (file,) = tmp_path.iterdir()
    assert line.endswith(f"'{file}'.")
    text = file.read_text("utf-8")
    assert text.startswith("Traceback (most recent call last)")
    assert type(error).__name__ in text.splitlines()[-2] + text.splitlines()[-1]


def test_where_no_file_can_be_written_the_line_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    failing(monkeypatch, RuntimeError("x"))
    code, line = said(capsys, "list")
    assert code == 1
    assert line.startswith("imitate: RuntimeError: x. No file could be written for the traceback: ")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "runs/x/y"), 1, "out: No space left on device: 'runs/x/y'."),
        (OSError(errno.EACCES, "Permission denied", "elsewhere"), 2, "file: Permission denied: 'elsewhere'."),
        (OSError(errno.EMFILE, "Too many open files"), 1, "Too many open files."),
        (FileNotFoundError("teacher: there is none."), 2, "teacher: there is none."),
        (OSError(2, "No such file", b"bytes"), 2, "file: No such file: 'bytes'."),
    ],
)
def test_errors_of_files_are_wrong_usage_but_for_what_the_machine_lacks(error, code, line, monkeypatch, capsys):
    failing(monkeypatch, error)
    assert said(capsys, "list") == (code, f"imitate: {line}")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a/run/policy.json", "policy"),
        ("a/teacher.zip", "teacher"),
        ("a/other", "file"),
        ("runs/x", "out"),
        ("", "file"),
    ],
)
def test_a_file_belongs_to_the_option_that_it_is_nearest_to(file, name):
    command = SimpleNamespace(policy="a/run", teacher="a/teacher.zip", episodes=3, common=Inner(device="cpu", env=None))
    made = make_dataclass("Command", [(key, object) for key in vars(command)])(**vars(command))
    assert _of_file(OSError(2, "Missing", file), made) == f"{name}: Missing: '{file}'."


@dataclass
class Inner:
    device: str
    env: str | None


STARTING = """
import os, signal, sys, types
import imitate.cli.main as program
def command(arguments):
    os.kill(os.getpid(), signal.SIGINT)
    sys.exit("went on")
sys.modules["imitate.cli.list"] = types.SimpleNamespace(command=command)
sys.exit(program.main(["list"]))
"""
BACKGROUND = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"


def test_ctrl_c_while_imports_run_is_quiet():
    done = program(f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{STARTING}")
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "imitate: interrupted\n")
    done = program(BACKGROUND + STARTING)  # as in the background job of a script
    assert (done.returncode, done.stderr) == (1, "went on\n")


def test_after_the_imports_ctrl_c_is_an_exception_again(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(import_module("imitate.cli.list").List, "__call__", lambda self: signal.raise_signal(2))
    assert said(capsys, "list") == (130, "imitate: interrupted")
    assert signal.getsignal(signal.SIGINT) is before


def test_a_reader_that_has_seen_enough_is_no_error():
    read, write = os.pipe()
    os.close(read)
    code = "import sys; from imitate.cli.main import main; sys.exit(main(['--version']))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])},
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, "")


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
