"""Methods that do not keep their object alive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakMethod

__all__ = ["Weak"]

Y = TypeVar("Y")


class Weak(Generic[Y]):
    """A bound method for what its object itself holds, such as the loss of an algorithm for the learner in it.

    A strong one would close a cycle. What is in a cycle waits for the garbage collector, which counts objects and not
    bytes: it may leave the replays of many dropped runs in memory before it looks.

    Args:
        method: The method.

    Raises:
        ReferenceError: At a call: the object is gone.
    """

    def __init__(self, method: Callable[..., Y]) -> None:
        self._method: WeakMethod[Callable[..., Y]] = WeakMethod(method)

    def __call__(self, *args: Any) -> Y:
        """Call the method."""
        return self._alive()(*args)

    def __reduce__(self) -> tuple[type[Weak[Y]], tuple[Callable[..., Y]]]:
        """A copy belongs to the copy of the object."""
        return Weak, (self._alive(),)

    def _alive(self) -> Callable[..., Y]:
        method = self._method()
        if method is None:
            raise ReferenceError("learner: what it belongs to is gone; keep the algorithm for as long as its learner.")
        return method
