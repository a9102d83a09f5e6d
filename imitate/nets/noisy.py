"""Linear layers that take noise: one whose weights are noisy, and one that ignores it.

Letters: M members, B batch.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn

from imitate.core.noise import Stream, normal
from imitate.nets.layers import Linear

__all__ = ["NoisyLinear", "PlainLinear"]


class NoisyLinear(nn.Module):
    """M affine maps whose weights carry factorised Gaussian noise, of each row of a batch or one for all of its rows.

        y = (μ_w + σ_w ⊙ f(ε_out) f(ε_in)ᵀ) x + μ_b + σ_b ⊙ f(ε_out),   f(x) = sgn(x) √|x|

    With p inputs μ begins uniform in ±1/√p and σ at σ₀/√p (§3.2).
    Source: Fortunato et al. (2018), eqs. 9-11. Noise costs one more product.
    """

    def __init__(self, members: int, inputs: int, outputs: int, *, init: Stream, sigma: float = 0.5) -> None:
        super().__init__()
        self.mean = Linear(members, inputs, outputs, init=init).spread(init)
        scale = torch.full_like(self.mean.weight, sigma / math.sqrt(inputs))
        self.sigma_weight = nn.Parameter(scale)
        self.sigma_bias = nn.Parameter(scale[:, :1].clone())
        self.noise = inputs + outputs  # uniforms of one row
        self.inputs = inputs

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """[M, B, inputs] and uniforms [M, B or 1, inputs + outputs] -> [M, B, outputs]; without noise the mean."""
        out = cast(Tensor, self.mean(x))
        if noise is None:
            return out
        z = normal(noise)
        z = z.sign() * z.abs().sqrt()
        into, out_of = z[..., : self.inputs], z[..., self.inputs :]
        return out + ((x * into) @ self.sigma_weight + self.sigma_bias) * out_of


class PlainLinear(nn.Module):
    """A Linear of a value network that takes noise, and ignores it.

    Args:
        members: M.
        inputs: Width of its input.
        outputs: Width of its output.
        init: Stream of the initialisation.
    """

    noise = 0

    def __init__(self, members: int, inputs: int, outputs: int, *, init: Stream) -> None:
        super().__init__()
        self.linear = Linear(members, inputs, outputs, init=init).spread(init)

    def forward(self, x: Tensor, noise: Tensor | None) -> Tensor:
        """[M, B, inputs] -> [M, B, outputs]."""
        return cast(Tensor, self.linear(x))
