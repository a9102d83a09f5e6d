"""Cloning from a teacher under noise. Letters: T time, M members, N environments of one member, B batch, A actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.actions import clip, unit, width
from imitate.core.config import Count, NonNegative, Positive, Proper, check, checked
from imitate.core.learner import PerMember
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Policy, Source, fold, mean_metrics
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, default_loss, discrepancy
from imitate.nets.actor import Actor
from imitate.policies import EpsilonGreedy, Greedy, Perturbed
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.held_out import BY_STEPS, Split, held_out_error, numbered
from imitate.teachers.label import labels
from imitate_envs.base import Box, Discrete

__all__ = ["DART", "DARTConfig"]


@dataclass(frozen=True)
class DARTConfig:
    """Hyper-parameters of DART.

    Args:
        rounds: Rounds of driving and fitting; the first one is without noise.
        rollout: T, steps of each environment in a round; a round costs T·N labels a member.
        updates: Gradient steps after each round, on all that was aggregated.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        error: What the noise amounts to at each step: tr Σ in squared half ranges, or the probability of another
            choice. It is a guess at the error of the final student, α/T in the paper. None: as it is estimated.
        entropy: Weight of an entropy bonus, in nats.
        weight_decay: Decoupled weight decay.
        capacity: Examples kept of each member; beyond it a uniform sample of all that were seen.
        validation: Share of the episodes held out, at least one, by which the error of the student is estimated.
    """

    rounds: Count = 10
    rollout: Count = 64
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    error: Positive[float] | None = None
    entropy: PerMember = 0.0
    weight_decay: NonNegative[PerMember] = 0.0
    capacity: Count = 100_000
    validation: Proper[float] = 0.1

    def __post_init__(self) -> None:
        check(self)
        if self.validation == 0:
            raise ValueError("validation: the noise is estimated from held-out labels; set it above 0.")


class DART:
    """Learn from a teacher who drives under noise that is as large as the student's error (Laskey et al. 2017).

        a = π*(s) + e,  e ~ N(0, Σ),   Σ = E[(π(s) − π*(s)) (π(s) − π*(s))ᵀ]

    The expectation is over held-out states: the Σ under which the student's actions are most likely. Of choices, the
    noise makes another one, uniformly, with the probability with which the student does. Labels are what the teacher
    meant to do. So demonstrations cover the states that the student's errors lead to, and the student never drives.

    With `error` Σ is multiplied so that its trace is that (the paper's α/T). Rounds are T steps of each environment
    that go on where the last one ended, instead of whole demonstrations.

    Args:
        source: Where to drive.
        teacher: Who drives and labels.
        student: The policy to train.
        config: Hyper-parameters.
        loss: `negative_log_likelihood` or `squared_error`; by default the first for choices, the second for a Box.

    Attributes:
        noise: A root L of Σ = LLᵀ in the units of the action, [M, A, A]; of choices the ε of a uniform one, [M].

    Raises:
        ValueError: A number of the config does not fit, or several choices are made at once.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: DARTConfig | None = None,
        *,
        loss: ImitationLoss | None = None,
    ) -> None:
        config, spec = config or DARTConfig(), source.spec
        check_student(source, student, teacher)
        members, device, action = spec.members, spec.device, spec.action
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": members})
        admit_steps(spec, {"batch_size": config.batch_size, "members": members}, seen=1)
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.imitation = loss or default_loss(action)
        leader: Policy = Greedy(Privileged(teacher))
        self.driver: Policy
        if isinstance(action, Box):
            self.noise = torch.zeros(members, width(action), width(action), device=device)
            self.driver = Perturbed(leader, action, self.noise)
        elif isinstance(action, Discrete) and action.n > 1:
            if config.error is not None and config.error >= 1:
                raise ValueError(f"error: a probability below 1, not {config.error}.")
            self.noise = torch.zeros(members, device=device)
            self.driver = EpsilonGreedy(leader, action, self.noise)
        else:
            raise ValueError(f"action: noise is known for a Box and for one choice of several, not for {action}.")
        self.data = Dataset(members, config.capacity, Stream(spec.seed, "shuffle", device))
        self.held_out = Dataset(members, config.capacity, Stream(spec.seed, "held-out", device))
        self.split = Split(self.data, self.held_out, config.validation)
        # Of the episodes under way; environment n counts on by N.
        self.episode = torch.arange(spec.num_envs, device=device).repeat(members, 1)
        self.learner = imitator(student, self.imitation, source, config.entropy, config.lr, config.weight_decay)
        steps = config.rollout * spec.num_envs
        self.progress = Progress(spec, config.rounds * steps, steps)  # every step is labelled

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        return (BY_STEPS,) if self.source.spec.num_envs == 1 else ()

    def step(self) -> Metrics:
        """One round: let the teacher drive under noise, aggregate, fit, estimate the noise anew."""
        rollout = self.source.collect(self.driver, self.config.rollout)
        memory = rollout.memory if isinstance(self.source.spec.action, Box) else rollout.memory[1]
        action = labels(rollout, self.teacher, self.source.spec.action, memory)
        examples, everything = (
            Examples(fold(rollout.obs), action),
            torch.ones(action.shape[:2], dtype=torch.bool, device=action.device),
        )
        trained = self.split.add(examples, everything, numbered(rollout.starts, self.episode))
        self.policy.observe(examples.obs, trained)
        self.progress.advance(action.shape[1], action.shape[1])
        batches = self.data.batches(self.config.batch_size, self.config.updates)
        metrics = mean_metrics([self.learner(batch) for batch in batches])
        held_out = held_out_error(self.policy, self.held_out, self.imitation)
        return {**metrics, "held_out": held_out, "noise": self._estimate()}

    @torch.no_grad()
    def _estimate(self) -> Tensor:
        """Set the noise by the held-out labels; what it amounts to at each step, as `error` counts, [M]."""
        action = self.source.spec.action
        examples, counts = self.held_out.all()
        mine, weight = self.policy.distribution(examples.obs).mode, counts / counts.sum(1, keepdim=True)
        error = self.config.error
        if isinstance(action, Box):
            apart = clip(action, mine) - examples.action
            covariance = torch.einsum("mb,mbi,mbj->mij", weight, apart, apart)
            amount = (covariance.diagonal(dim1=1, dim2=2) / unit(action, mine.device)[1].square()).sum(1)
            if error is not None:
                covariance *= (error / amount.clamp(min=1e-12)).view(-1, 1, 1)
                amount = torch.where(amount > 0, error, 0.0)
            self.noise.copy_(_root(covariance))
            return amount
        rate = (weight * discrepancy(action, mine, examples.action)).sum(1)
        if error is not None:
            rate = torch.full_like(rate, error)
        # A uniform choice is another one with probability (A − 1)/A.
        assert isinstance(action, Discrete)
        self.noise.copy_((rate * action.n / (action.n - 1)).clamp(max=1))
        return rate


def _root(covariance: Tensor) -> Tensor:
    """L of Σ = LLᵀ, [M, A, A], also where Σ is singular, as at a perfect student."""
    values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)
    return root
