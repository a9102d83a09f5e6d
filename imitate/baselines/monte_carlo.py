"""Learning from whole returns. Letters: T time, M members, N environments of one member, W steps of a window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imitate.baselines.tabular import Exploration, StepSizes, TabularConfig, fresh_policy, joined
from imitate.core import tree
from imitate.core.config import Count, checked
from imitate.core.learner import numbers
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Rollout, Source, fold
from imitate.core.wrappers import without_mask
from imitate.losses.returns import lambda_returns
from imitate.losses.tabular import soft_value

__all__ = ["MonteCarlo", "MonteCarloConfig", "ended_within"]

_LONGEST = 100_000  # steps of an episode that a window can be made for


@dataclass(frozen=True)
class MonteCarloConfig(TabularConfig):
    """Hyper-parameters of Monte-Carlo control.

    Args:
        rollout: T, steps of each environment an iteration; episodes that end within them are learnt.
    """

    rollout: Count = 32


class MonteCarlo:
    """Learn the mean return after each visit of a state and action, from whole episodes.

        Q(s_t, a_t) ← Q(s_t, a_t) + α [G_t − Q(s_t, a_t)],   G_t = r_t + γ G_{t+1}

    On-policy, every visit, ε-greedy. A window of the last steps holds each episode until it ends; then all its steps
    are learnt at once. An episode that the clock cuts goes on in expectation: its return ends with Σ π(a|s) Q(s, a).

    Source: Sutton & Barto (2018), §5.4 (there first-visit), with the step of eq. 6.1; batched over N as `step_size`
    says.

    Args:
        source: Where it acts; gives M, N, the spaces, the seed, the device and the time limit.
        config: Hyper-parameters.

    Raises:
        ValueError: A space is not Discrete, there is no time limit, or a number of the config does not fit.
    """

    @checked
    def __init__(self, source: Source, config: MonteCarloConfig | None = None) -> None:
        source = without_mask(source)
        self.source, self.config, spec = source, config or MonteCarloConfig(), source.spec
        self.hyper = numbers(self.config, spec, "gamma")
        if spec.max_steps > _LONGEST:
            raise ValueError(f"env: {spec.id} needs a time limit of at most {_LONGEST:,} steps for Monte-Carlo.")
        self.policy = fresh_policy(source, self.config)
        self.exploration = Exploration(self.policy, source, self.config)
        self.rule = StepSizes(source, self.policy.q[0].numel(), self.config.alpha, self.config.omega)
        self.window = _Window(source, self.config.rollout)
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout and learn from the episodes that ended in it."""
        new = self.exploration.collect(self.progress)
        rollout = self.window.slide(new)
        counts = fold(ended_within(rollout.done, self.config.rollout)).to(rollout.reward.dtype)
        next_value = soft_value(self._values(rollout.next_obs), self.exploration.epsilon.unsqueeze(1))
        discount = self.hyper.gamma * ~rollout.terminated
        returns = fold(lambda_returns(rollout.reward, discount, next_value, (~rollout.truncated).to(discount.dtype)))
        table, pair = self.policy.q.flatten(1), fold(rollout.obs * self.policy.action.n + rollout.action)
        error = returns - table.gather(1, pair)
        self.rule.move(table, pair, error, weight=counts)
        self.progress.advance(new.reward[:, 0].numel())
        return {
            "loss": (counts * error.square()).sum(1) / counts.sum(1).clamp(min=1),
            "reward": new.reward.mean((0, 2)),
            "epsilon": self.exploration.epsilon.clone(),
        }

    def _values(self, obs: Tensor) -> Tensor:
        """Action values [T, M, N, A] of states [T, M, N]."""
        return self.policy.at(obs.transpose(0, 1)).transpose(0, 1)


def ended_within(done: Tensor, last: int) -> Tensor:
    """Of all steps [W, M, N], those whose episode ended within the `last` ones."""
    steps = len(done)
    time = torch.arange(steps, device=done.device).reshape(-1, 1, 1)
    end = torch.where(done, time, steps).flip(0).cummin(0).values.flip(0)
    return (end >= steps - last) & (end < steps)


class _Window:
    """The last T + max_steps steps [W, M, N]: an episode that ends in the last T has all its steps here."""

    def __init__(self, source: Source, rollout: int) -> None:
        spec = source.spec
        shape = (rollout + spec.max_steps, spec.members, spec.num_envs)
        number, device = torch.zeros(shape, dtype=torch.int64, device=spec.device), spec.device
        # Before the first step there is nothing: one-step episodes that ended long ago.
        over = torch.ones(shape, dtype=torch.bool, device=device)
        reward = torch.zeros(shape, device=device)
        self.steps = Rollout(number, number.clone(), reward, number.clone(), over, ~over, starts=over.clone())

    def slide(self, new: Rollout) -> Rollout:
        """Append a rollout, the oldest steps making room."""
        self.steps = joined(tree.map(lambda x: x[len(new.reward) :], self.steps), new)
        return self.steps

    def state_dict(self) -> dict[str, Any]:
        """All its steps."""
        return {name: value for name, value in vars(self.steps).items() if isinstance(value, Tensor)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        if state["reward"].shape != self.steps.reward.shape:
            raise RuntimeError(f"window of {tuple(state['reward'].shape)}, not {tuple(self.steps.reward.shape)}")
        self.steps = Rollout(**{name: value.to(self.steps.reward.device) for name, value in state.items()})
