"""Distributional Rescorla-Wagner against a loop, its fixed points and the juice task."""

import functools

import numpy as np
import pytest
import torch

from imitate.conditioning.model import Trial
from imitate.conditioning.models import DistributionalRescorlaWagner, RescorlaWagner, expectile, quantile
from tests.conditioning.pavlov import against, learn, parameters

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9)
ODD = (0.137, 0.291, 0.618, 0.853)  # steps up and down never cancel, so no error's sign is left to rounding
JUICE = [0.1, 0.3, 1.2, 2.5, 5, 10, 20]  # µl
CHANCE = [0.0661, 0.0909, 0.1485, 0.1549, 0.3116, 0.1510, 0.0771]


def distributional(x, outcome, p, memory, response):
    strength = memory.setdefault("V", np.zeros((len(x), len(outcome), len(ODD))))
    before = strength.copy()
    for o, magnitude in enumerate(outcome):
        beta = p["beta_on"] if magnitude > 0 else p["beta_off"]
        for q, level in enumerate(ODD):
            error = magnitude - sum(x[k] * before[k, o, q] for k in range(len(x)))
            weight = 2 * (level if error > 0 else 1 - level)
            for i in range(len(x)):
                strength[i, o, q] += p["alpha"][i] * beta * x[i] * weight * response(error)
    return strength.mean(-1)


@pytest.mark.parametrize(("response", "plain"), [(expectile, lambda d: d), (quantile, np.sign)])
def test_lanes_are_loops(response, plain, generator):
    loop = functools.partial(distributional, response=plain)
    against(loop, DistributionalRescorlaWagner(ODD, response), generator)


def test_the_middle_expectile_is_rescorla_wagner(generator):
    x = (torch.rand(200, 3, generator=generator) < 0.6).double()
    outcome = torch.rand(200, 2, generator=generator, dtype=torch.float64)
    values = {"alpha": [0.1, 0.3, 0.2], "beta_on": 0.7, "beta_off": 0.4}
    one = DistributionalRescorlaWagner((0.5,))
    found = learn(one, parameters(one, 3, **values), x, outcome)
    expected = learn(RescorlaWagner(), parameters(RescorlaWagner(), 3, **values), x, outcome)
    torch.testing.assert_close(found[..., 0], expected, atol=1e-12, rtol=0)


def rest(model, values, chance, rate, burn, keep, generator, lanes=500):
    """Mean of each channel over lanes and the last `keep` trials, after `burn`: lanes·keep draws."""
    draws = torch.tensor(values, dtype=torch.float64)[
        torch.multinomial(torch.tensor(chance), (burn + keep) * lanes, replacement=True, generator=generator)
    ].view(-1, lanes, 1)
    theta = parameters(model, 1, alpha=rate, beta_on=1.0, beta_off=1.0)
    state = model.initial(theta, (lanes,), 1, 1) + float(np.dot(values, chance))
    total, on = torch.zeros(len(model.levels), dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    for t, outcome in enumerate(draws):
        state = model.update(theta, state, Trial(on, outcome))
        if t >= burn:
            total += model.channels(state, on)[:, 0].mean(0) / keep
    return total


def test_expectiles_of_juice(generator):
    """Within 2 % of what the distribution has, over 200,000 draws at a rate of .01 (A12)."""
    model = DistributionalRescorlaWagner(LEVELS)
    found = rest(model, JUICE, CHANCE, 0.01, 1000, 400, generator)
    np.testing.assert_allclose(found.numpy(), [2.0047, 3.3353, 5.2078, 7.7671, 10.8488], rtol=0.02)


def test_quantiles_of_juice(generator):
    """At an atom of the distribution, or within a step or so of it between its neighbours (A12)."""
    model = DistributionalRescorlaWagner(LEVELS, quantile)
    found = rest(model, JUICE, CHANCE, 0.01, 2500, 200, generator).tolist()
    at = [JUICE.index(want) for want in (0.3, 1.2, 5, 5, 10)]
    for value, i in zip(found, at, strict=True):
        assert JUICE[i - 1] < value < JUICE[i + 1]
        assert value == pytest.approx(JUICE[i], abs=0.35)


def test_expectiles_of_a_coin(generator):
    """τp / (τp + (1 − τ)(1 − p))."""
    model, p = DistributionalRescorlaWagner(LEVELS), 0.3
    tau = np.array(LEVELS)
    found = rest(model, [0.0, 1.0], [1 - p, p], 0.01, 600, 400, generator)
    np.testing.assert_allclose(found.numpy(), tau * p / (tau * p + (1 - tau) * (1 - p)), atol=0.01)


@pytest.mark.parametrize("levels", [(), (0.0, 0.5), (1.0,)])
def test_levels_out_of_range(levels):
    with pytest.raises(ValueError, match=r"levels: at least one, each inside \(0, 1\)"):
        DistributionalRescorlaWagner(levels)
