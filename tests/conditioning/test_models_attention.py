"""Models of attention and associability against loops and golden numbers."""

import numpy as np
import pytest
import torch

from imitate.conditioning.models import HybridPearceHall, LePelley, Mackintosh, PearceHall, PearceKayeHall
from tests.conditioning.pavlov import after, against, learn, parameters, trials


def mackintosh(x, outcome, p, memory):
    cues = range(len(x))
    strength = memory.setdefault("V", np.zeros((len(x), len(outcome))))
    alpha = memory.setdefault("alpha", p["alpha"].copy())
    before, change = strength.copy(), np.zeros(len(x))
    for o, magnitude in enumerate(outcome):
        for i in cues:
            beta = p["beta_on"] if magnitude > 0 else p["beta_off"]
            error = magnitude - before[i, o]
            rest = magnitude - sum(x[k] * before[k, o] for k in cues if k != i)
            strength[i, o] += x[i] * alpha[i] * beta * error
            change[i] += x[i] * p["theta"] * (abs(rest) - abs(error))
    for i in cues:
        alpha[i] = min(max(alpha[i] + change[i], 0.1), 1.0)
    return strength


def two_sided(x, outcome, p, memory):
    """Excitation, inhibition and the errors, of Pearce and Hall in all versions."""
    shape = len(x), len(outcome)
    excite, inhibit = memory.setdefault("E", np.zeros(shape)), memory.setdefault("I", np.zeros(shape))
    alpha = memory.setdefault("alpha", p["alpha"].copy())
    error = [u - sum(x[k] * (excite[k, o] - inhibit[k, o]) for k in range(len(x))) for o, u in enumerate(outcome)]
    for o, magnitude in enumerate(outcome):
        for i in range(len(x)):
            if error[o] > 0:
                excite[i, o] += p["salience"][i] * p.get("beta_ex", 1) * x[i] * alpha[i] * magnitude
            else:
                inhibit[i, o] += p["salience"][i] * p.get("beta_in", 1) * x[i] * alpha[i] * -error[o]
    return excite, inhibit, alpha, sum(abs(e) for e in error)


def pearce_hall(x, outcome, p, memory):
    excite, inhibit, alpha, surprise = two_sided(x, outcome, p, memory)
    for i in range(len(x)):
        if x[i]:
            alpha[i] = (1 - p["gamma"]) * alpha[i] + p["gamma"] * surprise
    return excite - inhibit


def pearce_kaye_hall(x, outcome, p, memory):
    excite, inhibit, alpha, surprise = two_sided(x, outcome, p, memory)
    for i in range(len(x)):
        if x[i]:
            alpha[i] = (1 - p["theta"]) * alpha[i] + p["theta"] * p["gamma"] * surprise
            alpha[i] = min(max(alpha[i], 0.1), 1.0)
    return excite - inhibit


def hybrid(x, outcome, p, memory):
    strength = memory.setdefault("V", np.zeros((len(x), len(outcome))))
    alpha = memory.setdefault("alpha", p["alpha"].copy())
    error = [u - sum(x[k] * strength[k, o] for k in range(len(x))) for o, u in enumerate(outcome)]
    for i in range(len(x)):
        for o in range(len(outcome)):
            strength[i, o] += p["kappa"] * x[i] * alpha[i] * error[o]
        if x[i]:
            alpha[i] = (1 - p["eta"]) * alpha[i] + p["eta"] * sum(abs(e) for e in error)
    return strength


def le_pelley(x, outcome, p, memory):
    cues = range(len(x))
    shape = len(x), len(outcome)
    excite, inhibit = memory.setdefault("E", np.zeros(shape)), memory.setdefault("I", np.zeros(shape))
    mack = memory.setdefault("mack", p["alpha_mack"].copy())
    hall = memory.setdefault("hall", p["alpha_hall"].copy())
    e, v = excite.copy(), inhibit.copy()
    change, surprise = np.zeros(len(x)), 0.0
    for o, magnitude in enumerate(outcome):
        r = magnitude - sum(x[k] * (e[k, o] - v[k, o]) for k in cues)
        surprise += abs(r)
        for i in cues:
            e_x = sum(x[k] * e[k, o] for k in cues if k != i)
            v_x = sum(x[k] * v[k, o] for k in cues if k != i)
            rate = x[i] * mack[i] * hall[i] * abs(r)
            if r > 0:
                excite[i, o] += rate * p["beta_ex"] * (1 - e[i, o] + v[i, o])
                change[i] -= p["theta_ex"] * (abs(magnitude - e[i, o] + v[i, o]) - abs(magnitude - e_x + v_x))
            else:
                inhibit[i, o] += rate * p["beta_in"] * (1 - v[i, o] + e[i, o])
                change[i] -= p["theta_in"] * (abs(abs(r) - v[i, o] + e[i, o]) - abs(abs(r) - v_x + e_x))
    for i in cues:
        if x[i]:
            mack[i] = min(max(mack[i] + change[i], 0.05), 1)
            hall[i] = min(max((1 - p["gamma"]) * hall[i] + p["gamma"] * surprise, 0.5), 1)
    return excite - inhibit


