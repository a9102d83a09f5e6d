"""The library of phenomena, by name."""

from imitate.conditioning.phenomena import Phenomenon
from imitate.conditioning.phenomena_compound import COMPOUND
from imitate.conditioning.phenomena_single import SINGLE

__all__ = ["PHENOMENA"]

PHENOMENA: dict[str, Phenomenon] = {**SINGLE, **COMPOUND}
