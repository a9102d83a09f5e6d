"""A reward from telling a teacher's steps from one's own. Letters: T time, M members, N environments, B batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import flattened, observed, scaled, unmasked
from imitate.core.config import Count, NonNegative, check, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream, bernoulli, integers
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.spec import Spec
from imitate.core.types import Metrics, Obs, Rollout, fold, mean_metrics, unfold
from imitate.core.weak import Weak
from imitate.data.demonstrations import Demonstrations
from imitate.losses.adversarial import discrimination, gradient_penalty, positive
from imitate.nets.critic import Critic
from imitate.nets.layers import Activation
from imitate.rewards.absorbing import INDICATOR, Absorbing, emptied, indicated, share_of
from imitate_envs.base import Tuple

__all__ = ["Discriminator", "DiscriminatorConfig"]


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Hyper-parameters of a discriminator.

    Args:
        updates: Gradient steps after each rollout.
        batch_size: Steps of the teacher, and as many of the learner, of one member in a gradient step.
        lr: Learning rate of Adam.
        gradient_penalty: Weight of the penalty on the gradient of the logit in its inputs; 10 in the literature.
        absorbing: Let episodes that terminate go on in an absorbing state for ever: for episodes of any length.
        normalise: Standardise its inputs by running statistics of the steps of both.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
    """

    updates: Count = 4
    batch_size: Count = 256
    lr: NonNegative[PerMember] = 1e-3
    gradient_penalty: NonNegative[float] = 0.0
    absorbing: bool = False
    normalise: bool = False
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Pair:
    """Steps of both; the `extras` of either are where they are absorbing ones, [M, B], if there are such."""

    teacher: Examples
    learner: Examples
    between: Tensor | None = None  # uniforms [M, B]: where on the line between them the gradient is penalised


