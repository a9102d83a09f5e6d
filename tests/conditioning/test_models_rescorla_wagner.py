"""Rescorla-Wagner and Pavlov against loops, closed forms and golden numbers."""

import math

import numpy as np
import pytest
import torch

from imitate.conditioning.model import Trial
from imitate.conditioning.models import InternalInhibition, Pavlov, RescorlaWagner
from tests.conditioning.pavlov import after, against, learn, parameters, trials

MODEL = RescorlaWagner()


def rescorla_wagner(x, outcome, p, memory):
    strength = memory.setdefault("V", np.zeros((len(x), len(outcome))))
    before = strength.copy()
    for o, magnitude in enumerate(outcome):
        error = magnitude - sum(x[k] * before[k, o] for k in range(len(x)))
        for i in range(len(x)):
            beta = p["beta_on"] if magnitude > 0 else p["beta_off"]
            strength[i, o] += p["alpha"][i] * beta * x[i] * error
    return strength


def pavlov(x, outcome, p, memory):
    strength = memory.setdefault("V", np.zeros((len(x), len(outcome))))
    left = math.exp(-4 / p["trace_tau"]) if "trace_tau" in p else 1
    for o, magnitude in enumerate(outcome):
        for i in range(len(x)):
            strength[i, o] += p["alpha"][i] * p["beta"] * x[i] * left * (magnitude - strength[i, o])
    return strength


def inhibition(x, outcome, p, memory):
    shape = len(x), len(outcome)
    excite, inhibit = memory.setdefault("E", np.zeros(shape)), memory.setdefault("I", np.zeros(shape))
    for o, magnitude in enumerate(outcome):
        for i in range(len(x)):
            error = magnitude - (excite[i, o] - inhibit[i, o])
            if error > 0:
                excite[i, o] += p["alpha"][i] * p["beta"] * x[i] * error
            else:
                inhibit[i, o] -= p["alpha"][i] * p["beta_inhibition"] * x[i] * error
    return excite - inhibit


@pytest.mark.parametrize(
    ("loop", "model"),
    [(rescorla_wagner, MODEL), (pavlov, Pavlov()), (pavlov, Pavlov(gap=4.0)), (inhibition, InternalInhibition())],
)
def test_lanes_are_loops(loop, model, generator):
    against(loop, model, generator)


def test_golden_trajectories():
    _, path = after(MODEL, "A+ AB- A+ AB- A+ AB- A+ AB-")
    expected = [
        *((0.16, 0), (0.1344, -0.0256), (0.272896, -0.0256), (0.233329, -0.065167)),
        *((0.355996, -0.065167), (0.309463, -0.1117), (0.419949, -0.1117), (0.370629, -0.16102)),
    ]
    np.testing.assert_allclose(path.numpy(), expected, rtol=0, atol=1e-6)
    _, path = after(MODEL, "A+ A+ AB+ AB- B+ A-", alpha=[0.5, 0.2], beta_on=0.6, beta_off=0.3)
    expected = [(0.3, 0), (0.51, 0), (0.657, 0.0588), (0.54963, 0.015852), (0.54963, 0.13395), (0.467186, 0.13395)]
    np.testing.assert_allclose(path.numpy(), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_closed_forms(seed):
    """Acquisition, extinction and a reinforced compound over 200 trials (A3), and overshadowing's ratio (A4)."""
    alpha, other, on, off, magnitude = np.random.default_rng(seed).uniform(0.01, 0.99, 5)
    n = np.arange(1, 201)
    values = {"alpha": [alpha, other], "beta_on": on, "beta_off": off}
    state, path = after(MODEL, f"200A+{magnitude}", cues=2, **values)
    np.testing.assert_allclose(path[:, 0].numpy(), magnitude * (1 - (1 - alpha * on) ** n), rtol=0, atol=1e-12)
    assert (path[:, 1] == 0).all()
    _, path = after(MODEL, "200A-", cues=2, state=state, **values)
    np.testing.assert_allclose(path[:, 0].numpy(), float(state[0]) * (1 - alpha * off) ** n, rtol=0, atol=1e-12)
    _, path = after(MODEL, f"200AB+{magnitude}", **values)
    total = alpha + other
    for i, own in enumerate((alpha, other)):
        expected = own / total * magnitude * (1 - (1 - on * total) ** n)
        np.testing.assert_allclose(path[:, i].numpy(), expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose((path[:, 0] / path[:, 1]).numpy(), alpha / other, rtol=1e-12)


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("10A+", {}, [0.8251]),
        ("10A+ 10A-", {}, [0.1443]),
        ("10A+ 10AB+", {}, [None, 0.0856]),
        ("10C+ 10AB+", {}, [0.4894, 0.4894, 0.8251]),
        ("100A+ 300AB+2", {}, [1.5, 0.5]),
        ("20AB+", {"alpha": [0.4, 0.1]}, [0.7908, 0.1977]),
        ("A+ AB- " * 500, {}, [1, -1]),
        ("A+ B+ " * 200 + "200AB+", {}, [0.5, 0.5]),
        ("20A- 5A+", {}, [0.5818]),
    ],
)
def test_phenomena(text, values, expected):
    _, path = after(MODEL, text, **values)
    for found, want in zip(path[-1].tolist(), expected, strict=True):
        assert want is None or found == pytest.approx(want, abs=5e-5)


