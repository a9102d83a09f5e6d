"""Any function as a teacher. Letters: B batch, A actions; `*batch` is any leading shape, such as [M, B]."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from imitate.core import tree
from imitate.core.actions import action_mask, choices, clip, observed, outside, width
from imitate.core.arrays import as_array, as_tensor
from imitate.core.config import checked
from imitate.core.spec import Spec
from imitate.core.types import Obs
from imitate.distributions.actions import Categorical, Distribution, MultiCategorical, Normal, decide
from imitate_envs.base import Box, Dict, Discrete, Space, Tuple
from imitate_envs.gymnasium import from_gymnasium

__all__ = [
    "CallableTeacher",
    "ModuleTeacher",
    "certain",
    "from_callable",
    "from_module",
    "positive",
    "spaces_of",
]


def spaces_of(source_or_spaces: Any) -> tuple[Space, Space]:
    """The observation and the action space of a source, an environment or a pair of spaces.

    The spaces may be Gymnasium's.

    Raises:
        ValueError: It is none of these, or a space is neither a Box nor a Discrete.
    """
    given = source_or_spaces
    if isinstance(given, tuple) and len(given) == 2:
        pair = given
    elif isinstance(spec := getattr(given, "spec", None), Spec):  # Gymnasium's environments have one of another kind
        pair = spec.observation, spec.action
    elif isinstance(getattr(given, "observation", None), Space):  # Gymnasium's wrappers have such methods
        pair = given.observation, given.action
    elif hasattr(given, "observation_space") and hasattr(given, "action_space"):
        pair = (
            getattr(given, "single_observation_space", given.observation_space),
            getattr(given, "single_action_space", given.action_space),
        )
    else:
        raise ValueError(
            f"source: a source, an environment or a pair (observation, action) of spaces, not {type(given).__name__}."
        )
    observation, action = (space if isinstance(space, Space) else from_gymnasium(space) for space in pair)
    choices(action)  # refuses what nobody acts in
    return observation, action


def certain(action: Tensor, space: Space, scale: float) -> Distribution:
    """What a deterministic teacher says: its choices, or a Gaussian of deviation `scale` around its action."""
    if isinstance(space, Discrete):
        return Categorical.certain(action, space.n)
    if counts := choices(space):
        parts = zip(action.unbind(-1), counts, strict=True)
        return MultiCategorical(tuple(Categorical.certain(one, count).logits for one, count in parts))
    return Normal(action, torch.full_like(action, scale))


def positive(scale: float) -> float:
    """The scale, if it is one."""
    if not (math.isfinite(scale) and scale > 0):
        raise ValueError(f"scale: a standard deviation is positive and finite, not {scale}.")
    return scale


class CallableTeacher:
    """A deterministic teacher made of a function on numpy arrays; see `from_callable`.

    Each call copies observations to the host and answers back, so it cannot be part of a CUDA graph.
    """

    noise = 0

    @checked
    def __init__(
        self,
        function: Callable[[NDArray[Any]], Any],
        observation: Space,
        action: Space,
        *,
        scale: float = 0.1,
        batched: bool = True,
    ) -> None:
        self.function, self.observation, self.action = function, observation, action
        self.scale, self.batched = positive(scale), batched

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The function's own answer at observations [*batch, *obs]: [*batch] or [*batch, A]."""
        return self._answer(obs), None, {}

    def distribution(self, obs: Obs) -> Distribution:
        """A certain choice, or a Gaussian of deviation `scale` around the function's answer."""
        return certain(self._answer(obs), self.action, self.scale)

    def _answer(self, obs: Obs) -> Tensor:
        obs, shape = observed(obs), self.action.shape  # type: ignore[union-attr]
        batch = _leading(obs, self.observation)
        rows = _rows(obs, len(batch))
        # Copies, as of all that code of the user's sees: it may write into what it is given.
        arrays = tree.map(lambda x: x.detach().cpu().numpy().copy(), rows)
        count = math.prod(batch)
        each = [_row(arrays, i) for i in range(count)] if not self.batched else []
        answers = self.function(arrays) if self.batched else [self.function(one) for one in each]
        answer = as_array(answers, "teacher: the function's answer")
        if answer.shape != (count, *shape):
            hint = " (pass batched=False if it takes one observation at a time)" if self.batched else ""
            raise ValueError(
                f"teacher: the function gave actions of shape {answer.shape} for {count} observations; "
                f"{self.action} needs {(count, *shape)}{hint}."
            )
        actions = _inside(answer, self.action, tree.leaves(obs)[0].device)
        return actions.reshape(batch if isinstance(self.action, Discrete) else (*batch, width(self.action)))


@checked
def from_callable(
    function: Callable[[NDArray[Any]], Any],
    source_or_spaces: Any,
    *,
    scale: float = 0.1,
    batched: bool = True,
) -> CallableTeacher:
    """A teacher made of any Python function, such as `lambda obs: model.predict(obs, deterministic=True)[0]`.

    Args:
        function: Maps observations [B, *obs] to integers [B] for a Discrete action space, to numbers [B, A]
            within the bounds for a Box. It sees whatever the source gives, in numpy.
        source_or_spaces: What it is to act in: a source, an environment, or a pair (observation, action) of
            spaces.
        scale: Standard deviation of its distribution for a Box, in the action's units; `act` gives the answer
            itself.
        batched: False for a function of one observation [*obs], to an integer or [A].

    Raises:
        ValueError: The spaces are not supported, or `scale` is not positive; when called, the answer has the
            wrong shape or type, is not finite, or lies outside the action space.
    """
    return CallableTeacher(function, *spaces_of(source_or_spaces), scale=scale, batched=batched)


