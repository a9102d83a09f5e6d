"""Bandits of many pulls: against loops, and against their laws in closed form."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from imitate.core.noise import categorical
from imitate.core.rollout import TensorSource
from imitate_envs import (
    Bernoulli,
    Decay,
    DriftingBandit,
    Feedback,
    Gaussian,
    NormalMeans,
    Points,
    Reflect,
    ReversalBandit,
    StationaryBandit,
    UniformMeans,
)


def uniforms(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def play(env, choose, steps, lanes=1, seed=0):
    """Means before each pull [T, N, K], actions and rewards [T, N] of a player that sees the means."""
    state, rows = env.reset(uniforms(lanes, env.reset_noise, seed=seed)), []
    noise = uniforms(steps, lanes, env.step_noise, seed=seed + 1)
    for t in range(steps):
        means = getattr(state, "means", state)
        action = choose(t, means)
        state, reward, terminated = env.step(state, action, noise[t])
        assert not terminated.any()
        rows.append((means, action, reward))
    return (*(torch.stack(column) for column in zip(*rows, strict=True)), noise)


def at_random(t, means):
    return torch.randint(means.shape[-1], means.shape[:-1], generator=torch.Generator().manual_seed(t))


# Stationary


@pytest.mark.parametrize(
    ("means", "expected", "spread"),
    [(UniformMeans(3, 0.2, 0.8), 0.5, 0.6 / math.sqrt(12)), (NormalMeans(3, 2.0, 0.5), 2.0, 0.5)],
)
def test_means_are_drawn_once_an_episode(means, expected, spread):
    seen, action, reward, noise = play(StationaryBandit(means, Gaussian(0.1)), at_random, 4, lanes=20_000)
    assert (seen == seen[0]).all()
    se = spread / math.sqrt(60_000)
    assert seen[0].mean().item() == pytest.approx(expected, abs=4 * se)
    assert seen[0].std().item() == pytest.approx(spread, rel=0.02)
    assert torch.corrcoef(seen[0].T).fill_diagonal_(0).abs().max() < 4 / math.sqrt(20_000)
    chosen = seen.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    expected = chosen.numpy() + 0.1 * ndtri(noise[..., 0].numpy())
    np.testing.assert_allclose(reward, expected, rtol=0, atol=1e-12)


def test_fixed_means_need_no_noise():
    env = StationaryBandit([0.1, 0.7])
    assert env.reset_noise == 0 and env.means == (0.1, 0.7) and env.max_steps == 100
    seen, action, reward, noise = play(env, at_random, 50, lanes=4)
    assert (seen == torch.tensor([0.1, 0.7], dtype=torch.float64)).all()
    assert torch.equal(reward, (noise[..., 0] < seen.gather(-1, action.unsqueeze(-1)).squeeze(-1)).double())


# Drifting


def test_drift_is_that_of_daw_2006():
    seen, action, reward, noise = play(DriftingBandit(), at_random, 40, lanes=3)
    z = ndtri(noise.numpy())
    means = 50 + 2.8 / math.sqrt(1 - 0.9836**2) * ndtri(uniforms(3, 4).numpy())
    for t in range(40):
        np.testing.assert_allclose(seen[t], means, rtol=0, atol=1e-9)
        for lane in range(3):
            paid = round(means[lane, action[t, lane]] + 4 * z[t, lane, 0])
            assert reward[t, lane].item() == min(max(paid, 1), 100)
        means = 0.9836 * means + (1 - 0.9836) * 50 + 2.8 * z[t, :, 1:]


def test_decay_keeps_its_stationary_law():
    """N(θ, σ²/(1 − λ²)) at the start and 60 steps later, and a lag-1 correlation of λ."""
    seen = play(DriftingBandit(), at_random, 61, lanes=5_000)[0]
    spread = 2.8 / math.sqrt(1 - 0.9836**2)
    for moment in (seen[0], seen[60]):
        assert moment.mean().item() == pytest.approx(50, abs=4 * spread / math.sqrt(20_000))
        assert moment.std().item() == pytest.approx(spread, rel=4 / math.sqrt(2 * 20_000))
    pair = torch.stack([seen[59].flatten(), seen[60].flatten()])
    assert torch.corrcoef(pair)[0, 1].item() == pytest.approx(0.9836, abs=0.001)
    assert Decay(decay=1.0).start(uniforms(5)).tolist() == [50.0] * 5


def test_points_are_whole_and_bounded():
    reward = Points().pay(torch.tensor([0.0, 50.0, 120.0]).double().unsqueeze(1), uniforms(3, 1000))
    assert torch.equal(reward, reward.round()) and reward.min() == 1 and reward.max() == 100
    assert reward[1].mean().item() == pytest.approx(50, abs=4 * 4 / math.sqrt(1000))


def reflected(x, low, high):
    while not low <= x <= high:
        x = 2 * low - x if x < low else 2 * high - x
    return x


@pytest.mark.parametrize("walk", [Reflect(), Reflect(-1.0, 1.0, 3.0)])
def test_walls_reflect(walk):
    start, u = uniforms(500), uniforms(500, seed=1)
    mean = walk.start(start)
    np.testing.assert_allclose(mean, walk.low + (walk.high - walk.low) * start)
    expected = [
        reflected(m + walk.deviation * z, walk.low, walk.high)
        for m, z in zip(mean.tolist(), ndtri(u.numpy()), strict=True)
    ]
    np.testing.assert_allclose(walk.step(mean, u), expected, rtol=0, atol=1e-12)


def test_reflection_keeps_a_uniform_law():
    env = DriftingBandit(2, Reflect(), Bernoulli())
    seen, action, reward, _ = play(env, at_random, 80, lanes=5_000)
    sorted_shares = ((seen[-1].flatten() - 0.25) / 0.5).sort().values
    expected = (torch.arange(10_000) + 0.5) / 10_000
    assert (sorted_shares - expected).abs().max() < 1.63 / math.sqrt(10_000)  # Kolmogorov-Smirnov, 1 %
    chosen = seen.gather(-1, action.unsqueeze(-1)).squeeze(-1)
    assert (reward - chosen).mean().abs() < 4 * 0.5 / math.sqrt(reward.numel())


# Reversal


@pytest.mark.parametrize("env", [ReversalBandit(hazard=0.2), ReversalBandit((0.9, 0.4, 0.1), 0.5, criterion=2)])
def test_reversals_against_a_loop(env):
    seen, action, _, noise = play(env, at_random, 200, lanes=2)
    arms = len(env.means)
    for lane in range(2):
        offset, run = int(uniforms(2, 1)[lane, 0] * arms), 0
        for t in range(200):
            means = [env.means[(arm - offset) % arms] for arm in range(arms)]
            assert seen[t, lane].tolist() == means
            run = run + 1 if means[action[t, lane]] == max(means) else 0
            if run >= env.criterion and noise[t, lane, 1] < env.hazard:
                offset, run = (offset + 1) % arms, 0


def test_hazard_is_the_rate_of_reversals():
    seen = play(ReversalBandit(), at_random, 100, lanes=2_000)[0]
    rate = (seen[1:] != seen[:-1]).any(-1).double().mean().item()
    assert rate == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / (99 * 2_000)))
    assert (seen[0, :, 0] == 0.8).double().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / math.sqrt(2_000))


def test_criterion():
    """Whoever always takes the best arm has it for `criterion` pulls; whoever takes the worst keeps it for ever."""
    env = ReversalBandit(hazard=1.0, criterion=3)
    best = play(env, lambda t, means: means.argmax(-1), 30)[1].flatten()
    assert best.reshape(10, 3).diff(dim=1).abs().sum() == 0 and (best[::3].diff() != 0).all()
    worst = play(env, lambda t, means: means.argmin(-1), 30)[1]
    assert (worst == worst[0]).all()


class RescorlaWagnerAgent:
    """Learns inside an episode, from what `Feedback` shows."""

    noise = 1

    def __init__(self, arms, alpha, beta):
        self.arms, self.alpha, self.beta = arms, alpha, beta

    def memory(self, *shape):
        return torch.full((*shape, self.arms), 0.5)

    def act(self, obs, noise, memory):
        last, reward = obs[..., -self.arms - 1 : -1], obs[..., -1:]
        value = memory + self.alpha * last * (reward - memory)
        return categorical(self.beta * value, noise[..., 0]), value, {"value": value}


def test_an_agent_learns_inside_episodes_and_forgets_between_them():
    env = Feedback(ReversalBandit(hazard=0.02, max_steps=100))
    seen = TensorSource(env, id="reversal", num_envs=200, seed=0).collect(RescorlaWagnerAgent(2, 0.3, 6.0), 201)
    value = torch.full((200, 2), 0.5)
    for t in range(201):  # one loop over what was recorded gives the agent's own memory
        if t % 100 == 0:
            value = torch.full((200, 2), 0.5)
        torch.testing.assert_close(seen.extras["value"][t, 0], value, rtol=0, atol=1e-6)
        row, action = torch.arange(200), seen.action[t, 0]
        value[row, action] += 0.3 * (seen.reward[t, 0] - value[row, action])
    assert seen.truncated[99].all() and not seen.terminated.any()
    first, later = seen.reward[::100].mean(), seen.reward[20:100].mean()
    assert abs(first - 0.5) < 4 * 0.5 / math.sqrt(600) and later > 0.65


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StationaryBandit(()), "at least one arm"),
        (lambda: StationaryBandit((0.2, 1.2)), "means of Bernoulli arms are probabilities"),
        (lambda: StationaryBandit(UniformMeans(2, 0, 2)), "means of Bernoulli arms are probabilities"),
        (lambda: StationaryBandit(NormalMeans()), "means of Bernoulli arms are probabilities"),
        (lambda: StationaryBandit(max_steps=0), "max_steps: at least 1 pull"),
        (lambda: DriftingBandit(0), "at least one arm"),
        (lambda: DriftingBandit(law=Bernoulli()), "means of Bernoulli arms are probabilities"),
        (lambda: DriftingBandit(walk=Decay(1.5)), "decay: from 0 to 1, not 1.5"),
        (lambda: DriftingBandit(walk=Reflect(1.0, 0.0)), "a lower and a higher wall"),
        (lambda: ReversalBandit((0.8, 1.2)), "means of Bernoulli arms are probabilities"),
        (lambda: ReversalBandit(hazard=-0.1), "hazard: a probability, not -0.1"),
        (lambda: ReversalBandit(criterion=-1), "criterion: at least 0, not -1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
