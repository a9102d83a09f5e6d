"""State on disk: tensors in safetensors, everything else in JSON, replaced atomically, nothing ever executed.

A record `NAME` is `NAME.json` and the tensor file that it names. The tensor file carries a hash of its content in its
name and is written first; replacing the JSON is the one step that commits, so a crash leaves the old record or the
new one.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from imitate.core import tree
from imitate.core.types import Stateful

__all__ = ["load_state", "read", "state_of", "write"]

FORMAT = 1


def _stateful(thing: Any) -> dict[str, Any]:
    """Attributes that are tensors or `Stateful`, each object under its first name only."""
    found: dict[str, Any] = {}
    for name, value in vars(thing).items():
        known = any(value is other for other in found.values())
        if isinstance(value, (Tensor, Stateful)) and not known:
            found[name] = value
    return found


def state_of(thing: Any) -> dict[str, Any]:
    """The state of an object: its attributes that are tensors or `Stateful`.

    So whatever changes during a run has to be one of the two; a plain counter would be lost.
    """
    return {
        name: value if isinstance(value, Tensor) else value.state_dict() for name, value in _stateful(thing).items()
    }


def load_state(thing: Any, state: dict[str, Any]) -> None:
    """Put a state of `state_of` back, in place.

    Raises:
        ValueError: The state is of another kind of object, or of other shapes.
    """
    expected = _stateful(thing)
    # A part without content (a policy without parameters) leaves no trace in a file of tensors.
    unknown = set(state) - set(expected)
    if unknown:
        raise ValueError(f"checkpoint: {type(thing).__name__} has no {', '.join(sorted(unknown))}.")
    for name, value in expected.items():
        saved = state.get(name, {})
        if isinstance(value, Tensor):
            if not isinstance(saved, Tensor) or saved.shape != value.shape:
                found = tuple(saved.shape) if isinstance(saved, Tensor) else "nothing"
                raise ValueError(f"checkpoint: {name} is {found}, this run needs {tuple(value.shape)}.")
            value.copy_(saved)
        else:
            try:
                value.load_state_dict(dict(tree.flatten(saved)) if isinstance(value, torch.nn.Module) else saved)
            except (KeyError, RuntimeError) as error:
                reason = str(error).strip().splitlines()[-1].strip()
                raise ValueError(f"checkpoint: {name} does not fit this run: {reason}") from error


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
    tensors = {path: value.detach().cpu().contiguous().clone() for path, value in tree.flatten(state)}
    content = save_tensors(tensors)
    digest = hashlib.sha256(content).hexdigest()
    tensor_file = f"{name}-{digest[:12]}.safetensors"
    document = {**description, "format": FORMAT, "tensors": tensor_file, "sha256": digest}
    # allow_nan=False: a NaN would make JSON that no other program reads.
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    _replace(directory / tensor_file, content)
    _replace(directory / f"{name}.json", text.encode())
    for old in directory.glob(f"{name}-{'?' * 12}.safetensors"):
        if old.name != tensor_file:
            old.unlink(missing_ok=True)


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read(directory: Path | str, name: str, device: torch.device | str = "cpu") -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the record `name`: the nested dict of tensors, and the description.

    Raises:
        FileNotFoundError: There is no such record.
        ValueError: A file is truncated, changed, or not ours.
    """
    path = Path(directory) / f"{name}.json"
    if not path.is_file():
        raise FileNotFoundError(f"No {name}.json in '{directory}'.")
    foreign = f"'{path}' was not written by imitate"
    try:
        description = json.loads(path.read_text("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{foreign}: it is not JSON ({error}).") from error
    if not isinstance(description, dict) or not {"format", "tensors", "sha256"} <= description.keys():
        raise ValueError(f"{foreign}: it names no tensor file.")
    if description["format"] != FORMAT:
        raise ValueError(f"'{path}' has format {description['format']}; this version reads format {FORMAT}.")
    tensor_file = path.parent / Path(str(description["tensors"])).name
    if not tensor_file.is_file():
        raise ValueError(f"'{tensor_file}' is missing; '{path}' cannot be read without it.")
    content = tensor_file.read_bytes()
    if hashlib.sha256(content).hexdigest() != description["sha256"]:
        raise ValueError(f"'{tensor_file}' is truncated or was changed: it does not match '{path}'.")
    try:
        tensors = load_tensors(content)
    except SafetensorError as error:
        raise ValueError(f"'{tensor_file}' is not a safetensors file: {error}") from error
    return tree.unflatten({key: value.to(device) for key, value in tensors.items()}), description