def test_second_order_conditioning_fails():
    """B before A, which is trained: the animal comes to fear B, the model makes it an inhibitor."""
    _, path = after(MODEL, "20A+ 10AB-")
    assert float(path[-1, 1]) == pytest.approx(-0.474, abs=5e-4)


def test_negative_patterning():
    """A+ B+ AB−: elements alone settle at 1/3; with a unique cue for the compound it is solved (A7)."""
    x, outcome = trials("A+ B+ AB- " * 1500)
    small = learn(MODEL, parameters(MODEL, 2, alpha=0.01), x, outcome)[-1, :, 0]
    torch.testing.assert_close(small, torch.full((2,), 1 / 3, dtype=torch.float64), atol=2e-3, rtol=0)
    unique = torch.cat([x, x[:, :1] * x[:, 1:]], 1)
    weights = learn(MODEL, parameters(MODEL, 3, alpha=[0.4, 0.4, 0.16]), unique, outcome)[-1, :, 0]
    torch.testing.assert_close(weights, torch.tensor([1, 1, -2], dtype=torch.float64), atol=1e-6, rtol=0)


def test_it_is_gradient_descent_on_the_squared_error(generator):
    """With α = 1 it equals torch's SGD on (λ − w·x)²/2, over 1,000 random trials (A8)."""
    x = torch.randn(1000, 4, generator=generator, dtype=torch.float64)
    outcome = torch.randn(1000, 1, generator=generator, dtype=torch.float64)
    theta = parameters(MODEL, 4, alpha=1.0, beta_on=0.05, beta_off=0.05)
    found = learn(MODEL, theta, x, outcome)
    weights = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    sgd = torch.optim.SGD([weights], lr=0.05)
    for t in range(1000):
        sgd.zero_grad()
        ((outcome[t, 0] - weights @ x[t]).square() / 2).backward()
        sgd.step()
        torch.testing.assert_close(found[t, :, 0], weights.detach(), rtol=0, atol=1e-12)


def test_saliences_are_squared_scales_of_the_input():
    """Inputs scaled by √α with salience 1 give strengths that differ by √α alone."""
    x, outcome = trials("5A+ 5AB+ 3B- 2AB-")
    alpha = torch.tensor([0.3, 0.6], dtype=torch.float64)
    salient = learn(MODEL, parameters(MODEL, 2, alpha=alpha), x, outcome)
    scaled = learn(MODEL, parameters(MODEL, 2, alpha=1.0), x * alpha.sqrt(), outcome)
    torch.testing.assert_close(salient, scaled * alpha.sqrt().unsqueeze(-1), rtol=0, atol=1e-12)


def test_pavlov_has_no_blocking():
    """Each cue learns alone, so B gains by A's presence or absence alike."""
    _, blocked = after(Pavlov(), "10A+ 10AB+")
    _, control = after(Pavlov(), "10C+ 10AB+")
    assert blocked[-1, 1] == control[-1, 1] == pytest.approx(1 - 0.9**10)


def test_trace_is_slower_than_delay():
    _, delay = after(Pavlov(), "10A+")
    _, trace = after(Pavlov(gap=5.0), "10A+", trace_tau=10.0)
    assert float(trace[-1]) == pytest.approx(1 - (1 - 0.1 * math.exp(-0.5)) ** 10)
    assert trace[-1] < delay[-1]
    with pytest.raises(ValueError, match=r"gap: -1 is negative"):
        Pavlov(gap=-1.0)


def test_rest_brings_spontaneous_recovery():
    """Extinguished to nothing, half of the excitation is back after a rest of τ ln 2."""
    model = InternalInhibition()
    state, path = after(model, "200A+ 400A-")
    assert float(path[-1]) == pytest.approx(0, abs=1e-9)
    theta = parameters(model, 1, tau_inhibition=7.0)
    recovered = model.predict(theta, model.rest(theta, state, 7 * math.log(2)), torch.ones(1, dtype=torch.float64))
    assert float(recovered) == pytest.approx(0.5)
    resting = model.rest(theta, state, 0.0)
    assert torch.equal(resting.inhibition, state.inhibition)


def test_a_state_is_contiguous_float32():
    theta = {name: value.expand(1000, -1) if value.dim() else value for name, value in parameters(MODEL, 2).items()}
    theta = {name: value.float() for name, value in theta.items()}
    state = MODEL.update(theta, MODEL.initial(theta, (1000,), 2, 1), Trial(torch.ones(2), torch.ones(1)))
    assert state.shape == (1000, 2, 1) and state.dtype == torch.float32 and state.is_contiguous()
