"""Populations of networks: M independent copies along the first axis of every parameter, one `baddbmm` a layer.

Letters: M members, B batch, F features.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imitate.core.config import Count, checked
from imitate.core.noise import Stream, integers
from imitate.core.parts import Parts
from imitate.core.room import admit
from imitate.nets import dense
from imitate.nets.convolution import orthogonal
from imitate.nets.measure import admit_network

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Activation",
    "Linear",
    "Population",
    "RunningNorm",
]

ROUNDING = 2**-20  # of a mean: what float32 makes of a constant varies by less, in sums and after many merges
SMALLEST = 1e-4  # of a mean: the least deviation that a feature is credited with

Activation = Literal["tanh", "relu", "elu", "gelu", "silu", "leaky_relu"]
ACTIVATIONS: dict[Activation, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "elu": F.elu,
    "gelu": F.gelu,
    "silu": F.silu,
    "leaky_relu": F.leaky_relu,
}


class Linear(nn.Module):
    """M affine maps: [M, B, inputs] -> [M, B, outputs].

    A population of one serves inputs of any M.
    """

    @checked
    def __init__(
        self, members: Count, inputs: Count, outputs: Count, *, init: Stream, gain: float = math.sqrt(2)
    ) -> None:
        super().__init__()
        # Orthogonal over [outputs, inputs] as in torch.nn.Linear, stored transposed for baddbmm.
        weight = orthogonal((members, outputs, inputs), gain, init)
        self.weight = nn.Parameter(weight.detach().mT.contiguous())
        self.bias = nn.Parameter(torch.zeros(members, 1, outputs, device=weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each member's map to its own batch."""
        return dense.dense(x, (self.weight, self.bias), torch.relu)

    @torch.no_grad()
    def spread(self, init: Stream) -> Linear:
        """Draw weights and biases uniformly in ±1/√inputs instead, as the published value networks do.

        Orthogonal weights of gain √2, right for policies, make states share so much that bootstrapped values can grow
        without bound.
        """
        for parameter in self.parameters() if init.device.type != "meta" else ():  # there arithmetic imports a compiler
            parameter.copy_(1 / math.sqrt(self.weight.shape[1]) * (2 * init.uniform(*parameter.shape) - 1))
        return self


