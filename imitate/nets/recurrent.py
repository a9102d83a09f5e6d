"""Gated memories of networks. Letters: T time, M members, B batch, F features, H hidden units."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from imitate.core.config import Count, checked
from imitate.core.noise import Stream
from imitate.core.parts import Parts
from imitate.core.types import fold, unfold
from imitate.nets.layers import Linear
from imitate.nets.measure import admit_network

__all__ = ["GRU", "LSTM"]


class GRU(nn.Module):
    """M gated recurrent units.

        r = σ(W_r x + U_r h + b_r),   z = σ(W_z x + U_z h + b_z)
        n = tanh(W_n x + b_n + r ⊙ (U_n h + c_n)),   h ← (1 − z) ⊙ n + z ⊙ h

    The equations, the order of the gates (r, z, n) and the two biases are those of `torch.nn.GRU`; the matrices of all
    gates are orthogonal at first, the biases 0.

    Source: Cho et al. (2014), with the reset gate after the product as in cuDNN.

    Args:
        members: M.
        inputs: F.
        hidden: H.
        init: Stream of the initialisation.
    """

    @checked
    def __init__(self, members: Count, inputs: Count, hidden: Count, *, init: Stream) -> None:
        super().__init__()
        admit_network(
            lambda init: GRU(1, inputs, hidden, init=init),
            members,
            init,
            {"members": members, "inputs": inputs, "hidden": hidden},
        )
        self.hidden = hidden
        self.inward = _gates(3, members, inputs, hidden, init)
        self.recurrent = _gates(3, members, hidden, hidden, init)
        self._parts = Parts([self.recurrent])

    def memory(self, *shape: int) -> Tensor:
        """Nothing remembered: zeros [M, B, H]."""
        return torch.zeros(*shape, self.hidden, device=self.inward.weight.device)

    def forward(self, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """One step: x [M, B, F] and h [M, B, H] -> output and memory, both h [M, B, H]."""
        h = self.step(self.inward(x), h)
        return h, h

    def unroll(self, x: Tensor, h: Tensor, starts: Tensor | None = None) -> Tensor:
        """Many steps: x [T, M, B, F] -> h after each, [T, M, B, H].

        Args:
            x: Inputs.
            h: Before the first step, [M, B, H].
            starts: Where an episode begins, [T, M, B] (bool): there the memory is zero before the step.
        """
        inward = unfold(self.inward(fold(x)), len(x))  # one product for all steps
        if not self._parts.untouched():
            states = []
            for t, gates in enumerate(inward):
                h = self.step(gates, h if starts is None else h.masked_fill(starts[t].unsqueeze(-1), 0.0))
                states.append(h)
            return torch.stack(states)
        goes_on = torch.ones_like(h[..., :1]).expand(len(x), -1, -1, -1) if starts is None else ~starts.unsqueeze(-1)
        recurrent = self.recurrent
        parts = inward, h, recurrent.weight, recurrent.bias, goes_on.to(h)
        return cast(Tensor, _Unrolled.apply(*parts))  # type: ignore[no-untyped-call]

    def step(self, inward: Tensor, h: Tensor) -> Tensor:
        """One step, from the gates' share of the input [M, B, 3H]."""
        recurrent = self.recurrent(h)
        split = 2 * self.hidden
        reset, keep = torch.sigmoid(inward[..., :split] + recurrent[..., :split]).chunk(2, -1)
        new = torch.tanh(torch.addcmul(inward[..., split:], reset, recurrent[..., split:]))
        return torch.lerp(new, h, keep)


