"""Soft actor-critic. Letters: M members, N environments of one member, B batch, K critics, A action dimensions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from imitate.core.actions import unit
from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay_step import replay_step
from imitate.core.room import admit_steps
from imitate.core.sequence_replay import Sample, SequenceReplay
from imitate.core.terms import Term, Terms
from imitate.core.types import Metrics, Rollout, Source, mean_metrics
from imitate.core.weak import Weak
from imitate.nets.actor import Architecture, fresh
from imitate.nets.critic import ActionValue
from imitate.nets.layers import Activation
from imitate.nets.target import TargetNetwork
from imitate.policies import Mixture, Random
from imitate_envs.base import Box

__all__ = ["SAC", "SACConfig"]


@dataclass(frozen=True)
class SACConfig:
    """Hyper-parameters of SAC; the defaults are those of Stable-Baselines3.

    A `PerMember` number may be a tuple with one value a member: a search in one run.

    Args:
        steps: Environment steps of one member.
        rollout: T, steps of each environment between two rounds of learning.
        updates: Gradient steps in a round.
        batch_size: Transitions of one member in a gradient step.
        capacity: Transitions kept of each member.
        learning_starts: Uniformly random steps of one member before the first gradient step.
        lr: Learning rate of Adam, for actor, critics and temperature.
        gamma: Discount γ.
        tau: How far the target critics move in each gradient step.
        critics: K; the least of their values counts.
        temperature: α at the start.
        target_entropy: What α is tuned to, in nats of actions in units of half their range; −A by default.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
    """

    steps: Count = 100_000
    rollout: Count = 1
    updates: Count = 1
    batch_size: Count = 256
    capacity: Count = 100_000
    learning_starts: NonNegative[int] = 100
    lr: NonNegative[PerMember] = 3e-4
    gamma: Share[PerMember] = 0.99
    tau: Positive[float] = 0.005
    critics: Count = 2
    temperature: Positive[float] = 1.0
    target_entropy: float | None = None
    hidden: tuple[int, ...] = (256, 256)
    activation: Activation = "relu"

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Batch:
    """A sample, with uniforms [M, B, A] for an action at its observations and one at those that follow."""

    sample: Sample
    now: Tensor
    then: Tensor


class SAC:
    """Learn a squashed Gaussian policy and K critics off-policy, for return and entropy (Haarnoja et al. 2018).

        Q:  ½ (Q_k(s, a) − y)²,   y = r + γ [min_k Q⁻_k(s', a') − α log π(a'|s')],   a' ~ π(s')
        π:  α log π(ã|s) − min_k Q_k(s, ã),   ã ~ π(s)
        α:  −log α (log π(ã|s) + H),   H the target entropy

    Source: Haarnoja et al. (2018b, arXiv:1812.05905), eq. 5, 7 and 18, with the loss in log α as in the authors' code.

    Args:
        source: Where it acts; a bounded Box of actions.
        config: Hyper-parameters.
        terms: What is added to the loss of the actor, such as the distance to a teacher.

    Raises:
        ValueError: The actions are no bounded Box, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: SACConfig | None = None, *, terms: Sequence[Term] = ()) -> None:
        config, spec = config or SACConfig(), source.spec
        if not (isinstance(spec.action, Box) and spec.action.bounded):
            raise ValueError(f"action: SAC squashes its actions into a Box with finite bounds, not into {spec.action}.")
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.source, self.config = source, config
        self.policy = fresh(source, Architecture(config.hidden, config.activation, squash=True), "init")
        self.critic = ActionValue(spec, config.hidden, activation=config.activation, critics=config.critics)
        self.target = TargetNetwork(self.critic, config.tau)
        start = torch.full((spec.members, 1), config.temperature, device=spec.device).log()
        self.log_alpha = nn.ParameterList([nn.Parameter(start)])
        lr, gamma = (per_member(getattr(config, name), name, spec.members, spec.device) for name in ("lr", "gamma"))
        half_range = unit(spec.action, torch.device("cpu"))[1]
        entropy = -float(len(half_range)) if config.target_entropy is None else config.target_entropy
        # Densities are in the action's own units.
        self.hyper = SimpleNamespace(gamma=gamma, entropy=entropy + float(half_range.log().sum()))
        self.terms = Terms(terms, spec)
        self.critic_learner = Learner([self.critic], Weak(self._critic_loss), lr=lr.repeat_interleave(config.critics))
        self.actor_learner = Learner([self.policy], Weak(self._actor_loss), lr=lr)
        self.alpha_learner = Learner([self.log_alpha], Weak(self._alpha_loss), lr=lr)
        self.replay = SequenceReplay(config.capacity, source, Stream(spec.seed, "replay", spec.device), gamma)
        self.noise = Stream(spec.seed, "actor", spec.device)
        self.driver = Mixture(Random(spec.action), self.policy, torch.ones(spec.members, device=spec.device))
        self.progress = Progress(spec, config.steps, config.rollout * spec.num_envs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        return (str(self.replay),)

    @property
    def alpha(self) -> Tensor:
        """α of each member, [M, 1]."""
        log_alpha: Tensor = self.log_alpha[0]
        return log_alpha.detach().exp()

    def step(self) -> Metrics:
        """Collect one rollout, then learn from the replay."""
        begun = int(self.progress.steps) >= self.config.learning_starts
        self.driver.beta.fill_(float(not begun))
        updates = replay_step(
            self.source, self.driver, self.replay, self._update, self.config, ready=begun, see=self._see
        )
        self.progress.advance(self.config.rollout * self.source.spec.num_envs)
        return {**mean_metrics(updates), "alpha": self.alpha.squeeze(1)}

    def _see(self, rollout: Rollout) -> Rollout:
        """Let the terms look at a rollout."""
        return self.terms.watch(rollout, int(self.progress.steps))

    def _update(self, sample: Sample) -> Metrics:
        shape = (*sample.reward.shape, self.policy.noise)
        batch = _Batch(sample, self.noise.uniform(*shape), self.noise.uniform(*shape))
        critic, actor = self.critic_learner(batch), self.actor_learner(batch)
        self.alpha_learner(actor["log_prob"])
        self.target.update()
        by_member = {name: x.unflatten(0, (-1, self.config.critics)).mean(1) for name, x in critic.items()}
        own = {"actor_loss": actor.pop("loss"), "entropy": -actor.pop("log_prob").mean(1)}
        # What is left are the terms; the gradient's norm is that of the critics.
        return {**actor, **by_member, **self.terms.learn(sample), **own}

    def _critic_loss(self, batch: _Batch) -> tuple[Tensor, Metrics]:
        sample = batch.sample
        with torch.no_grad():
            action, log_prob = self.policy.distribution(sample.next_obs).sample_and_log_prob(batch.then)
            value = self.target.network(sample.next_obs, action).amin(-1) - self.alpha * log_prob
            target = sample.reward + sample.discount * value
        values = self.critic(sample.obs, sample.action)
        error = (values - target.unsqueeze(-1)).square().mean(1)  # [M, K]
        return 0.5 * error.flatten(), {"value": values.detach().mean(1).flatten()}

    def _actor_loss(self, batch: _Batch) -> tuple[Tensor, Metrics]:
        distribution = self.policy.distribution(batch.sample.obs)
        action, log_prob = distribution.sample_and_log_prob(batch.now)
        value = self.critic.of_action(batch.sample.obs, action).amin(-1)
        extra, metrics = self.terms(batch.sample, distribution)
        return (self.alpha * log_prob - value + extra).mean(1), {**metrics, "log_prob": log_prob.detach()}

    def _alpha_loss(self, log_prob: Tensor) -> tuple[Tensor, Metrics]:
        return -(self.log_alpha[0] * (log_prob + self.hyper.entropy)).mean(1), {}
