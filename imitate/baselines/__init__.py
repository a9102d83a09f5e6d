"""Reinforcement learning baselines: one algorithm, one file."""

from imitate.baselines.bootstrapped import BootstrappedConfig, bootstrapped_dqn
from imitate.baselines.c51 import C51Config, c51
from imitate.baselines.dqn import DQN, DQNConfig, q_network_of
from imitate.baselines.expectile import ERDQNConfig, er_dqn
from imitate.baselines.fqf import FQFConfig, fqf
from imitate.baselines.monte_carlo import MonteCarlo, MonteCarloConfig
from imitate.baselines.ppo import PPO, PPOConfig, critic_of
from imitate.baselines.q_learning import DoubleQLearning, QLambda, QLearning
from imitate.baselines.qr_dqn import IQNConfig, QRDQNConfig, iqn, qr_dqn
from imitate.baselines.rainbow import RainbowConfig, rainbow
from imitate.baselines.sac import SAC, SACConfig
from imitate.baselines.sarsa import ExpectedSarsa, ExpectedSarsaConfig, Sarsa, SarsaConfig, TDLambda, TDLambdaConfig
from imitate.baselines.tabular import TabularConfig, TraceConfig

__all__ = [
    "DQN",
    "PPO",
    "SAC",
    "BootstrappedConfig",
    "C51Config",
    "DQNConfig",
    "DoubleQLearning",
    "ERDQNConfig",
    "ExpectedSarsa",
    "ExpectedSarsaConfig",
    "FQFConfig",
    "IQNConfig",
    "MonteCarlo",
    "MonteCarloConfig",
    "PPOConfig",
    "QLambda",
    "QLearning",
    "QRDQNConfig",
    "RainbowConfig",
    "SACConfig",
    "Sarsa",
    "SarsaConfig",
    "TDLambda",
    "TDLambdaConfig",
    "TabularConfig",
    "TraceConfig",
    "bootstrapped_dqn",
    "c51",
    "critic_of",
    "er_dqn",
    "fqf",
    "iqn",
    "q_network_of",
    "qr_dqn",
    "rainbow",
]
