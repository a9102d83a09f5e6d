"""Views of students on the command line: keep:0,2 noise:0.1 delay:2 stack:4, in the order in which they are seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from imitate.core.names import closest
from imitate.core.types import Source
from imitate.core.views import Delay, Noise, Select, Stack, View
from imitate.core.wrappers import Viewed

__all__ = ["viewed"]


def viewed(source: Source, texts: Sequence[str]) -> Source:
    """A source behind the views that texts describe; itself behind none.

    Raises:
        ValueError: A text describes no view, or there is no such view of these observations.
    """
    for text in texts:
        view = _view(text)
        try:
            source = Viewed(source, view)
        except ValueError as error:
            raise ValueError(f"student_view: {text}: {error}") from error
    return source


def _view(text: str) -> View:
    name, _, numbers = text.partition(":")
    if name not in _VIEWS:
        raise ValueError(closest("student_view", name, _VIEWS))
    make, kind = _VIEWS[name]
    try:
        found = tuple(kind(number) for number in numbers.split(","))
    except ValueError:
        example = "keep:0,2" if name == "keep" else f"{name}:{'0.1' if name == 'noise' else '2'}"
        raise ValueError(f"student_view: '{text}' has no numbers behind the colon, as {example} has.") from None
    try:
        return make(found)
    except ValueError as error:
        raise ValueError(f"student_view: {text}: {error}") from error


def _one(numbers: tuple[Any, ...]) -> Any:
    if len(numbers) != 1:
        raise ValueError(f"one number, not {len(numbers)}.")
    return numbers[0]


# By name: what is made of the numbers behind it, and which numbers those are.
_VIEWS: dict[str, tuple[Callable[[tuple[Any, ...]], View], type[int | float]]] = {
    "keep": (Select, int),
    "noise": (lambda numbers: Noise(numbers if len(numbers) > 1 else numbers[0]), float),
    "delay": (lambda numbers: Delay(_one(numbers)), int),
    "stack": (lambda numbers: Stack(_one(numbers)), int),
}
