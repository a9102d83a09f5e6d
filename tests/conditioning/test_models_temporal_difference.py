"""Temporal-difference models against a loop in time, their closed forms and the phenomena."""

import numpy as np
import pytest
import torch

from imitate.conditioning.model import Trial
from imitate.conditioning.models import Course, RescorlaWagner, TemporalDifference, TrialTemporalDifference
from imitate.conditioning.models.temporal_difference import features
from imitate_envs.stimuli import CompleteSerialCompound, Microstimuli, Presence
from tests.conditioning.pavlov import after, drawn, learn, parameters, trials

CSC, PR, MS = CompleteSerialCompound(), Presence(), Microstimuli()
representations = pytest.mark.parametrize("representation", [CSC, PR, MS], ids=["csc", "pr", "ms"])


def seen(representation, since, duration, horizon):
    """Features of one cue at one time step, by definition."""
    if representation is PR:
        return [float(0 <= since < duration)]
    if representation is CSC:
        return [float(since == d) for d in range(horizon)]
    if since < 0:
        return [0.0] * 6
    y = 0.985**since
    return [y * np.exp(-((y - i / 6) ** 2) / (2 * 0.08**2)) / np.sqrt(2 * np.pi) for i in range(1, 7)]


def loop(representation, course, onsets, durations, x, outcome, alpha, gamma, lam, clip=True):
    """Trials x [K, C], outcome [K] -> weights, and the predictions and errors of the last trial."""
    us = max(o + d for o, d in zip(onsets, durations, strict=True)) + course.gap
    steps = us + 1 + course.rest
    table = [[seen(representation, t - o, d, us) for o, d in zip(onsets, durations, strict=True)] for t in range(steps)]
    weights = np.zeros(np.size(table[0]))
    rates = np.repeat(alpha, np.size(table[0]) // x.shape[1])
    for k in range(len(x)):
        trace, last = np.zeros(len(weights)), np.zeros(len(weights))
        values, errors = [], []
        for t in range(steps):
            now = np.concatenate([x[k, i] * np.array(row) for i, row in enumerate(table[t])])
            value, before = weights @ now, weights @ last
            if clip:
                value, before = max(value, 0), max(before, 0)
            error = outcome[k] * (t == us) + gamma * value - before
            weights = weights + rates * error * trace
            trace, last = gamma * lam * trace + now, now
            values.append(value)
            errors.append(error)
    return weights, np.array(values), np.array(errors)


@representations
@pytest.mark.parametrize("clip", [True, False])
def test_lanes_are_loops(representation, clip, generator):
    course = Course(onsets=(3, 0), durations=(4, 6), gap=2, rest=5)
    model = TrialTemporalDifference(representation, course, TemporalDifference(clip))
    theta = drawn(model, generator, 3, 2)
    x = (torch.rand(12, 3, 2, generator=generator) < 0.7).double()
    outcome = (torch.rand(12, 3, 1, generator=generator) < 0.7).double()
    state = model.initial(theta, (3,), 2, 1)
    for t in range(12):
        state, errors = model.run(theta, state, Trial(x[t], outcome[t]))
    for lane in range(3):
        numbers = [theta[name][lane].numpy() for name in ("alpha", "gamma", "lam")]
        weights, _, delta = loop(
            representation, course, (3, 0), (4, 6), x[:, lane].numpy(), outcome[:, lane, 0].numpy(), *numbers, clip
        )
        np.testing.assert_allclose(state[lane, :, 0].numpy(), weights, rtol=1e-12, atol=1e-12)
        found = errors[:, lane, 0].numpy()
        np.testing.assert_allclose(found, delta[: len(found)], rtol=1e-12, atol=1e-12)
        # what was cut off at the end of the trial taught nothing
        np.testing.assert_allclose(delta[len(found) :], 0, atol=1e-12)


def test_with_gamma_zero_it_is_rescorla_wagner(generator):
    """One step a cue, the outcome in the next: V after every trial is the same (A8)."""
    model = TrialTemporalDifference(PR, Course(durations=1, rest=0), TemporalDifference(clip=False))
    x = torch.randn(300, 4, generator=generator, dtype=torch.float64)
    outcome = torch.randn(300, 2, generator=generator, dtype=torch.float64)
    theta = parameters(model, 4, alpha=[0.05, 0.1, 0.02, 0.07], gamma=0.0, lam=0.0)
    ours = {"alpha": theta["alpha"], "beta_on": torch.ones(()).double(), "beta_off": torch.ones(()).double()}
    found, expected = learn(model, theta, x, outcome), learn(RescorlaWagner(), ours, x, outcome)
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


def test_the_rule_of_a_step_runs_on_in_time():
    """A stream of time steps through `TemporalDifference` is a trial of `TrialTemporalDifference`."""
    trial_model = TrialTemporalDifference(MS)
    theta = parameters(trial_model, 1)
    table = features(MS, Course(), 1, torch.float64).flatten(1)
    outcome = torch.zeros(len(table), 1, dtype=torch.float64)
    outcome[Course().outcome(1)] = 1
    stream = learn(TemporalDifference(), theta, table, outcome)
    state = trial_model.update(
        theta, trial_model.initial(theta, (), 1, 1), Trial(torch.ones(1).double(), torch.ones(1).double())
    )
    torch.testing.assert_close(stream.weights[-1], state, atol=1e-15, rtol=0)


def test_prediction_moves_from_the_outcome_to_the_cue():
    """25 steps from cue to outcome, 500 trials: V at onset, no surprise left, and a dip at an omission (A11)."""
    model = TrialTemporalDifference(CSC, Course(durations=25))
    theta, on = parameters(model, 1), torch.ones(1, dtype=torch.float64)
    state, first = model.run(theta, model.initial(theta, (), 1, 1), Trial(on, on))
    assert float(first[25]) == 1 and (first[:25] == 0).all()
    for _ in range(499):
        state, errors = model.run(theta, state, Trial(on, on))
    assert float(model.values(state, on)[0]) == pytest.approx(0.97**24, abs=2e-3)
    assert abs(float(errors[25])) < 1e-3
    _, omitted = model.run(theta, state, Trial(on, 0 * on))
    assert float(omitted[25]) == pytest.approx(-1, abs=0.01)
    # before the cue there is nothing to predict from: its onset is the surprise
    assert float(errors[0]) == pytest.approx(0.97 * float(model.values(state, on)[0]), rel=1e-9)


def test_one_weight():
    """Presence without traces: w* = 1 / (1 + (T − 1)(1 − γ)) for T = 10, and what a rate of .01 makes of it."""
    gamma = torch.tensor([0.97, 0.9], dtype=torch.float64)
    closed = 1 / (1 + 9 * (1 - gamma))
    np.testing.assert_allclose(closed.numpy(), [0.7874, 0.5263], atol=5e-5)
    model = TrialTemporalDifference(PR)
    theta = parameters(model, 1, alpha=0.01, gamma=gamma, lam=0.0)
    on = torch.ones(1200, 2, 1, dtype=torch.float64)
    found = learn(model, theta, on, on)[-1].flatten()
    torch.testing.assert_close(found, closed, atol=5e-3, rtol=0)
    np.testing.assert_allclose(found.numpy(), [0.7893, 0.5298], atol=5e-5)


@pytest.mark.parametrize(("gap", "presence"), [(0, 0.911), (5, 0.605), (10, 0.402), (20, 0.178)])
def test_trace_against_delay(gap, presence):
    _, path = after(TrialTemporalDifference(PR, Course(gap=gap)), "200A+")
    assert float(path[-1]) == pytest.approx(presence, abs=5e-4)


def test_trace_conditioning_is_no_problem_for_a_serial_compound():
    _, path = after(TrialTemporalDifference(CSC, Course(gap=20)), "200A+")
    assert float(path[-1]) == pytest.approx(1, abs=2e-3)


@representations
def test_blocking(representation):
    want = {CSC: (1e-4, 0.50), PR: (0.024, 0.480), MS: (0.011, 0.490)}[representation]
    model = TrialTemporalDifference(representation)
    (x, outcome), (control, _) = trials("200A+ 200AB+"), trials("400AB+")
    states = learn(model, parameters(model, 2), torch.stack([x, control], 1), outcome.unsqueeze(1).expand(-1, 2, -1))
    assert float(model.strengths(states[399, 0])[1]) == pytest.approx(want[0], abs=5.1e-4)
    assert float(model.strengths(states[199, 1])[1]) == pytest.approx(want[1], abs=5.1e-4)


@representations
def test_second_order_conditioning(representation):
    """B ends as A begins, and no outcome comes: B gains, then loses (A11)."""
    peak, trial = {CSC: (0.088, 15), PR: (0.147, 2), MS: (0.029, 24)}[representation]
    model = TrialTemporalDifference(representation, Course(onsets=(10, 0)))
    _, path = after(model, "200A+ 60AB-")
    second = path[200:, 1]
    assert float(second.max()) == pytest.approx(peak, abs=6e-4)
    assert abs(int(second.argmax()) + 1 - trial) <= 1
    assert 0 <= second[-1] < 0.8 * second.max()


@pytest.mark.parametrize(
    ("representation", "early", "before", "later"),
    [(CSC, 10, 1.0, 1.0), (PR, 20, 0.911, 0.252), (MS, 10, 0.985, 0.332)],
    ids=["csc", "pr", "ms"],
)
def test_temporal_primacy(representation, early, before, later):
    """An earlier cue takes a trained cue's strength, but not under a serial compound, where it gets γ¹⁰ (A11)."""
    model = TrialTemporalDifference(representation, Course(onsets=(0, 10), durations=(early, 10)))
    _, path = after(model, "200B+ 200AB+")
    assert float(path[199, 1]) == pytest.approx(before, abs=5e-4)
    assert float(path[-1, 1]) == pytest.approx(later, abs=2e-3)
    if representation is CSC:
        assert float(path[-1, 0]) == pytest.approx(0.97**10, abs=5e-4)


def test_course():
    table = features(PR, Course(onsets=(2, 0), durations=(1, 2)), 2, torch.float64)
    assert table[..., 0].tolist() == [[0, 1], [0, 1], [1, 0], [0, 0]]
    assert features(CSC, Course(durations=3, gap=1), 2, torch.float64).shape == (5, 2, 4)
    for wrong, message in [
        ({"gap": -1}, "gap: at least 0"),
        ({"durations": 0}, "durations: at least 1"),
        ({"durations": (3, 0)}, "durations: at least 1"),
        ({"onsets": -2}, "onsets: at least 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            Course(**wrong)
    with pytest.raises(ValueError, match=r"onsets: 2 for 3 cues; give one, or one a cue\."):
        Course(onsets=(1, 2)).outcome(3)


def test_trials_without_cues_teach_nothing():
    model = TrialTemporalDifference(MS)
    x, outcome = trials("5A+")
    state, _ = after(model, "5A+")
    theta = parameters(model, 1)
    assert torch.equal(model.update(theta, state, Trial(0 * x[0], outcome[0])), state)
