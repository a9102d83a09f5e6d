"""Every space in and out by value, and copies of whatever an environment hands over."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from imitate.core import tree
from imitate.core.gymnasium import GymnasiumSource
from imitate.core.workers import Workers
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from tests.core.gymnasium_envs import (
    BOX,
    NESTED,
    ZERO,
    Always,
    OneArray,
    OneOfEach,
    Preallocated,
    Show,
    mask_at,
    nested,
    together,
    vector,
)

SAME_STEP = AutoresetMode.SAME_STEP


@pytest.mark.parametrize("build", [vector, together], ids=["each", "together"])
@pytest.mark.parametrize(
    ("space", "at", "dtype", "expected"),
    [
        (spaces.Box(-9, 9, (2,), np.float32), lambda t: np.full(2, t, np.float32), torch.float32, lambda t: [t, t]),
        (spaces.Box(-9, 9, (2,), np.float64), lambda t: np.full(2, t, np.float64), torch.float32, lambda t: [t, t]),
        (spaces.Box(-9, 9, (2, 1), np.int32), lambda t: np.full((2, 1), t), torch.float32, lambda t: [[t], [t]]),
        (spaces.Box(0, 255, (2,), np.uint8), lambda t: np.full(2, t, np.uint8), torch.uint8, lambda t: [t, t]),
        (spaces.Box(0, 2**40, (1,), np.int64), lambda t: np.array([2**25 + t]), torch.int64, lambda t: [2**25 + t]),
        (spaces.Box(0, 2**24, (1,), np.int64), lambda t: np.array([2**24 - t]), torch.float32, lambda t: [2**24 - t]),
        (spaces.Box(-9, 9, (), np.float32), np.float32, torch.float32, lambda t: t),
        (spaces.Discrete(9), lambda t: t, torch.int64, lambda t: t),
        (spaces.Discrete(9, start=-2), lambda t: t - 2, torch.int64, lambda t: t),
        (spaces.MultiDiscrete([9, 8]), lambda t: np.array([t, 0]), torch.int64, lambda t: [t, 0]),
        (
            spaces.MultiDiscrete([[9, 8], [7, 6]], start=[[1, 0], [0, -1]]),
            lambda t: np.array([[t + 1, 0], [t, -1]]),
            torch.int64,
            lambda t: [t, 0, t, 0],
        ),
        (spaces.MultiBinary(2), lambda t: np.array([t % 2, 1], np.int8), torch.uint8, lambda t: [t % 2, 1]),
        (spaces.MultiBinary((1, 2)), lambda t: np.array([[t % 2, 1]], np.int8), torch.uint8, lambda t: [[t % 2, 1]]),
        (spaces.Box(0, 9, (2,), np.float32), lambda t: np.arange(2)[::-1] + t, torch.float32, lambda t: [1 + t, t]),
        (spaces.Box(0, 9, (2,), np.float32), lambda t: np.full(2, t, ">f8"), torch.float32, lambda t: [t, t]),
    ],
)  # fmt: skip
def test_observations_by_value(build, space, at, dtype, expected):
    source, policy = GymnasiumSource(build(lambda: Show(space, at), 4), members=2), Always(ZERO)
    seen = source.collect(policy, 7)
    assert source.spec.obs_dtype == seen.obs.dtype == seen.next_obs.dtype == dtype
    shape = source.spec.observation.shape
    for t in range(7):
        for m in range(2):
            for n in range(2):
                assert seen.obs[t, m, n].shape == shape
                assert seen.obs[t, m, n].tolist() == expected(t % 3)
                assert seen.next_obs[t, m, n].tolist() == expected(t % 3 + 1)
    assert GymnasiumSource(vector(lambda: Show(space, at), 1)).play(Always(ZERO), 2, 0).tolist() == [[3.0, 3.0]]


@pytest.mark.parametrize("build", [vector, together], ids=["each", "together"])
def test_a_nested_observation_with_an_image(build):
    source, policy = GymnasiumSource(build(lambda: Show(NESTED, nested), 4), members=2), Always(ZERO)
    pair = Tuple((Discrete(9, 5), Box((), -9.0, 9.0)))
    parts = dict(source.spec.observation.spaces)
    assert parts == {
        "image": Box((2, 3, 1), 0, 255),
        "inner": Dict.of({"pair": pair}),
        "bits": MultiBinary((2,)),
    }
    types = {"image": torch.uint8, "inner": {"pair": (torch.int64, torch.float32)}, "bits": torch.uint8}
    assert source.spec.obs_dtype == types
    seen = source.collect(policy, 7)
    for obs, offset in ((seen.obs, 0), (seen.next_obs, 1)):
        t = (torch.arange(7) % 3 + offset)[:, None, None].expand(7, 2, 2)
        assert torch.equal(obs["image"], t[..., None, None, None].expand(7, 2, 2, 2, 3, 1).byte())
        assert torch.equal(obs["inner"]["pair"][0], t) and torch.equal(obs["inner"]["pair"][1], -t.float())
        assert torch.equal(obs["bits"], torch.stack([torch.zeros_like(t), t % 2], -1).byte())
        assert tree.map(lambda leaf: leaf.dtype, obs) == types
    assert seen.done[2::3].all() and seen.flatten().obs["image"].shape == (2, 14, 2, 3, 1)
    played = Always(ZERO)
    assert GymnasiumSource(vector(lambda: Show(NESTED, nested), 1)).play(played, 2, 0).tolist() == [[3.0, 3.0]]
    assert [obs["inner"]["pair"][0].tolist() for obs in played.saw] == [[[0, 0]], [[1, 1]], [[2, 2]]]


@pytest.mark.parametrize("build", [vector, together], ids=["each", "together"])
@pytest.mark.parametrize(
    ("space", "ours", "action", "expected"),
    [
        (spaces.Discrete(3), Discrete(3), 2, 2),
        (spaces.Discrete(3, start=1), Discrete(3, 1), 2, 3),
        (spaces.Discrete(3, start=-5), Discrete(3, -5), 0, -5),
        (spaces.MultiDiscrete([2, 3]), MultiDiscrete((2, 3)), [1, 2], [1, 2]),
        (
            spaces.MultiDiscrete([[2, 3], [4, 5]], start=[[0, 1], [0, -1]]),
            MultiDiscrete((2, 3, 4, 5), (0, 1, 0, -1), (2, 2)),
            [1, 2, 3, 4],
            [[1, 3], [3, 3]],
        ),
        (spaces.MultiBinary(3), MultiBinary((3,)), [1, 0, 1], [1, 0, 1]),
        (spaces.MultiBinary((2, 2)), MultiBinary((2, 2)), [1, 0, 0, 1], [[1, 0], [0, 1]]),
        (spaces.Box(-1, 1, (2, 2), np.float64), Box((2, 2), -1, 1), [0.5, -3.0, 3.0, 0.25], [[0.5, -1], [1, 0.25]]),
        (spaces.Box(100, 200, (1,), np.float32), Box((1,), 100, 200), [150.5], [150.5]),
        (spaces.Box(0, 9, (3,), np.int64), Box((3,), 0, 9), [2.4, 2.6, 11.0], [2, 3, 9]),
        (spaces.Box(0, 255, (2,), np.uint8), Box((2,), 0, 255), [-3.0, 300.0], [0, 255]),
    ],
)
def test_actions_by_value(build, space, ours, action, expected):
    inner = []

    def make_one():
        inner.append(Show(BOX, lambda t: np.array([t], np.float32), space))
        return inner[-1]

    source = GymnasiumSource(build(make_one, 4), members=2)
    assert source.spec.action == ours
    action = torch.tensor(action)
    seen = source.collect(Always(action), 2)
    assert torch.equal(seen.action, action.expand(2, 2, 2, *action.shape))  # as the policy gave it
    for env in inner:
        assert len(env.given) == 2 and env.given[0].tolist() == expected
        assert env.given[0].dtype == space.dtype and env.given[0].shape == space.shape


def test_a_single_number_of_a_box_is_an_array():
    """A VectorEnv of Gymnasium's would make a scalar of it, which its own Box refuses."""
    space, inner = spaces.Box(-1, 1, (), np.float32), []

    def make_one():
        inner.append(Show(BOX, lambda t: np.array([t], np.float32), space))
        return inner[-1]

    source = GymnasiumSource(vector(make_one, 2))
    source.collect(Always(torch.tensor([3.0])), 1)
    assert source.spec.action == Box((), -1, 1) and inner[0].given[0].tolist() == 1.0


