"""Smaller networks without another shape: pruned weights, and weights of eight bits.

Letters: M members, I inputs, O outputs, W weights of one member in a layer; biases and deviations are no weights.
"""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from imitate.core.config import Proper, checked
from imitate.core.noise import Stream
from imitate.nets.actor import Actor

__all__ = ["dequantised", "int8_bytes", "nonzero", "prune", "pruned_bytes", "quantise"]

LEVELS = 127  # of either sign: −128 is left out, so that the range is symmetric


@checked
def prune(actor: Actor, share: Proper[float]) -> Actor:
    """A copy of an actor whose weights of least magnitude are zero, and stay zero while it learns.

    In each layer of W weights ⌊share·W⌋ are zero (Han et al. 2015). Were all layers ranked together, the last one of a
    policy would go first: its weights begin small. The gradient of a pruned weight is zero, so that an optimiser whose
    moments begin at zero never moves it.

    Args:
        actor: Who is pruned; it stays as it is.
        share: Of the weights that go, in [0, 1).

    Raises:
        ValueError: The share is none, or the actor is a network of the user's own.
    """
    made = _copy(actor)
    for weight in _weights(made):
        sizes = weight.detach().flatten(1).abs()
        least = sizes.argsort(dim=1, stable=True)[:, : math.floor(share * sizes.shape[1])]
        mask = torch.ones_like(sizes).scatter_(1, least, 0.0).view_as(weight)
        with torch.no_grad():
            weight.mul_(mask)
        weight.register_hook(partial(torch.mul, mask))
    return made


@checked
def quantise(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Weights [M, I, O] as whole numbers q (int8) in [−127, 127] and one scale s [M, 1, O] for each output: w ≈ s q.

        s = maxᵢ |wᵢ| / 127,  q = round(w / s)

    This is r = S(q − Z) with Z = 0 (Jacob et al. 2018, eq. 1), so that |w − s q| ≤ s/2. A scale is 1 where all weights
    of an output are zero.
    """
    weight = weight.detach()
    scale = weight.abs().amax(-2, keepdim=True) / LEVELS
    scale = torch.where(scale > 0, scale, 1.0)
    return (weight / scale).round().clamp(-LEVELS, LEVELS).to(torch.int8), scale


@checked
def dequantised(actor: Actor) -> Actor:
    """A copy of an actor that computes in float32 with weights of eight bits, s q; biases stay as they are.

    Raises:
        ValueError: The actor has images, or is a network of the user's own.
    """
    if actor.network is None and actor.body.inputs.images:
        raise ValueError("actor: convolutions are not quantised; take one without images.")
    made = _copy(actor)
    with torch.no_grad():
        for weight in _weights(made):
            whole, scale = quantise(weight)
            weight.copy_(whole * scale)
    return made


def nonzero(actor: Actor) -> int:
    """Learnable numbers of one member that are not zero, on average over members."""
    return round(sum(int((parameter != 0).sum()) for parameter in actor.parameters()) / actor.members)


def pruned_bytes(actor: Actor) -> int:
    """Bytes of one pruned member: four for each number that is not zero, and a bit for each weight to tell which."""
    return 4 * nonzero(actor) + math.ceil(sum(weight[0].numel() for weight in _weights(actor)) / 8)


def int8_bytes(actor: Actor) -> int:
    """Bytes of one member with weights of eight bits: one a weight, four a scale and four for any other number."""
    weights = _weights(actor)
    count = sum(weight[0].numel() for weight in weights)
    return count + 4 * (sum(weight.shape[-1] for weight in weights) + actor.parameters_per_member - count)


def _weights(actor: Actor) -> list[torch.nn.Parameter]:
    return [parameter for name, parameter in actor.named_parameters() if name.endswith("weight")]


def _copy(actor: Actor) -> Actor:
    """An actor with copies of the weights, and without hooks."""
    if actor.network is not None:
        raise ValueError("actor: one around a network of your own cannot be rebuilt; take one of ours.")
    init = Stream(0, "init", actor.device)
    made = Actor(actor.observation, actor.action, actor.members, actor.architecture, init, env=actor.env)
    made.load_state_dict(actor.state_dict())
    return made
