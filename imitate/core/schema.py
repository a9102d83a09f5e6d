"""What a JSON document says, as the annotations of a dataclass want it."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, cast, get_args, get_origin, get_type_hints

from imitate.core.reading import line

__all__ = ["of_json"]


def of_json(hint: Any, value: Any, name: str) -> Any:
    """A value of a document as a type hint wants it: lists become tuples, objects dataclasses.

    An object of several possible dataclasses says which by its "kind".

    Args:
        hint: bool, int, float, str, Path, None, Any, and tuples, unions, literals and dataclasses of them.
        value: What the document holds.
        name: What messages call it.

    Raises:
        ValueError: It is of another kind, or an object has fields that are unknown.
    """
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return of_json(inner[0], value, name)
    if origin in (Union, UnionType):
        for option in inner:
            with suppress(ValueError):
                return of_json(option, value, name)
    elif is_dataclass(hint):
        if isinstance(value, dict) and value.get("kind", _name(hint)) == _name(hint):
            return _made(hint, {key: part for key, part in value.items() if key != "kind"}, name)
    elif origin is tuple:
        every = inner[:1] * len(value) if isinstance(value, list) and inner[-1] is Ellipsis else inner
        if isinstance(value, list) and len(value) == len(every):
            return tuple(of_json(each, part, name) for each, part in zip(every, value, strict=True))
    elif origin is Literal:
        if any(type(value) is type(choice) and value == choice for choice in inner):
            return value
    elif hint is float:
        if type(value) in (int, float) or value in ("inf", "-inf"):  # JSON has no infinity
            return float(value)
    elif hint is Path:
        if isinstance(value, str):
            return Path(value)
    elif hint is Any or type(value) is (NoneType if hint is None else hint):
        return value
    raise ValueError(f"{name}: {line(json.dumps(value))} does not fit")


def _made(hint: Any, document: dict[str, Any], name: str) -> Any:
    unknown = document.keys() - {field.name for field in fields(hint)}
    if unknown:
        raise ValueError(f"{name}: there is no {line(', '.join(sorted(unknown)))}")
    hints = get_type_hints(hint, include_extras=True)
    return cast(Any, hint)(**{key: of_json(hints[key], part, key) for key, part in document.items()})


def _name(hint: Any) -> str:
    return cast(str, hint.__name__)
