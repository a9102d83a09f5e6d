"""Dataset aggregation. Letters: T time, M members, N environments of one member, B batch, P parameters, R rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.learner import PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples
from imitate.core.types import Metrics, Source, fold, mean_metrics
from imitate.data.demonstrations import Demonstrations
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, default_loss
from imitate.nets.policy_network import NetworkPolicy
from imitate.policies import Greedy, Mixture
from imitate.students.behaviour_cloning import check_members, held_out_error, hold_out, imitator

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
        validation: Share of the labels held out.
        best_round: End with the round of least error on all held-out labels, instead of the last.
    """

    rounds: int = 10
    rollout: int = 64
    updates: int = 500
    batch_size: int = 64
    lr: PerMember = 1e-3
    entropy: PerMember = 0.0
    weight_decay: PerMember = 0.0
    beta: FirstRoundOnly | Exponential | Linear = FirstRoundOnly()
    capacity: int = 100_000
    validation: float = 0.1
    best_round: bool = False


class DAgger:
    """Learn from the teacher's answers on the student's own states (Ross, Gordon & Bagnell 2011, algorithm 3.1).

    Both drive greedily, as the student will when it is deployed; the label is the mode of the teacher's distribution.

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

    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: NetworkPolicy,
        config: DAggerConfig | None = None,
        *,
        demonstrations: Demonstrations | None = None,
        loss: ImitationLoss | None = None,
    ) -> None:
        config = config or DAggerConfig()
        for name in ("rounds", "rollout", "updates", "batch_size"):
            if getattr(config, name) < 1:
                raise ValueError(f"{name}: at least 1, not {getattr(config, name)}.")
        if not 0 <= config.validation < 1:
            raise ValueError(f"validation: a share in [0, 1), not {config.validation}.")
        if config.best_round and config.validation == 0:
            raise ValueError("best_round: needs held-out labels; set validation above 0.")
        check_members(source, student, teacher)
        members, device = source.members, source.device
        if demonstrations is not None and len(demonstrations.mask) != members:
            raise ValueError(f"demonstrations: of {len(demonstrations.mask)} members, the source has {members}.")
        self.source, self.teacher, self.policy, self.config = source, teacher, student, config
        self.imitation = loss or default_loss(source.action)
        self.driver = Mixture(Greedy(teacher), Greedy(student), torch.zeros(members, device=device))
        self.data = Dataset(members, config.capacity, Stream(source.seed, "shuffle", device))
        self.held_out = Dataset(members, config.capacity, Stream(source.seed, "held-out", device))
        self.entropy = per_member(config.entropy, "entropy", members, device)
        self.learner = imitator(student, self.imitation, self.entropy, config.lr, config.weight_decay)
        self.rounds = torch.zeros((), dtype=torch.int64)
        self.snapshots = torch.zeros(config.rounds if config.best_round else 0, *self._weights().shape, device=device)
        self.steps = torch.zeros((), dtype=torch.int64)
        self.labels = torch.zeros(members, dtype=torch.int64)
        self.start = int(demonstrations is not None)  # rounds that the demonstrations stand for
        if demonstrations is not None:
            self.labels += demonstrations.labels.cpu()
            self._aggregate(demonstrations.examples, demonstrations.mask)

    @property
    def budget(self) -> int:
        """Environment steps of a member, all of them labelled."""
        return self.config.rounds * self.config.rollout * self.source.num_envs

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return int(self.rounds) >= self.config.rounds

    def step(self) -> Metrics:
        """One round: drive, label, aggregate, fit."""
        if self.start and int(self.rounds) == 0:
            self._fit()
        beta = self.config.beta(int(self.rounds) + 1 + self.start)
        self.driver.beta.fill_(beta)
        obs = fold(self.source.collect(self.driver, self.config.rollout).obs)
        with torch.no_grad():
            examples = Examples(obs, self.teacher.distribution(obs).mode)
        self._aggregate(examples, torch.ones(obs.shape[:2], dtype=torch.bool, device=obs.device))
        self.labels += obs.shape[1]
        self.steps += obs.shape[1]
        metrics = self._fit()
        if self.config.best_round:
            self.snapshots[int(self.rounds)] = self._weights()
        self.rounds += 1
        if self.config.best_round and self.finished:
            self._take_best()
        return {**metrics, "beta": self.driver.beta.clone()}

    def _aggregate(self, examples: Examples, mask: Tensor) -> None:
        hold_out(self.data, self.held_out, examples, mask, self.config.validation)
        if self.policy.normaliser is not None:
            self.policy.normaliser.update(self.data.sample(examples.obs.shape[1]).obs)

    def _fit(self) -> Metrics:
        """`updates` gradient steps on the aggregate."""
        batches = self.data.batches(self.config.batch_size, self.config.updates)
        metrics = mean_metrics([self.learner(batch) for batch in batches])
        if self.config.validation > 0:
            metrics["held_out"] = held_out_error(self.policy, self.held_out, self.imitation)
        return metrics

    def _parts(self) -> list[Tensor]:
        """What the policy computes with, each [M, ...]: its parameters, and how it standardises observations."""
        norm = self.policy.normaliser
        return [self.learner.flat, *([] if norm is None else [norm.mean, norm.var])]

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
