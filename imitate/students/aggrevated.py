"""AggreVaTe by gradients. Letters: T time, M members, N environments of one member, A choices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imitate.core.config import Count, NonNegative, check, checked
from imitate.core.learner import PerMember
from imitate.core.progress import Progress
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Policy, Source, mean_metrics
from imitate.core.wrappers import Privileged
from imitate.losses.imitation import expected_cost
from imitate.nets.actor import Actor
from imitate.policies import Mixture
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.dagger import Exponential, FirstRoundOnly, Linear
from imitate.teachers.costs import Costs, costs_of

__all__ = ["AggreVaTeD", "AggreVaTeDConfig"]


@dataclass(frozen=True)
class AggreVaTeDConfig:
    """Hyper-parameters of AggreVaTeD.

    Args:
        rounds: Rounds of driving and asking for costs, each with one gradient step.
        rollout: T, steps of each environment in a round.
        every: Steps of an environment between two states that are branched off from; each counts as one label.
        samples: Episodes of each choice at such a state.
        lr: Learning rate of Adam.
        entropy: Weight of an entropy bonus, in nats.
        beta: Share of steps that the teacher drives, by round.
    """

    rounds: Count = 200
    rollout: Count = 16
    every: Count = 4
    samples: Count = 1
    lr: NonNegative[PerMember] = 1e-2
    entropy: PerMember = 0.0
    beta: FirstRoundOnly | Exponential | Linear = FirstRoundOnly()  # noqa: RUF009 - it is frozen

    def __post_init__(self) -> None:
        check(self)


class AggreVaTeD:
    """One gradient step a round on what the student's choices cost if the teacher goes on (Sun et al. 2017).

        ∇ = E over the student's own states of Σ_a ∇π(a|s) Q*(s, a)

    The sum over choices is exact. The student drives with draws from its distribution. Nothing is aggregated. Steps are
    Adam's; the natural gradient of the paper is not here.

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
        config: AggreVaTeDConfig | None = None,
        *,
        costs: Costs | None = None,
    ) -> None:
        config, spec = config or AggreVaTeDConfig(), source.spec
        check_student(source, student)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members}, seen=1)
        self.source, self.policy, self.config = source, student, config
        self.costs = costs or costs_of(source, teacher, config.every, config.samples)
        self.driver = Mixture(Privileged(teacher), student, torch.zeros(spec.members, device=spec.device))
        self.learner = imitator(student, expected_cost, source, config.entropy, config.lr, 0.0)
        self.rounds = torch.zeros((), dtype=torch.int64)
        steps = config.rollout * spec.num_envs
        self.progress = Progress(spec, config.rounds * steps, steps)

    def step(self) -> Metrics:
        """One round: drive, ask for costs, one gradient step."""
        self.driver.beta.fill_(self.config.beta(int(self.rounds) + 1))
        examples = self.costs(self.driver, self.config.rollout)
        self.policy.observe(examples.obs)
        self.rounds += 1
        self.progress.advance(self.config.rollout * self.source.spec.num_envs, examples.action.shape[1])
        return {**mean_metrics([self.learner(examples)]), "beta": self.driver.beta.clone()}
