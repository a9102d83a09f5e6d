"""Projection and quantile regression: edges, float32, gradients. The loops are in `test_value.py`.

Letters: B batch, Z atoms, Q quantiles, P of the target.
"""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imitate.distributions.regression import categorical_projection, quantile_huber

SUPPORT = torch.linspace(-10, 10, 51)


def test_atoms_on_the_support_stay():
    probs = torch.randn(4, 51).softmax(-1)
    found = categorical_projection(probs, SUPPORT.expand(4, 51), SUPPORT)
    torch.testing.assert_close(found, probs, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("z", "shares"), [(99.0, {50: 1.0}), (-99.0, {0: 1.0}), (10.0, {50: 1.0}), (0.1, {25: 0.75, 26: 0.25})]
)
def test_where_one_atom_goes(z, shares):
    found = categorical_projection(torch.ones(1), torch.tensor([z]), SUPPORT)
    expected = torch.zeros(51)
    for i, share in shares.items():
        expected[i] = share
    torch.testing.assert_close(found, expected, atol=2e-6, rtol=0)


@given(st.floats(-30, 30), st.floats(0, 1), st.integers(2, 60), st.integers(0, 99))
def test_mass_is_kept_and_so_is_the_mean_inside(reward, discount, count, seed):
    support = torch.linspace(-7, 13, count, dtype=torch.float64)
    probs = torch.rand(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    probs = probs / probs.sum()
    atoms = reward + discount * support
    found = categorical_projection(probs, atoms, support)
    assert (found >= 0).all()
    assert float(found.sum()) == pytest.approx(1, abs=1e-9)
    # outside, an atom counts as the end it is clipped to
    assert float(found @ support) == pytest.approx(float(probs @ atoms.clamp(-7, 13)), abs=1e-9)


def test_in_single_precision_the_mass_is_one():
    probs = torch.randn(500, 51).softmax(-1)
    atoms = torch.randn(500, 1) + 0.99 * SUPPORT
    found = categorical_projection(probs, atoms, SUPPORT)
    torch.testing.assert_close(found.sum(-1), torch.ones(500), atol=5e-6, rtol=0)
    torch.testing.assert_close(found @ SUPPORT, (probs * atoms.clamp(-10, 10)).sum(-1), atol=2e-5, rtol=0)


@pytest.mark.parametrize("kappa", [0.1, 1.0])
def test_the_gradient_of_quantile_regression(kappa):
    """−E_j |τ_i − 1(u_ij < 0)| clip(u_ij, −κ, κ)/κ."""
    values = torch.randn(2, 5, dtype=torch.float64, requires_grad=True)
    target, tau = torch.randn(2, 7, dtype=torch.float64), torch.rand(2, 5, dtype=torch.float64)
    quantile_huber(values, tau, target, kappa).sum().backward()
    for b in range(2):
        for i in range(5):
            total = 0.0
            for j in range(7):
                u = float(target[b, j] - values[b, i].detach())
                total -= abs(float(tau[b, i]) - (u < 0)) * np.clip(u, -kappa, kappa) / kappa / 7
            assert values.grad[b, i].item() == pytest.approx(total, abs=1e-12)


def test_levels_are_shared_or_a_rows_own():
    values, target = torch.randn(3, 4), torch.randn(3, 6)
    shared = torch.rand(1, 4)
    torch.testing.assert_close(
        quantile_huber(values, shared, target), quantile_huber(values, shared.expand(3, 4), target)
    )
    own = torch.rand(3, 4)
    rows = [quantile_huber(values[b], own[b], target[b]) for b in range(3)]
    torch.testing.assert_close(quantile_huber(values, own, target), torch.stack(rows))


def test_a_perfect_estimate_of_a_point_costs_nothing_and_more_targets_do_not_count():
    values, tau = torch.full((1, 4), 2.0), (torch.arange(4).reshape(1, 4) + 0.5) / 4
    assert quantile_huber(values, tau, torch.full((1, 9), 2.0)).item() == 0
    target = torch.randn(1, 3)
    torch.testing.assert_close(quantile_huber(values, tau, target), quantile_huber(values, tau, target.repeat(1, 5)))


def test_an_atom_that_is_no_number_spoils_its_own_row_alone():
    """By a loss that is not finite the run then ends, and not by an index."""
    atoms = torch.tensor([[0.0, float("nan")], [0.0, 1.0]])
    found = categorical_projection(torch.full((2, 2), 0.5), atoms, SUPPORT)
    assert found[0].isnan().any() and found[1].isfinite().all()
