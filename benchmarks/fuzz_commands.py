"""Random command lines, built from the options that the parser knows."""

from __future__ import annotations

import re
import shlex
import shutil
import types
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np
import tyro
from hypothesis import strategies as st
from tyro.conf import Positional

from benchmarks.forked import Outcome, forked
from imitate.cli import main as program
from imitate.registry import BASELINES

__all__ = ["cases", "execute", "fault", "plain_types", "prepare"]

LIMIT = 6 * 2**30

# A run of each command that ends within a second.
FEW = "--members 1 --episodes 1 --device cpu --out run"
ON_POLICY = f"--num-envs 2 --steps 16 --rollout 4 --batch-size 8 --epochs 1 --hidden 4 {FEW}"
OFF_POLICY = f"--num-envs 2 --steps 16 --learning-starts 4 --batch-size 4 --updates 1 --capacity 64 --hidden 4 {FEW}"
TABULAR = f"--env GridWorld-v0 --num-envs 2 --steps 16 {FEW}"
DATA = "{files}/choices.csv --actions 2 --model q-learning --starts 1"
BASES = {
    **{f"train {name}": f"--env CartPole-v1 {OFF_POLICY}" for name in BASELINES},
    **{f"train {name}": TABULAR for name in list(BASELINES)[list(BASELINES).index("monte-carlo") :]},
    "train ppo": f"--env CartPole-v1 {ON_POLICY}",
    "train sac": f"--env Pendulum-v1 {OFF_POLICY}",
    "clone": f"--env CartPole-v1 --teacher control --demonstrations 1 --updates 2 --hidden 4 {FEW}",
    "dagger": f"--env CartPole-v1 --teacher control --rounds 1 --rollout 4 --updates 2 --hidden 4 {FEW}",
    "dart": f"--env CartPole-v1 --teacher control --rounds 1 --rollout 4 --updates 2 --hidden 4 {FEW}",
    "gated thrifty": "--env CartPole-v1 --teacher control --warm-up 2 --rounds 1 --rollout 4 --updates 2 --hidden 4 "
    f"--gate.updates 2 --gate.heads 2 --gate.capacity 100 {FEW}",
    "gated hg": "--env CartPole-v1 --teacher control --warm-up 2 --rounds 1 --rollout 4 --updates 2 --hidden 4 "
    f"--gate.numbers 2 --gate.limits 0.1 {FEW}",
    "distill": "--env CartPole-v1 --teacher {files}/teacher --num-envs 2 --steps 8 --rollout 4 --batch-size 8 "
    f"--epochs 1 --hidden 4 {FEW}",
    "finetune": f"{{files}}/teacher {ON_POLICY}",
    "gail": "--env CartPole-v1 --teacher control --demonstrations 1 --num-envs 2 --ppo.steps 8 --ppo.rollout 4 "
    f"--ppo.batch-size 8 --ppo.epochs 1 --ppo.hidden 4 --discriminator.updates 1 {FEW}",
    "airl": "--env CartPole-v1 --teacher control --demonstrations 1 --num-envs 2 --ppo.steps 8 --ppo.rollout 4 "
    f"--ppo.batch-size 8 --ppo.epochs 1 --ppo.hidden 4 --reward.updates 1 {FEW}",
    "generations": "--env CartPole-v1 --teacher {files}/teacher --num-envs 2 --steps 8 --rollout 4 --batch-size 8 "
    f"--epochs 1 --hidden 4 --generations 2 {FEW}",
    "together": f"--env CartPole-v1 --circle 2 {ON_POLICY.replace('--members 1', '--members 2')}",
    "tasks": "--teachers control:CartPole-v1 control:CartPole-v1 --num-envs 2 --steps 16 "
    f"--rollout 4 --batch-size 8 --epochs 1 --hidden 4 {FEW}",
    "jumpstart": f"--env CartPole-v1 --teacher control --return-episodes 1 {OFF_POLICY}",
    "qdagger": "--env CartPole-v1 --teacher control --teacher-steps 8 --offline-updates 1 --return-episodes 1 "
    f"{OFF_POLICY}",
    "viper": "--env CartPole-v1 --teacher control --rounds 1 --rollout 4 --max-depth 2 --held-out 1 --num-envs 2 "
    f"{FEW}",
    "reduce forward": "--env CartPole-v1 --teacher control --every 500 --rollout 4 --updates 1 --num-envs 2 --hidden 4 "
    f"{FEW}",
    **{
        f"reduce {name}": f"--env CartPole-v1 --teacher control --rounds 1 --rollout 4 --num-envs 2 --hidden 4 {FEW}"
        for name in ("smile", "searn", "aggrevate", "aggrevated")
    },
    "condense": "--env CartPole-v1 --pairs 2 --generations 1 --updates 1 --hidden 4 --members 2 --episodes 1 "
    "--device cpu --out run",
    "inverse max-margin": "--env GridWorld-v0 --teacher plan --demonstrations 2 --members 1 --episodes 1 --out run",
    "compress": "{files}/teacher --sizes 2 --prune 0.5 --no-scratch --num-envs 2 --steps 8 --rollout 4 --batch-size 8 "
    f"--epochs 1 {FEW}",
    "evaluate": "{files}/teacher --episodes 1",
    "export": "{files}/teacher --format c --out policy.h",
    "calibrate": "{files}/values --episodes 2",
    "demo": "--episodes 0",  # as it is the demo takes minutes: here it is only refused
    "condition": "blocking --out picture.png",
    "fit": f"{DATA} --out estimates.csv",
    "list": "",
}
NUMBERS = ["0", "-1", "1", "2", "3", "-0", "1000000000", "99999999999", str(2**31), str(2**63), str(10**30), "1e3"]
REALS = ["0", "-1", "0.5", "1", "2", "nan", "inf", "-inf", "1e-300", "1e308", "1e400", "-1e38", "1e38", "1_0", "½"]
WORDS = ["", "x", " ", "-", "--", "ppo", "mse", "ünï", "人", "a" * 300, "a\nb", "nan", "0", "%s", "[red]", "\udc80"]
PATHS = [
    f"{{files}}/{name}" for name in ("teacher", "values", "choices.csv", "file", "empty", "data.npz", "file/below")
]
PATHS += ["/", "/proc/self", "/proc/none/x", "/dev/null", "missing", "missing/deeper", "a/" * 60, "b" * 300, ".", ".."]
PATHS += ["control", "plan", "plan:FrozenLake-v1", "control:CartPole-v1", "\x00", "x\x00y", ""]
ENVS = ["CartPole-v1", "Pendulum-v1", "GridWorld-v0", "CliffWalking-v1", "Acrobot-v1", "imitate/CartPole-v1"]
ENVS += ["CartPole", "Blackjack-v1", "ALE/None-v5", "no_module:X-v0", ":", "x" * 300, "", "os:X", "CartPole-v99"]


