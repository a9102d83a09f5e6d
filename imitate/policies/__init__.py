"""Policies made of policies."""

from imitate.core.wrappers import Privileged
from imitate.policies.epsilon_greedy import EpsilonGreedy
from imitate.policies.epsilon_z_greedy import EpsilonZGreedy
from imitate.policies.greedy import Greedy
from imitate.policies.mixture import Mixture
from imitate.policies.peers import Ensemble, Peers, neighbours
from imitate.policies.perturbed import Perturbed
from imitate.policies.random import Random
from imitate.policies.risk_sensitive import RiskSensitive, risk_sensitive
from imitate.policies.tasks import Router, by_task

__all__ = [
    "Ensemble",
    "EpsilonGreedy",
    "EpsilonZGreedy",
    "Greedy",
    "Mixture",
    "Peers",
    "Perturbed",
    "Privileged",
    "Random",
    "RiskSensitive",
    "Router",
    "by_task",
    "neighbours",
    "risk_sensitive",
]
