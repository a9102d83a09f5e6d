"""What the learners of tables share: hyper-parameters, step sizes, the ε-greedy drive.

Letters: T time, M members, N environments of one member, B transitions of one member, S states, A actions, K entries.

Largest error of any Q(s, a) on GridWorld-v0, a slippery 5×5 grid, after 768,000 steps of a member with γ = 0.9, against
value iteration; values there reach 0.96. Learners of the policy that they follow are compared with the best 0.3-greedy
policy, TD(λ) is with the exact v(s) of the random one. tests/baselines/test_tabular.py holds them to it:

    Q-learning   double Q-learning   Q(λ)    SARSA   SARSA(0.8)   Expected SARSA   Monte-Carlo   TD(0.8)
    0.02         0.02                0.02    0.025   0.025        0.02             0.04          0.02
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.config import Count, NonNegative, Share, check
from imitate.core.learner import PerMember, per_member
from imitate.core.progress import Progress
from imitate.core.room import admit, admit_steps
from imitate.core.spec import Spec
from imitate.core.types import Metrics, Rollout, Source
from imitate.losses.tabular import decayed_trace, deposit, step_size
from imitate.nets.tabular_policy import TabularPolicy
from imitate.policies import Mixture, Random
from imitate_envs.base import Discrete

__all__ = [
    "Exploration",
    "StepSizes",
    "TabularConfig",
    "TraceConfig",
    "bare",
    "fresh_policy",
    "joined",
    "metrics",
    "moments",
]


@dataclass(frozen=True)
class TabularConfig:
    """Hyper-parameters of a learner of action values.

    A `PerMember` number may be a tuple with one value a member: a search in one run.

    Args:
        steps: Environment steps of one member; the schedule of ε ends within them.
        rollout: T, steps of each environment an iteration. They are learnt one after the other, but all of them are
            driven by the values before the first.
        gamma: Discount γ.
        alpha: α of the step size α/n^ω at the n-th visit of an entry.
        omega: ω; between 1/2 and 1 the values converge, 0 is a constant step size.
        epsilon: ε at the start: the probability of a random action.
        epsilon_end: ε at the end.
        explore: Share of the steps over which ε falls linearly from one to the other.
        initial: All values at the start; above what can be earned it makes a greedy policy explore.
    """

    steps: Count = 100_000
    rollout: Count = 1
    gamma: Share[PerMember] = 0.99
    alpha: NonNegative[PerMember] = 1.0
    omega: NonNegative[PerMember] = 0.7
    epsilon: Share[PerMember] = 1.0
    epsilon_end: Share[PerMember] = 0.05
    explore: Share[float] = 0.5
    initial: PerMember = 0.0

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class TraceConfig(TabularConfig):
    """As `TabularConfig`, with eligibility traces.

    Args:
        lam: λ, the decay of the traces beside γ; 0 learns from single steps.
    """

    lam: Share[PerMember] = 0.8


def fresh_policy(source: Source, config: TabularConfig) -> TabularPolicy:
    """Tables for a source, all entries `initial`.

    Raises:
        ValueError: A space is not Discrete.
    """
    for name, space in (("observation", source.spec.observation), ("action", source.spec.action)):
        if not isinstance(space, Discrete):
            raise ValueError(f"env: a table needs a Discrete {name} space; that of {source.spec.id} is {space}.")
    spec = source.spec
    assert isinstance(spec.observation, Discrete) and isinstance(spec.action, Discrete)
    admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
    numbers = spec.members * spec.observation.n * spec.action.n
    admit("the tables", 4 * numbers, {"members": spec.members}, spec.device)
    initial = per_member(config.initial, "initial", spec.members, spec.device)
    shape = (spec.members, spec.observation.n, spec.action.n)
    return TabularPolicy(initial.reshape(-1, 1, 1).expand(shape).clone(), env=spec.id)


class StepSizes:
    """Moves the entries of tables [M, K] along their errors, each with a step size by its own number of visits.

    Args:
        source: Gives M and the device.
        entries: K.
        alpha: α of `step_size`.
        omega: ω of `step_size`.
    """

    def __init__(self, source: Source, entries: int, alpha: PerMember, omega: PerMember) -> None:
        spec = source.spec
        self.alpha = per_member(alpha, "alpha", spec.members, spec.device).unsqueeze(1)
        self.omega = per_member(omega, "omega", spec.members, spec.device).unsqueeze(1)
        self.count = torch.zeros(spec.members, entries, device=spec.device)

    def move(
        self,
        table: Tensor,
        index: Tensor,
        error: Tensor,
        *,
        weight: Tensor | None = None,
        trace: Tensor | None = None,
    ) -> None:
        """Change a table [M, K] in place: table ← table + α_n Σ_b e_b error_b.

        Args:
            table: Values.
            index: Entries that were visited, [M, B].
            error: What was learnt there, [M, B].
            weight: 1 for what counts and 0 for the rest, [M, B].
            trace: e, eligibility of all entries for each error, [M, B, K]; by default only that of the visited one.
        """
        counted = torch.ones_like(error) if weight is None else weight
        entries = table.shape[1]
        visits = deposit(index, counted, entries)
        self.count += visits
        if trace is None:
            share, push = visits, deposit(index, counted * error, entries)
        else:
            share, push = trace.sum(1), ((counted * error).unsqueeze(1) @ trace).squeeze(1)
        table.add_(step_size(self.count, share, self.alpha, self.omega) * push)

    def state_dict(self) -> dict[str, Any]:
        """Visits; the values are saved by whoever shows them."""
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place."""
        if state["count"].shape != self.count.shape:
            raise RuntimeError(f"count is {tuple(state['count'].shape)}, not {tuple(self.count.shape)}")
        if bool((state["count"] < 0).any()):
            raise ValueError("counts are not negative")
        self.count.copy_(state["count"])