def test_an_environment_may_write_into_its_action():
    class Greedy(Show):
        def step(self, action):
            action[:] = 1
            return super().step(action)

    source = GymnasiumSource(
        vector(lambda: Greedy(BOX, lambda t: np.zeros(1, np.float32), spaces.MultiDiscrete([2, 2])), 2)
    )
    assert not source.collect(Always(torch.zeros(2, dtype=torch.int64)), 2).action.any()


@pytest.mark.parametrize(
    ("at", "line"),
    [
        (lambda t: np.zeros(2, np.float32), r"observation: of shape \(2,\), but its space says \(1,\)\."),
        (lambda t: ["x"], "observation: must hold numbers, not <U1."),
    ],
)
def test_an_observation_that_is_not_of_its_space(at, line):
    with pytest.raises(ValueError, match=line):
        GymnasiumSource(vector(lambda: Show(BOX, at), 1))


def test_an_observation_that_lacks_a_part():
    space = spaces.Dict({"a": BOX, "b": BOX})
    with pytest.raises(ValueError, match=r"observation: lacks \['b'\], which its space has\."):
        GymnasiumSource(vector(lambda: Show(space, lambda t: {"a": np.zeros(1, np.float32)}), 1))


# Memory that an environment uses again


class Borrowed(Show):
    """A class of environments that all show one and the same array."""

    shared = np.zeros(1, np.float32)

    def __init__(self, start):
        super().__init__(BOX, self.point)
        self.start = start

    def point(self, t):
        self.shared[:] = self.start + t
        return self.shared


