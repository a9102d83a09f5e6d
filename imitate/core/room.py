"""Whether there is room for what is about to be allocated: estimated first, so that a slip of the keyboard is told.

Estimates count what is certainly needed, so nothing that fits is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from imitate.core.actions import width
from imitate.core.memory import available, mebibytes
from imitate.core.spec import Spec
from imitate_envs.base import Dict, Space, Tuple

__all__ = ["admit", "admit_steps"]


def admit(what: str, need: float, sizes: Mapping[str, int], device: torch.device | str) -> None:
    """Refuse what does not fit into memory.

    Args:
        what: Is about to be allocated, as it begins "… would take".
        need: Bytes of it, at the least.
        sizes: The arguments that say how much it is; the largest of them is to blame.
        device: Where it will be.

    Raises:
        ValueError: It takes more than is free.
    """
    free = available(device)
    if free is None or need <= free:
        return
    name = max(sizes, key=lambda one: sizes[one])
    takes = mebibytes(int(need)) if math.isfinite(need) else "more than can be addressed"
    raise ValueError(
        f"{name}: {sizes[name]:,} is too much; {what} would take {takes}, but {device} has {mebibytes(free)} free."
    )


def admit_steps(spec: Spec, sizes: Mapping[str, int], *, seen: int = 2) -> None:
    """Refuse more steps of a source than fit into memory.

    Args:
        spec: Of the source.
        sizes: The arguments whose product is the number of steps.
        seen: Observations that are kept of a step: 2 in a rollout, which has the next ones too.

    Raises:
        ValueError: They take more than is free.
    """
    each = seen * _bytes(spec.observation, spec.obs_dtype) + 4 * max(1, width(spec.action))
    steps = math.prod(sizes.values())
    admit(f"{steps:,} steps", steps * each, sizes, spec.device)


def _bytes(space: Space, dtype: Any) -> int:
    """Of one observation; the types of its parts are a tree as they are, or one for all."""
    if isinstance(space, Dict | Tuple):
        parts = space.spaces if isinstance(space, Dict) else tuple(enumerate(space.spaces))
        return sum(_bytes(part, dtype if isinstance(dtype, torch.dtype) else dtype[name]) for name, part in parts)
    return math.prod(space.shape) * int(dtype.itemsize)
