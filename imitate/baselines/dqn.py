"""Deep Q-networks: one loop, any return distribution.

Letters: T time, M members, N environments of one member, B batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from imitate.core.actions import action_mask
from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay_step import replay_step
from imitate.core.return_range import discounted_range
from imitate.core.room import admit, admit_steps
from imitate.core.sequence_replay import Sample, SequenceReplay
from imitate.core.spec import Spec
from imitate.core.terms import Term, Terms
from imitate.core.types import Metrics, Obs, Policy, Rollout, Source, fold, mean_metrics
from imitate.core.weak import Weak
from imitate.distributions.actions import Categorical
from imitate.distributions.returns import EnsembleReturn, ExpectedReturn, ReturnDistribution, fresh_mean
from imitate.losses.value import munchausen_bonus, soft_value
from imitate.nets.layers import Activation
from imitate.nets.q_network import QArchitecture, QNetwork, admitted, best
from imitate.nets.return_heads import Atoms, ReturnHead, Scalar
from imitate.nets.target import TargetNetwork
from imitate.policies import EpsilonGreedy, EpsilonZGreedy

__all__ = ["DQN", "DQNConfig", "q_network_of"]


@dataclass(frozen=True)
class DQNConfig:
    """Hyper-parameters of the whole family; each refinement is a switch.

    A `PerMember` number may be a tuple with one value a member: a search in one run.

    Args:
        steps: Environment steps of one member; the schedules end within them.
        rollout: T, steps of each environment between two rounds of learning.
        updates: Gradient steps in a round.
        batch_size: Transitions of one member in a gradient step.
        capacity: Transitions kept of each member.
        learning_starts: Steps of one member before the first gradient step.
        lr: Learning rate of Adam.
        anneal_lr: Let the learning rate, of proposals too, fall linearly to zero.
        gamma: Discount γ.
        target_every: Gradient steps between two moves of the target network towards the network.
        tau: How far it moves: 1 copies (Mnih et al. 2015), little and often follows (Lillicrap et al. 2016, §3).
        max_grad_norm: Bound on the gradient's norm.
        epsilon: ε at the start: the probability of a random action.
        epsilon_end: ε at the end.
        explore: Share of the steps over which ε falls linearly from one to the other.
        persistent: Let a random action last, see `EpsilonZGreedy`; ε is then the probability that one begins.
        double: Let the online network choose the next action (van Hasselt, Guez & Silver 2016, eq. 4).
        dueling: A state's value and the actions' advantages apart (Wang et al. 2016, eq. 9).
        n_step: Rewards summed up before bootstrapping (Sutton & Barto 2018, eq. 7.1).
        priority: Exponent α of prioritised replay; 0 samples uniformly (Schaul et al. 2016, eq. 1).
        importance: Exponent β of its importance weights at the start; it rises to 1 at the end (§3.4).
        noisy: Noisy weights explore by themselves, so that ε may be 0 (Fortunato et al. 2018); a little may still help.
        munchausen: Weight α of the scaled log-policy in the reward, with soft values; 0: none (Vieillard et al. 2020).
        munchausen_temperature: Its τ, in units of return.
        clip_target: Clip targets to the returns that the environment's rewards allow (Andrychowicz et al. 2017,
            appendix A): values that bootstrap from each other cannot then grow without bound.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        normalise_obs: Standardise observations by running statistics.
        clip_reward: Learn from rewards clipped to [−1, 1] (Mnih et al. 2015, Methods); evaluations count them in full.
        temperature: Of the softmax that the learnt policy answers with as a teacher, in units of return.
    """

    steps: Count = 100_000
    rollout: Count = 4
    updates: Count = 4
    batch_size: Count = 64
    capacity: Count = 100_000
    learning_starts: NonNegative[int] = 1_000
    lr: NonNegative[PerMember] = 1e-3
    anneal_lr: bool = False
    gamma: Share[PerMember] = 0.99
    target_every: Count = 100
    tau: Positive[float] = 1.0
    max_grad_norm: Positive[float] = 10.0
    epsilon: Share[PerMember] = 1.0
    epsilon_end: Share[PerMember] = 0.05
    explore: Share[float] = 0.2
    persistent: bool = False
    double: bool = False
    dueling: bool = False
    n_step: Count = 1
    priority: NonNegative[float] = 0.0
    importance: Share[float] = 0.4
    noisy: bool = False
    munchausen: NonNegative[float] = 0.0
    munchausen_temperature: Positive[float] = 0.03
    clip_target: bool = False
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    normalise_obs: bool = False
    clip_reward: bool = False
    temperature: Positive[float] = 1.0

    def __post_init__(self) -> None:
        check(self)


class DQN:
    """Learn action values off-policy from replay and a target network (Mnih et al. 2015).

    With another `head` the same loop is C51, QR-DQN, IQN, FQF or ER-DQN: the return distribution replaces its mean.

    Args:
        source: Where it acts.
        config: Hyper-parameters.
        head: What is learnt about a return.
        proposals: Makes the learner of the head's proposals (FQF), which takes the same batches as that of the values.
        driver: Makes what acts where no random action is taken; by default it is greedy.
        policy: The network to train, as `q_network_of` makes it of the same config; for terms that look at it.
        terms: What is added to the loss; the distribution that they see is the softmax of the values over the
            temperature.

    Raises:
        ValueError: The actions are continuous, or a number of the config does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        config: DQNConfig | None = None,
        *,
        head: ReturnHead | None = None,
        proposals: Callable[[QNetwork], Learner[Sample]] | None = None,
        driver: Callable[[QNetwork], Policy] | None = None,
        policy: QNetwork | None = None,
        terms: Sequence[Term] = (),
    ) -> None:
        config, head, spec = config or DQNConfig(), head or Scalar(), source.spec
        if config.munchausen and not isinstance(head, Scalar):
            raise ValueError("munchausen: only for expected values; its soft target is no return distribution.")
        if config.munchausen and config.double:
            raise ValueError("double: munchausen's target takes the value of all actions; nothing is chosen in it.")
        if config.munchausen and config.clip_target:
            raise ValueError("clip_target: munchausen's values hold entropies too; no range of them is known.")
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        values = spec.members * config.batch_size * max(head.sizes.values(), default=1)
        sizes = {"members": spec.members, "batch_size": config.batch_size, **head.sizes}
        admit("the values of a batch", 4 * values, sizes, spec.device)
        self.source, self.config = source, config
        self.policy = policy if policy is not None else q_network_of(source, config, head)
        if self.policy.members != spec.members or self.policy.architecture != _architecture(config, head):
            raise ValueError("policy: it is not what the config says; make it by q_network_of(source, config, head).")
        self.target = TargetNetwork(self.policy, config.tau, config.target_every)
        names = ("gamma", "lr", "epsilon", "epsilon_end")
        self.hyper = SimpleNamespace(
            **{name: per_member(getattr(config, name), name, spec.members, spec.device) for name in names}
        )
        self.target_range = _target_range(spec, self.hyper.gamma, config.clip_reward) if config.clip_target else None
        self.terms = Terms(terms, spec)
        self.learner = Learner(
            self.policy.estimators,
            Weak(self._loss),
            gradient=None if self.terms else Weak(self._gradient),
            lr=config.lr,
            max_grad_norm=config.max_grad_norm,
        )
        self.proposals = None if proposals is None else proposals(self.policy)
        self.hyper.proposals_lr = None if self.proposals is None else self.proposals.lr.clone()
        self.replay = SequenceReplay(
            config.capacity,
            source,
            Stream(spec.seed, "replay", spec.device),
            self.hyper.gamma,
            n_step=config.n_step,
            alpha=config.priority,
        )
        room = (self.replay.slots - config.n_step + 1) * spec.num_envs
        if room < config.batch_size:
            raise ValueError(f"capacity: {config.capacity} hold {room} windows at most, fewer than a batch.")
        acts: Policy = _Driver(self.policy) if driver is None else driver(self.policy)
        explores = EpsilonZGreedy if config.persistent else EpsilonGreedy
        self.driver = explores(acts, spec.action, self.hyper.epsilon.clone())
        self.weights_noise = Stream(spec.seed, "weights", spec.device)
        self.progress = Progress(spec, config.steps, config.rollout * spec.num_envs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        head = self.policy.architecture.head
        support = f"support: {head.count} returns from {head.low:g} to {head.high:g}" if isinstance(head, Atoms) else ""
        return tuple(note for note in (str(self.replay), support) if note)

    def step(self) -> Metrics:
        """Collect one rollout, then learn from the replay."""
        config, hyper, share = self.config, self.hyper, self.progress.share
        explored = min(1.0, share / config.explore) if config.explore > 0 else 1.0
        self.driver.epsilon.copy_(torch.lerp(hyper.epsilon, hyper.epsilon_end, explored))
        left = 1 - share if config.anneal_lr else 1.0
        self.learner.lr.copy_(hyper.lr * left)
        if self.proposals is not None:
            self.proposals.lr.copy_(hyper.proposals_lr * left)
        steps = config.rollout * self.source.spec.num_envs
        updates = replay_step(
            self.source,
            self.driver,
            self.replay,
            self._update,
            config,
            ready=int(self.progress.steps) + steps >= config.learning_starts,
            beta=config.importance + (1 - config.importance) * share,
            see=self._see,
        )
        self.progress.advance(steps)
        return {**mean_metrics(updates), "epsilon": self.driver.epsilon.clone()}

    def _see(self, rollout: Rollout) -> Rollout:
        """Let the terms look at a rollout; what is remembered of it."""
        return self._remembered(self.terms.watch(rollout, int(self.progress.steps)))

    def _remembered(self, rollout: Rollout) -> Rollout:
        """What is remembered of a rollout, which the normaliser learns from."""
        self.policy.observe(fold(rollout.obs))
        self.target.follow()
        return replace(rollout, reward=rollout.reward.clamp(-1, 1)) if self.config.clip_reward else rollout

    def _update(self, batch: Sample) -> Metrics:
        metrics = self.learner(batch) | self.terms.learn(batch)
        if self.proposals is not None:
            metrics["entropy"] = self.proposals(batch)["entropy"]
        priority = metrics.pop("priority")
        if self.config.priority > 0:
            metrics["unknown_priorities"] = self.replay.update_priorities(batch.index, priority)
        self.target.update()
        return metrics

    def _noise(self, batch: Sample) -> Tensor | None:
        """Uniforms for implicit levels, anew for each row, and for noisy weights, once for a batch."""
        levels = self.policy.head.levels
        weights = self.policy.return_noise - levels
        rows, draw = batch.reward.shape, self.weights_noise.uniform
        if not levels:
            return draw(rows[0], 1, weights) if weights else None
        drawn = draw(*rows, levels)
        return torch.cat([drawn, draw(rows[0], 1, weights).expand(*rows, -1)], -1) if weights else drawn

    def _loss(self, batch: Sample) -> tuple[Tensor, Metrics]:
        returns = self.policy.returns(batch.obs, self._noise(batch))
        taken = returns.take(batch.action)
        with torch.no_grad():
            target = self._target(batch)
        error = taken.loss(target)
        value, wanted = taken.mean.detach(), target.mean
        priority = (wanted - value).abs() if isinstance(self.policy.architecture.head, Scalar) else error.detach()
        metrics = {"value": value.mean(1), "priority": priority}
        extra: Tensor | float = 0.0
        if self.terms:
            softmax = Categorical(admitted(returns.mean, batch.obs) / self.config.temperature)
            extra, each = self.terms(batch, softmax)
            metrics |= {name: term.mean(1) for name, term in each.items()}
        return (batch.weight * error + extra).mean(1), metrics

    def _gradient(self, batch: Sample) -> tuple[Tensor, Metrics, list[Tensor]] | None:
        """The same with its gradient written out, for means and quantiles by multilayer perceptrons; else None."""
        if not self.policy.plain:
            return None
        target = self._target(batch)
        weight = batch.weight / self.config.batch_size
        taken, error, grads = self.policy.returns_and_gradients(batch.obs, batch.action, target, weight)
        value, priority = taken.mean, error
        if isinstance(taken, ExpectedReturn):
            priority = (target.mean - value).abs_() if self.config.priority > 0 else error
        return batch.weight * error, {"value": value, "priority": priority}, grads

    def _target(self, batch: Sample) -> ReturnDistribution:
        """The distribution that is regressed on."""
        target = self._backup(batch)
        return target if self.target_range is None else target.clamp(*self.target_range)

    def _backup(self, batch: Sample) -> ReturnDistribution:
        """The distribution of the n-step reward and what follows it."""
        following = self.target.network.returns(batch.next_obs, self._noise(batch))
        if self.config.munchausen:
            tau = self.config.munchausen_temperature
            values = admitted(self.target.network.returns(batch.obs).mean, batch.obs)
            reward = batch.reward + self.config.munchausen * munchausen_bonus(values, batch.action, tau)
            value = soft_value(admitted(following.mean, batch.next_obs), tau)
            return ExpectedReturn(value).bellman_backup(reward, batch.discount)
        if isinstance(following, EnsembleReturn):
            # Each value function goes on as it would choose itself.
            online: Any = self.policy.returns(batch.next_obs) if self.config.double else following
            return following.greedy(online, action_mask(batch.next_obs)).bellman_backup(batch.reward, batch.discount)
        values = self.policy.returns(batch.next_obs).mean if self.config.double else fresh_mean(following)
        return following.take(best(values, batch.next_obs)).bellman_backup(batch.reward, batch.discount)


@checked
def q_network_of(source: Source, config: DQNConfig, head: ReturnHead | None = None) -> QNetwork:
    """A fresh network, as DQN makes it by default.

    Args:
        source: Where it will act.
        config: Hyper-parameters of DQN.
        head: What is learnt about a return; by default its mean.
    """
    spec, init = source.spec, Stream(source.spec.seed, "init", source.spec.device)
    architecture = _architecture(config, head or Scalar())
    return QNetwork(spec.observation, spec.action, spec.members, architecture, init, env=spec.id)


def _architecture(config: DQNConfig, head: ReturnHead) -> QArchitecture:
    return QArchitecture(
        config.hidden,
        config.activation,
        head,
        dueling=config.dueling,
        noisy=config.noisy,
        normalise=config.normalise_obs,
        temperature=config.temperature,
    )


def _target_range(spec: Spec, gamma: Tensor, clipped: bool) -> tuple[Tensor, Tensor]:
    """Least and greatest return of each member, [M, 1]."""
    ranges = [discounted_range(spec, float(one), clipped) for one in gamma]
    if None in ranges:
        raise ValueError(f"clip_target: the rewards of {spec.id} are unknown; pass --no-clip-target.")
    low, high = torch.tensor(ranges, device=spec.device).mT.unsqueeze(-1)
    return low, high


class _Driver:
    """Greedy by the values under noisy weights, if there are any: how the family drives."""

    def __init__(self, policy: QNetwork) -> None:
        self.policy = policy
        # Acting needs noise for noisy weights only; without them implicit levels stay at their midpoints.
        self.noise = policy.return_noise if policy.architecture.noisy else 0

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Obs, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The action of greatest mean return; without noise by the means of the weights."""
        return best(self.policy.returns(obs, noise if self.noise else None).mean, obs), None, {}