class ModuleTeacher:
    """A teacher made of one frozen `nn.Module`; see `from_module`."""

    @checked
    def __init__(self, module: nn.Module, observation: Space, action: Space, *, scale: float = 0.1) -> None:
        self.module, self.observation, self.action = module, observation, action
        self.scale = positive(scale)

    @property
    def noise(self) -> int:
        """One uniform draws a choice; a Gaussian takes one a dimension."""
        return width(self.action)

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Draw an action at observations [*batch, *obs] from uniforms [*batch, noise]; the mode without them."""
        return decide(self.distribution(obs), noise), None, {}

    @torch.no_grad()
    def distribution(self, obs: Obs) -> Distribution:
        """Categoricals of its logits, or a Gaussian of deviation `scale` around its means."""
        mask, obs = action_mask(obs), observed(obs)
        batch = _leading(obs, self.observation)
        rows = tree.map(Tensor.clone, _rows(obs, len(batch)))  # the module may work in place
        out, counts = self.module(rows), choices(self.action)
        outputs = sum(counts) if counts else width(self.action)
        if not isinstance(out, Tensor) or out.shape != (math.prod(batch), outputs):
            found = tuple(out.shape) if isinstance(out, Tensor) else type(out).__name__
            raise ValueError(
                f"teacher: the module gave {found} for {math.prod(batch)} observations; {self.action} needs "
                f"{'logits' if counts else 'means'} [B, {outputs}]."
            )
        out = out.reshape(*batch, outputs)
        if not counts:
            return Normal(out, torch.full_like(out, self.scale))
        out = out if mask is None else out.masked_fill(~mask, -torch.inf)
        return Categorical(out) if isinstance(self.action, Discrete) else MultiCategorical(out.split(list(counts), -1))


@checked
def from_module(
    module: nn.Module, source_or_spaces: Any, *, scale: float = 0.1, device: torch.device | str | None = None
) -> ModuleTeacher:
    """A teacher made of a trained network of your own, which is copied and frozen in evaluation mode.

    Args:
        module: Maps observations [B, *obs] to logits [B, A] of a Discrete action space, to means [B, A] of a
            Box.
        source_or_spaces: What it is to act in: a source, an environment, or a pair (observation, action) of
            spaces.
        scale: Standard deviation of its actions in a Box, in the action's units.
        device: Where the copy is to live; where the module lives by default.

    Raises:
        ValueError: The spaces are not supported, or `scale` is not positive; when called, the output has the
            wrong shape.
    """
    frozen = copy.deepcopy(module).eval().requires_grad_(False)
    if device is not None:
        frozen.to(device)
    return ModuleTeacher(frozen, *spaces_of(source_or_spaces), scale=scale)


def _leading(obs: Obs, space: Space) -> tuple[int, ...]:
    """The leading shape of observations."""
    if isinstance(space, Dict | Tuple):
        first = space.spaces[0][0] if isinstance(space, Dict) else 0
        inner = space.spaces[0][1] if isinstance(space, Dict) else space.spaces[0]
        return _leading(obs[first], inner)
    dims = obs.dim() - len(space.shape)
    if dims < 0 or obs.shape[dims:] != space.shape:
        raise ValueError(f"teacher: made for observations {space}, got {tuple(obs.shape)}.")
    return tuple(obs.shape[:dims])


def _rows(obs: Obs, dims: int) -> Obs:
    """Observations of any leading shape as a batch [B, *obs]."""
    return tree.map(lambda x: x.reshape(-1, *x.shape[dims:]), obs)


def _row(arrays: Any, index: int) -> Any:
    """One observation of a batch in numpy."""
    if isinstance(arrays, dict):
        return {name: _row(array, index) for name, array in arrays.items()}
    return tuple(_row(array, index) for array in arrays) if isinstance(arrays, tuple) else arrays[index]


def _inside(answer: NDArray[Any], space: Space, device: torch.device) -> Tensor:
    """Actions that are members of a space, as a tensor; what rounding put beyond a bound is on it.

    Raises:
        ValueError: Some are none.
    """
    counts = choices(space)
    if counts:
        if answer.dtype.kind not in "iub":
            raise ValueError(f"teacher: the function gave {answer.dtype} for {space}, which needs integers.")
        if answer.size and not (answer.min() >= 0 and (answer < np.asarray(counts)).all()):
            raise ValueError(
                f"teacher: the function gave {answer.min()} to {answer.max()}; {space} is 0 to {max(counts) - 1}."
            )
        return as_tensor(answer, torch.int64, device)
    assert isinstance(space, Box)
    actions = as_tensor(answer, torch.float32, device).reshape(len(answer), -1)
    if not actions.isfinite().all():
        raise ValueError("teacher: the function gave actions that are not finite numbers.")
    if outside(space, actions).any():
        raise ValueError(
            f"teacher: the function gave {answer.min():.6g} to {answer.max():.6g}, "
            f"outside the bounds of {space}; clip its answer with np.clip(action, low, high)."
        )
    return clip(space, actions)
