"""Every number of a step equals that of Gymnasium's classic control, in float64."""

import math
import sys
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch

from imitate_envs import ENVS

STEPS = 1000
PI = math.pi

# Where the random states of each environment lie: inside its limits and, where it has a meaning, beyond them.
SPREAD = {
    "CartPole-v1": (2.6, 3.0, 0.25, 3.0),
    "MountainCar-v0": (1.2, 0.07),
    "MountainCarContinuous-v0": (1.2, 0.07),
    "Acrobot-v1": (PI, PI, 4 * PI, 9 * PI),
    "Pendulum-v1": (5 * PI, 8.0),
}

# States and actions at which a branch is taken, or just not.
EDGES = {
    "CartPole-v1": [
        ((2.4 - 1e-6, 0.0, 0.0, 0.0), 1),
        ((2.4 + 1e-6, 0.0, 0.0, 0.0), 0),
        ((-2.4 + 1e-6, 0.0, 0.0, 0.0), 1),
        ((-2.4 - 1e-6, 0.0, 0.0, 0.0), 0),
        ((2.39, 0.6, 0.0, 0.0), 0),
        ((0.0, 0.0, math.radians(12) - 1e-6, 0.0), 1),
        ((0.0, 0.0, math.radians(12) + 1e-6, 0.0), 0),
        ((0.0, 0.0, -math.radians(12) + 1e-6, 0.0), 1),
        ((0.0, 0.0, -math.radians(12) - 1e-6, 0.0), 0),
        ((0.0, 0.0, 0.2, 0.5), 1),
        ((0.0, 0.0, 0.0, 0.0), 0),
    ],
    "MountainCar-v0": [
        ((-1.2, -0.07), 0),  # into the wall
        ((-1.2, 0.0), 0),
        ((-1.2, 0.0), 2),  # away from it
        ((-1.17, -0.0699), 0),
        ((-0.5, 0.07), 2),  # at full speed
        ((-0.5, -0.07), 0),
        ((0.49, 0.0103), 1),  # onto the goal
        ((0.49, 0.0), 1),
        ((0.5, 0.0), 1),
        ((0.55, -0.03), 1),  # past it, on the way back
        ((0.6, 0.07), 2),  # the right end does not stop the car
        ((0.58, 0.07), 2),
    ],
    "MountainCarContinuous-v0": [
        ((-1.2, -0.07), (-1.0,)),
        ((-1.2, 0.0), (1.0,)),
        ((-1.17, -0.0699), (-5.0,)),
        ((-0.5, 0.07), (5.0,)),  # the force is clipped, its cost is not
        ((-0.5, -0.07), (-5.0,)),
        ((0.44, 0.0102), (0.0,)),
        ((0.44, 0.05), (3.0,)),
        ((0.45, 0.0), (0.0,)),
        ((0.5, -0.03), (0.0,)),
        ((0.6, 0.07), (1.0,)),
    ],
    "Acrobot-v1": [
        ((PI - 1e-3, 0.0, 1.0, 0.0), 1),  # wraps upwards
        ((-PI + 1e-3, 0.0, -1.0, 0.0), 1),  # and downwards
        ((0.0, PI - 1e-3, 0.0, 1.0), 2),
        ((0.0, -PI + 1e-3, 0.0, -1.0), 0),
        ((1.0, 2.0, 4 * PI, 9 * PI), 2),  # at full speed, more than once around
        ((-1.0, -2.0, -4 * PI, -9 * PI), 0),
        ((PI, 0.0, 0.0, 0.0), 1),  # above the bar
        ((PI / 2, PI / 2, 0.5, 0.5), 1),
        ((2.0, 0.0, 0.0, 0.0), 1),
        ((0.0, 0.0, 0.0, 0.0), 2),
    ],
    "Pendulum-v1": [
        ((0.0, 0.0), (0.0,)),
        ((PI, 8.0), (2.0,)),
        ((-PI, -8.0), (-2.0,)),
        ((3 * PI + 1e-6, 1.0), (5.0,)),  # clipped, in the cost too
        ((-3 * PI - 1e-6, 1.0), (-5.0,)),
        ((PI / 2, 8.0), (2.0,)),
        ((-PI / 2, -8.0), (-2.0,)),
    ],
}


@pytest.fixture(params=SPREAD)
def name(request):
    return request.param


@pytest.fixture
def theirs(name, monkeypatch):
    """Gymnasium's environment, kept from rounding observations (and one of the states) to float32."""
    env = gymnasium.make(name).unwrapped
    module = sys.modules[type(env).__module__]
    monkeypatch.setattr(module, "np", SimpleNamespace(**{**vars(np), "float32": np.float64}))
    return env


def step_theirs(env, state, action):
    """One step from a given state: next state, observation, reward, terminated."""
    env.state = np.array(state)
    env.steps_beyond_terminated = None
    obs, reward, terminated, _, _ = env.step(np.array(action) if isinstance(action, (tuple, list)) else action)
    return np.array(env.state), obs, reward, terminated


