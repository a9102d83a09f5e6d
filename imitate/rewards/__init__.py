"""Reward models: rewards that are learnt or computed, for any reinforcement learning algorithm; see `Relabelled`.

Pseudo-rewards are functions of what a teacher and its student say of a step; see `imitate.students.Row`.
"""

from imitate.core.types import RewardModel
from imitate.core.wrappers import Relabelled
from imitate.rewards.discriminator import Discriminator, DiscriminatorConfig
from imitate.rewards.pseudo import (
    Labelled,
    PseudoReward,
    log_likelihood,
    minus_cross_entropy,
    minus_reverse_cross_entropy,
    teacher_value,
)
from imitate.rewards.shaped import ShapedReward, ShapedRewardConfig, Unshaped

__all__ = [
    "Discriminator",
    "DiscriminatorConfig",
    "Labelled",
    "PseudoReward",
    "Relabelled",
    "RewardModel",
    "ShapedReward",
    "ShapedRewardConfig",
    "Unshaped",
    "log_likelihood",
    "minus_cross_entropy",
    "minus_reverse_cross_entropy",
    "teacher_value",
]
