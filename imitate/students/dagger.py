"""Dataset aggregation. Letters: T time, M members, N environments of one member, B batch, P parameters, R rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, Proper, check, checked
from imitate.core.learner import PerMember
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit, admit_steps
from imitate.core.types import Metrics, Source, fold, mean_metrics
from imitate.core.wrappers import Privileged
from imitate.data.demonstrations import Demonstrations
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, default_loss
from imitate.nets.actor import Actor
from imitate.policies import Greedy, Mixture
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.held_out import BY_STEPS, Split, held_out_error, numbered
from imitate.teachers.label import labels

__all__ = ["Beta", "DAgger", "DAggerConfig", "Exponential", "FirstRoundOnly", "Linear"]

Beta = Callable[[int], float]  # round (from 1) -> share of steps that the teacher drives


@dataclass(frozen=True)
class FirstRoundOnly:
    """The teacher drives round 1, then the student: βᵢ = 1[i = 1] (Ross, Gordon & Bagnell 2011, §3)."""

    def __call__(self, round_: int) -> float:
        """β of a round."""
        return float(round_ == 1)


@dataclass(frozen=True)
class Exponential:
    """Exponential decay: βᵢ = pⁱ⁻¹ (Ross, Gordon & Bagnell 2011, §3)."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check(self)
        if not 0 <= self.p <= 1:
            raise ValueError(f"p: a share in [0, 1], not {self.p}.")

    def __call__(self, round_: int) -> float:
        """β of a round."""
        return float(self.p ** (round_ - 1))


@dataclass(frozen=True)
class Linear:
    """A ramp from 1 in round 1 to 0 after `rounds` rounds."""

    rounds: int = 5

    def __post_init__(self) -> None:
        check(self)
        if self.rounds < 1:
            raise ValueError(f"rounds: at least 1, not {self.rounds}.")

    def __call__(self, round_: int) -> float:
        """β of a round."""
        return max(0.0, 1 - (round_ - 1) / self.rounds)


@dataclass(frozen=True)
class DAggerConfig:
    """Hyper-parameters of DAgger.

    Args:
        rounds: Rounds of driving and labelling.
        rollout: T, steps of each environment in a round; a round costs T·N labels a member.
        updates: Gradient steps after each round, on all that was aggregated.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        entropy: Weight of an entropy bonus, in nats.
        weight_decay: Decoupled weight decay.
        beta: Share of steps that the teacher drives, by round.
        capacity: Examples kept of each member; beyond it a uniform sample of all that were seen.
        validation: Share of the episodes whose labels are held out, at least one; while a member has had a single
            episode, the share of its steps.
        best_round: End with the round of least error on all held-out labels, instead of the last.
    """

    rounds: Count = 10
    rollout: Count = 64
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    entropy: PerMember = 0.0
    weight_decay: NonNegative[PerMember] = 0.0
    beta: FirstRoundOnly | Exponential | Linear = FirstRoundOnly()
    capacity: Count = 100_000
    validation: Proper[float] = 0.1
    best_round: bool = False

    def __post_init__(self) -> None:
        check(self)
        if self.best_round and self.validation == 0:
            raise ValueError("best_round: needs held-out labels; set validation above 0.")


