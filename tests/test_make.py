"""`make`: the right source for every kind of input, and one clear line for every mistake."""

from __future__ import annotations

import copy
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FlattenObservation, TimeLimit, TransformReward

from imitate.core.gymnasium import GymnasiumSource
from imitate.core.rollout import TensorSource
from imitate.core.workers import Workers
from imitate.policies import Random
from imitate.sources import make, resolve_device
from imitate_envs import ENVS, CartPole
from imitate_envs.base import Discrete
from tests.core.gymnasium_envs import Count, InfoMasked, MethodMasked, Preallocated, vector

ROOT = Path(__file__).parents[1]
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
    for option in (
        {"asynchronous": True},
        {"env_kwargs": {"gravity": 1.0}},
        {"action_masks": True},
        {"make_envs": Preallocated},
    ):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: an environment "):
            make(CartPole(), **option)
    for option in ({"asynchronous": True}, {"env_kwargs": {"gravity": 1.0}}):
        with pytest.raises(ValueError, match=f"{next(iter(option))}: a VectorEnv that is already built"):
            make(envs, **option)


def test_options_reach_the_environment():
    ours = make("CartPole-v1", env_kwargs={"gravity": 1.6, "max_steps": 7})
    assert isinstance(ours, TensorSource) and ours.env == CartPole(gravity=1.6, max_steps=7)
    options = {"map_name": "8x8", "max_episode_steps": 7}
    theirs = make("FrozenLake-v1", 2, native=False, env_kwargs=options)
    assert (theirs.observation.n, theirs.max_steps) == (64, 7)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # by Gymnasium, from Python 3.12 on
def test_processes():
    source = make("CartPole-v1", num_envs=2, native=False, asynchronous=True)
    assert isinstance(source, GymnasiumSource) and isinstance(source.envs, Workers)
    policy = Random(source.action)
    expected = make("CartPole-v1", num_envs=2, native=False).collect(policy, 30)
    assert expected.done.any()
    torch.testing.assert_close(source.collect(policy, 30).next_obs, expected.next_obs, rtol=0, atol=0)
    assert source.play(policy, 2, 0).shape == (1, 2)
    assert isinstance(source._stage, SyncVectorEnv)
    source.close()


class Plain(Count):
    def __init__(self, size):
        super().__init__(size)


SHARED = Count()


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
        ({"env": 7}, r"env: must be an id, a class of gymnasium.Env, a function .*, not a int\."),
        ({"env": Preallocated}, r"env: must be an id, .*, not the class Preallocated\."),
        ({"env": Plain}, r"env_kwargs: Plain: missing a required argument: 'size'\."),
        ({"env": Plain, "env_kwargs": {"sise": 1}}, r"env_kwargs: Plain: .*argument.*"),
        ({"env": Plain(3)}, r"env: a Plain without a spec cannot be built again; pass a function that builds one\."),
        (
            {"env": Count(), "env_kwargs": {"length": 1}},
            r"env_kwargs: an environment that is already built takes none\.",
        ),
        ({"env": lambda: 7}, r"env: <lambda> gave a int, not a gymnasium.Env\."),
        ({"env": lambda: Preallocated()}, r"env: <lambda> gave a Preallocated, not a gymnasium.Env\."),
        ({"env": lambda: SHARED}, r"env: the function gave one environment twice; .*"),
        ({"env": "CartPole-v1", "native": False, "action_masks": True}, r"action_masks: 'CartPole-v1' .*"),
        ({"env": "CartPole-v1", "native": False, "timeout": 0}, r"timeout: must be positive, not 0\."),
        ({"env": "CartPole-v1", "num_envs": 0}, r"num_envs: must be at least 1, not 0\."),
        ({"env": "FrozenLake-v1", "members": -1}, r"members: must be at least 1, not -1\."),
        ({"env": "CartPole-v1", "device": "cda"}, r"device: 'cda' cannot be used here: .*"),
        ({"env": "CartPole-v1", "asynchronous": True}, r"asynchronous: an environment of ours .* native=False\."),
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


# Every kind of argument plays


@pytest.fixture
def registered(monkeypatch):
    """An id whose episodes take 4 steps."""
    monkeypatch.setattr(gymnasium.envs.registration, "registry", dict(gymnasium.registry))
    monkeypatch.setattr(gymnasium, "registry", gymnasium.envs.registration.registry)
    gymnasium.register("Count-v0", Count, kwargs={"length": 4}, max_episode_steps=50)
    return "Count-v0"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # from Python 3.12 on
