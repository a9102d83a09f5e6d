"""Sources around sources: another view of the observations, another reward, another driver, a witness.

Letters: T time, M members, N environments of one member, E episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import observed, unmasked
from imitate.core.config import Told, checked
from imitate.core.spec import Spec
from imitate.core.types import Memory, Obs, Policy, RewardModel, Rollout, Source
from imitate_envs.base import Space

__all__ = ["Driven", "Recorded", "Relabelled", "Viewed", "without_mask"]


class Viewed:
    """A source whose observations are seen through a function, such as a student that sees less than its teacher.

    The rollout keeps what was there in its extras, `extras["obs"]`, and a teacher labels by that.

    Args:
        source: The source.
        view: Observations [..., *shape] -> observations [..., *shape of the view].
        observation: Space of the view.
        obs_dtype: Type of its numbers; that of the source by default.
        whole: Keep what was there; False where a teacher, too, sees the view.
    """

    def __init__(
        self,
        source: Source,
        view: Callable[[Obs], Obs],
        observation: Space,
        *,
        obs_dtype: Any = None,
        whole: bool = True,
    ) -> None:
        self.source, self.view, self.whole = source, view, whole
        dtype = source.spec.obs_dtype if obs_dtype is None else obs_dtype
        self.spec: Spec = replace(source.spec, observation=observation, obs_dtype=dtype, frames=1)
        self._driver: _Seeing | None = None

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment under a policy that sees through the view."""
        if self._driver is None or self._driver.policy is not policy:
            self._driver = _Seeing(policy, self.view)
        rollout = self.source.collect(self._driver, steps)
        # Of views of a view the innermost one saw all that there was.
        extras = {"obs": rollout.obs, **rollout.extras} if self.whole else rollout.extras
        obs, next_obs = (_view(self.view, seen) for seen in (rollout.obs, rollout.next_obs))
        return replace(rollout, obs=obs, next_obs=next_obs, extras=extras)

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes."""
        return self.source.play(_Seeing(policy, self.view), episodes, seed)


def _view(view: Callable[[Obs], Obs], obs: Obs) -> Obs:
    """What a view makes of observations; of a copy, for it may work in place."""
    return view(tree.map(Tensor.clone, obs))


class _Seeing:
    """A policy behind a view."""

    def __init__(self, policy: Policy, view: Callable[[Obs], Obs]) -> None:
        self.policy, self.view, self.noise = policy, view, policy.noise

    def memory(self, *shape: int) -> Memory:
        return self.policy.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        return self.policy.act(_view(self.view, obs), noise, memory)


class Relabelled:
    """A source whose rewards a model gives; evaluation counts the environment's own.

    Args:
        source: The source.
        reward: The model.
        share: Of the environment's own reward in the sum, in [0, 1].

    Attributes:
        rollout: The last one, with the rewards of the environment: what the model learns from.

    Raises:
        ValueError: `share` is no share.
    """

    @checked
    def __init__(self, source: Source, reward: RewardModel, *, share: Told[float] = 0.0) -> None:
        if not (isinstance(share, (int, float, np.number)) and 0 <= share <= 1):
            raise ValueError(f"share: must be in [0, 1], not {share}.")
        self.source, self.reward, self.share = source, reward, share
        self.spec: Spec = replace(source.spec, reward_range=None, final_reward_range=None)
        self.rollout: Rollout | None = None

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment, with the model's rewards."""
        self.rollout = self.source.collect(policy, steps)
        with torch.no_grad():
            reward = self.reward(self.rollout.clone())  # it may work in place
        return replace(self.rollout, reward=torch.lerp(reward, self.rollout.reward, self.share))

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes, of the environment's rewards."""
        return self.source.play(policy, episodes, seed)


class Driven:
    """A source in which somebody else has a say in who acts, such as a teacher that begins the episodes.

    What is learnt from it must not take the actions for those of the policy. Evaluation plays the policy alone.

    Args:
        source: The source.
        drive: Makes the driver of the policy that is to collect.
    """

    def __init__(self, source: Source, drive: Callable[[Policy], Policy]) -> None:
        self.source, self.drive = source, drive
        self.spec: Spec = source.spec
        self._policy: Policy | None = None

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment."""
        if policy is not self._policy:
            self._policy, self._driver = policy, self.drive(policy)
        return self.source.collect(self._driver, steps)

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes."""
        return self.source.play(policy, episodes, seed)


class Recorded:
    """A source that shows each rollout to a witness, such as a writer of demonstrations.

    Around it, `Relabelled` with a reward model whose `learn` is the witness rewards by a model that learns as it goes.

    Args:
        source: The source.
        witness: Called with a copy of each rollout. What it returns is not looked at.
    """

    def __init__(self, source: Source, witness: Callable[[Rollout], object]) -> None:
        self.source, self.witness = source, witness
        self.spec: Spec = source.spec

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment."""
        rollout = self.source.collect(policy, steps)
        self.witness(rollout.clone())
        return rollout

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes."""
        return self.source.play(policy, episodes, seed)


def without_mask(source: Source) -> Source:
    """A source whose observations carry no mask of actions; itself where they carry none."""
    observation = unmasked(source.spec.observation)
    if observation is source.spec.observation:
        return source
    return Viewed(source, observed, observation, obs_dtype=observed(source.spec.obs_dtype))
