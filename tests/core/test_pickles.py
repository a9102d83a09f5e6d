"""The reader of pickles: what Python's own makes of them, and what only looks like one."""

import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from imitate.core.pickles import Made, Named, Persistent, load


def plain(value):
    """What `load` gives, as Python has it; only for what is neither deep nor shared."""
    if isinstance(value, Made):
        assert value.kind == "dict"
        return {plain(key): plain(part) for key, part in value.items}
    return type(value)(map(plain, value)) if isinstance(value, (list, tuple)) else value


def nothing(name):
    return False


def everything(name):
    return True


VALUES = [
    None, True, False, 0, -1, 255, 256, 65536, 2**31, -(2**31), 2**63, -(10**50), 0.0, -1.5, 1e300,
    "", "x", "ü\n\\", "a" * 300, b"", b"\x00\xff", b"x" * 300, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4),
    [], [1, [2, [3]]], list(range(3000)), {}, {"a": 1, 2: (3, {"b": []})},
]  # fmt: skip


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_those_of_python(protocol):
    for value in VALUES:
        if protocol < 3 and isinstance(value, bytes):
            continue  # called by a function then
        assert plain(load(pickle.dumps(value, protocol), nothing)) == value
    shared = [1]
    found = load(pickle.dumps((shared, shared), protocol), nothing)
    assert found[0] is found[1]


@pytest.mark.parametrize("protocol", range(6))
def test_objects_are_described_and_not_made(protocol):
    found = load(pickle.dumps(np.arange(6.0).reshape(2, 3), protocol), everything)
    assert isinstance(found, Made)
    assert found.kind.rpartition(".")[2] in ("_reconstruct", "_frombuffer")
    counted = load(pickle.dumps(OrderedDict(a=1, b=2), protocol), everything)
    assert counted.kind == "collections.OrderedDict"
    kind = load(pickle.dumps(OrderedDict, protocol), everything)
    assert isinstance(kind, Named)
    assert kind.name == "collections.OrderedDict"


def test_only_what_is_allowed_is_spoken_of():
    content = pickle.dumps(OrderedDict(a=1))
    assert load(content, {"collections.OrderedDict"}.__contains__)["a"] == 1
    with pytest.raises(ValueError, match=r"it asks for collections\.OrderedDict, which"):
        load(content, nothing)


def test_the_last_of_two_values_counts():
    found = load(b"\x80\x04}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00aK\x02u.", nothing)
    assert found["a"] == 2
    with pytest.raises(KeyError):
        found["b"]


def test_what_lies_elsewhere_is_its_key():
    assert isinstance(load(b"\x80\x02K\x05Q.", nothing), Persistent)


def deep(count):
    return b"\x80\x04)" + b"\x85" * count


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04Nr" + struct.pack("<I", 2**30) + b".", "its memo reaches"),  # 16 GB for Python's own reader
        (b"Np536870912\n.", "its memo reaches"),
        (b"Np-1\n.", "its memo reaches"),
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**34) + b"x.", "expected 17179869184 bytes"),
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"x.", "bytes"),
        (b"L" + b"9" * 10**6 + b"L\n.", "digits"),
        (b"\x80\x04h\x05.", "5"),
        (b"\x80\x04\x85.", "it takes what it has not put"),
        (b"\x80\x04t.", "it has no mark"),
        (b"\x80\x04Nb.", "it puts something into a"),
        (b"\x80\x04N.", None),
        (b"\x80\x04", "pickle exhausted before seeing STOP"),
        (b"", "pickle exhausted"),
        (b"\x80\x05N\x98.", "READONLY_BUFFER, which such a file has no need of"),
        (b"\x82\x01.", "EXT1, which such a file has no need of"),
        (b"\x80\x04N)R.", "it calls a NoneType"),
        (b"\x80\x04NN\x93.", "a name in it is no text"),
        (b"\x80\x04" + b"N0" * 50_000 + b"N.", "more than 50,000 opcodes"),
        (deep(49_000) + b".", None),  # the interpreter ends where a key is so deep, or its hash
        (b"\x80\x04}" + deep(48_000)[2:] + b"Ns.", None),
        (b"\x80\x04})" + b"2\x86" * 60 + b"Ns.", None),  # 2⁶⁰ tuples for whoever hashes them
        (b"\x80\x04]\x942a.", None),
        (b"]" * 24_000 + b"a" * 23_999 + b".", None),
    ],
)
def test_what_is_no_good_is_refused_or_does_nothing(content, message):
    if message is None:
        load(content, everything)
    else:
        with pytest.raises((ValueError, KeyError), match=message):
            load(content, everything)


def test_whatever_bytes_change_nothing_else_is_raised():
    rng = np.random.default_rng(0)
    good = pickle.dumps({"a": [1, (2.0, "x")], "b": np.arange(3), "c": OrderedDict(d=1)}, 4)
    refused = 0
    for _ in range(1000):
        content = bytearray(good)
        for at in rng.integers(len(content), size=rng.choice([1, 2, 10])):
            content[at] = rng.integers(256)
        try:
            load(bytes(content), everything)
        except (ValueError, KeyError):
            refused += 1
    assert 250 < refused < 1000
