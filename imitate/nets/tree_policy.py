"""Policies that are decision trees.

Letters: M members, N environments of one member, B batch, F features, K places for nodes, A actions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor, nn

from imitate.core import checkpoint
from imitate.core.actions import unmasked
from imitate.core.config import Bound, checked
from imitate.core.room import admit
from imitate.core.schema import of_json
from imitate.core.types import Obs
from imitate.distributions.actions import Categorical
from imitate.nets.inputs import Inputs
from imitate.nets.predict import predict
from imitate.nets.saving import space_from_json, space_to_json
from imitate_envs.base import Discrete, Space

__all__ = ["Depth", "Node", "Split", "TreePolicy", "read_trees"]

# Levels of splits. They become nested ifs: C99 promises 127 levels of blocks, Python takes 100 of indentation.
DEEPEST = 64
Depth = Annotated[int, Bound(lambda x: 1 <= x <= DEEPEST, f"in [1, {DEEPEST}]")]


@dataclass(frozen=True)
class Split:
    """An inner node: to the left where x[feature] ≤ threshold, else, and where x[feature] is NaN, to the right.

    Args:
        feature: Which number of an observation, in [0, F).
        threshold: A number of float32.
        left: What follows where it is less or equal.
        right: What follows elsewhere.
    """

    feature: int
    threshold: float
    left: Node
    right: Node


Node = Split | int  # an int is a leaf: the choice in [0, A)

_TYPES = {
    "feature": torch.int64,
    "threshold": torch.float32,
    "left": torch.int64,
    "right": torch.int64,
    "choice": torch.int64,
}


class TreePolicy(nn.Module):
    """M binary decision trees as a `Teacher` and a `Policy`.

        node ← left[node]  if  x[feature[node]] ≤ threshold[node],  else right[node]

    is done `depth` times from node 0 on, for all observations at once. A leaf leads to itself. Observations are
    compared in float32. A population of one serves observations of any leading shape, one of several [M, B, ...].

    Args:
        observation: Space of observations, without images and masks; its numbers and one-hot choices side by side are
            the features, see `Inputs`.
        action: A Discrete space.
        members: M.
        depth: Splits on the longest way to a leaf, at the most.
        nodes: K, places for the nodes of one tree; by default those of a full tree.
        device: Where it lives.
        env: Id of the environment it was made for, if known; recorded in files.

    Raises:
        ValueError: The spaces do not suit a tree, or the places do not fit into memory.
    """

    noise = 0
    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    choice: Tensor

    @checked
    def __init__(
        self,
        observation: Space,
        action: Space,
        members: int,
        depth: Depth,
        *,
        nodes: int | None = None,
        device: torch.device | str = "cpu",
        env: str | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(action, Discrete):
            raise ValueError(f"action: the leaves of a tree are choices of a Discrete space, not of {action}.")
        if unmasked(observation) is not observation:
            raise ValueError("observation: a tree knows no mask of actions; take one out of the observations.")
        self.inputs = Inputs(observation)
        if self.inputs.images or not self.inputs.flat:
            raise ValueError(f"observation: a tree splits numbers and choices; {observation} has images, or nothing.")
        self.observation, self.action, self.members, self.depth, self.env = observation, action, members, depth, env
        places = 2 ** (depth + 1) - 1 if nodes is None else nodes
        admit("the trees", 36 * members * places, {"members": members, "nodes": places, "max_depth": depth}, device)
        itself = torch.arange(places, device=device).repeat(members, 1)
        empty = {name: torch.zeros(members, places, dtype=kind, device=device) for name, kind in _TYPES.items()}
        for name, value in (empty | {"left": itself, "right": itself.clone()}).items():
            self.register_buffer(name, value)

    @property
    def device(self) -> torch.device:
        """Where the trees are."""
        return self.choice.device

    @property
    def nodes(self) -> Tensor:
        """Nodes of each tree, leaves too: [M]."""
        splits = self.left != torch.arange(self.left.shape[1], device=self.device)
        return 2 * splits.sum(1) + 1

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def features(self, obs: Obs) -> Tensor:
        """What is compared with thresholds, [M, B, F] (float32), of observations [M, B, ...]."""
        features: Tensor = self.inputs(obs).float()
        return features

    @torch.no_grad()
    def choose(self, features: Tensor) -> Tensor:
        """The choices [M, B] (int64) at features [M, B, F]."""
        x = features.reshape(self.members, -1, self.inputs.flat)
        node = torch.zeros(x.shape[:2], dtype=torch.int64, device=self.device)
        for _ in range(self.depth):
            value = x.gather(2, self.feature.gather(1, node).unsqueeze(2)).squeeze(2)
            below = value <= self.threshold.gather(1, node)
            node = torch.where(below, self.left.gather(1, node), self.right.gather(1, node))
        return self.choice.gather(1, node).reshape(features.shape[:-1])

    def distribution(self, obs: Obs) -> Categorical:
        """A certain choice at observations [M, B, ...]."""
        return Categorical.certain(self.choose(self.features(obs)), self.action.n)

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The choice: nothing is left to chance."""
        return self.choose(self.features(obs)), None, {}

    predict = predict  # as in Stable-Baselines3: arrays in, arrays out

    def root(self, member: int) -> Node:
        """The tree of a member, node within node."""
        columns = [getattr(self, name)[member].tolist() for name in _TYPES]

        def at(node: int) -> Node:
            feature, threshold, left, right, choice = (column[node] for column in columns)
            return choice if left == node else Split(feature, threshold, at(left), at(right))

        return at(0)

    def plant(self, member: int, root: Node) -> None:
        """Put a tree in the place of a member's.

        Raises:
            ValueError: It has too many nodes, is too deep, or is of other features or choices.
        """
        rows: list[tuple[int, float, int, int, int]] = []

        def add(node: Node) -> int:
            at = len(rows)
            rows.append((0, 0.0, at, at, node if isinstance(node, int) else 0))
            if isinstance(node, Split):
                left, right = add(node.left), add(node.right)
                rows[at] = (node.feature, node.threshold, left, right, 0)
            return at

        add(root)
        places = self.choice.shape[1]
        if len(rows) > places:
            raise ValueError(f"root: a tree of {len(rows):,} nodes, and there are {places:,} places.")
        rows += [(0, 0.0, at, at, 0) for at in range(len(rows), places)]
        new = {
            name: torch.tensor(column, dtype=kind, device=self.device).unsqueeze(0)
            for (name, kind), column in zip(_TYPES.items(), zip(*rows, strict=True), strict=True)
        }
        _sound(new, self.inputs.flat, self.action.n, self.depth)
        for name, value in new.items():
            getattr(self, name)[member].copy_(value[0])

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As of any module, after making sure that the numbers are trees: one could lead out of its arrays.

        Raises:
            ValueError: They are not.
        """
        _sound(state_dict, self.inputs.flat, self.action.n, self.depth)
        return super().load_state_dict(state_dict, strict, assign)

    def record(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """The trees, and what is to be known of them, as a run commits them with its checkpoint."""
        description = {
            "kind": "TreePolicy",
            "env": self.env,
            "members": self.members,
            "observation": space_to_json(self.observation),
            "action": space_to_json(self.action),
            "depth": self.depth,
        }
        return dict(self.state_dict()), description

    def save(self, directory: Path | str) -> None:
        """Write `policy.json` and a safetensors file; `imitate.load` reads them."""
        checkpoint.write(directory, "policy", *self.record())


def read_trees(state: dict[str, Any], description: dict[str, Any]) -> TreePolicy:
    """Policies that `TreePolicy.save` wrote, from their record.

    Raises:
        ValueError: The record is incomplete, or holds no trees.
    """
    observation, action = (space_from_json(description.get(name)) for name in ("observation", "action"))
    members, depth = (of_json(int, description.get(name), name) for name in ("members", "depth"))
    env = of_json(str | None, description.get("env"), "env")
    shapes = {x.shape if isinstance(x, Tensor) else None for x in state.values()}
    shape = shapes.pop() if len(shapes) == 1 else None
    # What a description says costs its writer nothing: it is held to the arrays before anything is made.
    if shape is None or len(shape) != 2 or shape[0] != members or not shape.numel():
        raise ValueError(f"its arrays are not those of {members} trees")
    device = next(iter(state.values())).device
    made = TreePolicy(observation, action, members, depth, nodes=shape[1], device=device, env=env)
    made.load_state_dict(state)
    return made


def _sound(arrays: Mapping[str, Tensor], features: int, choices: int, depth: int) -> None:
    """Make sure that arrays [M, K] are trees: children come behind their parent, have no other, and end at `depth`.

    Raises:
        ValueError: They are not.
    """
    if arrays.keys() != _TYPES.keys() or any(arrays[name].dtype != kind for name, kind in _TYPES.items()):
        raise ValueError("it does not hold the arrays of trees")
    feature, threshold, left, right, choice = (arrays[name] for name in _TYPES)
    places = torch.arange(left.shape[1], device=left.device).expand_as(left)
    inner = (left != places) | (right != places)
    behind = (left > places) & (right > places) & (left != right)
    within = (torch.maximum(left, right) < left.shape[1]) & (torch.minimum(left, right) >= 0)
    if not bool((within & (behind | ~inner)).all()):
        raise ValueError("a node leads out of its tree, or back")
    if not bool(((feature >= 0) & (feature < features) & (choice >= 0) & (choice < choices)).all()):
        raise ValueError(f"a node is of none of {features} features, or of none of {choices} choices")
    if not bool(threshold.isfinite().all()):
        raise ValueError("a threshold is not finite")
    parents = torch.zeros_like(left).scatter_add_(1, left, inner.long()).scatter_add_(1, right, inner.long())
    if bool(((parents > 1) | (inner & (parents == 0) & (places > 0))).any()):
        raise ValueError("a node has two parents, or none")
    level = (places == 0) & inner
    for _ in range(depth):
        below = torch.zeros_like(left).scatter_add_(1, left, level.long()).scatter_add_(1, right, level.long())
        level = (below > 0) & inner
    if bool(level.any()):
        raise ValueError(f"a tree is deeper than {depth} splits")