@pytest.mark.parametrize(
    ("loop", "model"),
    [
        (mackintosh, Mackintosh()),
        (pearce_hall, PearceHall()),
        (pearce_kaye_hall, PearceKayeHall()),
        (hybrid, HybridPearceHall()),
        (le_pelley, LePelley()),
    ],
)
def test_lanes_are_loops(loop, model, generator):
    against(loop, model, generator)


def test_mackintosh():
    """Blocking, but not on the first compound trial; and no latent inhibition at all (A10)."""
    _, blocked = after(Mackintosh(), "10A+ 10AB+")
    _, control = after(Mackintosh(), "10C+ 10AB+")
    assert float(blocked[10, 1]) == pytest.approx(0.16, abs=1e-15)
    assert blocked[10, 1] == control[10, 1]
    assert float(blocked[-1, 1]) == pytest.approx(0.4444, abs=5e-5)
    assert float(control[-1, 1]) == pytest.approx(0.8251, abs=5e-5)
    _, exposed = after(Mackintosh(), "20A- 5A+")
    _, naive = after(Mackintosh(), "5A+")
    assert torch.equal(exposed[-5:], naive)


@pytest.mark.parametrize(("gamma", "exposed", "naive"), [(0.1, 0.367, 0.617), (1.0, 0.654, 0.673)])
def test_latent_inhibition_of_pearce_and_hall(gamma, exposed, naive):
    _, late = after(PearceHall(), "20A- 10A+", gamma=gamma)
    _, early = after(PearceHall(), "10A+", gamma=gamma)
    assert float(late[-1]) == pytest.approx(exposed, abs=5e-4)
    assert float(early[-1]) == pytest.approx(naive, abs=5e-4)


def test_blocking_of_pearce_and_hall():
    _, blocked = after(PearceHall(), "30A+ 10AB+")
    assert float(blocked[-1, 1]) == pytest.approx(0.0495, abs=5e-5)


def test_an_inhibitor_alone_keeps_its_inhibition():
    """Pearce and Hall's model passes what Rescorla-Wagner's fails."""
    state, trained = after(PearceHall(), "A+ AB- " * 50)
    assert trained[-1, 1] < -0.01
    _, alone = after(PearceHall(), "50B-", cues=2, state=state)
    assert alone[-1, 1] == trained[-1, 1]


def test_pearce_kaye_hall_is_pearce_hall_without_its_extras():
    text = "5A+ 3AB- 4B+2 2AB+"
    wide = PearceKayeHall(low=0.0, high=100.0)
    _, kaye = after(wide, text, alpha=0.5, salience=0.1, beta_ex=1.0, beta_in=1.0, theta=0.3, gamma=1.0)
    _, hall = after(PearceHall(), text, alpha=0.5, salience=0.1, gamma=0.3)
    torch.testing.assert_close(kaye, hall, rtol=0, atol=1e-12)


def test_negative_transfer():
    """66 weak pairings make a cue slow to learn of a strong outcome (Hall & Pearce 1979), by PALMS's parameters."""
    model = PearceKayeHall(low=0.0)
    values = {"alpha": 0.9, "salience": 0.2, "beta_ex": 0.3, "beta_in": 0.1, "theta": 0.2, "gamma": 1.0}
    trained, one = after(model, "66A+0.1 6A+0.8", cues=2, **values)
    fresh, other = after(model, "66B+0.1 6A+0.8", **values)
    growth = (one[-1, 0] - one[65, 0], other[-1, 0])
    assert growth[0] < 0.5 * growth[1]
    assert trained.alpha[0] < fresh.alpha[0]


def test_hybrid_trajectory():
    """Five reinforced trials, then five that are not: V and α after each."""
    model = HybridPearceHall()
    strengths, alpha = learn(model, parameters(model, 1), *trials("5A+ 5A-"))
    expected = [0.3, 0.51, 0.6438, 0.7276, 0.7811, 0.6544, 0.5341, 0.4339, 0.3561, 0.2975]
    np.testing.assert_allclose(strengths[:, 0, 0].numpy(), expected, rtol=0, atol=5.1e-5)
    expected = [1, 0.91, 0.784, 0.6557, 0.5407, 0.6128, 0.6253, 0.598, 0.5487, 0.4909]
    np.testing.assert_allclose(alpha[:, 0].numpy(), expected, rtol=0, atol=5.1e-5)


def test_le_pelley_attends_to_the_better_predictor():
    """A blocked cue loses attention; a surprising outcome restores associability at most to its bound."""
    state, _ = after(LePelley(), "40A+ 5AB+")
    assert state.attention[1] < 0.9 * state.attention[0]
    assert ((state.associability >= 0.5) & (state.associability <= 1)).all()
    state, _ = after(LePelley(), "40A+3")
    assert float(state.associability) == 1.0 and float(state.attention) == 1.0
