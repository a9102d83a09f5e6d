"""Proximal policy optimisation. Letters: T time, M members, N environments of one member, B batch, F features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.types import Metrics, Source, Transition, fold, mean_metrics, parts, unfold
from imitate.losses.policy import approximate_kl, categorical_surrogate, clipped_surrogate
from imitate.losses.returns import discounted_returns_so_far, lambda_returns
from imitate.nets.layers import MLP, Activation, RunningNorm, network
from imitate.nets.policy_network import NetworkPolicy, policy

__all__ = ["PPO", "PPOConfig", "RewardScale"]


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
        hidden: Widths of the hidden layers of the policy; a critic of the same shape stands beside it.
        activation: Of the hidden layers.
        normalise_obs: Standardise observations by running statistics.
        normalise_reward: Divide rewards by the running standard deviation of the discounted return.
        squash: A tanh-Gaussian policy instead of a clipped Gaussian one.
    """

    steps: int = 100_000
    rollout: int = 128
    epochs: int = 10
    batch_size: int = 256
    lr: PerMember = 3e-4
    anneal_lr: bool = False
    gamma: PerMember = 0.99
    lam: PerMember = 0.95
    clip: PerMember = 0.2
    anneal_clip: bool = False
    entropy: PerMember = 0.0
    value: PerMember = 0.5
    max_grad_norm: float = 0.5
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "tanh"
    normalise_obs: bool = False
    normalise_reward: bool = False
    squash: bool = False


@dataclass(frozen=True)
class _Batch:
    """What the loss needs, [M, B, ...]."""

    x: Tensor
    action: Tensor
    log_prob: Tensor
    advantage: Tensor
    target: Tensor


