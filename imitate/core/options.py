"""Options of a run as JSON, and how those of two runs differ."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from imitate.core import tree
from imitate.core.reading import line

__all__ = ["agreed", "plain"]


def plain(value: Any) -> Any:
    """A config, or another value, as JSON holds it.

    A dataclass within a config says its `kind`. A function or an object is its qualified name, so that two processes
    write the same.
    """
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _part(getattr(value, field.name)) for field in fields(value)}
    return _part(value)


def _part(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__, **plain(value)}
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): _part(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_part(one) for one in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return _part(value.tolist())
    named = value if hasattr(value, "__qualname__") else type(value)
    return f"{named.__module__}.{named.__qualname__}"


def agreed(
    before: Mapping[str, Any], now: Mapping[str, Any], changed: Collection[str], *, refusal: str
) -> dict[str, tuple[Any, Any]]:
    """Hyper-parameters in which a run that goes on differs from what it was, all of them allowed.

    A hyper-parameter may differ if it is named in `changed`; `steps` may also grow. Options that only one side knows
    are of another version, and are not compared.

    Args:
        before: Options of the run so far, as `plain` makes them; hyper-parameters are under "config".
        now: Options that it goes on with.
        changed: Names of hyper-parameters that may differ; of a part of a config, "ppo.lr", or "ppo" for all of it.
        refusal: How the sentence about other differences begins.

    Returns:
        Former and new value by dotted name, such as "config.lr".

    Raises:
        ValueError: Something else differs.
    """
    old, new = (dict(tree.flatten(dict(options))) for options in (before, now))
    different = {key: (old[key], new[key]) for key in new if key in old and old[key] != new[key]}
    refused = {key: pair for key, pair in different.items() if not _allowed(key, pair, changed)}
    if refused:
        said = "; ".join(f"{key} {one}, now {other}" for key, (one, other) in refused.items())
        raise ValueError(f"{refusal}: {line(said)}.")
    return different


def _allowed(key: str, pair: tuple[Any, Any], changed: Collection[str]) -> bool:
    section, _, name = key.partition(".")
    if section != "config":
        return False
    named = any(name == one or name.startswith(f"{one}.") for one in changed)
    more = name.rpartition(".")[2] == "steps" and all(type(steps) is int for steps in pair) and pair[1] > pair[0]
    return named or more
