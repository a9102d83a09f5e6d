"""Masks of valid actions, from the info or a method, at every step and at the end of an episode."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import TransformAction

from imitate.core.gymnasium import GymnasiumSource
from imitate.core.workers import Workers
from imitate_envs.base import Box, Dict, Discrete, MultiBinary
from tests.core.gymnasium_envs import BOX, ZERO, Always, InfoMasked, MethodMasked, Show, mask_at, together, vector

forks = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # by Gymnasium, from Python 3.12 on


class Valid:
    """The first valid choice, by the mask that it sees; of several places the first valid of each."""

    noise = 0

    def __init__(self, nvec=None):
        self.nvec = nvec

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        if self.nvec is None:
            return obs["action_mask"].argmax(-1), None, {}
        return torch.stack([place.argmax(-1) for place in obs["action_mask"].split(self.nvec, -1)], -1), None, {}


def test_taxi_gives_masks():
    name = max(known for known in gymnasium.registry if known.startswith("Taxi-v"))
    source = GymnasiumSource(vector(lambda: gymnasium.make(name, max_episode_steps=20), 4), members=2)
    assert source.spec.observation == Dict.of({"observation": Discrete(500), "action_mask": MultiBinary((6,))})
    assert source.spec.obs_dtype == {"observation": torch.int64, "action_mask": torch.uint8}
    seen = source.collect(Valid(), 50)
    taxi = gymnasium.make(name).unwrapped
    assert seen.done.any()
    for obs in (seen.obs, seen.next_obs):  # also where an episode ends
        expected = np.stack([taxi.action_mask(int(state)) for state in obs["observation"].flatten()])
        np.testing.assert_array_equal(obs["action_mask"].flatten(0, 2).numpy(), expected)
    assert source.play(Valid(), 3, 0).shape == (2, 3)


def workers(make_one, count):
    return Workers([make_one] * count, timeout=60.0)


def gymnasiums_workers(make_one, count):
    return AsyncVectorEnv([make_one] * count, autoreset_mode=AutoresetMode.SAME_STEP)


@forks
@pytest.mark.parametrize("build", [vector, together, workers, gymnasiums_workers])
def test_masks_in_the_info(build):
    source = GymnasiumSource(build(InfoMasked, 4), members=2)
    assert source.spec.observation == Dict.of({"observation": Box((1,), -1e6, 1e6), "action_mask": MultiBinary((3,))})
    seen = source.collect(Valid(), 7)
    for obs in (seen.obs, seen.next_obs):
        expected = np.stack([mask_at(int(t)) for t in obs["observation"].flatten()])
        np.testing.assert_array_equal(obs["action_mask"].flatten(0, 2).numpy(), expected)
    assert seen.next_obs["observation"].max() == 3 and seen.done[2::3].all()
    source.close()
    assert GymnasiumSource(vector(InfoMasked, 1)).play(Valid(), 2, 0).tolist() == [[3.0, 3.0]]


@forks
@pytest.mark.parametrize("build", [vector, together, workers, gymnasiums_workers])
def test_masks_of_a_method(build):
    source = GymnasiumSource(build(MethodMasked, 4), members=2)
    assert source.spec.observation.named["action_mask"] == MultiBinary((5,))
    seen = source.collect(Valid([2, 3]), 7)
    whole = build in (vector, workers)  # elsewhere nobody can ask before auto-reset
    for obs, ends in ((seen.obs, torch.zeros_like(seen.done)), (seen.next_obs, seen.done)):
        for t, mask, end in zip(
            obs["observation"].flatten(), obs["action_mask"].flatten(0, 2), ends.flatten(), strict=True
        ):
            expected = [1] * 5 if end and not whole else [1, int(t) % 2 == 0, *mask_at(int(t))]
            assert mask.tolist() == expected
    source.close()
    assert GymnasiumSource(together(MethodMasked, 1), make_envs=lambda n: together(MethodMasked, n)).play(
        Valid([2, 3]), 2, 0
    ).tolist() == [[3.0, 3.0]]


def test_masks_may_be_ignored_or_insisted_upon():
    assert GymnasiumSource(vector(InfoMasked, 1), action_masks=False).spec.observation == Box((1,), -1e6, 1e6)
    assert GymnasiumSource(vector(InfoMasked, 1), action_masks=True).spec.observation.named["action_mask"]
    with pytest.raises(ValueError, match=r"action_masks: 'CartPole-v1' with actions Discrete\(2\) has neither .*"):
        GymnasiumSource(vector(lambda: gymnasium.make("CartPole-v1"), 1), action_masks=True)


def test_a_dict_that_has_masks_is_left_as_it_is():
    space = spaces.Dict({"observation": BOX, "action_mask": spaces.MultiBinary(2)})

    class Own(Show):
        def action_masks(self):
            return [True, True]

    def at(t):
        return {"observation": np.array([t], np.float32), "action_mask": np.array([1, 0], np.int8)}

    source = GymnasiumSource(vector(lambda: Own(space, at), 2))
    assert source.spec.observation.named == {"observation": Box((1,), -1e6, 1e6), "action_mask": MultiBinary((2,))}
    assert source.collect(Always(ZERO), 2).obs["action_mask"].flatten(0, 2).tolist() == [[1, 0]] * 4


def test_masks_that_fail():
    class Forgets(InfoMasked):
        def step(self, action):
            *rest, info = super().step(action)
            return *rest, info if self.t != 2 else {}

    class Short(InfoMasked):
        def reset(self, *, seed=None, options=None):
            return super().reset(seed=seed)[0], {"action_mask": [1, 1]}

    with pytest.raises(RuntimeError, match=r"'Forgets' gave masks .* pass action_masks=False"):
        GymnasiumSource(vector(Forgets, 1)).collect(Valid(), 3)
    with pytest.raises(ValueError, match=r"action_masks: a mask of 2 entries for 3 choices"):
        GymnasiumSource(vector(Short, 1))


def test_the_last_observation_may_lack_a_mask():
    class Silent(InfoMasked):
        def step(self, action):
            *rest, info = super().step(action)
            return *rest, {} if self.t == self.length else info

    for build in (vector, together):
        seen = GymnasiumSource(build(Silent, 2)).collect(Valid(), 3)
        assert seen.next_obs["action_mask"][2].all() and not seen.next_obs["action_mask"][1].all()


def test_boxes_have_no_masks():
    def make_one():
        return TransformAction(InfoMasked(), lambda a: int(a[0] > 0), spaces.Box(-1, 1, (1,)))

    assert GymnasiumSource(SyncVectorEnv([make_one], autoreset_mode=AutoresetMode.SAME_STEP)).spec.observation == Box(
        (1,), -1e6, 1e6
    )
