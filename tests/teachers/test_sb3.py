"""Models of Stable-Baselines3 as ours: equal to `model.predict`, from memory and from files."""

import pickle

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from imitate import nets
from imitate.teachers import from_sb3
from imitate_envs.base import Box
from tests.teachers.sb3_models import (
    CHOICES,
    FORCES,
    VECTOR,
    Fake,
    assert_same_actions,
    build,
    normalised,
    random_obs,
)

CASES = {
    "ppo": lambda: build(PPO),
    "ppo box": lambda: build(PPO, action=FORCES),
    "ppo many choices": lambda: build(PPO, action=spaces.MultiDiscrete([2, 5, 3])),
    "a2c bits": lambda: build(A2C, action=spaces.MultiBinary(3)),
    "ppo separate elu": lambda: build(
        PPO, policy_kwargs={"net_arch": {"pi": [7], "vf": [8, 9]}, "activation_fn": nn.ELU}
    ),
    "ppo linear": lambda: build(PPO, policy_kwargs={"net_arch": []}),
    "ppo discrete obs": lambda: build(PPO, spaces.Discrete(6)),
    "ppo matrix obs": lambda: build(PPO, spaces.Box(-1, 1, (3, 4), np.float32)),
    "ppo long obs": lambda: build(PPO, spaces.Box(-1, 1, (1200,), np.float32)),
    "a2c": lambda: build(A2C, action=FORCES, policy_kwargs={"activation_fn": nn.LeakyReLU}),
    "dqn": lambda: build(DQN, policy_kwargs={"net_arch": [16, 8, 4]}),
    "dqn gelu": lambda: build(DQN, policy_kwargs={"activation_fn": nn.GELU}),
    "sac": lambda: build(SAC, policy_kwargs={"net_arch": [16, 8]}),
    "sac linear": lambda: build(SAC, policy_kwargs={"net_arch": []}),
    "sac silu": lambda: build(SAC, policy_kwargs={"net_arch": {"pi": [9], "qf": [5]}, "activation_fn": nn.SiLU}),
    "td3": lambda: build(TD3, policy_kwargs={"net_arch": [16, 8]}),
    "td3 tanh": lambda: build(TD3, policy_kwargs={"net_arch": [12], "activation_fn": nn.Tanh}),
    "ddpg": lambda: build(DDPG, policy_kwargs={"net_arch": [16]}),
}


@pytest.mark.parametrize("name", CASES)
def test_actions_equal_predict(name, tmp_path):
    model = CASES[name]()
    model.save(tmp_path / "model.zip")
    obs = random_obs(model)
    for policy in (from_sb3(model), from_sb3(tmp_path / "model.zip"), from_sb3(str(tmp_path / "model.zip"))):
        assert_same_actions(policy, model, obs)


@pytest.mark.parametrize("name", ["QRDQN", "TRPO", "TQC", "MaskablePPO"])
def test_contrib(name, tmp_path):
    contrib = pytest.importorskip("sb3_contrib")
    kind = getattr(contrib, name)
    kwargs = {"buffer_size": 10} if name in ("QRDQN", "TQC") else {}
    if name == "MaskablePPO":
        kwargs["policy_kwargs"] = {"net_arch": [8]}
    action = FORCES if name in ("TQC", "TRPO") else CHOICES
    model = build(kind, action=action, **kwargs)
    model.save(tmp_path / "model.zip")
    obs = random_obs(model)
    for policy in (from_sb3(model), from_sb3(tmp_path / "model.zip")):
        assert_same_actions(policy, model, obs)


def test_a_trained_model_is_taken_as_it_is(tmp_path):
    model = PPO("MlpPolicy", gym.make("CartPole-v1"), n_steps=64, batch_size=32, device="cpu", seed=1).learn(128)
    model.save(tmp_path / "model.zip")
    policy = from_sb3(tmp_path / "model.zip")
    assert_same_actions(policy, model, random_obs(model))
    assert str(policy.observation) == "Box(4,)"
    assert policy.action.n == 2


