"""Models of Pavlovian and instrumental conditioning, by name.

`MODELS` holds those that predict outcomes from cues, with the options that their papers have.
"""

from imitate.conditioning.model import Model
from imitate.conditioning.models.configural import PearceConfigural
from imitate.conditioning.models.distributional import DistributionalRescorlaWagner, expectile, quantile
from imitate.conditioning.models.kalman import KalmanRescorlaWagner
from imitate.conditioning.models.le_pelley import LePelley
from imitate.conditioning.models.mackintosh import Mackintosh
from imitate.conditioning.models.pavlov import InternalInhibition, Pavlov
from imitate.conditioning.models.pearce_hall import HybridPearceHall, PearceHall, PearceKayeHall
from imitate.conditioning.models.rescorla_wagner import RescorlaWagner
from imitate.conditioning.models.temporal_difference import Course, TemporalDifference, TrialTemporalDifference
from imitate.conditioning.models.thorndike import BushMosteller, LawOfEffect
from imitate_envs.stimuli import CompleteSerialCompound, Microstimuli, Presence

__all__ = [
    "MODELS",
    "BushMosteller",
    "Course",
    "DistributionalRescorlaWagner",
    "HybridPearceHall",
    "InternalInhibition",
    "KalmanRescorlaWagner",
    "LawOfEffect",
    "LePelley",
    "Mackintosh",
    "Pavlov",
    "PearceConfigural",
    "PearceHall",
    "PearceKayeHall",
    "RescorlaWagner",
    "TemporalDifference",
    "TrialTemporalDifference",
]

MODELS: dict[str, Model] = {
    "pavlov": Pavlov(),
    "pavlov-inhibition": InternalInhibition(),
    "rescorla-wagner": RescorlaWagner(),
    "mackintosh": Mackintosh(),
    "pearce-hall": PearceHall(),
    "pearce-kaye-hall": PearceKayeHall(),
    "hybrid-pearce-hall": HybridPearceHall(),
    "le-pelley": LePelley(),
    "pearce-configural": PearceConfigural(),
    "kalman": KalmanRescorlaWagner(),
    "td": TrialTemporalDifference(CompleteSerialCompound()),
    "td-presence": TrialTemporalDifference(Presence()),
    "td-microstimuli": TrialTemporalDifference(Microstimuli()),
    "expectile": DistributionalRescorlaWagner(response=expectile),
    "quantile": DistributionalRescorlaWagner(response=quantile),
}
