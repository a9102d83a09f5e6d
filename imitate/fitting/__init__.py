"""Learning models fitted to choices and responses: likelihood, fit, population, comparison, recovery."""

from imitate.fitting.bayes import Posterior, sample_posterior
from imitate.fitting.comparison import Comparison, RandomEffects, compare, random_effects
from imitate.fitting.fit import Fit, IdentificationWarning, fit
from imitate.fitting.likelihood import Data, log_likelihood, one_step, trial_log_likelihood
from imitate.fitting.population import Hierarchical, fit_hierarchical
from imitate.fitting.recover import Recovery, recover
from imitate.fitting.unknowns import Densities, Gaussian, Prior, Unknowns

__all__ = [
    "Comparison",
    "Data",
    "Densities",
    "Fit",
    "Gaussian",
    "Hierarchical",
    "IdentificationWarning",
    "Posterior",
    "Prior",
    "RandomEffects",
    "Recovery",
    "Unknowns",
    "compare",
    "fit",
    "fit_hierarchical",
    "log_likelihood",
    "one_step",
    "random_effects",
    "recover",
    "sample_posterior",
    "trial_log_likelihood",
]
