"""Multilayer perceptrons as C. Letters: M members, I inputs, O outputs, F features, A actions."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import torch
from torch import Tensor

from imitate.core.actions import bounds, unmasked, width
from imitate.export.numbers import array, byte_array, hexadecimal
from imitate.nets.action_heads import GaussianHead, SquashedGaussianHead, linear_of
from imitate.nets.actor import Actor
from imitate.nets.compression import quantise
from imitate.nets.layers import ACTIVATIONS, RunningNorm
from imitate.nets.q_network import QNetwork
from imitate.nets.return_heads import Scalar
from imitate_envs.base import Box, Discrete

__all__ = ["c_functions", "chain", "statistics"]

# x -> y, as torch has them.
IN_C: dict[Callable[[Tensor], Tensor], str] = {
    ACTIVATIONS["tanh"]: "tanhf(x)",
    ACTIVATIONS["relu"]: "x > 0.0f ? x : 0.0f",
    ACTIVATIONS["elu"]: "x > 0.0f ? x : expm1f(x)",
    ACTIVATIONS["gelu"]: "0.5f * x * (1.0f + erff(x * 0.70710678f))",
    ACTIVATIONS["silu"]: "x / (1.0f + expf(-x))",
    ACTIVATIONS["leaky_relu"]: "x > 0.0f ? x : 0.01f * x",
}


def c_functions(policy: Actor | QNetwork, member: int, name: str, int8: bool) -> str:
    """The constants of a network, its layers and its action, as C99.

    With `int8` each weight is a byte, and a sum over inputs is multiplied by the scale of its output.

    Raises:
        ValueError: It is more than a multilayer perceptron, or acts in another space than a Discrete or a Box.
    """
    layers = [layer.detach()[member].cpu() for layer in chain(policy)]
    weights, biases = layers[::2], layers[1::2]
    inputs, outputs = len(weights[0]), weights[-1].shape[1]
    widest = max(inputs, *(weight.shape[1] for weight in weights))
    constants, first = [], "x[i] = obs[i];"
    norm = policy.body.normaliser
    if norm is not None:
        constants += [array(f"{name}_{what}", numbers) for what, numbers in statistics(norm, member).items()]
        clip = hexadecimal(norm.clip)
        first = f"x[i] = fminf(fmaxf((obs[i] - {name}_mean[i]) * {name}_scale[i], -{clip}), {clip});"
    lines = [f"for (int i = 0; i < {inputs}; i++) {first}"]
    for number, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        rows, columns = weight.shape
        arrays = {"bias": bias}
        if int8:
            whole, arrays["scale"] = quantise(weight)
            constants.append(byte_array(f"{name}_weight_{number}", whole.flatten().tolist()))
        else:
            arrays["weight"] = weight
        constants += [array(f"{name}_{what}_{number}", x.flatten().tolist()) for what, x in arrays.items()]
        scale = f" {name}_scale_{number}," if int8 else ""
        lines.append(f"{name}_affine(x, {name}_weight_{number},{scale} {name}_bias_{number}, {rows}, {columns}, y);")
        inner = number + 1 < len(weights)
        lines.append(f"for (int i = 0; i < {columns}; i++) x[i] = {f'{name}_activation(y[i])' if inner else 'y[i]'};")
    kind, arguments, bounded, last = _answer(policy, name, outputs)
    means = "the action" if kind == "int" else f"action: {width(policy.action)} numbers"
    body = "\n".join(f"    {line}" for line in [f"float x[{widest}], y[{widest}];", *lines, *last])
    activation = _ACTIVATION.format(name=name, y=IN_C[policy.body.activation]) if len(weights) > 1 else ""
    return (
        "#include <math.h>\n\n"
        + "\n".join([*constants, *bounded])
        + (_AFFINE_INT8 if int8 else _AFFINE).format(name=name)
        + activation
        + f"\n/* obs: {inputs} numbers; {means}. */\nstatic inline {kind} {name}_act({arguments}) {{\n{body}\n}}\n"
    )


_AFFINE = dedent("""
    static inline void {name}_affine(const float *x, const float *weight, const float *bias, int inputs, int outputs,
                                     float *y) {{
        for (int o = 0; o < outputs; o++) y[o] = bias[o];
        for (int i = 0; i < inputs; i++)
            for (int o = 0; o < outputs; o++) y[o] += x[i] * weight[i * outputs + o];
    }}
