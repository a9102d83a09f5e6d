"""Arguments as typed values, by tyro; what is wrong with them in one line."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import tyro

__all__ = ["option", "read"]


def read(kind: Any, arguments: Sequence[str], *, prog: str, default: Any = tyro.MISSING_NONPROP) -> Any:
    """A value of a type from command-line arguments.

    Args:
        kind: A dataclass, or whatever else tyro reads.
        arguments: Without the name of the program.
        prog: Name of the program, as help and errors say it.
        default: Instance that holds the defaults.

    Raises:
        ValueError: The arguments do not make such a value. Tyro's box about that is condensed to one line.
        SystemExit: Help or a completion script was asked for, and is printed.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                kind,
                args=arguments,
                prog=prog,
                default=default,
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(f"{_condensed(complaint.getvalue())} See {prog} --help.") from None


def _condensed(complaint: str) -> str:
    """Tyro's report of what is wrong, as one sentence."""
    text = complaint.splitlines()
    # Where the terminal has no characters for a box, a title and a rule stand above instead.
    boxed = any(line.startswith("│") for line in text)
    lines = (
        [line.strip(" │") for line in text if line.startswith("│")] if boxed else [line.strip() for line in text[2:]]
    )
    if not lines:
        return complaint.strip() or "The arguments cannot be read."
    rules = [i for i, line in enumerate(lines) if line and set(line) <= {"─", "-"}]
    message = " ".join(lines[: rules[0] if rules else None]).rstrip(".").replace("__tyro-dummy-inner__.", "")
    hint = next((lines[i + 1].split()[0] for i, line in enumerate(lines[:-1]) if line.startswith("Perhaps")), None)
    return f"{message}; did you mean {hint}?" if hint else f"{message}."


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option, before the parser sees it: the defaults of the others depend on it."""
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return None
