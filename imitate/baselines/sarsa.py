"""Learning the values of the policy that is followed, step by step: SARSA, Expected SARSA, and TD(λ) for states alone.

Letters: T time, M members, N environments of one member, S states, A actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imitate.baselines.tabular import (
    Exploration,
    StepSizes,
    TabularConfig,
    TraceConfig,
    Traces,
    bare,
    fresh_policy,
    joined,
    metrics,
    moments,
)
from imitate.core import tree
from imitate.core.config import Count, NonNegative, Share, check, checked
from imitate.core.learner import PerMember, numbers, per_member
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Policy, Rollout, Source
from imitate.core.wrappers import without_mask
from imitate.losses.tabular import soft_value, td_error
from imitate_envs.base import Discrete

__all__ = ["ExpectedSarsa", "ExpectedSarsaConfig", "Sarsa", "SarsaConfig", "TDLambda", "TDLambdaConfig"]


@dataclass(frozen=True)
class SarsaConfig(TraceConfig):
    """Hyper-parameters of SARSA; the SARSA without traces by default.

    Args:
        lam: λ, the decay of the traces beside γ; 0 is SARSA, more is SARSA(λ).
    """

    lam: Share[PerMember] = 0.0


class Sarsa:
    """Learn from the action that is taken next (Rummery & Niranjan 1994).

        δ = r + γ Q(s', a') − Q(s, a),   e ← γλ e + 1[(s, a)],   Q ← Q + α δ e

    A step is learnt when the action after it is known, so the last one of a rollout waits for the next rollout. Where
    the clock cuts an episode nothing is done next, and a' is what the driver would have done.

    Source: Sutton & Barto (2018), §6.4, eq. 6.7, and §12.7 for λ > 0; batched over N as `step_size` says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.

    Raises:
        ValueError: A space is not Discrete, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: SarsaConfig | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or SarsaConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma", "lam")
        self.policy = fresh_policy(source, self.config)
        self.exploration = Exploration(self.policy, source, self.config)
        entries = self.policy.q[0].numel()
        self.rule = StepSizes(source, entries, self.config.alpha, self.config.omega)
        self.traces = Traces(spec, entries)
        self.waiting = _Waiting(spec.device)
        self.cut = Stream(spec.seed, "cut", spec.device)
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout, at first one step more, and learn from all but its last step."""
        new = self.exploration.collect(self.progress, more=int(self.waiting.step is None))
        rollout, next_action = self.waiting.swap(new)
        errors = [self._learn(now, action) for now, action in zip(moments(rollout), next_action, strict=True)]
        self.progress.advance(len(new.reward) * self.source.spec.num_envs)
        return metrics(errors, new.reward, epsilon=self.exploration.epsilon)

    def _learn(self, now: Rollout, next_action: Tensor) -> Tensor:
        table, actions = self.policy.q.flatten(1), self.policy.action.n
        driver = self.exploration.driver
        instead, _, _ = driver.act(
            now.next_obs, self.cut.uniform(*now.reward.shape, driver.noise), driver.memory(*now.reward.shape)
        )
        next_pair = now.next_obs * actions + torch.where(now.truncated, instead, next_action)
        pair = now.obs * actions + now.action
        discount = self.hyper.gamma * ~now.terminated
        error = td_error(now.reward, discount, table.gather(1, next_pair), table.gather(1, pair))
        trace = self.traces.at(now, pair, self.hyper.gamma * self.hyper.lam)
        self.rule.move(table, pair, error, trace=trace)
        return error


class _Waiting:
    """The last step [1, M, N] of a rollout, whose next action is not known yet."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.step: Rollout | None = None

    def swap(self, new: Rollout) -> tuple[Rollout, Tensor]:
        """Steps [T, M, N] and the actions taken after them; the last step of `new` waits in their place."""
        both = bare(new) if self.step is None else joined(self.step, new)
        self.step = tree.map(lambda x: x[-1:].clone(), both)
        return tree.map(lambda x: x[:-1], both), both.action[1:]

    def state_dict(self) -> dict[str, Any]:
        """The step, if there is one."""
        return {} if self.step is None else {k: v for k, v in vars(self.step).items() if isinstance(v, Tensor)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        self.step = Rollout(**{k: v.to(self.device) for k, v in state.items()}) if state else None


@dataclass(frozen=True)
class ExpectedSarsaConfig(TabularConfig):
    """Hyper-parameters of Expected SARSA.

    Args:
        target_epsilon: ε of the policy whose values are learnt; by default that of the drive. 0 is Q-learning.
    """

    target_epsilon: PerMember | None = None


class ExpectedSarsa:
    """Learn from the mean over the actions that might be taken next, which is SARSA without its sampling noise.

        Q(s, a) ← Q(s, a) + α [r + γ Σ_a' π(a'|s') Q(s', a') − Q(s, a)]

    Source: van Seijen et al. (2009), algorithm 1; Sutton & Barto (2018), §6.6, eq. 6.9; batched over N as `step_size`
    says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.

    Raises:
        ValueError: A space is not Discrete, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: ExpectedSarsaConfig | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or ExpectedSarsaConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma")
        self.policy = fresh_policy(source, self.config)
        self.exploration = Exploration(self.policy, source, self.config)
        self.rule = StepSizes(source, self.policy.q[0].numel(), self.config.alpha, self.config.omega)
        target = self.config.target_epsilon
        self.target_epsilon = (
            self.exploration.epsilon  # the same tensor: it follows the schedule
            if target is None
            else per_member(target, "target_epsilon", spec.members, spec.device)
        )
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout and learn from its steps."""
        rollout = self.exploration.collect(self.progress)
        errors = [self._learn(now) for now in moments(rollout)]
        self.progress.advance(len(errors) * self.source.spec.num_envs)
        return metrics(errors, rollout.reward, epsilon=self.exploration.epsilon)

    def _learn(self, now: Rollout) -> Tensor:
        table, pair = self.policy.q.flatten(1), now.obs * self.policy.action.n + now.action
        next_value = soft_value(self.policy.at(now.next_obs), self.target_epsilon.unsqueeze(1))
        error = td_error(now.reward, self.hyper.gamma * ~now.terminated, next_value, table.gather(1, pair))
        self.rule.move(table, pair, error)
        return error


@dataclass(frozen=True)
class TDLambdaConfig:
    """Hyper-parameters of TD(λ); numbers as in `TabularConfig`.

    Args:
        steps: Environment steps of one member.
        rollout: T, steps of each environment an iteration, learnt one after the other.
        gamma: Discount γ.
        lam: λ, the decay of the traces beside γ.
        alpha: α of the step size α/n^ω at the n-th visit of a state.
        omega: ω; between 1/2 and 1 the values converge, 0 is a constant step size.
        initial: All values at the start.
    """

    steps: Count = 100_000
    rollout: Count = 16
    gamma: Share[PerMember] = 0.99
    lam: Share[PerMember] = 0.8
    alpha: NonNegative[PerMember] = 1.0
    omega: NonNegative[PerMember] = 0.7
    initial: PerMember = 0.0

    def __post_init__(self) -> None:
        check(self)


class TDLambda:
    """Learn the values of states under a given policy, which stays as it is (Sutton 1988).

        δ = r + γ v(s') − v(s),   e ← γλ e + 1[s],   v ← v + α δ e

    λ = 0 is TD(0); λ = 1 learns from whole returns as Monte-Carlo does, step by step.

    Source: Sutton & Barto (2018), §12.2, eq. 12.5 to 12.7; batched over N as `step_size` says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed and the device.
        config: Hyper-parameters.
        policy: Whose values are learnt; the uniformly random one by default.

    Raises:
        ValueError: A space is not Discrete, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: TDLambdaConfig | None = None, *, policy: Policy | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or TDLambdaConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma", "lam")
        # All values equal, all actions tie: uniform.
        uniform = fresh_policy(source, TabularConfig(steps=self.config.steps, rollout=self.config.rollout))
        self.policy: Policy = uniform if policy is None else policy
        assert isinstance(spec.observation, Discrete)
        states = spec.observation.n
        initial = per_member(self.config.initial, "initial", spec.members, spec.device)
        self.values = initial.unsqueeze(1).expand(-1, states).clone()
        self.rule = StepSizes(source, states, self.config.alpha, self.config.omega)
        self.traces = Traces(spec, states)
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout and learn from its steps."""
        rollout = self.source.collect(self.policy, self.config.rollout)
        errors = [self._learn(now) for now in moments(rollout)]
        self.progress.advance(len(errors) * self.source.spec.num_envs)
        return metrics(errors, rollout.reward)

    def _learn(self, now: Rollout) -> Tensor:
        value, next_value = (self.values.gather(1, state) for state in (now.obs, now.next_obs))
        error = td_error(now.reward, self.hyper.gamma * ~now.terminated, next_value, value)
        trace = self.traces.at(now, now.obs, self.hyper.gamma * self.hyper.lam)
        self.rule.move(self.values, now.obs, error, trace=trace)
        return error
