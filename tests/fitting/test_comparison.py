"""Random effects against exact integrals, and which model made the data."""

import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import CHOICE_MODELS, Bias, Softmax, WinStayLoseShift
from imitate.conditioning.data import Choices
from imitate.conditioning.model import Parameter
from imitate.fitting.comparison import compare, random_effects
from imitate.fitting.fit import fit
from imitate.fitting.unknowns import Densities, Gaussian, Unknowns
from imitate_envs.bandits import StationaryBandit

# Few trials leave some subjects open; the tests that are about that look for the warning.
pytestmark = pytest.mark.filterwarnings("ignore::imitate.fitting.fit.IdentificationWarning")

EVIDENCE = np.array([[0.0, 1.0, -2.0], [-3.0, 0.5, 0.0], [1.0, 0.0, 0.5], [0.2, 2.0, -1.0]])


def test_the_posterior_is_the_naive_iteration():
    alpha = np.ones(3)
    for _ in range(500):
        counts = np.zeros(3)
        for row in EVIDENCE:
            weight = [
                np.exp(x + special.digamma(a) - special.digamma(alpha.sum())) for x, a in zip(row, alpha, strict=True)
            ]
            counts += np.array(weight) / sum(weight)
        alpha = 1 + counts
    found = random_effects(EVIDENCE)
    np.testing.assert_allclose(found.alpha, alpha, rtol=1e-6)
    np.testing.assert_allclose(found.frequency, alpha / 7, rtol=1e-6)
    np.testing.assert_allclose(found.responsibility.sum(1), 1)


def test_exceedance_of_two_is_a_beta_tail():
    found = random_effects(np.array([[0.0, 1.0], [0.0, 2.5], [0.3, 0.0]]))
    expected = stats.beta.sf(0.5, *found.alpha)
    np.testing.assert_allclose(found.exceedance, [expected, 1 - expected], rtol=1e-6)


def test_exceedance_of_three_is_a_share_of_draws():
    found = random_effects(EVIDENCE)
    draws = np.random.default_rng(0).dirichlet(found.alpha, 200_000)
    share = np.bincount(draws.argmax(1), minlength=3) / len(draws)
    np.testing.assert_allclose(found.exceedance, share, atol=0.005)
    assert found.exceedance.sum() == pytest.approx(1)


def test_the_free_energy_bounds_the_exact_evidence():
    """Of two models: log ∫ Π_s (r p_s1 + (1 − r) p_s2) dr."""
    evidence = EVIDENCE[:, :2] * 3
    found = random_effects(evidence)
    exact = np.log(
        integrate.quad(lambda r: np.prod(r * np.exp(evidence[:, 0]) + (1 - r) * np.exp(evidence[:, 1])), 0, 1)[0]
    )
    null = (special.logsumexp(evidence, axis=1) - np.log(2)).sum()
    free = null + np.log(1 / found.omnibus_risk - 1)
    assert exact - 0.5 < free < exact


def test_protection_is_against_chance():
    equal = random_effects(np.zeros((10, 4)))
    np.testing.assert_allclose(equal.protected, 0.25)
    np.testing.assert_allclose(equal.frequency, 0.25)
    assert equal.omnibus_risk > 0.5
    clear = random_effects(np.tile([0.0, 10.0, 0.0], (20, 1)))
    assert clear.omnibus_risk < 1e-3
    assert clear.protected[1] > 0.99
    found = random_effects(EVIDENCE)
    mixed = found.exceedance * (1 - found.omnibus_risk) + found.omnibus_risk / 3
    np.testing.assert_allclose(found.protected, mixed)
    shifted = random_effects(EVIDENCE - 1e4 * np.arange(4)[:, None])  # a subject's own constant is no matter
    np.testing.assert_allclose(shifted.protected, found.protected, rtol=1e-6)


def test_models_side_by_side():
    data = simulate_choices(WinStayLoseShift(), {"epsilon": 0.1}, StationaryBandit((0.3, 0.7)), 60, subjects=6)
    models = {"random": Softmax(Bias(1)), "wsls": WinStayLoseShift()}
    plain = {name: fit(model, data, starts=2) for name, model in models.items()}
    found = compare(plain)
    assert found.best == ["wsls"] * 6
    assert not found.laplace
    np.testing.assert_allclose(found.log_evidence, -found.bic / 2)
    np.testing.assert_allclose(found.aic[:, 1], plain["wsls"].aic_)
    rows = found.to_pandas()
    assert rows.index.tolist() == ["random", "wsls"]
    assert rows["best_of"].tolist() == [0, 6]
    assert rows.loc["wsls", "bic"] == pytest.approx(plain["wsls"].bic_.sum())
    assert rows.loc["wsls", "protected_exceedance"] > 0.9
    prior = Gaussian(torch.zeros(1).double(), torch.ones(1).double())
    bayes = {name: fit(model, data, prior=prior, starts=1) for name, model in models.items()}
    assert compare(bayes).laplace
    np.testing.assert_allclose(compare(bayes).log_evidence[:, 0], bayes["random"].log_evidence_)

    with pytest.raises(ValueError, match="fits: two models or more"):
        compare({"wsls": plain["wsls"]})
    shorter = Choices(data.action[:-1], data.reward[:-1], 2)
    with pytest.raises(ValueError, match="fits: 'random' is of other subjects or trials than 'wsls'"):
        compare({"wsls": plain["wsls"], "random": fit(models["random"], shorter, starts=1)})


