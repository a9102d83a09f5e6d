"""Spaces: what an observation or an action can be. Frozen, hashable, and free of any library's classes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Box", "Dict", "Discrete", "MultiBinary", "MultiDiscrete", "Space", "Tuple"]


@dataclass(frozen=True)
class Discrete:
    """One of n choices, counted from 0 here; an environment of Gymnasium's may call the first one `start`."""

    n: int
    start: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one element."""
        return ()

    def __str__(self) -> str:
        return f"Discrete({self.n})" if self.start == 0 else f"Discrete({self.n}, start={self.start})"


@dataclass(frozen=True)
class MultiDiscrete:
    """Several choices at once, each counted from 0 here.

    Args:
        nvec: How many choices there are at each place.
        start: What an environment of Gymnasium's calls the first of each; all 0 by default.
        outer: Shape that it has there; one axis by default.
    """

    nvec: tuple[int, ...]
    start: tuple[int, ...] = ()
    outer: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.nvec:
            raise ValueError("MultiDiscrete: at least one place.")
        for name, empty in (("start", (0,) * len(self.nvec)), ("outer", (len(self.nvec),))):
            object.__setattr__(self, name, getattr(self, name) or empty)
        if len(self.start) != len(self.nvec) or math.prod(self.outer) != len(self.nvec):
            raise ValueError(f"MultiDiscrete: {len(self.nvec)} places, start {self.start}, shape {self.outer}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one element: flat."""
        return (len(self.nvec),)

    def __str__(self) -> str:
        return f"MultiDiscrete{self.nvec}"


@dataclass(frozen=True)
class MultiBinary:
    """Bits of one shape."""

    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"MultiBinary{self.shape}"


@dataclass(frozen=True)
class Box:
    """Arrays of one shape with bounds, one for all entries or one an entry.

    Args:
        shape: Shape of one element. Observations have it; actions are flat here, and take it where they leave.
        low: Lower bound, a number or a row-major tuple with one number an entry.
        high: Upper bound, likewise.
    """

    shape: tuple[int, ...]
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            bound = getattr(self, name)
            if isinstance(bound, tuple) and len(bound) != math.prod(self.shape):
                raise ValueError(
                    f"Box: {name} has {len(bound)} entries, shape {self.shape} needs {math.prod(self.shape)}."
                )

    @property
    def bounded(self) -> bool:
        """Whether every bound is finite."""
        bounds = [b for bound in (self.low, self.high) for b in (bound if isinstance(bound, tuple) else (bound,))]
        return all(math.isfinite(b) for b in bounds)

    def __str__(self) -> str:
        return f"Box{self.shape}"


@dataclass(frozen=True)
class Dict:
    """Elements of several spaces, by name; an element is a dict of tensors."""

    spaces: tuple[tuple[str, Space], ...]

    @classmethod
    def of(cls, spaces: Mapping[str, Space]) -> Dict:
        """From a mapping, in its order."""
        return cls(tuple(spaces.items()))

    @property
    def named(self) -> dict[str, Space]:
        """Its spaces by name."""
        return dict(self.spaces)

    def __str__(self) -> str:
        return f"Dict({', '.join(f'{name}: {space}' for name, space in self.spaces)})"


@dataclass(frozen=True)
class Tuple:
    """Elements of several spaces, in order; an element is a tuple of tensors."""

    spaces: tuple[Space, ...]

    def __str__(self) -> str:
        return f"Tuple({', '.join(map(str, self.spaces))})"


Space = Discrete | MultiDiscrete | MultiBinary | Box | Dict | Tuple
