"""The experience type and the protocols. Letters: T time, M members, N environments of one member, B batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from imitate.core import tree
from imitate_envs.base import Space

__all__ = [
    "Algorithm",
    "Memory",
    "Metrics",
    "Policy",
    "Source",
    "Stateful",
    "Transition",
    "fold",
    "mean_metrics",
    "parts",
    "unfold",
]

T = TypeVar("T")
Memory = Any  # a tree of tensors [M, N, ...]; None for a memoryless policy
Metrics = dict[str, Tensor]  # each [M], on the device


def fold(x: Tensor) -> Tensor:
    """[T, M, N, ...] -> [M, T·N, ...]: the form that member networks and datasets take."""
    return x.transpose(0, 1).flatten(1, 2)


def unfold(x: Tensor, time: int) -> Tensor:
    """[M, T·N, ...] -> [T, M, N, ...]: the inverse of `fold`."""
    return x.reshape(len(x), time, -1, *x.shape[2:]).transpose(0, 1)


def parts(tree_: T, count: int) -> list[T]:
    """[M, count·B, ...] -> `count` trees [M, B, ...]."""
    return tree.unbind(tree.map(lambda x: x.unflatten(1, (count, -1)).transpose(0, 1), tree_))


def mean_metrics(updates: Sequence[Metrics]) -> Metrics:
    """The mean of each metric, [M] or [M, B], over updates and batches: [M]; stays on the device."""
    stacked = {name: torch.stack([update[name] for update in updates]) for name in updates[0]}
    return {name: value.mean(0) if value.dim() == 2 else value.mean((0, 2)) for name, value in stacked.items()}


@dataclass(frozen=True)
class Transition:
    """What was seen, done and received: [T, M, N, ...] from a source, [M, B, ...] after `flatten` or from replay."""

    obs: Tensor
    action: Tensor  # as the policy gave it; the source clips it to the bounds of a Box for the environment
    reward: Tensor
    next_obs: Tensor  # the observation before auto-reset
    terminated: Tensor  # bool; the end belongs to the task, and its value is 0
    truncated: Tensor  # bool, never together with terminated; the end belongs to the clock
    extras: dict[str, Any] = field(default_factory=dict)  # trees: log-probabilities, teacher labels, …

    @property
    def done(self) -> Tensor:
        """Whether the episode ended here, for either reason."""
        return self.terminated | self.truncated

    def flatten(self) -> Transition:
        """[T, M, N, ...] -> [M, T·N, ...]."""
        return tree.map(fold, self)

    def clone(self) -> Transition:
        """A copy that survives the next `collect`."""
        return tree.map(Tensor.clone, self)

    def with_extras(self, **extras: Any) -> Transition:
        """The same transition with more extras."""
        return replace(self, extras={**self.extras, **extras})


class Policy(Protocol):
    """Anything that acts: networks, experts, mixtures, learning models."""

    @property
    def noise(self) -> int:
        """Uniforms that one decision consumes."""

    def memory(self, *shape: int) -> Memory:
        """Fresh memory for decisions of the leading shape (M, N); None when memoryless."""

    def act(self, obs: Tensor, noise: Tensor, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Decide: obs [M, N, ...], uniforms [M, N, noise] -> action, memory, extras to record."""


class Source(Protocol):
    """Where experience comes from."""

    @property
    def id(self) -> str:
        """Name of the environment."""

    @property
    def observation(self) -> Space:
        """Space of observations."""

    @property
    def obs_dtype(self) -> torch.dtype:
        """Type of the numbers of an observation."""

    @property
    def frames(self) -> int:
        """Successive frames that an observation stacks along its first axis, the newest last; 1: it is no stack."""

    @property
    def action(self) -> Space:
        """Space of actions."""

    @property
    def members(self) -> int:
        """M."""

    @property
    def num_envs(self) -> int:
        """N, environments of one member."""

    @property
    def max_steps(self) -> int:
        """Time limit of an episode, in steps."""

    @property
    def seed(self) -> int:
        """Seed of all that is drawn here; algorithms name their own streams of it."""

    @property
    def device(self) -> Any:
        """Where its tensors live."""

    def collect(self, policy: Policy, steps: int) -> Transition:
        """`steps` steps of every environment, [T, M, N]; valid until the next `collect`."""

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes in fresh environments; one seed gives every policy the same noise."""


@runtime_checkable
class Stateful(Protocol):
    """Whatever changes during a run and must be saved; the protocol of torch.distributed.checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Its state: a nested dict of tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Restore it."""


class Algorithm(Protocol):
    """A learner and its loop; final classes implement this, no base class does."""

    @property
    def policy(self) -> Policy:
        """What it has learnt so far."""

    @property
    def source(self) -> Source:
        """Where it acts, or where its policy is evaluated."""

    @property
    def steps(self) -> Tensor:
        """Progress (int64 scalar on the CPU) in environment steps a member; updates where it takes no steps."""

    @property
    def budget(self) -> int:
        """Where `steps` ends at the latest, by its config."""

    @property
    def finished(self) -> bool:
        """Whether the budget is spent, or nothing more is to be gained."""

    @property
    def labels(self) -> Tensor:
        """Teacher labels used so far by each member, [M] (int64); zeros where there is no teacher."""

    def step(self) -> Metrics:
        """One iteration: collect, then learn."""