class Exploration:
    """An ε-greedy drive in which ε falls linearly; ties between greedy actions are broken at random.

    Args:
        policy: Whose actions are the greedy ones: at temperature 0.
        source: Where it drives.
        config: Of the schedule.
    """

    def __init__(self, policy: TabularPolicy, source: Source, config: TabularConfig) -> None:
        self.source, self.config = source, config
        spec = source.spec
        self.first = per_member(config.epsilon, "epsilon", spec.members, spec.device)
        self.last = per_member(config.epsilon_end, "epsilon_end", spec.members, spec.device)
        self.epsilon = self.first.clone()
        self.driver = Mixture(Random(spec.action), policy, self.epsilon)

    def collect(self, progress: Progress, more: int = 0) -> Rollout:
        """Steps of T + `more` of each environment, with the ε that is due now."""
        horizon = self.config.explore * self.config.steps
        left = max(0.0, 1 - int(progress.steps) / horizon) if horizon > 0 else 0.0
        self.epsilon.copy_(self.last + left * (self.first - self.last))
        return self.source.collect(self.driver, self.config.rollout + more)

    def state_dict(self) -> dict[str, Any]:
        """The present ε."""
        return {"epsilon": self.epsilon}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place."""
        if state["epsilon"].shape != self.epsilon.shape:
            raise RuntimeError(f"epsilon is {tuple(state['epsilon'].shape)}, not {tuple(self.epsilon.shape)}")
        self.epsilon.copy_(state["epsilon"])


class Traces:
    """Eligibility of all entries of a table for errors to come, by environment, [M, N, K].

    They begin anew with an episode, also with one that a resume begins before the last one ended.

    Args:
        spec: Of the source.
        entries: K.
    """

    def __init__(self, spec: Spec, entries: int) -> None:
        size = 4 * spec.members * spec.num_envs * entries
        admit("the traces", size, {"members": spec.members, "num_envs": spec.num_envs}, spec.device)
        self.trace = torch.zeros(spec.members, spec.num_envs, entries, device=spec.device)

    def at(self, now: Rollout, entry: Tensor, decay: Tensor) -> Tensor:
        """The traces at a step [M, N], after a visit of an entry [M, N] and decay by γλ [M, N] or [M, 1]."""
        self.trace.copy_(decayed_trace(self.trace, entry, decay * ~now.starts))
        return self.trace

    def state_dict(self) -> dict[str, Any]:
        """The traces."""
        return {"trace": self.trace}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place."""
        if state["trace"].shape != self.trace.shape:
            raise RuntimeError(f"trace is {tuple(state['trace'].shape)}, not {tuple(self.trace.shape)}")
        self.trace.copy_(state["trace"])


def bare(rollout: Rollout) -> Rollout:
    """A rollout of states alone: without extras and memory."""
    return replace(rollout, extras={}, memory=None)


def moments(rollout: Rollout) -> list[Rollout]:
    """The steps [M, N] of [T, M, N]."""
    return [tree.map(lambda x: x[t], bare(rollout)) for t in range(len(rollout.reward))]  # noqa: B023


def joined(before: Rollout, new: Rollout) -> Rollout:
    """The steps of `before` and behind them those of `new`, [T, M, N] both and `bare`.

    Where `new` begins an episode before the last one ended, as after a resume with Gymnasium's environments, the last
    step of that counts as cut by the clock.
    """
    broken = ~before.done[-1] & new.starts[0]
    truncated = torch.cat([before.truncated[:-1], (before.truncated[-1] | broken).unsqueeze(0)])
    return tree.map(lambda a, b: torch.cat([a, b]), replace(before, truncated=truncated), bare(new))


def metrics(errors: list[Tensor], reward: Tensor, **more: Tensor) -> Metrics:
    """Mean squared error over errors [M, N], mean reward of [T, M, N], and more, each [M]."""
    loss = torch.stack(errors).square().mean((0, 2))
    return {"loss": loss, "reward": reward.mean((0, 2)), **{name: value.clone() for name, value in more.items()}}
