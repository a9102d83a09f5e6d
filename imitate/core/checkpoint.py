"""State on disk: tensors in safetensors, everything else in JSON, replaced atomically, nothing ever executed.

A record `NAME` is `NAME.json` and the tensor file that it names. The tensor file carries a hash of its content in its
name and is written first; replacing the JSON is the one step that commits, so a crash leaves the old record or the
new one. Several records are committed together by a journal: it holds all their JSON for as long as it takes to put
that in its places. Whoever reads looks there first, so that nobody ever sees one record new and another old.

The last of them may remember those before, whose tensor files then stay: until they are settled there is a way back.
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

__all__ = [
    "commit",
    "describe",
    "exists",
    "load_state",
    "parts",
    "read",
    "recover",
    "replace",
    "revert",
    "settle",
    "state_of",
    "write",
]

FORMAT = 1
JOURNAL = "commit.json"
_PIECE = 2**26  # bytes that are copied at a time
_NAMED = re.compile(r"[^\0]{1,200}\.safetensors")
_NAME = re.compile(r"[\w-]{1,100}")
_DEEP = 64  # parts of a name
_TYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64",
    torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def parts(thing: Any, known: set[int]) -> dict[str, Any]:
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
    found = parts(thing, known)
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
    expected = parts(thing, known)
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
    commit(directory, {name: (state, description)})


def commit(
    directory: Path | str, records: Mapping[str, tuple[dict[str, Any], dict[str, Any]]], *, revertible: bool = False
) -> None:
    """Write records, each a state and its description as in `write`, all of them or none.

    Who writes into one folder takes turns: see `imitate.core.lock`.

    Args:
        directory: Made if absent.
        records: By name.
        revertible: Keep those of the same names that were there, for `revert`, until they are settled.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    for _, description in records.values():
        json.dumps(description, allow_nan=False)  # what is no JSON is found before anything is written
    _finish(directory)
    documents = {}
    for name, (state, description) in records.items():
        staged = directory / f".{name}.safetensors.{os.getpid()}.tmp"
        digest = _stage(staged, dict(tree.flatten(state)))
        tensor_file = f"{name}-{digest[:12]}.safetensors"
        staged.replace(directory / tensor_file)
        documents[name] = {**description, "format": FORMAT, "tensors": tensor_file, "sha256": digest}
    if revertible and all(exists(directory, name) for name in records):
        last = documents[list(records)[-1]]
        last["before"] = {name: _without_before(describe(directory, name)) for name in records}
    if len(documents) > 1:  # no single replacement puts two files in their places
        replace(directory / JOURNAL, _encoded(documents))
    _place(directory, documents)


def recover(directory: Path | str, *names: str) -> None:
    """Finish what a killed process has begun in a folder, and sweep what it has left.

    A commit is finished or was none. Temporary files, and tensor files that none of the records `names` needs, go.
    Only for whoever is the one that writes there.

    Raises:
        ValueError: A file is not ours.
    """
    directory = Path(directory)
    _finish(directory)
    for path in directory.iterdir():
        if re.fullmatch(r"\..+\.\d+\.tmp", path.name):
            path.unlink(missing_ok=True)
    _sweep(directory, *names)


def settle(directory: Path | str, *names: str) -> None:
    """Give up the records that were there before those of these names."""
    _sweep(Path(directory), *names, revertible=False)


def revert(directory: Path | str, name: str) -> bool:
    """Put what was there before the last commit in its places again; whether there was anything.

    Args:
        directory: Where.
        name: The last record of that commit, which remembers it.
    """
    directory = Path(directory)
    before: dict[str, dict[str, Any]] = describe(directory, name).get("before", {})
    if not before or not all((directory / str(document["tensors"])).is_file() for document in before.values()):
        return False
    replace(directory / JOURNAL, _encoded(before))
    _place(directory, before)
    return True


def _without_before(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != "before"}


def _finish(directory: Path) -> None:
    """Put the records of a journal in their places, if there is one."""
    documents = _journal(directory)
    if documents:
        _place(directory, documents)


def _place(directory: Path, documents: Mapping[str, dict[str, Any]]) -> None:
    """Put the JSON of records in its places, from where a journal may hold it, and delete what was there before."""
    for name, description in documents.items():
        replace(directory / f"{name}.json", _encoded(description))
    (directory / JOURNAL).unlink(missing_ok=True)
    _sweep(directory, *documents)


