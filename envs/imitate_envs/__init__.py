"""Environments as pure functions of tensors. Importing this registers `imitate/<id>` with Gymnasium."""

from imitate_envs import minatar
from imitate_envs.acrobot import Acrobot
from imitate_envs.bandit import Bandit, Bernoulli, Gaussian
from imitate_envs.bandits import DriftingBandit, NormalMeans, Points, ReversalBandit, StationaryBandit, UniformMeans
from imitate_envs.base import Box, Discrete, Env, Space, State
from imitate_envs.cartpole import CartPole
from imitate_envs.catch import Catch
from imitate_envs.chain import Chain
from imitate_envs.conditioning import Conditioning, TrialKind
from imitate_envs.deep_sea import DeepSea
from imitate_envs.feedback import Feedback
from imitate_envs.gridworld import CliffWalking, CliffWalkingSlippery, FourRooms, FrozenLake, FrozenLake8x8, GridWorld
from imitate_envs.mirrored import MirroredCartPole
from imitate_envs.mountain_car import MountainCar, MountainCarContinuous
from imitate_envs.pendulum import Pendulum
from imitate_envs.puzzle_box import PuzzleBox
from imitate_envs.random_grids import RandomGrids
from imitate_envs.registration import register_envs
from imitate_envs.stimuli import (
    CompleteSerialCompound,
    ExponentialPause,
    FixedPause,
    Microstimuli,
    Presence,
    Timing,
    UniformPause,
)
from imitate_envs.tabular import Tabular, TabularModel
from imitate_envs.timed_conditioning import TimedConditioning
from imitate_envs.two_step import TwoStep
from imitate_envs.walks import Decay, Reflect

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
    "CompleteSerialCompound",
    "Conditioning",
    "Decay",
    "DeepSea",
    "Discrete",
    "DriftingBandit",
    "Env",
    "ExponentialPause",
    "Feedback",
    "FixedPause",
    "FourRooms",
    "FrozenLake",
    "FrozenLake8x8",
    "Gaussian",
    "GridWorld",
    "Microstimuli",
    "MirroredCartPole",
    "MountainCar",
    "MountainCarContinuous",
    "NormalMeans",
    "Pendulum",
    "Points",
    "Presence",
    "PuzzleBox",
    "RandomGrids",
    "Reflect",
    "ReversalBandit",
    "Space",
    "State",
    "StationaryBandit",
    "Tabular",
    "TabularModel",
    "TimedConditioning",
    "Timing",
    "TrialKind",
    "TwoStep",
    "UniformMeans",
    "UniformPause",
    "minatar",
    "register_envs",
]

ENVS: dict[str, type[Env]] = {
    "CartPole-v1": CartPole,
    "MirroredCartPole-v0": MirroredCartPole,
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
    "StationaryBandit-v0": StationaryBandit,
    "DriftingBandit-v0": DriftingBandit,
    "ReversalBandit-v0": ReversalBandit,
    "TwoStep-v0": TwoStep,
    "PuzzleBox-v0": PuzzleBox,
    "Conditioning-v0": Conditioning,
    "TimedConditioning-v0": TimedConditioning,
    "MinAtar/Asterix-v0": minatar.Asterix,
    "MinAtar/Asterix-v1": minatar.AsterixMinimal,
    "MinAtar/Breakout-v0": minatar.Breakout,
    "MinAtar/Breakout-v1": minatar.BreakoutMinimal,
    "MinAtar/Freeway-v0": minatar.Freeway,
    "MinAtar/Freeway-v1": minatar.FreewayMinimal,
    "MinAtar/Seaquest-v0": minatar.Seaquest,
    "MinAtar/Seaquest-v1": minatar.SeaquestMinimal,
    "MinAtar/SpaceInvaders-v0": minatar.SpaceInvaders,
    "MinAtar/SpaceInvaders-v1": minatar.SpaceInvadersMinimal,
}

register_envs()
