"""Pickles that are made to harm, from a small grammar: opcodes as bytes, so that nothing is executed in making them."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

VEC_NORMALIZE = ("stable_baselines3.common.vec_env.vec_normalize", "VecNormalize")
RUNNING = ("stable_baselines3.common.running_mean_std", "RunningMeanStd")
HARMLESS = (("numpy", "dtype"), ("numpy", "ndarray"), ("gymnasium.spaces.box", "Box"), ("collections", "OrderedDict"))
HARMFUL = (
    ("builtins", "exec"), ("builtins", "eval"), ("os", "system"), ("posix", "system"), ("subprocess", "call"),
    ("numpy", "ndarray.__class__.__base__.__subclasses__"), ("numpy.random", "_x.eval"), ("builtins", "getattr"),
    ("torch._utils", "_rebuild_parameter"), ("importlib", "import_module"), ("numpy", "dtype\n"),
    ("gym.spaces.bóx", "x"),
)  # fmt: skip


def text(value: str) -> bytes:
    """Text as an opcode."""
    raw = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(module: str, name: str) -> bytes:
    """A class or function by its name."""
    return text(module) + text(name) + b"\x93"


def number(value: float) -> bytes:
    """A float."""
    return b"G" + struct.pack(">d", value)


def harm(rng: Random, canary: Path) -> bytes:
    """An object that would make a file, in one of the ways in which a pickle calls something."""
    code = f"open({str(canary)!r}, 'w').write('x')"
    way = rng.randrange(6)
    if way == 0:
        return b"cbuiltins\nexec\n(" + text(code) + b"tR"
    if way == 1:
        return named("builtins", "exec") + text(code) + b"\x85R"
    if way == 2:
        return b"(" + text(code) + b"ibuiltins\nexec\n"
    if way == 3:
        return b"(" + named("builtins", "exec") + text(code) + b"o"
    if way == 4:
        return named("os", "system") + text(f"touch {canary}") + b"\x85R"
    return named("builtins", "exec") + text(code) + b"\x85\x81"


class Harm:
    """Makes a file when it is unpickled by whoever trusts it."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return exec, (f"open({str(self.canary)!r}, 'w').write('x')",)


