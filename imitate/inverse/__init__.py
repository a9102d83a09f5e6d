"""Inverse reinforcement learning on finite environments: the reward behind demonstrations, exactly."""

from imitate.inverse.apprenticeship import apprenticeship
from imitate.inverse.causal_entropy import maximum_causal_entropy
from imitate.inverse.max_margin import max_margin
from imitate.inverse.occupancy import empirical_occupancy, occupancy
from imitate.inverse.path_entropy import maximum_entropy
from imitate.inverse.recovered import Recovered, entered

__all__ = [
    "Recovered",
    "apprenticeship",
    "empirical_occupancy",
    "entered",
    "max_margin",
    "maximum_causal_entropy",
    "maximum_entropy",
    "occupancy",
]
