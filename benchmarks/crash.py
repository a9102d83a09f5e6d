"""Runs that are killed: is whatever they leave readable, and does what is resumed equal what was never interrupted?

    python -m benchmarks.crash kill --times 300     # kill -9 at random moments, again and again until the run ends
    python -m benchmarks.crash points               # kill -9 before every file operation of a short run
    python -m benchmarks.crash read --times 1000    # loads beside a run that writes a checkpoint in each iteration

Every run is the command line itself in a forked child of a process that has imported everything. What a killed run has
left is read, `--resume` goes on, and the folder in the end is compared with that of a run that nobody killed: run.json,
the tensors of checkpoint and policy, the rows of progress.csv and the TensorBoard events without what a clock says, and
that nothing else lies there. The exit code is 1 if anything differs. The figures go to benchmarks/results/crash.json.
"""

from __future__ import annotations

import csv
import json
import logging
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
import tyro
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils import tensorboard

import imitate
from imitate.cli.main import main as command
from imitate.core import checkpoint, tree
from imitate.experiment.report import versions

FEW = "--members 2 --episodes 1 --device cpu"
TAUGHT = "--teacher control --env CartPole-v1 --hidden 8"
# Commands of three or four reports each, in about a second.
KINDS = {
    "ppo": "train ppo --env CartPole-v1 --num-envs 4 --steps 192 --rollout 8 --batch-size 32 --epochs 1",
    "dqn": "train dqn --env CartPole-v1 --num-envs 4 --steps 192 --learning-starts 64 --capacity 256",
    "sac": "train sac --env Pendulum-v1 --num-envs 4 --steps 96 --learning-starts 32 --capacity 256 --hidden 8",
    "dagger": f"dagger {TAUGHT} --num-envs 4 --rounds 4 --rollout 8 --updates 4",
    "distill": f"distill {TAUGHT} --num-envs 4 --steps 192 --rollout 8 --batch-size 32 --epochs 1",
    "clone": f"clone {TAUGHT} --demonstrations 1 --updates 12 --validate-every 3",
}
EVERY = {"ppo": 64, "dqn": 64, "sac": 32, "dagger": 32, "distill": 64, "clone": 3}
CHAIN = 5
CLOCKS = {"seconds", "steps_per_second"}


@dataclass(frozen=True)
class Options:
    """What to try.

    Args:
        what: "kill" at random, "points" for each file operation, or "read" beside a run.
        times: Of random kills, or of loads.
        kinds: Of runs.
        every: Only every so many-th file operation, from the first on.
        seed: Of the moments.
        out: Where the figures go; nowhere if None.
    """

    what: tyro.conf.Positional[Literal["kill", "points", "read"]]
    times: int = 300
    kinds: tuple[str, ...] = tuple(KINDS)
    every: int = 1
    seed: int = 0
    out: Path | None = Path("benchmarks/results/crash.json")


def arguments(kind: str, out: Path) -> list[str]:
    """The command line of a kind of run, which begins or goes on."""
    options = f"{KINDS[kind]} {FEW} --evaluate-every {EVERY[kind]} --resume --out"
    return [*options.split(), str(out)]


def forked(run: Callable[[], int], said: Path) -> int:
    """Start a function in a child, which exits with its answer; the identity of the child."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        with said.open("w") as file, redirect_stdout(file), redirect_stderr(file):
            code = run()
    finally:
        os._exit(code)


def ended(child: int) -> int:
    """Wait for a child: its exit code, or the negative signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def operations(folder: Path, before: Callable[[int], None]) -> None:
    """From now on, call a function with the number of each file operation in a folder, before it happens.

    Python announces what opens, renames and deletes files; `fsync` it does not, so that is replaced.
    """
    count, sync = [0], os.fsync

    def happens() -> None:
        count[0] += 1
        before(count[0])

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir") or not isinstance(args[0], (str, os.PathLike)):
            return
        reads = event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if not reads and Path(args[0]).is_relative_to(folder):
            happens()

    def synced(file: Any) -> None:
        happens()
        sync(file)

    os.fsync = synced
    sys.addaudithook(hook)


