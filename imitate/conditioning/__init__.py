"""Learning models: designs, simulation, phenomena, and models that act."""

from imitate.conditioning.agent import Agent, as_agent, simulate_choices
from imitate.conditioning.choice import CHOICE_MODELS, Bias, ChoiceKernel, Perseveration, Softmax, WinStayLoseShift
from imitate.conditioning.contenders import ALL, CONTENDERS, all_but, only
from imitate.conditioning.data import Choices
from imitate.conditioning.design import Design, Schedule
from imitate.conditioning.draw import draw_curves, draw_grid
from imitate.conditioning.environment import to_env, to_timed_env
from imitate.conditioning.model import (
    ChoiceModel,
    Contextual,
    Model,
    Parameter,
    Resting,
    State,
    Theta,
    Trial,
    parameters_of,
)
from imitate.conditioning.models import (
    MODELS,
    BushMosteller,
    Course,
    DistributionalRescorlaWagner,
    HybridPearceHall,
    InternalInhibition,
    KalmanRescorlaWagner,
    LawOfEffect,
    LePelley,
    Mackintosh,
    Pavlov,
    PearceConfigural,
    PearceHall,
    PearceKayeHall,
    RescorlaWagner,
    TemporalDifference,
    TrialTemporalDifference,
)
from imitate.conditioning.notation import Phase, TrialType, parse
from imitate.conditioning.periods import course, in_time
from imitate.conditioning.phenomena import Contender, Contrast, Phenomenon, Response, Result, examine, sample_points
from imitate.conditioning.phenomena_library import PHENOMENA
from imitate.conditioning.probe import Critic, DopamineProbe, around, prediction_errors
from imitate.conditioning.records import records, write_records
from imitate.conditioning.response import GaussianResponse, Responses
from imitate.conditioning.simulate import Simulation, simulate
from imitate.conditioning.two_step import TwoStepHybrid, TwoStepState
from imitate.conditioning.values import EWA, DualRates, KalmanBandit, OneRate, QLearning, Rates

__all__ = [
    "ALL",
    "CHOICE_MODELS",
    "CONTENDERS",
    "EWA",
    "MODELS",
    "PHENOMENA",
    "Agent",
    "Bias",
    "BushMosteller",
    "ChoiceKernel",
    "ChoiceModel",
    "Choices",
    "Contender",
    "Contextual",
    "Contrast",
    "Course",
    "Critic",
    "Design",
    "DistributionalRescorlaWagner",
    "DopamineProbe",
    "DualRates",
    "GaussianResponse",
    "HybridPearceHall",
    "InternalInhibition",
    "KalmanBandit",
    "KalmanRescorlaWagner",
    "LawOfEffect",
    "LePelley",
    "Mackintosh",
    "Model",
    "OneRate",
    "Parameter",
    "Pavlov",
    "PearceConfigural",
    "PearceHall",
    "PearceKayeHall",
    "Perseveration",
    "Phase",
    "Phenomenon",
    "QLearning",
    "Rates",
    "RescorlaWagner",
    "Response",
    "Responses",
    "Resting",
    "Result",
    "Schedule",
    "Simulation",
    "Softmax",
    "State",
    "TemporalDifference",
    "Theta",
    "Trial",
    "TrialTemporalDifference",
    "TrialType",
    "TwoStepHybrid",
    "TwoStepState",
    "WinStayLoseShift",
    "all_but",
    "around",
    "as_agent",
    "course",
    "draw_curves",
    "draw_grid",
    "examine",
    "in_time",
    "only",
    "parameters_of",
    "parse",
    "prediction_errors",
    "records",
    "sample_points",
    "simulate",
    "simulate_choices",
    "to_env",
    "to_timed_env",
    "write_records",
]
