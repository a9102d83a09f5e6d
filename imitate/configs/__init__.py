"""Tuned settings, one JSON file an environment; what the command line uses by default.

A file holds `num_envs`, and by the name of a command the fields of that command's config:
`ppo`, `clone`, `dagger`, `distill`, `gail`, `student` (fields of `Architecture`), those of the baselines. A config
within a config, such as the `ppo` of `gail`, is a section within its section. With `base` a section adds to another
one. Games share a file: those of the Arcade Learning Environment, `ALE/<Game>-v5`, the file `ALE.json`, those of
MinAtar, `MinAtar/<Game>-v0` and -v1, the file `MinAtar.json`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from importlib import resources
from typing import Any, TypeVar

__all__ = ["available", "config_for", "settings"]

_FAMILIES = ("ALE", "MinAtar")

C = TypeVar("C")


def available() -> list[str]:
    """Ids of the environments with tuned settings."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".json") for file in files if file.name.endswith(".json"))


def settings(env: str) -> dict[str, Any]:
    """All settings for an environment; empty where there are none."""
    env = env.removeprefix("imitate/")  # an id of ours, as Gymnasium registers it
    family = env.partition("/")[0]
    env = family if family in _FAMILIES else env
    if env not in available():
        return {}
    loaded: dict[str, Any] = json.loads((resources.files(__name__) / f"{env}.json").read_text("utf-8"))
    return loaded


def config_for(kind: type[C], name: str, env: str) -> C:
    """The config of a command for an environment: its tuned fields, and defaults for the rest.

    Raises:
        ValueError: The file names a field that the config lacks.
    """
    tuned = dict(settings(env).get(name, {}))
    if "base" in tuned:
        tuned = {**settings(env)[tuned.pop("base")], **tuned}
    return _tuned(kind(), tuned, f"configs/{env}.json: {name}")


def _tuned(default: C, tuned: Mapping[str, Any], where: str) -> C:
    """A config with other fields, those of its parts too."""
    unknown = tuned.keys() - {field.name for field in fields(default)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{where} has no {', '.join(sorted(unknown))}.")
    values = {
        key: _tuned(getattr(default, key), value, f"{where}.{key}")
        if isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in tuned.items()
    }
    return replace(default, **values)  # type: ignore[type-var]