def array(values: Sequence[float], code: str = "f8", order: str = "<", shape: tuple[int, ...] | None = None) -> bytes:
    """An array as numpy pickles it; `shape` may be another than that of the values."""
    raw = np.array(values, "<f4" if code == "f4" else "<f8").tobytes()
    sides = b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", side) for side in shape or (len(values),)) + b"t"
    kind = named("numpy", "dtype") + b"(" + text(code) + b"\x89\x88tR"
    kind += b"(K\x03" + text(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    made = named("numpy._core.multiarray", "_reconstruct") + b"(" + named("numpy", "ndarray") + b"K\x00\x85C\x01btR"
    return made + b"(K\x01" + sides + kind + b"\x89B" + struct.pack("<I", len(raw)) + raw + b"tb"


def value(rng: Random, canary: Path, depth: int = 0) -> bytes:
    """Opcodes that put one value, most of them no good."""
    way = rng.randrange(24 if depth < 4 else 14)
    count = rng.choice((3, 40, 20_000))
    if way == 0:
        return number(rng.choice((0.0, 1.0, -1.0, 1e300, float("nan"), float("inf"))))
    if way == 1:
        return b"\x8a\x08" + struct.pack("<q", rng.choice((0, -1, 4, 2**31, 2**62, -(2**62))))
    if way == 2:  # a number of very many digits
        return rng.choice((b"L" + b"9" * count + b"L\n", b"\x8b" + struct.pack("<i", count) + b"\x11" * count))
    if way == 3:
        return rng.choice((b"N", b"\x88", b"\x89", text("x"), text("\ud800"), b"C\x01x", b")", b"]", b"}", b"\x8f"))
    if way == 4:  # more bytes than there are
        size = rng.choice((2**20, 2**31 - 1, 2**40, 2**62))
        return rng.choice((b"\x8e", b"\x96", b"\x8d", b"\x95")) + struct.pack("<Q", size) + b"x"
    if way == 5:  # a memo of gigabytes
        return b"N" + rng.choice(
            (b"r" + struct.pack("<I", 2 ** rng.randrange(20, 32)), b"p%d\n" % 10 ** rng.randrange(20))
        )
    if way == 6:  # nested tuples
        return b")" + b"\x85" * count
    if way == 7:  # nested lists
        return b"]" * count + b"a" * (count - 1)
    if way == 8:  # a tuple of itself twice, over and over: 2ⁿ of them
        return b")" + b"2\x86" * rng.choice((10, 26, 60))
    if way == 9:
        return b"]\x94" + b"2a"  # a list in itself
    if way == 10:
        return harm(rng, canary)
    if way == 11:
        return named(*rng.choice(HARMFUL + HARMLESS)) + rng.choice((b"", b")R", b")\x81", b"(Nt}\x92"))
    if way == 12:
        return array(
            [rng.choice((0.0, 1.0, -1.0, float("nan"), 1e300)) for _ in range(4)],
            rng.choice(("f8", "f4", "i8", "O", "V8", "U4", "f16", "x")),
            rng.choice("<>=|"),
            rng.choice((None, (4,), (2, 2), (-1,), (2**62,), (2**40, 2**40), (0, 2**62))),
        )
    if way == 13:
        return rng.choice(
            (b"0", b"1", b"2", b"a", b"s", b"b", b"R", b"\x93", b"Q", b"h\x05", b"\x82\x01", b"\x97", b".")
        )
    inner = value(rng, canary, depth + 1)
    if way < 17:
        return b"}" + inner + value(rng, canary, depth + 1) + b"s"  # as a key
    if way < 19:
        return b"(" + inner + value(rng, canary, depth + 1) + b"t"
    if way < 21:
        return b"]" + inner + b"a"
    return named(*rng.choice(HARMLESS)) + b")R" + inner + b"b"


def vec_normalize(rng: Random, canary: Path, size: int = 4) -> bytes:
    """A VecNormalize in which one or two things are no good."""
    running = {"mean": array([0.0] * size), "var": array([1.0] * size), "count": number(10.0)}
    fields = {"norm_obs": b"\x88", "epsilon": number(1e-8), "clip_obs": number(10.0), "unused": b"N"}
    for _ in range(rng.choice((1, 1, 2))):
        place = rng.choice((running, fields))
        name = rng.choice(list(place))
        place[name] = value(rng, canary)
    state = b"}" + b"".join(text(name) + found + b"s" for name, found in running.items())
    fields["obs_rms"] = named(*RUNNING) + b")R" + state + b"b" if rng.random() < 0.9 else value(rng, canary)
    items = list(fields.items())
    rng.shuffle(items)
    body = named(*VEC_NORMALIZE) + b")R}" + b"".join(text(name) + found + b"s" for name, found in items) + b"b."
    return b"\x80\x04" + body


def anything(rng: Random, canary: Path) -> bytes:
    """A pickle of any value."""
    if rng.random() < 0.2:
        return pickle.dumps(Harm(canary), rng.randrange(6))
    return b"\x80" + bytes([rng.choice((2, 4, 5, 5, 77))]) + value(rng, canary) + b"."


def tensor(rng: Random, name: str, key: str, shape: tuple[int, ...], canary: Path) -> bytes:
    """A tensor as torch pickles it, one of whose parts may be no good."""
    numbers = 1
    for side in shape:
        numbers *= side
    integer = lambda n: b"\x8a\x08" + struct.pack("<q", n)  # noqa: E731
    stride, left = [], numbers
    for side in shape:
        left //= max(side, 1)
        stride.append(left)
    parts = {
        "storage": b"("
        + text("storage")
        + named("torch", "FloatStorage")
        + text(key)
        + text("cpu")
        + integer(numbers)
        + b"tQ",
        "offset": integer(0),
        "size": b"(" + b"".join(map(integer, shape)) + b"t",
        "stride": b"(" + b"".join(map(integer, stride)) + b"t",
    }
    if rng.random() < 0.3:
        part = rng.choice(list(parts))
        odd = (
            integer(2**40),
            integer(-1),
            b"(" + integer(2**34) + integer(64) + b"t",
            b"(" + integer(0) + integer(0) + b"t",
        )
        parts[part] = rng.choice((*odd, value(rng, canary)))
    args = b"(" + b"".join(parts.values()) + b"\x89" + named("collections", "OrderedDict") + b")Rt"
    return text(name) + named("torch._utils", "_rebuild_tensor_v2") + args + b"R"
