"""A chain of affine maps with an activation between them, and its gradient written out.

Networks here are small and there are many, so a step costs what it launches rather than what it multiplies: activations
and their derivatives in place, nothing kept but the outputs of each layer, and one node in autograd's graph, or none.

Letters: M members, B batch, I inputs, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from imitate.core.parts import Parts
from imitate_envs.base import constant

__all__ = ["FUSED", "affine", "dense", "gradients", "outputs", "written"]

Activate = Callable[[Tensor, Tensor, Tensor], Tensor]
Derivative = Callable[[Tensor, Tensor, Tensor], None]

_NARROW = 8  # outputs up to which the transposed product is the faster one on a CPU
_TALL = 32  # and rows from which on


def affine(x: Tensor, weight: Tensor, bias: Tensor, scale: float = 1.0) -> Tensor:
    """`scale`·(x w + b): [M, B, I], [M, I, O] and [M, 1, O] -> [M, B, O].

    A product with very few columns, such as the logits of two actions, takes a CPU's library as long as one with 64;
    its transpose does not.
    """
    if weight.shape[2] <= _NARROW and x.shape[1] >= _TALL and not x.is_cuda:
        product = torch.baddbmm(bias.mT, weight.mT.contiguous(), x.mT, beta=scale, alpha=scale)
        return product.mT.contiguous()
    return torch.baddbmm(bias, x, weight, beta=scale, alpha=scale)


def _tanh(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """In float32 on a CPU 2σ(2z) − 1 is faster than tanh z, and 10⁻⁷ away."""
    if x.is_cuda or x.dtype != torch.float32:
        return affine(x, weight, bias).tanh_()
    z = affine(x, weight, bias, 2.0).sigmoid_()
    return torch.add(constant(-1.0, z), z, alpha=2, out=z)


def _relu(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return affine(x, weight, bias).relu_()


def _tanh_grad(grad: Tensor, y: Tensor, out: Tensor) -> None:
    torch.ops.aten.tanh_backward.grad_input(grad, y, grad_input=out)


def _relu_grad(grad: Tensor, y: Tensor, out: Tensor) -> None:
    torch.ops.aten.threshold_backward.grad_input(grad, y, 0, grad_input=out)


# Activations whose derivative follows from what they give: the affine map with the activation behind it, and the
# gradient through it.
FUSED: dict[Callable[[Tensor], Tensor], tuple[Activate, Derivative]] = {
    torch.tanh: (_tanh, _tanh_grad),
    torch.relu: (_relu, _relu_grad),
}


def outputs(x: Tensor, parameters: Sequence[Tensor], activation: Callable[[Tensor], Tensor]) -> list[Tensor]:
    """The input [M, B, I] and what each layer makes of it; the last one [M, B, O].

    Args:
        x: Inputs.
        parameters: Weight [M, I, O] and bias [M, 1, O] of each layer, in turn.
        activation: One of `FUSED`, between the layers.
    """
    activate = FUSED[activation][0]
    found = [x]
    for i in range(0, len(parameters), 2):
        layer = activate if i + 2 < len(parameters) else affine
        found.append(layer(found[-1], parameters[i], parameters[i + 1]))
    return found


def gradients(
    found: Sequence[Tensor],
    weights: Sequence[Tensor],
    grad: Tensor,
    activation: Callable[[Tensor], Tensor],
    *,
    wrt_parameters: bool = True,
    wrt_input: bool = False,
) -> tuple[list[Tensor], Tensor | None]:
    """Gradients of what `outputs` found, given that of the last output.

    Args:
        found: What `outputs` returned.
        weights: Of each layer.
        grad: Gradient of the last output, [M, B, O].
        activation: As in `outputs`.
        wrt_parameters: Whether those of the parameters are wanted.
        wrt_input: Whether that of the input is wanted.

    Returns:
        Gradients in the order of the parameters, and that of the input.
    """
    derivative = FUSED[activation][1]
    by_parameter: list[Tensor] = []
    for i in reversed(range(len(weights))):
        x, weight = found[i], weights[i]
        if wrt_parameters:
            narrow = weight.shape[2] <= _NARROW and not x.is_cuda
            by_parameter += [grad.sum(1, keepdim=True), torch.bmm(grad.mT, x).mT if narrow else torch.bmm(x.mT, grad)]
        if i > 0:
            grad = torch.bmm(grad, weight.mT)
            derivative(grad, x, grad)
    by_input = torch.bmm(grad, weights[0].mT) if wrt_input else None
    return by_parameter[::-1], by_input


def written(
    module: nn.Module,
    kind: type[nn.Module],
    parts: Parts,
    parameters: Sequence[Tensor],
    activation: Callable[[Tensor], Tensor],
) -> bool:
    """Whether a module is a chain and nothing else, so that `gradients` is its gradient.

    Args:
        module: The module.
        kind: The class that knows the gradient; subclasses and objects with methods of their own may compute anything.
        parts: What the module was made of.
        parameters: Of its chain, all of which must learn; a hook on one changes its gradient.
        activation: Of its chain.
    """
    return (
        type(module) is kind
        and activation in FUSED
        and len(parameters) > 0
        and all(p.requires_grad and not p._backward_hooks for p in parameters)
        and parts.untouched()
        and vars(module).keys().isdisjoint(vars(kind))
    )


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activation: Callable[[Tensor], Tensor], x: Tensor, *parameters: Tensor) -> Tensor:
        found = outputs(x, parameters, activation)
        ctx.activation = activation
        ctx.save_for_backward(*found, *parameters)
        return found[-1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        layers = len(ctx.saved_tensors) // 3
        found, parameters = ctx.saved_tensors[: layers + 1], ctx.saved_tensors[layers + 1 :]
        needed = ctx.needs_input_grad[1:]
        if torch.is_grad_enabled():  # this gradient is to be differentiated itself, as a penalty on it is
            inputs = [x for x, wanted in zip((found[0], *parameters), needed, strict=True) if wanted]
            made = iter(
                torch.autograd.grad(_plain(found[0], parameters, ctx.activation), inputs, grad, create_graph=True)
            )
            return None, *(next(made) if wanted else None for wanted in needed)
        of_input, *of_parameters = needed
        by_parameter, by_input = gradients(
            found, parameters[::2], grad, ctx.activation, wrt_parameters=any(of_parameters), wrt_input=of_input
        )
        return None, by_input, *(by_parameter if any(of_parameters) else [None] * len(of_parameters))


def dense(x: Tensor, parameters: Sequence[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
    """Affine maps with an activation between them: [M, B, I] -> [M, B, O].

    The gradient is written out where the activation is one of `FUSED`, unless it is to be differentiated itself.

    Args:
        x: Inputs.
        parameters: Weight [M, I, O] and bias [M, 1, O] of each layer, in turn; those of one member serve any M.
        activation: Between the layers.
    """
    if activation in FUSED and len(x) == len(parameters[0]):
        if torch.is_grad_enabled():
            return cast(Tensor, _Dense.apply(activation, x, *parameters))  # type: ignore[no-untyped-call]
        return outputs(x, parameters, activation)[-1]
    return _plain(x, parameters, activation)


def _plain(x: Tensor, parameters: Sequence[Tensor], activation: Callable[[Tensor], Tensor]) -> Tensor:
    """The same by operations that autograd differentiates as often as wanted."""
    for i in range(0, len(parameters), 2):
        weight, bias = (p if len(p) == len(x) else p.expand(len(x), -1, -1) for p in parameters[i : i + 2])
        x = torch.baddbmm(bias, x, weight)
        if i + 2 < len(parameters):
            x = activation(x)
    return x
