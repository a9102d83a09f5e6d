"""Models of Stable-Baselines3 for the tests: small, untrained, with shaken weights."""

import gymnasium as gym
import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

RNG = np.random.default_rng(0)
OFF_POLICY = (DQN, SAC, TD3, DDPG)


class Fake(gym.Env):
    """Spaces, and noise for observations."""

    def __init__(self, observation, action):
        self.observation_space, self.action_space = observation, action

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        return self.observation_space.sample(), 0.0, False, False, {}


VECTOR = spaces.Box(-np.inf, np.inf, (5,), np.float32)
CHOICES = spaces.Discrete(4)
FORCES = spaces.Box(np.array([-2, -0.1, 0.123456789], np.float32), np.array([1, 0.7, 30], np.float32))


def build(algorithm, observation=VECTOR, action=None, env=None, **kwargs):
    """A model with weights that were shaken, so that no bias is zero and the actions differ."""
    if action is None:
        action = CHOICES if algorithm in (DQN, PPO, A2C) else FORCES
    if issubclass(algorithm, OFF_POLICY):
        kwargs["buffer_size"] = 10
    model = algorithm("MlpPolicy", env or Fake(observation, action), device="cpu", seed=0, **kwargs)
    with torch.no_grad():
        for p in model.policy.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return model


def random_obs(model, count=1000, scale=2.0):
    space = model.observation_space
    if isinstance(space, spaces.Discrete):
        return RNG.integers(space.n, size=count)
    return (scale * RNG.normal(size=(count, *space.shape))).astype(np.float32)


def assert_same_actions(policy, model, obs, theirs_see=None):
    theirs = model.predict(obs if theirs_see is None else theirs_see, deterministic=True)[0]
    ours = policy.predict(obs, deterministic=True)[0]
    assert ours.shape == theirs.shape
    if isinstance(model.action_space, (spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)):
        logits = policy.distribution(torch.as_tensor(obs)[None]).logits
        places = logits if isinstance(logits, tuple) else (logits,)
        assert len(places) == ours.reshape(len(obs), -1).shape[1]
        for place, mine, expected in zip(places, *(x.reshape(len(obs), -1).T for x in (ours, theirs)), strict=True):
            top = place[0].topk(2).values
            clear = (top[:, 0] - top[:, 1] > 1e-5).detach().numpy()
            assert clear.mean() > 0.99
            assert (mine == expected)[clear].all()
            assert len(np.unique(mine)) > 1
    else:
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
        assert ours.std(0).min() > 0


def normalised(action=FORCES, observation=VECTOR, **kwargs):
    vec = VecNormalize(DummyVecEnv([lambda: Fake(observation, action)]), **kwargs)
    if kwargs.get("norm_obs", True):
        vec.obs_rms.mean = RNG.normal(size=observation.shape)
        vec.obs_rms.var = RNG.random(observation.shape) + 0.05
        vec.obs_rms.mean.flat[0], vec.obs_rms.var.flat[0] = 0.5, 0.0  # a feature that never changes
        vec.obs_rms.count = 123.5
    vec.action_space.seed(1)  # puts a numpy generator into the pickle
    return vec
