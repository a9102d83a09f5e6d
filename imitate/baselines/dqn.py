"""Deep Q-networks: one loop, any return distribution.

Letters: T time, M members, N environments of one member, B batch.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.sequence_replay import Sample, SequenceReplay
from imitate.core.types import Metrics, Policy, Source, fold, mean_metrics
from imitate.distributions.returns import EnsembleReturn, ExpectedReturn, ReturnDistribution, fresh_mean
from imitate.losses.value import greedy_action, munchausen_bonus, soft_value
from imitate.nets.heads import Atoms, Head, Scalar
from imitate.nets.layers import Activation
from imitate.nets.value_network import ValueArchitecture, ValuePolicy
from imitate.policies import EpsilonGreedy, EpsilonZGreedy

__all__ = ["DQN", "DQNConfig"]


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
        noisy: Noisy weights explore; set `epsilon` and `epsilon_end` to 0 with it (Fortunato et al. 2018).
        munchausen: Weight α of the scaled log-policy in the reward, with soft values; 0: none (Vieillard et al. 2020).
        munchausen_temperature: Its τ, in units of return.
        hidden: Widths of the hidden layers.
        activation: Of the hidden layers.
        normalise_obs: Standardise observations by running statistics.
        clip_reward: Learn from rewards clipped to [−1, 1] (Mnih et al. 2015, Methods); evaluations count them in full.
        temperature: Of the softmax that the learnt policy answers with as a teacher, in units of return.
    """

    steps: int = 100_000
    rollout: int = 4
    updates: int = 4
    batch_size: int = 64
    capacity: int = 100_000
    learning_starts: int = 1_000
    lr: PerMember = 1e-3
    anneal_lr: bool = False
    gamma: PerMember = 0.99
    target_every: int = 100
    tau: float = 1.0
    max_grad_norm: float = 10.0
    epsilon: PerMember = 1.0
    epsilon_end: PerMember = 0.05
    explore: float = 0.2
    persistent: bool = False
    double: bool = False
    dueling: bool = False
    n_step: int = 1
    priority: float = 0.0
    importance: float = 0.4
    noisy: bool = False
    munchausen: float = 0.0
    munchausen_temperature: float = 0.03
    hidden: tuple[int, ...] = (64, 64)
    activation: Activation = "relu"
    normalise_obs: bool = False
    clip_reward: bool = False
    temperature: float = 1.0


