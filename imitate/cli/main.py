"""The command line: `imitate train | clone | dagger | distill | evaluate | calibrate | demo | condition | …`.

Only the file of the command that is called is imported. Help, the version and a mistyped command need none of them.
"""

from __future__ import annotations

import errno
import functools
import itertools
import operator
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass, make_dataclass
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from imitate import __version__
from imitate.core.errors import WorkerError
from imitate.core.names import closest

__all__ = ["COMMANDS", "main", "parse"]

# Each is a file of this package; the line is what help says of it.
COMMANDS = {
    "train": "Train a teacher, or a baseline, from rewards.",
    "clone": "Clone a teacher from demonstrations: behaviour cloning.",
    "dagger": "Teach a student on the states that it visits itself.",
    "gated": "Teach a student by DAgger with a teacher that drives and is asked where a gate says so.",
    "dart": "Clone a teacher that acts under noise as large as the student's error.",
    "reduce": "Reduce imitation to classification, round by round: forward training, SMILe, SEARN, AggreVaTe(D).",
    "distill": "Distil a teacher into a student of any size.",
    "generations": "Distil a teacher through generations, each the teacher of the next.",
    "together": "Train peers that teach each other while they learn from rewards.",
    "tasks": "Distil a teacher for each of several tasks into one student.",
    "inverse": "Find the reward behind demonstrations by planning: maximum entropy, apprenticeship, max-margin.",
    "finetune": "Go on with PPO from a policy that was cloned, distilled or trained elsewhere.",
    "gail": "Learn a reward from demonstrations, and a policy from that reward.",
    "airl": "Learn a reward and its shaping apart from demonstrations, and a policy from them.",
    "jumpstart": "Let a teacher begin the episodes, and hand over ever earlier to DQN.",
    "qdagger": "Learn values from a teacher's experience, then from one's own, near the teacher while it is better.",
    "viper": "Extract a decision tree from a teacher.",
    "condense": "Distil behaviour into a few labelled states whose clones act well.",
    "compress": "Distil a teacher into students of many sizes, and compare what they cost and how they act.",
    "evaluate": "Play whole episodes with a policy; against a teacher, on the same noise, if one is given.",
    "export": "Write a policy as C, a network as ONNX, and a tree as Python, text or a picture.",
    "calibrate": "Compare the learnt distribution of the return with the returns that follow.",
    "demo": "The main job, end to end: a PPO teacher and four students, a table and a picture.",
    "condition": "Run experiments of conditioning on models of learning, and compare with what animals do.",
    "fit": "Fit models of choice to a table of choices, every subject by itself, and compare them.",
    "list": "List algorithms, environments and teachers.",
}
# Tyro's options for completion scripts, and the number of words with their values.
COMPLETION = {"--tyro-write-completion": 3, "--tyro-print-completion": 2}
SHELLS = ("bash", "zsh", "fish")


def parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments describe, ready to be called.

    Raises:
        ValueError: They describe none.
        SystemExit: Help or a completion script was asked for, and is printed.
    """
    from imitate.cli.parsing import NOTHING, read  # not before the name of the command is known to be right

    prog, rest, default = "imitate", list(arguments), NOTHING
    if arguments and arguments[0] in COMPLETION:  # the script knows the options of all commands
        if len(arguments) != COMPLETION[arguments[0]] or arguments[1] not in SHELLS:
            raise ValueError(f"completion: pass --tyro-write-completion SHELL FILE; SHELL is {', '.join(SHELLS)}.")
        kind = _program({name: _command(name, ()) for name in COMMANDS})
    elif not arguments or arguments[0] not in COMMANDS:
        kind = _program({name: (make_dataclass(name.capitalize(), ()), NOTHING) for name in COMMANDS})
        rest = rest or ["--help"]
    else:
        name, *rest = arguments
        kind, default = _command(name, rest)
        algorithm = [word for word in rest[:1] if name in ("train", "reduce") and not word.startswith("-")]
        prog = " ".join([prog, name, *algorithm])
    try:
        return read(kind, rest, prog=prog, default=default)
    except ValueError as error:
        raise ValueError(f"{error} See {prog} --help.") from error


def _command(name: str, arguments: Sequence[str]) -> tuple[Any, Any]:
    """The type of a command, and the defaults that suit its arguments."""
    found: tuple[Any, Any] = import_module(f"imitate.cli.{name}").command(arguments)
    return found


def _program(kinds: Mapping[str, tuple[Any, Any]]) -> Any:
    """All commands and `--version`, as one type."""
    from tyro.conf import arg, subcommand

    commands: Any = functools.reduce(
        operator.or_,
        (
            Annotated[kind, subcommand(name, default=default, description=COMMANDS[name])]
            for name, (kind, default) in kinds.items()
        ),
    )
    version = Annotated[bool, arg(help="Print the version.")]
    made = make_dataclass("Program", [("command", commands), ("version", version, False)], frozen=True)
    made.__doc__ = (
        "Teach a policy with a policy: behaviour cloning, DAgger, distillation, and RL baselines.\n"
        "`imitate --tyro-write-completion bash FILE` writes a completion script for bash, zsh or fish."
    )
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all is well; 2 after one line on standard error about what is wrong with the input; 1 after one about what
        failed for another reason; 130 if it was interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    command: Any = None
    try:
        if arguments == ["--version"]:
            print(f"imitate {__version__}", flush=True)
            return 0
        for before, word in itertools.pairwise(["argument", *arguments]):
            if "\0" in word:
                name = before if before.startswith("--") else "argument"
                raise ValueError(f"{name}: {word!r} holds a null character.")
        if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise ValueError(closest("command", arguments[0], COMMANDS))
        with _leaving_at_once():
            command = parse(arguments)
            from imitate.core.config import check
            from imitate.core.memory import keep_freed  # imports torch

            keep_freed()
        check(command)
        command()
        sys.stdout.flush()  # here, where somebody still hears that it fails
    except BrokenPipeError:  # whoever was reading has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print("imitate: interrupted", file=sys.stderr)
        return 130
    except OSError as error:
        failed = error.errno in _FAILURES
        return _complain(_of_file(error, command), 1 if failed else 2)
    except (ValueError, FloatingPointError, WorkerError) as error:
        return _complain(str(error), 2)
    except Exception as error:
        return _complain(_unforeseen(error), 1)
    return 0


# What is no fault of the input: a full disk, a broken one, too many files open, no memory left.
_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


@contextmanager
def _leaving_at_once() -> Iterator[None]:
    """Let Ctrl-C end the process while it imports: there is nothing to save, and half of an import complains.

    Where it is ignored, as in a background job of a script, it stays ignored.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler or threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(signum: int, frame: FrameType | None) -> None:
        os.write(2, b"imitate: interrupted\n")
        os._exit(130)

    signal.signal(signal.SIGINT, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _complain(message: str, code: int) -> int:
    print(f"imitate: {' '.join(message.split())}", file=sys.stderr)  # whatever it says, in one line
    return code


def _of_file(error: OSError, command: Any) -> str:
    """What is wrong with a file, after the option that names it."""
    if error.errno is None or error.strerror is None:  # a message of ours
        return str(error)
    if error.filename is None:
        return f"{error.strerror}."
    file = os.fsdecode(error.filename)
    return f"{_option_of(file, command) or 'file'}: {error.strerror}: '{file}'."


def _option_of(file: str, command: Any) -> str | None:
    """The option of a command whose value is a file, lies in it, or is a folder that it lies in.

    By default results go to a folder in "runs".
    """
    found, options = "out" if file.startswith("runs") else None, dict(_texts(command))
    for name, text in options.items():
        one, other = Path(text).absolute(), Path(file).absolute()
        near = one.is_relative_to(other) or other.is_relative_to(one)
        if text and file and near and (found is None or len(text) > len(options.get(found, ""))):
            found = name
    return found


def _texts(value: Any) -> Iterator[tuple[str, str]]:
    """The paths and texts of a command, by the names of their options."""
    for name, inner in vars(value).items() if is_dataclass(value) else ():
        if isinstance(inner, (str, os.PathLike)):
            yield name, os.fspath(inner)
        else:
            yield from _texts(inner)


def _unforeseen(error: Exception) -> str:
    """One line about an error that nobody expected, whose traceback goes to a file."""
    import tempfile
    import traceback

    kind = "out of memory" if isinstance(error, MemoryError) else type(error).__name__
    said = f"{kind}: {' '.join(str(error).split())[:200]}".rstrip(". :")
    try:
        with tempfile.NamedTemporaryFile("w", prefix="imitate-", suffix=".log", delete=False, encoding="utf-8") as file:
            traceback.print_exception(error, file=file)
    except OSError as problem:
        return f"{said}. No file could be written for the traceback: {problem}"
    return f"{said}. The traceback is in '{file.name}'."
