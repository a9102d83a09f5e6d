"""Reinforcement learning baselines: one algorithm, one file."""

from imitate.baselines.ppo import PPO, PPOConfig

__all__ = ["PPO", "PPOConfig"]