""")
_AFFINE_INT8 = dedent("""
    static inline void {name}_affine(const float *x, const signed char *weight, const float *scale, const float *bias,
                                     int inputs, int outputs, float *y) {{
        for (int o = 0; o < outputs; o++) y[o] = 0.0f;
        for (int i = 0; i < inputs; i++)
            for (int o = 0; o < outputs; o++) y[o] += x[i] * (float)weight[i * outputs + o];
        for (int o = 0; o < outputs; o++) y[o] = bias[o] + scale[o] * y[o];
    }}
""")
_ACTIVATION = dedent("""
    static inline float {name}_activation(float x) {{ return {y}; }}
""")


def chain(policy: Actor | QNetwork) -> list[Tensor]:
    """Weight [M, I, O] and bias [M, 1, O] of each layer, in turn.

    Raises:
        ValueError: The network is no chain of layers.
    """
    own = isinstance(policy, Actor) and policy.network is not None
    if own or not policy.body.flat or unmasked(policy.observation) is not policy.observation:
        raise ValueError(
            "policy: only a multilayer perceptron is written as C: no images, memory, mask, or network of your own."
        )
    if isinstance(policy, Actor):
        return [*policy.body.chain, *linear_of(policy.head).parameters()]
    if not (isinstance(policy.architecture.head, Scalar) and policy.head.affine):
        raise ValueError(
            "policy: of value networks only those of mean returns, neither dueling nor noisy, are written."
        )
    return [*policy.body.chain, *policy.head.parameters()]


def statistics(norm: RunningNorm, member: int) -> dict[str, list[float]]:
    """What is subtracted, and what that is multiplied by, in the arithmetic of `RunningNorm`."""
    scale = (norm.var.maximum(norm.floor) + norm.epsilon).rsqrt()
    return {what: x[member].flatten().tolist() for what, x in (("mean", norm.mean), ("scale", scale))}


def _answer(policy: Actor | QNetwork, name: str, outputs: int) -> tuple[str, str, list[str], list[str]]:
    """What the function returns and takes, the constants of the action, and the lines from outputs x to an action."""
    if isinstance(policy.action, Discrete):
        best = f"for (int i = 1; i < {outputs}; i++) best = x[i] > x[best] ? i : best;"
        start = policy.action.start
        return "int", "const float *obs", [], ["int best = 0;", best, f"return best{f' + {start}' if start else ''};"]
    if not isinstance(policy.action, Box) or not isinstance(policy, Actor):
        raise ValueError(f"policy: actions of a Discrete or a Box are written as C, not those of {policy.action}.")
    edges = dict(zip(("low", "high"), bounds(policy.action, torch.device("cpu")), strict=True))
    head, lines = policy.head, ["float a = x[i];"]
    if isinstance(head, SquashedGaussianHead):
        edges |= {"from": head.low, "to": head.high}
        lines = [
            "float share = 1.0f / (1.0f + expf(-2.0f * x[i]));",
            f"float range = {name}_to[i] - {name}_from[i];",
            f"float a = share < 0.5f ? {name}_from[i] + share * range : {name}_to[i] - range * (1.0f - share);",
        ]
    elif isinstance(head, GaussianHead) and head.scaled:
        edges |= {"centre": head.centre, "half": head.half_range}
        lines = [f"float a = {name}_centre[i] + {name}_half[i] * x[i];"]
    lines.append(f"action[i] = fminf(fmaxf(a, {name}_low[i]), {name}_high[i]);")
    loop = [f"for (int i = 0; i < {len(edges['low'])}; i++) {{", *(f"    {line}" for line in lines), "}"]
    made = [array(f"{name}_{what}", x.tolist()) for what, x in edges.items()]
    return "void", "const float *obs, float *action", made, loop
