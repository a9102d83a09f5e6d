"""Conditioning trial by trial and step by step: against loops, and what simple learners make of it."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from imitate_envs import (
    CompleteSerialCompound,
    Conditioning,
    ExponentialPause,
    FixedPause,
    Microstimuli,
    Presence,
    TimedConditioning,
    Timing,
    TrialKind,
    UniformPause,
)

A_PLUS = TrialKind((1.0, 0.0), 1.0, name="A+")
AX = TrialKind((1.0, 1.0), name="AX")
B_PLUS = TrialKind((0.0, 1.0), 1.0, name="B+")
PROBE = TrialKind((0.0, 1.0), name="#B", probe=True)
EARLY = TrialKind((2.0, 1.0), 3.0, periods=(0, 1), name="A>B+++")
BACKWARD = TrialKind((1.0, 0.0), 1.0, outcome_period=0, name="+A")
KINDS = (A_PLUS, AX, B_PLUS, PROBE, EARLY, BACKWARD)


def uniforms(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def run(env, action=0, seed=0, limit=10_000):
    """One episode: states, observations [T + 1, F] and rewards [T]."""
    state = env.reset(uniforms(env.reset_noise, seed=seed))
    states, seen, rewards = [state], [env.observe(state)], []
    for t in range(limit):
        act = torch.tensor(action(state) if callable(action) else action)
        state, reward, terminated = env.step(state, act, uniforms(env.step_noise, seed=1000 + 10_000 * seed + t))
        states.append(state), seen.append(env.observe(state)), rewards.append(reward)
        if terminated:
            assert t + 1 < env.max_steps
            return states, torch.stack(seen), torch.stack(rewards)
    raise AssertionError("it never ends")


# A trial a step


def test_a_session_is_its_trials_in_order():
    order = (0, 1, 4, 3, 2, 0)
    env = Conditioning(KINDS, (order,))
    states, seen, rewards = run(env)
    assert [env.kind(state).item() for state in states] == [*order, -1]
    assert [env.is_probe(state).item() for state in states] == [KINDS[k].probe for k in order] + [False]
    assert seen.tolist() == [list(KINDS[k].cues) for k in order] + [[0.0, 0.0]]
    assert rewards.tolist() == [KINDS[k].outcome for k in order]
    assert env.max_steps == 7 and env.observation.high == 2


def test_sessions_are_drawn_evenly_and_may_be_ragged():
    env = Conditioning(KINDS, ((0,), (1, 2), (3, 3, 3, 3)))
    state = env.reset(uniforms(30_000, 1))
    share = torch.bincount(state.session, minlength=3) / 30_000
    assert (share - 1 / 3).abs().max() < 4 * math.sqrt(2 / 9 / 30_000)
    left = []
    for _ in range(4):
        state, _, terminated = env.step(state, torch.zeros(30_000, dtype=torch.int64), torch.empty(30_000, 0))
        left.append([terminated[state.session == s].all().item() for s in range(3)])
        assert not any(terminated[state.session == s].any() for s in range(3) if not left[-1][s])
    assert left == [[True, False, False], [True, True, False], [True, True, False], [True, True, True]]


def test_without_sessions_a_trial_is_an_episode():
    env = Conditioning(KINDS)
    states = [env.reset(torch.tensor([(k + 0.5) / 6])) for k in range(6)]
    assert [env.kind(state).item() for state in states] == list(range(6))
    assert all(env.step(state, torch.tensor(0), torch.empty(0))[2] for state in states)
    assert env.action.n == 1


def test_omission():
    """The response cancels the outcome of its own trial, in both ways of time."""
    env = Conditioning(KINDS, ((0, 1, 2, 0, 2),), omission=True)
    assert env.action.n == 2
    assert run(env)[2].tolist() == [1, 0, 1, 1, 1] and run(env, 1)[2].tolist() == [0, 0, 0, 0, 0]
    assert run(env, lambda s: int(s.position == 3))[2].tolist() == [1, 0, 1, 0, 1]
    timed = TimedConditioning(
        KINDS, ((0, 4, 0),), timing=Timing(2.0, 1.0, FixedPause(2.0)), representation=Presence(), omission=True
    )
    assert run(timed)[2].sum() == 5
    assert run(timed, lambda s: int(s.clock < 0))[2].sum() == 5  # in the pauses only
    assert run(timed, lambda s: int(s.clock >= 0))[2].sum() == 0
    for moment in (0, 2, 5):  # first and last steps of trials that take 3 and 6
        rewards = run(timed, lambda s, m=moment: int((s.position == 1) & (s.clock == m)))[2]
        assert rewards.sum() == 2


def linear_td(seen, rewards, alpha, gamma, lam=0.0):
    """Weights after each step of online TD(λ), and the errors, by the textbook; a learner like any other."""
    seen, w, weights, errors = seen.numpy(), np.zeros(seen.shape[1]), [], []
    trace = np.zeros_like(w)
    for x, after, reward in zip(seen[:-1], seen[1:], rewards.numpy(), strict=True):
        trace = gamma * lam * trace + x
        errors.append(reward + gamma * w @ after - w @ x)
        w = w + alpha * errors[-1] * trace
        weights.append(w)
    return np.stack(weights), np.array(errors)


def test_a_linear_learner_without_foresight_is_rescorla_wagner():
    """Golden: A+/AX- four times, α = β = 0.4, so a step of 0.16."""
    weights, _ = linear_td(*run(Conditioning(KINDS, ((0, 1) * 4,)))[1:], alpha=0.16, gamma=0.0)
    golden = [
        (0.16, 0),
        (0.1344, -0.0256),
        (0.272896, -0.0256),
        (0.233329, -0.065167),
        (0.355996, -0.065167),
        (0.309463, -0.1117),
        (0.419949, -0.1117),
        (0.370629, -0.16102),
    ]
    np.testing.assert_allclose(weights, golden, rtol=0, atol=1e-6)


# A trial in time


def timeline(env, states):
    """What a subject should see [T + 1, C, D] and get [T], by a loop over trials."""
    timing, kinds = env.timing, [env.trials[k] for k in env.tables.sessions[states[0].session.item()]]
    isi = round((timing.duration + timing.gap) / timing.dt)
    pauses = [-states[0].clock.item()]  # a pause begins where the count of trials goes up
    pauses += [-b.clock.item() for a, b in pairwise(states) if b.position > a.position]
    onsets, rewards, begin = [], {}, 0
    for kind, pause in zip(kinds, pauses, strict=False):
        begin += pause
        periods = kind.periods or (0, 0)
        shown = [c for c in range(2) if kind.cues[c]]
        onsets += [(begin + isi * periods[c], c, kind.cues[c]) for c in shown]
        last = max(periods[c] for c in shown)
        outcome = last + 1 if kind.outcome_period is None else kind.outcome_period
        rewards[begin + isi * outcome] = kind.outcome
        begin += isi * max(last + 1, outcome)
    steps = begin
    seen = np.zeros((steps + 1, 2, env.representation.width(env.horizon)))
    for t in range(steps + 1):
        for c in range(2):
            past = [(begun, x) for begun, cue, x in onsets if cue == c and begun <= t]
            if past:
                seen[t, c] = past[-1][1] * look(env, t - past[-1][0])
    return seen.reshape(steps + 1, -1), [rewards.get(t + 1, 0.0) for t in range(steps)]


def look(env, since):
    """Features of a cue of intensity 1 that came on `since` steps ago."""
    kind = env.representation
    if isinstance(kind, Presence):
        return np.array([float(since < round(env.timing.duration / env.timing.dt))])
    if isinstance(kind, CompleteSerialCompound):
        return np.array([float(since == i) for i in range(env.horizon)])
    y = kind.decay**since
    m = kind.count
    return np.array(
        [y / math.sqrt(2 * math.pi) * math.exp(-((y - i / m) ** 2) / (2 * kind.sigma**2)) for i in range(1, m + 1)]
    )


@pytest.mark.parametrize("representation", [CompleteSerialCompound(), Presence(), Microstimuli(4, 0.1, 0.9)])
@pytest.mark.parametrize(
    "timing",
    [
        Timing(2.0, 0.0, FixedPause(3.0)),
        Timing(1.0, 2.0, ExponentialPause(2.0)),
        Timing(0.4, 0.2, UniformPause(0.6, 0.5), dt=0.2),
    ],
)
def test_time_against_a_loop(timing, representation):
    sessions = ((0, 1, 4, 3), (2, 4, 5, 2, 1, 0))
    env = TimedConditioning(KINDS, sessions, timing, representation)
    for seed in range(4):
        states, seen, rewards = run(env, seed=seed)
        expected, paid = timeline(env, states)
        np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-12)
        assert rewards.tolist() == paid
        assert all(obs.min() >= 0 and obs.max() <= env.observation.high for obs in seen)


def test_pauses_have_their_laws():
    uniform = uniforms(50_000)
    exponential, even = ExponentialPause(10.0), UniformPause(10.0)
    drawn = exponential.draw(uniform)
    assert exponential.longest == drawn.max() == 30
    assert drawn.mean().item() == pytest.approx(10 * (1 - math.exp(-3)), abs=4 * 10 / math.sqrt(50_000))
    spread = even.draw(uniform)
    assert spread.min() >= 8 and spread.max() <= even.longest == 12
    assert spread.std().item() == pytest.approx(4 / math.sqrt(12), rel=0.02)
    timing = Timing(pause=ExponentialPause(1.0))
    assert timing.pause_steps(uniform).min() == 1 and timing.pause_steps(torch.tensor(1 - 2.0**-24)) == 3
    assert Timing(duration=1.5, gap=0.5, dt=0.25).isi == 2 and Timing(dt=0.25).steps(2.0) == 8


def test_prediction_error_moves_from_the_outcome_to_the_cue():
    """A serial compound, a cue 25 steps before the outcome: V(onset) = γ²⁴, no error at the outcome, −1 without it."""
    count, gamma = 400, 0.97
    env = TimedConditioning((TrialKind((1.0,), 1.0), TrialKind((1.0,))), ((0, 0, 1),), Timing(pause=FixedPause(100.0)))
    states, seen, rewards = run(env)
    assert [state.clock.item() for state in states[:127]] == [*range(-100, 25), -100, -99]
    # The middle trial as often as need be: nothing is drawn, so all are alike.
    seen = torch.cat([*[seen[125:250]] * count, seen[250:]])
    rewards = torch.cat([*[rewards[125:250]] * count, rewards[250:]])
    weights, errors = linear_td(seen, rewards, alpha=0.05, gamma=gamma, lam=0.95)
    trials = errors.reshape(count + 1, 125)
    assert trials[0].tolist() == [0.0] * 124 + [1.0]
    assert trials[count - 1, 99] == pytest.approx(gamma * gamma**24, abs=2e-3)  # γ V(onset), out of nothing
    assert abs(trials[count - 1, 124]) < 1e-3
    assert trials[count, 124] == pytest.approx(-1.0, abs=0.01)
    np.testing.assert_allclose(weights[-126], gamma ** np.arange(24, -1, -1), rtol=0, atol=2e-3)


@pytest.mark.parametrize(("gamma", "expected"), [(0.97, 0.7874), (0.9, 0.5263)])
def test_one_weight_of_presence(gamma, expected):
    """λ = 0, a cue of T steps: w = 1/(1 + (T − 1)(1 − γ)) in the mean."""
    env = TimedConditioning((TrialKind((1.0,), 1.0),), ((0, 0, 0),), Timing(10.0, pause=FixedPause(3.0)), Presence())
    _, seen, rewards = run(env)
    seen = torch.cat([*[seen[13:26]] * 600, seen[26:27]])
    weights, _ = linear_td(seen, rewards[13:26].repeat(600), alpha=0.01, gamma=gamma)
    assert expected == pytest.approx(1 / (1 + 9 * (1 - gamma)), abs=1e-4)
    assert weights[-13:].mean() == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrialKind((1.0, -0.5)), "cues: at least one, of intensities that are at least 0"),
        (lambda: TrialKind((1.0, 1.0), periods=(0,)), "periods: one for each of 2 cues, not 1"),
        (lambda: TrialKind((1.0,), periods=(-1,)), "periods, outcome_period: counted from 0"),
        (lambda: TrialKind((1.0,), outcome_period=-1), "periods, outcome_period: counted from 0"),
        (lambda: Conditioning(()), "trials: at least one kind"),
        (lambda: TrialKind(()), "cues: at least one"),
        (lambda: Conditioning((A_PLUS, TrialKind((1.0,)))), r"all need the same cues, not \[2, 1\]"),
        (lambda: Conditioning((A_PLUS,), ((0,), (0, 1))), r"of kinds 0, …, 0, not \(0, 1\)"),
        (lambda: Conditioning((A_PLUS,), ((0,), ())), "sessions: at least one trial each"),
        (lambda: TimedConditioning((A_PLUS,), ()), "sessions: at least one"),
        (lambda: Timing(dt=0), "dt: must be positive"),
        (lambda: Timing(gap=-1), "gap: at least 0"),
        (lambda: Timing(duration=0.4), r"duration: at least one step of 1.0 s, not 0.4 s"),
        (lambda: Timing(pause=FixedPause(0.1)), "pause: at least one step"),
        (lambda: Microstimuli(count=0), "count, sigma, decay: at least 1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
