"""`Feedback` shows the last action and reward, and changes nothing else."""

import math
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

from imitate.core.rollout import TensorSource
from imitate.policies import Random
from imitate_envs import Bandit, Bernoulli, CartPole, Catch, Chain, DeepSea, Feedback, Pendulum
from imitate_envs.gymnasium import TensorVectorEnv, to_gymnasium

ENVS = [Chain(), CartPole(), DeepSea(4), Bandit((0.2, 0.7), Bernoulli())]


@pytest.fixture(params=ENVS, ids=lambda env: type(env).__name__)
def inner(request):
    return request.param


def expected(inner, obs, action, reward):
    """One observation from its parts, with `action` None at the first step of an episode."""
    seen = np.eye(inner.observation.n)[obs] if isinstance(obs, int) else np.asarray(obs)
    last = np.zeros(inner.action.n) if action is None else np.eye(inner.action.n)[action]
    return np.concatenate([seen, last, [reward]])


def test_one_lane_against_a_loop(inner):
    env = Feedback(inner)
    rng = np.random.default_rng(0)
    u = torch.tensor(rng.random(inner.reset_noise))
    state, plain = env.reset(u), inner.reset(u)
    np.testing.assert_array_equal(env.observe(state), expected(inner, inner.observe(plain).tolist(), None, 0))
    for _ in range(20):
        action, u = int(rng.integers(inner.action.n)), torch.tensor(rng.random(inner.step_noise))
        state, reward, terminated = env.step(state, torch.tensor(action), u)
        plain, plain_reward, plain_terminated = inner.step(plain, torch.tensor(action), u)
        assert reward == plain_reward and terminated == plain_terminated
        obs = env.observe(state)
        assert obs.dtype == torch.float64
        np.testing.assert_array_equal(obs, expected(inner, inner.observe(plain).tolist(), action, float(reward)))


def test_lanes_are_independent(inner):
    env, shape = Feedback(inner), (2, 3)
    generator = torch.Generator().manual_seed(1)
    noise = torch.rand(6, *shape, inner.step_noise, generator=generator)
    first = torch.rand(*shape, inner.reset_noise, generator=generator)
    actions = torch.randint(inner.action.n, (6, *shape), generator=generator)

    def run(pick):
        state, seen = env.reset(pick(first)), []
        for action, u in zip(actions, noise, strict=True):
            state, reward, _ = env.step(state, pick(action), pick(u))
            seen += [env.observe(state), reward]
        return seen

    together = run(lambda x: x)
    for i in range(2):
        for j in range(3):
            alone = run(lambda x, at=(i, j): x[at])
            for a, b in zip(together, alone, strict=True):
                # one lane takes other vector instructions than six
                torch.testing.assert_close(a[i, j], b, rtol=1e-5, atol=1e-6)


def test_the_first_step_of_every_episode_is_blank():
    """In the rollout, with auto-reset: zeros after an end and what was just done elsewhere, also right before it."""
    inner = DeepSea(3)
    seen = TensorSource(Feedback(inner), id="DeepSea", num_envs=4, seed=0).collect(Random(inner.action), 40)
    action = torch.nn.functional.one_hot(seen.action, 2).float()
    for told, done, began in [(seen.next_obs, action, seen.reward), (seen.obs[1:], action[:-1], seen.reward[:-1])]:
        fresh = torch.zeros_like(began, dtype=torch.bool) if told is seen.next_obs else seen.done[:-1]
        assert torch.equal(told[..., -3:-1], done * ~fresh.unsqueeze(-1))
        assert torch.equal(told[..., -1], began * ~fresh)
    assert torch.equal(seen.obs[0][..., -3:], torch.zeros(1, 4, 3)) and seen.done.sum() > 40


def test_spaces():
    box = Feedback(CartPole()).observation
    assert box.shape == (7,) and box.low[4:] == (0.0, 0.0, -math.inf) and box.high[4:] == (1.0, 1.0, math.inf)
    assert box.high[:4] == CartPole().observation.high
    assert Feedback(Feedback(Chain())).observation.shape == (5 + 3 + 3,)
    env = Feedback(Bandit())
    state = env.reset(torch.rand(5, 0))
    assert all(to_gymnasium(env.observation).contains(obs) for obs in env.observe(state).numpy())


def test_gymnasium(inner):
    env = gymnasium.make("imitate/Chain-v0", env=Feedback(inner))
    with warnings.catch_warnings():  # the reward has no bounds
        warnings.simplefilter("ignore")
        check_env(env.unwrapped)
    assert env.observation_space.shape == Feedback(inner).observation.shape
    vector = TensorVectorEnv(Feedback(inner), num_envs=3, max_episode_steps=4)
    vector.reset(seed=0)
    vector.action_space.seed(0)
    for _ in range(9):
        obs, *_, infos = vector.step(vector.action_space.sample())
        for i in np.flatnonzero(infos.get("_final_obs", [])):
            assert obs[i, -inner.action.n - 1 :].tolist() == [0.0] * (inner.action.n + 1)


def test_mistakes():
    with pytest.raises(ValueError, match=r"env: its action must be Discrete .*, not Box\(1,\)\."):
        Feedback(Pendulum())
    with pytest.raises(ValueError, match=r"env: its observation must be Discrete or a flat Box .*, not Box\(10, 5\)\."):
        Feedback(Catch())
