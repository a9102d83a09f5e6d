"""Demonstrations distilled into a few pairs, by gradients. Letters: M members, S pairs, B batch, R networks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from imitate.core import tree
from imitate.core.config import Count, NonNegative, Positive, check, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Source
from imitate.core.weak import Weak
from imitate.data.demonstrations import Demonstrations
from imitate.distributions.actions import Distribution
from imitate.losses.imitation import default_loss
from imitate.nets.action_heads import linear_of
from imitate.nets.actor import Actor
from imitate.students.behaviour_cloning import check_student
from imitate.students.synthetic import Pairs, redraw

__all__ = ["DatasetDistillation", "DatasetDistillationConfig", "distribution"]


@dataclass(frozen=True)
class DatasetDistillationConfig:
    """Hyper-parameters of dataset distillation.

    Args:
        pairs: S, states with an action each.
        steps: Gradient steps of the pairs.
        unroll: Gradient steps of a clone, each on all pairs, through which the gradient of the pairs goes back.
        networks: R, fresh networks of each member in a step.
        batch_size: Demonstrations that each of them is held to.
        lr: Learning rate of Adam for the pairs and for log η.
        clone_lr: η at first, the learning rate of a clone; it is learnt.
        max_grad_norm: Bound on the gradient's norm.
    """

    pairs: Count = 4
    steps: Count = 400
    unroll: Count = 20
    networks: Count = 8
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 0.02
    clone_lr: Positive[float] = 0.3
    max_grad_norm: Positive[float] = 1.0

    def __post_init__(self) -> None:
        check(self)


class DatasetDistillation:
    """A few pairs on which a clone learns what demonstrations teach (Wang et al. 2018, algorithm 1).

        θ_{k+1} = θ_k − η ∇ℓ(D̃, θ_k),   min over D̃, η of E_{θ_0} ℓ(D, θ_K)

    The gradient goes back through all K steps of the clone. Initial weights θ₀ are drawn anew in each step, so that the
    pairs teach any network of the architecture.

    Args:
        source: Gives the seed and the device, and is where clones are evaluated; no steps are taken in it.
        demonstrations: D, of each member.
        student: The network that is cloned, of M members, a multilayer perceptron. After each step it holds clones,
            each from a fresh initialisation.
        config: Hyper-parameters.

    Raises:
        ValueError: A number does not fit, the student is no multilayer perceptron, or there are no such pairs here.
    """

    @checked
    def __init__(
        self,
        source: Source,
        demonstrations: Demonstrations,
        student: Actor,
        config: DatasetDistillationConfig | None = None,
    ) -> None:
        config, spec = config or DatasetDistillationConfig(), source.spec
        check_student(source, student)
        if student.network is not None or not student.body.flat or student.architecture.normalise:
            raise ValueError("student: gradients go through a multilayer perceptron of ours, without normalise.")
        if len(demonstrations.mask) != spec.members:
            raise ValueError(f"demonstrations: of {len(demonstrations.mask)} members, the source has {spec.members}.")
        sizes = {"batch_size": config.batch_size, "networks": config.networks, "members": spec.members}
        admit_steps(spec, sizes, seen=1)
        self.source, self.policy, self.config = source, student, config
        self.imitation = default_loss(spec.action)
        self.data = Dataset(spec.members, demonstrations.mask.shape[1], Stream(spec.seed, "shuffle", spec.device))
        self.data.add(demonstrations.examples, demonstrations.mask)
        self.pairs = Pairs(spec, spec.members, config.pairs)
        with torch.no_grad():  # at first states of the demonstrations: equal ones would stay together
            self.pairs.obs.copy_(self.data.sample(config.pairs).obs)
        log_lr = torch.full((spec.members, 1, 1), math.log(config.clone_lr), device=spec.device)
        self.rate = nn.ParameterDict({"log": nn.Parameter(log_lr)})
        self.learner = Learner(
            [self.pairs, self.rate], Weak(self._loss), lr=config.lr, max_grad_norm=config.max_grad_norm
        )
        self.init = Stream(spec.seed, "init-clones", spec.device)
        count = spec.members * config.networks
        self.clones = Actor(spec.observation, spec.action, count, student.architecture, self.init)
        self.progress = Progress(spec, config.steps)
        self.progress.advance(0, demonstrations.labels.cpu())

    @property
    def demonstrations(self) -> Demonstrations:
        """The pairs of each member."""
        return self.pairs.demonstrations()

    def step(self) -> Metrics:
        """One step of the pairs and of η; then clones of them."""
        redraw(self.clones, self.init)
        metrics = self.learner(self.data.sample(self.config.batch_size * self.config.networks))
        redraw(self.policy, self.init)
        chain = _chain(self.policy)
        with torch.no_grad():
            for mine, learnt in zip(chain, self._cloned(self.policy, 1, through=False), strict=True):
                mine.copy_(learnt)
        self.progress.advance(1)
        return {**metrics, "clone_lr": self.rate["log"].detach().exp().flatten()}

    def _loss(self, batch: Examples) -> tuple[Tensor, Metrics]:
        """Error of R clones on B demonstrations each, of a batch [M, R·B]."""
        networks = self.config.networks
        real = tree.map(lambda x: x.unflatten(1, (networks, -1)).flatten(0, 1), batch)
        chain = self._cloned(self.clones, networks, through=True)
        error = self.imitation(distribution(self.clones, chain, real.obs), real.action)
        return error.unflatten(0, (-1, networks)).mean((1, 2)), {}

    def _cloned(self, actor: Actor, networks: int, *, through: bool) -> list[Tensor]:
        """Weights behind K gradient steps of so many networks a member, through which a gradient goes or not."""
        pairs = tree.map(lambda x: x.repeat_interleave(networks, 0), self.pairs.examples)
        rate = self.rate["log"].exp().repeat_interleave(networks, 0)
        weights = [p.detach().requires_grad_() for p in _chain(actor)]
        with torch.enable_grad():
            for _ in range(self.config.unroll):
                error = self.imitation(distribution(actor, weights, pairs.obs), pairs.action)
                grads = torch.autograd.grad(error.mean(1).sum(), weights, create_graph=through)
                weights = [w - rate * g for w, g in zip(weights, grads, strict=True)]
                if not through:
                    weights = [w.detach().requires_grad_() for w in weights]
        return weights


def distribution(actor: Actor, weights: Sequence[Tensor], obs: Tensor) -> Distribution:
    """What an actor of other weights would say, by operations that are twice differentiable.

    Args:
        actor: A multilayer perceptron of M members.
        weights: Weight and bias of each layer in turn, [M, I, O] and [M, 1, O].
        obs: [M, B, F].
    """
    x = actor.prepare(obs)
    for i in range(0, len(weights), 2):
        x = torch.baddbmm(weights[i + 1], x, weights[i])
        if i + 2 < len(weights):
            x = actor.body.activation(x)
    return actor.head.of(x, None)


def _chain(actor: Actor) -> list[Tensor]:
    """Weight and bias of each layer in turn."""
    return [*actor.body.chain, *linear_of(actor.head).parameters()]
