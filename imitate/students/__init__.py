"""Students: one algorithm, one file. They differ in who drives, who labels, and which loss."""

from imitate.data.demonstrations import Demonstrations, demonstrate
from imitate.students.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from imitate.students.dagger import DAgger, DAggerConfig, Exponential, FirstRoundOnly, Linear
from imitate.students.distillation import PolicyDistillation, PolicyDistillationConfig

__all__ = [
    "BehaviourCloning",
    "BehaviourCloningConfig",
    "DAgger",
    "DAggerConfig",
    "Demonstrations",
    "Exponential",
    "FirstRoundOnly",
    "Linear",
    "PolicyDistillation",
    "PolicyDistillationConfig",
    "demonstrate",
]
