"""The command line: `imitate train | clone | dagger | distill | evaluate | calibrate | demo | condition | …`."""

from __future__ import annotations

import contextlib
import functools
import io
import operator
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from imitate.commands import Clone, DAggerCommand, Demo, Distill, Evaluate, List, Train
from imitate.commands_conditioning import Condition
from imitate.commands_fit import FitCommand
from imitate.commands_values import Calibrate
from imitate.common import Common, env_of
from imitate.configs import config_for
from imitate.core.memory import keep_freed
from imitate.nets.policy_network import Architecture
from imitate.registry import BASELINES, closest
from imitate.students import BehaviourCloningConfig, DAggerConfig, PolicyDistillationConfig

__all__ = ["main"]

COMMANDS = ("train", "clone", "dagger", "distill", "evaluate", "calibrate", "demo", "condition", "fit", "list")


def _option(arguments: Sequence[str], name: str) -> str | None:
    """The value of an option, before the parser sees it: the defaults of the others depend on it."""
    for i, argument in enumerate(arguments):
        if argument == name and i + 1 < len(arguments):
            return arguments[i + 1]
        if argument.startswith(f"{name}="):
            return argument.removeprefix(f"{name}=")
    return None


def _commands(arguments: Sequence[str]) -> Any:
    """The union of all commands, with the defaults that suit the environment named in the arguments."""
    command = arguments[0] if arguments else ""
    env = _option(arguments, "--env") or env_of(_option(arguments, "--teacher"))
    algorithm = "ppo"
    if command == "train" and len(arguments) > 1 and not arguments[1].startswith("-"):
        algorithm = arguments[1]
        if algorithm not in BASELINES:
            raise ValueError(closest("algorithm", algorithm, BASELINES))
    if command == "evaluate" and env is None:
        env = next((found for argument in arguments[1:] if (found := env_of(argument))), None)
    common = Common(env=env)
    known = env or ""
    student = config_for(Architecture, "student", known)
    kind = BASELINES[algorithm].config
    missing = tyro.MISSING
    defaults: dict[str, tuple[Any, Any]] = {
        "train": (Train[kind], Train(missing, common, config_for(kind, algorithm, known))),  # type: ignore[valid-type]
        "clone": (
            Clone,
            Clone(common=common, student=student, config=config_for(BehaviourCloningConfig, "clone", known)),
        ),
        "dagger": (
            DAggerCommand,
            DAggerCommand(missing, common=common, student=student, config=config_for(DAggerConfig, "dagger", known)),
        ),
        "distill": (
            Distill,
            Distill(
                missing,
                common=common,
                student=config_for(Architecture, "small_student", known),
                config=config_for(PolicyDistillationConfig, "distill", known),
            ),
        ),
        "evaluate": (Evaluate, Evaluate(missing, env=env)),
        "calibrate": (Calibrate, Calibrate(missing)),
        "demo": (Demo, Demo()),
        "condition": (Condition, Condition()),
        "fit": (FitCommand, FitCommand(missing, missing)),
        "list": (List, List()),
    }
    return functools.reduce(
        operator.or_,
        (Annotated[kind, tyro.conf.subcommand(name, default=default)] for name, (kind, default) in defaults.items()),
    )


def _parse(arguments: Sequence[str]) -> Any:
    """The command that the arguments describe.

    Raises:
        ValueError: They describe none; tyro's box about it is condensed to one line.
    """
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(
                _commands(arguments),
                args=arguments or ["--help"],
                prog="imitate",
                description="Teach a policy with a policy: behaviour cloning, DAgger, distillation, and RL baselines.",
                config=(
                    tyro.conf.OmitArgPrefixes,
                    tyro.conf.OmitSubcommandPrefixes,
                    tyro.conf.FlagCreatePairsOff,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            raise
        text = complaint.getvalue().splitlines()
        # Where the terminal has no characters for a box, a title and a rule stand above instead.
        boxed = any(line.startswith("│") for line in text)
        lines = (
            [line.strip(" │") for line in text if line.startswith("│")]
            if boxed
            else [line.strip() for line in text[2:]]
        )
        if not lines:
            raise ValueError(complaint.getvalue().strip() or "the arguments cannot be read; see --help.") from None
        rules = [i for i, line in enumerate(lines) if line and set(line) <= {"─", "-"}]
        message = " ".join(lines[: rules[0] if rules else None]).rstrip(".").replace("__tyro-dummy-inner__.", "")
        hint = next((lines[i + 1].split()[0] for i, line in enumerate(lines[:-1]) if line.startswith("Perhaps")), None)
        named = arguments[:2] if arguments[0] == "train" else [one for one in arguments[:1] if one in COMMANDS]
        where = " ".join(["imitate", *(one for one in named if not one.startswith("-")), "--help"])
        near = f"; did you mean {hint}?" if hint else "."
        raise ValueError(f"{message}{near} See {where}.") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 if all is well; 2 after one line on standard error about what is wrong with the input.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
            raise ValueError(closest("command", arguments[0], COMMANDS))
        command = _parse(arguments)
        keep_freed()
        command()
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"imitate: {' '.join(str(error).split())}", file=sys.stderr)  # whatever it says, in one line
        return 2
    except KeyboardInterrupt:
        print("imitate: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
