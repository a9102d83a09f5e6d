"""Teach a policy with a policy: behaviour cloning, DAgger and distillation beside RL baselines, on one batched core."""

__version__ = "0.1.0"

from imitate import losses, nets, students, teachers
from imitate.baselines import (
    PPO,
    DoubleQLearning,
    ExpectedSarsa,
    ExpectedSarsaConfig,
    MonteCarlo,
    MonteCarloConfig,
    PPOConfig,
    QLambda,
    QLearning,
    Sarsa,
    SarsaConfig,
    TabularConfig,
    TDLambda,
    TDLambdaConfig,
    TraceConfig,
)
from imitate.experiment import Evaluation, Report, evaluate, load_checkpoint, run, save_checkpoint
from imitate.make import make
from imitate.nets import NetworkPolicy, TabularPolicy, load
from imitate.students import (
    BehaviourCloning,
    BehaviourCloningConfig,
    DAgger,
    DAggerConfig,
    Demonstrations,
    PolicyDistillation,
    PolicyDistillationConfig,
    demonstrate,
)

__all__ = [
    "PPO",
    "BehaviourCloning",
    "BehaviourCloningConfig",
    "DAgger",
    "DAggerConfig",
    "Demonstrations",
    "DoubleQLearning",
    "Evaluation",
    "ExpectedSarsa",
    "ExpectedSarsaConfig",
    "MonteCarlo",
    "MonteCarloConfig",
    "NetworkPolicy",
    "PPOConfig",
    "PolicyDistillation",
    "PolicyDistillationConfig",
    "QLambda",
    "QLearning",
    "Report",
    "Sarsa",
    "SarsaConfig",
    "TDLambda",
    "TDLambdaConfig",
    "TabularConfig",
    "TabularPolicy",
    "TraceConfig",
    "demonstrate",
    "evaluate",
    "load",
    "load_checkpoint",
    "losses",
    "make",
    "nets",
    "run",
    "save_checkpoint",
    "students",
    "teachers",
]
