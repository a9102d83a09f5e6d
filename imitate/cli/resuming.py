"""Runs that go on: run.json, the options that a resumed run takes from it, and what is changed by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

from tyro.conf import Positional

from imitate.cli.parsing import option, read
from imitate.core import reading, tree
from imitate.core.names import closest
from imitate.core.options import agreed, plain
from imitate.core.reading import refusing
from imitate.core.schema import of_json

__all__ = ["as_before", "changed", "document_of", "folder", "learning_rate", "options_of", "run_before"]

C = TypeVar("C")


def folder(name: str, env: str) -> Path:
    """Where a run goes by default."""
    return Path("runs") / f"{name}-{env.replace('/', '-')}"


def options_of(command: Any) -> dict[str, Any]:
    """What shapes the run, for run.json: all but the common options."""
    return {field.name: plain(getattr(command, field.name)) for field in fields(command) if field.name != "common"}


def changed(config: C, changes: Sequence[str]) -> C:
    """A config with other numbers.

    Args:
        config: A frozen dataclass.
        changes: NAME=VALUE each, as on the command line; PART.NAME=VALUE for a config within the config.

    Raises:
        ValueError: A name is none of the config's, or a value does not fit it.
    """
    known, positional = _hyper_parameters(type(config)), cast(Any, Positional)
    values: dict[str, Any] = {}
    for change in changes:
        name, equals, text = change.partition("=")
        name = name.replace("-", "_")
        if not equals:
            raise ValueError(f"change: '{change}' is no NAME=VALUE, as lr=1e-4 is.")
        if name not in known:
            raise ValueError(closest("change", name, known))
        try:
            values[name] = read(positional[known[name]], text.split(","), prog=name)
        except ValueError as error:
            raise ValueError(f"change: '{text}' is no value for {name}.") from error
    return _replaced(config, tree.unflatten(values))


def learning_rate(config: Any) -> str:
    """What the learning rate of a config is called: lr, that of a part of it, or the step size α of a table."""
    names = _hyper_parameters(type(config)) if is_dataclass(config) else {}
    return next((name for last in ("lr", "alpha") for name in names if name.rpartition(".")[2] == last), "lr")


def _hyper_parameters(kind: type[Any], prefix: str = "") -> dict[str, Any]:
    """The types of a config's fields by their names, those of configs within it as PART.NAME; no schedules."""
    found: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            found |= _hyper_parameters(cast("type[Any]", hint), f"{prefix}{name}.")
        elif not any(is_dataclass(one) for one in get_args(hint)):
            found[f"{prefix}{name}"] = hint
    return found


def _replaced(config: C, values: Mapping[str, Any]) -> C:
    new = {
        name: _replaced(getattr(config, name), value) if isinstance(value, dict) else value
        for name, value in values.items()
    }
    return replace(config, **new)  # type: ignore[type-var]


def run_before(arguments: Sequence[str], name: str, env: str | None) -> dict[str, Any]:
    """The run.json of the run that the arguments resume; empty if they resume none, or one of another command.

    Raises:
        ValueError: It was not written by imitate.
    """
    out = option(arguments, "--out")
    if "--resume" not in arguments or (out is None and env is None):
        return {}
    path = (folder(name, env or "") if out is None else Path(out)) / "run.json"
    try:
        document = _json_of(path)
    except OSError:
        return {}  # whoever goes on with the run says what is wrong with it
    return document if document.get("command") == name else {}


def _json_of(path: Path) -> dict[str, Any]:
    with refusing(f"resume: '{path}' was not written by imitate"):
        return reading.document(path)


def as_before(default: C, run: Mapping[str, Any]) -> C:
    """A command's defaults, with the options of a run that is resumed in their place.

    Raises:
        ValueError: An option is of another kind.
    """
    if not run:
        return default
    with refusing("resume: run.json does not fit this version"):
        common = {name: run[name] for name in ("env", "members", "seed", "num_envs") if name in run}
        filled: Any = _filled(default, run)
        if not hasattr(filled, "common"):
            return cast(C, filled)
        return replace(filled, common=_filled(filled.common, common))  # type: ignore[no-any-return]


def _filled(default: Any, options: Mapping[str, Any]) -> Any:
    hints = get_type_hints(type(default))
    names = [field.name for field in fields(default) if field.name in options]
    return replace(
        default, **{name: _typed(options[name], getattr(default, name), hints[name], name) for name in names}
    )


def _typed(value: Any, default: Any, hint: Any, name: str) -> Any:
    """A value of run.json as its dataclass holds it; what an object does not say is as in the default."""
    if isinstance(value, dict) and is_dataclass(default):
        kinds = {kind.__name__: kind for kind in get_args(hint)}
        kind = kinds.get(value.get("kind", ""), type(default))
        return _filled(default if isinstance(default, kind) else kind(), value)
    return of_json(type(default) if isinstance(hint, TypeVar) else hint, value, name)


def document_of(out: Path, options: Mapping[str, Any], changes: Sequence[str]) -> dict[str, Any]:
    """What run.json is to hold: the options, and the changes that a run which is resumed has gone through.

    Raises:
        ValueError: The folder holds a run with other options, and those are not changed by name.
    """
    from imitate.core.checkpoint import describe, exists

    path = out / "run.json"
    if not (path.exists() and exists(out, "checkpoint")):
        return dict(options)
    before, step = _json_of(path), describe(out, "checkpoint").get("steps")
    found = agreed(before, options, changes, refusal=f"resume: '{out}' was made with other options")
    with refusing(f"resume: '{path}' was not written by imitate"):
        past = [dict(change) for change in before.get("changes", ())]
        if any(not isinstance(change.get("option"), str) for change in past):
            raise ValueError("a change names no option")
    past += [
        {"step": step, "option": key.removeprefix("config."), "before": old, "now": new}
        for key, (old, new) in found.items()
    ]
    return {**options, **({"changes": past} if past else {})}
