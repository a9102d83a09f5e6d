"""`make`: the right source for every kind of input, and one clear line for every mistake."""

from __future__ import annotations

import copy
import importlib.util
import sys

import gymnasium
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

from imitate.core.gymnasium import GymnasiumSource
from imitate.core.rollout import TensorSource
from imitate.policies import Random
from imitate.sources import make, resolve_device
from imitate_envs import ENVS, CartPole

needs_box2d = pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="needs box2d")


@pytest.mark.parametrize("name", list(ENVS))
def test_ours_where_there_is_one(name):
    source = make(name, num_envs=3, members=2, seed=5)
    assert isinstance(source, TensorSource)
    assert (source.id, source.num_envs, source.members, source.seed) == (name, 3, 2, 5)
    assert isinstance(make(f"imitate/{name}", num_envs=1), TensorSource)


@pytest.fixture
def theirs_alone(monkeypatch):
    """An id that Gymnasium has and we have not."""
    spec = copy.deepcopy(gymnasium.spec("CartPole-v1"))
    spec.id = "TheirsAlone-v1"
    monkeypatch.setitem(gymnasium.registry, spec.id, spec)
    return spec.id


def test_gymnasium_otherwise_or_on_request(theirs_alone):
    source = make(theirs_alone, members=2, seed=5)
    assert isinstance(source, GymnasiumSource) and isinstance(source.envs, SyncVectorEnv)
    assert (source.id, source.num_envs, source.members, source.seed) == (theirs_alone, 8, 2, 5)
    assert source.max_steps == 500
    theirs = make("CartPole-v1", num_envs=2, native=False)
    assert isinstance(theirs, GymnasiumSource) and theirs.id == "CartPole-v1" and theirs.envs.num_envs == 2
    assert theirs.collect(Random(theirs.action), 3).obs.shape == (3, 1, 2, 4)


def test_environments_that_are_already_built():
    source = make(CartPole(gravity=1.6), num_envs=3)
    assert isinstance(source, TensorSource) and source.env == CartPole(gravity=1.6)
    assert source.id == "CartPole" and make(CartPole()).id == "CartPole-v1"
    envs = gymnasium.make_vec("CartPole-v1", 6, "sync", {"autoreset_mode": AutoresetMode.SAME_STEP})
    source = make(envs, members=2)
    assert isinstance(source, GymnasiumSource) and source.envs is envs and source.num_envs == 3
    assert make(envs, num_envs=2, members=3).num_envs == 2
    with pytest.raises(ValueError, match="num_envs: 2 members of 2 are not the 6"):
        make(envs, num_envs=2, members=2)
    with pytest.raises(ValueError, match=r"autoreset mode NEXT_STEP is not supported; use imitate.make"):
        make(gymnasium.make_vec("CartPole-v1", 2))
    for option in ({"asynchronous": True}, {"env_kwargs": {"gravity": 1.0}}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: .* already built"):
            make(CartPole(), **option)


def test_options_reach_the_environment():
    ours = make("CartPole-v1", env_kwargs={"gravity": 1.6, "max_steps": 7})
    assert isinstance(ours, TensorSource) and ours.env == CartPole(gravity=1.6, max_steps=7)
    options = {"map_name": "8x8", "max_episode_steps": 7}
    theirs = make("FrozenLake-v1", 2, native=False, env_kwargs=options)
    assert (theirs.observation.n, theirs.max_steps) == (64, 7)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # by Gymnasium, from Python 3.12 on
def test_processes():
    source = make("CartPole-v1", num_envs=2, native=False, asynchronous=True)
    assert isinstance(source, GymnasiumSource) and isinstance(source.envs, AsyncVectorEnv)
    policy = Random(source.action)
    expected = make("CartPole-v1", num_envs=2, native=False).collect(policy, 30)
    assert expected.done.any()
    torch.testing.assert_close(source.collect(policy, 30).next_obs, expected.next_obs, rtol=0, atol=0)
    assert source.play(policy, 2, 0).shape == (1, 2)
    assert isinstance(source._stage, SyncVectorEnv)
    source.close()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"env": "CartPol-v1"}, r"env: 'CartPol-v1' is unknown; did you mean CartPole-v1\?"),
        ({"env": "CartPole"}, r"env: 'CartPole' is unknown; did you mean CartPole-v1\?"),
        ({"env": "LunarLander-v2"}, r"env: 'LunarLander-v2' is unknown; did you mean LunarLander-v3\?"),
        ({"env": "mountaincar-v9"}, r"env: 'mountaincar-v9' is unknown; did you mean MountainCar-v0\?"),
        ({"env": "CartPol-v1", "native": False}, r"env: 'CartPol-v1' is unknown; did you mean CartPole-v1\?"),
        ({"env": "Nowhere/Zzz-v5"}, r"env: 'Nowhere/Zzz-v5' is unknown; .* write 'package:Nowhere/Zzz-v5'\."),
        ({"env": "nowhere:Foo-v1"}, r"env: 'nowhere:Foo-v1': No module named 'nowhere'\."),
        ({"env": "envs:Foo-v1"}, r"env: 'Foo-v1' is unknown\."),
        ({"env": ""}, r"env: '' is unknown.*"),
        ({"env": "Blackjack-v1"}, r"observation: Tuple\(.*\) is not supported: a space must be .*"),
        ({"env": "CartPole-v1", "num_envs": 0}, r"num_envs: must be at least 1, not 0\."),
        ({"env": "FrozenLake-v1", "members": -1}, r"members: must be at least 1, not -1\."),
        ({"env": "CartPole-v1", "device": "cda"}, r"device: 'cda' cannot be used here: .*"),
        ({"env": "CartPole-v1", "asynchronous": True}, r"asynchronous: our CartPole-v1 .* native=False\."),
        (
            {"env": "CartPole-v1", "native": False, "compile": True},
            r"compile: CartPole-v1 is simulated by Gymnasium; .*",
        ),
        (
            {"env": "CartPole-v1", "env_kwargs": {"gravty": 1.0}},
            r"env_kwargs: our CartPole-v1 has no 'gravty'; did you mean gravity\? It takes gravity, .*",
        ),
        (
            {"env": "FrozenLake-v1", "native": False, "env_kwargs": {"slippery": 1}},
            r"env_kwargs: .* argument 'slippery'\.",
        ),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, line):
    with pytest.raises(ValueError, match=rf"\A{line}\Z"):
        make(**arguments)


