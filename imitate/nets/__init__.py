"""Populations of networks, and the policies made of them."""

from imitate.nets.files import load
from imitate.nets.layers import MLP, Activation, Conv2d, Linear, NatureCNN, Population, RunningNorm, network
from imitate.nets.policy_network import Architecture, NetworkPolicy, policy
from imitate.nets.tabular_policy import TabularPolicy

__all__ = [
    "MLP",
    "Activation",
    "Architecture",
    "Conv2d",
    "Linear",
    "NatureCNN",
    "NetworkPolicy",
    "Population",
    "RunningNorm",
    "TabularPolicy",
    "load",
    "network",
    "policy",
]
