"""What gates judge a state by: a classifier of deviations, the doubt of an ensemble, the risk of failing.

Letters: T time, M members, N environments of one member, B batch, A actions, K networks of an ensemble.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core import tree
from imitate.core.actions import action_mask, flattened, observed, scaled, unit, unmasked
from imitate.core.config import Count, NonNegative, Proper, check
from imitate.core.learner import Learner, PerMember, per_member
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples
from imitate.core.sequence_replay import Sample, SequenceReplay
from imitate.core.types import Metrics, Obs, Rollout, Source, mean_metrics
from imitate.core.weak import Weak
from imitate.distributions.actions import Categorical, MultiCategorical
from imitate.losses.imitation import default_loss, discrepancy
from imitate.nets.actor import Actor
from imitate.nets.critic import Critic
from imitate.nets.target import TargetNetwork
from imitate_envs.base import Tuple

__all__ = ["Deviation", "Doubt", "Fit", "Risk"]


@dataclass(frozen=True)
class Fit:
    """How the model of a gate is fitted.

    Args:
        updates: Gradient steps behind each round.
        batch_size: Examples of one network in a gradient step.
        lr: Learning rate of Adam.
    """

    updates: Count = 300
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3

    def __post_init__(self) -> None:
        check(self)


class Deviation:
    """The probability that the student deviates from its teacher at a state (the safety policy of Zhang & Cho 2017).

        L = −E[y log c(s) + (1 − y) log(1 − c(s))],   y = 1[d(a, a*) > τ]

    d is `discrepancy`. Half of a batch are labels that the student was fitted to, and half are labels that it was not:
    of the first alone it deviates nowhere, once it has learnt them.

    Args:
        source: Where the student drives.
        student: Whose deviations are told.
        tau: τ.
        hidden: Widths of the hidden layers.
        fit: How it is fitted.
    """

    def __init__(self, source: Source, student: Actor, tau: float, hidden: Sequence[int], fit: Fit) -> None:
        spec = source.spec
        self.action, self.student, self.tau, self.fit = spec.action, student, tau, fit
        init = Stream(spec.seed, "init-deviation", spec.device)
        self.network = Critic(unmasked(spec.observation), spec.members, hidden, init=init)
        self.learner = Learner([self.network], Weak(self._loss), lr=fit.lr)

    def __call__(self, obs: Obs) -> Tensor:
        """Probabilities [M, B] at observations [M, B, ...]."""
        return self._logits(obs).sigmoid()

    def learn(self, data: Dataset, held_out: Dataset) -> Metrics:
        """Learn from labels; `deviates` is the share of the held-out ones that the student deviates from."""
        size = -(-self.fit.batch_size // 2)
        batches = zip(data.batches(size, self.fit.updates), held_out.batches(size, self.fit.updates), strict=True)
        found = mean_metrics([self.learner(pair) for pair in batches])
        return {"deviates": found["deviates"], "deviation_loss": found["loss"]}

    def _logits(self, obs: Obs) -> Tensor:
        values: Tensor = self.network(self.student.prepare(obs))
        return values

    def _loss(self, pair: tuple[Examples, Examples]) -> tuple[Tensor, Metrics]:
        fitted, others = (self._deviates(examples) for examples in pair)
        logits = torch.cat([self._logits(examples.obs) for examples in pair], 1)
        loss = F.binary_cross_entropy_with_logits(logits, torch.cat([fitted, others], 1), reduction="none")
        return loss.mean(1), {"deviates": others}

    @torch.no_grad()
    def _deviates(self, examples: Examples) -> Tensor:
        mine = self.student.distribution(examples.obs).mode
        return (discrepancy(self.action, mine, examples.action) > self.tau).float()


class Doubt:
    """How much K networks disagree that learn the same labels (Menda et al. 2019; Lakshminarayanan et al. 2017).

        v(s) = Σ_a Var_k π_k(a|s) of choices,   Σ_d Var_k μ_kd(s) of a Box, in half ranges

    The networks are those of M·K members: network k of member m is number m·K + k. They stand beside the student, so
    that what is deployed is one network. Where they began and the batches that they draw make them differ.

    Args:
        source: Where the student drives.
        student: Whose architecture they have, and whose view of an observation.
        heads: K.
        fit: How they are fitted.
    """

    def __init__(self, source: Source, student: Actor, heads: int, fit: Fit) -> None:
        spec = source.spec
        self.action, self.student, self.heads, self.fit = spec.action, student, heads, fit
        shape = replace(student.architecture, normalise=False)  # what the student has prepared is normalised
        init = Stream(spec.seed, "init-doubt", spec.device)
        self.networks = Actor(spec.observation, spec.action, spec.members * heads, shape, init)
        self.imitation = default_loss(spec.action)
        lr = per_member(fit.lr, "lr", spec.members, spec.device).repeat_interleave(heads)
        self.learner = Learner([self.networks], Weak(self._loss), lr=lr)

    @torch.no_grad()
    def __call__(self, obs: Obs) -> Tensor:
        """Variances [M, B] at observations [M, B, ...]."""
        prepared, mask = self._each(self.student.prepare(obs)), self._each(action_mask(obs))
        said = self.networks.on_features(prepared, mask)
        if isinstance(said, Categorical):
            answers = said.probs
        elif isinstance(said, MultiCategorical):
            answers = torch.cat([part.probs for part in said.parts], -1)
        else:
            answers = said.mode / unit(self.action, said.mode.device)[1]
        variance: Tensor = answers.unflatten(0, (-1, self.heads)).var(1, correction=0)
        return variance.sum(-1)

    def learn(self, data: Dataset) -> Metrics:
        """Learn from labels, each network from batches of its own."""
        batches = data.batches(self.fit.batch_size * self.heads, self.fit.updates)
        found = [self.learner(self._apart(batch))["loss"].unflatten(0, (-1, self.heads)) for batch in batches]
        return {"doubt_loss": torch.stack(found).mean((0, 2))}

    def _each(self, x: Tensor | None) -> Tensor | None:
        """The same for each network of a member: [M, B, ...] -> [M·K, B, ...]."""
        return tree.map(lambda leaf: leaf.repeat_interleave(self.heads, 0), x)

    def _apart(self, batch: Examples) -> Examples:
        """Examples of its own for each network of a member: [M, K·B, ...] -> [M·K, B, ...]."""
        prepared = Examples(self.student.prepare(batch.obs), batch.action, action_mask(batch.obs))
        return tree.map(lambda leaf: leaf.unflatten(1, (self.heads, -1)).flatten(0, 1), prepared)

    def _loss(self, batch: Examples) -> tuple[Tensor, Metrics]:
        said = self.networks.on_features(batch.obs, batch.extras)
        return self.imitation(said, batch.action).mean(1), {}


class Risk:
    """The discounted probability that an episode fails behind an action, if the student goes on (Hoque et al. 2021).

        ρ(s, a) = E[f + γ (1 − f) ρ⁻(s', π(s'))],   f: the step fails

    The paper learns the probability of success, and its risk is one less that. Both are the same where every episode
    fails or succeeds and γ is 1. A failure is a termination, so that tasks without a goal have a risk too. The target
    network ρ⁻ follows by 0.5 % a gradient step. The loss is the cross-entropy, of the same minimum as a squared error,
    for ρ is in [0, 1].

    Args:
        source: Where the student drives.
        student: Who goes on.
        hidden: Widths of the hidden layers.
        fit: How it is fitted.
        gamma: γ.
        failure: A termination is a failure where its reward is less than this; None: wherever it is.
        capacity: Steps of a member that are remembered.
    """

    def __init__(
        self,
        source: Source,
        student: Actor,
        hidden: Sequence[int],
        fit: Fit,
        gamma: Proper[float],
        failure: float | None,
        capacity: int,
    ) -> None:
        spec = source.spec
        self.action, self.student, self.fit, self.failure = spec.action, student, fit, failure
        both = Tuple((unmasked(spec.observation), flattened(spec.action)))
        init = Stream(spec.seed, "init-risk", spec.device)
        self.network = Critic(both, spec.members, hidden, init=init)
        with torch.no_grad():  # it begins near 0: what is bootstrapped from a half takes long to fall
            self.network.value.bias.fill_(-4.0)
        self.target = TargetNetwork(self.network, 0.005)
        self.learner = Learner([self.network], Weak(self._loss), lr=fit.lr)
        gammas = torch.full((spec.members,), gamma, device=spec.device)
        self.replay = SequenceReplay(capacity, source, Stream(spec.seed, "risk", spec.device), gammas)

    @torch.no_grad()
    def __call__(self, obs: Obs, action: Tensor) -> Tensor:
        """ρ [M, B] of actions at observations [M, B, ...]."""
        return self._logits(self.network, obs, action).sigmoid()

    def learn(self, rollout: Rollout) -> Metrics:
        """Learn from the steps of this and earlier rollouts."""
        failed = rollout.terminated if self.failure is None else rollout.terminated & (rollout.reward < self.failure)
        self.replay.add(replace(rollout, reward=failed.float()))
        losses = []
        for batch in self.replay.batches(self.fit.batch_size, self.fit.updates):
            losses.append(self.learner(batch)["loss"])
            self.target.update()
        return {"risk_loss": torch.stack(losses).mean(0), "failed": failed.float().mean((0, 2))}

    def _logits(self, network: Critic, obs: Obs, action: Tensor) -> Tensor:
        values: Tensor = network(network.body.prepare((observed(obs), scaled(self.action, action))))
        return values

    def _loss(self, batch: Sample) -> tuple[Tensor, Metrics]:
        with torch.no_grad():
            action = self.student.distribution(batch.next_obs).mode
            later = self._logits(self.target.network, batch.next_obs, action).sigmoid()
            goal = batch.reward + batch.discount * later
        logits = self._logits(self.network, batch.obs, batch.action)
        return F.binary_cross_entropy_with_logits(logits, goal, reduction="none").mean(1), {}
