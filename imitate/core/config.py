"""Configs that check themselves: what a number can be stands with its type.

    lr: NonNegative[PerMember] = 1e-3

A frozen dataclass calls `check(self)` in its `__post_init__`. Every message begins with the name of the field.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable
from dataclasses import asdict, dataclass, fields
from functools import lru_cache
from numbers import Real
from typing import Annotated, Any, TypeVar, cast, get_type_hints

__all__ = ["Bound", "Count", "NonNegative", "Positive", "Proper", "Share", "check"]

T = TypeVar("T")


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


def check(config: Any) -> None:
    """Raise ValueError unless every number of a config is finite and what its annotation says.

    A tuple, such as one value a member, is looked at value by value.
    """
    for name, bounds in _bounds(cast(Hashable, type(config))):
        value = getattr(config, name)
        numbers = value if isinstance(value, tuple) else (value,)
        for number in numbers:
            if isinstance(number, bool) or not isinstance(number, Real):
                continue
            if not math.isfinite(float(number)):
                raise ValueError(f"{name}: must be finite, not {number}.")
            for bound in bounds:
                if not bound.holds(float(number)):
                    raise ValueError(f"{name}: must be {bound.words}, not {number}.")


@lru_cache(maxsize=256)
def _bounds(kind: Any) -> tuple[tuple[str, tuple[Bound, ...]], ...]:
    """The fields of a config, each with the bounds in its annotation."""
    hints = get_type_hints(kind, include_extras=True)
    return tuple(
        (
            field.name,
            tuple(found for found in getattr(hints[field.name], "__metadata__", ()) if isinstance(found, Bound)),
        )
        for field in fields(kind)
    )


def as_json(config: Any) -> dict[str, Any]:
    """A config as JSON can hold it: tuples are lists."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(config).items()}
