"""Our environments as Gymnasium's, alone and in a vector."""

import dataclasses
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import stable_baselines3
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common.env_checker import check_env as check_env_sb3
from stable_baselines3.common.logger import Logger

import imitate_envs
from imitate_envs import ENVS, Box, CartPole, Discrete, Pendulum
from imitate_envs.base import Dict, MultiBinary, MultiDiscrete, Tuple
from imitate_envs.gymnasium import TensorEnv, TensorVectorEnv, from_gymnasium, to_gymnasium

CLASSIC = ["CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "Pendulum-v1"]


@pytest.fixture(params=CLASSIC)
def name(request):
    return request.param


def make_vec(name, **kwargs):
    return gymnasium.make_vec(f"imitate/{name}", vectorization_mode="vector_entry_point", **kwargs)


# Registration


def test_make(name):
    env = gymnasium.make(f"imitate/{name}")
    assert isinstance(env.unwrapped, TensorEnv) and type(env.unwrapped.env) is ENVS[name]
    theirs = gymnasium.spec(name)
    assert env.spec.max_episode_steps == theirs.max_episode_steps
    assert env.spec.reward_threshold == theirs.reward_threshold
    assert gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()).make().spec.id == f"imitate/{name}"


def test_make_vec(name):
    env = make_vec(name, num_envs=3)
    assert isinstance(env, TensorVectorEnv) and env.num_envs == 3
    assert env.max_episode_steps == ENVS[name]().max_steps
    assert env.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    assert gymnasium.make_vec(f"imitate/{name}", vectorization_mode="sync").spec.id == f"imitate/{name}"


def test_registering_twice_changes_nothing():
    before = dict(gymnasium.registry)
    imitate_envs.register_envs()  # Gymnasium would warn
    assert gymnasium.registry == before


def test_id_with_module_needs_no_import():
    code = "import gymnasium; print(gymnasium.make('imitate_envs:imitate/CartPole-v1').spec.id)"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "imitate/CartPole-v1", run.stderr


# One environment


def messages(check, env):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check(env)
    return {str(warning.message) for warning in caught}


@pytest.mark.parametrize("check", [check_env, check_env_sb3])
def test_checkers_have_nothing_to_add(name, check):
    """Only Gymnasium's own bounds earn warnings: CartPole's endless speeds and Pendulum's torque of ±2."""
    ours = messages(check, gymnasium.make(f"imitate/{name}").unwrapped)
    theirs = messages(check, gymnasium.make(name).unwrapped)
    assert ours == theirs
    assert name in ("CartPole-v1", "Pendulum-v1") or not ours


def test_seed_and_actions_give_gymnasiums_episode(name):
    ours, theirs = gymnasium.make(f"imitate/{name}"), gymnasium.make(name)
    ours.action_space.seed(0)
    for seed in range(3):
        (obs, info), (expected, _) = ours.reset(seed=seed), theirs.reset(seed=seed)
        assert obs.dtype == np.float32 and info == {}
        np.testing.assert_allclose(obs, expected, atol=1e-6)
        for _ in range(60):  # theirs begins Acrobot, and keeps MountainCarContinuous, in float32
            action = ours.action_space.sample()
            step, expected = ours.step(action), theirs.step(action)
            np.testing.assert_allclose(step[0], expected[0], atol=1e-4)
            assert step[1] == pytest.approx(expected[1], abs=1e-4) and step[2:] == expected[2:]
            assert [type(value) for value in step] == [np.ndarray, float, bool, bool, dict]
            if step[2]:
                break


