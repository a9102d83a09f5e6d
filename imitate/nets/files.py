"""Reading any policy of ours: the record says of which kind it is, and of which generation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.nets.actor import Actor, Architecture
from imitate.nets.layers import Population
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.return_heads import HEADS
from imitate.nets.saving import described, weights_into
from imitate.nets.tabular_policy import TabularPolicy, read_table

__all__ = ["load"]


@checked
def load(
    directory: Path | str, device: torch.device | str = "cpu", *, build: Callable[[], nn.Module] | None = None
) -> Actor | TabularPolicy | QNetwork:
    """Read a policy that its `save` wrote, of this version or of those before it.

    Args:
        directory: Where it was saved: a run, or a folder with `policy.json`.
        device: Where it is to live.
        build: Makes one plain `nn.Module`, for an actor around a network of your own; see `nets.policy`.

    Raises:
        FileNotFoundError: There is no policy in `directory`.
        ValueError: The files are truncated, changed, not ours, or need `build`.
    """
    state, description = checkpoint.read(directory, "policy", device)
    kind = description.get("kind")
    if kind == "TabularPolicy":
        return read_table(state, description, directory)
    weights = dict(tree.flatten(state))
    if kind in ("NetworkPolicy", "ValuePolicy", "RecurrentPolicy"):
        kind, weights, description = _modern(str(kind), weights, description)
    if kind == "QNetwork":
        return _q_network(weights, description, directory, device)
    if kind == "Actor":
        return _actor(weights, description, directory, device, build)
    raise ValueError(f"'{directory}': policy.json is foreign: it holds a {kind}.")


def _actor(
    weights: dict[str, Tensor],
    description: dict[str, Any],
    directory: Path | str,
    device: torch.device | str,
    build: Callable[[], nn.Module] | None,
) -> Actor:
    spaces = described(description, directory)
    with _complete(directory):
        custom, made = bool(description["custom_network"]), _architecture(Architecture, description)
    if custom and build is None:
        raise ValueError(f"build: '{directory}' holds a network of your own; pass the function that builds it.")
    inside = Population(build, spaces[2], Stream(0, "init")) if custom and build is not None else None
    with _complete(directory):
        loaded = Actor(*spaces, made, Stream(0, "init", device), network=inside, env=description.get("env"))
    weights_into(loaded, weights, directory)
    return loaded


def _q_network(
    weights: dict[str, Tensor], description: dict[str, Any], directory: Path | str, device: torch.device | str
) -> QNetwork:
    spaces = described(description, directory)
    with _complete(directory):
        made = _architecture(QArchitecture, description)
        loaded = QNetwork(*spaces, made, Stream(0, "init", device), env=description.get("env"))
    weights_into(loaded, weights, directory)
    return loaded


@contextmanager
def _complete(directory: Path | str) -> Iterator[None]:
    """What a description lacks, or has of another type, in one sentence."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"'{directory}': policy.json is incomplete or foreign ({error}).") from error


def _architecture(kind: type[Any], description: dict[str, Any]) -> Any:
    """The architecture that a description describes.

    Raises:
        KeyError: It lacks a field, or has one that is unknown.
        TypeError: A field is of another type.
    """
    document = dict(description["architecture"])
    unknown = document.keys() - {field.name for field in fields(kind)}
    if unknown:
        raise KeyError(", ".join(sorted(unknown)))
    document["hidden"] = tuple(document["hidden"])
    if "head" in document:
        head = dict(document["head"])
        document["head"] = HEADS[head.pop("kind")](**head)
    return kind(**document)


# Names of the weights of the first format, and what they are called since bodies and heads are apart.
_RENAMED: dict[str, list[tuple[str, str]]] = {
    "NetworkPolicy": [
        (r"normaliser\.", "body.normaliser."),
        (r"log_std", "head.log_std"),
        (r"network\.convolutions\.", "body.images.0."),
        (r"network\.head\.layers\.0\.", "body.image_layers.0."),
        (r"network\.head\.layers\.1\.", "head.linear."),
    ],
    "RecurrentPolicy": [(r"core\.", "body.cell."), (r"head\.", "head.linear.")],
    "ValuePolicy": [
        (r"normaliser\.", "body.normaliser."),
        (r"trunk\.", "body.images.0."),
        (r"(advantage|state_value|embedding|proposal)\.", r"head.\1."),
    ],
}


def _modern(
    kind: str, weights: dict[str, Tensor], description: dict[str, Any]
) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """A policy of the first format as one of today: its kind, its weights by other names, what is new as it was."""
    old = dict(description.get("architecture", {}))
    architecture: dict[str, Any] = old
    if kind == "RecurrentPolicy":
        architecture = {"hidden": [], "gru": old.get("hidden"), "scaled": False}
        description = {**description, "custom_network": False}
    elif kind == "NetworkPolicy":
        architecture = {**old, "scaled": False}
        if any(name.startswith("network.convolutions.") for name in weights):
            architecture["hidden"] = [1]  # looked at by nobody then; today none would mean no layer behind an image
    last = len(old.get("hidden", ())) if isinstance(old.get("hidden"), list) else 0
    image = any(name.startswith("trunk.") for name in weights)

    def name(key: str) -> str:
        if key.startswith("prior."):
            return f"prior.{name(key.removeprefix('prior.'))}"
        if match := re.match(r"network\.layers\.(\d+)\.(.*)", key):
            layer = int(match[1])
            return f"head.linear.{match[2]}" if layer == last else f"body.layers.{layer}.{match[2]}"
        if match := re.match(r"hidden\.(\d+)\.(.*)", key):
            layer = int(match[1])
            if image:
                return key.replace("hidden.", "head.hidden.", 1)
            # The first layer never takes noise.
            below = f"body.layers.0.{match[2].removeprefix('linear.')}"
            return below if layer == 0 else f"head.hidden.{layer - 1}.{match[2]}"
        for pattern, new in _RENAMED[kind]:
            if re.match(pattern, key):
                return re.sub(pattern, new, key, count=1)
        return key

    modern = "QNetwork" if kind == "ValuePolicy" else "Actor"
    return modern, {name(key): value for key, value in weights.items()}, {**description, "architecture": architecture}
