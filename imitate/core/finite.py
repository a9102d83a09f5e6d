"""Whether the numbers of a run are finite: those that sources give, and those that are learnt from them.

Letters: T time, M members, N environments of one member, B batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from imitate.core import tree
from imitate.core.checkpoint import parts
from imitate.core.types import Stateful

__all__ = ["LARGEST", "Watched", "finite", "flaw"]

# Of a weight. Two layers multiply two of them, and errors and gradient norms take squares: float32 ends at 3.4·10³⁸.
LARGEST = 4e9


@runtime_checkable
class Watched(Protocol):
    """Whatever makes or keeps transitions, and looks at them as it does.

    Attributes:
        finite: Whether all numbers so far were, a bool of each member [M] on the device.
    """

    finite: Tensor


def finite(data: Any, *axes: int) -> Tensor:
    """Whether the floating numbers of a tree are finite, bools of the shape of some axes; no device is waited for.

    Args:
        data: Of one leaf or more.
        axes: Which, in order: 0 and 1 of leaves [M, B, ...] give [M, B], and 1 of [T, M, N, ...] gives [M].
    """
    leaves = tree.leaves(data)
    found = torch.ones([leaves[0].shape[axis] for axis in axes], dtype=torch.bool, device=leaves[0].device)
    for x in leaves:
        if x.is_floating_point():
            # 0·x is NaN where x is not finite, and a sum keeps it; with nothing to sum over it would sum over all.
            others = [axis for axis in range(x.dim()) if axis not in axes]
            found &= ((x * 0).sum(others) if others else x * 0) == 0
    return found


def flaw(thing: Any) -> str | None:
    """What in an algorithm is not finite, or too large to go on from; None if nothing is.

    A weight is at most `LARGEST`. Statistics, moments and tables are finite, and nothing is NaN. The inside of an
    environment is its own affair; what came out of it has been looked at, see `Watched`. Waits for the device once.
    """
    numbers = list(_numbers(thing))
    if not numbers:
        return None
    device = numbers[0].x.device
    with torch.no_grad():
        sizes = torch.stack([number.x.abs().amax().to(device, torch.float64) for number in numbers])
        limits = torch.tensor([number.limit for number in numbers], dtype=torch.float64).to(device)
        well = (sizes <= limits).cpu()  # not so of a NaN
        if well.all():
            return None
        name, x, limit, what = numbers[int(well.long().argmin())]
        beyond = ~(x.abs() <= limit)
        members = beyond.flatten(1).any(1) if x.dim() > 1 else beyond
    # What has no axis of members concerns all of them.
    who = f" (member {', '.join(map(str, members.nonzero().flatten().tolist()))})" if x.dim() > 0 else ""
    return f"{name} {what}{who}"


class _Number(NamedTuple):
    """Floating numbers [M, ...], how large they may be, and what is to be said otherwise."""

    name: str
    x: Tensor
    limit: float
    what: str = "is not finite"


def _numbers(thing: Any, known: set[int] | None = None, prefix: str = "") -> Iterator[_Number]:
    """What is looked at in an algorithm and its parts."""
    known = {id(thing)} if known is None else known
    for name, value in parts(thing, known).items():
        path = f"{prefix}{name}"
        if isinstance(value, Watched):
            yield _Number(path, (~value.finite).float(), 0.0, "was given a number that is not finite")
        if isinstance(value, nn.Module):
            weights = {key for key, _ in value.named_parameters()}
            for key, x in value.state_dict().items():
                limit = LARGEST if key in weights else _most(x)
                yield from _floating(_Number(f"{path}.{key}", x, limit, f"is beyond ±{limit:.2g}, or not a number"))
        elif isinstance(value, Tensor):
            yield from _floating(_Number(path, value, torch.inf, "is not a number"))  # the best error so far may be ∞
        elif not isinstance(value, Stateful):
            yield from _numbers(value, known, f"{path}.")
        elif not isinstance(value, Watched) and not hasattr(value, "collect"):
            for key, x in tree.flatten(value.state_dict()):
                yield from _floating(_Number(f"{path}.{key}", x, _most(x)))


def _floating(number: _Number) -> Iterator[_Number]:
    if number.x.is_floating_point() and number.x.numel():
        yield number


def _most(x: Tensor) -> float:
    return torch.finfo(x.dtype).max if x.is_floating_point() else torch.inf