@needs_box2d
def test_an_impossible_option_of_gymnasium():
    with pytest.raises(ValueError, match=r"\Aenv_kwargs: gravity .* between -12 and 0\.\Z"):
        make("LunarLander-v3", env_kwargs={"gravity": 1.0})


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("LunarLander-v3", "Box2D", "box2d"), ("Hopper-v5", "mujoco", "mujoco")]
)
def test_a_missing_extra_is_named(monkeypatch, name, package, extra):
    for module in list(sys.modules):
        if module.startswith(f"gymnasium.envs.{extra}"):
            monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"\Aenv: .* pip install 'gymnasium\[{extra}\]'\.\Z"):
        make(name)


def test_the_games_of_ale_need_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)
    with pytest.raises(ValueError, match=r"\Aenv: 'ALE/Pong-v5' cannot be imported; pip install ale-py\.\Z"):
        make("ALE/Pong-v5")


@pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="needs ale-py")
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"env": "ALE/Pon-v5"}, r"env: 'ALE/Pon-v5' is unknown; did you mean ALE/Pong-v5\?"),
        ({"env": "ALE/Pong-v5", "asynchronous": True}, r"asynchronous: the games of ALE already run in threads .*"),
        ({"env": "ALE/Pong-v5", "env_kwargs": {"frames": 4}}, r"env_kwargs: .* argument 'frames'\."),
    ],
)
def test_a_mistake_with_a_game_of_ale(arguments, line):
    with pytest.raises(ValueError, match=rf"\A{line}\Z"):
        make(**arguments)


def test_what_moved_elsewhere_says_where(recwarn):
    with pytest.raises(ValueError, match=r"\Aenv: 'Ant-v3' cannot be imported: .*gymnasium-robotics"):
        make("Ant-v3")


def test_the_device_may_be_left_to_us():
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert make("CartPole-v1", device="auto").device == resolve_device("auto")
