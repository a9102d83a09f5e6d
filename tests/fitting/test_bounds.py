"""Bounds, directions that the data leave open, starts, and what is said about them."""

import math
from dataclasses import replace

import pytest
import torch

from imitate.conditioning.choice import Bias, Softmax
from imitate.conditioning.data import Choices
from imitate.conditioning.model import Parameter
from imitate.conditioning.values import QLearning
from imitate.fitting.fit import IdentificationWarning, fit
from imitate.fitting.unknowns import Densities, Gaussian, Unknowns

BIAS, Q = Softmax(Bias(1)), Softmax(QLearning())
INF = float("inf")


def chosen(*often, trials=40):
    """Subjects who choose action 1 so often."""
    action = (torch.arange(trials).unsqueeze(1) < torch.tensor(often)).long()
    return Choices(action, action * 0.0, 2)


def never_errs():
    """The one arm that pays is found at once and kept; the other subject wavers."""
    action = torch.ones(30, 2, dtype=torch.int64)
    action[0, 0] = 0
    action[::3, 1] = 0
    return Choices(action, (action == 1).double(), 2)


@pytest.mark.parametrize("bounds", [(0.5, 2.0), (0.5, INF), (-INF, 2.0), (-INF, INF)])
def test_a_parameter_and_its_z_are_each_other(bounds):
    parameter = Parameter(1.0, *bounds)
    z = torch.linspace(-5, 5, 21, dtype=torch.float64, requires_grad=True)
    value = parameter.constrain(z)
    assert ((value > bounds[0]) & (value < bounds[1]) & (value.diff(prepend=value[:1] - 1) > 0)).all()
    torch.testing.assert_close(parameter.unconstrain(value), z)
    (slope,) = torch.autograd.grad(value.sum(), z)
    torch.testing.assert_close(parameter.log_slope(z), slope.log())


def test_bounds_hold_and_are_said():
    data = chosen(10, 36, 4, 40)  # logits −1.10, 2.20, −2.20, ∞
    with pytest.warns(IdentificationWarning) as caught:
        found = fit(BIAS, data, lower={"bias_1": -2.0}, upper={"bias_1": 2.0}, starts=2)
    said = [str(one.message) for one in caught]
    assert said == [
        "fit: 1 of 4 subjects (2) have bias_1 at its lower bound, -2.",
        "fit: 2 of 4 subjects (1, 3) have bias_1 at its upper bound, 2.",
    ]
    # At a bound within a thousandth of a nat: so near to it as the slope there allows, 40·(p̂ − p) ≥ .7 a unit.
    expected = torch.tensor([-1.0986123, 2, -2, 2], dtype=torch.float64)
    torch.testing.assert_close(found.theta["bias_1"], expected, rtol=0, atol=1e-3 / 0.7)
    assert found.bounds[:, 0].tolist() == [0, 1, -1, 1]
    assert found.identified.tolist() == [True, False, False, False]
    assert found.se["bias_1"].isnan().tolist() == [False, True, True, True]
    assert found.converged.all()
    assert not found.open.any()


def test_one_bound_alone():
    data = chosen(10, 30)
    with pytest.warns(IdentificationWarning, match=r"1 of 2 subjects \(1\) have bias_1 at its upper bound, 1"):
        below = fit(BIAS, data, upper={"bias_1": 1.0}, starts=3)
    with pytest.warns(IdentificationWarning, match=r"1 of 2 subjects \(0\) have bias_1 at its lower bound, 1"):
        above = fit(BIAS, data, lower={"bias_1": 1.0}, starts=3)
    free = fit(BIAS, data, starts=3)
    for name in ("theta", "se"):
        there = [getattr(one, name)["bias_1"] for one in (below, above, free)]
        torch.testing.assert_close(there[0][0], there[2][0], rtol=1e-4, atol=0)
        torch.testing.assert_close(there[1][1], there[2][1], rtol=1e-4, atol=0)


