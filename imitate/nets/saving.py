"""Policies in files: `policy.json` says what to build, a safetensors file holds the weights.

Letters: M members.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from imitate.core.reading import line
from imitate.core.schema import of_json
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

__all__ = ["fitting", "record", "space_from_json", "space_to_json"]

_AXES = 8
_NUMBERS = 2**22  # of an element of a space, or choices; what is larger is not made


class Saved(Protocol):
    """What `record` needs of a policy."""

    members: int
    env: str | None
    architecture: Any

    @property
    def observation(self) -> Space:
        """Space of observations."""

    @property
    def action(self) -> Space:
        """Space of actions."""

    def state_dict(self) -> dict[str, Any]:
        """Its weights."""


def record(policy: Saved, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """A policy as `checkpoint.write` takes it: its weights; its kind, spaces, members and architecture."""
    description = {
        "kind": type(policy).__name__,
        "env": policy.env,
        "members": policy.members,
        "observation": space_to_json(policy.observation),
        "action": space_to_json(policy.action),
        "architecture": architecture_to_json(policy.architecture),
        **more,
    }
    return dict(policy.state_dict()), description


def architecture_to_json(architecture: Any) -> dict[str, Any]:
    """The fields of an architecture; a head among them says its kind."""
    document = asdict(architecture)
    for field in fields(architecture):
        value = getattr(architecture, field.name)
        if isinstance(document[field.name], dict):
            document[field.name] = {"kind": type(value).__name__, **document[field.name]}
    return document


def fitting(weights: dict[str, Tensor], own: Mapping[str, Tensor], members: int) -> dict[str, Tensor]:
    """Weights from a file, after making sure that they are those of a module.

    Args:
        weights: By name, as a file holds them.
        own: Those of the module, or of one like it with other members or on "meta"; their first axis is the members.
        members: M.

    Raises:
        ValueError: A name, shape or type differs, a number is not finite, or a variance or count is negative.
    """
    # Statistics that were saved before they had a floor go without one.
    floors = [name for name in own.keys() - weights.keys() if name.endswith("normaliser.floor")]
    before = {name: weights.get(f"{name.removesuffix('floor')}var") for name in floors}
    weights = {**weights, **{name: torch.zeros_like(var) for name, var in before.items() if var is not None}}
    if weights.keys() != own.keys():
        names = weights.keys() ^ own.keys()
        raise ValueError(f"one of the two alone has {', '.join(sorted(names))}")
    found = {}
    for name, like in own.items():
        value, shape = weights[name], (members, *like.shape[1:])
        statistics = ".normaliser." in f".{name}"
        if statistics and value.numel() == math.prod(shape):
            value = value.reshape(shape)  # they were once kept in the shape of an observation
        if value.shape != shape or value.dtype != like.dtype:
            raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)} instead of {like.dtype} {shape}")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(f"{name} is not finite")
        if statistics and not name.endswith("mean") and bool((value < 0).any()):
            raise ValueError(f"{name} is negative")
        found[name] = value
    return found


def space_to_json(space: Space) -> dict[str, Any]:
    """A space as JSON; infinite bounds become strings, for JSON has no infinity."""
    if isinstance(space, Discrete):
        return {"discrete": space.n, **({"start": space.start} if space.start else {})}
    if isinstance(space, MultiDiscrete):
        return {"multi_discrete": list(space.nvec), "start": list(space.start), "shape": list(space.outer)}
    if isinstance(space, MultiBinary):
        return {"multi_binary": list(space.shape)}
    if isinstance(space, Dict):
        return {"dict": [[name, space_to_json(inner)] for name, inner in space.spaces]}
    if isinstance(space, Tuple):
        return {"tuple": [space_to_json(inner) for inner in space.spaces]}

    def plain(bound: float | tuple[float, ...]) -> Any:
        if isinstance(bound, tuple):
            return [plain(b) for b in bound]
        return bound if math.isfinite(bound) else str(bound)

    return {"box": list(space.shape), "low": plain(space.low), "high": plain(space.high)}


def space_from_json(document: Any) -> Space:
    """The inverse of `space_to_json`.

    Raises:
        ValueError: It describes no space, or a very large one.
        KeyError: It lacks a part.
    """
    if not isinstance(document, dict):
        raise ValueError(f"a {type(document).__name__} where a space should be")
    if "dict" in document:
        parts = of_json(tuple[tuple[str, Any], ...], document["dict"], "dict")
        return Dict(tuple((name, space_from_json(inner)) for name, inner in parts))
    if "tuple" in document:
        return Tuple(tuple(space_from_json(inner) for inner in of_json(tuple[Any, ...], document["tuple"], "tuple")))
    if "discrete" in document:
        n, start = (of_json(int, document.get(name, 0), name) for name in ("discrete", "start"))
        return Discrete(_modest(n), start)
    if "multi_discrete" in document:
        nvec, start = (of_json(tuple[int, ...], document[name], name) for name in ("multi_discrete", "start"))
        _modest(*nvec)
        return MultiDiscrete(nvec, start, _shape(document["shape"], "shape"))
    if "multi_binary" in document:
        return MultiBinary(_shape(document["multi_binary"], "multi_binary"))
    shape = _shape(document["box"], "box")
    low, high = (_bound(document[name], name) for name in ("low", "high"))
    pairs = zip(*(b if isinstance(b, tuple) else (b,) * math.prod(shape) for b in (low, high)), strict=True)
    if not all(below <= above for below, above in pairs):
        raise ValueError("the bounds of a box do not enclose anything")
    return Box(shape, low, high)


def _modest(*sizes: int) -> int:
    """The sum of sizes that are at least 1, if it is no larger than that of a space that can be had."""
    if min(sizes, default=0) < 1 or sum(sizes) > _NUMBERS:
        raise ValueError(f"a space of {line(sum(sizes))} numbers or choices; between 1 and {_NUMBERS:,} are possible")
    return sum(sizes)


def _shape(document: Any, name: str) -> tuple[int, ...]:
    shape = cast("tuple[int, ...]", of_json(tuple[int, ...], document, name))
    if len(shape) > _AXES:
        raise ValueError(f"{name}: {len(shape):,} axes; at most {_AXES} are possible")
    _modest(math.prod(shape))
    return shape


def _bound(document: Any, name: str) -> float | tuple[float, ...]:
    if isinstance(document, list):
        return tuple(cast(float, _bound(each, name)) for each in document)
    return cast(float, of_json(float, document, name))


def device_of(module: nn.Module) -> torch.device:
    """Where the first parameter of a module is."""
    return next(module.parameters()).device