def step_ours(env, states, actions):
    """The same for a batch."""
    states, actions = torch.tensor(np.array(states)), torch.tensor(np.array(actions))
    states, reward, terminated = env.step(states, actions, torch.empty(len(states), env.step_noise))
    return states.numpy(), env.observe(states).numpy(), reward.numpy(), terminated.numpy()


def columns(rows):
    return [np.array(column) for column in zip(*rows, strict=True)]


def assert_equal(ours, theirs):
    for mine, other, what in zip(ours, theirs, ("state", "observation", "reward", "terminated"), strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-9, err_msg=what)


def random_action(env, rng):
    space = env.action_space
    if isinstance(space, gymnasium.spaces.Discrete):
        return int(rng.integers(space.n))
    return (1.5 * rng.uniform(space.low, space.high)).tolist()  # a third of them outside


def test_random_states(name, theirs):
    rng = np.random.default_rng(0)
    spread = np.array(SPREAD[name])
    states = rng.uniform(-spread, spread, (STEPS, len(spread)))
    if name.startswith("Mountain"):
        states[:, 0] = rng.uniform(-1.2, 0.6, STEPS)
    actions = [random_action(theirs, rng) for _ in states]
    expected = columns(step_theirs(theirs, s, a) for s, a in zip(states, actions, strict=True))
    ours = step_ours(ENVS[name](), states, actions)
    assert_equal(ours, expected)
    assert ours[3].dtype == bool
    if name != "Pendulum-v1":
        assert 0 < ours[3].mean() < 1  # both outcomes were compared


def test_edges(name, theirs):
    states, actions = map(list, zip(*EDGES[name], strict=True))
    expected = columns(step_theirs(theirs, s, a) for s, a in zip(states, actions, strict=True))
    assert_equal(step_ours(ENVS[name](), states, actions), expected)


def test_edges_take_their_branches():
    """The edge states do what their comments say."""

    def run(name):
        return step_ours(ENVS[name](), *map(list, zip(*EDGES[name], strict=True)))

    state, _, _, fallen = run("CartPole-v1")
    assert fallen.tolist() == [False, True, False, True, True, False, True, False, True, True, False]
    state, _, reward, arrived = run("MountainCar-v0")
    assert state[0].tolist() == [-1.2, 0.0] and state[3].tolist() == [-1.2, 0.0] and state[2, 1] > 0
    assert state[4, 1] == 0.07 and state[5, 1] == -0.07 and state[10].tolist() == [0.6, pytest.approx(0.07)]
    assert arrived[6] and not arrived[9] and arrived[10] and set(reward) == {-1.0}
    _, _, reward, arrived = run("MountainCarContinuous-v0")
    assert reward[3] == pytest.approx(-2.5) and arrived[6] and reward[6] == pytest.approx(100 - 0.9)
    state, _, reward, done = run("Acrobot-v1")
    assert state[0, 0] < 0 < state[1, 0] and state[2, 1] < 0 < state[3, 1]  # wrapped
    assert np.abs(state[:, :2]).max() <= PI and np.abs(state[4:6, 2:]).max() == pytest.approx(9 * PI)
    assert done[6] and reward[6] == 0 and not done[9] and reward[9] == -1
    state, _, reward, _ = run("Pendulum-v1")
    assert reward[0] == 0 and reward[3] == pytest.approx(-(PI**2) - 0.1 - 0.004, abs=1e-4)
    assert state[5, 1] == 8 and state[6, 1] == -8 and state[1, 0] > PI


def test_trajectories(name, theirs):
    """Whole episodes, each from one state: differences would add up."""
    rng = np.random.default_rng(1)
    env = ENVS[name]()
    length = 50 if name == "Acrobot-v1" else 200  # two links are chaotic: rounding alone diverges in the end
    for seed in range(STEPS // length):
        theirs.reset(seed=seed)
        start = np.array(theirs.state, dtype=np.float64)
        theirs.state, ours = start.copy(), torch.from_numpy(start)
        for _ in range(length):
            action = random_action(theirs, rng)
            obs, reward, terminated, _, _ = theirs.step(np.array(action) if isinstance(action, list) else action)
            ours, mine, done = env.step(ours, torch.tensor(np.array(action)), torch.empty(0))
            expected = (np.array(theirs.state), obs, reward, terminated)
            assert_equal((ours.numpy(), env.observe(ours).numpy(), mine.numpy(), done.numpy()), expected)
            if terminated:
                break


def test_first_states(name, theirs):
    """The same uniforms give the same first state."""
    env = ENVS[name]()
    for seed in range(20):
        theirs.reset(seed=seed)
        noise = np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed))).random(env.reset_noise)
        np.testing.assert_allclose(
            env.reset(torch.from_numpy(noise)).numpy(), np.array(theirs.state), rtol=0, atol=1e-9
        )
