import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from stable_baselines3.common.buffers import RolloutBuffer

from imitate.losses import discounted_returns_so_far, lambda_returns
from tests import oracles

T, M, N = 17, 2, 3


def trajectories(seed, length=T, shape=(M, N)):
    rng = np.random.default_rng(seed)
    reward, value, next_value = rng.normal(size=(3, length, *shape))
    terminated = rng.random((length, *shape)) < 0.15
    truncated = (rng.random((length, *shape)) < 0.15) & ~terminated
    return reward, value, next_value, terminated, truncated


def ours(reward, next_value, terminated, truncated, gamma, lam):
    r, v, te, tr = map(torch.as_tensor, (reward, next_value, terminated, truncated))
    return lambda_returns(r, gamma * (~te).to(r), v, lam * (~tr).to(r)).numpy()


@given(
    st.integers(0, 10_000),
    st.integers(1, 20),
    st.sampled_from([0.0, 0.5, 0.95, 1.0]),
    st.sampled_from([0.0, 0.9, 1.0]),
)
def test_lambda_returns_are_the_weighted_mean_of_n_step_returns(seed, length, lam, gamma):
    reward, _, next_value, terminated, truncated = trajectories(seed, length)
    found = ours(reward, next_value, terminated, truncated, gamma, lam)
    for m in range(M):
        for n in range(N):
            at = (slice(None), m, n)
            expected = oracles.lambda_returns(reward[at], next_value[at], terminated[at], truncated[at], gamma, lam)
            np.testing.assert_allclose(found[at], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("gamma", "lam"), [(0.99, 0.95), (0.9, 0.0), (1.0, 1.0)])
def test_gae_is_that_of_stable_baselines3(gamma, lam):
    """Which knows terminations only, and takes the value after the buffer from its caller."""
    reward, value, _, terminated, _ = trajectories(0, shape=(N,))
    last_value = np.random.default_rng(1).normal(size=N)
    space = spaces.Box(-1, 1, (1,), np.float64)
    buffer = RolloutBuffer(T, space, space, device="cpu", gae_lambda=lam, gamma=gamma, n_envs=N)
    starts = np.concatenate([np.zeros((1, N), bool), terminated[:-1]])
    for t in range(T):
        zeros = np.zeros((N, 1))
        buffer.add(zeros, zeros, reward[t], starts[t], torch.as_tensor(value[t]), torch.zeros(N))
    buffer.compute_returns_and_advantage(torch.as_tensor(last_value), terminated[-1])

    next_value = np.concatenate([value[1:], last_value[None]])
    returns = ours(reward, next_value, terminated, np.zeros_like(terminated), gamma, lam)
    np.testing.assert_allclose(returns - value, buffer.advantages, rtol=1e-4, atol=1e-5)  # the buffer is float32
    np.testing.assert_allclose(returns, buffer.returns, rtol=1e-4, atol=1e-5)


def test_lambda_of_one_is_the_monte_carlo_return():
    """n = T equals λ = 1: discounted rewards, and the value where they end."""
    reward, _, next_value, terminated, truncated = trajectories(2, shape=(1,))
    found = ours(reward, next_value, terminated, truncated, 0.9, 1.0)[:, 0]
    for t in range(T):
        total, discount = 0.0, 1.0
        for k in range(t, T):
            total += discount * reward[k, 0]
            discount *= 0.9
            if terminated[k, 0]:
                break
            if truncated[k, 0] or k == T - 1:
                total += discount * next_value[k, 0]
                break
        assert found[t] == pytest.approx(total, rel=1e-12)


def test_lambda_of_zero_is_one_step():
    reward, _, next_value, terminated, truncated = trajectories(3)
    np.testing.assert_allclose(
        ours(reward, next_value, terminated, truncated, 0.9, 0.0),
        reward + 0.9 * ~terminated * next_value,
        rtol=1e-12,
    )


def test_values_of_the_true_function_are_a_fixed_point():
    """On a chain with reward 1 the returns equal the values, whatever λ: a bias would show."""
    gamma = 0.9
    value = torch.full((T, M, N), 1 / (1 - gamma), dtype=torch.float64)
    ones = torch.ones_like(value)
    lam = torch.rand(T, M, N, dtype=torch.float64)
    torch.testing.assert_close(lambda_returns(ones, gamma * ones, value, lam), value)


def test_a_numeric_example():
    """γ = ½: truncated after step 1, terminated after step 3."""
    reward, next_value = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0]), torch.tensor([10.0, 20.0, 30.0, 40.0, 50.0])
    discount = torch.tensor([0.5, 0.5, 0.5, 0.0, 0.5])
    lam = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0])
    # from the end: 5 + 25, 4, 3 + 2, 2 + 10, 1 + 6
    assert lambda_returns(reward, discount, next_value, lam).tolist() == [7, 12, 5, 4, 30]


def test_gradients_reach_rewards_and_values():
    reward, next_value = (torch.rand(5, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    discount, lam = torch.rand(2, 5, 2, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda r, v: lambda_returns(r, discount, v, lam), (reward, next_value))


@given(st.integers(0, 10_000), st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_discounted_returns_so_far_are_those_of_vecnormalize(seed, lengths):
    """Over several rollouts: `returns = returns·γ + reward; …; returns[dones] = 0`."""
    rng, gamma = np.random.default_rng(seed), 0.9
    running, before, done_before = (
        np.zeros((M, N)),
        torch.zeros(M, N, dtype=torch.float64),
        np.zeros((M, N), bool),
    )
    for length in lengths:
        reward, done = rng.normal(size=(length, M, N)), rng.random((length, M, N)) < 0.3
        expected = []
        for t in range(length):
            running = running * gamma + reward[t]
            expected.append(running)
            running = np.where(done[t], 0, running)
        keep = gamma * ~np.concatenate([done_before[None], done[:-1]])
        found = discounted_returns_so_far(torch.tensor(reward), torch.tensor(keep), before)
        np.testing.assert_allclose(found, np.stack(expected), rtol=1e-9, atol=1e-12)
        before, done_before = found[-1], done[-1]