def tensors(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """The tensors of a record by dotted names."""
    return dict(tree.flatten(checkpoint.read(folder, name)[0]))


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    """Whether tensors are the same, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in b)


def rows(folder: Path) -> list[dict[str, str]]:
    """The table of a run without what a clock says."""
    with (folder / "progress.csv").open(newline="") as file:
        return [{name: text for name, text in row.items() if name not in CLOCKS} for row in csv.DictReader(file)]


def events(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """The curves that TensorBoard shows, without what a clock says."""
    shown = EventAccumulator(str(folder))
    shown.Reload()
    names = set(shown.Tags()["scalars"]) - CLOCKS
    return {name: [(event.step, event.value) for event in shown.Scalars(name)] for name in names}


def left(folder: Path) -> Iterator[str]:
    """What is wrong with what a killed run has left."""
    try:
        if not checkpoint.exists(folder, "checkpoint"):
            return
        whole, policy = tensors(folder, "checkpoint"), dict(imitate.load(folder).state_dict())
    except (OSError, ValueError, KeyError) as error:
        yield f"unreadable ({error})"
        return
    if not equal({f"policy.{name}": value for name, value in policy.items()}, _part(whole, "policy")):
        yield "stale policy"


def _part(state: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key.startswith(f"{name}.")}


def differences(folder: Path, straight: Path) -> Iterator[str]:
    """In what a folder differs from that of a run that was not interrupted."""
    for name in ("checkpoint", "policy"):
        if not equal(tensors(folder, name), tensors(straight, name)):
            yield f"another {name}"
    for name in ("run.json", "policy.json"):
        if (folder / name).read_bytes() != (straight / name).read_bytes():
            yield f"another {name}"
    if rows(folder) != rows(straight):
        yield "lost rows"
    if events(folder) != events(straight):
        yield "lost events"
    known = {checkpoint.describe(folder, name)["tensors"] for name in ("checkpoint", "policy")}
    known |= {"run.json", "policy.json", "checkpoint.json", "progress.csv"}
    litter = [path.name for path in folder.iterdir() if path.name not in known and "tfevents" not in path.name]
    if litter:
        yield f"litter ({', '.join(sorted(litter))})"


class Trial:
    """A kind of run in a folder of its own, beside one that nobody kills."""

    def __init__(self, kind: str, place: Path) -> None:
        self.kind, self.straight, self.folder, self.said = (
            kind,
            place / f"{kind}-straight",
            place / kind,
            place / "said",
        )
        begin = time.monotonic()
        self.finish(self.straight)
        self.seconds = time.monotonic() - begin

    def begin(self) -> None:
        """An empty folder."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def start(self, before: Callable[[int], None] | None = None) -> int:
        """Begin or go on; called, if asked for, before each file operation."""

        def run() -> int:
            if before is not None:
                operations(self.folder, before)
            return command(arguments(self.kind, self.folder))

        return forked(run, self.said)

    def finish(self, folder: Path) -> None:
        """Go on to the end, undisturbed.

        Raises:
            RuntimeError: The command failed.
        """
        code = ended(forked(lambda: command(arguments(self.kind, folder)), self.said))
        if code:
            raise RuntimeError(f"exit code {code}: {self.said.read_text().strip().splitlines()[-1:]}")

    def verdict(self) -> list[str]:
        """Go on to the end; what is wrong then."""
        try:
            self.finish(self.folder)
            return list(differences(self.folder, self.straight))
        except (OSError, ValueError, RuntimeError) as error:
            return [f"not resumed ({error})"]


def kill(options: Options, place: Path) -> dict[str, Any]:
    """`options.times` kills at random moments, up to `CHAIN` of them in one run before it may come to its end."""
    moments, faults, kills, late, runs = random.Random(options.seed), Counter[str](), Counter[str](), 0, 0
    trials = [Trial(kind, place) for kind in options.kinds]
    while sum(kills.values()) < options.times:
        trial = trials[runs % len(trials)]
        runs += 1
        trial.begin()
        for _ in range(min(CHAIN, options.times - sum(kills.values()))):
            child = trial.start()
            time.sleep(moments.uniform(0, trial.seconds))
            os.kill(child, signal.SIGKILL)  # one that has ended by itself is there until it is waited for
            if ended(child) != -signal.SIGKILL:
                break
            kills[trial.kind] += 1
            late += checkpoint.exists(trial.folder, "checkpoint")
            note(faults, trial.kind, f"kill {sum(kills.values())}", left(trial.folder))
        note(faults, trial.kind, f"run {runs}", trial.verdict())
    return {"kills": dict(kills), "behind_a_checkpoint": late, "runs": runs, "faults": dict(faults)}


def points(options: Options, place: Path) -> dict[str, Any]:
    """A kill before each file operation, of a run that begins and is then resumed."""
    faults, tried = Counter[str](), Counter[str]()
    for kind in options.kinds:
        trial, number = Trial(kind, place), 1
        while True:
            trial.begin()

            def fatal(count: int, number: int = number) -> None:
                if count == number:
                    os.kill(os.getpid(), signal.SIGKILL)

            code = ended(trial.start(fatal))
            if code != -signal.SIGKILL:
                note(faults, kind, "undisturbed", [] if code == 0 else [f"exit code {code}"])
                break
            tried[kind] += 1
            note(faults, kind, f"point {number}", [*left(trial.folder), *trial.verdict()])
            number += options.every
        print(f"{kind}: {tried[kind]} points", file=sys.stderr, flush=True)
    return {"points": dict(tried), "every": options.every, "faults": dict(faults)}


def read(options: Options, place: Path) -> dict[str, Any]:
    """`options.times` loads of policy and checkpoint while a run writes both as often as it can."""
    folder, faults, generations, done = place / "run", Counter[str](), set[str](), 0
    often = f"{KINDS['ppo']} {FEW} --steps 100000000 --evaluate-every 32 --out {folder}"
    writer = forked(lambda: command(often.split()), place / "said")
    while not checkpoint.exists(folder, "checkpoint"):
        time.sleep(0.01)
    while done < options.times:
        done += 1
        try:
            imitate.load(folder)
            generations.add(checkpoint.read(folder, "checkpoint")[1]["sha256"])
        except Exception as error:
            note(faults, "ppo", f"load {done}", [f"unreadable ({error})"])
    os.kill(writer, signal.SIGKILL)
    if ended(writer) != -signal.SIGKILL:
        note(faults, "ppo", "writer", ["ended"])
    return {"loads": done, "generations": len(generations), "faults": dict(faults)}


def note(faults: Counter[str], kind: str, where: str, found: Any) -> None:
    """Count faults, and say them."""
    for fault in found:
        faults[fault.partition(" (")[0]] += 1
        print(f"{kind}, {where}: {fault}", flush=True)


@contextmanager
def workplace() -> Iterator[Path]:
    """A folder for the runs, deleted in the end."""
    with tempfile.TemporaryDirectory(prefix="crash-") as place:
        yield Path(place)


def main(options: Options) -> int:
    """Try, print what is wrong, write the figures; 1 if anything is."""
    unknown = [kind for kind in options.kinds if kind not in KINDS]
    if unknown:
        raise SystemExit(f"kinds: {', '.join(unknown)} is none of {', '.join(KINDS)}.")
    torch.set_num_threads(1)
    assert tensorboard.SummaryWriter  # imported before any child is
    logging.getLogger("tensorboard").setLevel(logging.ERROR)  # it says that it leaves out what it is told to
    begin = time.monotonic()
    with workplace() as place:
        found = {"kill": kill, "points": points, "read": read}[options.what](options, place)
    found |= {"seed": options.seed, "seconds": round(time.monotonic() - begin), "versions": versions()}
    print(json.dumps({name: part for name, part in found.items() if name != "versions"}))
    if options.out is not None:
        before = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}
        options.out.write_text(json.dumps({**before, options.what: found}, indent=2) + "\n", "utf-8")
    return int(bool(found["faults"]))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
