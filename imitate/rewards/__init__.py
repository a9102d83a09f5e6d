"""Reward models: rewards that are learnt or computed, for any reinforcement learning algorithm; see `Relabelled`."""

from imitate.core.types import RewardModel
from imitate.core.wrappers import Relabelled
from imitate.rewards.discriminator import Discriminator, DiscriminatorConfig

__all__ = ["Discriminator", "DiscriminatorConfig", "Relabelled", "RewardModel"]
