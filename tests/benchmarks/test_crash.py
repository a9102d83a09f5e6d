"""A handful of the crash points; all of them, and random kills, are `python -m benchmarks.crash`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import imitate

ROOT = Path(imitate.__file__).parents[1]


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork")
def test_a_run_that_is_killed_before_a_file_operation_is_resumed_to_the_same_end():
    """In a process of its own, which has no threads when it forks."""
    found = subprocess.run(
        [sys.executable, "-m", "benchmarks.crash", "points", "--kinds", "ppo", "--every", "30", "--out", "None"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "envs")]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    figures = json.loads(found.stdout)
    assert figures["points"]["ppo"] >= 3
    assert figures["faults"] == {}
