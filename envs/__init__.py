"""Environments as pure functions of tensors. Importing this registers `imitate/<id>` with Gymnasium."""

from envs.acrobot import Acrobot
from envs.base import Box, Discrete, Env, Space, State
from envs.cartpole import CartPole
from envs.mountain_car import MountainCar, MountainCarContinuous
from envs.pendulum import Pendulum
from envs.registration import register_envs

__all__ = [
    "ENVS",
    "Acrobot",
    "Box",
    "CartPole",
    "Discrete",
    "Env",
    "MountainCar",
    "MountainCarContinuous",
    "Pendulum",
    "Space",
    "State",
    "register_envs",
]

ENVS: dict[str, type[Env]] = {
    "CartPole-v1": CartPole,
    "MountainCar-v0": MountainCar,
    "MountainCarContinuous-v0": MountainCarContinuous,
    "Acrobot-v1": Acrobot,
    "Pendulum-v1": Pendulum,
}

register_envs()
