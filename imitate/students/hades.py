"""Behaviour distilled into a few pairs, by evolution. Letters: M members, S pairs, E episodes, D learnt numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, Positive, check, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream, integers, normal
from imitate.core.progress import Progress
from imitate.core.replay import Examples
from imitate.core.types import Metrics, Source
from imitate.data.demonstrations import Demonstrations
from imitate.losses.imitation import default_loss
from imitate.nets.actor import Actor
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.synthetic import Pairs

__all__ = ["HaDES", "HaDESConfig", "centred_ranks"]


@dataclass(frozen=True)
class HaDESConfig:
    """Hyper-parameters of HaDES.

    Args:
        pairs: S, states with an action each.
        generations: Steps of evolution.
        episodes: E, of each candidate in a generation.
        sigma: σ, the standard deviation of a candidate's states (and actions) around the data set.
        lr: Learning rate of Adam for the data set.
        updates: Gradient steps of a clone, each on all pairs.
        clone_lr: Learning rate of a clone.
    """

    pairs: Count = 4
    generations: Count = 100
    episodes: Count = 4
    sigma: Positive[float] = 0.1
    lr: NonNegative[float] = 0.05
    updates: Count = 100
    clone_lr: NonNegative[PerMember] = 5e-3

    def __post_init__(self) -> None:
        check(self)


class HaDES:
    """A few states and actions whose clones act well, found without a teacher (Lupu et al. 2024, §4).

        D ← D + Adam(1/(Mσ) Σᵢ F(D + σεᵢ) εᵢ)

    A member is a candidate D + σεᵢ: a fresh network is cloned from it, and F is the rank of its return (evolution
    strategies, Salimans et al. 2017, algorithm 1, with mirrored ε and centred ranks). So a generation is one batch of
    clones and one batch of episodes. Two mirrored candidates begin with the same network, and play different episodes.

    Args:
        source: Where clones act; each of its members is a candidate, so their number is even.
        student: The network that is cloned, of M members; its weights are drawn anew in each generation. After each
            step it holds clones of the data set itself, from M fresh initialisations.
        config: Hyper-parameters.

    Raises:
        ValueError: A number does not fit, the members are odd, or there are no such pairs in the environment.
    """

    @checked
    def __init__(self, source: Source, student: Actor, config: HaDESConfig | None = None) -> None:
        config, spec = config or HaDESConfig(), source.spec
        check_student(source, student)
        if spec.members % 2:
            raise ValueError(f"members: {spec.members} candidates cannot mirror each other; take an even number.")
        if student.network is not None:
            raise ValueError("student: a network of your own cannot be drawn anew; take one of an `Architecture`.")
        self.source, self.policy, self.config = source, student, config
        self.pairs = Pairs(spec, 1, config.pairs)
        self.learner = Learner([self.pairs], _nothing, gradient=_ascent, lr=config.lr)
        self.cloning = imitator(student, default_loss(spec.action), source, 0.0, config.clone_lr, 0.0)
        self.mutations = Stream(spec.seed, "mutations", spec.device)
        self.init = Stream(spec.seed, "init-clones", spec.device)
        self.seeds = Stream(spec.seed, "episodes")
        self.progress = Progress(spec, config.generations)

    @property
    def demonstrations(self) -> Demonstrations:
        """The data set, the same for each member."""
        return self.pairs.demonstrations(0, self.source.spec)

    def step(self) -> Metrics:
        """One generation."""
        members, flat = self.source.spec.members, self.learner.flat
        half = normal(self.mutations.uniform(members // 2, flat.shape[1]))
        epsilon = torch.cat([half, -half])
        error = self._clone(flat + self.config.sigma * epsilon, members // 2)
        seed = int(integers(2**31, self.seeds.uniform(1, dtype=torch.float64)))
        returns = self.source.play(self.policy, self.config.episodes, seed).mean(1)
        self.learner((centred_ranks(returns) @ epsilon / (members * self.config.sigma)).unsqueeze(0))
        self._clone(flat.expand(members, -1), members)
        self.progress.advance(1)
        return {"return": returns, "error": error}

    def _clone(self, data: Tensor, networks: int) -> Tensor:
        """Clone the student's members from data sets [M, D], and so many fresh networks; the last error [M]."""
        spec, student = self.source.spec, self.policy
        new = Actor(spec.observation, spec.action, networks, student.architecture, self.init)
        with torch.no_grad():
            for mine, theirs in zip(student.parameters(), new.parameters(), strict=True):
                mine.copy_(theirs.repeat(spec.members // networks, *(1,) * (theirs.dim() - 1)))
            for moment in (self.cloning.mean, self.cloning.square, self.cloning.count):
                moment.zero_()
        batch = self._examples(data)
        metrics = [self.cloning(batch) for _ in range(self.config.updates)]
        return metrics[-1]["error"].mean(1)

    def _examples(self, data: Tensor) -> Examples:
        """Rows [M, D] of numbers as pairs [M, S, ...]."""
        shapes = [p.shape[1:] for p in self.pairs.parameters()]
        found = [part.unflatten(1, shape) for part, shape in zip(data.split([s.numel() for s in shapes], 1), shapes, strict=True)]
        action = found[1] if len(found) > 1 else self.pairs.action.expand(len(data), -1)
        return Examples(found[0], action)


def centred_ranks(scores: Tensor) -> Tensor:
    """Ranks in [−½, ½] of scores [M] (Salimans et al. 2017, §2.1); equal scores share theirs, and all equal are 0."""
    above = (scores.unsqueeze(1) > scores).sum(1) - (scores.unsqueeze(1) < scores).sum(1)
    return above / (2 * (len(scores) - 1))


def _ascent(grad: Tensor) -> tuple[Tensor, Metrics, list[Tensor]]:
    raise NotImplementedError


def _nothing(grad: Tensor) -> tuple[Tensor, Metrics]:
    raise NotImplementedError
