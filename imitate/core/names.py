"""What to say about a name that is not known."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["closest"]


def closest(what: str, name: str, known: Iterable[str]) -> str:
    """One line about an unknown name, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
    return f"{what}: '{name}' is unknown; {hint}"
