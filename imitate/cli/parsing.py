"""Arguments as typed values, by tyro; what is wrong with them in one line."""

from __future__ import annotations

import contextlib
import difflib
import io
import re
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

__all__ = ["NOTHING", "flat", "option", "read"]

NOTHING = tyro.MISSING_NONPROP  # the default of what has none


def read(kind: Any, arguments: Sequence[str], *, prog: str, default: Any = NOTHING) -> Any:
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
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        raise ValueError(_condensed(complaint.getvalue(), arguments)) from None


def flat(kind: Any) -> Any:
    """A type whose options have the names of its fields alone, however deep they are within it."""
    return Annotated[kind, tyro.conf.OmitArgPrefixes]


def _condensed(complaint: str, arguments: Sequence[str]) -> str:
    """Tyro's report of what is wrong with the arguments, as one sentence."""
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
    # What a config says of itself begins with the argument.
    message = re.sub(r"^Error parsing (?:config\b\.?)?(\S+: )?(?:: )?", r"\1", message)
    message = re.sub(r"^Expected one of {(.*)}", r"algorithm: Expected one of {\1}", message)
    if message.startswith("Missing from"):  # what must be there may be there, mistyped
        lacking = re.findall(r"--[\w-]+", message)
        for name in (argument.partition("=")[0] for argument in arguments if argument.startswith("--")):
            if name not in lacking and (near := difflib.get_close_matches(name, lacking, 1, 0.8)):
                return f"Unrecognized options: {name}; did you mean {near[0]}?"
        each = message.partition(": ")[2].removesuffix("(required)").split("(required)")
        return " ".join(_missing(one) for one in each)
    message = re.sub(r"no type matching (.*) could be instantiated from (\[.*?\])\.\s+Got.*", r"\2 is no \1", message)
    hint = next((lines[i + 1].split()[0] for i, line in enumerate(lines[:-1]) if line.startswith("Perhaps")), None)
    return f"{message}; did you mean {hint}?" if hint else f"{message}."


def _missing(entry: str) -> str:
    """What tyro says of an argument that is missing, "--name KIND What it is.", as a sentence."""
    name, _, about = entry.strip().partition(" ")
    if name.startswith("--"):
        about = re.sub(r"^(?:(?!A )[^a-z ]+ )+", "", about)  # the kind, such as [STR [STR ...]]
    about = about.strip().rstrip(".")
    return f"{name} is missing: {about[:1].lower()}{about[1:]}."


def option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option, before the parser sees it: the defaults of the others depend on it."""
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return None
