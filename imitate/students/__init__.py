"""Students: one algorithm, one file. They differ in who drives, who labels, and which loss."""

from imitate.data.demonstrations import Demonstrations, demonstrate
from imitate.students.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from imitate.students.dagger import DAgger, DAggerConfig, Exponential, FirstRoundOnly, Linear
from imitate.students.distillation import PolicyDistillation, PolicyDistillationConfig
from imitate.students.features import Adversary, Hint, Match, every_second_layer, triple_loss
from imitate.students.gail import GAIL, GAILConfig
from imitate.students.kickstarting import Distil
from imitate.students.viper import VIPER, VIPERConfig

__all__ = [
    "GAIL",
    "VIPER",
    "Adversary",
    "BehaviourCloning",
    "BehaviourCloningConfig",
    "DAgger",
    "DAggerConfig",
    "Demonstrations",
    "Distil",
    "Exponential",
    "FirstRoundOnly",
    "GAILConfig",
    "Hint",
    "Linear",
    "Match",
    "PolicyDistillation",
    "PolicyDistillationConfig",
    "VIPERConfig",
    "demonstrate",
    "every_second_layer",
    "triple_loss",
]
