"""Arguments held to their annotations: fields of configs, and parameters of functions.

    lr: NonNegative[PerMember] = 1e-3

What a value can be stands with its type. A frozen dataclass calls `check(self)` in its `__post_init__`; a public
function is `@checked`. Every message begins with the name of the argument.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Collection, Hashable, Mapping
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import lru_cache, wraps
from inspect import signature
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
import torch

__all__ = ["Bound", "Count", "NonNegative", "Positive", "Proper", "Share", "Told", "check", "checked"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
LARGEST = 2**63  # what a whole number stays below: in the end it is one of a tensor


@dataclass(frozen=True)
class Bound:
    """What a number must be.

    Args:
        holds: Whether it is.
        words: In words, as they end "must be …".
    """

    holds: Callable[[float], bool]
    words: str


Count = Annotated[int, Bound(lambda x: x >= 1, "at least 1")]
NonNegative = Annotated[T, Bound(lambda x: x >= 0, "at least 0")]
Positive = Annotated[T, Bound(lambda x: x > 0, "positive")]
Proper = Annotated[T, Bound(lambda x: 0 <= x < 1, "in [0, 1)")]
Share = Annotated[T, Bound(lambda x: 0 <= x <= 1, "in [0, 1]")]
Told = Annotated[T, "told"]  # not looked at: the function itself says best what it takes

Fault = tuple[str, Any]  # what a value, or a part of it, must be, and that part


@dataclass(frozen=True)
class _Kind:
    """What an annotation says of a value.

    Args:
        words: What it must be, as it ends "must be …".
        fault: What is wrong with a value; None if nothing is. `words` themselves where it is of another type.
    """

    words: str
    fault: Callable[[Any], Fault | None]


def check(config: Any) -> None:
    """Raise ValueError unless the fields of a config are of their types, finite and within their bounds.

    A tuple, such as one value a member, is looked at value by value, and a config within the config field by field.
    """
    for name, kind in _kinds(cast(Hashable, type(config))).items():
        value = getattr(config, name)
        if not (value is None and getattr(type(config), name, ...) is None):  # where it stands for what follows later
            _hold(name, kind, value)
    for name in vars(config):
        if is_dataclass(value := getattr(config, name)) and not isinstance(value, type):
            check(value)


def checked(function: F) -> F:
    """A function that raises ValueError unless the arguments it is given are of their types and within their bounds.

    Types that say nothing at run time, such as type variables, are not looked at, and neither are defaults.
    """
    names = list(signature(function).parameters)

    @wraps(function)
    def held(*args: Any, **kwargs: Any) -> Any:
        kinds = _kinds(function)
        for name, value in (*zip(names, args, strict=False), *kwargs.items()):
            if name in kinds:
                _hold(name, kinds[name], value)
        return function(*args, **kwargs)

    return cast(F, held)


def _hold(name: str, kind: _Kind, value: Any) -> None:
    fault = kind.fault(value)
    if fault is None:
        return
    words, shown = fault[0], _shown(fault[1])
    if words.startswith(_ONE_OF):
        raise ValueError(f"{name}: {shown} is none of {words.removeprefix(_ONE_OF)}.")
    raise ValueError(f"{name}: must be {words}, not {shown}.")


@lru_cache(maxsize=1024)
def _kinds(what: Any) -> dict[str, _Kind]:
    """What the annotations of a dataclass or a function say, by name; without those that say nothing."""
    hints = get_type_hints(what, include_extras=True)
    names = (
        [field.name for field in fields(what) if field.init]
        if isinstance(what, type)
        else [n for n in hints if n != "return"]
    )
    found = {name: _kind(hints[name]) for name in names}
    return {name: kind for name, kind in found.items() if kind is not None}


def _kind(hint: Any) -> _Kind | None:
    """What an annotation says; None where it says nothing that can be looked at."""
    if hint is Any:
        return None
    if isinstance(hint, TypeVar):
        return None if hint.__bound__ is None else _kind(hint.__bound__)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if "told" in args[1:]:
            return None
        bounds = [found for found in args[1:] if isinstance(found, Bound)]
        return _bounded(_kind(args[0]), bounds)
    if origin in (Union, types.UnionType):
        parts = [one for one in args if not (one is str and torch.device in args)]  # the text is the name of a device
        return _either([_kind(one) for one in parts])
    if origin is Literal:
        known = ", ".join(map(str, args))
        return _plain(f"{_ONE_OF}{known}", lambda value: any(type(value) is type(one) and value == one for one in args))
    if hint in (None, type(None)):
        return _plain("None", lambda value: value is None)
    if hint is bool:
        return _plain("True or False", lambda value: isinstance(value, (bool, np.bool_)))
    if hint is int:
        return _Kind("a whole number", _integer_fault)
    if hint is float:
        return _Kind("a number", _float_fault)
    if hint is str:
        return _plain("a text", lambda value: isinstance(value, str))
    kind = origin or hint
    if kind is torch.device:
        return _plain("a device", _is_device)
    if not isinstance(kind, type) or kind is object:
        return None
    if getattr(kind, "_is_protocol", False):
        return _protocol(kind)
    if kind.__name__ == "Callable":
        return _plain("a function", callable)
    if issubclass(kind, type):
        return _plain("a class", lambda value: isinstance(value, type))
    if issubclass(kind, Mapping) and len(args) == 2:
        return _mapping(_article(kind.__name__), *map(_kind, args))
    if issubclass(kind, Collection) and args and kind.__module__ in _PLAIN:
        return _several(kind, [_kind(one) for one in args if one is not Ellipsis])
    if hasattr(kind, "dims") and hasattr(kind, "array_type"):  # of jaxtyping: the tensor that it describes
        return _kind(kind.array_type)
    return _plain(_article(kind.__name__), lambda value: isinstance(value, kind))


_PLAIN = ("builtins", "collections.abc")
_ONE_OF = "one of "


def _plain(words: str, holds: Callable[[Any], bool]) -> _Kind:
    return _Kind(words, lambda value: None if holds(value) else (words, value))


def _is_device(value: Any) -> bool:
    """Whether it is a device or names one, which need not be there; "auto" is that of `make`."""
    if not isinstance(value, str) or value == "auto":
        return isinstance(value, (str, torch.device))
    try:
        torch.device(value)
    except RuntimeError:
        return False
    return True


def _integer_fault(value: Any) -> Fault | None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Integral):
        return "a whole number", value
    return None if -LARGEST <= int(value) < LARGEST else ("less than 2^63", value)


def _float_fault(value: Any) -> Fault | None:
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        return "a number", value
    if isinstance(value, Integral):  # which in the end is converted by torch
        return _integer_fault(value)
    return None if math.isfinite(float(value)) else ("finite", value)


def _bounded(kind: _Kind | None, bounds: list[Bound]) -> _Kind | None:
    """The same with bounds, on each number of a tuple."""
    if kind is None or not bounds:
        return kind

    def fault(value: Any) -> Fault | None:
        found = kind.fault(value)
        if found is not None or value is None:
            return found
        numbers = value if isinstance(value, (tuple, list)) else (value,)
        return next(((bound.words, x) for x in numbers for bound in bounds if not bound.holds(float(x))), None)

    return _Kind(kind.words, fault)


def _either(kinds: list[_Kind | None]) -> _Kind | None:
    """One of several; where one is of the right type, what that one finds wrong."""
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(kinds):
        return None
    *first, last = dict.fromkeys(kind.words for kind in known)
    words = f"{', '.join(first)} or {last}" if first else last

    def fault(value: Any) -> Fault | None:
        found = [kind.fault(value) for kind in known]
        if None in found:
            return None
        within = (one for one, kind in zip(found, known, strict=True) if one is not None and one[0] != kind.words)
        return next(within, (words, value))

    return _Kind(words, fault)


def _several(kind: type, parts: list[_Kind | None]) -> _Kind:
    """A collection; its members are looked at where it is a tuple, a list or a set."""
    part = parts[0] if len(set(map(id, parts))) == 1 or len(parts) == 1 else None
    listed = issubclass(kind, (tuple, list))
    words = f"{'a tuple' if listed else 'several'} of {_plural(part.words)}" if part else _article(kind.__name__)

    def fault(value: Any) -> Fault | None:
        if isinstance(value, (str, bytes)) or not isinstance(value, (tuple, list) if listed else kind):
            return words, value
        if part is None or not isinstance(value, (tuple, list, set, frozenset)):
            return None
        found = next((found for one in value if (found := part.fault(one)) is not None), None)
        return found and ((words, value) if found[0] == part.words else found)

    return _Kind(words, fault)


def _mapping(words: str, keys: _Kind | None, values: _Kind | None) -> _Kind:
    """A mapping; the types of its keys and values are looked at, and what these are in the end is told by its name."""

    def fault(value: Any) -> Fault | None:
        if not isinstance(value, Mapping):
            return words, value
        parts = [(kind, one) for kind, all_ in ((keys, value), (values, value.values())) if kind for one in all_]
        found = (fault for kind, one in parts if (fault := kind.fault(one)) is not None and fault[0] == kind.words)
        return next(found, None)

    return _Kind(words, fault)


def _protocol(kind: Any) -> _Kind:
    """Whatever has a member of a protocol: a part of it may do, and who needs another one says which."""
    names = frozenset(
        name
        for base in kind.__mro__
        if getattr(base, "_is_protocol", False)
        for name in (*vars(base), *vars(base).get("__annotations__", ()))
        if not name.startswith("_") or name == "__call__"
    )
    return _plain(
        _article(kind.__name__),
        lambda value: (
            not isinstance(value, torch.Tensor)  # which has methods of many names
            and (_has_one(cast(Hashable, type(value)), names) or any(hasattr(value, name) for name in names))
        ),
    )


@lru_cache(maxsize=1024)
def _has_one(kind: Any, names: frozenset[str]) -> bool:
    """Whether a class has one of some names; a property is not asked for a value."""
    return any(hasattr(kind, name) for name in names)


def _plural(words: str) -> str:
    return f"{words.removeprefix('a ').removeprefix('an ')}s"


def _article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"


def _shown(value: Any) -> str:
    """A value in a message: numbers and words as they are, of the rest its type."""
    if value is None or isinstance(value, (bool, np.bool_)):
        return str(value)
    if isinstance(value, int) and abs(value) >= LARGEST:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, Real):
        return str(value)
    if isinstance(value, (str, tuple, list)) and len(text := repr(value)) <= 80:
        return text
    return _article(type(value).__name__)


def as_json(config: Any) -> dict[str, Any]:
    """A config as JSON can hold it: tuples are lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
