"""A reward and a shaping of it, learnt apart. Letters: T time, M members, N environments, B batch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import clip, flattened, observed, scaled, unmasked
from imitate.core.config import Count, NonNegative, Share, check, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream, bernoulli, integers
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.spec import Spec
from imitate.core.types import Metrics, Obs, Rollout, fold, mean_metrics, unfold
from imitate.core.weak import Weak
from imitate.data.demonstrations import Demonstrations
from imitate.losses.adversarial import discrimination, shaped
from imitate.nets.actor import Actor
from imitate.nets.critic import Critic
from imitate.nets.layers import Activation
from imitate.rewards.absorbing import INDICATOR, Absorbing, emptied, indicated, share_of
from imitate_envs.base import Tuple

__all__ = ["ShapedReward", "ShapedRewardConfig", "Unshaped"]


@dataclass(frozen=True)
class ShapedRewardConfig:
    """Hyper-parameters of a shaped reward.

    Args:
        updates: Gradient steps on each rollout.
        batch_size: Steps of the teacher, and as many of the learner, of one member in a gradient step.
        lr: Learning rate of Adam.
        state_only: Let g see the state alone: only then can it be told from the shaping, and carried elsewhere.
        absorbing: Let episodes that terminate go on in an absorbing state for ever. Without it, as in the paper, a
            reward that is negative on the whole makes a learner end its episodes, and that of a good discriminator is.
        normalise: Standardise the inputs of g and h by running statistics of the steps of both.
        hidden: Widths of the hidden layers of g and of h.
        activation: Of the hidden layers.
    """

    updates: Count = 4
    batch_size: Count = 256
    lr: NonNegative[PerMember] = 1e-3
    state_only: bool = False
    absorbing: bool = True
    normalise: bool = False
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Pair:
    """Steps of both with what followed, and how likely the policy is to act so, log π(a|s) [M, B]."""

    teacher: Examples
    learner: Examples
    teacher_log_prob: Tensor
    learner_log_prob: Tensor


class ShapedReward:
    """A `RewardModel` that takes itself apart: r(s, a, s') = f(s, a, s') − log π(a|s).

        f(s, a, s') = g(s, a) + γ h(s') − h(s),   D = exp f / (exp f + π(a|s))
        L = −E_teacher log D − E_learner log(1 − D)

    So log D − log(1 − D) is the reward. The potential h takes what depends on the dynamics. With `state_only`, g(s) is
    left: the teacher's reward up to a constant, where the dynamics are deterministic and let h and g be told apart.
    Behind a step that terminates stands the absorbing state, see `imitate.rewards.absorbing`, in which there is one
    action, log π = 0; or, without it, h is 0. Actions are what the environment received, as in `Discriminator`.

    Source: Fu, Luo & Levine (2018, arXiv:1710.11248), algorithm 1.

    Args:
        spec: Of the source of the learner's steps.
        demonstrations: The teacher's steps, of which it is known what followed.
        policy: The learner, π; `learn` is to be called while it still is who acted.
        config: Hyper-parameters.
        gamma: γ; with absorbing states less than 1.

    Raises:
        ValueError: The demonstrations are of other members, or do not tell what followed, the policy has a memory, or γ
            is 1 with absorbing states.
    """

    @checked
    def __init__(
        self,
        spec: Spec,
        demonstrations: Demonstrations,
        policy: Actor,
        config: ShapedRewardConfig | None = None,
        *,
        gamma: Share[PerMember] = 0.99,
    ) -> None:
        self.config, self.policy, self.action = config or ShapedRewardConfig(), policy, spec.action
        config, members = self.config, spec.members
        if len(demonstrations.mask) != members:
            raise ValueError(f"demonstrations: of {len(demonstrations.mask)} members, the source has {members}.")
        if policy.recurrent:
            raise ValueError(
                "policy: it has a memory, and how likely it is to act is asked of single steps; take gru=0 and lstm=0."
            )
        admit_steps(spec, {"batch_size": config.batch_size, "members": members})
        seen = (unmasked(spec.observation), *((INDICATOR,) if config.absorbing else ()))
        acted = seen if config.state_only else (*seen, flattened(spec.action))
        self.base, self.potential = (
            Critic(
                Tuple(spaces),
                members,
                config.hidden,
                activation=config.activation,
                init=Stream(spec.seed, f"init-{name}", spec.device),
                normalise=config.normalise,
            )
            for name, spaces in (("reward", acted), ("potential", seen))
        )
        self.hyper = SimpleNamespace(gamma=per_member(gamma, "gamma", members, spec.device).unsqueeze(1))
        self.absorbing = Absorbing.of(demonstrations, spec, gamma) if config.absorbing else None
        self.learner = Learner([self.base, self.potential], Weak(self._loss), lr=config.lr)
        self.stream = Stream(spec.seed, "discriminator", spec.device)
        self.data = Dataset(members, demonstrations.mask.shape[1], Stream(spec.seed, "demonstrations", spec.device))
        examples, mask = demonstrations.transitions
        self.data.add(examples, mask)
        self._observe(examples, mask)

    def unshaped(self, obs: Obs, action: Tensor, absorbing: Tensor | None = None) -> Tensor:
        """What is left without the shaping: g [M, B].

        Args:
            obs: Observations [M, B, ...].
            action: Actions [M, B, *action].
            absorbing: Which steps are in the absorbing state instead, bool [M, B]; by default none.
        """
        values: Tensor = self.base(self.base.body.prepare(self._acted(obs, action, absorbing)))
        return values

    def logits(self, steps: Examples, log_prob: Tensor) -> Tensor:
        """Log-odds [M, B] that steps are the teacher's, f − log π.

        Args:
            steps: Their `extras` are a dict of `next_obs` [M, B, ...] and `terminated` [M, B], and of `absorbing`
                [M, B], which steps are in the absorbing state instead, if any are.
            log_prob: log π(a|s) [M, B]; it does not count in the absorbing state.
        """
        terminated, here = steps.extras["terminated"], steps.extras.get("absorbing")
        value = self._value(steps.obs, here)
        reward = self.unshaped(steps.obs, steps.action, here)
        if self.absorbing is None:
            next_value, discount = self._value(steps.extras["next_obs"]), self.hyper.gamma * ~terminated
        else:
            there = terminated if here is None else terminated | here
            next_value, discount = self._value(steps.extras["next_obs"], there), self.hyper.gamma.expand_as(value)
            log_prob = log_prob if here is None else log_prob.masked_fill(here, 0)
        return shaped(reward, value, next_value, discount) - log_prob

    def __call__(self, rollout: Rollout) -> Tensor:
        """F − log π of each step, [T, M, N]; that of a last one holds what the absorbing state earns for ever."""
        steps = _steps(rollout)
        reward = self.logits(steps, self._log_prob(steps))
        if self.absorbing is not None:
            one = _absorbed(_first(steps))
            reward = reward + self.absorbing.tail(fold(rollout.terminated), self.logits(one, reward[:, :1]))
        return unfold(reward, len(rollout.reward))

    def learn(self, rollout: Rollout) -> Metrics:
        """Tell the steps of a rollout from the teacher's."""
        own, share = _steps(rollout), share_of(fold(rollout.terminated))
        self._observe(own)
        own = replace(own, extras={**own.extras, "log_prob": self._log_prob(own)})
        return mean_metrics([self.learner(self._pair(own, share)) for _ in range(self.config.updates)])

    def _pair(self, own: Examples, share: Tensor) -> _Pair:
        """A batch of both; of the learner's steps a `share` [M, 1] is in the absorbing state, where there is one."""
        members, size = own.action.shape[:2]
        count = self.config.batch_size
        index = integers(size, self.stream.uniform(members, count, dtype=torch.float64))
        teacher, learner = self.data.sample(count), own.at(index)
        if self.absorbing is not None:
            teacher, learner = (
                replace(one, extras={**one.extras, "absorbing": bernoulli(part, self.stream.uniform(members, count))})
                for one, part in ((teacher, self.absorbing.share), (learner, share))
            )
        return _Pair(teacher, learner, self._log_prob(teacher), learner.extras["log_prob"])

    def _loss(self, pair: _Pair) -> tuple[Tensor, Metrics]:
        teacher = self.logits(pair.teacher, pair.teacher_log_prob)
        learner = self.logits(pair.learner, pair.learner_log_prob)
        right = ((teacher > 0).float() + (learner < 0).float()).detach() / 2
        return discrimination(teacher, learner), {"discriminated": right}

    @torch.no_grad()
    def _log_prob(self, steps: Examples) -> Tensor:
        """How likely the policy is to act so, [M, B]."""
        return self.policy.distribution(steps.obs).log_prob(clip(self.action, steps.action))

    def _value(self, obs: Obs, absorbing: Tensor | None = None) -> Tensor:
        """The potential h [M, B] of observations, or of the absorbing state."""
        values: Tensor = self.potential(self.potential.body.prepare(self._seen(obs, absorbing)))
        return values

    def _seen(self, obs: Obs, absorbing: Tensor | None) -> tuple[Any, ...]:
        """What h sees."""
        obs = observed(obs)
        if self.absorbing is None:
            return (obs,)
        if absorbing is None:
            absorbing = torch.zeros(tree.leaves(obs)[0].shape[:2], dtype=torch.bool, device=self.policy.device)
        return emptied(obs, absorbing), indicated(absorbing)

    def _acted(self, obs: Obs, action: Tensor, absorbing: Tensor | None = None) -> tuple[Any, ...]:
        """What g sees."""
        seen = self._seen(obs, absorbing)
        if self.config.state_only:
            return seen
        action = scaled(self.action, action)
        return *seen, action if absorbing is None else emptied(action, absorbing)

    def _observe(self, steps: Examples, mask: Tensor | None = None) -> None:
        """Let the normalisers learn."""
        self.base.body.observe(self._acted(steps.obs, steps.action), mask)
        self.potential.body.observe(self._seen(steps.obs, None), mask)


