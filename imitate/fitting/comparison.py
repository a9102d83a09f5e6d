"""Which model made the data: criteria, and models as a random effect over subjects.

Letters: S subjects, J models.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from imitate.conditioning.tables import frame
from imitate.core.config import checked
from imitate.fitting.fit import Fit

__all__ = ["Comparison", "RandomEffects", "compare", "random_effects"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class RandomEffects:
    """How often each model is the right one in the population.

    Args:
        alpha: Parameters of the Dirichlet posterior of the frequencies, [J].
        frequency: Its mean, [J].
        exceedance: Probability that a model is more frequent than every other, [J].
        omnibus_risk: Bayesian omnibus risk: probability that all are equally frequent after all.
        protected: Protected exceedance probability, [J]: `exceedance` weighed against that.
        responsibility: Probability of each model for each subject, [S, J].
    """

    alpha: Array
    frequency: Array
    exceedance: Array
    omnibus_risk: float
    protected: Array
    responsibility: Array


@checked
def random_effects(log_evidence: Array, *, tolerance: float = 1e-8, iterations: int = 10_000) -> RandomEffects:
    """Random-effects Bayesian model selection from log model evidences [S, J].

        g_sj ∝ exp(lme_sj + ψ(α_j) − ψ(Σ α)),   α = 1 + Σ_s g_s
        protected = exceedance·(1 − risk) + risk/J,   risk = 1/(1 + exp(F₁ − F₀))

    F₁ is the variational free energy of the model, F₀ = Σ_s log mean_j exp(lme_sj) that of equal frequencies.

    Source: Stephan et al. (2009), eq. 14; Rigoux et al. (2014), eqs. 5-8.

    Raises:
        ValueError: There are fewer than two models, or an evidence is not finite.
    """
    evidence = np.asarray(log_evidence, dtype=np.float64)
    if evidence.ndim != 2 or evidence.shape[1] < 2:
        raise ValueError(f"log_evidence: subjects by two models or more, [S, J], not {evidence.shape}.")
    if not np.isfinite(evidence).all():
        subject, model = np.argwhere(~np.isfinite(evidence))[0]
        raise ValueError(f"log_evidence: of subject {subject} under model {model} it is {evidence[subject, model]}.")
    count, models = evidence.shape
    prior = np.ones(models)
    alpha = prior + count / models
    for _ in range(iterations):
        expected = special.digamma(alpha) - special.digamma(alpha.sum())
        responsibility = special.softmax(evidence + expected, axis=1)
        before, alpha = alpha, prior + responsibility.sum(0)
        if np.abs(alpha - before).max() < tolerance:
            break
    expected = special.digamma(alpha) - special.digamma(alpha.sum())
    # E[log p(data, assignment, r)] + entropies = Σ g(lme + E log r − log g) − KL(Dirichlet(α) ‖ Dirichlet(1))
    free = (responsibility * (evidence + expected) + special.entr(responsibility)).sum()
    free -= special.gammaln(alpha.sum()) - special.gammaln(models) - special.gammaln(alpha).sum()
    free -= ((alpha - prior) * expected).sum()
    null = (special.logsumexp(evidence, axis=1) - np.log(models)).sum()
    risk = float(special.expit(null - free))
    exceedance = _exceedance(alpha)
    protected = exceedance * (1 - risk) + risk / models
    return RandomEffects(alpha, alpha / alpha.sum(), exceedance, risk, protected, responsibility)


def _exceedance(alpha: Array) -> Array:
    """P(r_j > all others), r ~ Dirichlet(α): of independent gammas x_j, ∫ p_j(x) Π_i≠j P_i(x) dx.

    Gammas over their sum are the Dirichlet, so nothing has to be drawn: u = P_j(x) makes it a mean over [0, 1].
    """
    level = (np.arange(10_000) + 0.5) / 10_000
    found = np.empty(len(alpha))
    for j, own in enumerate(alpha):
        x = stats.gamma.ppf(level, own)
        found[j] = np.exp(stats.gamma.logcdf(x[:, None], np.delete(alpha, j)).sum(1)).mean()
    return np.asarray(found / found.sum())


@dataclass(frozen=True)
class Comparison:
    """Models side by side.

    Args:
        models: Names.
        subjects: Labels.
        aic: [S, J].
        bic: [S, J]; its n counts the scored trials of a subject.
        log_evidence: [S, J]: Laplace's where the fits had priors, else −BIC/2.
        laplace: Which of the two.
        effects: Models as a random effect.
    """

    models: tuple[str, ...]
    subjects: tuple[Any, ...]
    aic: Array
    bic: Array
    log_evidence: Array
    laplace: bool
    effects: RandomEffects

    @property
    def best(self) -> list[str]:
        """The model of the lowest BIC of each subject."""
        return [self.models[j] for j in self.bic.argmin(1)]

    def to_pandas(self) -> Any:
        """One row a model: sums over subjects, how many it describes best, and its frequency.

        Raises:
            ValueError: pandas is not installed.
        """
        best = np.bincount(self.bic.argmin(1), minlength=len(self.models))
        columns = {
            "aic": self.aic.sum(0),
            "bic": self.bic.sum(0),
            "log_evidence": self.log_evidence.sum(0),
            "best_of": best,
            "frequency": self.effects.frequency,
            "exceedance": self.effects.exceedance,
            "protected_exceedance": self.effects.protected,
        }
        return frame(columns, self.models, "model")


@checked
def compare(fits: Mapping[str, Fit]) -> Comparison:
    """Compare models fitted to the same record.

    Args:
        fits: By name. If all had a prior, what is compared is Laplace's log evidence; if none had, −BIC/2.

    Raises:
        ValueError: There are fewer than two, they are not of the same trials, only some had a prior, or a prior is none
            or a subject not identified, so that there is no evidence.
    """
    if len(fits) < 2:
        raise ValueError("fits: two models or more.")
    each = list(fits.values())
    for name, fit in fits.items():
        if fit.subjects != each[0].subjects or not fit.counts.equal(each[0].counts):
            raise ValueError(f"fits: '{name}' is of other subjects or trials than '{next(iter(fits))}'.")
    laplace = each[0].prior is not None
    for name, fit in fits.items():
        if (fit.prior is not None) != laplace:
            one, other = (next(iter(fits)), name) if laplace else (name, next(iter(fits)))
            raise ValueError(f"fits: '{one}' has a prior and '{other}' has none; give one to both, or to neither.")
        if laplace and (lacking := fit.log_evidence.isnan()).any():
            who = fit.subjects[int(lacking.nonzero()[0])]
            raise ValueError(f"fits: '{name}' leaves a direction of subject {who!r} open, so there is no evidence.")

    def table(name: str) -> Array:
        return np.stack([getattr(fit, name).double().cpu().numpy() for fit in each], 1)

    bic = table("bic")
    evidence = table("log_evidence") if laplace else -bic / 2
    return Comparison(tuple(fits), each[0].subjects, table("aic"), bic, evidence, laplace, random_effects(evidence))
