"""A few random commands and calls, as `make fuzz` draws many; and what counts as a fault."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import fuzz_commands, fuzz_library
from benchmarks.forked import Outcome

ROOT = Path(fuzz_commands.__file__).parents[1]


@pytest.mark.skipif(sys.platform != "linux", reason="children are forked, and their memory is limited")
@pytest.mark.parametrize(("what", "times"), [("commands", 8), ("library", 60)])
def test_no_case_of_a_few_shows_a_fault(what, times):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fuzz", what, "--times", str(times), "--seed", "1"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")])},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def outcome(code, err="", out="", interrupts=0):
    return Outcome(code, out, err, interrupts, 1.0, 0)


COMMAND = fuzz_commands.Case(("train", "ppo", "--num-envs", "x"), ("num-envs",))


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (outcome(0), None),
        (outcome(0, "a report\n"), None),
        (outcome(2, "a report\nimitate: num_envs: must be at least 1, not 0.\n"), None),
        (outcome(2, "imitate: out: Permission denied: 'x'.\n"), None),
        (outcome(130, "imitate: interrupted\n", interrupts=2), None),
        (outcome(130, "imitate: interrupted\n"), "wrong exit code"),
        (outcome(-9, interrupts=3), "hangs"),
        (outcome(-9), "wrong exit code"),
        (outcome(1, "imitate: KeyError: 3. The traceback is in 'x'.\n"), "wrong exit code"),
        (outcome(2, "imitate: something is wrong.\n"), "no name"),
        (outcome(2, "ppo: num_envs: wrong\n"), "no line"),
        (outcome(2), "no line"),
        (outcome(2, "Traceback (most recent call last):\nimitate: num_envs: x"), "traceback or warning"),
        (outcome(0, out="x.py:3: UserWarning: y"), "traceback or warning"),
    ],
)
def test_faults_of_commands(found, fault):
    assert fuzz_commands.fault(COMMAND, found) == fault


CALL = fuzz_library.Case("imitate.make", (("num_envs", "'3'"),))


@pytest.mark.parametrize(
    ("found", "fault"),
    [
        (outcome(0), None),
        (outcome(2, "ValueError: num_envs: must be a whole number, not '3'.\n"), None),
        (outcome(2, "FileNotFoundError: [Errno 2] No such file or directory: 'x'\n"), None),
        (outcome(2, "ValueError: could not convert string to float: '3'\n"), "no name"),
        (outcome(99, "Traceback"), "traceback"),
        (outcome(-9), "killed"),
        (outcome(0, interrupts=1), "hangs"),
    ],
)
def test_faults_of_calls(found, fault):
    assert fuzz_library.fault(CALL, found) == fault


def test_every_command_is_drawn():
    assert {name.split()[0] for name in fuzz_commands.BASES} == set(fuzz_commands.program.COMMANDS)
    trained = {name.split()[1] for name in fuzz_commands.BASES if name.startswith("train ")}
    assert trained == set(fuzz_commands.BASELINES)
