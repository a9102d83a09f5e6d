"""Microseconds of a decision: in torch, in ONNX Runtime, and in C. Letters: B observations, F features."""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from imitate.core import tree
from imitate.core.actions import width
from imitate.core.config import Count, checked
from imitate.core.types import Obs, Policy
from imitate.export.code import c_header
from imitate.export.onnx import onnx_model
from imitate.nets.actor import Actor
from imitate.nets.tree_policy import TreePolicy
from imitate_envs.base import Discrete, Space

__all__ = ["FLOAT32", "Latency", "compiled", "latency", "missing"]

T = TypeVar("T")

# With weights of eight bits ONNX Runtime by itself rounds what they are multiplied with to eight bits, too.
FLOAT32 = "session.qdq_matmulnbits_accuracy_level"

_LOOP = """
void run(const float *x, long count, long features, {kind} *out) {{
    for (long i = 0; i < count; i++, x += features) {call};
}}
"""


@dataclass(frozen=True)
class Latency:
    """Microseconds that one member takes for a decision, each the median over blocks; None where there is no such form.

    Args:
        eager: A call in torch, of one observation.
        onnx: A call of ONNX Runtime on one thread, of one observation.
        c: The function of `c_header`, compiled with -O2 and called from C.
    """

    eager: float | None
    onnx: float | None
    c: float | None


def missing() -> tuple[str, ...]:
    """What this machine lacks for the columns of `Latency`, and how to mend it."""
    notes = []
    if find_spec("onnxruntime") is None:
        notes.append("onnx: ONNX Runtime is not installed, so there is no time of it; pip install onnxruntime.")
    if shutil.which("cc") is None:
        notes.append("c: there is no compiler named cc, so there is no time of C; install one, such as gcc.")
    return tuple(notes)


@checked
def latency(
    policy: Policy, obs: Obs, action: Space, *, member: int = 0, int8: bool = False, blocks: Count = 15
) -> Latency:
    """Measure how long one member takes to act, alone and greedily.

    Args:
        policy: Who acts. In torch only a policy is measured that can be taken apart into members.
        obs: Observations [B, ...], taken in turn.
        action: Space of actions.
        member: Which member of the population.
        int8: Write the other forms with weights of eight bits; in torch there is none.
        blocks: Of B calls; each gives a mean, and of those the median counts.
    """
    alone = policy.member(member) if isinstance(policy, Actor) else policy
    eager = onnx = c = None
    with torch.inference_mode():
        if getattr(alone, "members", 1) == 1 and not int8:
            rows = tree.unbind(tree.map(lambda x: x.unsqueeze(1).unsqueeze(1), obs))  # each [M = 1, N = 1, ...]
            eager = _median(lambda i: alone.act(rows[i], None, None), len(rows), blocks)
        model = _written(lambda: onnx_model(policy, member=member, int8=int8))
        if model is not None and find_spec("onnxruntime") is not None:
            session, each = _session(model), np.split(_features(policy, obs), len(tree.leaves(obs)[0]))
            onnx = _median(lambda i: session.run(None, {"obs": each[i]}), len(each), blocks)
        header = _written(lambda: c_header(policy, member=member, int8=int8))
        if header is not None and shutil.which("cc") is not None:
            run, many = compiled(header, action), np.tile(_features(policy, obs), (100, 1))
            c = _median(lambda i: run(many), 1, blocks) / len(many)
    return Latency(eager, onnx, c)


@checked
def compiled(header: str, action: Space) -> Callable[[NDArray[np.float32]], NDArray[Any]]:
    """The function of a header of `c_header`, compiled by cc: features [B, F] of float32 -> actions [B] or [B, A].

    Args:
        header: Written with the name "policy".
        action: Space of actions.

    Raises:
        FileNotFoundError: There is no compiler.
        subprocess.CalledProcessError: It refuses the header.
    """
    choices = isinstance(action, Discrete)
    size = 1 if choices else width(action)
    kind, call = ("int", "out[i] = policy_act(x)") if choices else ("float", f"policy_act(x, out + {size} * i)")
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "main.c"), Path(folder, "policy.so")
        source.write_text(header + _LOOP.format(kind=kind, call=call), "utf-8")
        subprocess.run(["cc", "-std=c99", "-O2", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
        run = ctypes.CDLL(str(library)).run

    def act(features: NDArray[np.float32]) -> NDArray[Any]:
        features = np.ascontiguousarray(features, np.float32)
        out = np.empty((len(features), size), np.int32 if choices else np.float32)
        places = [ctypes.c_void_p(array.ctypes.data) for array in (features, out)]
        run(places[0], *map(ctypes.c_long, features.shape), places[1])
        return out[:, 0] if choices else out

    return act


def _features(policy: Any, obs: Obs) -> NDArray[np.float32]:
    """Observations [B, ...] as the other forms take them, [B, F]."""
    inputs = policy.inputs if isinstance(policy, TreePolicy) else policy.body.inputs
    return inputs(tree.map(lambda x: x.unsqueeze(0), obs), None)[0].float().cpu().numpy()  # type: ignore[no-any-return]


def _written(write: Callable[[], T]) -> T | None:
    """A form of a policy; None where it has none."""
    try:
        return write()
    except ValueError:
        return None


def _session(model: bytes) -> Any:
    import onnxruntime  # optional

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry(FLOAT32, "1")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _median(call: Callable[[int], object], count: int, blocks: int) -> float:
    """Microseconds of one of `count` calls: the median over blocks, behind one block of warm-up."""
    means = []
    for _ in range(blocks + 1):
        start = time.perf_counter()
        for i in range(count):
            call(i)
        means.append(1e6 * (time.perf_counter() - start) / count)
    return statistics.median(means[1:])