class PPO:
    """Learn from rewards by a clipped policy gradient (Schulman et al. 2017).

    Values are bootstrapped at the true last observation of a truncated episode; advantages are standardised in each
    minibatch; every epoch has its own permutation; the schedules depend on `steps` alone, so a resumed run goes on
    with them.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.
        policy: The policy to train, for instance a cloned one; by default a fresh one as the config says. The network
            fields of the config then shape the critic alone.

    Raises:
        ValueError: `batch_size` does not divide a rollout, or a number has neither one value nor M.
    """

    def __init__(self, source: Source, config: PPOConfig | None = None, *, policy: NetworkPolicy | None = None) -> None:
        config = config or PPOConfig()
        for name in ("steps", "rollout", "epochs"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(config, name)}.")
        if config.batch_size < 2:
            raise ValueError(f"batch_size: at least 2, for advantages are standardised, not {config.batch_size}.")
        if policy is not None and policy.members != source.members:
            raise ValueError(f"policy: has {policy.members} members, the source {source.members}.")
        size = config.rollout * source.num_envs
        if size % config.batch_size:
            raise ValueError(f"batch_size: {config.batch_size} does not divide rollout·num_envs = {size}.")
        self.source, self.config = source, config
        self.policy = policy if policy is not None else _fresh_policy(source, config)
        self.critic = network(
            source.observation,
            1,
            members=source.members,
            hidden=config.hidden,
            activation=config.activation,
            init=Stream(source.seed, "init-critic", source.device),
        ).to(source.device)

        def member_axis(name: str) -> Tensor:
            return per_member(getattr(config, name), name, source.members, source.device).unsqueeze(1)

        self.gamma, self.lam, self.clip = member_axis("gamma"), member_axis("lam"), member_axis("clip")
        self.entropy, self.value = member_axis("entropy"), member_axis("value")
        self.lr, self.epsilon = member_axis("lr").squeeze(1), self.clip.clone()
        plain = self.policy.plain and isinstance(self.critic, MLP) and self.critic.plain
        self.learner = Learner(
            [self.policy, self.critic],
            self._loss,
            gradient=self._gradient if plain else None,
            lr=config.lr,
            max_grad_norm=config.max_grad_norm,
            epsilon=1e-5,
        )
        self.reward_scale = RewardScale(source, self.gamma) if config.normalise_reward else None
        self.shuffle = Stream(source.seed, "shuffle", source.device)
        self._first_rows = torch.arange(source.members, device=source.device).unsqueeze(1)  # times the size of a batch
        self.steps = torch.zeros((), dtype=torch.int64)
        self.labels = torch.zeros(source.members, dtype=torch.int64)

    @property
    def budget(self) -> int:
        """Environment steps of a member."""
        return self.config.steps

    @property
    def finished(self) -> bool:
        """Whether all the configured steps are done."""
        return int(self.steps) >= self.config.steps

    def step(self) -> Metrics:
        """Collect one rollout and learn from it."""
        left = max(0.0, 1 - int(self.steps) / self.config.steps)
        self.learner.lr.copy_(self.lr * left if self.config.anneal_lr else self.lr)
        self.epsilon.copy_(self.clip * left if self.config.anneal_clip else self.clip)

        seen = self.source.collect(self.policy, self.config.rollout)
        batch, explained = self._prepare(seen)
        updates = [self.learner(part) for _ in range(self.config.epochs) for part in self._minibatches(batch)]
        if self.policy.normaliser is not None:
            # After learning, so that the rollout, its log-probabilities and the updates saw one and the same input.
            self.policy.normaliser.update(fold(seen.obs))
        self.steps += self.config.rollout * self.source.num_envs
        return {
            **self._measure(updates),
            "explained_variance": explained,
            "reward": seen.reward.mean((0, 2)),
        }

    @torch.no_grad()
    def _prepare(self, seen: Transition) -> tuple[_Batch, Tensor]:
        """Advantages and value targets of a rollout, and how much of the targets' variance the values explain."""
        x, next_x = self.policy.features(fold(seen.obs)), self.policy.features(fold(seen.next_obs))
        action = fold(seen.action)
        value = self.critic(x).squeeze(-1)
        next_value = unfold(self.critic(next_x).squeeze(-1), len(seen.reward))
        reward = seen.reward if self.reward_scale is None else self.reward_scale(seen.reward, seen.done)
        target = fold(lambda_returns(reward, self.gamma * ~seen.terminated, next_value, self.lam * ~seen.truncated))
        log_prob = self.policy.on_features(x).log_prob(action)
        explained = 1 - (target - value).var(1) / (target.var(1) + 1e-8)
        return _Batch(x, action, log_prob, target - value, target), explained

    def _minibatches(self, batch: _Batch) -> list[_Batch]:
        """The batch in an order of its own for each member, in parts, the advantages of each part standardised."""
        members, size = batch.advantage.shape
        rows = self.shuffle.uniform(members, size).argsort(1).add_(self._first_rows * size).view(-1)
        shuffled = tree.map(lambda x: x.flatten(0, 1).index_select(0, rows).view(x.shape), batch)
        minibatches = parts(shuffled, size // self.config.batch_size)
        advantage = shuffled.advantage.unflatten(1, (-1, self.config.batch_size))
        std, mean = torch.std_mean(advantage, -1, keepdim=True)
        advantage.sub_(mean).div_(std + 1e-8)  # in place: the minibatches are views
        return minibatches

    def _loss(self, batch: _Batch) -> tuple[Tensor, Metrics]:
        distribution = self.policy.on_features(batch.x)
        log_ratio, entropy = distribution.log_prob(batch.action) - batch.log_prob, distribution.entropy()
        surrogate = clipped_surrogate(log_ratio, batch.advantage, self.epsilon) - self.entropy * entropy
        value_error = (self.critic(batch.x).squeeze(-1) - batch.target).square()
        metrics = {"entropy": entropy.detach(), "value_error": value_error.detach(), "log_ratio": log_ratio.detach()}
        return (surrogate + self.value * value_error).mean(1), metrics

    def _gradient(self, batch: _Batch) -> tuple[Tensor, Metrics, list[Tensor]]:
        """The same with its gradient written out, for choices by multilayer perceptrons."""
        actor, critic = cast(MLP, self.policy.network), cast(MLP, self.critic)
        thought, valued = actor.outputs(batch.x), critic.outputs(batch.x)
        found = categorical_surrogate(
            thought[-1], batch.action, batch.log_prob, batch.advantage, self.epsilon, self.entropy
        )
        error, size = valued[-1].squeeze(-1) - batch.target, self.config.batch_size
        slope = (error * (2 / size * self.value)).unsqueeze(-1)
        grads = [*actor.gradients(thought, found.slope / size), *critic.gradients(valued, slope)]
        value_error = error.square()
        metrics = {"entropy": found.entropy, "value_error": value_error, "log_ratio": found.log_ratio}
        return torch.addcmul(found.loss, self.value, value_error), metrics, grads

    @torch.no_grad()
    def _measure(self, updates: list[Metrics]) -> Metrics:
        """Means over the updates; what is not needed to learn is computed here, once a rollout."""
        log_ratio = torch.stack([update.pop("log_ratio") for update in updates])
        kl, clipped = approximate_kl(log_ratio), (log_ratio.expm1().abs() > self.epsilon).float()
        return {**mean_metrics(updates), "kl": kl.mean((0, 2)), "clipped": clipped.mean((0, 2))}


class RewardScale:
    """Divides rewards by the running standard deviation of the discounted return, per member.

    Source: Engstrom et al. (2020), §3; as Stable-Baselines3's VecNormalize does it.
    """

    def __init__(self, source: Source, gamma: Tensor) -> None:
        self.gamma = gamma
        self.statistics = RunningNorm(source.members, ()).to(source.device)
        self.so_far = torch.zeros(source.members, source.num_envs, device=source.device)

    def __call__(self, reward: Tensor, done: Tensor) -> Tensor:
        """Update with a rollout, rewards and episode ends [T, M, N], and scale its rewards."""
        started = torch.cat([torch.zeros_like(done[:1]), done[:-1]])
        returns = discounted_returns_so_far(reward, self.gamma * ~started, self.so_far)
        self.so_far.copy_(returns[-1] * ~done[-1])
        self.statistics.update(fold(returns))
        return (reward * (self.statistics.var + 1e-8).rsqrt()).clamp(-10, 10)

    def state_dict(self) -> dict[str, Any]:
        """Statistics and the returns under way."""
        return {"statistics": dict(self.statistics.state_dict()), "so_far": self.so_far}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        self.statistics.load_state_dict(state["statistics"])
        self.so_far.copy_(state["so_far"])


def _fresh_policy(source: Source, config: PPOConfig) -> NetworkPolicy:
    return policy(
        source,
        config.hidden,
        activation=config.activation,
        normalise=config.normalise_obs,
        squash=config.squash,
    )
