"""Reinforcement learning baselines: one algorithm, one file."""

from imitate.baselines.monte_carlo import MonteCarlo, MonteCarloConfig
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.baselines.q_learning import DoubleQLearning, QLambda, QLearning
from imitate.baselines.sarsa import ExpectedSarsa, ExpectedSarsaConfig, Sarsa, SarsaConfig, TDLambda, TDLambdaConfig
from imitate.baselines.tabular import TabularConfig, TraceConfig

__all__ = [
    "PPO",
    "DoubleQLearning",
    "ExpectedSarsa",
    "ExpectedSarsaConfig",
    "MonteCarlo",
    "MonteCarloConfig",
    "PPOConfig",
    "QLambda",
    "QLearning",
    "Sarsa",
    "SarsaConfig",
    "TDLambda",
    "TDLambdaConfig",
    "TabularConfig",
    "TraceConfig",
]
