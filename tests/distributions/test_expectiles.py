"""Expectiles, and the distributions imputed from them, against bisection. Letters: B batch, Q expectiles, P samples."""

import numpy as np
import pytest
import torch

from imitate.distributions.regression import expectile_regression, impute_expectiles
from imitate.distributions.returns import ExpectileReturn
from tests.oracles import expectiles


def levels(count, edge):
    return torch.linspace(edge, 1 - edge, count, dtype=torch.float64)


LAWS = {
    "normal": lambda g: torch.randn(20, 200, generator=g, dtype=torch.float64),
    "skewed": lambda g: -5 * torch.rand(20, 200, generator=g, dtype=torch.float64).log(),
    "coin": lambda g: 10.0 * (torch.rand(20, 60, generator=g) < 0.5).double(),
    "three": lambda g: 50 + 3 * torch.randn(20, 3, generator=g, dtype=torch.float64),
    "rare": lambda g: -10.0 * (torch.arange(400) < 3).double().expand(20, 400),
    "certain": lambda g: torch.full((20, 5), -2.5, dtype=torch.float64),
}


@pytest.mark.parametrize(("count", "edge"), [(3, 0.1), (11, 0.01), (31, 0.01)])
@pytest.mark.parametrize("name", LAWS)
def test_what_is_imputed_has_the_expectiles_given(name, count, edge, generator):
    samples = LAWS[name](generator)
    tau = levels(count, edge)
    given = expectiles(samples, np.full(samples.shape, 1 / samples.shape[-1]), tau)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 1e-5)):
        found, probs = impute_expectiles(given.to(dtype), tau.to(dtype))
        assert found.shape == probs.shape == (20, count - 1)
        assert (probs >= 0).all()
        assert (found.diff(dim=-1) >= -1e-4).all()
        torch.testing.assert_close(probs.sum(-1), torch.ones(20, dtype=dtype))
        scale = float(samples.abs().max())
        assert (expectiles(found, probs, tau) - given).abs().max() < tolerance * max(1.0, scale), dtype


def test_a_law_of_two_points_is_found_exactly():
    """10τ are the expectiles of a fair coin that pays 0 or 10."""
    tau = levels(9, 0.1)
    samples, probs = impute_expectiles(10 * tau, tau)
    assert probs[0] == pytest.approx(0.5)
    assert probs[-1] == pytest.approx(0.5)
    assert samples[0] == pytest.approx(0, abs=1e-9)
    assert samples[-1] == pytest.approx(10)


def test_values_that_no_law_has_are_mended(generator):
    """Of any order and size: probabilities stay probabilities, the mean stays the mean."""
    tau = levels(11, 0.01).float()
    values = 100 * torch.randn(500, 11, generator=generator)
    values[0] = 3.0
    values[1, :5], values[1, 5:] = 7.0, -7.0
    samples, probs = impute_expectiles(values, tau)
    assert torch.isfinite(samples).all()
    assert (probs >= 0).all()
    torch.testing.assert_close(probs.sum(-1), torch.ones(500))
    torch.testing.assert_close((samples * probs).sum(-1), values[:, 5], atol=2e-2, rtol=1e-4)
    torch.testing.assert_close(samples[0], torch.full((10,), 3.0))


def test_imputation_moves_and_scales_with_its_law(generator):
    tau = levels(11, 0.01)
    given = expectiles(torch.randn(4, 30, generator=generator), np.full((4, 30), 1 / 30), tau)
    samples, probs = impute_expectiles(given, tau)
    moved, same = impute_expectiles(3 + 0.5 * given, tau)
    torch.testing.assert_close(moved, 3 + 0.5 * samples)
    torch.testing.assert_close(same, probs)


def test_regression_finds_the_expectiles(generator):
    """The minimiser of the loss solves the equation that the bisection solves."""
    samples = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    probs, tau = torch.rand(40, generator=generator, dtype=torch.float64).softmax(0), levels(5, 0.1)
    values = torch.zeros(3, 5, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")

    def closure():
        optimiser.zero_grad()
        loss = expectile_regression(values, tau, samples, probs).sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    torch.testing.assert_close(values.detach(), expectiles(samples, probs, tau), atol=1e-5, rtol=0)


def backed_up(values, tau, impute):
    """Expectiles of what follows: the state before, without reward; naively, expectiles are taken for samples."""
    samples, probs = impute_expectiles(values, tau) if impute else (values, torch.full_like(values, 1 / len(tau)))
    return expectiles(samples, probs, tau)


def test_along_a_chain_imputation_keeps_the_spread_and_naive_bootstrapping_loses_it():
    """Fifteen states before a reward of N(0, 1): exact dynamic programming (Rowland et al. 2019)."""
    tau = levels(9, 0.1)
    reward = torch.special.ndtri((torch.arange(500, dtype=torch.float64) + 0.5) / 500)
    true = expectiles(reward, np.full(500, 1 / 500), tau)
    naive = imputed = true
    spread = true[-1] - true[0]
    for steps in range(1, 16):
        naive, imputed = backed_up(naive, tau, False), backed_up(imputed, tau, True)
        torch.testing.assert_close(imputed, true, atol=1e-9, rtol=0)
        assert naive[-1] - naive[0] < 0.7**steps * spread
    assert naive[4] == pytest.approx(0, abs=1e-9)  # the mean alone survives


def test_the_law_by_gradient_descent_along_a_chain():
    """Each state learns from the one behind it by `distance`, the last one from a coin that pays 0 or 10."""
    tau = levels(5, 0.1).float()
    coin = ExpectileReturn(10 * tau, tau)
    values = torch.zeros(6, 5, requires_grad=True)
    optimiser = torch.optim.Adam([values], 0.1)
    for _ in range(800):
        optimiser.zero_grad()
        following = torch.cat([values.detach()[1:], coin.values.unsqueeze(0)])
        ExpectileReturn(values, tau).loss(ExpectileReturn(following, tau)).sum().backward()
        optimiser.step()
    torch.testing.assert_close(values.detach(), coin.values.expand(6, 5), atol=0.05, rtol=0)
