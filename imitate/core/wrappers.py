"""Sources around sources: another view of the observations, another reward, another driver, a witness.

Letters: T time, M members, N environments of one member, E episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import observed, unmasked
from imitate.core.config import Told, checked
from imitate.core.spec import Spec
from imitate.core.types import Composite, Memory, Obs, Policy, RewardModel, Rollout, Source
from imitate.core.views import Function, View
from imitate_envs.base import Space

__all__ = ["Driven", "Privileged", "Recorded", "Relabelled", "Viewed", "without_mask"]


class Viewed:
    """A source that is seen through a view, such as that of a student that sees less than its teacher.

    The rollout keeps what was there in its extras, `extras["obs"]`, and a teacher labels by that. A policy in
    `Privileged` also acts by that, alone or as a part of the driver. An observation at the end of an episode, and that
    behind the rollout, is a look of its own: where the view is noisy, it is not the one that the next rollout begins
    with. Views of a view are sources around each other; what was there is what the innermost one saw.

    Args:
        source: The source.
        view: One of `imitate.core.views`; or a function, observations [..., *shape] -> [..., *shape of the view].
        observation: Space of what a function makes.
        obs_dtype: Type of the numbers that a function makes; that of the source by default.
        whole: Keep what was there; False where a teacher, too, sees the view.

    Raises:
        ValueError: There is no such view of these observations, or a function comes without a space.
    """

    def __init__(
        self,
        source: Source,
        view: View | Callable[[Obs], Obs],
        observation: Space | None = None,
        *,
        obs_dtype: Any = None,
        whole: bool = True,
    ) -> None:
        if not hasattr(view, "seen"):
            if observation is None:
                raise ValueError("observation: which space has what the function makes? Pass it, such as Box((2,)).")
            view = Function(view, observation, obs_dtype)
        self.source, self.whole = source, whole
        self.view = cast(View, view)
        self.spec: Spec = self.view.seen(source.spec)
        self._driver: _Seeing | None = None

    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment under a policy that sees through the view."""
        if self._driver is None or self._driver.policy is not policy:
            self._driver = self._seeing(policy)
        rollout = self.source.collect(self._driver, steps)
        extras = dict(rollout.extras)
        obs, memory, noise, own = (extras.pop(name) for name in ("seen", "view", "look", "own"))
        # Of views of a view the innermost one saw all that there was.
        extras = ({"obs": rollout.obs} if self.whole else {}) | extras | own
        next_obs = self.view(rollout.next_obs, noise, memory)[0]
        goes_on = torch.cat([~rollout.done[:-1], torch.zeros_like(rollout.done[:1])])
        next_obs = tree.where(goes_on, tree.map(lambda x: x.roll(-1, 0), obs), next_obs)
        return replace(rollout, obs=obs, next_obs=next_obs, extras=extras, memory=rollout.memory[1])

    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes."""
        return self.source.play(self._seeing(policy), episodes, seed)

    def _seeing(self, policy: Policy) -> _Seeing:
        return _Seeing(policy, self.view, self.source.spec, self.whole)


class Privileged:
    """A policy that acts by all that there is, also behind a view; elsewhere it is the policy that it holds.

    Args:
        policy: Such as the teacher of a student that sees less.
    """

    @checked
    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    @property
    def noise(self) -> int:
        """The policy's."""
        return self.policy.noise

    def memory(self, *shape: int) -> Memory:
        """The policy's."""
        return self.policy.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        """What the policy does."""
        return self.policy.act(obs, noise, memory)


@dataclass(frozen=True)
class _Sight:
    """An observation behind a view: all that there was, and what is seen of it."""

    whole: Obs
    seen: Obs


class _Seeing:
    """A policy behind a view: of observations, and of those behind a view that is further inside."""

    def __init__(self, policy: Policy, view: View, spec: Spec, whole: bool) -> None:
        self.policy, self.view, self.spec, self.whole = policy, view, spec, whole
        self.inside = _with_eyes(policy)
        self.look = view.noise(spec)
        self.noise = 2 * self.look + policy.noise  # two looks: at this observation, and at that behind the step

    def memory(self, *shape: int) -> Memory:
        return self.view.memory(self.spec, *shape), self.policy.memory(*shape)

    def act(self, obs: Obs, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        assert noise is not None  # what is greedy is the policy, and never its eyes
        look, behind, own = noise.split([self.look, self.look, self.policy.noise], -1)
        before = obs.seen if isinstance(obs, _Sight) else obs
        seen, view = self.view(before, look, memory[0])
        there = (obs.whole if isinstance(obs, _Sight) else obs) if self.whole else seen
        action, mine, extras = self.inside.act(_Sight(there, seen), own, memory[1])
        return action, (view, mine), {"seen": seen, "view": view, "look": behind, "own": extras}


class _Part:
    """A policy that takes its part of what there is and what is seen."""

    def __init__(self, policy: Policy, part: Callable[[_Sight], Obs]) -> None:
        self.policy, self.part, self.noise = policy, part, policy.noise

    def memory(self, *shape: int) -> Memory:
        return self.policy.memory(*shape)

    def act(self, obs: _Sight, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        return self.policy.act(self.part(obs), noise, memory)


def _with_eyes(policy: Policy) -> Policy:
    """The policy of a `_Sight`: where it is made of others, each of them sees its own part."""
    if isinstance(policy, _Seeing):
        return policy
    if isinstance(policy, Privileged):
        return _Part(policy.policy, lambda sight: sight.whole)
    if isinstance(policy, Composite):
        return policy.over(_with_eyes)
    return _Part(policy, lambda sight: sight.seen)


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
