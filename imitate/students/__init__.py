"""Students: one algorithm, one file. They differ in who drives, who labels, and which loss."""

from imitate.data.demonstrations import Demonstrations, demonstrate
from imitate.students.actor_critic_distillation import ActorCriticDistillation, ActorCriticDistillationConfig
from imitate.students.actor_mimic import actor_mimic
from imitate.students.aggrevate import AggreVaTe, AggreVaTeConfig
from imitate.students.aggrevated import AggreVaTeD, AggreVaTeDConfig
from imitate.students.airl import AIRL, AIRLConfig
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
from imitate.students.dart import DART, DARTConfig
from imitate.students.data_free import (
    DataFreeDistillation,
    DataFreeDistillationConfig,
    GeneratedStates,
    UniformStates,
)
from imitate.students.dataset_distillation import DatasetDistillation, DatasetDistillationConfig
from imitate.students.distillation import PolicyDistillation, PolicyDistillationConfig
from imitate.students.distral import Distral, DistralConfig
from imitate.students.features import Adversary, Hint, Match, every_second_layer, triple_loss
from imitate.students.finetuning import Finetuning, FinetuningConfig, finetune
from imitate.students.forward_training import ForwardTraining, ForwardTrainingConfig
from imitate.students.gail import GAIL, GAILConfig
from imitate.students.gated_dagger import GatedDAgger, GatedDAggerConfig
from imitate.students.gates import (
    EnsembleGate,
    EnsembleGateConfig,
    HumanGate,
    HumanGateConfig,
    LazyGate,
    LazyGateConfig,
    SafeGate,
    SafeGateConfig,
    ThriftyGate,
    ThriftyGateConfig,
)
from imitate.students.generations import BornAgain, BornAgainConfig
from imitate.students.hades import HaDES, HaDESConfig
from imitate.students.iterated import ITER, ITERConfig
from imitate.students.jump_start import JumpStart, JumpStartConfig
from imitate.students.kickstarting import Distil
from imitate.students.peers import Codistil, Dual, Mutual, advantage_gate, value_of
from imitate.students.qdagger import QDagger, QDaggerConfig
from imitate.students.searn import SEARN, SEARNConfig
from imitate.students.smile import SMILe, SMILeConfig
from imitate.students.viper import VIPER, VIPERConfig

__all__ = [
    "AIRL",
    "DART",
    "ENTROPY",
    "EXPECTED_ENTROPY",
    "GAIL",
    "ITER",
    "N_DISTILL",
    "ON_POLICY",
    "ROWS",
    "SEARN",
    "TEACHER_DRIVEN",
    "TEACHER_VALUE",
    "VIPER",
    "AIRLConfig",
    "ActorCriticDistillation",
    "ActorCriticDistillationConfig",
    "Adversary",
    "AggreVaTe",
    "AggreVaTeConfig",
    "AggreVaTeD",
    "AggreVaTeDConfig",
    "BehaviourCloning",
    "BehaviourCloningConfig",
    "BornAgain",
    "BornAgainConfig",
    "Codistil",
    "DARTConfig",
    "DAgger",
    "DAggerConfig",
    "DataFreeDistillation",
    "DataFreeDistillationConfig",
    "DatasetDistillation",
    "DatasetDistillationConfig",
    "Demonstrations",
    "Distil",
    "Distral",
    "DistralConfig",
    "Dual",
    "EnsembleGate",
    "EnsembleGateConfig",
    "Exponential",
    "Finetuning",
    "FinetuningConfig",
    "FirstRoundOnly",
    "ForwardTraining",
    "ForwardTrainingConfig",
    "GAILConfig",
    "GatedDAgger",
    "GatedDAggerConfig",
    "GeneratedStates",
    "HaDES",
    "HaDESConfig",
    "Hint",
    "HumanGate",
    "HumanGateConfig",
    "ITERConfig",
    "JumpStart",
    "JumpStartConfig",
    "LazyGate",
    "LazyGateConfig",
    "Linear",
    "Match",
    "Mutual",
    "PolicyDistillation",
    "PolicyDistillationConfig",
    "QDagger",
    "QDaggerConfig",
    "Row",
    "SEARNConfig",
    "SMILe",
    "SMILeConfig",
    "SafeGate",
    "SafeGateConfig",
    "ThriftyGate",
    "ThriftyGateConfig",
    "UniformStates",
    "VIPERConfig",
    "actor_mimic",
    "advantage_gate",
    "demonstrate",
    "every_second_layer",
    "finetune",
    "triple_loss",
    "value_of",
]
