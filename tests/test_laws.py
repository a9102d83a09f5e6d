"""Laws of returns against numpy. Letters: B batch, A actions."""

import numpy as np
import pytest
import torch

from imitate.laws import AtomsLaw, Expected, Law, QuantileLaw

B, A = 5, 3
SUPPORT = torch.linspace(-2, 2, 9)


def make(kind, seed=0):
    generator = torch.Generator().manual_seed(seed)
    if kind == "expected":
        return Expected(torch.randn(2, B, A, generator=generator))
    if kind == "atoms":
        return AtomsLaw(torch.randn(2, B, A, 9, generator=generator).log_softmax(-1), SUPPORT)
    values = torch.randn(2, B, A, 7, generator=generator)
    if kind == "quantiles":
        return QuantileLaw(values, (torch.arange(7) + 0.5) / 7)
    return QuantileLaw(values, torch.rand(2, B, 1, 7, generator=generator))  # levels of their own: implicit


KINDS = ["expected", "atoms", "quantiles", "implicit"]


def parts(law):
    """Atoms and probabilities in numpy, [..., K]."""
    if isinstance(law, Expected):
        return law.value.unsqueeze(-1).numpy(), np.ones((*law.value.shape, 1))
    if isinstance(law, AtomsLaw):
        return np.broadcast_to(SUPPORT.numpy(), law.log_probs.shape), law.probs.numpy()
    return law.values.numpy(), np.full(law.values.shape, 1 / law.values.shape[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_mean_and_cdf(kind):
    law = make(kind)
    assert isinstance(law, Law)
    atoms, probs = parts(law)
    np.testing.assert_allclose(law.mean.numpy(), (atoms * probs).sum(-1), rtol=1e-4, atol=1e-5)
    before = 0
    for x in (-5.0, -1.0, 0.1, 1.3, 5.0):
        cdf = law.cdf(torch.full((2, B, A), x)).numpy()
        np.testing.assert_allclose(cdf, (probs * (atoms <= x)).sum(-1), atol=1e-5)
        assert (cdf >= before).all()
        before = cdf
    np.testing.assert_allclose(before, 1, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_samples_by_quantiles_have_the_mean(kind):
    law = make(kind).take(torch.zeros(2, B, dtype=torch.int64))
    tau = ((torch.arange(7_000) + 0.5) / 7_000).expand(2, B, -1)
    drawn = law.quantile(tau)
    assert (drawn.diff(dim=-1) >= 0).all()
    torch.testing.assert_close(drawn.mean(-1), law.mean, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_take_and_after(kind):
    law = make(kind)
    action = torch.randint(A, (2, B), generator=torch.Generator().manual_seed(1))
    taken = law.take(action)
    torch.testing.assert_close(taken.mean, law.mean.gather(-1, action.unsqueeze(-1)).squeeze(-1))
    reward, discount = torch.full((2, B), 0.1), torch.full((2, B), 0.5)
    torch.testing.assert_close(taken.after(reward, discount).mean, reward + discount * taken.mean, atol=1e-5, rtol=1e-5)
    ended = taken.after(reward, torch.zeros(2, B))
    torch.testing.assert_close(ended.mean, reward, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_pulls_towards_the_target(kind):
    """Gradient descent on `distance` moves the mean to the target's, from anywhere."""
    action = torch.zeros(2, B, dtype=torch.int64)
    target = make(kind, 3).take(action)
    start = make(kind, 4)
    if kind == "expected":
        free = start.value.clone().requires_grad_()
        law = lambda: Expected(free)  # noqa: E731
    elif kind == "atoms":
        free = start.log_probs.clone().requires_grad_()
        law = lambda: AtomsLaw(free.log_softmax(-1), SUPPORT)  # noqa: E731
    else:
        free = start.values.clone().requires_grad_()
        law = lambda: QuantileLaw(free, (torch.arange(7) + 0.5) / 7)  # noqa: E731
    optimiser = torch.optim.Adam([free], 0.05)
    for _ in range(600):
        optimiser.zero_grad()
        law().take(action).distance(target).sum().backward()
        optimiser.step()
    # A Huber loss with κ = 1 shrinks quantiles towards the mean; the mean itself is found.
    torch.testing.assert_close(law().take(action).mean.detach(), target.mean, atol=0.08, rtol=0.05)
