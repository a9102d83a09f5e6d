"""`teachers.load`: one name for every kind of teacher, and one clear line where it does not fit."""

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize
from torch import nn

import imitate_envs
from imitate import nets, teachers
from imitate.core.rollout import TensorSource
from imitate.nets import Actor
from imitate.policies import Greedy
from imitate.teachers import CallableTeacher, ControlLaw, ModuleTeacher, from_sb3


def source(env_id="CartPole-v1", members=1):
    return TensorSource(imitate_envs.ENVS[env_id](), id=env_id, num_envs=2, members=members)


@pytest.fixture(scope="module")
def ppo():
    return PPO("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"net_arch": [8]}, seed=0)


def test_a_directory_of_ours(tmp_path):
    policy = nets.policy(source(), hidden=(8,))
    policy.save(tmp_path / "run")
    for given in (tmp_path / "run", str(tmp_path / "run")):
        for where in (None, source(), source(members=3)):
            loaded = teachers.load(given, where)
            assert isinstance(loaded, Actor)
            assert torch.equal(loaded.body.layers[0].weight, policy.body.layers[0].weight)
    assert teachers.load(tmp_path / "run", TensorSource(imitate_envs.CartPole(), id="imitate/CartPole-v1", num_envs=1))


def test_a_directory_made_for_another_environment(tmp_path):
    nets.policy(source()).save(tmp_path)
    with pytest.raises(ValueError) as caught:
        teachers.load(tmp_path, source("Acrobot-v1"))
    assert str(caught.value) == "teacher: made for observations Box(4,), but Acrobot-v1 gives Box(6,)."
    other = TensorSource(imitate_envs.CartPole(), id="Other-v0", num_envs=1)
    with pytest.raises(ValueError, match="was made for CartPole-v1, not for Other-v0; to use it all the same, pass"):
        teachers.load(tmp_path, other)
    assert teachers.load(nets.load(tmp_path), other)


def test_a_model_or_its_zip(ppo, tmp_path):
    ppo.save(tmp_path / "model.zip")
    obs = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for given in (ppo, tmp_path / "model.zip", str(tmp_path / "model.zip")):
        teacher = teachers.load(given, source())
        assert isinstance(teacher, Actor)
        assert (teacher.predict(obs, deterministic=True)[0] == ppo.predict(obs, deterministic=True)[0]).all()
    vec = VecNormalize(DummyVecEnv([lambda: imitate_envs.gymnasium.TensorEnv("CartPole-v1")]))
    assert teachers.load(ppo, source(), vec_normalize=vec).body.normaliser is not None
    with pytest.raises(ValueError, match=r"made for observations Box\(4,\), but Pendulum-v1 gives Box\(3,\)"):
        teachers.load(ppo, source("Pendulum-v1"))
    with pytest.raises(FileNotFoundError):
        teachers.load(tmp_path / "none.zip")


def test_a_control_law():
    assert isinstance(teachers.load("control:Pendulum-v1"), ControlLaw)
    assert teachers.load("control", source("Acrobot-v1")).env == "Acrobot-v1"
    with pytest.raises(ValueError, match="'control' needs an id"):
        teachers.load("control")
    with pytest.raises(ValueError, match="there is no control law for 'Ant-v5'"):
        teachers.load("control:Ant-v5")
    with pytest.raises(ValueError, match=r"made for actions Discrete\(3\), but .* gives Box\(1,\)"):
        teachers.load("control:MountainCar-v0", source("MountainCarContinuous-v0"))


def test_a_module_or_a_function():
    module = teachers.load(nn.Linear(4, 2), source())
    assert isinstance(module, ModuleTeacher)
    function = teachers.load(lambda obs: np.zeros(len(obs), int), source())
    assert isinstance(function, CallableTeacher)
    with pytest.raises(ValueError, match="teacher: a Linear does not tell its spaces; pass the source too"):
        teachers.load(nn.Linear(4, 2))
    with pytest.raises(ValueError, match="teacher: a function does not tell its spaces"):
        teachers.load(lambda obs: obs)


def test_what_is_a_teacher_already(ppo):
    policy = nets.policy(source())
    assert teachers.load(policy, source()) is policy
    law = teachers.control_law("CartPole-v1")
    assert teachers.load(law, source()) is law
    with pytest.raises(ValueError, match="a Greedy is none of"):  # it acts, and says nothing of what it would draw
        teachers.load(Greedy(policy), source())
    with pytest.raises(ValueError, match="made for observations"):
        teachers.load(policy, source("Acrobot-v1"))
    assert teachers.load(from_sb3(ppo), source())


def test_the_range_of_actions_matters():
    narrow = PPO("MlpPolicy", imitate_envs.gymnasium.TensorEnv(imitate_envs.Pendulum(max_torque=1.0)), device="cpu")
    with pytest.raises(
        ValueError, match=r"actions from \[-1.0\] to \[1.0\], but those of Pendulum-v1 go from \[-2.0\]"
    ):
        teachers.load(narrow, source("Pendulum-v1"))


def test_none_of_these(ppo, tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file or directory 'runs/none'"):
        teachers.load("runs/none")
    (tmp_path / "file.txt").write_text("hello")
    with pytest.raises(ValueError, match=r"neither a directory of ours nor a \.zip"):
        teachers.load(tmp_path / "file.txt")
    with pytest.raises(FileNotFoundError, match=r"No policy\.json"):
        teachers.load(tmp_path)
    with pytest.raises(ValueError, match="teacher: a int is none of"):
        teachers.load(3)
    for given in ("control:CartPole-v1", tmp_path, nn.Linear(4, 2)):
        with pytest.raises(ValueError, match="vec_normalize: only a model of Stable-Baselines3 takes one"):
            teachers.load(given, source(), vec_normalize="vec.pkl")


def test_every_teacher_drives_a_rollout(ppo):
    for given in (ppo, "control", nn.Linear(4, 2), lambda obs: np.ones(len(obs), int)):
        where = source(members=3)
        seen = where.collect(teachers.load(given, where), 5)
        assert seen.action.shape == (5, 3, 2)
        assert teachers.load(given, where).distribution(seen.obs[0]).mode.shape == (3, 2)
