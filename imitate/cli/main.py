"""The command line: `imitate train | clone | dagger | distill | evaluate | calibrate | demo | condition | …`.

Only the file of the command that is called is imported. Help, the version and a mistyped command need none of them.
"""

from __future__ import annotations

import functools
import operator
import sys
from collections.abc import Mapping, Sequence
from dataclasses import make_dataclass
from importlib import import_module
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
    "distill": "Distil a teacher into a student of any size.",
    "gail": "Learn a reward from demonstrations, and a policy from that reward.",
    "evaluate": "Play whole episodes with a policy; against a teacher, on the same noise, if one is given.",
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
        algorithm = [word for word in rest[:1] if name == "train" and not word.startswith("-")]
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
        0 if all is well; 2 after one line on standard error about what is wrong with the input; 130 if it was
        interrupted.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments == ["--version"]:
            print(f"imitate {__version__}")
            return 0
        if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise ValueError(closest("command", arguments[0], COMMANDS))
        command = parse(arguments)
        from imitate.core.memory import keep_freed  # imports torch

        keep_freed()
        command()
    except (ValueError, OSError, FloatingPointError, WorkerError) as error:
        print(f"imitate: {' '.join(str(error).split())}", file=sys.stderr)  # whatever it says, in one line
        return 2
    except KeyboardInterrupt:
        print("imitate: interrupted", file=sys.stderr)
        return 130
    return 0
