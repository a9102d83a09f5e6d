"""Weights of `torch.save` read as data: a zip of numbers, and a pickle that says which of them are which tensor."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, cast

import torch
from torch import Tensor

from imitate.core import pickles
from imitate.core.pickles import Made, Named, Persistent
from imitate.core.reading import Archive, line

__all__ = ["read_weights"]

_STORAGES = {
    "torch.FloatStorage": torch.float32,
    "torch.DoubleStorage": torch.float64,
    "torch.HalfStorage": torch.float16,
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.LongStorage": torch.int64,
    "torch.IntStorage": torch.int32,
    "torch.ByteStorage": torch.uint8,
    "torch.BoolStorage": torch.bool,
}
_ALLOWED = {"collections.OrderedDict", "torch._utils._rebuild_tensor_v2", *_STORAGES}
_INDEX = "data.pkl"


def read_weights(content: bytes) -> dict[str, Tensor]:
    """A state dict of real numbers, on the CPU.

    Raises:
        ValueError: It is something else, or its tensors are larger than the file.
    """
    if content[:1] == b"\x80":
        raise ValueError("torch before 1.6 wrote such files: load it with a later one, and save it anew")
    with Archive(io.BytesIO(content)) as archive:
        indices = [name for name in archive.entries if name.partition("/")[2] == _INDEX]
        if len(indices) != 1:
            raise ValueError(f"it has {len(indices)} entries {_INDEX}")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.entries.values()):
            raise ValueError("its numbers are compressed, which torch never does")
        root = indices[0].removesuffix(_INDEX)
        if f"{root}byteorder" in archive.entries and archive.read(f"{root}byteorder") != b"little":
            raise ValueError("its numbers are big-endian")
        saved = pickles.load(archive.read(indices[0]), _ALLOWED.__contains__)
        if not (isinstance(saved, Made) and saved.kind in ("collections.OrderedDict", "dict")):
            raise ValueError("it is no state dict")
        storages: dict[str, bytearray] = {}
        found: dict[str, Tensor] = {}
        for name, value in saved.items:
            if type(name) is not str or name in found:
                raise ValueError("it names a tensor twice, or by something that is no text")
            found[name] = _tensor(value, name, archive, root, storages)
    if sum(x.numel() * x.element_size() for x in found.values()) > 4 * len(content):
        raise ValueError("its tensors share their numbers")
    return found


def _tensor(value: Any, name: str, archive: Archive, root: str, storages: dict[str, bytearray]) -> Tensor:
    """A view of its storage, which is read once."""
    if not (isinstance(value, Made) and value.kind == "torch._utils._rebuild_tensor_v2"):
        raise ValueError(f"{line(name)} is no tensor")
    storage, offset, shape, stride = value.args[:4]
    kind, key = storage.key[1:3] if isinstance(storage, Persistent) else (None, None)
    if not isinstance(kind, Named) or type(key) is not str:
        raise ValueError(f"{line(name)} has no storage")
    if key not in storages:
        storages[key] = bytearray(archive.read(f"{root}data/{key}"))
    if not all(type(x) is tuple and len(x) <= 8 and all(type(n) is int and n >= 0 for n in x) for x in (shape, stride)):
        raise ValueError(f"the shape of {line(name)} is none")
    dtype = _STORAGES[kind.name]
    flat = torch.frombuffer(storages[key], dtype=dtype) if storages[key] else torch.empty(0, dtype=dtype)
    if math.prod(shape) > len(flat):
        raise ValueError(f"{line(name)} is larger than what is stored of it")
    return flat.as_strided(shape, stride, cast(int, offset))
