"""Learning the values of the best policy while following another: Q-learning and two of its variants.

Letters: T time, M members, N environments of one member, S states, A actions.
"""

from __future__ import annotations

import torch
from torch import Tensor

from imitate.baselines.tabular import (
    Exploration,
    StepSizes,
    TabularConfig,
    TraceConfig,
    Traces,
    fresh_policy,
    metrics,
    moments,
)
from imitate.core.config import checked
from imitate.core.learner import numbers
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Rollout, Source
from imitate.core.wrappers import without_mask
from imitate.losses.tabular import double_value, greedy_value, is_greedy, td_error

__all__ = ["DoubleQLearning", "QLambda", "QLearning"]


class QLearning:
    """Learn from the best action of the next state, whatever will be done there (Watkins 1989).

        Q(s, a) ← Q(s, a) + α [r + γ max_a' Q(s', a') − Q(s, a)]

    Source: Sutton & Barto (2018), §6.5, eq. 6.8; batched over N as `step_size` says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.

    Raises:
        ValueError: A space is not Discrete, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: TabularConfig | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or TabularConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma")
        self.policy = fresh_policy(source, self.config)
        self.exploration = Exploration(self.policy, source, self.config)
        self.rule = StepSizes(source, self.policy.q[0].numel(), self.config.alpha, self.config.omega)
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout and learn from its steps."""
        rollout = self.exploration.collect(self.progress)
        errors = [self._learn(now) for now in moments(rollout)]
        self.progress.advance(len(errors) * self.source.spec.num_envs)
        return metrics(errors, rollout.reward, epsilon=self.exploration.epsilon)

    def _learn(self, now: Rollout) -> Tensor:
        table, pair = self.policy.q.flatten(1), now.obs * self.policy.action.n + now.action
        next_value = greedy_value(self.policy.at(now.next_obs))
        error = td_error(now.reward, self.hyper.gamma * ~now.terminated, next_value, table.gather(1, pair))
        self.rule.move(table, pair, error)
        return error


class QLambda:
    """Q-learning whose errors also reach the pairs that led there, as long as the actions were greedy.

        δ = r + γ max_a' Q(s', a') − Q(s, a),   e ← γλ e·[a is greedy] + 1[(s, a)],   Q ← Q + α δ e

    Beyond an action that is not greedy the return is not one of the greedy policy: there the traces are cut.

    Source: Watkins (1989); Sutton & Barto (2018), §12.10; batched over N as `step_size` says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.

    Raises:
        ValueError: A space is not Discrete, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: TraceConfig | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or TraceConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma", "lam")
        self.policy = fresh_policy(source, self.config)
        self.exploration = Exploration(self.policy, source, self.config)
        entries = self.policy.q[0].numel()
        self.rule = StepSizes(source, entries, self.config.alpha, self.config.omega)
        self.traces = Traces(spec, entries)
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout and learn from its steps."""
        rollout = self.exploration.collect(self.progress)
        errors = [self._learn(now) for now in moments(rollout)]
        self.progress.advance(len(errors) * self.source.spec.num_envs)
        return metrics(errors, rollout.reward, epsilon=self.exploration.epsilon)

    def _learn(self, now: Rollout) -> Tensor:
        table, pair = self.policy.q.flatten(1), now.obs * self.policy.action.n + now.action
        decay = self.hyper.gamma * self.hyper.lam * is_greedy(self.policy.at(now.obs), now.action)
        next_value = greedy_value(self.policy.at(now.next_obs))
        error = td_error(now.reward, self.hyper.gamma * ~now.terminated, next_value, table.gather(1, pair))
        self.rule.move(table, pair, error, trace=self.traces.at(now, pair, decay))
        return error


class DoubleQLearning:
    """Q-learning with two tables: one chooses the best action of the next state, the other one tells its value.

        Q₁(s, a) ← Q₁(s, a) + α [r + γ Q₂(s', argmax_a' Q₁(s', a')) − Q₁(s, a)],   or with 1 and 2 swapped

    A fair coin for each step says which one learns. The maximum of noisy values is too high on average; the value that
    an independent table has for the maximising action is not. The policy goes by the mean of both.

    Source: van Hasselt (2010), algorithm 1; Sutton & Barto (2018), §6.7, eq. 6.10; batched over N as `step_size` says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.

    Raises:
        ValueError: A space is not Discrete, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: TabularConfig | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or TabularConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma")
        self.policy = fresh_policy(source, self.config)
        self.tables = torch.stack([self.policy.q, self.policy.q], 1)  # [M, 2, S, A]
        self.exploration = Exploration(self.policy, source, self.config)
        self.rule = StepSizes(source, self.tables[0].numel(), self.config.alpha, self.config.omega)
        self.coins = Stream(spec.seed, "double", spec.device)
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout and learn from its steps."""
        rollout = self.exploration.collect(self.progress)
        coins = self.coins.uniform(*rollout.reward.shape) < 0.5
        errors = [self._learn(now, coin) for now, coin in zip(moments(rollout), coins, strict=True)]
        self.progress.advance(len(errors) * self.source.spec.num_envs)
        return metrics(errors, rollout.reward, epsilon=self.exploration.epsilon)

    def _learn(self, now: Rollout, coin: Tensor) -> Tensor:
        table, (states, actions) = self.tables.flatten(1), self.policy.q.shape[1:]
        learner = coin.long()
        pair = (learner * states + now.obs) * actions + now.action
        member = torch.arange(len(coin), device=coin.device).unsqueeze(1)
        own, other = (self.tables[member, which, now.next_obs] for which in (learner, 1 - learner))
        error = td_error(
            now.reward, self.hyper.gamma * ~now.terminated, double_value(own, other), table.gather(1, pair)
        )
        self.rule.move(table, pair, error)
        self.policy.q.copy_(self.tables.mean(1))
        return error