class DAgger:
    """Learn from the teacher's answers on the student's own states (Ross, Gordon & Bagnell 2011, algorithm 3.1).

    Both drive greedily, as the student will when it is deployed; the label is the mode of the teacher's distribution. A
    student that standardises does so by the statistics of all that it was trained on.

    Args:
        source: Where to drive.
        teacher: Who labels.
        student: The policy to train.
        config: Hyper-parameters.
        demonstrations: A start. They count as round 1: the student is fitted to them before its first drive.
        loss: `negative_log_likelihood` or `squared_error`; by default the first for choices, the second for a Box.

    Raises:
        ValueError: A number of the config does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: DAggerConfig | None = None,
        *,
        demonstrations: Demonstrations | None = None,
        loss: ImitationLoss | None = None,
    ) -> None:
        config, spec = config or DAggerConfig(), source.spec
        check_student(source, student, teacher)
        members, device = spec.members, spec.device
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        admit_steps(spec, {"batch_size": config.batch_size, "members": members}, seen=1)
        if demonstrations is not None and len(demonstrations.mask) != members:
            raise ValueError(f"demonstrations: of {len(demonstrations.mask)} members, the source has {members}.")
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.imitation = loss or default_loss(spec.action)
        self.driver = Mixture(Greedy(Privileged(teacher)), Greedy(student), torch.zeros(members, device=device))
        self.data = Dataset(members, config.capacity, Stream(spec.seed, "shuffle", device))
        self.held_out = Dataset(members, config.capacity, Stream(spec.seed, "held-out", device))
        self.split = Split(self.data, self.held_out, config.validation)
        # Of the episodes under way; environment n counts on by N.
        self.episode = torch.arange(spec.num_envs, device=device).repeat(members, 1)
        self.learner = imitator(student, self.imitation, source, config.entropy, config.lr, config.weight_decay)
        self.rounds = torch.zeros((), dtype=torch.int64)
        kept = config.rounds * self.learner.flat.nbytes if config.best_round else 0
        admit("the weights of every round", kept, {"rounds": config.rounds, "members": members}, device)
        self.snapshots = torch.zeros(config.rounds if config.best_round else 0, *self._weights().shape, device=device)
        steps = config.rollout * spec.num_envs
        self.progress = Progress(spec, config.rounds * steps, steps)  # every step is labelled
        self.start = int(demonstrations is not None)  # rounds that the demonstrations stand for
        if demonstrations is not None:
            self.progress.advance(0, demonstrations.labels.cpu())
            self._aggregate(demonstrations.examples, demonstrations.mask, demonstrations.episode)
            self.episode += int(demonstrations.episode.max()) + 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        alone = self.split.by_steps or (self.config.validation > 0 and self.source.spec.num_envs == 1)
        return (BY_STEPS,) if alone else ()

    def step(self) -> Metrics:
        """One round: drive, label, aggregate, fit."""
        if self.start and int(self.rounds) == 0:
            self._fit()
        beta = self.config.beta(int(self.rounds) + 1 + self.start)
        self.driver.beta.fill_(beta)
        rollout = self.source.collect(self.driver, self.config.rollout)
        action = labels(rollout, self.teacher, self.source.spec.action, rollout.memory[0])
        everything = torch.ones(action.shape[:2], dtype=torch.bool, device=action.device)
        self._aggregate(Examples(fold(rollout.obs), action), everything, numbered(rollout.starts, self.episode))
        self.progress.advance(action.shape[1], action.shape[1])
        metrics = self._fit()
        if self.config.best_round:
            self.snapshots[int(self.rounds)] = self._weights()
        self.rounds += 1
        if self.config.best_round and self.progress.finished:
            self._take_best()
        return {**metrics, "beta": self.driver.beta.clone()}

    def _aggregate(self, examples: Examples, mask: Tensor, episode: Tensor) -> None:
        trained = self.split.add(examples, mask, episode)
        self.policy.observe(examples.obs, trained)

    def _fit(self) -> Metrics:
        """`updates` gradient steps on the aggregate."""
        batches = self.data.batches(self.config.batch_size, self.config.updates)
        metrics = mean_metrics([self.learner(batch) for batch in batches])
        if self.config.validation > 0:
            metrics["held_out"] = held_out_error(self.policy, self.held_out, self.imitation)
        return metrics

    def _parts(self) -> list[Tensor]:
        """What the policy computes with, each [M, ...]: its parameters, and how it standardises observations."""
        norm = self.policy.body.normaliser
        return [self.learner.flat, *([] if norm is None else [norm.mean, norm.var, norm.floor])]

    def _weights(self) -> Tensor:
        """The parts in one tensor [M, P]."""
        return torch.cat([part.flatten(1) for part in self._parts()], 1)

    def _put_back(self, weights: Tensor) -> None:
        parts = self._parts()
        for part, saved in zip(parts, weights.split([part[0].numel() for part in parts], 1), strict=True):
            part.copy_(saved.view_as(part))

    @torch.no_grad()
    def _take_best(self) -> None:
        """Put back each member's round of least error on the held-out labels of all rounds."""
        errors = []
        for snapshot in self.snapshots:
            self._put_back(snapshot)
            errors.append(held_out_error(self.policy, self.held_out, self.imitation))
        best = torch.stack(errors).argmin(0)
        self._put_back(self.snapshots[best, torch.arange(len(best), device=best.device)])
