"""Search and learn. Letters: T time, M members, N environments of one member, A choices."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import PerMember
from imitate.core.progress import Progress
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Policy, Source
from imitate.losses.imitation import cost_sensitive_likelihood
from imitate.nets.actor import Actor
from imitate.policies import Mixture
from imitate.students.behaviour_cloning import check_student
from imitate.students.successive import Successive
from imitate.teachers.costs import Branching

__all__ = ["SEARN", "SEARNConfig"]


@dataclass(frozen=True)
class SEARNConfig:
    """Hyper-parameters of SEARN.

    Args:
        rounds: Rounds of driving and branching, and classifiers in the mixture.
        rollout: T, steps of each environment in a round.
        every: Steps of an environment between two states that are branched off from; each counts as one label.
        samples: Episodes of each choice at such a state.
        alpha: Share of the newest classifier in the policy.
        updates: Gradient steps in each round, on the costs of that round.
        batch_size: States of one member in a step.
        lr: Learning rate of Adam.
        weight_decay: Decoupled weight decay.
    """

    rounds: Count = 10
    rollout: Count = 64
    every: Count = 4
    samples: Count = 1
    alpha: Share[Positive[float]] = 0.4
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    weight_decay: NonNegative[PerMember] = 0.0

    def __post_init__(self) -> None:
        check(self)


class SEARN:
    """Learn by what each choice costs the policy of the moment, which moves away from the teacher.

        πₙ = (1 − α) πₙ₋₁ + α hₙ,   π₀ the teacher                  (Daumé, Langford & Marcu 2009)

    Classifier hₙ minimises the cost of its choices at states of πₙ₋₁, by `cost_sensitive_likelihood`. The costs are
    those of choosing and going on as πₙ₋₁. The policy is the mixture without the teacher, whose share behind n rounds
    is (1 − α)ⁿ. It draws a classifier at each step, so evaluate it with `deterministic=False`; its mode is the weighted
    vote.

    Args:
        source: A tensor environment with finitely many choices.
        teacher: The first policy, as it acts; pass `Greedy(teacher)` for its modes. Without a memory.
        student: What each classifier begins as; without a memory.
        config: Hyper-parameters.

    Raises:
        ValueError: A number of the config does not fit, or the source cannot be branched.
    """

    @checked
    def __init__(self, source: Source, teacher: Policy, student: Actor, config: SEARNConfig | None = None) -> None:
        config, spec = config or SEARNConfig(), source.spec
        check_student(source, student)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members}, seen=1)
        self.source, self.config = source, config
        self.classifiers = Successive(
            source,
            student,
            config.rounds,
            cost_sensitive_likelihood,
            updates=config.updates,
            batch_size=config.batch_size,
            lr=config.lr,
            weight_decay=config.weight_decay,
        )
        self.policy = self.classifiers.mixture
        self.driver = Mixture(teacher, self.policy, torch.ones(spec.members, device=spec.device))
        self.costs = Branching(source, self.driver, config.every, config.samples)
        self.rounds = torch.zeros((), dtype=torch.int64)
        steps = config.rollout * spec.num_envs
        self.progress = Progress(spec, config.rounds * steps, steps)

    @property
    def expert_share(self) -> float:
        """(1 − α)ⁿ behind n rounds, the probability of the teacher at a step."""
        return float((1 - self.config.alpha) ** int(self.rounds))

    def step(self) -> Metrics:
        """One round: drive with the last mixture, branch off, and add a classifier."""
        self.driver.beta.fill_(self.expert_share)
        examples = self.costs(self.driver, self.config.rollout)
        metrics = self.classifiers.learn(int(self.rounds), examples)
        self.rounds += 1
        self.progress.advance(self.config.rollout * self.source.spec.num_envs, examples.action.shape[1])
        share = (1 - self.config.alpha) ** torch.arange(int(self.rounds), dtype=torch.float64).flip(0)  # (1 − α)ⁿ⁻ʲ
        self.policy.weights[..., : len(share)] = share / share.sum()
        return {**metrics, "expert_share": torch.full_like(self.driver.beta, self.expert_share)}
