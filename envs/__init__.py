"""Environments as pure functions of tensors. Importing this registers `imitate/<id>` with Gymnasium."""

from envs.acrobot import Acrobot
from envs.bandit import Bandit, Bernoulli, Gaussian
from envs.base import Box, Discrete, Env, Space, State
from envs.cartpole import CartPole
from envs.catch import Catch
from envs.chain import Chain
from envs.deep_sea import DeepSea
from envs.gridworld import CliffWalking, CliffWalkingSlippery, FourRooms, FrozenLake, FrozenLake8x8, GridWorld
from envs.mountain_car import MountainCar, MountainCarContinuous
from envs.pendulum import Pendulum
from envs.registration import register_envs
from envs.tabular import Tabular, TabularModel

__all__ = [
    "ENVS",
    "Acrobot",
    "Bandit",
    "Bernoulli",
    "Box",
    "CartPole",
    "Catch",
    "Chain",
    "CliffWalking",
    "CliffWalkingSlippery",
    "DeepSea",
    "Discrete",
    "Env",
    "FourRooms",
    "FrozenLake",
    "FrozenLake8x8",
    "Gaussian",
    "GridWorld",
    "MountainCar",
    "MountainCarContinuous",
    "Pendulum",
    "Space",
    "State",
    "Tabular",
    "TabularModel",
    "register_envs",
]

ENVS: dict[str, type[Env]] = {
    "CartPole-v1": CartPole,
    "MountainCar-v0": MountainCar,
    "MountainCarContinuous-v0": MountainCarContinuous,
    "Acrobot-v1": Acrobot,
    "Pendulum-v1": Pendulum,
    "GridWorld-v0": GridWorld,
    "FrozenLake-v1": FrozenLake,
    "FrozenLake8x8-v1": FrozenLake8x8,
    "CliffWalking-v1": CliffWalking,
    "CliffWalkingSlippery-v1": CliffWalkingSlippery,
    "FourRooms-v0": FourRooms,
    "DeepSea-v0": DeepSea,
    "Catch-v0": Catch,
    "Chain-v0": Chain,
    "Bandit-v0": Bandit,
}

register_envs()
