"""Finetuning: reinforcement learning that begins at a policy of somebody else's, and does not lose what it can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from imitate import nets
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core.config import NonNegative, Positive, Share, checked
from imitate.core.learner import Learner, PerMember
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.terms import Term
from imitate.core.types import Metrics, Rollout, Source
from imitate.core.weak import Weak
from imitate.distributions.actions import Categorical
from imitate.nets.action_heads import linear_of
from imitate.nets.actor import Actor
from imitate.teachers.functions import spaces_of
from imitate.teachers.sb3 import from_sb3
from imitate_envs.base import Discrete

__all__ = ["Finetuning", "FinetuningConfig", "finetune", "soften"]

_BISECTIONS = 24  # of an interval [0, 1], to the precision of a float32


@dataclass(frozen=True)
class FinetuningConfig(PPOConfig):
    """As `PPOConfig`, with a warm-up of the critic; steps are small, and bounded by the divergence.

    `normalise_obs` lets the statistics of the actor's observations learn on. Those of a clone are of few observations,
    and would change what it does at once, so by default they stay as they are.

    Args:
        warmup: Environment steps of one member in which the critic alone learns; whole rollouts.
        soften: Share of the greatest entropy that choices have at least when the actor begins; see `soften`. A clone of
            few labels is sure of everything, and what is sure explores nothing and has next to no gradient.
    """

    lr: NonNegative[PerMember] = 3e-4
    target_kl: Positive[float] | None = 0.01
    warmup: NonNegative[int] = 4_096
    soften: Share[float] = 0.0


class Finetuning:
    """Go on with PPO from an actor that was cloned, distilled or trained elsewhere.

    The actor is copied, with its statistics of observations, and gets a fresh critic. Advantages of a critic that knows
    nothing are noise, which an able actor can only lose by. So the critic learns alone first, from rollouts of the
    actor as it is. `target_kl` then bounds how far each rollout moves the actor. An actor that is to be softened first
    plays one more rollout, whose states tell the temperature.

    Args:
        source: Where it acts.
        policy: Where to begin, of as many members as the source or of one.
        config: Hyper-parameters; the network fields shape the critic.
        terms: What is added to the loss, such as the distance to a teacher.

    Raises:
        ValueError: The policy is of other members or spaces, or a number of the config does not fit.
    """

    @checked
    def __init__(
        self, source: Source, policy: Actor, config: FinetuningConfig | None = None, *, terms: Sequence[Term] = ()
    ) -> None:
        self.source, self.config = source, config or FinetuningConfig()
        if self.config.soften and not isinstance(source.spec.action, Discrete):
            raise ValueError(f"soften: only choices are softened, and actions here are {source.spec.action}; pass 0.")
        self.rl = PPO(source, self.config, policy=_copied(policy, source), terms=terms)
        # Of PPO's own loss, in which the values have no part in what the actor minimises.
        self.critic_learner = Learner(
            [self.rl.critic],
            Weak(self.rl._loss),
            lr=self.config.lr,
            max_grad_norm=self.config.max_grad_norm,
            epsilon=self.rl.learner.epsilon,
        )

    @property
    def policy(self) -> Actor:
        """What it has learnt so far."""
        return self.rl.policy

    @property
    def progress(self) -> Progress:
        """That of PPO."""
        return self.rl.progress

    def step(self) -> Metrics:
        """One iteration of PPO; of its critic alone in the warm-up."""
        if self.config.soften and int(self.progress.steps) == 0:
            rollout = self.source.collect(self.policy, self.config.rollout)
            soften(self.policy, rollout, self.config.soften)
            self.progress.advance(self.config.rollout * self.source.spec.num_envs)
        warm = int(self.progress.steps) >= self.config.warmup
        return self.rl.step(None if warm else self.critic_learner)


@torch.no_grad()
def soften(policy: Actor, rollout: Rollout, share: float) -> None:
    """Divide the logits of each member by its temperature, so that it is less sure, and chooses the same when greedy.

    The temperature τ ≥ 1 is the least one at which the mean entropy is a share of the greatest, on the states of a
    rollout of the policy. The mean entropy grows with τ, so that bisection finds it.

    Args:
        policy: An actor that makes one choice of A, with a head of ours. It is changed in place.
        rollout: Its own, [T, M, N].
        share: Of the greatest mean entropy, that of uniform choices.
    """
    choice = policy.unroll(rollout.obs, rollout.memory, rollout.starts)[0]
    assert isinstance(choice, Categorical)
    logits = choice.logits
    wanted = share * logits.isfinite().sum(-1).log().mean((0, 2))  # what a mask forbids is no choice

    def enough(inverse: Tensor) -> Tensor:
        return Categorical(logits * inverse.view(-1, 1, 1)).entropy().mean((0, 2)) >= wanted

    most = torch.ones(policy.members, dtype=logits.dtype, device=logits.device)  # of 1/τ
    least = torch.where(enough(most), most, 0.5**_BISECTIONS)
    for _ in range(_BISECTIONS):
        middle = (least + most) / 2
        soft = enough(middle)
        least, most = torch.where(soft, middle, least), torch.where(soft, most, middle)
    for parameter in linear_of(policy.head).parameters():
        parameter.mul_(least.view(-1, *[1] * (parameter.dim() - 1)))


@checked
def finetune(
    policy: Any,
    source: Source,
    config: FinetuningConfig | None = None,
    *,
    vec_normalize: Any = None,
    terms: Sequence[Term] = (),
) -> Finetuning:
    """Finetuning of whatever there is, ready for `imitate.run`.

    Args:
        policy: An actor, the folder of a run or of a saved policy, a model of Stable-Baselines3 or the path of its
            `.zip`. It may have been made for another environment, of the same spaces.
        source: Where to go on.
        config: Hyper-parameters.
        vec_normalize: Of a model of Stable-Baselines3: its VecNormalize, or the path of its `.pkl`.
        terms: As of `Finetuning`.

    Raises:
        FileNotFoundError: There is no such file or folder.
        ValueError: It cannot be read, has no actor that a gradient trains, or does not fit the source.
    """
    return Finetuning(source, actor_of(policy, source, vec_normalize), config, terms=terms)


def actor_of(policy: Any, source: Source, vec_normalize: Any = None) -> Actor:
    """The actor that `finetune` begins at; arguments and errors are the same."""
    path = isinstance(policy, (str, Path))
    foreign = Path(policy).suffix == ".zip" if path else hasattr(policy, "observation_space")
    if vec_normalize is not None and not foreign:
        raise ValueError("vec_normalize: only a model of Stable-Baselines3 takes one.")
    if path and not Path(policy).exists():
        raise FileNotFoundError(f"policy: there is no file or directory '{policy}'.")
    if foreign:
        return from_sb3(policy, vec_normalize, device=source.spec.device)
    found = nets.load(policy, source.spec.device) if path else policy
    if not isinstance(found, Actor):
        raise ValueError(
            f"policy: a {type(found).__name__} is no actor that a policy gradient trains; distil it into one first."
        )
    return found


def _copied(policy: Actor, source: Source) -> Actor:
    """An actor as another one, of the members of a source."""
    spec = source.spec
    if policy.members not in (1, spec.members):
        raise ValueError(f"policy: has {policy.members} members, the source {spec.members}; one serves all.")
    if policy.network is not None:
        raise ValueError("policy: a network of your own cannot be built again; train it itself, PPO(policy=...).")
    for name, wanted in zip(("observation", "action"), spaces_of(source), strict=True):
        mine = getattr(policy, name)
        if str(mine) != str(wanted):
            raise ValueError(f"policy: made for {name}s {mine}, but {spec.id} gives {wanted}.")
    init = Stream(spec.seed, "init", spec.device)
    copy = Actor(policy.observation, policy.action, spec.members, policy.architecture, init, env=spec.id)
    state = policy.state_dict()
    copy.load_state_dict({name: value.expand(spec.members, *value.shape[1:]) for name, value in state.items()})
    return copy
