"""Distral with tables: tasks share a distilled policy. Letters: M members, N copies, K tasks, S states, A actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.baselines.tabular import StepSizes, metrics, moments
from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import PerMember, numbers
from imitate.core.progress import Progress
from imitate.core.room import admit, admit_steps
from imitate.core.tasks import tasks_in
from imitate.core.types import Metrics, Obs, Rollout, Source
from imitate.core.wrappers import Viewed
from imitate.losses.tabular import deposit, td_error
from imitate.nets.tabular_policy import TabularPolicy
from imitate_envs.base import Discrete, Tuple

__all__ = ["Distral", "DistralConfig"]


@dataclass(frozen=True)
class DistralConfig:
    """Hyper-parameters of Distral with tables.

    A `PerMember` number may be a tuple with one value a member: a search in one run.

    Args:
        steps: Environment steps of one member, those of all tasks together.
        rollout: T, steps of each environment an iteration.
        gamma: Discount γ.
        share: α, how much of the regularisation draws to the shared policy; the rest is entropy. 0 is soft Q-learning
            of each task by itself.
        inverse_temperature: β, in units of 1/return: how much values count against the regularisation.
        alpha: α of the step size α/n^ω at the n-th visit of an entry.
        omega: ω; between 1/2 and 1 the values converge, 0 is a constant step size.
        smoothing: What each action of each state counts in the shared policy before the first visit.
    """

    steps: Count = 100_000
    rollout: Count = 1
    gamma: Share[PerMember] = 0.99
    share: Share[PerMember] = 0.5
    inverse_temperature: Positive[PerMember] = 5.0
    alpha: NonNegative[PerMember] = 1.0
    omega: NonNegative[PerMember] = 0.7
    smoothing: Positive[float] = 1.0

    def __post_init__(self) -> None:
        check(self)


class Distral:
    """Learn each task near a policy that is distilled from all of them (Teh et al. 2017, §2.1).

        V_k(s) = 1/β log Σ_a π_0(a|s)^α exp(β Q_k(s, a))                      eq. 2
        Q_k(s, a) ← Q_k(s, a) + step size · [r + γ V_k(s') − Q_k(s, a)]       towards eq. 3
        π_k(a|s) = π_0(a|s)^α exp(β Q_k(s, a) − β V_k(s))                     eq. 4
        π_0(a|s) ∝ smoothing + Σ_k Σ_t γ^t 1[s_t = s, a_t = a]                 the likeliest policy, over all data

    Every task acts by its own π_k. With α = 0 nothing is shared, and each is soft Q-learning.

    Args:
        source: A `Tasks` source whose environments show the number of a state and take choices.
        config: Hyper-parameters.

    Attributes:
        policy: π_k of all tasks: a table of the states of the first task, then of the second, and so on.
        prior: log π_0, [M, S, A].

    Raises:
        ValueError: The source is none of tasks, a space is not Discrete, or a number does not fit.
    """

    @checked
    def __init__(self, source: Source, config: DistralConfig | None = None) -> None:
        self.config, spec = config or DistralConfig(), source.spec
        tasks = tasks_in(spec.observation)
        shown = spec.observation.spaces[0] if isinstance(spec.observation, Tuple) else spec.observation
        if tasks is None or not isinstance(shown, Discrete) or not isinstance(spec.action, Discrete):
            found = f"{spec.observation} and {spec.action}"
            raise ValueError(f"source: Tasks of a Discrete observation and Discrete actions, not {found}.")
        members, states, actions = spec.members, shown.n, spec.action.n
        admit_steps(spec, {"rollout": self.config.rollout, "num_envs": spec.num_envs, "members": members})
        admit("the tables", 8 * members * (tasks + 1) * states * actions, {"members": members}, spec.device)
        rows = tasks * states
        self.source = Viewed(source, _Row(states), Discrete(rows), obs_dtype=torch.int64, whole=False)
        self.hyper = numbers(self.config, spec, "gamma", "share", "inverse_temperature")
        self.q = torch.zeros(members, rows, actions, device=spec.device)
        self.count = torch.full((members, states, actions), self.config.smoothing, device=spec.device)
        self.discount = torch.ones(members, spec.num_envs, device=spec.device)  # γ^t of the episodes under way
        self.policy = TabularPolicy(torch.zeros_like(self.q), temperature=1.0, env=spec.id)
        self.value = torch.zeros(members, rows, device=spec.device)
        self.sizes = StepSizes(source, rows * actions, self.config.alpha, self.config.omega)
        self._share_out()
        self.progress = Progress(spec, self.config.steps, self.config.rollout * spec.num_envs)

    @property
    def prior(self) -> Tensor:
        """Log π_0 of each state, [M, S, A]."""
        return (self.count / self.count.sum(-1, keepdim=True)).log()

    def step(self) -> Metrics:
        """Collect one rollout and learn from it."""
        rollout = self.source.collect(self.policy, self.config.rollout)
        errors = [self._learn(now) for now in moments(rollout)]
        self.progress.advance(self.config.rollout * self.source.spec.num_envs)
        return metrics(errors, rollout.reward)

    def _learn(self, now: Rollout) -> Tensor:
        """One step [M, N] of every environment: its values, and what it says of the shared policy; the errors."""
        actions = self.q.shape[-1]
        entry = now.obs * actions + now.action
        flat, hyper = self.q.flatten(1), self.hyper
        following = self.value.gather(1, now.next_obs)
        error = td_error(now.reward, hyper.gamma * ~now.terminated, following, flat.gather(1, entry))
        self.sizes.move(flat, entry, error)
        self.discount.masked_fill_(now.starts, 1.0)
        place = entry % (self.count.shape[1] * actions)  # of the state, whatever the task
        self.count += deposit(place, self.discount, self.count[0].numel()).view_as(self.count)
        self.discount *= hyper.gamma
        self._share_out()
        return error

    def _share_out(self) -> None:
        """V and π_k of all tasks, by what they are now worth and by the shared policy."""
        tasks = self.q.shape[1] // self.count.shape[1]
        share, beta = (x.unsqueeze(-1) for x in (self.hyper.share, self.hyper.inverse_temperature))
        logits = torch.addcmul(beta * self.q, share, self.prior.repeat(1, tasks, 1))
        self.policy.q.copy_(logits)
        self.value.copy_(logits.logsumexp(-1) / beta.squeeze(-1))


class _Row:
    """Where a state of a task stands in the table of all: task·S + state."""

    def __init__(self, states: int) -> None:
        self.states = states

    def __call__(self, obs: Obs) -> Tensor:
        state, task = obs
        row: Tensor = task * self.states + state
        return row
