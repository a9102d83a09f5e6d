"""Students: one algorithm, one file. They differ in who drives, who labels, and which loss."""

from imitate.data.demonstrations import Demonstrations, demonstrate
from imitate.students.actor_critic_distillation import ActorCriticDistillation, ActorCriticDistillationConfig
from imitate.students.behaviour_cloning import BehaviourCloning, BehaviourCloningConfig
from imitate.students.czarnecki import (
    ENTROPY,
    EXPECTED_ENTROPY,
    N_DISTILL,
    ON_POLICY,
    ROWS,
    TEACHER_DRIVEN,
    TEACHER_VALUE,
    Row,
)
from imitate.students.dagger import DAgger, DAggerConfig, Exponential, FirstRoundOnly, Linear
from imitate.students.distillation import PolicyDistillation, PolicyDistillationConfig
from imitate.students.features import Adversary, Hint, Match, every_second_layer, triple_loss
from imitate.students.finetuning import Finetuning, FinetuningConfig, finetune
from imitate.students.gail import GAIL, GAILConfig
from imitate.students.jump_start import JumpStart, JumpStartConfig
from imitate.students.kickstarting import Distil
from imitate.students.qdagger import QDagger, QDaggerConfig
from imitate.students.viper import VIPER, VIPERConfig

__all__ = [
    "ENTROPY",
    "EXPECTED_ENTROPY",
    "GAIL",
    "N_DISTILL",
    "ON_POLICY",
    "ROWS",
    "TEACHER_DRIVEN",
    "TEACHER_VALUE",
    "VIPER",
    "ActorCriticDistillation",
    "ActorCriticDistillationConfig",
    "Adversary",
    "BehaviourCloning",
    "BehaviourCloningConfig",
    "DAgger",
    "DAggerConfig",
    "Demonstrations",
    "Distil",
    "Exponential",
    "Finetuning",
    "FinetuningConfig",
    "FirstRoundOnly",
    "GAILConfig",
    "Hint",
    "JumpStart",
    "JumpStartConfig",
    "Linear",
    "Match",
    "PolicyDistillation",
    "PolicyDistillationConfig",
    "QDagger",
    "QDaggerConfig",
    "Row",
    "VIPERConfig",
    "demonstrate",
    "every_second_layer",
    "finetune",
    "triple_loss",
]
