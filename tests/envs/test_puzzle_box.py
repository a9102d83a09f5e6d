"""Thorndike's box: latencies of agents whose expected curve is known."""

import math

import pytest
import torch

from imitate.conditioning.agent import as_agent
from imitate.conditioning.models import LawOfEffect
from imitate.core.rollout import TensorSource
from imitate.policies import Random
from imitate_envs import Feedback, PuzzleBox

AGENTS = 10_000


class Stamped:
    """The law of effect in four lines: act a with probability s_a / Σ s; the one that opens the door gains `eta`."""

    noise = 1

    def __init__(self, acts, eta, start=1.0):
        self.acts, self.eta, self.start = acts, eta, start

    def memory(self, *shape):
        return torch.full((*shape, self.acts), self.start)

    def act(self, obs, noise, memory):
        last, reward = obs[..., 1:-1], obs[..., -1:]
        strength = memory + self.eta * reward * last
        cdf = strength.cumsum(-1)
        return (cdf <= noise * cdf[..., -1:]).sum(-1).clamp(max=self.acts - 1), strength, {}


def latencies(reward, trials):
    """Steps of each trial [trials, N], from rewards [T, N] that are 1 at each escape."""
    step = torch.arange(1, len(reward) + 1).unsqueeze(1)
    escapes = torch.where(reward == 1, step, len(reward) + 1).sort(0).values[:trials]
    assert escapes.max() <= len(reward), "an agent is still in the box"
    return escapes.diff(dim=0, prepend=torch.zeros(1, reward.shape[1], dtype=torch.int64))


def test_mean_latency_of_a_uniform_agent():
    """Geometric: acts·d on average."""
    env = PuzzleBox(acts=5, act_seconds=3.0, max_steps=1000)
    seen = TensorSource(env, id="box", num_envs=AGENTS, seed=0).collect(Random(env.action), 120)
    time = env.latency(latencies(seen.reward[:, 0], 1).double())
    spread = 3 * math.sqrt(1 - 1 / 5) * 5
    assert time.mean().item() == pytest.approx(5 * 3, abs=2 * spread / math.sqrt(AGENTS))
    assert time.std().item() == pytest.approx(spread, rel=0.05)
    assert torch.equal(seen.terminated, seen.reward == 1)
    assert torch.equal(seen.reward == 1, seen.action == env.correct)


@pytest.mark.parametrize(
    ("eta", "agent"), [(0.25, Stamped(8, 0.25)), (1.0, as_agent(LawOfEffect(), {"eta": 1.0}, actions=8))]
)
def test_learning_curve_of_the_law_of_effect(eta, agent):
    """E[L_n] = d (1 + S_other / (s + η (n − 1))), and L_n is geometric."""
    trials, others = 24, 7
    env = PuzzleBox(act_seconds=2.0, trials=trials)
    source = TensorSource(Feedback(env), id="box", num_envs=AGENTS, seed=1)
    seen = source.collect(agent, 300 if eta < 1 else 200)
    assert seen.terminated.any(0).all()
    time = env.latency(latencies(seen.reward[:, 0], trials).double())
    n = torch.arange(1, trials + 1).double()
    expected = 2.0 * (1 + others / (1 + eta * (n - 1)))
    p = 2.0 / expected
    error = 2.0 * (1 - p).sqrt() / p / math.sqrt(AGENTS)
    z = (time.mean(1) - expected) / error
    assert (z.abs() < 2).sum() >= 22 and z.abs().max() < 3.5
    assert time[0].mean() > 5 * time[-1].mean() if eta == 1 else True


def test_a_cat_is_put_back_until_its_last_trial():
    env = PuzzleBox(acts=3, correct=2, trials=2)
    state = env.reset(torch.empty(4, 0))
    ends, rewards = [], []
    for action in (0, 2, 1, 2):
        assert env.observe(state).tolist() == [0] * 4
        state, reward, terminated = env.step(state, torch.full((4,), action), torch.empty(4, 0))
        ends.append(terminated[0].item()), rewards.append(reward[0].item())
    assert ends == [False, False, False, True] and rewards == [0, 1, 0, 1]
    assert env.latency(4) == 40.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PuzzleBox(acts=3, correct=3), "correct: one of the acts 0, …, 2, not 3"),
        (lambda: PuzzleBox(act_seconds=0), "act_seconds: must be positive"),
        (lambda: PuzzleBox(trials=0), "trials: at least 1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
