"""The experience type and the protocols. Letters: T time, M members, N environments of one member, B batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.progress import Progress
from imitate.core.spec import Spec

__all__ = [
    "Algorithm",
    "Composite",
    "Memory",
    "Metrics",
    "Obs",
    "Policy",
    "RewardModel",
    "Rollout",
    "Source",
    "Stateful",
    "Transition",
    "fold",
    "mean_metrics",
    "parts",
    "unfold",
]

T = TypeVar("T")
Obs = Any  # a tensor [..., *shape], or a dict or tuple of them, as the space of observations says
Memory = Any  # a tree of tensors [M, N, ...]; None for a memoryless policy
Metrics = dict[str, Tensor]  # each [M], on the device


def fold(x: T) -> T:
    """[T, M, N, ...] -> [M, T·N, ...], leaf by leaf: the form that member networks and datasets take."""
    return tree.map(lambda leaf: leaf.transpose(0, 1).flatten(1, 2), x)


def unfold(x: T, time: int) -> T:
    """[M, T·N, ...] -> [T, M, N, ...], leaf by leaf: the inverse of `fold`."""
    return tree.map(lambda leaf: leaf.reshape(len(leaf), time, -1, *leaf.shape[2:]).transpose(0, 1), x)


def parts(tree_: T, count: int) -> list[T]:
    """[M, count·B, ...] -> `count` trees [M, B, ...]."""
    return tree.unbind(tree.map(lambda x: x.unflatten(1, (count, -1)).transpose(0, 1), tree_))


def mean_metrics(updates: Sequence[Metrics]) -> Metrics:
    """The mean of each metric, [M] or [M, B], over updates and batches: [M], on the device; of no updates none."""
    if not updates:
        return {}
    stacked = {name: torch.stack([update[name] for update in updates]) for name in updates[0]}
    return {name: value.mean(0) if value.dim() == 2 else value.mean((0, 2)) for name, value in stacked.items()}


@dataclass(frozen=True)
class Transition:
    """What was seen, done and received: [T, M, N, ...] from a source, [M, B, ...] after `flatten` or from replay."""

    obs: Obs
    action: Tensor  # as the policy gave it; the source clips it to the bounds of a Box for the environment
    reward: Tensor
    next_obs: Obs  # the observation before auto-reset
    terminated: Tensor  # bool; the end belongs to the task, and its value is 0
    truncated: Tensor  # bool, never together with terminated; the end belongs to the clock
    extras: dict[str, Any] = field(default_factory=dict)  # trees: log-probabilities, teacher labels, …

    @property
    def done(self) -> Tensor:
        """Whether the episode ended here, for either reason."""
        return self.terminated | self.truncated

    def with_extras(self, **extras: Any) -> Transition:
        """The same transition with more extras."""
        return replace(self, extras={**self.extras, **extras})


@dataclass(frozen=True)
class Rollout(Transition):
    """Consecutive steps [T, M, N, ...] of a source, and what it takes to go through them again with a memory."""

    starts: Tensor = field(kw_only=True)  # bool [T, M, N]: an episode begins with this step
    memory: Memory = field(default=None, kw_only=True)  # of the policy before its first step, [M, N, ...]

    def flatten(self) -> Transition:
        """The same steps in no order: [T, M, N, ...] -> [M, T·N, ...]."""
        return fold(self.steps)

    @property
    def steps(self) -> Transition:
        """The transitions alone."""
        return Transition(
            self.obs, self.action, self.reward, self.next_obs, self.terminated, self.truncated, self.extras
        )

    def clone(self) -> Rollout:
        """A copy that survives the next `collect`."""
        return tree.map(Tensor.clone, self)


class Policy(Protocol):
    """Anything that acts: networks, experts, mixtures, learning models."""

    @property
    def noise(self) -> int:
        """Uniforms that one decision consumes."""

    def memory(self, *shape: int) -> Memory:
        """Fresh memory for decisions of the leading shape (M, N); None when memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """Decide: obs [M, N, ...], uniforms [M, N, noise] -> action, memory, extras to record.

        Without noise it answers deterministically, with the mode of what it would draw from.
        """


@runtime_checkable
class Composite(Protocol):
    """A policy made of policies, each of which may see another part of what there is."""

    def over(self, change: Callable[[Policy], Policy]) -> Policy:
        """The same of changed policies."""


class Source(Protocol):
    """Where experience comes from."""

    @property
    def spec(self) -> Spec:
        """What is known of it."""

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment, [T, M, N]; valid until the next `collect`."""

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes in fresh environments; one seed gives every policy the same noise."""


class RewardModel(Protocol):
    """A reward that is computed, and perhaps learnt, instead of the environment's."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """Rewards [T, M, N] of a rollout."""

    def learn(self, rollout: Rollout) -> Metrics:
        """Learn from a rollout; what there is to report, each [M]."""


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
    def progress(self) -> Progress:
        """Steps and labels so far, and whether it is finished."""

    def step(self) -> Metrics:
        """One iteration: collect, then learn."""
