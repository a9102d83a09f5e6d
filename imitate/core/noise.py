"""Randomness: named streams of uniforms, and what one uniform becomes.

All randomness of a run comes from streams as uniforms in [0, 1) and is passed on as an argument, so the same numbers
can be replayed, shared between a teacher and its student, or chosen by a test.
"""

from __future__ import annotations

import hashlib
import math
from typing import Any

import torch
from torch import Tensor

__all__ = ["Stream", "bernoulli", "categorical", "integers", "normal"]


class Stream:
    """A named generator: the same (seed, name) gives the same numbers, and adding one stream shifts no other.

    Args:
        seed: Seed of the run.
        name: What the numbers are for: "env", "policy", "shuffle", "replay", "init", "evaluate", …
        device: Where the numbers are made. On "meta" they are shapes alone: a module made with such a stream takes no
            memory, and says what it would hold.
    """

    def __init__(self, seed: int, name: str, device: torch.device | str = "cpu") -> None:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        self.device = torch.device(device)
        where = "cpu" if self.device.type == "meta" else self.device
        self.generator = torch.Generator(where).manual_seed(int.from_bytes(digest[:8], "little") >> 1)

    def uniform(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniforms in [0, 1) of the given shape: multiples of 2⁻²⁴, of 2⁻⁵³ in float64."""
        return torch.rand(*shape, generator=self.generator, device=self.device, dtype=dtype)

    def state_dict(self) -> dict[str, Any]:
        """The generator's state as bytes."""
        return {"state": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the generator."""
        self.generator.set_state(state["state"].cpu())


def normal(uniform: Tensor) -> Tensor:
    """Standard normals by the inverse CDF.

    A uniform is clamped to [2⁻²⁵, 1 − 2⁻²⁴], the ends of what float32 resolves: |z| ≤ 5.42, and no infinity comes out.
    """
    # √2 erf⁻¹(2u − 1) is Φ⁻¹(u); 2u − 1 of a uniform is exact, and erfinv is faster than ndtri.
    return torch.erfinv(2 * uniform.clamp(2**-25, 1 - 2**-24) - 1) * math.sqrt(2)


def categorical(logits: Tensor, uniform: Tensor) -> Tensor:
    """One draw from each categorical distribution by the inverse CDF: logits [..., A], uniform [...] -> [...] (int64).

    The first choice whose cumulative probability exceeds the uniform, which is scaled to the rounded total; so a choice
    of probability zero is never drawn, not even at the ends of what a uniform takes. Of two choices the first has the
    logistic of the difference, which is cheaper than the sums.
    """
    if logits.shape[-1] == 2:
        first, second = logits.unbind(-1)
        return (uniform >= (first - second).sigmoid()).long()
    cdf = logits.softmax(-1).cumsum(-1)
    return (cdf <= uniform.unsqueeze(-1) * cdf[..., -1:]).sum(-1).clamp_(max=logits.shape[-1] - 1)


def bernoulli(probability: Tensor | float, uniform: Tensor) -> Tensor:
    """True with the given probability (bool, shape of `uniform`)."""
    return uniform < probability


def integers(bound: Tensor | int, uniform: Tensor) -> Tensor:
    """Integers in [0, bound) (int64), from uniforms; `bound` broadcasts against `uniform`.

    Uniforms of b bits reach each of them ⌊2ᵇ/bound⌋ or ⌈2ᵇ/bound⌉ times. By the 24 of float32 some of ten million come
    twice as often as others, so what there may be many of is drawn by uniforms in float64.
    """
    # A uniform of 1 − 2⁻⁵³ times a large bound may round up to the bound itself: clamp.
    bound = torch.as_tensor(bound, device=uniform.device)
    return (uniform.double() * bound).long().minimum(bound - 1)
