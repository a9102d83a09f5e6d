"""The models that the phenomena are tried on, by name."""

from __future__ import annotations

from imitate.conditioning.models import MODELS
from imitate.conditioning.phenomena import Contender
from imitate.core.config import checked

__all__ = ["ALL", "CONTENDERS", "all_but", "only"]

CONTENDERS: dict[str, Contender] = {name: Contender(model) for name, model in MODELS.items()}
# Compounds as cues of their own, with the product of their elements' saliences.
CONTENDERS["rescorla-wagner-unique"] = Contender(MODELS["rescorla-wagner"], configural=True)

ALL = frozenset(CONTENDERS)


@checked
def only(*names: str) -> frozenset[str]:
    """These contenders."""
    return ALL & {*names}


@checked
def all_but(*names: str) -> frozenset[str]:
    """The others."""
    return ALL - {*names}
