"""Populations of networks, and the policies made of them."""

from imitate.nets.files import load
from imitate.nets.layers import CNN, MLP, Activation, Conv2d, Linear, Population, RunningNorm, network
from imitate.nets.policy_network import Architecture, NetworkPolicy, policy
from imitate.nets.recurrent import GRU, RecurrentArchitecture, RecurrentPolicy, load_recurrent, recurrent_policy
from imitate.nets.tabular_policy import TabularPolicy

__all__ = [
    "CNN",
    "GRU",
    "MLP",
    "Activation",
    "Architecture",
    "Conv2d",
    "Linear",
    "NetworkPolicy",
    "Population",
    "RecurrentArchitecture",
    "RecurrentPolicy",
    "RunningNorm",
    "TabularPolicy",
    "load",
    "load_recurrent",
    "network",
    "policy",
    "recurrent_policy",
]