def _sweep(directory: Path, *names: str, revertible: bool = True) -> None:
    """Delete the tensor files of records that these do not need, themselves or to be reverted."""
    needing = [describe(directory, name) for name in names if exists(directory, name)]
    if revertible:
        needing += [before for each in needing for before in each.get("before", {}).values()]
    needed = {each["tensors"] for each in needing}
    for name in names:
        for path in directory.glob(f"{name}-{'[0-9a-f]' * 12}.safetensors"):
            if path.name not in needed:
                path.unlink(missing_ok=True)


def _encoded(document: Mapping[str, Any]) -> bytes:
    # allow_nan=False: a NaN would make JSON that no other program reads.
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


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


def replace(path: Path, content: bytes) -> None:
    """Write a file: whoever reads it, whenever, finds the old content or the new one."""
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


def exists(directory: Path | str, name: str) -> bool:
    """Whether there is a record `name`."""
    directory = Path(directory)
    return name in _journal(directory) or (directory / f"{name}.json").is_file()  # in the order of `_place`


def describe(directory: Path | str, name: str) -> dict[str, Any]:
    """The description of the record `name`, without its tensors.

    Raises:
        FileNotFoundError: There is no such record.
        ValueError: It is not ours.
    """
    directory = Path(directory)
    path = directory / f"{name}.json"
    committed = _journal(directory).get(name)
    if committed is None and not path.is_file():
        raise FileNotFoundError(f"No {name}.json in '{directory}'.")
    with refusing(f"'{path}' was not written by imitate"):
        description = document(path) if committed is None else committed
        if not _is_record(description):
            raise ValueError("it names no tensor file")
    if description["format"] != FORMAT:
        raise ValueError(f"'{path}' has format {line(description['format'])}; this version reads format {FORMAT}.")
    return description


def read(directory: Path | str, name: str, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the record `name`: the nested dict of tensors, and the description.

    Where another process writes it meanwhile, the tensor file may be gone before it is read; then its successor is.

    Raises:
        FileNotFoundError: There is no such record.
        ValueError: A file is truncated, changed, or not ours.
    """
    description = describe(directory, name)
    try:
        return _tensors(Path(directory) / f"{name}.json", description, device), description
    except (FileNotFoundError, ValueError):
        if describe(directory, name) == description:  # nobody has written: it is damaged
            raise
    return read(directory, name, device)


def _tensors(path: Path, description: dict[str, Any], device: torch.device | str) -> dict[str, Any]:
    """The tensors of a record."""
    tensor_file = path.parent / Path(description["tensors"]).name
    if not tensor_file.is_file():
        raise ValueError(f"'{tensor_file}' is missing; '{path}' cannot be read without it.")
    if _hash(tensor_file) != description["sha256"]:
        raise ValueError(f"'{tensor_file}' is truncated or was changed: it does not match '{path}'.")
    with refusing(f"'{tensor_file}' is not a safetensors file of ours"):
        tensors = load_file(tensor_file)  # mapped, not read: a large state is copied once, into its place
        if any(key.count(".") > _DEEP for key in tensors):
            raise ValueError("its names are nested too deeply")
        return tree.unflatten({key: value.to(device) for key, value in tensors.items()})


def _journal(directory: Path) -> dict[str, dict[str, Any]]:
    """The records of a commit that is not in its places yet; none in most cases."""
    path = directory / JOURNAL
    if not path.is_file():
        return {}
    try:
        with refusing(f"'{path}' was not written by imitate"):
            documents = document(path)
            # Names become names of files: one with a slash would lie in another folder.
            if not all(map(_is_record, documents.values())) or not all(map(_NAME.fullmatch, documents)):
                raise ValueError("it holds no records")
    except FileNotFoundError:
        return {}
    return documents


def _is_record(description: Any) -> bool:
    """Whether a document can be the description of a record: it names a tensor file, and so do those before it."""
    if not isinstance(description, dict) or not {"format", "sha256"} <= description.keys():
        return False
    before = description.get("before", {})
    named = bool(_NAMED.fullmatch(str(description.get("tensors"))))
    return (
        named and isinstance(before, dict) and all("before" not in one and _is_record(one) for one in before.values())
    )
