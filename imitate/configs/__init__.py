"""Tuned settings, one JSON file an environment; what the command line uses by default.

A file holds `num_envs`, and by the name of a command the fields of that command's config:
`ppo`, `clone`, `dagger`, `distill`, `gail`, `airl`, `viper`, `student` (fields of `Architecture`), those of the
baselines. A config within a config, such as the `ppo` of `gail`, is a section within its section. With `base` a section
adds to another one. Games share a file: those of the Arcade Learning Environment, `ALE/<Game>-v5`, the file `ALE.json`,
those of MinAtar, `MinAtar/<Game>-v0` and -v1, the file `MinAtar.json`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from importlib import resources
from typing import Any, TypeVar, cast, get_type_hints

from imitate.core.reading import decoded, refusing, sound
from imitate.core.schema import of_json

__all__ = ["available", "config_for", "settings", "tuned"]

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
    with refusing(f"configs/{env}.json"):
        loaded = decoded((resources.files(__name__) / f"{env}.json").read_bytes())
        sound(loaded)
    return cast("dict[str, Any]", loaded)


def config_for(kind: type[C], name: str, env: str) -> C:
    """The config of a command for an environment: its tuned fields, and defaults for the rest.

    Raises:
        ValueError: The file names a field that the config lacks, or has a value of another kind for one.
    """
    section = dict(settings(env).get(name, {}))
    if "base" in section:
        section = {**settings(env)[section.pop("base")], **section}
    return tuned(kind(), section, f"configs/{env}.json: {name}")


def tuned(default: C, section: Mapping[str, Any], where: str) -> C:
    """A config with the fields of a section, those of its parts too.

    Raises:
        ValueError: A field is unknown, or a value of another kind.
    """
    unknown = section.keys() - {field.name for field in fields(default)}  # type: ignore[arg-type]
    if unknown:
        raise ValueError(f"{where} has no {', '.join(sorted(unknown))}.")
    hints = get_type_hints(type(default))
    values = {
        key: tuned(getattr(default, key), value, f"{where}.{key}")
        if isinstance(value, dict) and is_dataclass(getattr(default, key))
        else of_json(hints[key], value, f"{where}.{key}")
        for key, value in section.items()
    }
    return replace(default, **values)  # type: ignore[type-var]
