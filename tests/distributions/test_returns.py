"""Distributions of returns against numpy. Letters: B batch, A actions."""

import numpy as np
import pytest
import torch

from imitate.distributions.returns import (
    CategoricalReturn,
    ExpectedReturn,
    ExpectileReturn,
    QuantileReturn,
    ReturnDistribution,
    fresh_mean,
    midpoints,
)
from tests.oracles import expectiles

B, A = 5, 3
SUPPORT = torch.linspace(-2, 2, 9)


def make(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if kind == "expected":
        return ExpectedReturn(torch.randn(2, B, A, generator=generator))
    if kind == "atoms":
        return CategoricalReturn(torch.randn(2, B, A, 9, generator=generator).log_softmax(-1), SUPPORT)
    values = torch.randn(2, B, A, 7, generator=generator)
    if kind == "quantiles":
        return QuantileReturn(values, (torch.arange(7) + 0.5) / 7)
    if kind == "expectiles":
        tau = torch.linspace(0.1, 0.9, 7)
        return ExpectileReturn(expectiles(values, np.full(values.shape, 1 / 7), tau).float(), tau)
    if kind == "fractions":
        weights = torch.rand(2, B, 1, 7, generator=generator) + 0.1
        weights = weights / weights.sum(-1, keepdim=True)
        return QuantileReturn(values, weights.cumsum(-1) - weights / 2, weights=weights)
    return QuantileReturn(values, torch.rand(2, B, 1, 7, generator=generator))  # levels of their own: implicit


KINDS = ["expected", "atoms", "quantiles", "implicit", "fractions", "expectiles"]


def parts(distribution):
    """Atoms and probabilities in numpy, [..., K]."""
    if isinstance(distribution, ExpectedReturn):
        return distribution.value.unsqueeze(-1).numpy(), np.ones((*distribution.value.shape, 1))
    if isinstance(distribution, CategoricalReturn):
        return np.broadcast_to(SUPPORT.numpy(), distribution.log_probs.shape), distribution.probs.numpy()
    if isinstance(distribution, ExpectileReturn):
        return tuple(x.numpy() for x in distribution.imputed())
    if distribution.weights is not None:
        return distribution.values.numpy(), np.broadcast_to(distribution.weights.numpy(), distribution.values.shape)
    return distribution.values.numpy(), np.full(distribution.values.shape, 1 / distribution.values.shape[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_cdf(kind):
    distribution = make(kind)
    assert isinstance(distribution, ReturnDistribution)
    atoms, probs = parts(distribution)
    np.testing.assert_allclose(distribution.mean.numpy(), (atoms * probs).sum(-1), rtol=1e-4, atol=1e-5)
    before = 0
    for x in (-5.0, -1.0, 0.1, 1.3, 5.0):
        cdf = distribution.cdf(torch.full((2, B, A), x)).numpy()
        np.testing.assert_allclose(cdf, (probs * (atoms <= x)).sum(-1), atol=1e-5)
        assert (cdf >= before).all()
        before = cdf
    np.testing.assert_allclose(before, 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_by_quantiles_have_the_mean(kind):
    distribution = make(kind).take(torch.zeros(2, B, dtype=torch.int64))
    tau = ((torch.arange(7_000) + 0.5) / 7_000).expand(2, B, -1)
    drawn = distribution.quantile(tau)
    assert (drawn.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(drawn.mean(-1), distribution.mean, atol=2e-3, rtol=1e-3)
    noise = torch.rand(2, B, 9)
    assert torch.equal(distribution.sample(noise), distribution.quantile(noise))


@pytest.mark.parametrize("kind", KINDS)
def test_take_and_after(kind):
    distribution = make(kind)
    action = torch.randint(A, (2, B), generator=torch.Generator().manual_seed(1))
    taken = distribution.take(action)
    torch.testing.assert_close(taken.mean, distribution.mean.gather(-1, action.unsqueeze(-1)).squeeze(-1))
    reward, discount = torch.full((2, B), 0.1), torch.full((2, B), 0.5)
    torch.testing.assert_close(
        taken.bellman_backup(reward, discount).mean, reward + discount * taken.mean, atol=1e-5, rtol=1e-5
    )
    ended = taken.bellman_backup(reward, torch.zeros(2, B))
    torch.testing.assert_close(ended.mean, reward, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", ["expected", "atoms", "quantiles", "implicit", "fractions"])
def test_clamping_moves_the_mass_outside_to_the_ends(kind):
    """Ends of each member's own, at atoms of the support: means of clipped atoms, and nothing beyond the ends."""
    distribution = make(kind)
    low, high = torch.tensor([[-0.5], [-1.0]]), torch.tensor([[0.5], [0.0]])
    found = distribution.take(torch.ones(2, B, dtype=torch.int64)).clamp(low, high)
    atoms, probs = (x[:, :, 1] for x in np.broadcast_arrays(*parts(distribution)))
    ends = low.unsqueeze(-1).numpy(), high.unsqueeze(-1).numpy()
    np.testing.assert_allclose(found.mean, (np.clip(atoms, *ends) * probs).sum(-1), atol=1e-5)
    assert found.cdf(low - 1e-4).abs().max() < 1e-5
    torch.testing.assert_close(found.cdf(high + 1e-4), torch.ones(2, B))


def test_clamped_expectiles_are_inside_and_keep_their_order():
    found = make("expectiles").clamp(torch.tensor(-0.2), torch.tensor(0.3))
    assert found.values.min() == -0.2
    assert found.values.max() == pytest.approx(0.3)
    assert (found.values.diff(dim=-1) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_pulls_towards_the_target(kind):
    """Gradient descent on `distance` moves the mean to the target's, from anywhere."""
    action = torch.zeros(2, B, dtype=torch.int64)
    target = make(kind, 3).take(action)
    start = make(kind, 4)
    if kind == "expected":
        free = start.value.clone().requires_grad_()
        distribution = lambda: ExpectedReturn(free)  # noqa: E731
    elif kind == "atoms":
        free = start.log_probs.clone().requires_grad_()
        distribution = lambda: CategoricalReturn(free.log_softmax(-1), SUPPORT)  # noqa: E731
    elif kind == "expectiles":
        free = start.values.clone().requires_grad_()
        distribution = lambda: ExpectileReturn(free, start.tau)  # noqa: E731
    else:
        free = start.values.clone().requires_grad_()
        distribution = lambda: QuantileReturn(free, (torch.arange(7) + 0.5) / 7)  # noqa: E731
    optimiser = torch.optim.Adam([free], 0.05)
    for _ in range(600):
        optimiser.zero_grad()
        distribution().take(action).loss(target).sum().backward()
        optimiser.step()
    # A Huber loss with κ = 1 shrinks quantiles towards the mean; the mean itself is found.
    torch.testing.assert_close(distribution().take(action).mean.detach(), target.mean, atol=0.08, rtol=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_quantiles_invert_the_cdf(kind):
    """F⁻¹(τ) = inf {x: F(x) ≥ τ}, by a loop; so an atom's own cumulative probability leads back to it."""
    distribution = make(kind)
    atoms, probs = parts(distribution)
    tau = torch.tensor([0.01, 0.2, 0.5, 0.77, 0.99])
    found = distribution.quantile(tau)  # levels for all
    assert found.shape == (2, B, A, 5)
    assert torch.equal(found, distribution.quantile(tau.expand(2, B, A, 5)))
    for at in np.ndindex(2, B, A):
        order = np.argsort(atoms[at])
        for k, level in enumerate(tau.tolist()):
            total = 0.0
            for i in order:
                total += probs[at][i]
                if total >= level - 1e-6:
                    break
            assert found[at][k].item() == pytest.approx(atoms[at][i], abs=1e-6)
    found = np.where(probs > 1e-3, atoms, np.nan)  # of no weight, an expectile's sample is no quantile
    for x in np.sort(found, -1)[..., 2 if atoms.shape[-1] > 1 else 0 :: 3].transpose(3, 0, 1, 2):
        if np.isnan(x).any():
            continue
        x = torch.as_tensor(x.copy())
        level = distribution.cdf(x).unsqueeze(-1)
        torch.testing.assert_close(distribution.quantile(level - 1e-5).squeeze(-1), x)
        if kind in ("expected", "quantiles", "implicit"):  # elsewhere cumulative probabilities are rounded
            torch.testing.assert_close(distribution.quantile(level).squeeze(-1), x)
    assert torch.isfinite(distribution.quantile(torch.tensor([0.0, 1.0]))).all()


def test_quantiles_that_cross_are_sorted_first():
    distribution = QuantileReturn(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([1 / 6, 0.5, 5 / 6]))
    assert distribution.quantile(torch.tensor([0.1, 0.5, 0.9])).tolist() == [1.0, 2.0, 3.0]
    assert distribution.cdf(torch.tensor(1.5)).item() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", KINDS)
def test_take_is_a_loop_over_members_and_batch(kind):
    distribution = make(kind)
    action = torch.randint(A, (2, B), generator=torch.Generator().manual_seed(2))
    taken = distribution.take(action)
    atoms, probs = parts(distribution)
    mine, shares = parts(taken)
    for m in range(2):
        for b in range(B):
            a = int(action[m, b])
            np.testing.assert_array_equal(mine[m, b], atoms[m, b, a])
            np.testing.assert_allclose(shares[m, b], probs[m, b, a])
    if kind == "implicit":
        assert torch.equal(taken.tau, distribution.tau.squeeze(-2))


def test_atoms_move_by_the_papers_loop():
    distribution = make("atoms").take(torch.zeros(2, B, dtype=torch.int64))
    reward, discount = torch.randn(2, B), torch.rand(2, B)
    discount[0, 0] = 0
    found = distribution.bellman_backup(reward, discount).probs
    for m in range(2):
        for b in range(B):
            expected = np.zeros(9)
            for p, z in zip(distribution.probs[m, b].tolist(), SUPPORT.tolist(), strict=True):
                at = (min(max(float(reward[m, b]) + float(discount[m, b]) * z, -2), 2) + 2) / 0.5
                low = int(np.floor(at))
                expected[low] += p * (1 - (at - low))
                if at > low:
                    expected[low + 1] += p * (at - low)
            np.testing.assert_allclose(found[m, b].numpy(), expected, atol=1e-5)


def test_distances_are_those_of_the_papers():
    action = torch.zeros(2, B, dtype=torch.int64)
    one, two = make("atoms", 1).take(action), make("atoms", 2).take(action)
    expected = (two.probs * (two.probs / one.probs).log()).sum(-1)
    torch.testing.assert_close(one.loss(two), expected)
    torch.testing.assert_close(one.loss(one), torch.zeros(2, B), atol=1e-6, rtol=0)
    assert (one.loss(one) >= 0).all()
    certain = two.bellman_backup(torch.full((2, B), 0.5), torch.zeros(2, B))  # atoms of probability zero cost nothing
    torch.testing.assert_close(one.loss(certain), -one.log_probs[..., 5])
    one, two = make("expected", 1).take(action), make("expected", 2).take(action)
    error = (two.value - one.value).abs()
    torch.testing.assert_close(one.loss(two), torch.where(error < 1, error.square() / 2, error - 0.5))
    one, two = make("implicit", 1).take(action), make("quantiles", 2).take(action)
    for kappa in (1.0, 0.2):
        found = QuantileReturn(one.values, one.tau, kappa).loss(two)
        for m in range(2):
            for b in range(B):
                total = 0.0
                for v, tau in zip(one.values[m, b].tolist(), one.tau[m, b].tolist(), strict=True):
                    for t in two.values[m, b].tolist():
                        u = t - v
                        size = u * u / 2 if abs(u) <= kappa else kappa * (abs(u) - kappa / 2)
                        total += abs(tau - (u < 0)) * size / kappa / 49
                assert found[m, b].item() == pytest.approx(total, rel=1e-4)


def test_one_set_of_levels_serves_all():
    """Levels [Q] and the same ones written out for every row give the same loss."""
    distribution, action = make("quantiles"), torch.zeros(2, B, dtype=torch.int64)
    written = QuantileReturn(distribution.values, distribution.tau.expand(2, B, 1, 7))
    target = make("quantiles", 5).take(action)
    torch.testing.assert_close(distribution.take(action).loss(target), written.take(action).loss(target))


def test_the_divergence_has_the_cross_entropys_gradient():
    action = torch.zeros(2, B, dtype=torch.int64)
    target = make("atoms", 2).take(action)
    logits = make("atoms", 1).take(action).log_probs.clone().requires_grad_()
    CategoricalReturn(logits.log_softmax(-1), SUPPORT).loss(target).sum().backward()
    torch.testing.assert_close(logits.grad, logits.detach().exp() - target.probs, atol=1e-5, rtol=1e-4)


def test_weighted_targets_count_by_their_weight():
    """A sample of double weight is a sample twice."""
    action = torch.zeros(2, B, dtype=torch.int64)
    distribution = make("quantiles").take(action)
    values = torch.randn(2, B, 3)
    weights = torch.tensor([0.25, 0.25, 0.5])
    weighted = QuantileReturn(values, torch.tensor([0.125, 0.375, 0.75]), weights=weights)
    repeated = QuantileReturn(values[..., [0, 1, 2, 2]], midpoints(4))
    torch.testing.assert_close(distribution.loss(weighted), distribution.loss(repeated))
    torch.testing.assert_close(weighted.mean, repeated.mean)


def test_expectiles_are_regressed_onto_imputed_samples():
    action = torch.zeros(2, B, dtype=torch.int64)
    one, two = make("expectiles", 1).take(action), make("expectiles", 2).take(action)
    samples, probs = two.imputed()
    found = one.loss(two)
    for m in range(2):
        for b in range(B):
            total = 0.0
            for v, tau in zip(one.values[m, b].tolist(), one.tau.tolist(), strict=True):
                for z, p in zip(samples[m, b].tolist(), probs[m, b].tolist(), strict=True):
                    total += p * abs(tau - (z < v)) * (z - v) ** 2 / 7
            assert found[m, b].item() == pytest.approx(total, rel=1e-4)


def test_a_network_answers_at_the_levels_it_is_asked_for():
    """Before and after a choice, a reward and a discount; `fresh_mean` asks at midpoints."""
    slope = torch.randn(2, B, A, 1).abs() + 0.1

    def network(tau):
        return slope * tau.expand(2, B, A, -1) ** 2

    tau = torch.rand(2, B, 1, 7)
    distribution = QuantileReturn(network(tau), tau, network=network)
    asked = torch.rand(5)
    torch.testing.assert_close(distribution.quantile(asked), slope * asked**2)
    action = torch.randint(A, (2, B))
    reward, discount = torch.randn(2, B), torch.rand(2, B)
    moved = distribution.take(action).bellman_backup(reward, discount)
    expected = slope[..., 0].gather(-1, action.unsqueeze(-1)) * asked**2
    torch.testing.assert_close(moved.quantile(asked), reward.unsqueeze(-1) + discount.unsqueeze(-1) * expected)
    own = torch.rand(2, B, 4)
    expected = slope[..., 0].gather(-1, action.unsqueeze(-1)) * own**2
    torch.testing.assert_close(distribution.take(action).sample(own), expected)
    torch.testing.assert_close(fresh_mean(distribution), slope[..., 0] * (midpoints(7) ** 2).mean())
    assert not torch.allclose(fresh_mean(distribution), distribution.mean)
    for kind in KINDS:
        assert torch.equal(fresh_mean(make(kind)), make(kind).mean)
    weights = torch.full((2, B, 1, 7), 1 / 7)
    proposed = QuantileReturn(distribution.values, tau, weights=weights, network=network)
    assert torch.equal(fresh_mean(proposed), proposed.mean)
    torch.testing.assert_close(proposed.quantile(midpoints(7)), distribution.values.sort(-1).values)
