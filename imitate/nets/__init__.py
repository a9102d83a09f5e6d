"""Populations of networks, and the policies made of them: bodies, heads, actors, value networks, critics."""

from imitate.nets.actor import Actor, Architecture, policy
from imitate.nets.actor_mixture import ActorMixture
from imitate.nets.body import Body
from imitate.nets.compression import dequantised, prune, quantise
from imitate.nets.convolution import Conv2d
from imitate.nets.critic import ActionValue, Critic
from imitate.nets.files import load
from imitate.nets.layers import MLP, Activation, Linear, Population, RunningNorm
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.recurrent import GRU, LSTM
from imitate.nets.tabular_policy import TabularPolicy
from imitate.nets.target import TargetNetwork
from imitate.nets.tasks import of_task
from imitate.nets.tree_policy import Split, TreePolicy

__all__ = [
    "GRU",
    "LSTM",
    "MLP",
    "ActionValue",
    "Activation",
    "Actor",
    "ActorMixture",
    "Architecture",
    "Body",
    "Conv2d",
    "Critic",
    "Linear",
    "Population",
    "QArchitecture",
    "QNetwork",
    "RunningNorm",
    "Split",
    "TabularPolicy",
    "TargetNetwork",
    "TreePolicy",
    "dequantised",
    "load",
    "of_task",
    "policy",
    "prune",
    "quantise",
]
