"""Small environments of Gymnasium's, each with one trait that a source must get right, and a policy that keeps all."""

from __future__ import annotations

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from imitate.core import tree

ZERO = torch.tensor(0)
BOX, TWO = spaces.Box(-1e6, 1e6, (1,), np.float32), spaces.Discrete(2)


def vector(make_one, count, mode=AutoresetMode.SAME_STEP):
    return SyncVectorEnv([make_one] * count, autoreset_mode=mode)


def wrapped(envs):
    class Same(VectorWrapper):
        pass

    return Same(envs)


def together(make_one, count):
    """A vector of which the source knows no single environments."""
    return wrapped(vector(make_one, count))


class Always:
    """Gives one action, and keeps all that it saw as its memory would: without a copy."""

    noise = 0

    def __init__(self, action):
        self.action, self.saw = action, []

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        self.saw.append(obs)
        lead = tree.leaves(obs)[0].shape[:2]
        return self.action.expand(*lead, *self.action.shape), None, {}


class Show(gymnasium.Env):
    """Shows `at(t)` and ends after `length` steps; remembers the actions that it was given."""

    def __init__(self, observation, at, action=TWO, length=3):
        self.observation_space, self.action_space, self.at, self.length = observation, action, at, length
        self.given = []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.at(0), {}

    def step(self, action):
        assert self.action_space.contains(action), (action, self.action_space)
        self.given.append(np.array(action))
        self.t += 1
        return self.at(self.t), 1.0, self.t >= self.length, False, {}


class Count(Show):
    """The plainest of all: shows the step."""

    def __init__(self, length=3):
        super().__init__(BOX, lambda t: np.array([t], np.float32), length=length)


class OneArray(gymnasium.Env):
    """Gives one and the same array every time: step and reset write into it."""

    observation_space, action_space = BOX, TWO

    def __init__(self):
        self.o = np.zeros(1, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.o[:] = 0
        return self.o, {}

    def step(self, action):
        self.o += 1
        return self.o, 1.0, False, bool(self.o[0] >= 3), {}


class OneOfEach(gymnasium.Env):
    """Gives the same arrays every time, for the observation, the mask, the reward and the ends."""

    observation_space, action_space = spaces.Dict({"x": BOX}), spaces.Discrete(3)

    def __init__(self, mask=True):
        self.obs = {"x": np.zeros(1, np.float32)}
        self.info = {"action_mask": [1, 1, 1]} if mask else {}
        self.reward, self.over = np.zeros(()), np.zeros((), np.bool_)

    def show(self, t):
        self.obs["x"][:] = t
        self.reward[...] = t
        self.over[...] = t >= 3
        if self.info:
            self.info["action_mask"][:] = mask_at(t).astype(int).tolist()

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        self.show(0)
        return self.obs, self.info

    def step(self, action):
        self.t += 1
        self.show(self.t)
        return self.obs, self.reward, self.over, np.False_, self.info


class Preallocated(VectorEnv):
    """`final_obs` is right when step returns; its memory is used again at the next end."""

    def __init__(self, n=2):
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs, self.single_observation_space, self.single_action_space = n, BOX, TWO
        self.observation_space, self.action_space = batch_space(BOX, n), batch_space(TWO, n)
        self.x, self.t, self.last = np.zeros((n, 1), np.float32), np.zeros(n, int), np.zeros((n, 1), np.float32)
        self.episode = 0

    def reset(self, *, seed=None, options=None):
        self.x[:], self.t[:] = 0, 0
        return self.x, {}

    def step(self, actions):
        self.x += 1
        self.t += 1
        done, infos = self.t >= 3, {}
        if done.any():
            self.last[:] = self.x
            infos = {"final_obs": self.last, "_final_obs": done.copy()}
            self.episode += 1
            self.x[done], self.t[done] = 100 * self.episode, 0
        return self.x, np.ones(self.num_envs), np.zeros(self.num_envs, bool), done, infos


def mask_at(t, n=3):
    """The mask of step t: all but one choice."""
    return np.arange(n) != t % n


class InfoMasked(Count):
    """Says in `info` which actions are valid, and refuses the others."""

    def __init__(self, length=3):
        super().__init__(length)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        obs, _ = super().reset(seed=seed)
        return obs, {"action_mask": mask_at(0).astype(np.int8)}

    def step(self, action):
        assert mask_at(self.t)[action]
        *rest, _ = super().step(action)
        return *rest, {"action_mask": mask_at(self.t).astype(np.int8)}


class MethodMasked(Count):
    """Says by a method which actions are valid: sb3-contrib's convention."""

    def __init__(self, length=3):
        super().__init__(length)
        self.action_space = spaces.MultiDiscrete([2, 3])

    def action_masks(self):
        return [[True, self.t % 2 == 0], mask_at(self.t).tolist()]


class Faulty(Count):
    """Does something terrible at the given step of its first episode."""

    def __init__(self, fault, at=2):
        super().__init__(5)
        self.fault, self.when = fault, at
        if at == 0:
            fault()

    def step(self, action):
        if self.t + 1 == self.when:
            self.fault()
        return super().step(action)


IMAGE = spaces.Box(0, 255, (2, 3, 1), np.uint8)
NESTED = spaces.Dict(
    {
        "image": IMAGE,
        "inner": spaces.Dict({"pair": spaces.Tuple([spaces.Discrete(9, start=5), spaces.Box(-9, 9, (), np.float64)])}),
        "bits": spaces.MultiBinary(2),
    }
)


def nested(t):
    inner = {"pair": (5 + t, np.float64(-t))}
    return {"bits": np.array([0, t % 2], np.int8), "inner": inner, "image": np.full((2, 3, 1), t, np.uint8)}
