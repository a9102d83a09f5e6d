"""Files of Stable-Baselines3 that are damaged, malicious, old, or of a kind that is not supported."""

import base64
import json
import pickle
import re
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import DQN, PPO, SAC
from torch import nn

from imitate.teachers import from_sb3
from imitate_envs.base import Discrete
from tests.teachers.sb3_models import CHOICES, FORCES, VECTOR, Fake, build, normalised


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


def test_damaged_anywhere(model_zip, tmp_path):
    """Whatever bytes change, the file is read or refused by a ValueError of one line."""
    model, rng = build(PPO), np.random.default_rng(0)
    normalised().save(tmp_path / "vec.pkl")
    statistics = (tmp_path / "vec.pkl").read_bytes()
    with zipfile.ZipFile(model_zip) as archive:
        entries = {"data": archive.read("data"), "policy": archive.read("policy.pth")}
    refused = 0
    for _ in range(50):
        for name, content in {"statistics": statistics, **entries}.items():
            damaged = bytearray(content)
            for at in rng.integers(len(damaged), size=3):
                damaged[at] = rng.integers(256)
            try:
                if name == "statistics":
                    (tmp_path / "vec.pkl").write_bytes(bytes(damaged))
                    from_sb3(model, tmp_path / "vec.pkl")
                else:
                    from_sb3(rewrite(model_zip, tmp_path / "damaged.zip", **{name: bytes(damaged)}))
            except ValueError as error:
                refused += 1
                assert "\n" not in str(error)
    assert refused > 50


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


def test_what_older_versions_wrote(model_zip, tmp_path):
    with zipfile.ZipFile(model_zip) as archive:
        data = json.loads(archive.read("data"))
    for key in ("observation_space", "action_space"):
        data[key][":type:"] = "<class 'gym.spaces.box.Box'>"
    policy = from_sb3(rewrite(model_zip, tmp_path / "old.zip", data=json.dumps(data)))
    assert policy.action == from_sb3(model_zip).action
    build(PPO).save(model_zip)
    with zipfile.ZipFile(model_zip) as archive:
        data = json.loads(archive.read("data"))
    data["action_space"] = {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": 4}
    assert from_sb3(rewrite(model_zip, tmp_path / "old.zip", data=json.dumps(data))).action == Discrete(4)


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
    "discrete from 1": (lambda: build(PPO, action=spaces.Discrete(3, start=1)), "Discrete"),
    "observations from 1": (lambda: build(PPO, spaces.Discrete(3, start=1)), "Discrete"),
    "multidiscrete from 1": (lambda: build(PPO, action=spaces.MultiDiscrete([2, 3], start=[0, 1])), "MultiDiscrete"),
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
        with pytest.raises(ValueError, match=r"must be (positive|finite)"):
            from_sb3(model, **bad)
    with pytest.raises(ValueError, match="model: a model of Stable-Baselines3 or the path"):
        from_sb3(3)
    with pytest.raises(ValueError, match="model: a model of Stable-Baselines3 or the path"):
        from_sb3(SimpleNamespace(policy=model.policy))
