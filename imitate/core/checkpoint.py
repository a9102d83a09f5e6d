"""State on disk: tensors in safetensors, everything else in JSON, replaced atomically, nothing ever executed.

A record `NAME` is `NAME.json` and the tensor file that it names. The tensor file carries a hash of its content in its
name and is written first; replacing the JSON is the one step that commits, so a crash leaves the old record or the
new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from imitate.core import tree
from imitate.core.reading import document, line, refusing
from imitate.core.types import Stateful

__all__ = ["load_state", "read", "state_of", "write"]

FORMAT = 1
_PIECE = 2**26  # bytes that are copied at a time
_NAMED = re.compile(r"[^\0]{1,200}\.safetensors")
_DEEP = 64  # parts of a name
_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def _stateful(thing: Any, known: set[int]) -> dict[str, Any]:
    """Attributes that are tensors, `Stateful` or walked in turn, each object under its first name only.

    Who drives a source belongs to the algorithm, and is none of the source's state.
    """
    found: dict[str, Any] = {}
    source = hasattr(type(thing), "collect")
    for name, value in vars(thing).items():
        if id(value) in known or (source and hasattr(type(value), "act")):
            continue
        if isinstance(value, (Tensor, Stateful)) or _walked(value):
            known.add(id(value))
            found[name] = value
    return found


def _walked(value: Any) -> bool:
    """Whether an object is saved by its attributes: an algorithm, a source or a reward model inside of another."""
    return hasattr(value, "__dict__") and any(hasattr(type(value), name) for name in ("step", "collect", "learn"))


def state_of(thing: Any, known: set[int] | None = None) -> dict[str, Any]:
    """The state of an object: its attributes that are tensors or `Stateful`.

    So whatever changes during a run has to be one of the two; a plain counter would be lost. Algorithms, sources and
    reward models among the attributes that are not `Stateful` themselves are walked in the same way.

    Args:
        thing: The object.
        known: Identities of what is saved elsewhere.
    """
    known = {id(thing)} if known is None else known
    found = _stateful(thing, known)
    return {
        name: value
        if isinstance(value, Tensor)
        else value.state_dict()
        if isinstance(value, Stateful)
        else state_of(value, known)
        for name, value in found.items()
    }


def load_state(thing: Any, state: dict[str, Any], known: set[int] | None = None) -> None:
    """Put a state of `state_of` back, in place.

    Raises:
        ValueError: The state is of another kind of object, or of other shapes.
    """
    known = {id(thing)} if known is None else known
    expected = _stateful(thing, known)
    # A part without content (a policy without parameters) leaves no trace in a file of tensors.
    unknown = set(state) - set(expected)
    if unknown:
        raise ValueError(f"{type(thing).__name__} has no {', '.join(sorted(unknown))}.")
    for name, value in expected.items():
        saved = state.get(name, {})
        if isinstance(value, Tensor):
            if not isinstance(saved, Tensor) or saved.shape != value.shape:
                found = tuple(saved.shape) if isinstance(saved, Tensor) else "nothing"
                raise ValueError(f"{name} is {found}, this run needs {tuple(value.shape)}.")
            with refusing(f"{name} does not fit this run"):
                _alike({name: value}, {name: saved})
            value.copy_(saved)
        elif isinstance(saved, Tensor):
            raise ValueError(f"{name} is a tensor, this run needs its parts.")
        elif not isinstance(value, Stateful):
            load_state(value, saved, known)
        else:
            with refusing(f"{name} does not fit this run"):
                flat = dict(tree.flatten(saved))
                _alike(dict(tree.flatten(value.state_dict())), flat)
                if isinstance(value, torch.nn.Module):
                    endless = [name for name, x in flat.items() if not bool(x.isfinite().all())]
                    if endless:
                        raise ValueError(f"{endless[0]} is not finite")
                    value.load_state_dict(flat)
                else:
                    value.load_state_dict(saved)


def _alike(mine: Mapping[str, Tensor], saved: Mapping[str, Tensor]) -> None:
    """Make sure that saved tensors are of the types and dimensions of those in their places, and are numbers.

    Raises:
        ValueError: One is not.
    """
    for name, value in saved.items():
        like = mine.get(name, value)
        if value.dtype != like.dtype or value.dim() != like.dim():
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}, not {like.dtype} {tuple(like.shape)}")
        if value.is_floating_point() and bool(value.isnan().any()):
            raise ValueError(f"{name} is not a number everywhere")


def write(directory: Path | str, name: str, state: dict[str, Any], description: dict[str, Any]) -> None:
    """Write a nested dict of tensors and a JSON description as the record `name`, atomically.

    Args:
        directory: Made if absent.
        name: Name of the record.
        state: Nested dict of tensors.
        description: What JSON can hold.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    json.dumps(description, allow_nan=False)  # what is no JSON is found before anything is written
    staged = directory / f".{name}.safetensors.{os.getpid()}.tmp"
    digest = _stage(staged, dict(tree.flatten(state)))
    tensor_file = f"{name}-{digest[:12]}.safetensors"
    record = {**description, "format": FORMAT, "tensors": tensor_file, "sha256": digest}
    # allow_nan=False: a NaN would make JSON that no other program reads.
    text = json.dumps(record, indent=2, allow_nan=False) + "\n"
    staged.replace(directory / tensor_file)
    _replace(directory / f"{name}.json", text.encode())
    for old in directory.glob(f"{name}-{'?' * 12}.safetensors"):
        if old.name != tensor_file:
            old.unlink(missing_ok=True)