@pytest.mark.parametrize("action", [CHOICES, FORCES, spaces.MultiDiscrete([2, 5, 3]), spaces.MultiBinary(3)], ids=str)
def test_probabilities_equal_those_of_ppo(action, tmp_path):
    model = build(PPO, action=action)
    model.save(tmp_path / "model.zip")
    obs = torch.as_tensor(random_obs(model, 200))
    theirs = model.policy.get_distribution(obs)
    actions = theirs.sample()
    ours = from_sb3(tmp_path / "model.zip").distribution(obs[None])
    mine = actions.long() if isinstance(action, spaces.MultiBinary) else actions  # theirs are floats
    torch.testing.assert_close(ours.log_prob(mine[None])[0], theirs.log_prob(actions), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(ours.entropy()[0], theirs.entropy(), atol=1e-4, rtol=1e-4)


def test_probabilities_equal_those_of_sac():
    model = build(SAC, policy_kwargs={"net_arch": [16]})
    obs = torch.as_tensor(random_obs(model, 200, scale=0.5))
    with torch.no_grad():
        mean, log_std, _ = model.actor.get_action_dist_params(obs)
    ours = from_sb3(model).distribution(obs[None])
    torch.testing.assert_close(ours.loc[0], mean)
    torch.testing.assert_close(ours.scale[0], log_std.exp())


def test_logits_of_dqn_are_values_over_temperature():
    model = build(DQN)
    obs = torch.as_tensor(random_obs(model, 50))
    values = model.q_net(obs)
    torch.testing.assert_close(from_sb3(model).distribution(obs[None]).logits[0], values, atol=1e-5, rtol=1e-5)
    cooled = from_sb3(model, temperature=0.1).distribution(obs[None]).logits[0]
    torch.testing.assert_close(cooled, 10 * values, atol=1e-4, rtol=1e-5)


def test_td3_has_the_stated_spread_before_the_tanh():
    model = build(TD3, policy_kwargs={"net_arch": [8]})
    distribution = from_sb3(model, scale=0.03).distribution(torch.randn(1, 20, 5))
    torch.testing.assert_close(distribution.scale, torch.full((1, 20, 3), 0.03))


def test_members_are_copies():
    model = build(PPO, action=FORCES)
    policy = from_sb3(model, members=3)
    assert policy.members == 3
    out = policy.distribution(torch.randn(1, 6, 5).expand(3, -1, -1))
    assert torch.equal(out.loc[0], out.loc[2])
    assert torch.equal(out.scale[0], out.scale[2])
    one = from_sb3(model).distribution(torch.randn(3, 6, 5))  # a population of one serves three members
    assert one.loc.shape == (3, 6, 3)


def test_bounds_come_from_the_readable_text(tmp_path):
    wide = spaces.Box(-np.arange(1, 101, dtype=np.float32), np.float32(1.5) * np.arange(1, 101, dtype=np.float32))
    model = build(PPO, action=wide)
    model.save(tmp_path / "model.zip")
    policy = from_sb3(tmp_path / "model.zip")
    np.testing.assert_allclose(policy.action.low, wide.low)
    np.testing.assert_allclose(policy.action.high, wide.high)
    assert policy.observation == Box((5,))


def test_saved_again_as_ours_it_is_the_same(tmp_path):
    model = build(SAC, policy_kwargs={"net_arch": [16]})
    from_sb3(model).save(tmp_path / "ours")
    assert_same_actions(nets.load(tmp_path / "ours"), model, random_obs(model))


# --- VecNormalize -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kwargs", [{}, {"epsilon": 1e-2, "clip_obs": 0.7}, {"epsilon": 1e-10}])
@pytest.mark.parametrize("observation", [VECTOR, spaces.Box(-1, 1, (2, 3), np.float32)])
def test_normalised(observation, kwargs, tmp_path):
    vec = normalised(observation=observation, **kwargs)
    model = build(PPO, env=vec)
    model.save(tmp_path / "model.zip")
    vec.save(tmp_path / "vec.pkl")
    obs = random_obs(model)
    obs.reshape(1000, -1)[:, 0] = vec.obs_rms.mean.flat[0]
    for policy in (
        from_sb3(model),
        from_sb3(model, vec),
        from_sb3(tmp_path / "model.zip", vec),
        from_sb3(tmp_path / "model.zip", tmp_path / "vec.pkl"),
        from_sb3(model, str(tmp_path / "vec.pkl")),
    ):
        assert_same_actions(policy, model, obs, theirs_see=vec.normalize_obs(obs))
        assert policy.body.normaliser.count.item() == 123.5
    assert_same_actions(from_sb3(model, False), model, obs)


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickle_protocols_and_older_numpy(protocol, tmp_path):
    vec = normalised()
    vec.obs_rms.var = vec.obs_rms.var.astype(np.float32)
    vec.clip_obs = np.float64(3.0)
    content = pickle.dumps(vec, protocol)
    (tmp_path / "vec.pkl").write_bytes(content)
    model = build(PPO, env=vec)
    policy = from_sb3(model, tmp_path / "vec.pkl")
    assert policy.architecture.clip_obs == 3.0
    obs = random_obs(model)
    assert_same_actions(policy, model, obs, theirs_see=vec.normalize_obs(obs).astype(np.float32))
    # numpy 1 called its modules numpy.core; protocol 3 names them in plain lines
    if protocol == 3:
        (tmp_path / "old.pkl").write_bytes(content.replace(b"numpy._core.", b"numpy.core."))
        again = from_sb3(model, tmp_path / "old.pkl")
        assert torch.equal(again.body.normaliser.mean, policy.body.normaliser.mean)


def test_without_normalised_observations_there_is_no_normaliser(tmp_path):
    vec = normalised(norm_obs=False)
    vec.save(tmp_path / "vec.pkl")
    model = build(PPO, env=vec)
    assert from_sb3(model).body.normaliser is None
    assert from_sb3(model, tmp_path / "vec.pkl").body.normaliser is None


def test_statistics_must_fit_the_model(tmp_path):
    vec = normalised(observation=spaces.Box(-1, 1, (4,), np.float32))
    with pytest.raises(ValueError, match=r"vec_normalize: made for observations \(4,\).*\(5,\)"):
        from_sb3(build(PPO), vec)
    with pytest.raises(ValueError, match=r"vec_normalize: a VecNormalize or the path"):
        from_sb3(build(PPO), DummyVecEnv([lambda: Fake(VECTOR, CHOICES)]))
    observation = spaces.Dict({"a": VECTOR})
    dictionary = VecNormalize(DummyVecEnv([lambda: Fake(observation, CHOICES)]))
    with pytest.raises(ValueError, match="Dict observations"):
        from_sb3(build(PPO), dictionary)
