"""Multilayer perceptrons as ONNX, written without a library. Letters: B batch, F features, A actions.

A model is a message of Protocol Buffers: fields, each a number with the kind of its value, one after another
(protobuf.dev/programming-guides/encoding). Numbers of fields are those of onnx/onnx.proto.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core.actions import bounds, width
from imitate.core.config import checked
from imitate.core.types import Policy
from imitate.export.code import check_named
from imitate.export.networks import chain, statistics
from imitate.nets.action_heads import GaussianHead, SquashedGaussianHead
from imitate.nets.actor import Actor
from imitate.nets.compression import quantise
from imitate.nets.layers import ACTIVATIONS
from imitate.nets.q_network import QNetwork
from imitate_envs.base import Box, Discrete

__all__ = ["onnx_model"]

OPSET = 17  # of operators; ONNX Runtime has known it since 1.12
IR = 8  # version of the format that goes with it
FLOAT, INT8, INT64 = 1, 3, 7  # TensorProto.DataType
TYPES = {np.dtype(np.float32): FLOAT, np.dtype(np.int8): INT8, np.dtype(np.int64): INT64}
OPERATORS: dict[Callable[[Tensor], Tensor], str] = {
    ACTIVATIONS["tanh"]: "Tanh",
    ACTIVATIONS["relu"]: "Relu",
    ACTIVATIONS["elu"]: "Elu",
}


@checked
def onnx_model(policy: Policy, *, member: int = 0, int8: bool = False) -> bytes:
    """One member of a multilayer perceptron as a model of ONNX: "obs" [B, F] of float32 -> "action".

    Actions are those of `predict(..., deterministic=True)`: choices [B] of int64 as the environment takes them, or of a
    Box the means [B, A], inside the bounds. Features are those of `c_header`. Outputs are equal to torch's but for
    rounding.

    Args:
        policy: An `Actor`, or a `QNetwork` of mean returns.
        member: Which member of the population.
        int8: Store the weights as bytes, which the runtime multiplies by a scale for each output. ONNX Runtime then
            rounds inputs of layers to eight bits too, unless its session is told not to
            (`session.qdq_matmulnbits_accuracy_level` "1").

    Raises:
        ValueError: There is no such member, or the network cannot be written so.
    """
    check_named(policy, member, "policy")
    if not isinstance(policy, Actor | QNetwork):
        raise ValueError(f"policy: a {type(policy).__name__} is not written as ONNX; networks of ours are.")
    graph, layers = _Graph(), [layer.detach()[member].cpu() for layer in chain(policy)]
    x = "obs"
    if policy.body.normaliser is not None:
        norm = policy.body.normaliser
        mean, scale = (np.array(part, np.float32) for part in statistics(norm, member).values())
        x = graph.node("Mul", graph.node("Sub", x, graph.constant(mean)), graph.constant(scale))
        x = graph.node("Clip", x, *(graph.constant(np.float32(end)) for end in (-norm.clip, norm.clip)))
    for number, (weight, bias) in enumerate(zip(layers[::2], layers[1::2], strict=True)):
        if number:
            x = _activated(graph, policy.body.activation, x)
        x = graph.node("Gemm", x, _weight(graph, weight, int8), graph.constant(bias[0].numpy()))
    action, kind, size = _action(graph, policy, x)
    return graph.model(action, len(layers[0]), kind, size)


def _weight(graph: _Graph, weight: Tensor, int8: bool) -> str:
    if not int8:
        return graph.constant(weight.numpy())
    whole, scale = (part.numpy() for part in quantise(weight))
    return graph.node("DequantizeLinear", graph.constant(whole), graph.constant(scale[0]), axis=1)


def _activated(graph: _Graph, activation: Callable[[Tensor], Tensor], x: str) -> str:
    if activation in OPERATORS:
        return graph.node(OPERATORS[activation], x)
    if activation is ACTIVATIONS["leaky_relu"]:  # whose slope below 0 is ONNX's default, too
        return graph.node("LeakyRelu", x)
    if activation is ACTIVATIONS["silu"]:
        return graph.node("Mul", x, graph.node("Sigmoid", x))
    phi = graph.node("Erf", graph.node("Mul", x, graph.constant(np.float32(math.sqrt(0.5)))))  # GELU
    share = graph.node("Mul", graph.node("Add", phi, graph.constant(np.float32(1))), graph.constant(np.float32(0.5)))
    return graph.node("Mul", x, share)


def _action(graph: _Graph, policy: Actor | QNetwork, x: str) -> tuple[str, int, tuple[int, ...]]:
    """Name, type and shape (behind B) of the action."""
    if isinstance(policy.action, Discrete):
        best = graph.node("ArgMax", x, axis=-1, keepdims=0)
        start = policy.action.start
        return graph.node("Add", best, graph.constant(np.int64(start))) if start else best, INT64, ()
    if not isinstance(policy.action, Box):
        raise ValueError(f"policy: actions of a Discrete or a Box are written as ONNX, not those of {policy.action}.")
    head, count = policy.head, width(policy.action)
    if isinstance(head, SquashedGaussianHead):
        starts, ends = (graph.constant(np.array([end], np.int64)) for end in (0, count))
        mean = graph.node("Slice", x, starts, ends, graph.constant(np.array([-1], np.int64)))
        centre, half = (head.low + head.high) / 2, (head.high - head.low) / 2
        x = _scaled(graph, graph.node("Tanh", mean), centre, half)
    elif isinstance(head, GaussianHead) and head.scaled:
        x = _scaled(graph, x, head.centre, head.half_range)
    low, high = (graph.constant(end.numpy()) for end in bounds(policy.action, torch.device("cpu")))
    return graph.node("Min", graph.node("Max", x, low), high), FLOAT, (count,)


def _scaled(graph: _Graph, x: str, centre: Tensor, half: Tensor) -> str:
    scaled = graph.node("Mul", x, graph.constant(half.cpu().numpy()))
    return graph.node("Add", scaled, graph.constant(centre.cpu().numpy()))


class _Graph:
    """Nodes and constants, encoded as they come."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.constants: list[bytes] = []

    def constant(self, value: NDArray[np.generic] | np.generic) -> str:
        """Its name; TensorProto: dims 1, data_type 2, name 8, raw_data 9."""
        array, name = np.asarray(value), f"constant_{len(self.constants)}"
        dims = b"".join(_number(1, size) for size in array.shape)
        raw = array.astype(array.dtype.newbyteorder("<")).tobytes()
        self.constants.append(dims + _number(2, TYPES[array.dtype]) + _text(8, name) + _bytes(9, raw))
        return name

    def node(self, operator: str, *inputs: str, **attributes: int) -> str:
        """The name of its output; NodeProto: input 1, output 2, op_type 4, attribute 5."""
        name = f"value_{len(self.nodes)}"
        # AttributeProto: name 1, i 3, type 20, which is 2 for a whole number.
        given = [_text(1, key) + _number(3, value) + _number(20, 2) for key, value in attributes.items()]
        parts = [*(_text(1, one) for one in inputs), _text(2, name), _text(4, operator)]
        self.nodes.append(b"".join([*parts, *(_bytes(5, one) for one in given)]))
        return name

    def model(self, output: str, features: int, kind: int, shape: Sequence[int]) -> bytes:
        """The file. ModelProto: ir_version 1, producer_name 2, graph 7, opset_import 8.

        GraphProto: node 1, name 2, initializer 5, input 11, output 12. OperatorSetIdProto: version 2.
        """
        self.nodes.append(_text(1, output) + _text(2, "action") + _text(4, "Identity"))
        graph = b"".join(
            [
                *(_bytes(1, node) for node in self.nodes),
                _text(2, "policy"),
                *(_bytes(5, constant) for constant in self.constants),
                _bytes(11, _value("obs", FLOAT, (features,))),
                _bytes(12, _value("action", kind, shape)),
            ]
        )
        return _number(1, IR) + _text(2, "imitate") + _bytes(7, graph) + _bytes(8, _number(2, OPSET))


def _value(name: str, kind: int, shape: Sequence[int]) -> bytes:
    """ValueInfoProto of [B, *shape]: name 1, type 2; its dimensions are names 2 or numbers 1."""
    dims = [_text(2, "B"), *(_number(1, size) for size in shape)]
    tensor = _number(1, kind) + _bytes(2, b"".join(_bytes(1, dim) for dim in dims))
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; a negative number as that of 64 bits."""
    number %= 1 << 64
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())