class Discriminator:
    """A `RewardModel`: by default r(s, a) = −log(1 − D(s, a)), where D is the probability that a step is the teacher's.

        L = −E_teacher log D − E_learner log(1 − D) + λ E (‖∇logit‖ − 1)²,   D = σ(logit)

    Actions are what the environment received, inside the bounds of a Box, and count in half ranges from its centre. The
    gradient is that in the inputs of the network, at random points between a step of the teacher and one of the
    learner.

    A reward of one sign also tells whether an end is good or bad; with absorbing states it does not, see
    `imitate.rewards.absorbing`.

    Source: Ho & Ermon (2016), eq. 16 and algorithm 1, with the labels of Goodfellow et al. (2014) and the reward that
    does not vanish where D is small. Absorbing states and penalty: Kostrikov et al. (2019).

    Args:
        spec: Of the source of the learner's steps.
        demonstrations: The teacher's steps.
        config: Hyper-parameters.
        reward: Of logits; one of `imitate.losses.adversarial`: `positive`, `negative` or `log_odds`.
        gamma: γ of whoever learns from the rewards; with absorbing states less than 1.

    Raises:
        ValueError: The demonstrations are of other members, or do not tell whether episodes terminated where absorbing
            states are asked for.
    """

    @checked
    def __init__(
        self,
        spec: Spec,
        demonstrations: Demonstrations,
        config: DiscriminatorConfig | None = None,
        *,
        reward: Callable[[Tensor], Tensor] = positive,
        gamma: NonNegative[PerMember] = 0.99,
    ) -> None:
        self.config, self.reward = config or DiscriminatorConfig(), reward
        if len(demonstrations.mask) != spec.members:
            raise ValueError(f"demonstrations: of {len(demonstrations.mask)} members, the source has {spec.members}.")
        admit_steps(spec, {"batch_size": self.config.batch_size, "members": spec.members})
        self.action = spec.action
        # Where absorbing states are told apart there is an input of their own.
        indicator = (INDICATOR,) if self.config.absorbing else ()
        self.network = Critic(
            Tuple((unmasked(spec.observation), flattened(spec.action), *indicator)),
            spec.members,
            self.config.hidden,
            activation=self.config.activation,
            init=Stream(spec.seed, "init-discriminator", spec.device),
            normalise=self.config.normalise,
        )
        self.learner = Learner([self.network], Weak(self._loss), lr=self.config.lr)
        self.stream = Stream(spec.seed, "discriminator", spec.device)
        self.data = Dataset(
            spec.members, demonstrations.mask.shape[1], Stream(spec.seed, "demonstrations", spec.device)
        )
        self.data.add(demonstrations.examples, demonstrations.mask)
        self.network.body.observe(self._inputs(demonstrations.examples), demonstrations.mask)
        self.absorbing = Absorbing.of(demonstrations, spec, gamma) if self.config.absorbing else None

    def logits(self, obs: Obs, action: Tensor, absorbing: Tensor | None = None) -> Tensor:
        """Log-odds [M, B] that steps are the teacher's.

        Args:
            obs: Observations [M, B, ...].
            action: Actions [M, B, *action].
            absorbing: Which steps are in the absorbing state instead, bool [M, B]; by default none.
        """
        values: Tensor = self.network(self._prepare(Examples(obs, action, () if absorbing is None else absorbing)))
        return values

    def __call__(self, rollout: Rollout) -> Tensor:
        """The reward of each step, [T, M, N]; that of a last one holds what the absorbing state earns for ever."""
        obs, action = fold(rollout.obs), fold(rollout.action)
        reward: Tensor = self.reward(self.logits(obs, action))
        if self.absorbing is not None:
            first: Obs = tree.map(lambda x: x[:, :1], obs)
            ever = torch.ones(len(action), 1, dtype=torch.bool, device=action.device)
            there = self.reward(self.logits(first, action[:, :1], ever))
            reward = reward + self.absorbing.tail(fold(rollout.terminated), there)
        return unfold(reward, len(rollout.reward))

    def learn(self, rollout: Rollout) -> Metrics:
        """Tell the steps of a rollout from the teacher's."""
        own, share = Examples(fold(rollout.obs), fold(rollout.action)), share_of(fold(rollout.terminated))
        self.network.body.observe(self._inputs(own))
        return mean_metrics([self.learner(self._pair(own, share)) for _ in range(self.config.updates)])

    def _pair(self, own: Examples, share: Tensor) -> _Pair:
        """A batch of both; of the learner's steps a `share` [M, 1] is in the absorbing state, where there is one."""
        members, size = own.action.shape[:2]
        count = self.config.batch_size
        index = integers(size, self.stream.uniform(members, count, dtype=torch.float64))
        teacher, learner = self.data.sample(count), own.at(index)
        if self.absorbing is not None:
            teacher, learner = (
                replace(one, extras=bernoulli(part, self.stream.uniform(members, count)))
                for one, part in ((teacher, self.absorbing.share), (learner, share))
            )
        between = self.stream.uniform(members, count) if self.config.gradient_penalty > 0 else None
        return _Pair(teacher, learner, between)

    def _inputs(self, steps: Examples) -> Any:
        """Steps as elements of the network's space; absorbing ones are zeros beside their indicator."""
        obs, action, absorbing = observed(steps.obs), scaled(self.action, steps.action), steps.extras
        if not self.config.absorbing:
            return obs, action
        if not isinstance(absorbing, Tensor):
            absorbing = torch.zeros(action.shape[:2], dtype=torch.bool, device=action.device)
        return emptied(obs, absorbing), emptied(action, absorbing), indicated(absorbing)

    def _prepare(self, steps: Examples) -> Any:
        """The same as the network takes them."""
        return self.network.body.prepare(self._inputs(steps))

    def _loss(self, pair: _Pair) -> tuple[Tensor, Metrics]:
        inputs = [self._prepare(one) for one in (pair.teacher, pair.learner)]
        teacher, learner = (self.network(x) for x in inputs)
        loss = discrimination(teacher, learner)
        right = ((teacher > 0).float() + (learner < 0).float()).detach() / 2
        metrics = {"discriminated": right}
        if pair.between is not None:
            norm = self._steepness(inputs[0], inputs[1], pair.between)
            loss = loss + self.config.gradient_penalty * gradient_penalty(norm)
            metrics["steepness"] = norm.detach()
        return loss, metrics

    def _steepness(self, teacher: Any, learner: Any, between: Tensor) -> Tensor:
        """‖∇logit‖ [M, B] of each row in its inputs, between a step of the teacher and one of the learner."""

        def point(one: Tensor, other: Tensor) -> Tensor:
            share = between.reshape(*between.shape, *(1,) * (one.dim() - 2))
            return torch.lerp(one, other, share).requires_grad_()

        x = tree.map(point, teacher, learner)
        grads = torch.autograd.grad(self.network(x).sum(), tree.leaves(x), create_graph=True)
        norm: Tensor = torch.linalg.vector_norm(torch.cat([grad.flatten(2) for grad in grads], -1), dim=-1)
        return norm
