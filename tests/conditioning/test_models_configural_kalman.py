"""Pearce's configural model and the Kalman filter against loops, fixed points and ridge regression."""

import itertools

import numpy as np
import pytest
import torch

from imitate.conditioning.models import KalmanRescorlaWagner, PearceConfigural
from imitate.conditioning.models.configural import similarity
from tests.conditioning.pavlov import after, against, learn, parameters, trials

PEARCE, KALMAN = PearceConfigural(), KalmanRescorlaWagner()


def configural(x, outcome, p, memory):
    """Units are recruited as they are met, as the paper has it."""
    units = memory.setdefault("E", {})

    def answer(compound):
        total = np.zeros(len(outcome))
        for unit, strength in units.items():
            common = len(compound & unit)
            total += common / len(compound) * common / len(unit) * strength
        return total

    met = frozenset(np.flatnonzero(x))
    if met:
        units.setdefault(met, np.zeros(len(outcome)))
        units[met] = units[met] + p["beta"] * (outcome - answer(met))
    return np.array([answer(frozenset({i})) for i in range(len(x))])


def kalman(x, outcome, p, memory):
    weights = memory.setdefault("w", np.zeros((len(x), len(outcome))))
    covariance = memory.setdefault("C", p["prior"] * np.eye(len(x)))
    covariance += p["drift"] * np.eye(len(x))
    gain = covariance @ x / (x @ covariance @ x + p["noise"])
    weights += np.outer(gain, outcome - x @ weights)
    covariance -= np.outer(gain, x @ covariance)
    return weights


@pytest.mark.parametrize(("loop", "model"), [(configural, PEARCE), (kalman, KALMAN)])
def test_lanes_are_loops(loop, model, generator):
    against(loop, model, generator)


def test_similarity():
    """Counts of common cues over those of both, and 1 with itself alone, for every pair of compounds of 5 cues."""
    compounds = [c for c in itertools.product((0.0, 1.0), repeat=5) if sum(c)]
    likeness = similarity(torch.tensor(compounds))
    for row, one in zip(likeness, compounds, strict=True):
        for u, found in enumerate(row.tolist()):
            other = [u + 1 >> i & 1 for i in range(5)]
            common = sum(a and b for a, b in zip(one, other, strict=True))
            assert found == pytest.approx(common**2 / (sum(one) * sum(other)))
            assert (found == 1) == (list(one) == other)
    assert (similarity(torch.zeros(5)) == 0).all()


@pytest.mark.parametrize(
    ("text", "cue", "expected"),
    [
        ("300A+ 300AB+", "B", 0.25),
        ("300AB+", "B", 0.5),
        ("A+ AB- " * 500, "B", -1 / 3),
        ("A+ B+ " * 300, "AB", 1.0),
        ("A+ B+ " * 300 + "300AB+", "A", 1.0),
        ("A+ B+ AB- " * 500, "A", 1.0),
        ("A+ B+ AB- " * 500, "B", 1.0),
        ("A+ B+ AB- " * 500, "AB", 0.0),
    ],
)
def test_pearce(text, cue, expected):
    """Blocking, overshadowing, inhibition, summation, overexpectation (none) and negative patterning (A10, A7)."""
    state, _ = after(PEARCE, text, cues=2)
    x, _ = trials(f"{cue}-", cues=2)
    assert float(PEARCE.predict(parameters(PEARCE, 2), state, x[0])) == pytest.approx(expected, abs=1e-6)


def test_units_of_negative_patterning():
    state, _ = after(PEARCE, "A+ B+ AB- " * 500)
    torch.testing.assert_close(state[:, 0], torch.tensor([2, 2, -2], dtype=torch.float64), atol=1e-6, rtol=0)


def test_too_many_compounds():
    with pytest.raises(ValueError, match=r"cues: 13 make 2\^13 compounds"):
        PEARCE.initial(parameters(PEARCE, 13), (), 13, 1)


