"""Aggregate values to imitate. Letters: T time, M members, N environments of one member, A choices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imitate.core.config import Count, NonNegative, check, checked
from imitate.core.learner import PerMember
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import Dataset
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Policy, Source, mean_metrics
from imitate.core.wrappers import Privileged
from imitate.losses.imitation import cost_sensitive_likelihood
from imitate.nets.actor import Actor
from imitate.policies import Greedy, Mixture
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.dagger import Exponential, FirstRoundOnly, Linear
from imitate.teachers.costs import Costs, costs_of

__all__ = ["AggreVaTe", "AggreVaTeConfig"]


@dataclass(frozen=True)
class AggreVaTeConfig:
    """Hyper-parameters of AggreVaTe.

    Args:
        rounds: Rounds of driving and asking for costs.
        rollout: T, steps of each environment in a round.
        every: Steps of an environment between two states that are branched off from; each counts as one label.
        samples: Episodes of each choice at such a state.
        updates: Gradient steps after each round, on all that was aggregated.
        batch_size: States of one member in a step.
        lr: Learning rate of Adam.
        entropy: Weight of an entropy bonus, in nats.
        weight_decay: Decoupled weight decay.
        beta: Share of steps that the teacher drives, by round.
        capacity: States kept of each member; beyond it a uniform sample of all that were seen.
    """

    rounds: Count = 10
    rollout: Count = 64
    every: Count = 4
    samples: Count = 1
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    entropy: PerMember = 0.0
    weight_decay: NonNegative[PerMember] = 0.0
    beta: FirstRoundOnly | Exponential | Linear = FirstRoundOnly()  # noqa: RUF009 - it is frozen
    capacity: Count = 100_000

    def __post_init__(self) -> None:
        check(self)


class AggreVaTe:
    """DAgger whose labels are costs: what each choice costs if the teacher goes on (Ross & Bagnell 2014).

        Σ over states of all rounds of Σ_a π(a|s) Q*(s, a) → min

    So a mistake that costs nothing is none, and where the teacher errs a student may do better than the teacher does.
    The sum is minimised by its surrogate `cost_sensitive_likelihood`. Of each state all choices are tried, where the
    paper tries one at random.

    Args:
        source: Where to drive. What is no tensor environment needs a teacher that tells action values, see `costs_of`.
        teacher: Who goes on, as it acts; pass `Greedy(teacher)` for its modes.
        student: The policy to train.
        config: Hyper-parameters.
        costs: Who drives the source and tells costs; by default `costs_of`, with `every` and `samples` of the config.

    Raises:
        ValueError: A number of the config does not fit, or there are no costs to be had.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Policy,
        student: Actor,
        config: AggreVaTeConfig | None = None,
        *,
        costs: Costs | None = None,
    ) -> None:
        config, spec = config or AggreVaTeConfig(), source.spec
        check_student(source, student)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members}, seen=1)
        self.source, self.policy, self.config = source, student, config
        self.costs = costs or costs_of(source, teacher, config.every, config.samples)
        self.driver = Mixture(Privileged(teacher), Greedy(student), torch.zeros(spec.members, device=spec.device))
        self.data = Dataset(spec.members, config.capacity, Stream(spec.seed, "shuffle", spec.device))
        self.learner = imitator(
            student, cost_sensitive_likelihood, source, config.entropy, config.lr, config.weight_decay
        )
        self.rounds = torch.zeros((), dtype=torch.int64)
        steps = config.rollout * spec.num_envs
        self.progress = Progress(spec, config.rounds * steps, steps)

    def step(self) -> Metrics:
        """One round: drive, ask for costs, aggregate, fit."""
        self.driver.beta.fill_(self.config.beta(int(self.rounds) + 1))
        examples = self.costs(self.driver, self.config.rollout)
        self.data.add(examples)
        self.policy.observe(examples.obs)
        self.rounds += 1
        self.progress.advance(self.config.rollout * self.source.spec.num_envs, examples.action.shape[1])
        batches = self.data.batches(self.config.batch_size, self.config.updates)
        return {**mean_metrics([self.learner(batch) for batch in batches]), "beta": self.driver.beta.clone()}
