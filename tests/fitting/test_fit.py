"""Fits against SciPy, closed forms, and the truth of simulated subjects."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import CHOICE_MODELS, Bias, ChoiceKernel, Softmax
from imitate.conditioning.data import Choices
from imitate.conditioning.models.rescorla_wagner import RescorlaWagner
from imitate.conditioning.response import GaussianResponse, Responses
from imitate.conditioning.values import DualRates, QLearning
from imitate.fitting.fit import IdentificationWarning, fit
from imitate.fitting.likelihood import log_likelihood, one_step
from imitate.fitting.minimise import derivatives, minimise
from imitate.fitting.recover import recover
from imitate.fitting.unknowns import Densities, Unknowns
from imitate.fitting.unknowns import Gaussian as GaussianPrior
from imitate_envs.bandits import StationaryBandit

# Few trials leave some subjects open; the tests that are about that look for the warning.
pytestmark = pytest.mark.filterwarnings("ignore::imitate.fitting.fit.IdentificationWarning")

Q = Softmax(QLearning())
BANDIT = StationaryBandit((0.2, 0.8))
HALF = {"Q0": 0.5}


def subjects(count, trials, seed=0, low=1.0, high=10.0):
    """True parameters and records of Wilson and Collins' bandit."""
    u = torch.rand(2, count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    truth = {"alpha": 0.05 + 0.9 * u[0], "beta": low + (high - low) * u[1]}
    return truth, simulate_choices(Q, {**truth, **HALF}, BANDIT, trials, seed=seed)


@pytest.fixture(scope="module")
def fitted():
    truth, data = subjects(12, 40)
    return truth, data, fit(Q, data, fixed=HALF)


# The minimiser


def rosenbrock(z, lanes):
    """A curved valley, at another place in every lane."""
    x, y = z[:, 0] - 0.1 * lanes, z[:, 1]
    return (1 - x) ** 2 + 100 * (y - x**2) ** 2


def test_every_lane_finds_its_own_minimum():
    lanes = torch.arange(30)
    start = torch.randn(30, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = minimise(rosenbrock, start, tolerance=1e-8)
    assert found.converged.all()
    torch.testing.assert_close(found.z, torch.stack([1 + 0.1 * lanes, torch.ones(30)], 1).double(), rtol=1e-6, atol=0)
    alone = [minimise(lambda z, _, i=i: rosenbrock(z, lanes[i]), start[i : i + 1], tolerance=1e-8) for i in (0, 17)]
    torch.testing.assert_close(found.z[[0, 17]], torch.cat([one.z for one in alone]), rtol=1e-9, atol=0)


def test_a_lane_that_fails_does_not_stop_the_others():
    def function(z, lanes):
        value = (z**2).sum(-1)
        return torch.where(lanes == 1, torch.nan, torch.where(lanes == 2, -z[:, 0].exp(), value))

    found = minimise(function, torch.ones(4, 2, dtype=torch.float64), rounds=40)
    assert found.converged.tolist() == [True, False, False, True]
    torch.testing.assert_close(found.z[[0, 3]], torch.zeros(2, 2, dtype=torch.float64), rtol=0, atol=1e-5)
    assert found.evaluations == 40


def test_it_leaves_a_concave_slope_in_few_steps():
    """From near the top of a sigmoid's hill; each step of a metric that is never updated would be as small."""
    start = torch.tensor([[-6.0]], dtype=torch.float64)
    found = minimise(lambda z, _: -torch.sigmoid(z[:, 0]) + 0.05 * torch.relu(z[:, 0] - 3) ** 2, start)
    assert found.converged.all()
    assert found.evaluations < 40
    assert float(found.z) > 3


def test_derivatives_are_those_of_a_known_function():
    z = torch.tensor([[1.0, 2.0], [-1.0, 0.5]], dtype=torch.float64)
    value, gradient, hessian = derivatives(lambda z: z[:, 0] ** 3 * z[:, 1] + 2 * z[:, 1], z)
    x, y = z.unbind(1)
    torch.testing.assert_close(value, x**3 * y + 2 * y)
    torch.testing.assert_close(gradient, torch.stack([3 * x**2 * y, x**3 + 2], 1))
    expected = torch.stack([torch.stack([6 * x * y, 3 * x**2], 1), torch.stack([3 * x**2, 0 * x], 1)], 1)
    torch.testing.assert_close(hessian, expected)


# Maximum likelihood


def scipy_nll(data, s, starts):
    """The best of SciPy's L-BFGS-B over the same starts (logit α, log β), with its own loop in numpy."""
    c, r = data.action[:, s].tolist(), data.reward[:, s].tolist()

    def nll(z):
        alpha, beta = 1 / (1 + math.exp(-z[0])), math.exp(z[1])
        q, total = [0.5, 0.5], 0.0
        for a, reward in zip(c, r, strict=True):
            total += np.logaddexp(0, -beta * (q[a] - q[1 - a]))
            q[a] += alpha * (reward - q[a])
        return total

    return min(optimize.minimize(nll, start, method="L-BFGS-B", bounds=[(-20, 20)] * 2).fun for start in starts)


def test_it_is_scipy_subject_by_subject(fitted):
    _, data, found = fitted
    starts = found.unknowns.starts(3, 0, data.units).numpy()
    expected = [scipy_nll(data, s, starts) for s in range(6)]
    np.testing.assert_allclose(-found.log_likelihood_[:6], expected, rtol=0, atol=1e-4)
    assert found.ended.all()


def test_estimates_are_likelier_than_the_truth(fitted):
    truth, data, found = fitted
    assert (found.log_likelihood >= log_likelihood(Q, {**truth, **HALF}, data)).all()
    assert found.theta["Q0"].tolist() == [0.5] * 12


def test_most_starts_agree(fitted):
    _, _, found = fitted
    assert found.starts.shape == (8, 12)
    assert (found.agreement >= 0.25).double().mean() >= 0.95
    torch.testing.assert_close(found.starts.amin(0), -found.log_likelihood)


def test_a_subject_alone_is_a_subject_among_others(fitted):
    _, data, found = fitted
    alone = fit(Q, Choices(data.action[:, 3:4], data.reward[:, 3:4], 2), fixed=HALF)
    torch.testing.assert_close(alone.z[0], found.z[3], rtol=1e-5, atol=1e-5)
    whole, in_blocks = (fit(Q, data, fixed=HALF, starts=1, at_once=n) for n in (10**6, 500))
    torch.testing.assert_close(in_blocks.z, whole.z, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(in_blocks.hessian, whole.hessian, rtol=1e-4, atol=1e-5)


def test_the_same_call_gives_the_same_bits(fitted):
    _, data, _ = fitted
    first, again = (fit(Q, data, fixed=HALF, starts=1) for _ in range(2))
    assert torch.equal(first.z, again.z)


def test_padding_does_not_change_a_fit(fitted):
    _, data, _ = fitted
    nothing = torch.zeros(30, 12)
    masked = Choices(
        torch.cat([data.action, nothing.long()]), torch.cat([data.reward, nothing]), 2,
        *[torch.cat([data.learns, nothing.bool()])] * 2,
    )  # fmt: skip
    again, plain = fit(Q, masked, fixed=HALF, starts=1), fit(Q, data, fixed=HALF, starts=1)
    assert torch.equal(again.z, plain.z)
    assert torch.equal(again.bic, plain.bic)
    assert again.counts.tolist() == [40] * 12


def test_a_choice_bias_has_a_closed_form():
    action = (torch.arange(40).unsqueeze(1) < torch.tensor([10, 20, 32])).long()
    found = fit(Softmax(Bias(1)), Choices(action, action * 0.0, 2))
    p = torch.tensor([10, 20, 32]).double() / 40
    torch.testing.assert_close(found.theta["bias_1"], torch.logit(p), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(found.se["bias_1"], (40 * p * (1 - p)).rsqrt(), rtol=1e-6, atol=0)
    ll = 40 * (p * p.log() + (1 - p) * (1 - p).log())
    torch.testing.assert_close(found.log_likelihood, ll)
    torch.testing.assert_close(found.aic, 2 - 2 * ll)
    torch.testing.assert_close(found.bic, math.log(40) - 2 * ll)
    low, high = found.interval()["bias_1"]
    torch.testing.assert_close(high - low, 2 * 1.959964 * found.se["bias_1"], rtol=1e-6, atol=0)


def test_standard_errors_are_those_of_finite_differences(fitted):
    _, data, found = fitted
    s = int(found.identified.nonzero()[0])
    theta = np.array([found.alpha_[s], found.beta_[s]])

    def nll(x):
        return -float(log_likelihood(Q, {"alpha": x[0], "beta": x[1], **HALF}, data)[s])

    h, eye = 1e-4, np.eye(2)
    hessian = [
        [
            (nll(theta + h * (a + b)) - nll(theta + h * (a - b)) - nll(theta - h * (a - b)) + nll(theta - h * (a + b)))
            / (4 * h * h)
            for b in eye
        ]
        for a in eye
    ]
    # At a maximum inside the bounds the delta method gives what the Hessian in the parameters themselves does.
    errors = np.sqrt(np.diag(np.linalg.inv(hessian)))
    assert [float(found.se["alpha"][s]), float(found.se["beta"][s])] == pytest.approx(errors, rel=1e-3)


def test_what_data_leave_open_is_flagged():
    """Who never sees the other arm's reward has no learning rate; who always chooses one arm has no finite bias."""
    action = torch.zeros(30, 2, dtype=torch.int64)
    action[:15, 1] = 1
    with pytest.warns(IdentificationWarning, match=r"fit: 1 of 2 subjects \(0\) leave a direction open"):
        found = fit(Softmax(Bias(1)), Choices(action, action * 0.0, 2))
    assert found.identified.tolist() == [False, True]
    assert found.converged.tolist() == [False, True]
    assert found.se["bias_1"].isnan().tolist() == [True, False]
    assert found.covariance[0].isnan().all()
    assert found.log_likelihood[0] > -1e-4
    with pytest.raises(ValueError, match="sample: the data of subject 0 leave a direction open"):
        found.sample(10)


def test_free_and_fixed_parameters(fitted):
    _, data, _ = fitted
    each = torch.linspace(0.2, 0.8, 12, dtype=torch.float64)
    own = fit(Q, data, fixed={"Q0": each}, starts=2)
    torch.testing.assert_close(own.theta["Q0"], each)
    assert list(own.se) == ["alpha", "beta"]
    few = Choices(data.action[:20, :3], data.reward[:20, :3], 2)
    all_three = fit(Q, few, free=["alpha", "beta", "Q0"], starts=3)
    assert (all_three.log_likelihood >= fit(Q, few, fixed=HALF, starts=3).log_likelihood - 1e-4).all()
    only = fit(Q, data, fixed={**HALF, "beta": 3.0}, starts=2)
    assert only.unknowns.names == ["alpha"]
    assert only.z.shape == (12, 1)


def test_tables_and_arrays(fitted):
    _, _, found = fitted
    rows = found.to_pandas()
    assert rows.index.name == "subject"
    assert rows["alpha"].to_numpy() == pytest.approx(found.alpha_)
    assert rows["beta_se"].to_numpy() == pytest.approx(found.se["beta"].numpy(), nan_ok=True)
    assert rows["counts"].tolist() == [40] * 12
    assert isinstance(found.beta_, np.ndarray)
    assert found.aic_ == pytest.approx(4 - 2 * found.log_likelihood_)
    for missing in ("gamma_", "gamma", "_x_"):
        with pytest.raises(AttributeError, match="Fit has no"):
            getattr(found, missing)


# Priors


def grid_evidence(data, prior_z):
    """log ∫ p(data | z) p(z) dz of one subject over a fine grid."""
    z = torch.linspace(-7, 7, 141, dtype=torch.float64)
    a, b = torch.meshgrid(z, z, indexing="ij")
    theta = {"alpha": torch.sigmoid(a.flatten()), "beta": torch.exp(b.flatten()), **HALF}
    log = log_likelihood(Q, theta, data) + prior_z(torch.stack([a, b], -1).flatten(0, 1))
    return float(log.logsumexp(0)) + 2 * math.log(14 / 140)


def test_laplace_evidence_is_near_the_integral():
    _, data = subjects(1, 100, seed=5, low=2.0, high=3.0)
    prior = GaussianPrior(torch.tensor([0.0, 0.5]).double(), torch.tensor([1.0, 0.5]).double())
    unknowns = Unknowns.of(Q, fixed=HALF)
    exact = grid_evidence(data, lambda z: prior.log_density(unknowns, z))
    found = fit(Q, data, fixed=HALF, prior=prior)
    assert float(found.log_evidence) == pytest.approx(exact, abs=0.1)
    assert found.log_evidence_.shape == (1,)


def test_a_density_of_a_parameter_keeps_its_mass_in_z():
    unknowns = Unknowns.of(Q, fixed=HALF)
    laws = {"alpha": torch.distributions.Beta(1.2, 1.2).log_prob, "beta": torch.distributions.Gamma(2.0, 1.0).log_prob}
    z = torch.linspace(-14, 14, 561, dtype=torch.float64)
    a, b = torch.meshgrid(z, z, indexing="ij")
    log = Densities(laws).log_density(unknowns, torch.stack([a, b], -1).clamp(-14, 12))
    assert float(log.flatten().logsumexp(0)) + 2 * math.log(28 / 560) == pytest.approx(0, abs=1e-4)
    with pytest.raises(ValueError, match="prior: 'Q0' is unknown"):
        Densities({"Q0": laws["alpha"]}).log_density(unknowns, z.unsqueeze(-1).expand(-1, 2))


def test_a_prior_pulls_and_is_counted(fitted):
    _, data, free = fitted
    prior = GaussianPrior(torch.zeros(2).double(), torch.full((2,), 1e-8).double())
    tight = fit(Q, data, fixed=HALF, prior=prior, starts=1)
    assert tight.z.abs().max() < 1e-3
    assert (tight.log_likelihood < free.log_likelihood).all()
    torch.testing.assert_close(tight.log_prior, torch.full((12,), -math.log(2 * math.pi * 1e-8)).double())
    with pytest.raises(ValueError, match="log_evidence: needs a prior"):
        _ = free.log_evidence


def test_samples_have_the_covariance_of_the_fit(fitted):
    _, data, _ = fitted
    prior = GaussianPrior(torch.zeros(2).double(), torch.ones(2).double())
    found = fit(Q, data, fixed=HALF, prior=prior, starts=2)
    drawn = found.sample(20_000)
    z = found.unknowns.z(drawn)
    torch.testing.assert_close(z.mean(0), found.z, rtol=0, atol=0.03)
    torch.testing.assert_close(torch.cov(z[:, 4].T), found.covariance[4], rtol=0.05, atol=0.01)
    few = found.sample(3)
    assert one_step(Q, few, data).shape == (40, 3, 12, 2)
    assert simulate_choices(Q, few, BANDIT, 5).action.shape == (5, 3, 12)


# Responses


def responses(scale=1.0):
    shape = (20, 6)
    generator = torch.Generator().manual_seed(2)
    cues = torch.zeros(*shape, 2, dtype=torch.float64)
    cues[:10, :, 0] = 1
    cues[10:] = 1
    outcome = (torch.rand(*shape, 1, generator=generator) < 0.8).double()
    truth = {"alpha_A": 0.5, "alpha_B": 0.3, "gain": 8.0, "offset": 2.0, "sigma": 0.5}
    mean = one_step(BOTH, truth, Responses(cues, outcome, torch.zeros(shape).double()))
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    return Responses(cues, outcome, scale * (mean + 0.5 * noise))


FREE = ["gain", "offset", "sigma"]
BOTH = GaussianResponse(RescorlaWagner(), ("A", "B"))


def test_criteria_do_not_depend_on_the_unit_of_the_data():
    gaps, fits = [], []
    for data in (responses(), responses(10.0)):
        rich = fit(BOTH, data, free=["alpha_A", "alpha_B", *FREE], starts=1)
        poor = fit(BOTH, data, free=["alpha_A", *FREE], starts=1)
        gaps.append((rich.aic - poor.aic, rich.bic - poor.bic))
        fits.append(rich)
    torch.testing.assert_close(gaps[0], gaps[1], rtol=0, atol=1e-4)
    torch.testing.assert_close(fits[1].theta["sigma"], 10 * fits[0].theta["sigma"], rtol=1e-4, atol=0)
    torch.testing.assert_close(fits[1].aic - fits[0].aic, torch.full((6,), 40 * math.log(10)).double())
    assert fits[0].alpha_A_.mean() == pytest.approx(0.5, abs=0.1)
    assert fits[0].gain_.mean() == pytest.approx(8, abs=0.5)
    # The maximum-likelihood σ is the root mean square residual.
    residual = responses().response - one_step(BOTH, fits[0].theta, responses())
    torch.testing.assert_close(fits[0].theta["sigma"], residual.square().mean(0).sqrt(), rtol=1e-4, atol=0)


# Recovery


def test_recovery():
    truth, _ = subjects(100, 1, seed=8, low=3.0)
    found = recover(Q, truth, BANDIT, 100, fixed=HALF, starts=2)
    assert found.correlation("alpha") > 0.75
    assert found.rank_correlation("beta") > 0.6
    rows = found.to_pandas()
    assert rows.index.tolist() == ["alpha", "beta"]
    assert rows.loc["alpha", "correlation"] == pytest.approx(found.correlation("alpha"))
    assert rows.loc["alpha", "bias"] == pytest.approx(float((found.fit.theta["alpha"] - truth["alpha"]).mean()))
    inside = [
        low <= x <= high
        for low, high, x in zip(*found.fit.interval()["alpha"], truth["alpha"], strict=True)
        if not math.isnan(low)
    ]
    assert found.coverage("alpha") == pytest.approx(np.mean(inside))


WEAK = {"alpha": torch.distributions.Beta(1.2, 1.2).log_prob, "beta": torch.distributions.Gamma(1.2, 0.05).log_prob}


@pytest.mark.slow
@pytest.mark.parametrize("prior", [None, Densities(WEAK)], ids=["maximum likelihood", "weak priors"])
def test_recovery_at_the_size_of_wilson_and_collins(prior):
    """T = 1000, α ~ U(0, 1), β ~ Exp(10); and T = 200, β ~ U(1, 10).

    One subject in twenty has a β below 0.5, chooses nearly at random, and shows no learning rate. Others are likeliest
    at α → 1 and β → ∞, where the last two rewards decide: without a prior their β is any large number.
    """
    options = {"fixed": HALF, "prior": prior, "starts": 4}
    u = torch.rand(2, 500, generator=torch.Generator().manual_seed(18), dtype=torch.float64)
    beta = -10 * torch.log1p(-u[1])
    found = recover(Q, {"alpha": u[0], "beta": beta}, BANDIT, 1_000, **options)
    far, follows = found.error("alpha").abs() > 0.25, beta > 0.5
    shown = {name: torch.stack([true, found.fit.theta[name]])[:, follows] for name, true in found.truth.items()}
    r, rho = float(torch.corrcoef(shown["alpha"])[0, 1]), stats.spearmanr(*shown["beta"]).statistic
    print(found.to_pandas(), "far off:", float(far.double().mean()))
    print("β > 0.5:", r, rho, "far off:", float(far[follows].double().mean()))
    assert r >= 0.95 and rho >= 0.95
    assert far[follows].double().mean() < 0.02
    short = recover(Q, {"alpha": u[0], "beta": 1 + 9 * u[1]}, BANDIT, 200, **options)
    print(short.to_pandas(), "r of log β:", short.correlation("beta", log=True))
    assert short.correlation("alpha") >= 0.90
    assert short.rank_correlation("beta") >= 0.85
    if prior is not None:
        assert found.correlation("alpha") >= 0.95
        assert found.rank_correlation("beta") >= 0.95
        assert short.correlation("beta", log=True) >= 0.85


@pytest.mark.slow
def test_starts_agree_for_nearly_every_subject():
    _, data = subjects(300, 200)
    found = fit(Q, data, fixed=HALF, starts=16)
    assert float((found.agreement >= 0.25).double().mean()) >= 0.95


def test_every_model_of_the_comparison_set_can_be_fitted():
    _, data = subjects(3, 15)
    for name, model in CHOICE_MODELS.items():
        found = fit(model, data, starts=1)
        assert found.log_likelihood.isfinite().all(), name
    richest = fit(Softmax(QLearning(DualRates()), ChoiceKernel(), lapse=True), data, starts=1)
    assert richest.z.shape == (3, 6)


def test_bad_arguments(fitted):
    _, data, _ = fitted
    for arguments, message in (
        ({"free": ["alhpa"]}, "free: 'alhpa' is unknown; did you mean 'alpha'"),
        ({"fixed": {"bta": 1.0}}, "theta: 'bta' is unknown"),
        ({"fixed": {"alpha": 2.0}}, r"alpha: 2 is outside \[0, 1\]"),
        ({"free": ["alpha"], "fixed": {"alpha": 0.5}}, "fixed: 'alpha' is free"),
        ({"free": []}, "free: nothing is left"),
        ({"starts": 0}, "starts: at least 1"),
        ({"fixed": {"Q0": torch.zeros(5)}}, r"fixed: 'Q0' has shape \(5,\), but 12 subjects"),
    ):
        with pytest.raises(ValueError, match=message):
            fit(Q, data, **arguments)
    silent = torch.ones_like(data.scored).index_fill(1, torch.tensor([4]), False)
    with pytest.raises(ValueError, match="data: subject 4 has no trial that is scored; leave it out"):
        fit(Q, Choices(data.action, data.reward, 2, silent, silent))
    with pytest.raises(ValueError, match="a fit needs trials by subjects"):
        fit(Q, Choices(data.action[:, 0], data.reward[:, 0], 2))