POSITIONAL = (
    "compress",
    "finetune",
    "evaluate",
    "calibrate",
    "fit",
    "condition",
)  # commands with an argument without a name

# How a message may begin that is not of an option: positional arguments, parts of a config, and what a parser says.
OTHER_NAMES = ("policy", "run", "data", "phenomenon", "algorithm", "method", "condition", "fit", "command")
OTHER_NAMES += ("completion", "Unrecognized options", "head", "replay", "student", "ppo", "discriminator", "beta")
OTHER_NAMES += ("argument", "name", "gate")


@dataclass(frozen=True)
class Case:
    """One command line, and the options among its words that were drawn."""

    words: tuple[str, ...]
    drawn: tuple[str, ...]

    def __str__(self) -> str:
        return shlex.join(self.words).encode("utf-8", "backslashreplace").decode()


def prepare(folder: Path) -> Path:
    """Files for the commands; what they import is imported here."""
    import matplotlib.figure  # noqa: F401
    import torch.utils.tensorboard  # noqa: F401

    import imitate
    from imitate import nets
    from imitate.data import demonstrate
    from imitate.teachers import control_law

    files = folder / "files"
    files.mkdir()
    source = imitate.make("CartPole-v1", num_envs=1)
    nets.policy(source, (4,)).save(files / "teacher")
    imitate.c51(source, imitate.C51Config(hidden=(4,), capacity=64)).policy.save(files / "values")
    demonstrate(source, control_law("CartPole-v1"), 1).save(files / "data.npz", source)
    rows = "\n".join(f"{s},{a},{r}" for s in "ab" for a, r in np.random.default_rng(0).integers(0, 2, (20, 2)))
    (files / "choices.csv").write_text(f"subject,action,reward\n{rows}\n", "utf-8")
    (files / "file").write_text("a file", "utf-8")
    (files / "empty").mkdir()
    for name in program.COMMANDS:
        import_module(f"imitate.cli.{name}")
    return folder


def cases(folder: Path) -> st.SearchStrategy[Case]:
    """A base with some options drawn anew, or words in any order."""
    commands = sorted(BASES)
    return st.sampled_from(commands).flatmap(lambda name: _with_options(name, folder))


