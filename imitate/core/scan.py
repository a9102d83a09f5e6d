"""The heart: one loop over time, and the linear recurrence that needs none. Letters: T time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from imitate.core import tree

__all__ = ["linear_recurrence", "scan"]

C = TypeVar("C")
X = TypeVar("X")
Y = TypeVar("Y")


def scan(step: Callable[[C, X], tuple[C, Y]], carry: C, xs: X) -> tuple[C, Y]:
    """Thread `carry` through `step` over the first dimension of `xs` and stack what the steps give.

    Args:
        step: (carry, x) -> (carry, y), with y a tree of tensors.
        carry: What the first step receives.
        xs: A tree of tensors [T, ...], one slice a step.

    Returns:
        The last carry, and the tree of all y with a leading T.
    """
    ys = []
    for x in tree.unbind(xs):
        carry, y = step(carry, x)
        ys.append(y)
    return carry, tree.stack(ys)


def linear_recurrence(a: Tensor, b: Tensor, *, reverse: bool = False) -> Tensor:
    """Solve y_t = b_t + a_t·y_{t−1} for all t (or a_t·y_{t+1} if `reverse`), with y = 0 beyond the end.

    Recursive doubling: log₂T vectorised steps, differentiable in both arguments.
    Source: Kogge & Stone (1973); Blelloch (1990), §1.4.

    Args:
        a: Coefficients [T, ...].
        b: Inputs [T, ...], the shape of `a`.
        reverse: Run backwards in time.

    Returns:
        y [T, ...].

    Raises:
        ValueError: The shapes differ; broadcasting here has hidden too many bugs elsewhere.
    """
    if a.shape != b.shape:
        raise ValueError(f"linear_recurrence: a {tuple(a.shape)} and b {tuple(b.shape)} must have one shape.")
    if reverse:
        return linear_recurrence(a.flip(0), b.flip(0)).flip(0)
    span = 1
    while span < len(b):
        b = torch.cat([b[:span], b[span:] + a[span:] * b[:-span]])
        a = torch.cat([a[:span], a[span:] * a[:-span]])
        span *= 2
    return b