@pytest.mark.parametrize(("prior", "noise"), [(1.0, 1.0), (2.0, 0.3), (0.1, 5.0)])
def test_without_drift_it_is_ridge_regression(prior, noise, generator):
    x = torch.randn(40, 4, generator=generator, dtype=torch.float64)
    outcome = torch.randn(40, 2, generator=generator, dtype=torch.float64)
    found = learn(KALMAN, parameters(KALMAN, 4, prior=prior, noise=noise, drift=0.0), x, outcome).mean
    for n in (1, 3, 40):
        gram = x[:n].T @ x[:n] + noise / prior * torch.eye(4, dtype=torch.float64)
        torch.testing.assert_close(found[n - 1], torch.linalg.solve(gram, x[:n].T @ outcome[:n]), atol=1e-12, rtol=0)


def test_gains():
    """The first three, the tenth, and the last, which is the variance left over that of the noise (A9)."""
    states = learn(KALMAN, parameters(KALMAN, 1), *trials("200A+"))
    np.testing.assert_allclose(
        states.covariance[[0, 1, 2, 9], 0, 0].numpy(), [0.5025, 0.3388, 0.2586, 0.1201], atol=5e-5
    )
    assert float(states.covariance[-1]) == pytest.approx(0.0951249, abs=1e-7)
    step = states.mean[1, 0, 0] - states.mean[0, 0, 0]
    assert float(step / (1 - states.mean[0, 0, 0])) == pytest.approx(0.3388, abs=5e-5)


def test_latent_inhibition_trajectory():
    """Before each of ten trials, after ten of A alone, or ten of another cue: the variance of A grows meanwhile."""
    _, exposed = after(KALMAN, "10A- 10A+")
    _, naive = after(KALMAN, "10B- 10A+")
    late = [0, 0.1151, 0.2135, 0.2986, 0.3726, 0.4377, 0.4951, 0.5459, 0.5912, 0.6316]
    early = [0, 0.5261, 0.6915, 0.7730, 0.8218, 0.8546, 0.8782, 0.8961, 0.9102, 0.9216]
    np.testing.assert_allclose(exposed[9:19, 0].numpy(), late, atol=5e-5)
    np.testing.assert_allclose(naive[9:19, 0].numpy(), early, atol=5e-5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10A+ 10AB+", [None, 0.06197]),
        ("10AB+ 10A+", [None, 0.11632]),
        ("10AB+", [0.48309, 0.48309]),
        ("10A+ 10AB+ 10A-", [None, 0.47561]),
        ("10AB+ 10A-", [None, 0.82588]),
        ("10A+ 10B+ 10AB+", [None, 0.64800]),
        ("10A+ 10B+ 10AB+ 10A-", [None, 0.79503]),
    ],
)
def test_kalman_phenomena(text, expected):
    """Blocking, backward blocking, and recovery of B from blocking, overshadowing and overexpectation."""
    _, path = after(KALMAN, text)
    for found, want in zip(path[-1].tolist(), expected, strict=True):
        assert want is None or found == pytest.approx(want, abs=5e-5)


@pytest.mark.parametrize(("drift", "pairs"), [(0.1, 2), (0.01, 5), (0.001, 13)])
def test_who_is_sure_reverses_late(drift, pairs):
    """A- B+ after twenty A+ B-, until B is stronger than A: the less drift, the less variance is left, the longer."""
    _, path = after(KALMAN, "A+ B- " * 20 + "A- B+ " * 20, drift=drift)
    assert int((path[41::2, 1] > path[41::2, 0]).nonzero()[0]) + 1 == pairs


def test_a_covariance_stays_symmetric(generator):
    x = (torch.rand(300, 4, generator=generator) < 0.5).double()
    covariance = learn(KALMAN, parameters(KALMAN, 4), x, x[:, :1]).covariance
    torch.testing.assert_close(covariance, covariance.mT, atol=1e-12, rtol=0)
    assert (torch.linalg.eigvalsh(covariance[-1]) > 0).all()
