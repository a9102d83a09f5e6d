"""Policies made of policies."""

from imitate.policies.epsilon_greedy import EpsilonGreedy
from imitate.policies.epsilon_z_greedy import EpsilonZGreedy
from imitate.policies.greedy import Greedy
from imitate.policies.mixture import Mixture
from imitate.policies.perturbed import Perturbed
from imitate.policies.random import Random
from imitate.policies.risk_sensitive import RiskSensitive, risk_sensitive
from imitate.policies.roll_in import RollIn
from imitate.policies.router import Router, by_value

__all__ = [
    "EpsilonGreedy",
    "EpsilonZGreedy",
    "Greedy",
    "Mixture",
    "Perturbed",
    "Random",
    "RiskSensitive",
    "RollIn",
    "Router",
    "by_value",
    "risk_sensitive",
]
