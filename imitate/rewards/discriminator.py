"""A reward from telling a teacher's steps from one's own. Letters: T time, M members, N environments, B batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core.actions import clip, observed, unit, unmasked, width
from imitate.core.config import Count, NonNegative, check, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream, integers
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.spec import Spec
from imitate.core.types import Metrics, Obs, Rollout, fold, mean_metrics, unfold
from imitate.core.weak import Weak
from imitate.data.demonstrations import Demonstrations
from imitate.nets.critic import Critic
from imitate.nets.layers import Activation
from imitate_envs.base import Box, MultiBinary, Tuple

__all__ = ["Discriminator", "DiscriminatorConfig"]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Hyper-parameters of a discriminator.

    Args:
        updates: Gradient steps after each rollout.
        batch_size: Steps of the teacher, and as many of the learner, of one member in a gradient step.
        lr: Learning rate of Adam.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
    """

    updates: Count = 4
    batch_size: Count = 256
    lr: NonNegative[PerMember] = 1e-3
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Pair:
    teacher: Examples
    learner: Examples


class Discriminator:
    """A `RewardModel`: r(s, a) = −log(1 − D(s, a)), where D is the probability that a step is the teacher's.

        L = −E_teacher log D − E_learner log(1 − D),   D = σ(logit)

    Actions are what the environment received, inside the bounds of a Box, and count in half ranges from its centre.

    Source: Ho & Ermon (2016), eq. 16 and algorithm 1, with the labels of Goodfellow et al. (2014) and the reward that
    does not vanish where D is small. It is never negative: where episodes end early it also rewards to stay alive.

    Args:
        spec: Of the source of the learner's steps.
        demonstrations: The teacher's steps.
        config: Hyper-parameters.

    Raises:
        ValueError: The demonstrations are of other members.
    """

    @checked
    def __init__(self, spec: Spec, demonstrations: Demonstrations, config: DiscriminatorConfig | None = None) -> None:
        self.config = config or DiscriminatorConfig()
        if len(demonstrations.mask) != spec.members:
            raise ValueError(f"demonstrations: of {len(demonstrations.mask)} members, the source has {spec.members}.")
        admit_steps(spec, {"batch_size": self.config.batch_size, "members": spec.members})
        self.action = action = spec.action
        if isinstance(action, Box | MultiBinary):
            action = type(action)((width(action),))  # actions are flat here, whatever their shape
        self.network = Critic(
            Tuple((unmasked(spec.observation), action)),
            spec.members,
            self.config.hidden,
            activation=self.config.activation,
            init=Stream(spec.seed, "init-discriminator", spec.device),
        )
        self.learner = Learner([self.network], Weak(self._loss), lr=self.config.lr)
        self.stream = Stream(spec.seed, "discriminator", spec.device)
        self.data = Dataset(
            spec.members, demonstrations.mask.shape[1], Stream(spec.seed, "demonstrations", spec.device)
        )
        self.data.add(demonstrations.examples, demonstrations.mask)

    def logits(self, obs: Obs, action: Tensor) -> Tensor:
        """Log-odds [M, B] that steps are the teacher's."""
        if isinstance(self.action, Box):
            centre, half_range = unit(self.action, action.device)
            action = (clip(self.action, action) - centre) / half_range
        values: Tensor = self.network(self.network.body.prepare((observed(obs), action)))
        return values

    def __call__(self, rollout: Rollout) -> Tensor:
        """−log(1 − D) of each step, [T, M, N]."""
        return unfold(F.softplus(self.logits(fold(rollout.obs), fold(rollout.action))), len(rollout.reward))

    def learn(self, rollout: Rollout) -> Metrics:
        """Tell the steps of a rollout from the teacher's."""
        own = Examples(fold(rollout.obs), fold(rollout.action))
        return mean_metrics([self.learner(self._pair(own)) for _ in range(self.config.updates)])

    def _pair(self, own: Examples) -> _Pair:
        members, size = own.action.shape[:2]
        index = integers(size, self.stream.uniform(members, self.config.batch_size, dtype=torch.float64))
        return _Pair(self.data.sample(self.config.batch_size), own.at(index))

    def _loss(self, pair: _Pair) -> tuple[Tensor, Metrics]:
        teacher, learner = (self.logits(one.obs, one.action) for one in (pair.teacher, pair.learner))
        loss = F.softplus(-teacher).mean(1) + F.softplus(learner).mean(1)
        right = ((teacher > 0).float() + (learner < 0).float()).detach() / 2
        return loss, {"discriminated": right}