class DQN:
    """Learn action values off-policy from replay and a target network (Mnih et al. 2015).

    With another `head` the same loop is C51, QR-DQN, IQN, FQF or ER-DQN: the return distribution replaces its mean.

    Args:
        source: Where it acts.
        config: Hyper-parameters.
        head: What is learnt about a return.
        proposals: Makes the learner of the head's proposals (FQF), which takes the same batches as that of the values.
        driver: Makes what acts where no random action is taken; by default it is greedy.

    Raises:
        ValueError: The actions are continuous, or a number of the config does not fit.
    """

    def __init__(
        self,
        source: Source,
        config: DQNConfig | None = None,
        *,
        head: Head | None = None,
        proposals: Callable[[ValuePolicy], Learner[Sample]] | None = None,
        driver: Callable[[ValuePolicy], Policy] | None = None,
    ) -> None:
        config, head = config or DQNConfig(), head or Scalar()
        for name in ("steps", "rollout", "updates", "batch_size", "target_every"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(config, name)}.")
        for name in ("explore", "importance"):
            if not 0 <= getattr(config, name) <= 1:
                raise ValueError(f"{name}: a share in [0, 1], not {getattr(config, name)}.")
        for name in ("priority", "munchausen"):
            if getattr(config, name) < 0:
                raise ValueError(f"{name}: at least 0, not {getattr(config, name)}.")
        if not 0 < config.tau <= 1:
            raise ValueError(f"tau: a share in (0, 1], not {config.tau}.")
        if config.munchausen and not isinstance(head, Scalar):
            raise ValueError("munchausen: only for expected values; its soft target is no return distribution.")
        if config.munchausen and config.double:
            raise ValueError("double: munchausen's target takes the value of all actions; nothing is chosen in it.")
        self.source, self.config = source, config
        architecture = ValueArchitecture(
            config.hidden,
            config.activation,
            head,
            dueling=config.dueling,
            noisy=config.noisy,
            normalise=config.normalise_obs,
            temperature=config.temperature,
        )
        init = Stream(source.seed, "init", source.device)
        self.policy = ValuePolicy(source.observation, source.action, source.members, architecture, init, env=source.id)
        self.target = copy.deepcopy(self.policy)

        def member(name: str) -> Tensor:
            return per_member(getattr(config, name), name, source.members, source.device)

        self.gamma, self.lr = member("gamma"), member("lr")
        self.epsilon, self.epsilon_end = member("epsilon"), member("epsilon_end")
        self.learner = Learner(
            self.policy.estimators,
            self._loss,
            gradient=self._gradient if self.policy.has_slopes else None,
            lr=config.lr,
            max_grad_norm=config.max_grad_norm,
        )
        self.proposals = None if proposals is None else proposals(self.policy)
        self.proposals_lr = None if self.proposals is None else self.proposals.lr.clone()
        self.replay = SequenceReplay(
            config.capacity,
            source,
            Stream(source.seed, "replay", source.device),
            self.gamma,
            n_step=config.n_step,
            alpha=config.priority,
        )
        room = (self.replay.slots - config.n_step + 1) * source.num_envs
        if room < config.batch_size:
            raise ValueError(f"capacity: {config.capacity} hold {room} windows at most, fewer than a batch.")
        greedy: Policy = _Greedy(self.policy) if driver is None else driver(self.policy)
        epsilon = self.epsilon.clone()
        self.driver = (
            EpsilonZGreedy(greedy, source.action, epsilon)
            if config.persistent
            else EpsilonGreedy(greedy, source.action, epsilon)
        )
        self.weights_noise = Stream(source.seed, "weights", source.device)
        self.updates = torch.zeros((), dtype=torch.int64)
        self.steps = torch.zeros((), dtype=torch.int64)
        self.labels = torch.zeros(source.members, dtype=torch.int64)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        head = self.policy.architecture.head
        support = f"support: {head.count} returns from {head.low:g} to {head.high:g}" if isinstance(head, Atoms) else ""
        return tuple(note for note in (str(self.replay), support) if note)

    @property
    def budget(self) -> int:
        """Environment steps of a member."""
        return self.config.steps

    @property
    def finished(self) -> bool:
        """Whether all the configured steps are done."""
        return int(self.steps) >= self.config.steps

    def step(self) -> Metrics:
        """Collect one rollout, then learn from the replay."""
        config = self.config
        done = int(self.steps) / config.steps
        explored = min(1.0, done / config.explore) if config.explore > 0 else 1.0
        self.driver.epsilon.copy_(torch.lerp(self.epsilon, self.epsilon_end, explored))
        left = 1 - min(done, 1.0) if config.anneal_lr else 1.0
        self.learner.lr.copy_(self.lr * left)
        if self.proposals is not None and self.proposals_lr is not None:
            self.proposals.lr.copy_(self.proposals_lr * left)
        seen = self.source.collect(self.driver, config.rollout)
        if config.clip_reward:
            seen = replace(seen, reward=seen.reward.clamp(-1, 1))
        self.replay.add(seen)
        if self.policy.normaliser is not None and self.target.normaliser is not None:
            self.policy.normaliser.update(fold(seen.obs))
            self.target.normaliser.load_state_dict(self.policy.normaliser.state_dict())
        self.steps += config.rollout * self.source.num_envs
        if int(self.steps) < config.learning_starts or len(self.replay) < config.batch_size:
            nothing = torch.zeros(self.source.members, device=self.source.device)
            names = ["loss", "grad_norm", "value", *(["entropy"] if self.proposals is not None else [])]
            return {**dict.fromkeys(names, nothing), "epsilon": self.driver.epsilon.clone()}
        importance = config.importance + (1 - config.importance) * min(done, 1.0)
        batches = self.replay.batches(config.batch_size, config.updates, importance)
        metrics = [self._update(batch) for batch in batches]
        return {**mean_metrics(metrics), "epsilon": self.driver.epsilon.clone()}

    def _update(self, batch: Sample) -> Metrics:
        metrics = self.learner(batch)
        if self.proposals is not None:
            metrics["entropy"] = self.proposals(batch)["entropy"]
        self.replay.update_priorities(batch.index, metrics.pop("priority"))
        self.updates += 1
        if int(self.updates) % self.config.target_every == 0:
            with torch.no_grad():
                for mine, new in zip(self.target.parameters(), self.policy.parameters(), strict=True):
                    mine.lerp_(new, self.config.tau)
        return metrics

    def _noise(self, batch: Sample) -> Tensor | None:
        """Uniforms for noisy weights and implicit levels."""
        width = self.policy.return_noise
        return self.weights_noise.uniform(*batch.reward.shape, width) if width else None

    def _loss(self, batch: Sample) -> tuple[Tensor, Metrics]:
        taken = self.policy.returns(batch.obs, self._noise(batch)).take(batch.action)
        with torch.no_grad():
            target = self._target(batch)
        error = taken.loss(target)
        value, wanted = taken.mean.detach(), target.mean
        priority = (wanted - value).abs() if isinstance(self.policy.architecture.head, Scalar) else error.detach()
        return (batch.weight * error).mean(1), {"value": value.mean(1), "priority": priority}

    def _gradient(self, batch: Sample) -> tuple[Tensor, Metrics, list[Tensor]]:
        """The same with its gradient written out, for means and quantiles by multilayer perceptrons."""
        target = self._target(batch)
        weight = batch.weight / self.config.batch_size
        taken, error, grads = self.policy.slopes(batch.obs, batch.action, target, weight)
        value, priority = taken.mean, error
        if isinstance(taken, ExpectedReturn):
            priority = (target.mean - value).abs_() if self.config.priority > 0 else error
        return batch.weight * error, {"value": value, "priority": priority}, grads

    def _target(self, batch: Sample) -> ReturnDistribution:
        """The distribution of the n-step reward and what follows it."""
        following = self.target.returns(batch.next_obs, self._noise(batch))
        if self.config.munchausen:
            tau = self.config.munchausen_temperature
            bonus = munchausen_bonus(self.target.returns(batch.obs).mean, batch.action, tau)
            reward = batch.reward + self.config.munchausen * bonus
            return ExpectedReturn(soft_value(following.mean, tau)).bellman_backup(reward, batch.discount)
        if isinstance(following, EnsembleReturn):
            # Each value function goes on as it would choose itself.
            online: Any = self.policy.returns(batch.next_obs) if self.config.double else following
            return following.greedy(online).bellman_backup(batch.reward, batch.discount)
        values = self.policy.returns(batch.next_obs).mean if self.config.double else fresh_mean(following)
        return following.take(greedy_action(values)).bellman_backup(batch.reward, batch.discount)


class _Greedy:
    """Greedy by the values under noisy weights and drawn levels, if there are any: how the family drives."""

    def __init__(self, policy: ValuePolicy) -> None:
        self.policy = policy
        # Acting needs noise for noisy weights only; without them implicit levels stay at their midpoints.
        self.noise = policy.return_noise if policy.architecture.noisy else 0

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Tensor, noise: Tensor, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The action of greatest mean return."""
        return self.policy.returns(obs, noise if self.noise else None).mean.argmax(-1), None, {}