def _with_options(name: str, folder: Path) -> st.SearchStrategy[Case]:
    words = [*name.split(), *shlex.split(BASES[name].replace("{files}", str(folder / "files")))]
    known = _options(name)
    positional = words[len(name.split()) :][:1] if name in POSITIONAL else []

    @st.composite
    def drawn(draw: st.DrawFn) -> Case:
        changed = draw(st.lists(st.sampled_from(sorted(known)), min_size=1, max_size=3, unique=True)) if known else []
        line = list(words)
        for option in changed:
            several = draw(st.sampled_from([1, 1, 1, 1, 2]))
            values = [draw(_values(known[option], option, folder)) for _ in range(several)]
            if f"--{option}" in line:
                _remove(line, f"--{option}")
            line += [f"--{option}", *([] if known[option] is bool else values)]
        if positional and draw(st.integers(0, 4)) == 0:
            line[len(name.split())] = draw(st.sampled_from(PATHS)).replace("{files}", str(folder / "files"))
            changed.append("policy run data phenomenon")
        spoilt = draw(st.integers(0, 19))
        if spoilt == 0:
            line.insert(draw(st.integers(0, len(line))), draw(st.sampled_from(WORDS)))
        elif spoilt == 1:
            del line[draw(st.integers(0, len(line) - 1)) :]
        return Case(tuple(line), tuple(changed))

    return drawn()


def _remove(line: list[str], option: str) -> None:
    start = line.index(option)
    end = next((i for i in range(start + 1, len(line)) if line[i].startswith("--")), len(line))
    del line[start:end]


def _values(hint: Any, option: str, folder: Path) -> st.SearchStrategy[str]:
    """Words for an option of a type, most of them not meant for it."""
    kinds = set(plain_types(hint))
    pool = list(WORDS)
    if option == "env":
        pool = [*ENVS] * 3
    elif kinds & {Path} or option in ("teacher", "policy", "run"):
        pool += PATHS * 2
    if int in kinds:
        pool += NUMBERS * 4
    if float in kinds:
        pool += [*REALS, *NUMBERS] * 3
    pool += [str(word) for kind in kinds if isinstance(kind, tuple) for word in kind]
    return st.sampled_from(pool).map(lambda word: word.replace("{files}", str(folder / "files")))


def plain_types(hint: Any) -> Iterator[Any]:
    """The plain types in an annotation; the words of a literal as a tuple."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated or origin is Positional:
        yield from plain_types(args[0])
    elif origin in (Union, types.UnionType, tuple):
        for one in args:
            yield from plain_types(one)
    elif origin is Literal:
        yield args
    else:
        yield hint


def _options(name: str) -> dict[str, Any]:
    """The options of a command with their types."""
    command, *rest = name.split()
    _, default = import_module(f"imitate.cli.{command}").command(rest)
    parts = command in ("airl", "gail", "gated")
    return dict(_fields(default, "", parts))


def _fields(config: Any, prefix: str, parts: bool) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(type(config), include_extras=True)
    for field in fields(config):
        value = getattr(config, field.name)
        if is_dataclass(value) and field.name != "beta":
            inner = f"{field.name}." if parts and field.name in ("ppo", "discriminator", "reward", "gate") else ""
            yield from _fields(value, prefix + inner, parts)
        elif value is not tyro.MISSING or "Positional" not in str(hints[field.name]):
            yield prefix + field.name.replace("_", "-"), hints[field.name]


def execute(case: Case, folder: Path, seconds: float) -> Outcome:
    """Run a command line in a folder of its own."""
    place = folder / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    return forked(lambda: program.main(list(case.words)), place, seconds=seconds, limit=LIMIT)


def fault(case: Case, outcome: Outcome) -> str | None:
    """What is wrong with what a command did; None if nothing is.

    Right are: 0; 2 with one line on standard error, the last one, that names an argument; 130 when it was interrupted.
    """
    if outcome.interrupts > 2:
        return "hangs"
    for text in ("Traceback", "Exception ignored", "Warning:"):
        if text in outcome.err or text in outcome.out:
            return "traceback or warning"
    if outcome.code == 0:
        return None
    if outcome.code == 130:
        return None if outcome.interrupts else "wrong exit code"
    if outcome.code != 2:
        return "wrong exit code"
    lines = outcome.err.splitlines()
    last = lines[-1] if lines else ""
    if not last.startswith("imitate: "):
        return "no line"
    return None if _named(case, last.removeprefix("imitate: ")) else "no name"


def _named(case: Case, said: str) -> bool:
    """Whether a message begins with an argument, or names one that was drawn."""
    head = said.partition(":")[0].replace("_", "-").removeprefix("--").split(", ")[0]
    names = {part for name in (*OTHER_NAMES, *_all_options()) for part in (name, name.rpartition(".")[2])}
    drawn = any(one.replace("-", "_") in said or one in said for one in case.drawn)
    return head in names or drawn or " is missing" in said or bool(names & set(re.findall(r"--([\w.-]+)", said)))


def _all_options() -> set[str]:
    return {option for name in BASES for option in _options(name)}
