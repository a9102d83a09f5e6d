"""Generative adversarial imitation: a discriminator for a reward, PPO for the rest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from imitate.baselines.ppo import PPO, PPOConfig, architecture_of
from imitate.core.config import check, checked
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Source
from imitate.core.wrappers import Relabelled
from imitate.data.demonstrations import Demonstrations
from imitate.losses.adversarial import positive
from imitate.nets.actor import Actor, fresh
from imitate.rewards.discriminator import Discriminator, DiscriminatorConfig

__all__ = ["GAIL", "GAILConfig"]


@dataclass(frozen=True)
class GAILConfig:
    """Hyper-parameters of GAIL.

    Args:
        ppo: Of the policy; its steps are those of the run.
        discriminator: Of the reward.
    """

    ppo: PPOConfig = field(default_factory=lambda: PPOConfig(steps=300_000))
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        check(self)


class GAIL:
    """Match a teacher's occupancy of states and actions with a learnt reward (Ho & Ermon 2016, algorithm 1).

    Demonstrations are all that is asked of the teacher; the environment's rewards are not looked at.

    Args:
        source: Where to act.
        demonstrations: The teacher's steps.
        config: Hyper-parameters.
        policy: The policy to train, for instance a cloned one; by default a fresh one.
        reward: Of the discriminator's logits, see `Discriminator`.

    Raises:
        ValueError: The demonstrations are of other members, or a number of the config does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        demonstrations: Demonstrations,
        config: GAILConfig | None = None,
        *,
        policy: Actor | None = None,
        reward: Callable[[Tensor], Tensor] = positive,
    ) -> None:
        self.source, self.config = source, config or GAILConfig()
        self.reward = Discriminator(
            source.spec, demonstrations, self.config.discriminator, reward=reward, gamma=self.config.ppo.gamma
        )
        self.relabelled = Relabelled(source, self.reward)
        student = fresh(source, architecture_of(self.config.ppo)) if policy is None else policy
        self.rl = PPO(self.relabelled, self.config.ppo, policy=student)
        self.progress.advance(0, demonstrations.labels.cpu())

    @property
    def policy(self) -> Actor:
        """What it has learnt so far."""
        return self.rl.policy

    @property
    def progress(self) -> Progress:
        """That of PPO; the labels are the demonstrated steps."""
        return self.rl.progress

    def step(self) -> Metrics:
        """One iteration of PPO on the learnt reward, then of the reward on what PPO did."""
        metrics = self.rl.step()
        assert self.relabelled.rollout is not None
        learnt = self.reward.learn(self.relabelled.rollout)
        return metrics | {f"reward_{name}": value for name, value in learnt.items()}