class _Unrolled(torch.autograd.Function):
    """`GRU.step` over time with its gradient written out: by autograd small units take more than twice the time.

    Takes the gates' share of the inputs [T, M, B, 3H], h [M, B, H], the recurrent map U and its bias, and 0 where the
    memory is emptied before a step, else 1, [T, M, B, 1].
    """

    @staticmethod
    def forward(ctx: Any, inward: Tensor, h: Tensor, weight: Tensor, bias: Tensor, goes_on: Tensor) -> Tensor:
        split = 2 * h.shape[-1]
        kept: list[tuple[Tensor, ...]] = []
        states = []
        for x, keep in zip(inward.unbind(0), goes_on.unbind(0), strict=True):
            h = h * keep
            recurrent = torch.baddbmm(bias, h, weight)
            gate = torch.sigmoid(x[..., :split] + recurrent[..., :split])
            reset, hold = gate.chunk(2, -1)
            candidate = torch.tanh(torch.addcmul(x[..., split:], reset, recurrent[..., split:]))
            kept.append((h, gate, candidate, recurrent[..., split:]))
            h = torch.lerp(candidate, h, hold)
            states.append(h)
        ctx.save_for_backward(*(torch.stack(each) for each in zip(*kept, strict=True)), weight, goes_on)
        return torch.stack(states)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        before, gates, new, through, weight, goes_on = ctx.saved_tensors
        backwards, grad_h = weight.mT.contiguous(), torch.zeros_like(grad[0])
        grad_in, grad_recurrent = [], []
        reset, hold = gates.chunk(2, -1)
        # What of each step does not depend on the gradient that comes back, for all steps at once.
        of_hold, of_new = (before - new) * hold * (1 - hold), (1 - hold) * (1 - new.square())
        of_reset = through * reset * (1 - reset)
        for t in reversed(range(len(grad))):
            grad_h = grad_h + grad[t]
            candidate = grad_h * of_new[t]
            shared = torch.cat([candidate * of_reset[t], grad_h * of_hold[t]], -1)
            recurrent = torch.cat([shared, candidate * reset[t]], -1)
            grad_in.append(torch.cat([shared, candidate], -1))
            grad_recurrent.append(recurrent)
            grad_h = torch.baddbmm(grad_h * hold[t], recurrent, backwards) * goes_on[t]
        inward, recurrent = (torch.stack(found[::-1]) for found in (grad_in, grad_recurrent))
        by_step = fold(recurrent)
        return inward, grad_h, fold(before).mT @ by_step, by_step.sum(1, keepdim=True), None


class LSTM(nn.Module):
    """M long short-term memories.

        i, f, o = σ(W x + U h + b),   g = tanh(W_g x + U_g h + b_g)
        c ← f ⊙ c + i ⊙ g,   h ← o ⊙ tanh c

    The equations, the order of the gates (i, f, g, o) and the two biases are those of `torch.nn.LSTM`; the matrices of
    all gates are orthogonal at first, the biases 0 but for that of f, which is 1 (Jozefowicz et al. 2015).

    Source: Hochreiter & Schmidhuber (1997), with the forget gate of Gers et al. (2000).

    Args:
        members: M.
        inputs: F.
        hidden: H.
        init: Stream of the initialisation.
    """

    @checked
    def __init__(self, members: Count, inputs: Count, hidden: Count, *, init: Stream) -> None:
        super().__init__()
        admit_network(
            lambda init: LSTM(1, inputs, hidden, init=init),
            members,
            init,
            {"members": members, "inputs": inputs, "hidden": hidden},
        )
        self.hidden = hidden
        self.inward = _gates(4, members, inputs, hidden, init)
        self.recurrent = _gates(4, members, hidden, hidden, init)
        with torch.no_grad():
            self.inward.bias[..., hidden : 2 * hidden] = 1.0

    def memory(self, *shape: int) -> tuple[Tensor, Tensor]:
        """Nothing remembered: zeros h and c, [M, B, H] each."""
        zeros = torch.zeros(*shape, self.hidden, device=self.inward.weight.device)
        return zeros, zeros

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step: x [M, B, F] and (h, c) -> output h [M, B, H], and (h, c)."""
        memory = self.step(self.inward(x), memory)
        return memory[0], memory

    def unroll(self, x: Tensor, memory: tuple[Tensor, Tensor], starts: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Many steps: x [T, M, B, F] -> h and c behind each, [T, M, B, H]; arguments as of `GRU.unroll`."""
        inward = unfold(self.inward(fold(x)), len(x))
        states = []
        for t, gates in enumerate(inward):
            if starts is not None:
                fresh = starts[t].unsqueeze(-1)
                memory = memory[0].masked_fill(fresh, 0.0), memory[1].masked_fill(fresh, 0.0)
            memory = self.step(gates, memory)
            states.append(memory)
        return torch.stack([h for h, _ in states]), torch.stack([c for _, c in states])

    def step(self, inward: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """One step, from the gates' share of the input [M, B, 4H]."""
        h, c = memory
        write, keep, new, show = (inward + self.recurrent(h)).chunk(4, -1)
        c = torch.sigmoid(keep) * c + torch.sigmoid(write) * torch.tanh(new)
        return torch.sigmoid(show) * torch.tanh(c), c


def _gates(count: int, members: int, inputs: int, hidden: int, init: Stream) -> Linear:
    """A Linear to `count` gates, each of them orthogonal by itself."""
    linear = Linear(members, inputs, count * hidden, init=init, gain=1.0)
    with torch.no_grad():
        for weight in linear.weight if init.device.type != "meta" else ():
            for gate in weight.chunk(count, -1):
                nn.init.orthogonal_(gate, generator=init.generator)
    return linear
