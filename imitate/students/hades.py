"""Behaviour distilled into a few pairs, by evolution. Letters: M members, S pairs, E episodes, D learnt numbers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, Positive, check, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream, integers, normal
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Source
from imitate.core.weak import Weak
from imitate.data.demonstrations import Demonstrations
from imitate.losses.imitation import default_loss
from imitate.nets.actor import Actor
from imitate.policies import Greedy
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.synthetic import Pairs, redraw

__all__ = ["HaDES", "HaDESConfig", "centred_ranks"]


@dataclass(frozen=True)
class HaDESConfig:
    """Hyper-parameters of HaDES, by default such as suit CartPole.

    Args:
        pairs: S, states with an action each.
        generations: Steps of evolution.
        plays: E, episodes of each candidate in a generation.
        sigma: σ, the standard deviation of a candidate's states (and actions) around the data set.
        lr: Learning rate of Adam for the data set.
        updates: Gradient steps of a clone, each on all pairs.
        clone_lr: Learning rate of a clone.
    """

    pairs: Count = 4
    generations: Count = 40
    plays: Count = 2
    sigma: Positive[float] = 0.3
    lr: NonNegative[float] = 0.1
    updates: Count = 50
    clone_lr: NonNegative[PerMember] = 1e-2

    def __post_init__(self) -> None:
        check(self)


class HaDES:
    """A few states and actions whose clones act well, found without a teacher (HaDES, Lupu et al. 2024).

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
        self.learner = Learner([self.pairs], Weak(self._towards), lr=config.lr)
        self.imitation = default_loss(spec.action)
        self.cloning = imitator(student, self.imitation, source, 0.0, config.clone_lr, 0.0)
        self.mutations = Stream(spec.seed, "mutations", spec.device)
        self.init = Stream(spec.seed, "init-clones", spec.device)
        self.seeds = Stream(spec.seed, "episodes")
        self.progress = Progress(spec, config.generations)

    @property
    def demonstrations(self) -> Demonstrations:
        """The data set, the same for each member."""
        return self.pairs.demonstrations(self.source.spec.members)

    def step(self) -> Metrics:
        """One generation."""
        members, sigma = self.source.spec.members, self.config.sigma
        half = normal(self.mutations.uniform(members // 2, self.learner.flat.shape[1]))
        epsilon = torch.cat([half, -half])
        error = self._clone(self.learner.flat + sigma * epsilon, members // 2)
        seed = int(integers(2**31, self.seeds.uniform(1, dtype=torch.float64)))
        returns = self.source.play(Greedy(self.policy), self.config.plays, seed).mean(1)
        self.learner((centred_ranks(returns) @ epsilon / (members * sigma)).unsqueeze(0))
        self._clone(self.learner.flat.expand(members, -1), members)
        self.progress.advance(1)
        return {"return": returns, "error": error}

    def _towards(self, direction: Tensor) -> tuple[Tensor, Metrics]:
        """The loss −⟨D, direction⟩ of the data set, whose gradient is the direction [1, D] reversed."""
        data = torch.cat([p.flatten(1) for p in self.pairs.parameters()], 1)
        return -(data * direction).sum(1), {}

    def _clone(self, data: Tensor, networks: int) -> Tensor:
        """Clone the members from data sets [M, D], beginning with so many fresh networks in turn; their errors [M]."""
        redraw(self.policy, self.init, networks)
        for moment in self.cloning.state_dict().values():
            moment.zero_()
        batch = self.pairs.of(data)
        for _ in range(self.config.updates - 1):
            self.cloning(batch)
        return self.cloning(batch)["error"].mean(1)


def centred_ranks(scores: Tensor) -> Tensor:
    """Ranks of scores [M] in [−½, ½] (Salimans et al. 2017); equal scores share theirs, so if all are it is 0."""
    less, more = (scores > scores.unsqueeze(1)).float(), (scores < scores.unsqueeze(1)).float()
    return (more - less).sum(1) / (2 * (len(scores) - 1))
