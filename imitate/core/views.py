"""What a student sees of an observation: parts of it, with noise, late, or several in succession.

    blind = Viewed(Viewed(source, Select((0, 2))), Stack(4))  # four frames of positions, without velocities

A view is a pure function of an observation, uniforms and a memory that the source empties where an episode begins.

Letters: M members, N environments of one member, F numbers of a flat observation, K frames.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import Count, NonNegative, check
from imitate.core.noise import normal
from imitate.core.spec import Spec
from imitate.core.types import Memory, Obs
from imitate_envs.base import Box, Space, constant

__all__ = ["Delay", "Function", "Noise", "Select", "Stack", "View"]


class View(Protocol):
    """What is seen of the observations of a source."""

    def seen(self, spec: Spec) -> Spec:
        """What is known of the source behind the view.

        Raises:
            ValueError: There is no such view of these observations.
        """

    def noise(self, spec: Spec) -> int:
        """Uniforms that one look consumes; `spec` is that of the source before the view."""

    def memory(self, spec: Spec, *shape: int) -> Memory:
        """Memory at the beginning of episodes, [*shape, ...]; None if there is none."""

    def __call__(self, obs: Obs, noise: Tensor, memory: Memory) -> tuple[Obs, Memory]:
        """A look: observations [..., *obs], uniforms [..., noise], memory -> what is seen, and the memory behind it."""


@dataclass(frozen=True)
class Function:
    """A function of single observations.

    Args:
        function: Observations [..., *shape] -> observations [..., *shape of the view]; it may work in place.
        observation: Space of the view.
        obs_dtype: Type of its numbers; that of the source by default.
    """

    function: Callable[[Obs], Obs]
    observation: Space
    obs_dtype: Any = None

    def seen(self, spec: Spec) -> Spec:
        """The space and type that it was told, of a single frame."""
        dtype = spec.obs_dtype if self.obs_dtype is None else self.obs_dtype
        return replace(spec, observation=self.observation, obs_dtype=dtype, frames=1)

    def noise(self, spec: Spec) -> int:
        """None is needed."""
        return 0

    def memory(self, spec: Spec, *shape: int) -> None:
        """Memoryless."""

    def __call__(self, obs: Obs, noise: Tensor, memory: None) -> tuple[Obs, None]:
        """What the function makes of a copy."""
        return self.function(tree.map(Tensor.clone, obs)), None


@dataclass(frozen=True)
class Select:
    """Some numbers of an observation, such as positions without velocities.

    Args:
        keep: Their indices, in the order in which they are seen.
    """

    keep: tuple[int, ...]

    def __post_init__(self) -> None:
        check(self)
        if not self.keep:
            raise ValueError("keep: nothing would be seen; name at least one number of the observation.")

    def seen(self, spec: Spec) -> Spec:
        """A Box of the bounds of those numbers."""
        box = _flat(spec, "keep")
        size = box.shape[0]
        if not all(-size <= index < size for index in self.keep):
            raise ValueError(
                f"keep: {self.keep} are not all among the {size} numbers of an observation, 0 to {size - 1}."
            )
        bounds = (
            tuple(bound[index] for index in self.keep) if isinstance(bound, tuple) else bound
            for bound in (box.low, box.high)
        )
        return replace(spec, observation=Box((len(self.keep),), *bounds))

    def noise(self, spec: Spec) -> int:
        """None is needed."""
        return 0

    def memory(self, spec: Spec, *shape: int) -> None:
        """Memoryless."""

    def __call__(self, obs: Tensor, noise: Tensor, memory: None) -> tuple[Tensor, None]:
        """Those numbers: [..., F] -> [..., len(keep)]."""
        return torch.stack([obs[..., index] for index in self.keep], -1), None


@dataclass(frozen=True)
class Noise:
    """Normal noise on each number of an observation, drawn anew at each look.

    Args:
        std: Its standard deviation, in units of the observation: one for all numbers, or one for each.
    """

    std: NonNegative[float | tuple[float, ...]]

    def __post_init__(self) -> None:
        check(self)

    def seen(self, spec: Spec) -> Spec:
        """A Box without bounds."""
        size = _flat(spec, "std").shape[0]
        if isinstance(self.std, tuple) and len(self.std) != size:
            raise ValueError(f"std: {len(self.std)} values for {size} numbers of an observation; give one, or {size}.")
        return replace(spec, observation=Box((size,)))

    def noise(self, spec: Spec) -> int:
        """One for each number."""
        return _flat(spec, "std").shape[0]

    def memory(self, spec: Spec, *shape: int) -> None:
        """Memoryless."""

    def __call__(self, obs: Tensor, noise: Tensor, memory: None) -> tuple[Tensor, None]:
        """The numbers with noise, [..., F]."""
        return obs + constant(self.std, obs) * normal(noise), None


@dataclass(frozen=True)
class Delay:
    """The observation of some steps ago; at the beginning of an episode its first one.

    Args:
        steps: How many.
    """

    steps: Count

    def __post_init__(self) -> None:
        check(self)

    def seen(self, spec: Spec) -> Spec:
        """The same."""
        _box(spec, "steps")
        return spec

    def noise(self, spec: Spec) -> int:
        """None is needed."""
        return 0

    def memory(self, spec: Spec, *shape: int) -> tuple[Tensor, Tensor]:
        """The last `steps` observations, and whether there are any."""
        return _nothing(spec, self.steps, *shape)

    def __call__(self, obs: Tensor, noise: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Memory]:
        """The oldest of `steps` + 1 observations."""
        frames, memory = _pushed(obs, memory)
        return frames.select(memory[1].dim(), 0), memory


@dataclass(frozen=True)
class Stack:
    """The last K observations in succession, the newest last; before an episode has so many, its first one again.

    Args:
        frames: K.
    """

    frames: Count

    def __post_init__(self) -> None:
        check(self)

    def seen(self, spec: Spec) -> Spec:
        """A Box [K, *shape]."""
        box = _box(spec, "frames")
        if spec.frames > 1:
            raise ValueError(
                f"frames: the observations stack {spec.frames} frames already; take those, or that many more."
            )
        low, high = (bound * self.frames if isinstance(bound, tuple) else bound for bound in (box.low, box.high))
        return replace(spec, observation=Box((self.frames, *box.shape), low, high), frames=self.frames)

    def noise(self, spec: Spec) -> int:
        """None is needed."""
        return 0

    def memory(self, spec: Spec, *shape: int) -> tuple[Tensor, Tensor]:
        """The last K − 1 observations, and whether there are any."""
        return _nothing(spec, self.frames - 1, *shape)

    def __call__(self, obs: Tensor, noise: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Memory]:
        """The stack [..., K, *shape]."""
        return _pushed(obs, memory)


def _nothing(spec: Spec, count: int, *shape: int) -> tuple[Tensor, Tensor]:
    """Room for `count` observations, none of which has been made."""
    box = _box(spec, "observation")
    held = torch.zeros(*shape, count, *box.shape, dtype=spec.obs_dtype, device=spec.device)
    return held, torch.zeros(shape, dtype=torch.bool, device=spec.device)


def _pushed(obs: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """The frames [..., count + 1, *shape] with the newest one last, and the memory behind it."""
    held, begun = memory
    newest = obs.unsqueeze(begun.dim())
    held = torch.where(begun.reshape(*begun.shape, *(1,) * (held.dim() - begun.dim())), held, newest)
    frames = torch.cat([held, newest], begun.dim())
    return frames, (frames.narrow(begun.dim(), 1, held.shape[begun.dim()]), torch.ones_like(begun))


def _box(spec: Spec, name: str) -> Box:
    box = spec.observation
    if not isinstance(box, Box):
        raise ValueError(
            f"{name}: observations of {spec.id} are {box}; this view is of a Box. Pass a function instead."
        )
    return box


def _flat(spec: Spec, name: str) -> Box:
    box = _box(spec, name)
    if len(box.shape) != 1 or not getattr(spec.obs_dtype, "is_floating_point", False):
        raise ValueError(f"{name}: observations of {spec.id} are {box}; this view is of a vector of numbers.")
    return box