PROPER = {
    "alpha": torch.distributions.Beta(1.2, 1.2).log_prob,
    "beta": torch.distributions.Gamma(2.0, 0.5).log_prob,
}


def test_a_model_is_as_probable_as_itself():
    """With two priors, of which one is none, it had been .94 against .06."""
    model = CHOICE_MODELS["q-learning"]
    data = simulate_choices(model, {"alpha": 0.3, "beta": 3.0}, StationaryBandit((0.3, 0.7)), 40, subjects=10)
    whole = fit(model, data, prior=Densities(PROPER), starts=1)
    twice = compare({"one": whole, "other": whole})
    np.testing.assert_allclose(twice.effects.frequency, 0.5)
    np.testing.assert_allclose(twice.effects.protected, 0.5)
    improper = {
        "no density of beta": {"alpha": PROPER["alpha"]},
        "flat": {**PROPER, "beta": torch.zeros_like},
        "of mass e": {**PROPER, "alpha": lambda x: PROPER["alpha"](x) + 1},
        "none": {},
    }
    for name, laws in improper.items():
        half = fit(model, data, prior=Densities(laws), starts=1)
        lacking = "alpha, beta" if not laws else "alpha" if name == "of mass e" else "beta"
        with pytest.raises(ValueError, match=f"log_evidence: the prior of {lacking} is no density of mass 1"):
            _ = half.log_evidence
        with pytest.raises(ValueError, match="log_evidence: the prior of"):
            compare({"whole": whole, "half": half})
    with pytest.raises(ValueError, match="fits: 'whole' has a prior and 'bare' has none"):
        compare({"bare": fit(model, data, starts=1), "whole": whole})


@pytest.mark.parametrize(
    "law",
    [
        torch.distributions.Beta(1.0, 1.0),
        torch.distributions.Beta(0.5, 0.5),
        torch.distributions.Beta(9_000.0, 1_000.0),
        torch.distributions.Gamma(1.0, 0.2),
        torch.distributions.HalfCauchy(3.0),
        torch.distributions.LogNormal(4.0, 0.01),
        torch.distributions.Normal(0.0, 1e4),
        torch.distributions.Normal(300.0, 1e-2),
    ],
    ids=str,
)
def test_a_density_is_known_from_half_of_one(law):
    bounds = {"Beta": (0.0, 1.0), "Normal": (-np.inf, np.inf)}.get(type(law).__name__, (0.0, np.inf))
    unknowns = Unknowns({"x": Parameter(0.5, *bounds)}, {})
    assert Densities({"x": law.log_prob}).improper(unknowns) == []
    assert Densities({"x": lambda x: law.log_prob(x) - 0.7}).improper(unknowns) == ["x"]


def test_bad_evidences():
    with pytest.raises(ValueError, match=r"subjects by two models or more, \[S, J\], not \(4, 1\)"):
        random_effects(EVIDENCE[:, :1])
    with pytest.raises(ValueError, match="of subject 1 under model 1 it is nan"):
        random_effects(np.where(EVIDENCE == 0.5, np.nan, EVIDENCE))


@pytest.mark.slow
def test_models_of_wilson_and_collins_are_told_apart():
    """Their design with β + 1, 100 subjects of each model: shares of the right one by BIC."""
    count, half = 100, {"Q0": 0.5}
    u = torch.rand(5, count, generator=torch.Generator().manual_seed(19), dtype=torch.float64)
    beta, beta_c = (1 - torch.log1p(-u[i]) for i in (1, 3))
    truth = {
        "random": {"bias_1": torch.logit(u[0])},
        "win-stay-lose-shift": {"epsilon": u[0]},
        "q-learning": {"alpha": u[0], "beta": beta, **half},
        "choice-kernel": {"alpha_c": u[2], "beta_c": beta_c},
        "q-learning-kernel": {"alpha": u[0], "beta": beta, "alpha_c": u[2], "beta_c": beta_c, **half},
    }
    records = [
        simulate_choices(CHOICE_MODELS[name], theta, StationaryBandit((0.2, 0.8)), 1_000, seed=i)
        for i, (name, theta) in enumerate(truth.items())
    ]
    action = torch.cat([one.action for one in records], 1)
    together = Choices(action, torch.cat([one.reward.double() for one in records], 1), 2)
    fits = {
        name: fit(model, together, fixed=half if "Q0" in model.parameters else None, starts=4)
        for name, model in CHOICE_MODELS.items()
    }
    best = compare(fits).best
    confusion = [
        [best[i * count : (i + 1) * count].count(name) / count for name in CHOICE_MODELS] for i in range(len(records))
    ]
    print(*confusion, sep="\n")
    for i, least in enumerate((0.97, 0.96, 0.94, 0.93, 0.72)):
        assert confusion[i][i] >= least - 0.08