def test_who_never_errs_has_no_temperature():
    data, half = never_errs(), {"alpha": 0.5}
    with pytest.warns(IdentificationWarning, match=r"1 of 2 subjects \(0\) leave a direction open"):
        away = fit(Q, data, fixed=half, starts=4)
    assert float(away.log_likelihood[0]) == pytest.approx(2 * math.log(0.5), abs=1e-4)  # both before any reward
    assert float(away.theta["beta"][0]) > 10
    assert away.open.tolist() == [True, False]
    assert away.converged.tolist() == away.identified.tolist() == [False, True]
    with pytest.warns(IdentificationWarning, match=r"1 of 2 subjects \(0\) have beta at its upper bound, 10"):
        held = fit(Q, data, fixed=half, upper={"beta": 10}, starts=4)
    assert float(held.theta["beta"][0]) == pytest.approx(10, abs=0.1)
    torch.testing.assert_close(held.theta["beta"][1], away.theta["beta"][1], rtol=1e-4, atol=0)
    assert held.converged.all()
    assert held.identified.tolist() == [False, True]
    prior = Gaussian(torch.zeros(1).double(), torch.ones(1).double())
    assert fit(Q, data, fixed=half, prior=prior, starts=1).identified.all()  # and no warning


@pytest.mark.filterwarnings("ignore::imitate.fitting.fit.IdentificationWarning")
def test_fewer_starts_are_the_first_of_more():
    unknowns = Unknowns.of(Softmax(QLearning(forgetting=True)), upper={"beta": 10.0})
    many = unknowns.starts(64, 0, {})
    for few in (1, 2, 8, 63):
        assert torch.equal(unknowns.starts(few, 0, {}), many[:few])
    assert not torch.equal(unknowns.starts(8, 1, {})[1:], many[1:8])
    # Even: each half of the range, and each quarter, has its share, to one point.
    level = (many[1:] + 4) / 8
    for parts in (2, 4):
        share = (level < torch.arange(1, parts).reshape(-1, 1, 1) / parts).double().sum(1) / 63
        torch.testing.assert_close(share[:, 0], torch.arange(1, parts).double() / parts, rtol=0, atol=3 / 63)
    found = [fit(Q, never_errs(), fixed={"beta": 3.0}, starts=n) for n in (2, 6)]
    torch.testing.assert_close(found[1].starts[:2], found[0].starts, rtol=0, atol=1e-6)
    assert (found[1].starts.amin(0) <= found[0].starts.amin(0) + 1e-6).all()


def test_starts_that_fail_do_not_agree():
    found = fit(BIAS, chosen(10, 20), starts=4)
    assert found.agreement.tolist() == [1.0, 1.0]
    ends = found.starts.clone()
    ends[1:, 0], ends[2, 1], ends[3, 1] = torch.inf, ends[2, 1] + 0.01, ends[3, 1] + 1e-4
    assert replace(found, starts=ends).agreement.tolist() == [0.25, 0.75]
    assert replace(found, starts=torch.full_like(ends, torch.inf)).agreement.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"upper": {"bta": 10}}, "upper: 'bta' is unknown; did you mean 'beta'. Only what is estimated"),
        ({"lower": {"Q0": 0}}, "lower: 'Q0' is unknown"),
        ({"upper": {"beta": 10}, "fixed": {"beta": 3}}, "upper: 'beta' is unknown"),
        ({"upper": {"beta": INF}}, "upper: 'beta' is a finite number from 0 to inf, so inf bounds nothing"),
        ({"lower": {"beta": float("nan")}}, "lower: 'beta' .* so nan bounds nothing"),
        ({"upper": {"alpha": 2}}, "upper: 'alpha' is a finite number from 0 to 1, so 2"),
        ({"lower": {"beta": 5}, "upper": {"beta": 5}}, "lower: 'beta' has nothing between 5 and 5"),
        ({"fixed": {"beta": INF}}, "beta: inf is no finite number"),
        ({"prior": Gaussian(torch.zeros(3), torch.ones(3))}, r"prior: 3 means, but 2 parameters .*alpha, beta"),
        (
            {"prior": Densities({"beta": torch.distributions.Uniform(0, 2).log_prob})},
            r"prior: the density of 'beta' is not defined everywhere in \[0, inf\]; give fit its bounds",
        ),
    ],
)
def test_bad_bounds_and_priors(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(Q, never_errs(), **arguments)


@pytest.mark.parametrize(("mean", "variance"), [(INF, 1.0), (0.0, INF), (0.0, 0.0), (0.0, -1.0), (float("nan"), 1.0)])
def test_a_gaussian_prior_is_of_finite_numbers(mean, variance):
    with pytest.raises(ValueError, match="prior: means are finite, variances finite and above 0"):
        Gaussian(torch.tensor([mean]), torch.tensor([variance]))
    with pytest.raises(ValueError, match="prior: mean and variance have one number a parameter"):
        Gaussian(torch.zeros(2), torch.ones(3))
