"""Policies in files: `policy.json` says what to build, a safetensors file holds the weights.

Letters: M members.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple

__all__ = ["record", "space_from_json", "space_to_json", "weights_into"]


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


def weights_into(policy: nn.Module, state: dict[str, Tensor], directory: Path | str) -> None:
    """Put weights from a file into a policy.

    Raises:
        ValueError: They do not fit.
    """
    own = policy.state_dict()
    # Statistics that were saved before they had a floor go without one.
    fitting = {name: torch.zeros_like(value) for name, value in own.items() if name.endswith("normaliser.floor")}
    # The statistics of a normaliser were once kept in the shape of an observation.
    fitting |= {
        name: value.reshape(own[name].shape) if name in own and value.numel() == own[name].numel() else value
        for name, value in state.items()
    }
    try:
        policy.load_state_dict(fitting)
    except RuntimeError as error:
        raise ValueError(
            f"'{directory}': the weights do not fit policy.json: {str(error).splitlines()[-1].strip()}"
        ) from error


def renamed(state: dict[str, Tensor], name: Callable[[str], str]) -> dict[str, Tensor]:
    """The same weights by other names."""
    return {name(key): value for key, value in state.items()}


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


def space_from_json(document: dict[str, Any]) -> Space:
    """The inverse of `space_to_json`."""
    if "discrete" in document:
        return Discrete(int(document["discrete"]), int(document.get("start", 0)))
    if "multi_discrete" in document:
        return MultiDiscrete(*(tuple(document[name]) for name in ("multi_discrete", "start", "shape")))
    if "multi_binary" in document:
        return MultiBinary(tuple(document["multi_binary"]))
    if "dict" in document:
        return Dict(tuple((str(name), space_from_json(inner)) for name, inner in document["dict"]))
    if "tuple" in document:
        return Tuple(tuple(space_from_json(inner) for inner in document["tuple"]))

    def number(bound: Any) -> float | tuple[float, ...]:
        return tuple(cast(float, number(b)) for b in bound) if isinstance(bound, list) else float(bound)

    return Box(tuple(document["box"]), number(document["low"]), number(document["high"]))


def described(description: dict[str, Any], directory: Path | str) -> tuple[Space, Space, int]:
    """Spaces and members of a description.

    Raises:
        ValueError: It lacks one.
    """
    try:
        observation, action = space_from_json(description["observation"]), space_from_json(description["action"])
        return observation, action, int(description["members"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"'{directory}': policy.json is incomplete or foreign ({error}).") from error


def device_of(module: nn.Module) -> torch.device:
    """Where the first parameter of a module is."""
    return next(module.parameters()).device
