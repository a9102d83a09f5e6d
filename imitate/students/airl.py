"""Adversarial inverse reinforcement learning: a reward and its shaping learnt apart, PPO for the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from imitate.baselines.ppo import PPO, PPOConfig, architecture_of
from imitate.core.config import check, checked
from imitate.core.progress import Progress
from imitate.core.types import Metrics, Rollout, Source
from imitate.core.weak import Weak
from imitate.core.wrappers import Recorded, Relabelled
from imitate.data.demonstrations import Demonstrations
from imitate.nets.actor import Actor, fresh
from imitate.rewards.shaped import ShapedReward, ShapedRewardConfig

__all__ = ["AIRL", "AIRLConfig"]


@dataclass(frozen=True)
class AIRLConfig:
    """Hyper-parameters of AIRL.

    Args:
        ppo: Of the policy; its steps are those of the run.
        reward: Of the reward.
    """

    ppo: PPOConfig = field(default_factory=lambda: PPOConfig(steps=300_000))
    reward: ShapedRewardConfig = field(default_factory=ShapedRewardConfig)

    def __post_init__(self) -> None:
        check(self)


class AIRL:
    """Imitate by a learnt reward that can be carried to other dynamics (Fu, Luo & Levine 2018, algorithm 1).

    The reward learns from each rollout before PPO does, so that the policy whose probabilities it asks for is who
    acted. `imitate.rewards.Unshaped(airl.reward)` is what has been learnt, without the shaping.

    Args:
        source: Where to act.
        demonstrations: The teacher's steps, of which it is known what followed.
        config: Hyper-parameters.
        policy: The policy to train, for instance a cloned one; by default a fresh one.

    Raises:
        ValueError: The demonstrations are of other members, or do not tell what followed, the policy has a memory, or a
            number of the config does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        demonstrations: Demonstrations,
        config: AIRLConfig | None = None,
        *,
        policy: Actor | None = None,
    ) -> None:
        self.source, self.config = source, config or AIRLConfig()
        ppo = self.config.ppo
        student = fresh(source, architecture_of(ppo)) if policy is None else policy
        self.reward = ShapedReward(source.spec, demonstrations, student, self.config.reward, gamma=ppo.gamma)
        self.relabelled = Relabelled(Recorded(source, Weak(self._witness)), self.reward)
        self.rl = PPO(self.relabelled, ppo, policy=student)
        self.progress.advance(0, demonstrations.labels.cpu())
        self._learnt: Metrics = {}

    @property
    def policy(self) -> Actor:
        """What it has learnt so far."""
        return self.rl.policy

    @property
    def progress(self) -> Progress:
        """That of PPO; the labels are the demonstrated steps."""
        return self.rl.progress

    def step(self) -> Metrics:
        """One rollout; the reward learns from it, then PPO from the reward."""
        metrics = self.rl.step()
        learnt, self._learnt = self._learnt, {}
        return metrics | {f"reward_{name}": value for name, value in learnt.items()}

    def _witness(self, rollout: Rollout) -> None:
        self._learnt = self.reward.learn(rollout)
