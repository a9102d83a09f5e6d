"""Reading any policy of ours: the record says of which kind it is, and of which generation."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from imitate.core import checkpoint, tree
from imitate.core.config import checked
from imitate.core.noise import Stream
from imitate.core.reading import line, refusing
from imitate.core.schema import of_json
from imitate.nets.actor import Actor, Architecture
from imitate.nets.actor_mixture import ActorMixture
from imitate.nets.layers import Population
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.saving import fitting, space_from_json
from imitate.nets.tabular_policy import TabularPolicy, read_table
from imitate.nets.tree_policy import TreePolicy, read_trees

__all__ = ["load"]

_FEW = 1024  # levels that a head may have without weights of their own


@checked
def load(
    directory: Path | str, device: torch.device | str = "cpu", *, build: Callable[[], nn.Module] | None = None
) -> Actor | ActorMixture | TabularPolicy | TreePolicy | QNetwork:
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
    kind, incomplete = description.get("kind"), f"'{directory}': policy.json is incomplete or foreign"
    if kind == "TabularPolicy":
        with refusing(incomplete):
            return read_table(state, description)
    if kind == "TreePolicy":
        with refusing(incomplete):
            return read_trees(state, description)
    mixing = None
    with refusing(incomplete):
        if kind == "ActorMixture":  # a population of actors, and who of them acts
            kind, mixing, state = "Actor", state["mixing"], state["actors"]
        weights = dict(tree.flatten(state))
        if kind in ("NetworkPolicy", "ValuePolicy", "RecurrentPolicy"):
            kind, weights, description = _modern(str(kind), weights, description)
    if kind not in ("Actor", "QNetwork"):
        raise ValueError(f"'{directory}': policy.json is foreign: it holds a {line(kind)}.")
    with refusing(incomplete):
        observation, action = (space_from_json(description[name]) for name in ("observation", "action"))
        members, env = of_json(int, description["members"], "members"), of_json(str | None, description["env"], "env")
        custom = kind == "Actor" and of_json(bool, description["custom_network"], "custom_network")
    if custom and build is None:
        raise ValueError(f"build: '{directory}' holds a network of your own; pass the function that builds it.")
    unfit = f"'{directory}': the weights do not fit policy.json"
    # What a description says costs its writer nothing: it is held to the weights before anything is made.
    with refusing(unfit):
        alone = sum(value.numel() for value in weights.values()) // max(members, 1)
        if members < 1 or any(value.dim() == 0 or len(value) != members for value in weights.values()):
            raise ValueError(f"they are not of {members:,} members")
    with refusing(incomplete):
        architecture = of_json(Architecture if kind == "Actor" else QArchitecture, description["architecture"], "")
        _modest(architecture, len(weights), alone)
    kinds: dict[str, Callable[..., Actor | QNetwork]] = {"Actor": Actor, "QNetwork": QNetwork}
    make = partial(kinds[kind], observation, action, architecture=architecture, env=env)
    init = Stream(0, "init", device)
    if custom and build is not None:
        loaded = make(members=members, init=init, network=Population(build, members, Stream(0, "init")))
        with refusing(unfit):
            loaded.load_state_dict(fitting(weights, loaded.state_dict(), members))
        return loaded
    with refusing(incomplete):
        skeleton = make(members=1, init=Stream(0, "init", "meta")).state_dict()
    with refusing(unfit):
        found = fitting(weights, skeleton, members)
        loaded = make(members=members, init=init)
        loaded.load_state_dict(found)
        return loaded if mixing is None else ActorMixture(cast(Actor, loaded), mixing)


def _modest(architecture: Architecture | QArchitecture, layers: int, numbers: int) -> None:
    """Make sure that an architecture has no more layers than there are weights, and is no wider than a member has."""
    sizes = [size for size in _integers(asdict(architecture)) if size > max(numbers, _FEW)]
    if len(architecture.hidden) > layers or sizes:
        raise ValueError(f"architecture: it is larger than {layers} weights of {numbers:,} numbers")


def _integers(tree: Any) -> Iterator[int]:
    if isinstance(tree, dict | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from _integers(part)
    elif type(tree) is int:
        yield tree


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
