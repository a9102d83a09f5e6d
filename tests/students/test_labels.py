"""Labels are what the environment receives: inside the bounds of a Box, wherever they are made."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import imitate
from imitate import nets
from imitate.core.actions import bounds
from imitate.data import Demonstrations
from imitate.students import DAgger, DAggerConfig, demonstrate
from imitate.teachers import from_callable
from imitate.teachers.label import labels

LOW, HIGH = np.float32([-2, 0.1, -np.inf, -np.inf]), np.float32([2, 0.7, 3, np.inf])


class Env(gymnasium.Env):
    """Bounds of every kind, and an observation that a linear teacher drives far beyond them."""

    observation_space = gymnasium.spaces.Box(-9, 9, (4,), np.float32)
    action_space = gymnasium.spaces.Box(LOW, HIGH)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.uniform(-9, 9, 4).astype(np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        return self.np_random.uniform(-9, 9, 4).astype(np.float32), 0.0, False, bool(self.np_random.random() < 0.2), {}


def source(envs=(Env,), num_envs=4):
    return imitate.make(SyncVectorEnv([*envs] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP))


def teacher(**memory):
    """Its modes are beyond the bounds about half of the time."""
    made = nets.policy(source(), (), seed=3, **memory)
    with torch.no_grad():
        made.head.linear.weight.mul_(300)
    return made


def near(obs):
    """Answers on the bounds, and beyond them by what float32 rounds."""
    return np.clip(obs.astype(np.float64), LOW.astype(np.float64) - 1e-8, HIGH.astype(np.float64) + 1e-8)


MADE = {
    "demonstrate": lambda: demonstrate(source(), teacher(), 4).examples.action,
    "draws": lambda: demonstrate(source(), teacher(), 4, deterministic=False).examples.action,
    "dagger": lambda: aggregate(teacher()),
    "dagger, a memory": lambda: aggregate(teacher(gru=4)),
    "dagger, a function": lambda: aggregate(from_callable(near, source())),
    "a function": lambda: from_callable(near, source()).act(torch.randn(1, 50, 4) * 9, None, None)[0],
    "its distribution": lambda: from_callable(near, source()).distribution(torch.randn(1, 50, 4) * 9).mode,
    "labels": lambda: labels(source().collect(teacher(), 20), teacher(), source().spec.action),
}


def aggregate(who):
    dagger = DAgger(source(), who, nets.policy(source(), (4,)), DAggerConfig(rounds=1, updates=1, validation=0.0))
    dagger.step()
    return dagger.data.all()[0].action


@pytest.mark.parametrize("path", MADE)
def test_a_label_is_inside_of_the_bounds(path):
    found = MADE[path]()
    low, high = bounds(source().spec.action, torch.device("cpu"))
    assert ((found >= low) & (found <= high)).all()
    on = (found == low) | (found == high)
    assert on[..., :3].any() and not on[..., 3].any() and found[..., 3].std() > 1


def shown(action, clip_actions=False):
    action = np.asarray(action)
    return Demonstrations.from_arrays(np.zeros((len(action), 4)), action, source(), clip_actions=clip_actions)


INSIDE = np.array([[-2, 0.1, -1e30, 5], [2, 0.7, 3, -1e30], [0, 0.4, 0, 0]])


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_actions_on_the_bounds_are_taken_in_any_precision(dtype):
    """The bound 0.7 in float16 is 0.7002; what comes out is inside all the same."""
    action = INSIDE.clip(-1e4, 1e4).astype(dtype)
    found = shown(action).examples.action[0]
    low, high = bounds(source().spec.action, torch.device("cpu"))
    assert ((found >= low) & (found <= high)).all()
    torch.testing.assert_close(found.double(), torch.as_tensor(action).double(), rtol=2**-10, atol=0)


@pytest.mark.parametrize(("column", "value"), [(0, -2.01), (0, 1e6), (1, 0.05), (2, 3.1), (1, -0.7)])
def test_actions_beyond_the_bounds_are_refused_or_clipped(column, value, tmp_path):
    action = np.tile(INSIDE, (3, 1))
    action[4:6, column] = value
    with pytest.raises(
        ValueError, match=r"^action: row 4 of the demonstrations is \(.*outside of .*2 of 9 rows.*clip_"
    ):
        shown(action)
    found = shown(action, clip_actions=True).examples.action[0]
    torch.testing.assert_close(found, torch.as_tensor(action.clip(LOW, HIGH)).float())
    np.savez(tmp_path / "shown.npz", obs=np.zeros((9, 4)), action=action)
    with pytest.raises(ValueError, match="row 4"):
        Demonstrations.from_npz(tmp_path / "shown.npz", source())
    assert torch.equal(
        Demonstrations.from_npz(tmp_path / "shown.npz", source(), clip_actions=True).examples.action[0], found
    )