class Unshaped:
    """The `RewardModel` of what a `ShapedReward` has learnt without its shaping, g: for other dynamics.

    It learns no more. Around a source of the changed dynamics, `Relabelled` with it lets any algorithm learn there.

    Args:
        model: Which has learnt.
    """

    @checked
    def __init__(self, model: ShapedReward) -> None:
        self.model = model

    def __call__(self, rollout: Rollout) -> Tensor:
        """G of each step, [T, M, N]; that of a last one holds what the absorbing state earns for ever."""
        steps = _steps(rollout)
        reward = self.model.unshaped(steps.obs, steps.action)
        if self.model.absorbing is not None:
            one = _absorbed(_first(steps))
            there = self.model.unshaped(one.obs, one.action, one.extras["absorbing"])
            reward = reward + self.model.absorbing.tail(fold(rollout.terminated), there)
        return unfold(reward, len(rollout.reward))

    def learn(self, rollout: Rollout) -> Metrics:
        """Nothing."""
        return {}


def _steps(rollout: Rollout) -> Examples:
    """The steps of a rollout [M, T·N] as demonstrations have them."""
    extras = {"next_obs": fold(rollout.next_obs), "terminated": fold(rollout.terminated)}
    return Examples(fold(rollout.obs), fold(rollout.action), extras)


def _first(steps: Examples) -> Examples:
    """The first of them, [M, 1]."""
    first: Examples = tree.map(lambda x: x[:, :1], steps)
    return first


def _absorbed(steps: Examples) -> Examples:
    """The same number of steps in the absorbing state."""
    return replace(steps, extras={**steps.extras, "absorbing": torch.ones_like(steps.extras["terminated"])})
