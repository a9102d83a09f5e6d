"""Policies made of policies."""

from imitate.core.wrappers import Privileged
from imitate.policies.epsilon_greedy import EpsilonGreedy
from imitate.policies.epsilon_z_greedy import EpsilonZGreedy
from imitate.policies.gated import Gate, Gated, Lesson, Moment
from imitate.policies.greedy import Greedy
from imitate.policies.mixture import Mixture
from imitate.policies.peers import Ensemble, Peers, neighbours
from imitate.policies.perturbed import Perturbed
from imitate.policies.random import Random
from imitate.policies.residual import Corrections, Residual
from imitate.policies.risk_sensitive import RiskSensitive, risk_sensitive
from imitate.policies.roll_in import RollIn
from imitate.policies.router import Router, by_value
from imitate.policies.tasks import TaskTeachers, by_task

__all__ = [
    "Corrections",
    "Ensemble",
    "EpsilonGreedy",
    "EpsilonZGreedy",
    "Gate",
    "Gated",
    "Greedy",
    "Lesson",
    "Mixture",
    "Moment",
    "Peers",
    "Perturbed",
    "Privileged",
    "Random",
    "Residual",
    "RiskSensitive",
    "RollIn",
    "Router",
    "TaskTeachers",
    "by_task",
    "by_value",
    "neighbours",
    "risk_sensitive",
]
