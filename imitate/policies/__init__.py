"""Policies made of policies."""

from imitate.core.wrappers import Privileged
from imitate.policies.epsilon_greedy import EpsilonGreedy
from imitate.policies.epsilon_z_greedy import EpsilonZGreedy
from imitate.policies.greedy import Greedy
from imitate.policies.mixture import Mixture
from imitate.policies.perturbed import Perturbed
from imitate.policies.random import Random
from imitate.policies.risk_sensitive import RiskSensitive, risk_sensitive

__all__ = [
    "EpsilonGreedy",
    "EpsilonZGreedy",
    "Greedy",
    "Mixture",
    "Perturbed",
    "Privileged",
    "Random",
    "RiskSensitive",
    "risk_sensitive",
]
