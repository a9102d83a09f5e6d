"""What policies say about actions, and value networks about returns."""

from imitate.distributions.actions import Categorical, Distribution, Normal, TanhNormal, Teacher
from imitate.distributions.mean import mean_of
from imitate.distributions.regression import (
    categorical_projection,
    expectile_regression,
    fraction_loss,
    huber,
    impute_expectiles,
    quantile_huber,
    quantile_huber_grad,
)
from imitate.distributions.returns import (
    CategoricalReturn,
    EnsembleReturn,
    ExpectedReturn,
    ExpectileReturn,
    QuantileReturn,
    ReturnDistribution,
    fresh_mean,
    midpoints,
)
from imitate.distributions.risk import CPW, RISKS, CVaR, Distorted, Distortion, MeanVariance, Power, Risk, Wang, risk

__all__ = [
    "CPW",
    "RISKS",
    "CVaR",
    "Categorical",
    "CategoricalReturn",
    "Distorted",
    "Distortion",
    "Distribution",
    "EnsembleReturn",
    "ExpectedReturn",
    "ExpectileReturn",
    "MeanVariance",
    "Normal",
    "Power",
    "QuantileReturn",
    "ReturnDistribution",
    "Risk",
    "TanhNormal",
    "Teacher",
    "Wang",
    "categorical_projection",
    "expectile_regression",
    "fraction_loss",
    "fresh_mean",
    "huber",
    "impute_expectiles",
    "mean_of",
    "midpoints",
    "quantile_huber",
    "quantile_huber_grad",
    "risk",
]
