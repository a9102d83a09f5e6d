"""Models of Stable-Baselines3 as ours: equal to `model.predict`, from memory and from files."""

import base64
import json
import pickle
import re
import zipfile
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import A2C, DDPG, DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

from envs.base import Box
from imitate import nets
from imitate.teachers import from_sb3

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
    if isinstance(model.action_space, spaces.Discrete):
        top = policy.distribution(torch.as_tensor(obs)[None]).logits[0].topk(2).values
        clear = (top[:, 0] - top[:, 1] > 1e-5).detach().numpy()
        assert clear.mean() > 0.99
        assert (ours == theirs)[clear].all()
        assert len(np.unique(ours)) > 1
    else:
        np.testing.assert_allclose(ours, theirs, atol=1e-5, rtol=1e-5)
        assert ours.std(0).min() > 0


CASES = {
    "ppo": lambda: build(PPO),
    "ppo box": lambda: build(PPO, action=FORCES),
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
    "sac silu": lambda: build(
        SAC, policy_kwargs={"net_arch": {"pi": [9], "qf": [5]}, "activation_fn": nn.SiLU}
    ),
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
    model = PPO("MlpPolicy", gym.make("CartPole-v1"), n_steps=64, batch_size=32, device="cpu", seed=1).learn(
        128
    )
    model.save(tmp_path / "model.zip")
    policy = from_sb3(tmp_path / "model.zip")
    assert_same_actions(policy, model, random_obs(model))
    assert str(policy.observation) == "Box(4,)"
    assert policy.action.n == 2


@pytest.mark.parametrize("action", [CHOICES, FORCES])
def test_probabilities_equal_those_of_ppo(action, tmp_path):
    model = build(PPO, action=action)
    model.save(tmp_path / "model.zip")
    obs = torch.as_tensor(random_obs(model, 200))
    theirs = model.policy.get_distribution(obs)
    actions = theirs.sample()
    ours = from_sb3(tmp_path / "model.zip").distribution(obs[None])
    torch.testing.assert_close(
        ours.log_prob(actions[None])[0], theirs.log_prob(actions), atol=1e-4, rtol=1e-4
    )
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
    torch.testing.assert_close(
        from_sb3(model).distribution(obs[None]).logits[0], values, atol=1e-5, rtol=1e-5
    )
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
    wide = spaces.Box(
        -np.arange(1, 101, dtype=np.float32), np.float32(1.5) * np.arange(1, 101, dtype=np.float32)
    )
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


def normalised(action=FORCES, observation=VECTOR, **kwargs):
    vec = VecNormalize(DummyVecEnv([lambda: Fake(observation, action)]), **kwargs)
    if kwargs.get("norm_obs", True):
        vec.obs_rms.mean = RNG.normal(size=observation.shape)
        vec.obs_rms.var = RNG.random(observation.shape) + 0.05
        vec.obs_rms.mean.flat[0], vec.obs_rms.var.flat[0] = 0.5, 0.0  # a feature that never changes
        vec.obs_rms.count = 123.5
    vec.action_space.seed(1)  # puts a numpy generator into the pickle
    return vec


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
        assert policy.normaliser.count.item() == 123.5
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
        assert torch.equal(again.normaliser.mean, policy.normaliser.mean)


def test_without_normalised_observations_there_is_no_normaliser(tmp_path):
    vec = normalised(norm_obs=False)
    vec.save(tmp_path / "vec.pkl")
    model = build(PPO, env=vec)
    assert from_sb3(model).normaliser is None
    assert from_sb3(model, tmp_path / "vec.pkl").normaliser is None


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


# --- files that are not what they seem ----------------------------------------------------------------------


class Bomb:
    """When unpickled, makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def rewrite(source, target, **entries):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            new.writestr(name, entries.get(name.removesuffix(".pth"), old.read(name)))
    return target


@pytest.fixture
def model_zip(tmp_path):
    build(PPO, action=FORCES).save(tmp_path / "model.zip")
    return tmp_path / "model.zip"


@pytest.fixture
def bomb(tmp_path):
    fired = tmp_path / "fired"
    pickle.loads(pickle.dumps(Bomb(fired))).close()
    assert fired.exists()  # it works
    fired.unlink()
    yield fired
    assert not fired.exists()


def test_pickles_in_the_json_are_not_decoded(model_zip, bomb, tmp_path):
    with zipfile.ZipFile(model_zip) as archive:
        data = json.loads(archive.read("data"))
    poison = base64.b64encode(pickle.dumps(Bomb(bomb))).decode()
    poisoned = 0
    for value in data.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = poison
            poisoned += 1
    assert poisoned > 3
    path = rewrite(model_zip, tmp_path / "poisoned.zip", data=json.dumps(data))
    expected = from_sb3(model_zip).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in from_sb3(path).state_dict().items())


def test_pickles_in_place_of_weights_are_refused(model_zip, bomb, tmp_path):
    torch.save({"log_std": Bomb(bomb)}, tmp_path / "policy.pth")
    for content in ((tmp_path / "policy.pth").read_bytes(), pickle.dumps(Bomb(bomb))):
        path = rewrite(model_zip, tmp_path / "poisoned.zip", policy=content)
        with pytest.raises(ValueError, match="does not hold plain weights"):
            from_sb3(path)


def test_pickles_in_statistics_are_refused(bomb, tmp_path):
    vec = normalised()
    vec.extra = Bomb(bomb)
    for content in (pickle.dumps(vec), pickle.dumps(Bomb(bomb)), pickle.dumps(vec, 0)):
        (tmp_path / "vec.pkl").write_bytes(content)
        with pytest.raises(ValueError, match=r"vec.pkl' is not a VecNormalize: it asks for [\w.]+, which"):
            from_sb3(build(PPO), tmp_path / "vec.pkl")


@pytest.mark.parametrize(
    "content",
    [b"", b"not a pickle", pickle.dumps({"norm_obs": True}), pickle.dumps(np.zeros(3)), b"\x80\x04N."],
)
def test_statistics_that_are_something_else(content, tmp_path):
    (tmp_path / "vec.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"vec.pkl' is not a VecNormalize"):
        from_sb3(build(PPO), tmp_path / "vec.pkl")


def test_truncated_statistics(tmp_path):
    normalised().save(tmp_path / "vec.pkl")
    content = (tmp_path / "vec.pkl").read_bytes()
    for share in (0.1, 0.5, 0.99):
        (tmp_path / "vec.pkl").write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match="is not a VecNormalize"):
            from_sb3(build(PPO), tmp_path / "vec.pkl")


def test_statistics_without_numbers(tmp_path):
    vec = normalised()
    vec.obs_rms.mean = np.array(["a"] * 5)
    vec.save(tmp_path / "vec.pkl")
    with pytest.raises(ValueError, match="does not hold statistics of observations: numbers of type"):
        from_sb3(build(PPO), tmp_path / "vec.pkl")
    vec.obs_rms.mean = np.full(5, np.nan)
    with pytest.raises(ValueError, match="not finite"):
        from_sb3(build(PPO), vec)


def test_truncated_zip(model_zip):
    content = model_zip.read_bytes()
    for share in (0, 0.3, 0.9, 0.999):
        model_zip.write_bytes(content[: int(share * len(content))])
        with pytest.raises(ValueError, match=re.escape(f"'{model_zip}' is truncated or no model")):
            from_sb3(model_zip)


def test_changed_zip(model_zip):
    content = bytearray(model_zip.read_bytes())
    middle = content.find(b"policy_class")
    content[middle : middle + 6] = b"POLICY"
    model_zip.write_bytes(content)
    with pytest.raises(ValueError, match="is truncated or no model"):
        from_sb3(model_zip)


def test_foreign_zip(model_zip, tmp_path):
    with zipfile.ZipFile(tmp_path / "foreign.zip", "w") as archive:
        archive.writestr("hello", "there")
    with pytest.raises(ValueError, match="no model of Stable-Baselines3"):
        from_sb3(tmp_path / "foreign.zip")
    for data in ("[]", "{}", "{", '{"policy_class": {}}'):
        with pytest.raises(ValueError, match="no model of Stable-Baselines3"):
            from_sb3(rewrite(model_zip, tmp_path / "foreign.zip", data=data))


def test_spaces_that_do_not_fit_the_weights(model_zip, tmp_path):
    with zipfile.ZipFile(model_zip) as archive:
        data = json.loads(archive.read("data"))
    data["observation_space"] |= {"_shape": [2], "low": "[-1. -1.]", "high": "[1. 1.]"}
    with pytest.raises(ValueError, match="its weights do not fit its spaces"):
        from_sb3(rewrite(model_zip, tmp_path / "other.zip", data=json.dumps(data)))
    data["observation_space"]["low"] = "[-1. one]"
    with pytest.raises(ValueError, match="readable form of a Box is not understood"):
        from_sb3(rewrite(model_zip, tmp_path / "other.zip", data=json.dumps(data)))


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="No file"):
        from_sb3(tmp_path / "none.zip")
    with pytest.raises(FileNotFoundError, match="No file"):
        from_sb3(build(PPO), tmp_path / "none.pkl")


# --- what is not supported ----------------------------------------------------------------------------------

BYTES = spaces.Box(0, 255, (4,), np.uint8)
IMAGES = spaces.Box(0, 255, (3, 36, 36), np.uint8)


class OwnExtractor(nn.Module):
    """Doubles observations: no weights, so the state dict does not show it."""

    features_dim = 5

    def __init__(self, observation_space):
        super().__init__()

    def forward(self, obs):
        return 2 * obs


class OwnPolicy(PPO.policy_aliases["MlpPolicy"]):
    pass


class OwnReLU(nn.ReLU):
    pass


UNSUPPORTED = {
    "ppo use_sde": (lambda: build(PPO, action=FORCES, use_sde=True), "use_sde"),
    "sac use_sde": (lambda: build(SAC, use_sde=True), "use_sde"),
    "images": (
        lambda: PPO("CnnPolicy", Fake(IMAGES, CHOICES), device="cpu"),
        r"observations of shape \(3, 36, 36\)|NatureCNN",
    ),
    "bytes": (lambda: build(PPO, BYTES), "uint8"),
    "dict": (
        lambda: PPO("MultiInputPolicy", Fake(spaces.Dict({"a": VECTOR}), CHOICES), device="cpu"),
        "Dict|CombinedExtractor",
    ),
    "multidiscrete": (lambda: build(PPO, action=spaces.MultiDiscrete([2, 3])), "MultiDiscrete"),
    "multibinary": (lambda: build(PPO, action=spaces.MultiBinary(3)), "MultiBinary"),
    "discrete from 1": (lambda: build(PPO, action=spaces.Discrete(3, start=1)), "Discrete"),
    "extractor": (
        lambda: build(PPO, policy_kwargs={"features_extractor_class": OwnExtractor}),
        "features extractor .*OwnExtractor",
    ),
    "activation": (lambda: build(PPO, policy_kwargs={"activation_fn": nn.Softplus}), "activation .*Softplus"),
    "own activation": (lambda: build(PPO, policy_kwargs={"activation_fn": OwnReLU}), "activation .*OwnReLU"),
    "own policy": (lambda: PPO(OwnPolicy, Fake(VECTOR, CHOICES), device="cpu"), "policy class of your own"),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_unsupported(name, tmp_path):
    make, reason = UNSUPPORTED[name]
    model = make()
    model.save(tmp_path / "model.zip")
    for given in (model, tmp_path / "model.zip"):
        with pytest.raises(ValueError, match=reason) as caught:
            from_sb3(given)
        assert "from_callable" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["RecurrentPPO", "ARS", "CrossQ"])
def test_unsupported_contrib(name, tmp_path):
    contrib = pytest.importorskip("sb3_contrib")
    policy = "MlpLstmPolicy" if name == "RecurrentPPO" else "MlpPolicy"
    model = getattr(contrib, name)(policy, Fake(VECTOR, FORCES), device="cpu")
    model.save(tmp_path / "model.zip")
    for given in (model, tmp_path / "model.zip"):
        with pytest.raises(ValueError, match=r"is not supported; use teachers.from_callable"):
            from_sb3(given)


def test_bad_arguments():
    model = build(DQN)
    for bad in ({"temperature": 0.0}, {"scale": -1.0}, {"temperature": float("nan")}):
        with pytest.raises(ValueError, match="must be positive"):
            from_sb3(model, **bad)
    with pytest.raises(ValueError, match="model: a model of Stable-Baselines3 or the path"):
        from_sb3(3)
    with pytest.raises(ValueError, match="model: a model of Stable-Baselines3 or the path"):
        from_sb3(SimpleNamespace(policy=model.policy))
