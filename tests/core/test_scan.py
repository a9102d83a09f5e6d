import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imitate.core.scan import linear_recurrence, scan
from tests import oracles


@given(st.integers(1, 40), st.booleans(), st.integers(0, 1000))
def test_linear_recurrence_is_the_loop(length, reverse, seed):
    a, b = np.random.default_rng(seed).uniform(-1.2, 1.2, (2, length, 3, 2))
    found = linear_recurrence(torch.tensor(a), torch.tensor(b), reverse=reverse)
    np.testing.assert_allclose(found, oracles.recurrence(a, b, reverse), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 127, 128, 129])
@pytest.mark.parametrize("reverse", [False, True])
def test_linear_recurrence_of_the_lengths_around_a_power_of_two(length, reverse):
    a, b = np.random.default_rng(length).uniform(0, 1, (2, length))
    found = linear_recurrence(torch.tensor(a), torch.tensor(b), reverse=reverse)
    np.testing.assert_allclose(found, oracles.recurrence(a, b, reverse), rtol=1e-12)


def test_linear_recurrence_knows_a_closed_form():
    """Of a = γ, b = 1 the sum is that of a geometric series."""
    y = linear_recurrence(
        torch.full((50,), 0.9, dtype=torch.float64), torch.ones(50, dtype=torch.float64), reverse=True
    )
    np.testing.assert_allclose(y, (1 - 0.9 ** np.arange(50, 0, -1)) / 0.1, rtol=1e-12)


def test_an_episode_end_cuts_the_recurrence():
    a = torch.ones(6)
    a[3] = 0
    assert linear_recurrence(a, torch.ones(6)).tolist() == [1, 2, 3, 1, 2, 3]
    assert linear_recurrence(a, torch.ones(6), reverse=True).tolist() == [4, 3, 2, 1, 2, 1]


def test_linear_recurrence_leaves_its_inputs_alone():
    a, b = torch.rand(9), torch.rand(9)
    kept = a.clone(), b.clone()
    linear_recurrence(a, b)
    assert torch.equal(a, kept[0])
    assert torch.equal(b, kept[1])


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 5])
def test_gradients_of_linear_recurrence(length, reverse):
    a, b = (torch.rand(length, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda a, b: linear_recurrence(a, b, reverse=reverse), (a, b))


@pytest.mark.parametrize(("a", "b"), [((5, 1), (5, 3)), ((5,), (5, 3)), ((1, 3), (5, 3)), ((4, 3), (5, 3))])
def test_linear_recurrence_refuses_to_broadcast(a, b):
    with pytest.raises(ValueError, match="one shape"):
        linear_recurrence(torch.ones(a), torch.ones(b))


def test_scan_is_the_loop():
    xs = torch.arange(12.0).reshape(4, 3)

    def step(carry, x):
        count, total = carry
        return (count + 1, total + x), {"before": total, "pair": (x, count)}

    (count, total), ys = scan(step, (torch.zeros(()), torch.zeros(3)), xs)
    assert count == 4
    assert torch.equal(total, xs.sum(0))
    assert torch.equal(ys["before"], torch.cat([torch.zeros(1, 3), xs.cumsum(0)[:-1]]))
    assert torch.equal(ys["pair"][0], xs)
    assert ys["pair"][1].tolist() == [0, 1, 2, 3]


def test_scan_solves_what_linear_recurrence_solves():
    a, b = torch.rand(2, 11, 4, dtype=torch.float64)
    _, ys = scan(lambda y, x: (x[1] + x[0] * y,) * 2, torch.zeros(4, dtype=torch.float64), torch.stack([a, b], 1))
    torch.testing.assert_close(ys, linear_recurrence(a, b))
