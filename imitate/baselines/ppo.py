"""Proximal policy optimisation. Letters: T time, M members, N environments of one member, B batch, S sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import action_mask
from imitate.core.carried import Carried
from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import Learner, PerMember, numbers
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.room import admit_steps
from imitate.core.terms import Term, Terms
from imitate.core.types import Memory, Metrics, Obs, Rollout, Source, fold, mean_metrics, parts, unfold
from imitate.core.weak import Weak
from imitate.distributions.actions import Distribution, log_prob_of
from imitate.losses.policy import approximate_kl, categorical_surrogate, clipped_surrogate
from imitate.losses.returns import discounted_returns_so_far, lambda_returns
from imitate.nets.actor import Actor, Architecture, fresh
from imitate.nets.critic import Critic
from imitate.nets.layers import Activation, RunningNorm

__all__ = ["PPO", "PPOConfig", "RewardScale", "architecture_of", "critic_of"]


@dataclass(frozen=True)
class PPOConfig:
    """Hyper-parameters of PPO; the defaults are those of Stable-Baselines3 where they exist.

    A `PerMember` number may be a tuple with one value a member: a search in one run.

    Args:
        steps: Environment steps of one member; the schedules end here.
        rollout: T, steps of each environment between two updates.
        epochs: Passes over a rollout.
        batch_size: Transitions of one member in a minibatch; must divide rollout·num_envs.
        lr: Learning rate of Adam.
        anneal_lr: Let the learning rate fall linearly to zero.
        gamma: Discount γ.
        lam: λ of the advantage estimates.
        clip: ε of the clipped surrogate.
        anneal_clip: Let ε fall linearly to zero.
        entropy: Weight of the entropy bonus.
        value: Weight of the squared error of the values.
        max_grad_norm: Bound on the gradient's norm.
        target_kl: A member whose policy has come further than 1.5 times this from where a rollout found it, by the
            estimate on a minibatch in nats, takes no more steps on that rollout; None: no bound.
        hidden: Widths of the hidden layers of the policy; a critic of the same shape stands beside it.
        activation: Of the hidden layers.
        normalise_obs: Standardise observations by running statistics. Those that a given policy brings stay as they are
            without it.
        normalise_reward: Divide rewards by the running standard deviation of the discounted return.
        squash: A tanh-Gaussian policy instead of a clipped Gaussian one.
        gru: Units of a gated recurrent unit behind the hidden layers of both; 0: no such memory.
        lstm: Units of a long short-term memory there; 0: no such memory.
    """

    steps: Count = 100_000
    rollout: Count = 128
    epochs: Count = 10
    batch_size: Count = 256
    lr: NonNegative[PerMember] = 3e-4
    anneal_lr: bool = False
    gamma: Share[PerMember] = 0.99
    lam: Share[PerMember] = 0.95
    clip: NonNegative[PerMember] = 0.2
    anneal_clip: bool = False
    entropy: PerMember = 0.0
    value: PerMember = 0.5
    max_grad_norm: Positive[float] = 0.5
    target_kl: Positive[float] | None = None
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    normalise_obs: bool = False
    normalise_reward: bool = False
    squash: bool = False
    gru: int = 0
    lstm: int = 0

    def __post_init__(self) -> None:
        check(self)
        if self.batch_size < 2:
            raise ValueError(f"batch_size: at least 2, for advantages are standardised, not {self.batch_size}.")


@dataclass(frozen=True)
class _Batch:
    """What the loss needs, [M, B, ...]; with a memory sequences of B/T environments, the steps of each in a row."""

    obs: Obs
    action: Tensor
    draw: Tensor | None  # what a squashed action was before the tanh
    log_prob: Tensor
    advantage: Tensor
    target: Tensor
    extras: Any = ()
    starts: Tensor | None = None
    memory: tuple[Memory, Memory] | None = None  # of actor and critic before the sequences, [M, S, ...]


class PPO:
    """Learn from rewards by a clipped policy gradient (Schulman et al. 2017).

    Values are bootstrapped at the true last observation of a truncated episode; advantages are standardised in each
    minibatch; every epoch has its own permutation; the schedules depend on `steps` alone, so a resumed run goes on
    with them. A recurrent policy learns from whole rollouts of some environments, by back-propagation through them.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.
        policy: The policy to train, for instance a cloned one; by default a fresh one as the config says. The network
            fields of the config then shape the critic alone.
        critic: The critic to train, as `critic_of` makes it; for terms that look at values.
        terms: What is added to the loss, such as the distance to a teacher.

    Raises:
        ValueError: `batch_size` does not divide a rollout, or a number has neither one value nor M.
    """

    @checked
    def __init__(
        self,
        source: Source,
        config: PPOConfig | None = None,
        *,
        policy: Actor | None = None,
        critic: Critic | None = None,
        terms: Sequence[Term] = (),
    ) -> None:
        config, spec = config or PPOConfig(), source.spec
        if policy is not None and policy.members != spec.members:
            raise ValueError(f"policy: has {policy.members} members, the source {spec.members}.")
        if critic is not None and (count := len(critic.value.weight)) != spec.members:
            raise ValueError(f"critic: has {count} members, the source {spec.members}.")
        size = config.rollout * spec.num_envs
        if size % config.batch_size:
            raise ValueError(f"batch_size: {config.batch_size} does not divide rollout·num_envs = {size}.")
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.source, self.config = source, config
        self.policy = policy if policy is not None else fresh(source, architecture_of(config), "init")
        self.critic = critic if critic is not None else critic_of(source, config)
        norm = None if policy is None else policy.body.normaliser
        self.observes = config.normalise_obs or norm is None or not bool(norm.count.any())
        self.recurrent = self.policy.recurrent or self.critic.recurrent
        if self.recurrent and config.batch_size % config.rollout:
            raise ValueError(
                f"batch_size: {config.batch_size} is no multiple of the rollout, {config.rollout}; a policy with a "
                "memory learns from whole rollouts of some environments."
            )
        self.critic_memory = Carried(self.critic.memory(spec.members, spec.num_envs))

        self.hyper = numbers(config, spec, "gamma", "lam", "clip", "entropy", "value", "lr")
        self.hyper.epsilon = self.hyper.clip.clone()
        self.terms = Terms(terms, spec)
        self.learner = Learner(
            [self.policy, self.critic],
            Weak(self._loss),
            gradient=None if self.terms else Weak(self._gradient),
            lr=config.lr,
            max_grad_norm=config.max_grad_norm,
            epsilon=1e-5,
        )
        self.reward_scale = RewardScale(source, self.hyper.gamma) if config.normalise_reward else None
        self.shuffle = Stream(spec.seed, "shuffle", spec.device)
        self.progress = Progress(spec, config.steps, size)

    def step(self, learner: Learner[Any] | None = None) -> Metrics:
        """Collect one rollout and learn from it.

        Args:
            learner: Of some of the parameters, where the others are to stay; by default that of actor and critic.
        """
        left, hyper, learner = 1 - self.progress.share, self.hyper, learner or self.learner
        learner.lr.copy_((hyper.lr * left if self.config.anneal_lr else hyper.lr).squeeze(1))
        hyper.epsilon.copy_(hyper.clip * left if self.config.anneal_clip else hyper.clip)

        rollout = self.source.collect(self.policy, self.config.rollout)
        batch, explained = self._prepare(rollout)
        updates = []
        for _ in range(self.config.epochs):
            for part in self._minibatches(batch):
                updates.append(learner(part) | self.terms.learn(part))
                if self.config.target_kl is not None:
                    kl = approximate_kl(updates[-1]["log_ratio"]).mean(1)
                    learner.lr.masked_fill_(kl > 1.5 * self.config.target_kl, 0.0)
        if self.observes:
            # After learning, so that the rollout, its log-probabilities and the updates saw one and the same input.
            self.policy.observe(fold(rollout.obs))
        self.progress.advance(self.config.rollout * self.source.spec.num_envs)
        return {
            **self._measure(updates),
            "explained_variance": explained,
            "reward": rollout.reward.mean((0, 2)),
        }

    @torch.no_grad()
    def _prepare(self, rollout: Rollout) -> tuple[_Batch, Tensor]:
        """Advantages and value targets of a rollout, and how much of the targets' variance the values explain."""
        time, carried = len(rollout.reward), self.critic_memory.tree
        obs, action = fold(rollout.obs), fold(rollout.action)
        x, next_x = self.policy.prepare(obs), self.policy.prepare(fold(rollout.next_obs))
        if self.recurrent:
            value, memories = self.critic.unroll(unfold(x, time), carried, rollout.starts)
            value, next_value = fold(value), self.critic(next_x, fold(memories))
            self.critic_memory.tree = tree.map(lambda leaf: leaf[-1], memories)
            distribution = fold(self.policy.unroll(rollout.obs, rollout.memory, rollout.starts)[0])
        else:
            value, next_value = self.critic(x), self.critic(next_x)
            distribution = self.policy.on_features(x, action_mask(obs))
        reward = rollout.reward if self.reward_scale is None else self.reward_scale(rollout)
        gamma, lam = self.hyper.gamma * ~rollout.terminated, self.hyper.lam * ~rollout.truncated
        target = fold(lambda_returns(reward, gamma, unfold(next_value, time), lam))
        explained = 1 - (target - value).var(1) / (target.var(1) + 1e-8)
        extras = self.terms.prepare(rollout, int(self.progress.steps))
        draw = fold(rollout.extras.get("draw"))
        batch = _Batch(obs, action, draw, log_prob_of(distribution, action, draw), target - value, target, extras)
        if self.recurrent:
            batch = replace(batch, starts=fold(rollout.starts))
            batch = tree.map(lambda leaf: leaf.unflatten(1, (time, -1)).transpose(1, 2).flatten(1, 2), batch)
            batch = replace(batch, memory=(rollout.memory, carried))
        return batch, explained

    def _minibatches(self, batch: _Batch) -> list[_Batch]:
        """The batch in an order of its own for each member, in parts, the advantages of each part standardised.

        Single steps are put in order, or with a memory whole sequences.
        """
        members, size = batch.advantage.shape
        units = size // self.config.rollout if self.recurrent else size
        first = units * torch.arange(members, device=batch.advantage.device).unsqueeze(1)
        rows = self.shuffle.uniform(members, units).argsort(1).add_(first).view(-1)

        def ordered(x: Tensor) -> Tensor:
            by_unit = x.reshape(members * units, x.shape[1] // units, *x.shape[2:])
            return by_unit.index_select(0, rows).view(x.shape)

        shuffled = tree.map(ordered, batch)
        minibatches = parts(shuffled, size // self.config.batch_size)
        advantage = shuffled.advantage.unflatten(1, (-1, self.config.batch_size))
        std, mean = torch.std_mean(advantage, -1, keepdim=True)
        advantage.sub_(mean).div_(std + 1e-8)  # in place: the minibatches are views
        return minibatches

    def _evaluate(self, batch: _Batch) -> tuple[Distribution, Tensor]:
        """What actor and critic say of a batch, [M, B]."""
        if batch.starts is None or batch.memory is None:
            x = self.policy.prepare(batch.obs)
            return self.policy.on_features(x, action_mask(batch.obs)), self.critic(x)
        obs, starts = tree.map(self._sequences, (batch.obs, batch.starts))
        x = unfold(self.policy.prepare(fold(obs)), len(starts))
        distribution, _ = self.policy.unroll(obs, batch.memory[0], starts)
        value, _ = self.critic.unroll(x, batch.memory[1], starts)
        return tree.map(lambda leaf: leaf.movedim(0, 2).flatten(1, 2), (distribution, value))

    def _sequences(self, x: Tensor) -> Tensor:
        """[M, S·T, ...] -> [T, M, S, ...]."""
        sequences: Tensor = x.unflatten(1, (-1, self.config.rollout))
        return sequences.movedim(2, 0)

    def _loss(self, batch: _Batch) -> tuple[Tensor, Metrics]:
        distribution, value = self._evaluate(batch)
        log_ratio = log_prob_of(distribution, batch.action, batch.draw) - batch.log_prob
        entropy = distribution.entropy()
        surrogate = clipped_surrogate(log_ratio, batch.advantage, self.hyper.epsilon) - self.hyper.entropy * entropy
        value_error = (value - batch.target).square()
        extra, metrics = self.terms(batch, distribution)
        metrics |= {"entropy": entropy.detach(), "value_error": value_error.detach(), "log_ratio": log_ratio.detach()}
        return (surrogate + self.hyper.value * value_error + extra).mean(1), metrics

    def _gradient(self, batch: _Batch) -> tuple[Tensor, Metrics, list[Tensor]] | None:
        """The same with its gradient written out, for choices by multilayer perceptrons; None for others."""
        if not (self.policy.plain and self.critic.plain):
            return None
        x, hyper = self.policy.prepare(batch.obs), self.hyper
        actor_out, critic_out = self.policy.outputs(x), self.critic.outputs(x)
        found = categorical_surrogate(
            actor_out[-1], batch.action, batch.log_prob, batch.advantage, hyper.epsilon, hyper.entropy
        )
        error, size = critic_out[-1].squeeze(-1) - batch.target, self.config.batch_size
        grad = (error * (2 / size * hyper.value)).unsqueeze(-1)
        grads = [*self.policy.gradients(actor_out, found.grad / size), *self.critic.gradients(critic_out, grad)]
        value_error = error.square()
        metrics = {"entropy": found.entropy, "value_error": value_error, "log_ratio": found.log_ratio}
        return torch.addcmul(found.loss, hyper.value, value_error), metrics, grads

    @torch.no_grad()
    def _measure(self, updates: list[Metrics]) -> Metrics:
        """Means over the updates; what is not needed to learn is computed here, once a rollout."""
        log_ratio = torch.stack([update.pop("log_ratio") for update in updates])
        kl, clipped = approximate_kl(log_ratio), (log_ratio.expm1().abs() > self.hyper.epsilon).float()
        return {**mean_metrics(updates), "kl": kl.mean((0, 2)), "clipped": clipped.mean((0, 2))}


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return, per member.

    Source: Engstrom et al. (2020), §3; as Stable-Baselines3's VecNormalize does it.
    """

    def __init__(self, source: Source, gamma: Tensor) -> None:
        spec = source.spec
        self.gamma = gamma
        self.statistics = RunningNorm(spec.members, ()).to(spec.device)
        self.so_far = torch.zeros(spec.members, spec.num_envs, device=spec.device)

    def __call__(self, rollout: Rollout) -> Tensor:
        """Update with a rollout, and scale its rewards [T, M, N]."""
        reward = rollout.reward
        returns = discounted_returns_so_far(reward, self.gamma * ~rollout.starts, self.so_far)
        self.so_far.copy_(returns[-1])
        self.statistics.update(fold(returns))
        return (reward * (self.statistics.var + 1e-8).rsqrt()).clamp(-10, 10)

    def state_dict(self) -> dict[str, Any]:
        """Statistics and the returns under way."""
        return {"statistics": dict(self.statistics.state_dict()), "so_far": self.so_far}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        self.statistics.load_state_dict(state["statistics"])
        self.so_far.copy_(state["so_far"])


@checked
def critic_of(source: Source, config: PPOConfig) -> Critic:
    """A fresh critic, as PPO makes it by default."""
    spec = source.spec
    return Critic(
        spec.observation,
        spec.members,
        config.hidden,
        activation=config.activation,
        init=Stream(spec.seed, "init-critic", spec.device),
        gru=config.gru,
        lstm=config.lstm,
    )


def architecture_of(config: PPOConfig) -> Architecture:
    """What its policy is made of, by default."""
    return Architecture(
        config.hidden, config.activation, config.normalise_obs, config.squash, gru=config.gru, lstm=config.lstm
    )