@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize(
    ("kind", "options", "name", "limit", "expected"),
    [
        (lambda _: Count, {}, "Count", 2**31 - 1, 3),
        (lambda _: Count, {"length": 5}, "Count", 2**31 - 1, 5),
        (lambda _: Plain, {"size": 6}, "Plain", 2**31 - 1, 6),
        (lambda _: lambda: Count(2), {}, "Count", 2**31 - 1, 2),
        (lambda _: lambda size: Count(size), {"size": 7}, "Count", 2**31 - 1, 7),
        (lambda _: lambda: TimeLimit(Count(9), 8), {}, "Count", 8, 8),
        (lambda name: name, {}, "Count-v0", 50, 4),
        (lambda name: name, {"length": 3}, "Count-v0", 50, 3),
        (lambda name: name, {"length": 9, "max_episode_steps": 2}, "Count-v0", 2, 2),
        (lambda name: lambda: gymnasium.make(name), {}, "Count-v0", 50, 4),
        (lambda name: gymnasium.make(name), {}, "Count-v0", 50, 4),
        (lambda name: gymnasium.make(name, length=6), {}, "Count-v0", 50, 6),
        (lambda name: gymnasium.make(name).unwrapped, {}, "Count-v0", 2**31 - 1, 4),
        (lambda name: TimeLimit(FlattenObservation(gymnasium.make(name, length=9)), 5), {}, "Count-v0", 5, 5),
        (lambda name: TransformReward(gymnasium.make(name), _half), {}, "Count-v0", 50, 2),
    ],
)
def test_every_kind_plays(registered, kind, options, name, limit, expected, asynchronous):
    env = kind(registered)
    source = make(env, num_envs=2, members=2, env_kwargs=options, asynchronous=asynchronous, timeout=60)
    assert isinstance(source, GymnasiumSource)
    assert (source.spec.id, source.spec.max_steps, source.spec.num_envs) == (name, limit, 2)
    policy = Random(Discrete(2))
    assert source.collect(policy, 2).obs[:, 0, 0].flatten().tolist() == [0, 1]
    assert source.play(policy, 3, 0).tolist() == [[float(expected)] * 3] * 2
    source.close()


def _half(reward):
    return reward / 2


def test_an_instance_is_left_alone(registered):
    env = gymnasium.make(registered)
    env.reset(seed=0)
    source = make(env, num_envs=2)
    source.collect(Random(source.action), 5)
    assert env.unwrapped.t == 0 and source.envs.envs[0].unwrapped is not env.unwrapped


def test_wrappers_that_cannot_be_put_on_again(registered):
    class Local(gymnasium.Wrapper):
        pass

    for wrapped in (Local(gymnasium.make(registered)), TimeLimit(Local(gymnasium.make(registered)), 3)):
        with pytest.raises(
            ValueError, match=r"\Aenv: the wrapper Local cannot be put on again by its spec; pass a .*\Z"
        ):
            make(wrapped)


@pytest.mark.parametrize("build", [lambda: vector(Count, 4), lambda: Preallocated(4)])
def test_a_vector_plays(build):
    source = make(build(), members=2, make_envs=Preallocated if isinstance(build(), Preallocated) else None)
    assert source.play(Random(source.action), 2, 0).tolist() == [[3.0, 3.0]] * 2
    assert source.spec.num_envs == 2


def test_ours_play():
    for env in (CartPole(max_steps=5), "CartPole-v1", CartPole):
        source = make(env, num_envs=2, env_kwargs={} if isinstance(env, CartPole) else {"max_steps": 5})
        assert isinstance(source, TensorSource) and source.spec.max_steps == 5
        assert source.play(Random(source.action), 2, 0).tolist() == [[5.0, 5.0]]


def test_masks_by_request():
    for kind in (InfoMasked, MethodMasked):
        assert "action_mask" in make(kind, 1).spec.observation.named
        assert make(kind, 1, action_masks=False).spec.observation.shape == (1,)
    assert make("Blackjack-v1", 1).collect(Random(Discrete(2)), 2).obs[0].shape == (2, 1, 1)


def test_a_module_of_the_working_directory(tmp_path):
    """In a process that does not look there by itself, as a console script does not."""
    (tmp_path / "mazes").mkdir()
    (tmp_path / "mazes" / "__init__.py").write_text(
        "import gymnasium\ngymnasium.register('Maze-v0', 'mazes.maze:Maze', max_episode_steps=7)\n"
    )
    (tmp_path / "mazes" / "maze.py").write_text(
        "from tests.core.gymnasium_envs import Count\nclass Maze(Count):\n    pass\n"
    )
    code = (
        "import sys; sys.path = [entry for entry in sys.path if entry != '']\n"
        "from imitate import make\nfrom imitate.policies import Random\n"
        "source = make('mazes:Maze-v0', 2)\n"
        "print(source.spec.id, source.spec.max_steps, source.play(Random(source.action), 2, 0).tolist())"
    )
    paths = os.pathsep.join([str(ROOT), str(ROOT / "envs")])
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout.split() == ["Maze-v0", "7", "[[3.0,", "3.0]]"], run.stderr


def test_no_message_names_a_package_of_another():
    for path in sorted((ROOT / "imitate").rglob("*.py")):
        assert "install 'imitate" not in path.read_text("utf-8"), path
