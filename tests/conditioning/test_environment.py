"""A design as an environment: agents meet the trials that models are simulated on."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv

from imitate.conditioning.design import Design
from imitate.conditioning.environment import to_env, to_timed_env
from imitate.conditioning.models import RescorlaWagner
from imitate.conditioning.simulate import simulate
from imitate.core.rollout import TensorSource
from imitate.policies import Random
from imitate_envs import Feedback, FixedPause, Presence, Timing
from imitate_envs.gymnasium import TensorVectorEnv

BLOCKING = {"blocked": "10A(US) | 10AB(US) | 1#B", "control": "10C(US) | 10AB(US) | 1#B"}


def whole_session(env):
    """The one episode of a session, [T]."""
    seen = TensorSource(env, id="design", num_envs=1).collect(Random(env.action), env.max_steps - 1)
    assert seen.terminated.sum() == 1 and seen.terminated[-1].all()
    return seen


@pytest.mark.parametrize("group", ["blocked", "control"])
def test_a_linear_learner_equals_the_simulated_model(group):
    design = Design(BLOCKING)
    strengths = simulate(RescorlaWagner(), design).strengths[:, design.compile().groups.index(group), :, 0]
    seen, value = whole_session(to_env(design, group)), torch.zeros(len(design.cues))
    for t in range(20):
        torch.testing.assert_close(value, strengths[t], rtol=0, atol=1e-6)
        cues = seen.obs[t, 0, 0]
        value = value + 0.16 * cues * (seen.reward[t, 0, 0] - value @ cues)
    assert value[design.cues.index("B")].item() == pytest.approx(0.0856 if group == "blocked" else 0.4894, abs=1e-4)


def test_everything_of_a_design_arrives():
    """Contexts, compounds, magnitudes, probes; subjects with orders of their own."""
    design = Design(
        {"waits": "1A | 2A(US)", "all": "3A(US) | lambda=2 ; context=box / !2AB++/2A/1#B"},
        context="cage",
        configural=True,
    )
    schedule = design.compile(40, seed=3)
    env = to_env(schedule, "all")
    assert env == to_env(design, "all", subjects=40, seed=3)
    assert len(env.sessions) == 40 and len(set(env.sessions)) > 10
    for s, session in enumerate(env.sessions):
        for t, kind in enumerate(env.trials[k] for k in session):
            assert kind.cues == tuple(schedule.stimuli[t, s, 1].tolist())
            assert kind.outcome == schedule.outcome[t, s, 1, 0].item()
            assert kind.probe == (not schedule.learns[t, s, 1])
            assert kind.name == schedule.kinds[schedule.order[t, s, 1]].label
    assert {kind.name: kind.outcome for kind in env.trials}["AB++"] == 4
    waits = to_env(schedule, "waits")
    assert len(waits.sessions) == 1 and [waits.trials[k].name for k in waits.sessions[0]] == ["A", "A(US)", "A(US)"]
    assert to_env(design).sessions == waits.sessions


def test_periods_in_time():
    """F, then T, then the outcome, each a cue and a gap later."""
    env = to_timed_env(
        Design("1F>T>(US) / 1T(US) / 1T>>(US) / 1#F"),
        timing=Timing(2.0, 1.0, FixedPause(2.0)),
        representation=Presence(),
        omission=True,
    )
    assert env.action.n == 2 and [kind.probe for kind in env.trials] == [False, False, False, True]
    state, seen, rewards = env.reset(torch.rand(2)), [], []
    for _ in range(4 * 2 + 6 + 3 + 6 + 3):
        state, reward, terminated = env.step(state, torch.tensor(0), torch.rand(1))
        seen.append(env.observe(state).tolist()), rewards.append(reward.item())
    assert terminated
    f, t, no = [1.0, 0.0], [0.0, 1.0], [0.0, 0.0]
    trial = [no, f, f, no, t, t, no], [no, no, t, t, no], [no, no, t, t, no, no, no, no], [no, no, f, f, no]
    assert seen == [*trial[0], *trial[1], *trial[2], *trial[3], no]
    assert [i for i, r in enumerate(rewards) if r] == [7, 12, 20]


@pytest.mark.parametrize("make", [to_env, to_timed_env, lambda design: Feedback(to_env(design))])
def test_gymnasium_tells_the_trial_beside_the_observation(make):
    """What an observation belongs to, from the reset on, and −1 with the last one, when the session is over."""
    env = gymnasium.make("imitate/Conditioning-v0", env=make(Design("2A(US)/1#B/1A")), max_episode_steps=1000)
    inner = env.unwrapped.env
    trials = (inner.env if isinstance(inner, Feedback) else inner).trials
    _, info = env.reset(seed=0)
    told, terminated = [info], False
    while not terminated:
        _, _, terminated, truncated, info = env.step(0)
        told.append(info)
        assert not truncated and type(info["trial_type"]) is int and type(info["probe"]) is bool
    kinds = [one["trial_type"] for one in told]
    order = [kind for i, kind in enumerate(kinds) if i == 0 or kind != kinds[i - 1]]
    assert [trials[kind].name for kind in order[:-1]] == ["A(US)", "#B", "A"] and kinds[-1] == -1
    assert [one["probe"] for one in told] == [kind >= 0 and trials[kind].probe for kind in kinds]


@pytest.mark.parametrize("mode", ["SameStep", "NextStep"])
def test_a_vector_tells_what_gymnasiums_own_does(mode):
    design = Design("2A(US)/1#B")
    ours = TensorVectorEnv(to_env(design), num_envs=1, autoreset_mode=mode)
    theirs = SyncVectorEnv(
        [lambda: gymnasium.make("imitate/Conditioning-v0", env=to_env(design), max_episode_steps=99)],
        autoreset_mode=gymnasium.vector.AutoresetMode(mode),
    )
    (_, mine), (_, other) = ours.reset(seed=0), theirs.reset(seed=0)
    for _ in range(8):
        assert mine.keys() == other.keys()
        for key in ("trial_type", "_trial_type", "probe", "_probe"):
            np.testing.assert_array_equal(mine[key], other[key])
            assert mine[key].dtype == other[key].dtype
        if "final_info" in mine:
            assert mine["final_info"] == other["final_info"]
            assert mine["final_info"]["trial_type"].tolist() == [-1]
        mine, other = ours.step(np.zeros(1, int))[-1], theirs.step(np.zeros(1, int))[-1]
    many = TensorVectorEnv(to_env(design), num_envs=3)
    many.reset(seed=0)
    many.step(np.zeros(3, int))
    _, partly = many.reset(options={"reset_mask": np.array([False, True, False])})
    assert partly["_probe"].tolist() == [False, True, False] and partly["trial_type"][1] == 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: to_env(Design(BLOCKING), "blocking"), "group: 'blocking' is unknown; did you mean 'blocked'"),
        (lambda: to_env(Design("1A(US1)/1A(US2)")), "outcome: there are several, US1, US2; say which"),
        (lambda: to_env(Design("1A(US1)/1A(US2)"), outcome="US3"), "outcome: 'US3' is unknown"),
        (lambda: to_env(Design({"a": "1A", "b": ""}), "b"), "group: 'b' has no trials"),
        (lambda: to_timed_env(Design("1A>A(US)")), "design: 'A' is there in two periods of 'A>A"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
