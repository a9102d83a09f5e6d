"""Peers that teach each other while each learns from rewards: terms of PPO and of DQN, members in circles of K.

    policy = imitate.nets.policy(source)
    PPO(source, config, policy=policy, terms=[Mutual(policy, weight=0.1)])

Within a circle members are no replications of each other: an interval is over circles.

Letters: M members, B batch, K members of a circle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from imitate.core.config import Count, NonNegative, checked
from imitate.core.learner import PerMember
from imitate.core.terms import Schedule
from imitate.core.types import Metrics, Obs, Rollout
from imitate.distributions.actions import Distribution
from imitate.losses.distillation import DistillationLoss, forward_kl
from imitate.nets.actor import Actor
from imitate.nets.q_network import QNetwork
from imitate.nets.target import TargetNetwork
from imitate.policies.peers import Peers, neighbours

__all__ = ["Codistil", "Dual", "Mutual", "advantage_gate", "value_of"]

Network = Actor | QNetwork


class Mutual:
    """A term: the distance from what the peers say at the moment (Zhang et al. 2018, §3.3).

        L_i = L_RL + w/(K−1) Σ_{j≠i} KL(p_j ‖ p_i)

    The peers' answers are averaged first, which has the same gradient, see `mean_of`. All members step at once; in the
    paper one after the other.

    Args:
        policy: The policy that learns.
        weight: w; a number, one a member, or a schedule.
        size: K.
        loss: Of peers and member, as of `PolicyDistillation`. Only for a KL or cross-entropy from the peers is the mean
            of answers the mean of losses.
        temperature: Of the loss.

    Raises:
        ValueError: The members do not form circles of K, or the policy has a memory.
    """

    @checked
    def __init__(
        self,
        policy: Network,
        weight: PerMember | Schedule = 0.1,
        *,
        size: Count = 2,
        loss: DistillationLoss = forward_kl,
        temperature: float = 1.0,
    ) -> None:
        _check(temperature)
        self.peers, self.weight, self.loss, self.temperature = Peers(policy, size), weight, loss, temperature

    def prepare(self, rollout: Rollout) -> None:
        """Nothing: the peers are asked anew at every step of learning."""

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """The distance [M, B]."""
        return self.loss(self.peers.distribution(batch.obs), distribution, self.temperature)


class Codistil:
    """A term: the distance from what copies of the peers say that are some updates old (Anil et al. 2018, algorithm 1).

        L_i = L_RL + w KL(1/(K−1) Σ_{j≠i} p_j^stale ‖ p_i)

    The paper switches the term on after a burn-in: `Linear(0.0, w, steps=1, begin=...)`.

    Args:
        policy: The policy that learns.
        weight: w; a number, one a member, or a schedule.
        size: K.
        every: Gradient steps between two exchanges of copies.
        loss: As of `Mutual`.
        temperature: Of the loss.

    Raises:
        ValueError: The members do not form circles of K, or the policy has a memory.
    """

    @checked
    def __init__(
        self,
        policy: Network,
        weight: PerMember | Schedule = 0.1,
        *,
        size: Count = 2,
        every: Count = 100,
        loss: DistillationLoss = forward_kl,
        temperature: float = 1.0,
    ) -> None:
        _check(temperature)
        self.stale = TargetNetwork(policy, every=every)
        self.peers = Peers(self.stale.network, size)
        self.weight, self.loss, self.temperature = weight, loss, temperature

    def prepare(self, rollout: Rollout) -> None:
        """Nothing: the copies are asked at every step of learning."""

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """The distance [M, B]."""
        return self.loss(self.peers.distribution(batch.obs), distribution, self.temperature)

    def learn(self, batch: Any) -> Metrics:
        """Count a step of the policy, and exchange copies if it is time."""
        self.stale.update()
        return {}


Gate = Callable[[Tensor], Tensor]  # V of the peer − V of the member, [M, B] -> weight [M, B]


@checked
def advantage_gate(alpha: NonNegative[float] = 0.5, most: float = 10.0) -> Gate:
    """The weight exp(α (Ṽ − V)), at most `most` (Lai et al. 2020): 1 for any state where α = 0.

    The theorem of the paper is of the step function instead, `lambda gap: (gap > 0).float()`.

    Args:
        alpha: α, in units of 1/return.
        most: Bound that keeps the loss finite.
    """
    return lambda gap: (alpha * gap).exp().clamp(max=most)


class Dual:
    """A term: the distance from the next peer on the states that the peer visits, where the peer does better.

        L_i = L_RL + w E_{s∼π̃}[g(Ṽ(s) − V(s)) KL(π̃(·|s) ‖ π_i(·|s))],   g = exp(α ·) by default

    π̃ and Ṽ are policy and value of the peer, the next one in the circle. The states are those of the peer's minibatch.

    Source: Lai, Zha, Li & Hu (2020), dual policy distillation. There the learners take turns between rewards and
    distillation; here both are one loss.

    Args:
        policy: The policy that learns.
        value: V of each member, observations [M, B, ...] -> [M, B]: `value_of(policy, critic)` of an actor and its
            critic.
        weight: w; a number, one a member, or a schedule.
        size: K.
        gate: g.
        loss: Of peer and member.
        temperature: Of the loss.

    Raises:
        ValueError: The members do not form circles of K, or the policy has a memory.
    """

    @checked
    def __init__(
        self,
        policy: Network,
        value: Callable[[Obs], Tensor],
        weight: PerMember | Schedule = 0.1,
        *,
        size: Count = 2,
        gate: Gate | None = None,
        loss: DistillationLoss = forward_kl,
        temperature: float = 1.0,
    ) -> None:
        _check(temperature)
        Peers(policy, size)  # checks the circles
        self.distribution, self.value, self.size = policy.distribution, value, size
        self.gate = gate if gate is not None else advantage_gate()
        self.weight, self.loss, self.temperature = weight, loss, temperature

    def prepare(self, rollout: Rollout) -> None:
        """Nothing: the peer is asked at every step of learning."""

    def __call__(self, batch: Any, distribution: Distribution) -> Tensor:
        """The gated distance [M, B] at the states of the peer."""
        seen = neighbours(batch.obs, self.size)
        with torch.no_grad():
            told = neighbours(self.distribution(batch.obs), self.size)
            weight = self.gate(neighbours(self.value(batch.obs), self.size) - self.value(seen))
        return weight * self.loss(told, self.distribution(seen), self.temperature)


def value_of(policy: Actor, critic: nn.Module) -> Callable[[Obs], Tensor]:
    """V of observations [M, B, ...] -> [M, B], by a critic that takes what an actor has prepared."""
    return lambda obs: critic(policy.prepare(obs))


def _check(temperature: float) -> None:
    if temperature <= 0:
        raise ValueError(f"temperature: must be positive, not {temperature}.")