def _stage(path: Path, tensors: dict[str, Tensor]) -> str:
    """Write a safetensors file piece by piece, since a replay may take most of the memory; the hash of its content."""
    header, offset = {}, 0
    # Large numbers first, so that each begins at a multiple of its size.
    order = sorted(tensors, key=lambda key: (-tensors[key].element_size(), key))
    for key in order:
        x, begin = tensors[key], offset
        offset += x.numel() * x.element_size()
        header[key] = {"dtype": _TYPES[x.dtype], "shape": list(x.shape), "data_offsets": [begin, offset]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:

        def put(content: bytes | memoryview) -> None:
            digest.update(content)
            file.write(content)

        put(len(text).to_bytes(8, "little") + text)
        for key in order:
            for piece in _pieces(tensors[key].detach()):
                put(piece.view(torch.uint8).numpy().data)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()


def _pieces(x: Tensor) -> Iterator[Tensor]:
    """Flat parts on the CPU, in order, each of at most 64 MiB."""
    size = x.numel() * x.element_size()
    if size <= _PIECE or x.dim() == 0:
        yield x.cpu().clone(memory_format=torch.contiguous_format).view(-1)
    elif len(x) == 1:
        yield from _pieces(x[0])
    else:
        for part in x.split(max(1, len(x) * _PIECE // size)):
            yield from _pieces(part)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while content := file.read(_PIECE):
            digest.update(content)
    return digest.hexdigest()


def read(directory: Path | str, name: str, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the record `name`: the nested dict of tensors, and the description.

    Raises:
        FileNotFoundError: There is no such record.
        ValueError: A file is truncated, changed, or not ours.
    """
    path = Path(directory) / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"No {name}.json in '{directory}'.")
    with refusing(f"'{path}' was not written by imitate"):
        description = document(path)
        if not _NAMED.fullmatch(str(description.get("tensors"))) or not {"format", "sha256"} <= description.keys():
            raise ValueError("it names no tensor file")
    if description["format"] != FORMAT:
        raise ValueError(f"'{path}' has format {line(description['format'])}; this version reads format {FORMAT}.")
    tensor_file = path.parent / Path(description["tensors"]).name
    if not tensor_file.is_file():
        raise ValueError(f"'{tensor_file}' is missing; '{path}' cannot be read without it.")
    if _hash(tensor_file) != description["sha256"]:
        raise ValueError(f"'{tensor_file}' is truncated or was changed: it does not match '{path}'.")
    with refusing(f"'{tensor_file}' is not a safetensors file of ours"):
        tensors = load_file(tensor_file)  # mapped, not read: a large state is copied once, into its place
        if any(key.count(".") > _DEEP for key in tensors):
            raise ValueError("its names are nested too deeply")
        return tree.unflatten({key: value.to(device) for key, value in tensors.items()}), description
