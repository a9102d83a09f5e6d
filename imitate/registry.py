"""Names of what the command line offers."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, NamedTuple

from imitate.baselines import (
    DQN,
    PPO,
    C51Config,
    DoubleQLearning,
    DQNConfig,
    ExpectedSarsa,
    ExpectedSarsaConfig,
    IQNConfig,
    MonteCarlo,
    MonteCarloConfig,
    PPOConfig,
    QLambda,
    QLearning,
    QRDQNConfig,
    Sarsa,
    SarsaConfig,
    TabularConfig,
    TDLambda,
    TDLambdaConfig,
    TraceConfig,
    c51,
    iqn,
    qr_dqn,
)

__all__ = ["BASELINES", "Baseline", "closest"]


class Baseline(NamedTuple):
    """A reinforcement learning algorithm: called with a source and its config."""

    algorithm: Any
    config: type[Any]


BASELINES: dict[str, Baseline] = {
    "ppo": Baseline(PPO, PPOConfig),
    "dqn": Baseline(DQN, DQNConfig),
    "c51": Baseline(c51, C51Config),
    "qr-dqn": Baseline(qr_dqn, QRDQNConfig),
    "iqn": Baseline(iqn, IQNConfig),
    "monte-carlo": Baseline(MonteCarlo, MonteCarloConfig),
    "td-lambda": Baseline(TDLambda, TDLambdaConfig),
    "sarsa": Baseline(Sarsa, SarsaConfig),
    "expected-sarsa": Baseline(ExpectedSarsa, ExpectedSarsaConfig),
    "q-learning": Baseline(QLearning, TabularConfig),
    "q-lambda": Baseline(QLambda, TraceConfig),
    "double-q-learning": Baseline(DoubleQLearning, TabularConfig),
}


def closest(what: str, name: str, known: Iterable[str]) -> str:
    """One line about an unknown name, with the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known)}."
    return f"{what}: '{name}' is unknown; {hint}"