def test_time_limit_of_one():
    env = gymnasium.make("imitate/Pendulum-v1")
    env.reset(seed=0)
    ends = [env.step([0.0])[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]


def test_observations_are_not_overwritten():
    env = TensorEnv(CartPole())
    first, _ = env.reset(seed=0)
    copy = first.copy()
    second, *_ = env.step(0)
    assert np.array_equal(first, copy) and not np.array_equal(first, second)


def test_own_constants():
    heavy = gymnasium.make("imitate/CartPole-v1", env=CartPole(gravity=20.0))
    assert heavy.unwrapped.env.gravity == 20
    assert make_vec("CartPole-v1", env=CartPole(gravity=20.0)).env.gravity == 20


@pytest.mark.parametrize("make", [TensorEnv, TensorVectorEnv])
def test_mistakes(make):
    with pytest.raises(ValueError, match="'CartPole' is none of CartPole-v1, "):
        make("CartPole")
    env = make("CartPole-v1")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step(env.action_space.sample())
    with pytest.raises(ValueError, match="no option 'low'"):
        env.reset(options={"low": 0})
    env.reset()
    with pytest.raises(ValueError, match="not in the action space"):
        env.step(env.action_space.sample() + 2)


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_stable_baselines_trains(name):
    env = gymnasium.make(f"imitate/{name}")
    model = stable_baselines3.PPO("MlpPolicy", env, n_steps=64, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.set_logger(Logger(None, []))  # the default one leaves a folder behind
    model.learn(256)
    assert model.num_timesteps == 256
    action, _ = model.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(action)


# Rendering


def test_render(name):
    ours = gymnasium.make(f"imitate/{name}", render_mode="rgb_array")
    theirs = gymnasium.make(name, render_mode="rgb_array")
    ours.reset(seed=0), theirs.reset(seed=0)
    for _ in range(3):
        frame = ours.render()
        assert frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3
        assert np.array_equal(frame, theirs.render())
        action = ours.action_space.sample()
        ours.step(action), theirs.step(action)
    ours.close(), theirs.close()


def test_render_of_a_vector():
    env = make_vec("Pendulum-v1", num_envs=2, render_mode="rgb_array")
    env.reset(seed=0)
    for _ in range(2):
        frames = env.render()
        assert len(frames) == 2 and not np.array_equal(*frames)
        env.step(np.ones((2, 1), np.float32))
    env.close()
    assert make_vec("Pendulum-v1").render() is None
    assert TensorEnv("Pendulum-v1").render() is None


def test_no_drawing_without_gymnasiums():
    class Own(CartPole):
        pass

    env = TensorEnv(Own(), render_mode="rgb_array")
    assert env.metadata["render_modes"] == []
    env.reset()
    with pytest.raises(NotImplementedError, match="Gymnasium has no environment of this kind"):
        env.render()


# Vectors


def assert_same(ours, theirs):
    """Equal values of one structure, Gymnasium's object arrays of observations included."""
    assert type(ours) is type(theirs)
    if isinstance(ours, tuple):
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    elif isinstance(ours, dict):
        assert list(ours) == list(theirs)
        for key in ours:
            assert_same(ours[key], theirs[key])
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
        if ours.dtype == object:
            for mine, other in zip(ours, theirs, strict=True):
                assert_same(mine, other)
        else:
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_vector_of_one_equals_gymnasiums(name, mode):
    """With one generator each, all is equal over many episodes: draws, auto-reset, time limit, infos."""
    ours = make_vec(name, num_envs=1, max_episode_steps=30, autoreset_mode=mode)
    theirs = SyncVectorEnv([lambda: gymnasium.make(f"imitate/{name}", max_episode_steps=30)], autoreset_mode=mode)
    assert ours.metadata["autoreset_mode"] is mode
    assert ours.single_observation_space == theirs.single_observation_space
    assert ours.observation_space == theirs.observation_space and ours.action_space == theirs.action_space
    ours.action_space.seed(0)
    assert_same(ours.reset(seed=5), theirs.reset(seed=5))
    ended = 0
    for _ in range(150):
        action = ours.action_space.sample()
        mine, other = list(ours.step(action)), list(theirs.step(action))
        other[3] &= ~other[2]  # their TimeLimit may set both
        assert_same(tuple(mine), tuple(other))
        ended += int(mine[2][0] or mine[3][0])
    assert ended >= 4


def test_vector_equals_a_loop(name):
    """Five in one batch do what five alone do, and the first states of new episodes differ."""
    vector = TensorVectorEnv(name, num_envs=5, max_episode_steps=25)
    singles = [TensorEnv(name) for _ in range(5)]
    vector.action_space.seed(0)
    obs, _ = vector.reset(seed=0)
    assert len(np.unique(obs, axis=0)) == 5
    steps, ends = np.zeros(5, int), 0
    for single in singles:
        single.reset()
    for _ in range(100):
        actions = vector.action_space.sample()
        for i, single in enumerate(singles):
            single._state = vector._state[i]
        expected = [single.step(action) for single, action in zip(singles, actions, strict=True)]
        steps += 1
        obs, reward, terminated, truncated, infos = vector.step(actions)
        np.testing.assert_allclose(reward, [e[1] for e in expected], atol=1e-12)
        assert terminated.tolist() == [e[2] for e in expected]
        assert truncated.tolist() == ((steps >= 25) & ~terminated).tolist()
        done = terminated | truncated
        assert infos.get("_final_obs", np.zeros(5, bool)).tolist() == done.tolist()
        for i in range(5):
            last = infos["final_obs"][i] if done[i] else obs[i]
            np.testing.assert_allclose(last, expected[i][0], rtol=0, atol=1e-6)
        if done.any():
            assert list(infos) == ["final_obs", "_final_obs", "final_info", "_final_info"]
            assert infos["final_info"] == {} and infos["_final_info"].tolist() == done.tolist()
            assert all(infos["final_obs"][i] is None for i in np.flatnonzero(~done))
            assert not any(np.array_equal(obs[i], infos["final_obs"][i]) for i in np.flatnonzero(done))
        else:
            assert infos == {}
        steps[done], ends = 0, ends + done.sum()
    assert ends >= 15


def test_time_limit_of_a_vector():
    env = make_vec("Pendulum-v1", num_envs=2)
    env.reset(seed=0)
    truncated = np.array([env.step(np.zeros((2, 1)))[3] for _ in range(401)])
    assert np.flatnonzero(truncated.all(1)).tolist() == [199, 399] and truncated.sum() == 4
    assert make_vec("Pendulum-v1", max_episode_steps=7).max_episode_steps == 7
    assert TensorVectorEnv(Pendulum(max_steps=9)).max_episode_steps == 9


def test_never_terminated_and_truncated_at_once():
    env = TensorVectorEnv("CartPole-v1", num_envs=2, max_episode_steps=1)
    env.reset(seed=0)
    env._state = torch.tensor([[5.0, 0, 0, 0], [0.0, 0, 0, 0]], dtype=torch.float64)
    _, _, terminated, truncated, _ = env.step(np.array([0, 0]))
    assert terminated.tolist() == [True, False] and truncated.tolist() == [False, True]


@dataclasses.dataclass(frozen=True)
class Clocked(CartPole):
    """A CartPole whose state is a tree."""

    @dataclasses.dataclass(frozen=True)
    class State:
        physics: dict
        clock: tuple

    def reset(self, noise):
        return self.State({"cart": super().reset(noise)}, (torch.zeros(noise.shape[:-1]),))

    def observe(self, state):
        return state.physics["cart"]

    def step(self, state, action, noise):
        cart, reward, terminated = super().step(state.physics["cart"], action, noise)
        return self.State({"cart": cart}, (state.clock[0] + 1,)), reward, terminated


def test_states_may_be_trees():
    ours, plain = TensorVectorEnv(Clocked(), num_envs=4), TensorVectorEnv("CartPole-v1", num_envs=4)
    assert_same(ours.reset(seed=0), plain.reset(seed=0))
    ours.action_space.seed(0)
    for _ in range(100):
        action = ours.action_space.sample()
        assert_same(ours.step(action)[:4], plain.step(action)[:4])
        assert ours._state.clock[0].tolist() == ours._elapsed.tolist()


def test_disabled_autoreset():
    env = TensorVectorEnv("Pendulum-v1", num_envs=3, max_episode_steps=2, autoreset_mode="Disabled")
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    before, _ = env.reset(seed=0)
    env.step(np.zeros((3, 1)))
    mask = np.array([False, True, False])
    before = env.step(np.zeros((3, 1)))[0]
    with pytest.raises(RuntimeError, match=r"\[0, 1, 2\] have ended"):
        env.step(np.zeros((3, 1)))
    after, _ = env.reset(options={"reset_mask": mask})
    assert (before != after).any(1).tolist() == mask.tolist()
    with pytest.raises(RuntimeError, match=r"\[0, 2\] have ended"):
        env.step(np.zeros((3, 1)))
    env.reset(options={"reset_mask": ~mask})
    assert not env.step(np.zeros((3, 1)))[3].any()


def test_vector_seed():
    env = make_vec("Acrobot-v1", num_envs=4)
    first, second, other = (env.reset(seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, second) and not np.array_equal(first, other)
    assert not np.array_equal(env.reset()[0], other)  # without a seed, the generator goes on


# Spaces


@pytest.mark.parametrize(
    "space",
    [
        Discrete(3),
        Discrete(3, start=-2),
        MultiDiscrete((2, 3)),
        MultiDiscrete((2, 3, 4, 5), (0, 1, 0, -1), (2, 2)),
        MultiBinary((3,)),
        MultiBinary((2, 2)),
        Dict.of({"b": Box((2,), 0.0, 1.0), "a": Tuple((Discrete(2, 1), MultiBinary((2,))))}),
        Box((2,)),
        Box((2,), -1.0, 1.0),
        Box((2,), (0.0, -1.0), (1.0, 2.0)),
        Box((2, 2), (0.0, -1.0, 0.5, 0.0), 2.0),
        Box((), 0.0, 1.0),
    ],
)
def test_spaces_round_trip(space):
    assert from_gymnasium(to_gymnasium(space)) == space


def test_bounds_keep_their_places():
    space = to_gymnasium(Box((2, 2), (0.0, 1.0, 2.0, 3.0), 4.0))
    assert space.dtype == np.float32
    assert space.low.tolist() == [[0, 1], [2, 3]] and space.high.tolist() == [[4, 4], [4, 4]]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.OneOf([spaces.Discrete(2)]),
        spaces.Graph(spaces.Discrete(2), None),
        spaces.Dict({"a": spaces.Tuple([spaces.Text(3)])}),
    ],
)
def test_other_spaces_are_refused(space):
    with pytest.raises(
        ValueError, match=r"^(Text|Sequence|OneOf|Graph) is not supported: a space must be a Box, [^\n]*$"
    ):
        from_gymnasium(space)


@dataclasses.dataclass(frozen=True)
class Lock(CartPole):
    """Shows a cart in a dict, with two dials that count from 1 and -1; they show the last turn."""

    observation = Dict.of({"cart": Box((4,)), "dials": MultiDiscrete((4, 3), (1, -1), (1, 2))})
    action = MultiDiscrete((4, 3), (1, -1), (1, 2))

    def reset(self, noise):
        return {"cart": super().reset(noise), "dials": torch.zeros(*noise.shape[:-1], 2, dtype=torch.int64)}

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        cart, reward, terminated = super().step(state["cart"], action[..., 0] % 2, noise)
        return {"cart": cart, "dials": action}, reward, terminated


def test_spaces_of_several_parts():
    one, many = TensorEnv(Lock()), TensorVectorEnv(Lock(), num_envs=3)
    begun, _ = one.reset(seed=0)
    assert begun in one.observation_space and begun["dials"].tolist() == [[1, -1]]
    turn = np.array([[4, 0]])
    assert one.step(turn)[0]["dials"].tolist() == turn.tolist()
    with pytest.raises(ValueError, match="not in the action space"):
        one.step(np.array([[0, 0]]))
    many.reset(seed=0)
    turns = np.array([[[4, 0]], [[1, -1]], [[2, 1]]])
    obs, *_ = many.step(turns)
    assert obs in many.observation_space and obs["dials"].tolist() == turns.tolist()
    for _ in range(100):
        obs, _, terminated, _, infos = many.step(turns)
        if terminated.any():
            break
    i = int(terminated.argmax())
    assert infos["final_obs"][i]["dials"].tolist() == turns[i].tolist()
    assert obs["dials"][i].tolist() == [[1, -1]]
