"""Losses of values and of return distributions against naive loops."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from imitate.distributions.regression import categorical_projection, huber, quantile_huber
from imitate.losses.value import greedy_action, munchausen_bonus, soft_value


@pytest.mark.parametrize("kappa", [0.3, 1.0, 2.0])
def test_huber(kappa):
    error = torch.linspace(-4, 4, 101)
    torch.testing.assert_close(
        huber(error, kappa), F.huber_loss(error, torch.zeros(101), reduction="none", delta=kappa)
    )


def test_soft_value_and_bonus():
    q = torch.tensor([[1.0, 2.0, -1.0]], dtype=torch.float64)
    tau = 0.5
    z = sum(math.exp(x / tau) for x in q[0].tolist())
    assert soft_value(q, tau).item() == pytest.approx(tau * math.log(z))
    for a in range(3):
        expected = max(-1.0, tau * math.log(math.exp(q[0, a].item() / tau) / z))
        assert munchausen_bonus(q, torch.tensor([a]), tau).item() == pytest.approx(expected)


def naive_projection(probs, atoms, support):
    """Bellemare, Dabney & Munos (2017), algorithm 1."""
    low, high = support[0], support[-1]
    step = support[1] - support[0]
    out = np.zeros(len(support))
    for p, z in zip(probs, atoms, strict=True):
        b = (min(max(z, low), high) - low) / step
        lower, upper = math.floor(b), math.ceil(b)
        if lower == upper:
            out[lower] += p
        else:
            out[lower] += p * (upper - b)
            out[upper] += p * (b - lower)
    return out


@pytest.mark.parametrize("discount", [0.0, 0.5, 0.99, 1.0])
def test_projection_is_the_algorithms_loop(discount):
    generator = torch.Generator().manual_seed(0)
    support = torch.linspace(-2, 3, 11, dtype=torch.float64)
    probs = torch.rand(6, 11, generator=generator, dtype=torch.float64).softmax(-1)
    reward = 4 * torch.rand(6, 1, generator=generator, dtype=torch.float64) - 2
    atoms = reward + discount * support
    found = categorical_projection(probs, atoms, support)
    for b in range(6):
        expected = naive_projection(probs[b].tolist(), atoms[b].tolist(), support.tolist())
        np.testing.assert_allclose(found[b].numpy(), expected, atol=1e-6)
    torch.testing.assert_close(found.sum(-1), torch.ones(6, dtype=torch.float64))


def test_projection_keeps_the_mean_inside_the_support():
    support = torch.linspace(-10, 10, 51, dtype=torch.float64)
    probs = torch.randn(4, 51, dtype=torch.float64).softmax(-1)
    atoms = torch.linspace(-1, 1, 4, dtype=torch.float64).unsqueeze(1) + 0.8 * support
    found = categorical_projection(probs, atoms, support)
    torch.testing.assert_close((found * support).sum(-1), (probs * atoms).sum(-1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_quantile_huber_is_a_double_loop(kappa):
    generator = torch.Generator().manual_seed(0)
    values, target = torch.randn(3, 4, generator=generator), torch.randn(3, 6, generator=generator)
    tau = ((torch.arange(4) + 0.5) / 4).expand(3, 4)
    found = quantile_huber(values, tau, target, kappa)
    for b in range(3):
        total = 0.0
        for i in range(4):
            for j in range(6):
                u = float(target[b, j] - values[b, i])
                loss = 0.5 * u * u if abs(u) <= kappa else kappa * (abs(u) - 0.5 * kappa)
                total += abs(float(tau[b, i]) - (u < 0)) * loss / kappa / 6
        assert found[b].item() == pytest.approx(total, rel=1e-5)


def test_quantile_regression_finds_the_quantiles():
    sample = torch.randn(1, 2_001, generator=torch.Generator().manual_seed(0)) * 3
    tau = torch.tensor([[0.1, 0.5, 0.9]])
    values = torch.zeros(1, 3, requires_grad=True)
    optimiser = torch.optim.Adam([values], 0.05)
    for _ in range(400):
        optimiser.zero_grad()
        quantile_huber(values, tau, sample, 0.01).sum().backward()
        optimiser.step()
    np.testing.assert_allclose(values[0].detach().numpy(), np.quantile(sample.numpy(), [0.1, 0.5, 0.9]), atol=0.15)


@pytest.mark.parametrize("kappa", [0.5, 1.0])
def test_the_gradient_of_huber_is_the_clipped_error(kappa):
    error = torch.linspace(-3, 3, 61, dtype=torch.float64).requires_grad_()
    huber(error, kappa).sum().backward()
    torch.testing.assert_close(error.grad, error.detach().clamp(-kappa, kappa))


def test_soft_values_between_maximum_and_all_choices():
    q = torch.randn(50, 4)
    torch.testing.assert_close(soft_value(q, 1e-3), q.amax(-1), atol=2e-3, rtol=0)
    soft = soft_value(q, 0.7)
    assert (soft >= q.amax(-1)).all()
    assert (soft <= q.amax(-1) + 0.7 * math.log(4) + 1e-6).all()
    # value of the softmax policy, with its entropy
    policy = (q / 0.7).softmax(-1)
    torch.testing.assert_close(soft, (policy * (q - 0.7 * policy.log())).sum(-1))


def test_a_bonus_is_never_positive_nor_below_its_bound():
    q = 5 * torch.randn(2, 30, 3)
    action = torch.randint(3, (2, 30))
    bonus = munchausen_bonus(q, action, 0.03)
    assert bonus.shape == (2, 30)
    assert (bonus <= 0).all()
    assert (bonus >= -1).all()
    assert (bonus == -1).any()
    best = munchausen_bonus(q, greedy_action(q), 0.03)
    assert best.min() >= -0.03 * math.log(3) - 1e-6
    assert munchausen_bonus(q, action, 0.03, lowest=-0.2).min() == pytest.approx(-0.2)
