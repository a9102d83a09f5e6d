"""What the models share: shapes of parameters, and what a compound lets expect.

Letters: C cues, O outcomes; `...` lanes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imitate.conditioning.model import Theta

__all__ = ["beside", "expected", "others", "present", "zeros"]


def zeros(theta: Theta, *shape: int) -> Tensor:
    """Zeros in the float type and on the device of the parameters."""
    like = next(iter(theta.values()))
    return torch.zeros(shape, dtype=like.dtype, device=like.device)


def beside(parameter: Tensor) -> Tensor:
    """With one more dimension: [...] beside [..., O] or [..., C], one a cue [..., C] beside [..., C, O]."""
    return parameter.unsqueeze(-1)


def expected(cues: Tensor, strengths: Tensor) -> Tensor:
    """Σ_i x_i V_i: cues [..., C] and strengths [..., C, O] -> [..., O]."""
    if strengths.shape[-2] > 8:
        return (cues.unsqueeze(-1) * strengths).sum(-2)
    total = cues[..., :1] * strengths[..., 0, :]  # a sum over a few numbers costs more than adding them up
    for i in range(1, strengths.shape[-2]):
        total = torch.addcmul(total, cues[..., i : i + 1], strengths[..., i, :])
    return total


def others(cues: Tensor, strengths: Tensor) -> Tensor:
    """Σ_{k≠i} x_k V_k, what the rest of the compound lets expect: [..., C, O]."""
    each = cues.unsqueeze(-1) * strengths
    return each.sum(-2, keepdim=True) - each


def present(on: Tensor, off: Tensor, outcome: Tensor) -> Tensor:
    """A rate [..., O]: `on` [...] where the outcome [..., O] is there, `off` [...] where it is not."""
    return torch.where(outcome != 0, beside(on), beside(off))
