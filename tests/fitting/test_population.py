"""Empirical Bayes against a population whose evidence is known in closed form; and NUTS against importance sampling."""

import math

import numpy as np
import pytest
import torch

from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import Softmax
from imitate.conditioning.data import Choices
from imitate.conditioning.models.rescorla_wagner import RescorlaWagner
from imitate.conditioning.response import GaussianResponse, Responses
from imitate.conditioning.values import QLearning
from imitate.fitting.bayes import sample_posterior
from imitate.fitting.fit import fit
from imitate.fitting.likelihood import log_likelihood
from imitate.fitting.population import fit_hierarchical
from imitate_envs.bandits import StationaryBandit

# Few trials leave some subjects open; the tests that are about that look for the warning.
pytestmark = pytest.mark.filterwarnings("ignore::imitate.fitting.fit.IdentificationWarning")

Q = Softmax(QLearning())
BANDIT = StationaryBandit((0.2, 0.8))
HALF = {"Q0": 0.5}


def population(count, trials, seed):
    """Subjects with logit α ~ N(−0.5, 0.8²) and log β ~ N(1.2, 0.4²)."""
    z = torch.randn(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    truth = {"alpha": torch.sigmoid(-0.5 + 0.8 * z[0]), "beta": torch.exp(1.2 + 0.4 * z[1])}
    return truth, simulate_choices(Q, {**truth, **HALF}, BANDIT, trials, seed=seed)


def test_a_normal_population_has_a_closed_form():
    """Without cues a response is N(offset, σ²), and offsets are N(m, v): Laplace's approximation is exact."""
    subjects, trials, sigma = 12, 6, 2.0
    generator = torch.Generator().manual_seed(4)
    offset = 100 + 9 * torch.randn(subjects, generator=generator, dtype=torch.float64)
    response = offset + sigma * torch.randn(trials, subjects, generator=generator, dtype=torch.float64)
    nothing = torch.zeros(trials, subjects, 1, dtype=torch.float64)
    data = Responses(nothing, nothing, response)
    found = fit_hierarchical(
        GaussianResponse(RescorlaWagner()), data, free=["offset"], fixed={"sigma": sigma}, tolerance=1e-10
    )
    means = response.mean(0)
    assert found.converged
    assert float(found.group.mean) == pytest.approx(float(means.mean()), rel=1e-6)
    v = float(means.var(correction=0)) - sigma**2 / trials
    assert float(found.group.variance) == pytest.approx(v, rel=1e-3)
    covariance = sigma**2 * torch.eye(trials) + v * torch.ones(trials, trials)
    law = torch.distributions.MultivariateNormal(means.mean().expand(trials), covariance.double())
    torch.testing.assert_close(found.fit.log_evidence, law.log_prob(response.T), rtol=0, atol=1e-4)
    shrunk = (v * means + sigma**2 / trials * means.mean()) / (v + sigma**2 / trials)
    torch.testing.assert_close(found.fit.theta["offset"], shrunk, rtol=1e-5, atol=0)
    assert found.median["offset"] == pytest.approx(float(means.mean()), rel=1e-6)


def test_a_population_of_choosers():
    truth, data = population(60, 30, 1)
    found = fit_hierarchical(Q, data, fixed=HALF, starts=1, tolerance=0.3)
    assert found.converged
    assert np.isfinite(found.log_evidence).all()
    assert found.log_evidence[-1] > found.log_evidence[0]
    # It stopped at a fixed point of the M step, in the space in which the Hessians are.
    z, inverse = found.fit.z, torch.linalg.inv(found.fit.hessian)
    mean = z.mean(0)
    variance = (z.square() + inverse.diagonal(dim1=1, dim2=2)).mean(0) - mean.square()
    torch.testing.assert_close(mean, found.group.mean, rtol=0, atol=0.03)
    torch.testing.assert_close(variance, found.group.variance, rtol=0.1, atol=0)
    assert 0.2 < found.median["alpha"] < 0.6
    assert 2 < found.median["beta"] < 5
    alone = fit(Q, data, fixed=HALF, starts=1)
    for name in truth:
        pooled, own = ((f.theta[name] - truth[name]).square().mean() for f in (found.fit, alone))
        assert pooled <= own, name


@pytest.mark.slow
def test_pooling_helps_and_intervals_cover():
    truth, data = population(200, 200, 6)
    found, alone = fit_hierarchical(Q, data, fixed=HALF), fit(Q, data, fixed=HALF)
    for name, true in truth.items():
        pooled, own = ((f.theta[name] - true).square().mean().sqrt() for f in (found.fit, alone))
        assert pooled <= own
        low, high = found.fit.interval()[name]
        covered = float(((low <= true) & (true <= high)).double().mean())
        low, high = alone.interval()[name]
        plain = float(((low <= true) & (true <= high))[alone.identified].double().mean())
        print(name, "RMSE", float(pooled), float(own), "coverage", covered, plain)
        assert 0.90 <= covered <= 0.98
        assert 0.90 <= plain <= 0.98


def test_one_subject_is_no_population():
    _, data = population(1, 5, 0)
    with pytest.raises(ValueError, match="data: one subject is no population"):
        fit_hierarchical(Q, data, fixed=HALF, starts=1)


def test_without_pyro_one_line_says_so(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyro", None)
    monkeypatch.setitem(__import__("sys").modules, "pyro.infer", None)
    _, data = population(2, 5, 0)
    with pytest.raises(ValueError, match=r"pyro: not installed; pip install pyro-ppl"):
        sample_posterior(Q, data, fixed=HALF)


@pytest.mark.slow
def test_nuts_samples_the_prior_where_nothing_is_scored():
    pytest.importorskip("pyro")
    nothing = torch.zeros(1, 2)
    data = Choices(nothing.long(), nothing.double(), 2, nothing.bool(), nothing.bool())
    found = sample_posterior(Q, data, fixed=HALF, upper={"beta": 10.0}, draws=1_000, warmup=300, chains=2)
    assert found.theta["alpha"].shape == (2_000, 2)
    assert found.divergences < 20
    # Φ of a standard normal is uniform.
    for name, upper in (("alpha", 1.0), ("beta", 10.0)):
        draws = found.group[name] / upper
        assert float(draws.mean()) == pytest.approx(0.5, abs=0.05)
        assert float(draws.std()) == pytest.approx(math.sqrt(1 / 12), abs=0.04)
    assert (found.r_hat < 1.05).all()


@pytest.mark.slow
def test_nuts_agrees_with_importance_sampling():
    pytest.importorskip("pyro")
    c, r = ([int(x) for x in digits] for digits in ("0110111011", "0110101110"))
    data = Choices.of_subjects([c], [r], 2)
    found = sample_posterior(Q, data, fixed=HALF, draws=400, warmup=200, chains=2, seed=1)
    generator = torch.Generator().manual_seed(3)
    mean, own, scale = (torch.randn(3, 100_000, 2, generator=generator, dtype=torch.float64)).unbind(0)
    z = mean + 0.2 * scale.abs() * own
    theta = {"alpha": torch.special.ndtr(z[:, 0]), "beta": z[:, 1].exp(), **HALF}
    weight = log_likelihood(Q, theta, data).softmax(0)
    for name in ("alpha", "beta"):
        expected = float((weight * theta[name]).sum())
        spread = math.sqrt(float((weight * (theta[name] - expected).square()).sum()))
        assert float(found.theta[name].mean()) == pytest.approx(expected, abs=0.2 * spread)
        assert float(found.theta[name].std()) == pytest.approx(spread, rel=0.25)
