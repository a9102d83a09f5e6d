"""How long the command line takes to answer where nothing is computed, beside the import of torch.

    python -m benchmarks.startup

Every round runs each program once, in turn, in a process of its own. Medians are printed, and their ratios to that of
`python -c "import torch"`. The exit code is 1 if help or a mistyped command takes more than 1.3 times as long.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

BOUND = 1.3
TORCH = "import torch"
CLI = (sys.executable, "-m", "imitate")
PROGRAMS = {
    TORCH: (sys.executable, "-c", TORCH),
    "imitate --help": (*CLI, "--help"),
    "imitate --version": (*CLI, "--version"),
    "a mistyped command": (*CLI, "trian"),
    "a mistyped algorithm": (*CLI, "train", "pppo"),
    "a mistyped option": (*CLI, "train", "ppo", "--stepz", "3"),
}
BOUNDED = ("imitate --help", "a mistyped command")


def seconds(command: tuple[str, ...]) -> float:
    """Seconds that a program takes from its start to its end."""
    begin = time.perf_counter()
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> int:
    """Measure, and print a line a program."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    for command in PROGRAMS.values():
        seconds(command)  # compiles what is not compiled yet, and fills the file cache
    measured = [{name: seconds(command) for name, command in PROGRAMS.items()} for _ in range(rounds)]
    medians = {name: statistics.median(one[name] for one in measured) for name in PROGRAMS}
    for name, median in medians.items():
        print(f"{name:>22}  {median:6.3f} s  {median / medians[TORCH]:5.2f}")
    return int(any(medians[name] > BOUND * medians[TORCH] for name in BOUNDED))


if __name__ == "__main__":
    sys.exit(main())