HANDS_OVER = {
    "VectorEnv": Preallocated,
    "one array": lambda n=2: vector(OneArray, n),
    "one array behind a wrapper": lambda n=2: together(OneArray, n),
    "one array in a vector of another class": lambda n=2: Vector([OneArray] * n, autoreset_mode=SAME_STEP),
}


class Vector(SyncVectorEnv):
    pass


@pytest.mark.parametrize("make", HANDS_OVER.values(), ids=HANDS_OVER)
def test_what_is_handed_over_is_copied(make):
    source = GymnasiumSource(make())
    seen = source.collect(Always(ZERO), 7)
    assert seen.truncated.any()
    torch.testing.assert_close(seen.next_obs, seen.obs + 1, rtol=0, atol=0)
    before = seen.clone()
    source.collect(Always(ZERO), 7)
    torch.testing.assert_close(seen.obs, before.obs, rtol=0, atol=0)


def test_environments_may_share_an_array():
    starts = iter((10, 20))
    source = GymnasiumSource(vector(lambda: Borrowed(next(starts)), 2))
    seen = source.collect(Always(ZERO), 6)
    assert seen.obs[:, 0, :, 0].T.tolist() == [[10, 11, 12] * 2, [20, 21, 22] * 2]
    assert seen.next_obs[:, 0, :, 0].T.tolist() == [[11, 12, 13] * 2, [21, 22, 23] * 2]


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("build", [vector, together, lambda make_one, n: Workers([make_one] * n, 60.0)])
def test_all_of_it_is_copied(build, mask):
    """Rewards, ends and masks too, in dicts and lists; each step shows its number everywhere."""
    make = partial(build, partial(OneOfEach, mask))
    source = GymnasiumSource(make(2), make_envs=make)
    seen = source.collect(Always(ZERO), 8)
    obs, next_obs = (each["observation"] if mask else each for each in (seen.obs, seen.next_obs))
    assert obs["x"][:, 0, 1, 0].tolist() == [0, 1, 2] * 2 + [0, 1]
    assert next_obs["x"][:, 0, 1, 0].tolist() == seen.reward[:, 0, 1].tolist() == [1, 2, 3] * 2 + [1, 2]
    assert seen.terminated[:, 0, 1].tolist() == [False, False, True] * 2 + [False] * 2
    if mask:
        masks = [mask_at(t).astype(int).tolist() for t in range(4)]
        assert seen.obs["action_mask"][:, 0, 1].tolist() == masks[:3] * 2 + masks[:2]
        assert seen.next_obs["action_mask"][:, 0, 1].tolist() == masks[1:] * 2 + masks[1:3]
    assert source.play(Always(ZERO), 2, 0).tolist() == [[6.0, 6.0]]
    source.close()


class Reset(Preallocated):
    """Uses its memory again as soon as it is asked anything more, rewards and ends too."""

    def reset(self, **options):
        self.masks = np.ones((2, 2), np.int8)
        return super().reset()[0], {"action_mask": self.masks}

    def step(self, actions):
        obs, reward, terminated, truncated, infos = super().step(actions)
        self.given = reward, terminated, truncated
        return obs, reward, terminated, truncated, infos

    def action_masks(self):
        for each in (self.x, *getattr(self, "given", ())):
            each[...] = 9
        return np.ones((2, 2), np.bool_)


def test_what_is_asked_later_does_not_change_what_was_given():
    source = GymnasiumSource(Reset())
    seen = source.collect(Always(ZERO), 1)
    assert seen.obs["observation"].flatten().tolist() == [0, 0]
    assert seen.next_obs["observation"].flatten().tolist() == [1, 1]
    assert seen.reward.flatten().tolist() == [1, 1] and not seen.done.any()


@pytest.mark.parametrize("build", HANDS_OVER.values(), ids=HANDS_OVER)
def test_what_is_shown_in_a_play_is_copied(build):
    policy = Always(ZERO)
    assert GymnasiumSource(build(2), make_envs=build).play(policy, 2, 0).tolist() == [[3.0, 3.0]]
    assert [obs.flatten().tolist() for obs in policy.saw] == [[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]
