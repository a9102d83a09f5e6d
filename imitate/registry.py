"""Names of what the command line offers."""

from __future__ import annotations

from typing import Any, NamedTuple

from imitate.baselines import (
    DQN,
    PPO,
    SAC,
    BootstrappedConfig,
    C51Config,
    DoubleQLearning,
    DQNConfig,
    ERDQNConfig,
    ExpectedSarsa,
    ExpectedSarsaConfig,
    FQFConfig,
    IQNConfig,
    MonteCarlo,
    MonteCarloConfig,
    PPOConfig,
    QLambda,
    QLearning,
    QRDQNConfig,
    RainbowConfig,
    SACConfig,
    Sarsa,
    SarsaConfig,
    TabularConfig,
    TDLambda,
    TDLambdaConfig,
    TraceConfig,
    bootstrapped_dqn,
    c51,
    er_dqn,
    fqf,
    iqn,
    qr_dqn,
    rainbow,
)
from imitate.core.names import closest
from imitate.students import (
    ITER,
    SEARN,
    AggreVaTe,
    AggreVaTeConfig,
    AggreVaTeD,
    AggreVaTeDConfig,
    ForwardTraining,
    ForwardTrainingConfig,
    ITERConfig,
    SEARNConfig,
    SMILe,
    SMILeConfig,
)

__all__ = ["BASELINES", "REDUCTIONS", "Baseline", "closest"]


class Baseline(NamedTuple):
    """A reinforcement learning algorithm: called with a source and its config."""

    algorithm: Any
    config: type[Any]
    num_envs: int | None = None  # environments of a member that its settings are meant for; None: those of the file


BASELINES: dict[str, Baseline] = {
    "ppo": Baseline(PPO, PPOConfig),
    "iter": Baseline(ITER, ITERConfig),
    "sac": Baseline(SAC, SACConfig, num_envs=1),
    "dqn": Baseline(DQN, DQNConfig),
    "c51": Baseline(c51, C51Config),
    "rainbow": Baseline(rainbow, RainbowConfig),
    "qr-dqn": Baseline(qr_dqn, QRDQNConfig),
    "iqn": Baseline(iqn, IQNConfig),
    "fqf": Baseline(fqf, FQFConfig),
    "er-dqn": Baseline(er_dqn, ERDQNConfig),
    "bootstrapped-dqn": Baseline(bootstrapped_dqn, BootstrappedConfig),
    "monte-carlo": Baseline(MonteCarlo, MonteCarloConfig),
    "td-lambda": Baseline(TDLambda, TDLambdaConfig),
    "sarsa": Baseline(Sarsa, SarsaConfig),
    "expected-sarsa": Baseline(ExpectedSarsa, ExpectedSarsaConfig),
    "q-learning": Baseline(QLearning, TabularConfig),
    "q-lambda": Baseline(QLambda, TraceConfig),
    "double-q-learning": Baseline(DoubleQLearning, TabularConfig),
}

# Students of a teacher by their names: the algorithm, called with a source, a teacher, a student and its config.
REDUCTIONS: dict[str, tuple[Any, type[Any]]] = {
    "forward": (ForwardTraining, ForwardTrainingConfig),
    "smile": (SMILe, SMILeConfig),
    "searn": (SEARN, SEARNConfig),
    "aggrevate": (AggreVaTe, AggreVaTeConfig),
    "aggrevated": (AggreVaTeD, AggreVaTeDConfig),
}
