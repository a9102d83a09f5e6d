"""Risk measures against closed forms. Letters: M members, B batch, A actions, K levels."""

import math
from typing import get_args

import pytest
import torch

from imitate.core.noise import Stream
from imitate.distributions.returns import CategoricalReturn, ExpectedReturn, QuantileReturn, midpoints
from imitate.distributions.risk import CPW, RISKS, CVaR, Distorted, MeanVariance, Power, Wang, risk
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.return_heads import Implicit, ReturnHead
from imitate.policies import RiskSensitive
from imitate_envs.base import Discrete

MEAN, DEVIATION = torch.tensor([0.5, -2.0, 7.0]), torch.tensor([1.0, 3.0, 0.2])
DENSITY = [
    math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi) for z in (-1.2815515655446004, 0.0)
]  # at the quantiles .1, .5


def normal(levels=2_000):
    """Normal distributions of three actions, by quantiles so many that they are as good as all."""
    z = torch.special.ndtri(midpoints(levels).double())
    return QuantileReturn((MEAN.unsqueeze(-1) + DEVIATION.unsqueeze(-1) * z).float(), midpoints(levels))


@pytest.mark.parametrize(("alpha", "density"), [(0.1, DENSITY[0]), (0.5, DENSITY[1])])
def test_cvar_of_a_normal_law(alpha, density):
    """μ − σ φ(Φ⁻¹(α))/α."""
    found = Distorted(CVaR(alpha), levels=1_000)(normal(20_000))
    torch.testing.assert_close(found, MEAN - DEVIATION * density / alpha, atol=0.01, rtol=0)


@pytest.mark.parametrize("eta", [-0.75, 0.0, 0.4])
def test_wang_shifts_a_normal_law_by_its_deviations(eta):
    found = Distorted(Wang(eta), levels=1_000)(normal(20_000))
    torch.testing.assert_close(found, MEAN + eta * DEVIATION, atol=0.01, rtol=0)


@pytest.mark.parametrize("weight", [0.0, 0.3, -1.0])
def test_mean_less_variance(weight):
    found = MeanVariance(weight, levels=4_000)(normal(4_000))
    torch.testing.assert_close(found, MEAN - weight * DEVIATION.square(), atol=0.01, rtol=0.01)


@pytest.mark.parametrize("eta", [-2.0, 0.0, 0.5])
def test_power_of_a_uniform_law(eta):
    """E β(τ) is (1 + |η|)/(2 + |η|) for η ≥ 0, and 1 less that for η < 0."""
    uniform = QuantileReturn(midpoints(5_000), midpoints(5_000))
    share = (1 + abs(eta)) / (2 + abs(eta))
    found = Distorted(Power(eta), levels=1_000)(uniform)
    assert found.item() == pytest.approx(share if eta >= 0 else 1 - share, abs=1e-3)


def test_prospect_theory_weighs_both_tails():
    """β at the published exponent, by hand; 1 is the mean, less brings both ends nearer to the middle levels."""
    tau = torch.tensor([0.0, 0.1, 0.5, 0.9])
    expected = [t**0.71 / (t**0.71 + (1 - t) ** 0.71) ** (1 / 0.71) for t in tau.tolist()]
    torch.testing.assert_close(CPW()(tau), torch.tensor(expected))
    assert CPW()(tau)[1] > 0.1
    assert CPW()(tau)[3] < 0.9
    torch.testing.assert_close(CPW(1.0)(tau), tau)


@pytest.mark.parametrize("distortion", [CVaR(0.3), CVaR(1.0), Wang(-1.0), Wang(1.0), Power(-2.0), Power(2.0), CPW()])
def test_distortions_increase_within_the_levels(distortion):
    beta = distortion(midpoints(500))
    assert ((beta >= 0) & (beta <= 1) & torch.isfinite(beta)).all()
    assert (beta.diff() > 0).all()


def test_a_scored_law_is_a_loop_over_its_quantiles():
    distribution = CategoricalReturn(torch.randn(2, 5, 3, 7).log_softmax(-1), torch.linspace(-3, 3, 7))
    found = Distorted(CVaR(0.25), levels=8)(distribution)
    for at in torch.cartesian_prod(torch.arange(2), torch.arange(5), torch.arange(3)).tolist():
        total, cumulative = 0.0, distribution.probs[tuple(at)].cumsum(0).tolist()
        for k in range(8):
            level = 0.25 * (k + 0.5) / 8
            total += next(z for z, c in zip(distribution.support.tolist(), cumulative, strict=True) if c >= level) / 8
        assert found[tuple(at)].item() == pytest.approx(total, abs=1e-5)


def test_a_point_mass_is_worth_itself():
    distribution = ExpectedReturn(torch.randn(4, 3))
    for name, number in {"cvar": 0.2, "wang": -1.0, "power": -1.0, "cpw": 0.7, "mean-variance": 3.0}.items():
        torch.testing.assert_close(RISKS[name](number)(distribution), distribution.value)


# Acting


def make(head):
    return QNetwork(Discrete(9), Discrete(3), 2, QArchitecture((8,), head=head, temperature=0.5), Stream(0, "i"))


@pytest.mark.parametrize("kind", get_args(ReturnHead))
def test_a_policy_is_greedy_by_the_score(kind):
    policy, obs = make(kind()), torch.arange(9).expand(2, 9)
    measure = Distorted(CVaR(0.1))
    acting = RiskSensitive(policy, measure)
    score = measure(policy.returns(obs))
    assert score.shape == (2, 9, 3)
    assert torch.equal(acting.distribution(obs).mode, score.argmax(-1))
    noise = torch.rand(2, 9, 1)
    assert torch.equal(acting.act(obs, noise, acting.memory(2, 9))[0], acting.distribution(obs).sample(noise))
    torch.testing.assert_close(acting.distribution(obs).probs, (score / 0.5).softmax(-1))


def test_a_network_of_levels_is_asked_at_the_distorted_ones():
    policy, obs = make(Implicit(4, 8)), torch.arange(9).expand(2, 9)
    found = Distorted(CVaR(0.1), levels=6)(policy.returns(obs))
    asked = make(Implicit(6, 8))
    asked.load_state_dict(policy.state_dict())
    levels = (0.1 * midpoints(6)).expand(2, 9, 6)
    torch.testing.assert_close(found, asked.returns(obs, levels).values.mean(-1))


# On the command line


def test_a_measure_by_its_name():
    assert risk("cvar:0.1") == Distorted(CVaR(0.1))
    assert risk("wang:-0.75") == Distorted(Wang(-0.75))
    assert risk("mean-variance:2") == MeanVariance(2.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cvarr:0.1", "did you mean 'cvar'"),
        ("cvar", "needs a number"),
        ("cvar:x", "needs a number"),
        ("cvar:0", r"cvar: .*\(0, 1\]"),
        ("cvar:1.5", "cvar"),
        ("cpw:0", "cpw"),
    ],
)
def test_bad_measures_are_named(text, message):
    with pytest.raises(ValueError, match=message):
        risk(text)