class MLP(nn.Module):
    """M multilayer perceptrons: [M, B, F] -> [M, B, outputs].

    Args:
        members: M.
        inputs: F.
        hidden: Width of each hidden layer; may be empty, for a linear map.
        outputs: Width of the last layer, which has no activation.
        activation: Of the hidden layers.
        init: Stream of the orthogonal initialisation.
        last_gain: Gain of the last layer: .01 for a policy, so that it starts out undecided, 1 for values.
    """

    @checked
    def __init__(
        self,
        members: Count,
        inputs: int,
        hidden: Sequence[Count],
        outputs: int,
        *,
        activation: Activation = "tanh",
        init: Stream,
        last_gain: float = 1.0,
    ) -> None:
        super().__init__()
        admit_network(
            lambda init: MLP(1, inputs, hidden, outputs, init=init),
            members,
            init,
            {"members": members, "inputs": inputs, "hidden": hidden, "outputs": outputs},
        )
        widths = [inputs, *hidden]
        layers = [Linear(members, i, o, init=init) for i, o in pairwise(widths)]
        self.layers = nn.ModuleList([*layers, Linear(members, widths[-1], outputs, init=init, gain=last_gain)])
        self.activation = ACTIVATIONS[activation]
        self._chain = list(self.parameters())  # weight, bias, weight, …; walking the modules costs as much as a layer
        self._parts = Parts([self.layers])

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of each member on its own batch."""
        if self._parts.untouched():
            return dense.dense(x, self._chain, self.activation)
        for layer in self.layers[:-1]:
            x = self.activation(layer(x))
        return cast(Tensor, self.layers[-1](x))


class RunningNorm(nn.Module):
    """Standardises features by statistics of all that each member has seen: x -> clip((x − mean)/std).

    A feature that does not vary tells no scale: it counts in units of its own size, or in ones where that is less than
    one. The deviation of any other is at least `SMALLEST` of its mean. So a small drift of what was constant stays
    small. Statistics that were read from elsewhere have no such floor.

    The statistics are buffers, saved with the network. They change only in `update`.

    Args:
        members: M.
        shape: Shape of one observation.
        clip: Bound on the standardised value.
        epsilon: Added to the variance.

    Attributes:
        floor: What a variance counts as at the least, by the last update.
    """

    mean: Tensor
    var: Tensor
    floor: Tensor
    count: Tensor

    @checked
    def __init__(self, members: Count, shape: tuple[int, ...], *, clip: float = 10.0, epsilon: float = 1e-8) -> None:
        super().__init__()
        self.clip, self.epsilon = clip, epsilon
        if torch.get_default_device().type != "meta":
            sizes = {"members": members, "shape": max(shape, default=1)}
            admit("the statistics", 8 * members * math.prod(shape), sizes, "cpu")
        self.register_buffer("mean", torch.zeros(members, 1, *shape))
        self.register_buffer("var", torch.ones(members, 1, *shape))
        self.register_buffer("floor", torch.zeros(members, 1, *shape))
        self.register_buffer("count", torch.zeros(members, dtype=torch.float64))

    @torch.no_grad()
    def update(self, x: Tensor, mask: Tensor | None = None) -> None:
        """Merge a batch [M, B, *shape] into the statistics (Chan, Golub & LeVeque 1979, eq. 2.1).

        Args:
            x: The batch.
            mask: Which of it counts, [M, B]; all by default.
        """
        x = x.to(self.mean)
        if mask is None:
            new = torch.full_like(self.count, x.shape[1])
            mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
        else:
            new, counts = mask.sum(1).to(self.count), mask.reshape(*mask.shape, *(1,) * (x.dim() - 2))
            size = new.clamp(min=1).to(x).reshape(-1, *(1,) * (x.dim() - 1))
            mean = torch.where(counts, x, 0).sum(1, keepdim=True) / size
            var = torch.where(counts, x - mean, 0).square().sum(1, keepdim=True) / size
        self.count += new
        # Of the new batch, not of the old: the small one of the two keeps its digits in float32.
        share = (new / self.count.clamp(min=1)).to(x).reshape(-1, *(1,) * (x.dim() - 1))
        delta = mean - self.mean
        self.var.lerp_(var, share).add_(share * (1 - share) * delta.square())
        self.mean.lerp_(mean, share)
        size = self.mean.square()
        constant = self.var <= ROUNDING**2 * size
        self.floor.copy_(torch.where(constant, size.clamp(min=1), SMALLEST**2 * size))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise [M, B, *shape]."""
        scale = (self.var.maximum(self.floor) + self.epsilon).rsqrt()
        return ((x - self.mean) * scale).clamp(-self.clip, self.clip)


class Population(nn.Module):
    """M copies of a plain `nn.Module`, by `stack_module_state` and `vmap`: [M, B, ...] -> [M, B, ...].

    Args:
        build: Makes one copy with fresh weights; called M times. Its forward maps a batch [B, *obs] to [B, outputs].
        members: M.
        init: Stream that seeds torch's global generator for each copy, which is put back afterwards.
    """

    @checked
    def __init__(self, build: Callable[[], nn.Module], members: Count, init: Stream) -> None:
        super().__init__()
        copies = []
        with torch.random.fork_rng():
            for seed in integers(2**31, init.uniform(members)).tolist():
                torch.manual_seed(seed)
                copies.append(build())
                if not isinstance(copies[-1], nn.Module):
                    raise ValueError(f"build: must make a Module, not a {type(copies[-1]).__name__}.")
        parameters, buffers = torch.func.stack_module_state(copies)
        self._names = list(parameters)
        self._buffer_names = list(buffers)
        for name, value in parameters.items():
            learnt = copies[0].get_parameter(name).requires_grad
            self.register_parameter(name.replace(".", "/"), nn.Parameter(value.detach(), requires_grad=learnt))
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "/"), value.detach())
        # Held in a tuple so that the prototype's own parameters are not registered a second time.
        self._prototype = (copies[0].to("meta"),)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs of each member on its own batch."""
        stacked = {name: getattr(self, name.replace(".", "/")) for name in (*self._names, *self._buffer_names)}
        if len(x) != len(next(iter(stacked.values()))):
            stacked = {name: value.expand(len(x), *value.shape[1:]) for name, value in stacked.items()}

        def one(state: dict[str, Tensor], batch: Tensor) -> Tensor:
            return cast(Tensor, torch.func.functional_call(self._prototype[0], state, (batch,)))

        return torch.func.vmap(one)(stacked, x)
