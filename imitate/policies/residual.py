"""A policy that is corrected by another one, which learns to. Letters: M members, N environments of one member."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from imitate.core.actions import unit
from imitate.core.config import Positive, checked
from imitate.core.types import Memory, Obs, Policy, Rollout, Source
from imitate.core.wrappers import Privileged
from imitate_envs.base import Box

__all__ = ["Corrections", "Residual"]


class Residual:
    """What a base does, and a correction added to it: a = a_base + a_correction (Silver et al. 2018).

    Args:
        base: Who does most of it, such as a controller.
        correction: Who corrects it, as it has learnt in `Corrections`.
    """

    @checked
    def __init__(self, base: Policy, correction: Policy) -> None:
        self.base, self.correction = base, correction

    @property
    def noise(self) -> int:
        """What both need."""
        return self.base.noise + self.correction.noise

    def memory(self, *shape: int) -> Memory:
        """Both memories."""
        return self.base.memory(*shape), self.correction.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """The sum, which the source clips; records the correction, and what it records."""
        one, two = (None, None) if noise is None else noise.split([self.base.noise, self.correction.noise], dim=-1)
        base, memory_base, _ = self.base.act(obs, one, memory[0])
        correction, memory_correction, extras = self.correction.act(obs, two, memory[1])
        return base + correction, (memory_base, memory_correction), {**extras, "correction": correction}

    def over(self, change: Callable[[Policy], Policy]) -> Residual:
        """The same of other policies."""
        return Residual(change(self.base), change(self.correction))


class Corrections:
    """A source whose actions are corrections of what a base does there, so that any algorithm learns a residual policy.

        source = Corrections(place, controller, scale=0.3)
        algorithm = PPO(source)
        ...
        policy = Residual(controller, algorithm.policy)  # for the place itself

    A correction goes as far as `scale` half ranges of an action. A fresh policy hardly corrects when greedy, so that it
    begins as good as the base is.

    Args:
        source: Where both act; a Box of actions.
        base: Who is corrected; it does not learn.
        scale: Bound on a correction, in half ranges of the action.

    Raises:
        ValueError: Actions are no Box.
    """

    @checked
    def __init__(self, source: Source, base: Policy, scale: Positive[float] = 0.5) -> None:
        action = source.spec.action
        if not isinstance(action, Box):
            raise ValueError(f"source: corrections are added to actions of a Box, and these are {action}.")
        reach = (scale * unit(action, torch.device("cpu"))[1]).tolist()
        space = Box(action.shape, tuple(-one for one in reach), tuple(reach))
        self.source, self.base = source, Privileged(base)  # who sees past a view
        self.spec = replace(source.spec, action=space)
        self._acting: Residual | None = None

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment, with the corrections for actions."""
        rollout = self.source.collect(self._sum(policy), steps)
        extras = dict(rollout.extras)
        memory = None if rollout.memory is None else rollout.memory[1]
        return replace(rollout, action=extras.pop("correction"), extras=extras, memory=memory)

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes of the base with its corrections."""
        return self.source.play(self._sum(policy), episodes, seed)

    def _sum(self, policy: Policy) -> Residual:
        """Base and policy together; one object a policy, for that is how a source knows who goes on."""
        if self._acting is None or self._acting.correction is not policy:
            self._acting = Residual(self.base, policy)
        return self._acting
