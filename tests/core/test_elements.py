"""Observations, actions and rewards in whatever arrays they come: `predict`, demonstrations and Gymnasium alike."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

import imitate
from imitate import nets
from imitate.core.elements import elements
from imitate.data import Demonstrations
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    return np.stack([array, array], 1)[:, 1]


def objects(array):
    return array.astype(object)


# The same numbers, [B, 3] or [B], in other arrays.
FOREIGN = {
    "as it is": lambda a: a,
    "mirrored": lambda a: a[::-1].copy()[::-1],
    "mirrored within": lambda a: np.ascontiguousarray(a[..., ::-1])[..., ::-1],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": read_only,
    "strided": strided,
    "Fortran's": np.asfortranarray,
    "double": lambda a: a.astype(np.float64),
    "half": lambda a: a.astype(np.float16),
    "objects": objects,
    "masked nowhere": np.ma.masked_array,
    "lists": lambda a: a.tolist(),
    "rows": list,
    "a tensor": lambda a: torch.as_tensor(a.copy()),
    "a tensor with a gradient": lambda a: torch.as_tensor(a.copy()).float().requires_grad_(),
    "a brain float": lambda a: torch.as_tensor(a.copy()).bfloat16(),
    "tensors with gradients": lambda a: [row.requires_grad_() for row in torch.as_tensor(a.copy()).float()],
}
NUMBERS = np.arange(-6, 6, dtype=np.float32).reshape(4, 3) / 4  # which a brain float holds
CHOICES = np.array([2, 0, 1, 2])


class Env(gymnasium.Env):
    """Shows numbers and takes numbers, in arrays of a kind."""

    observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-2, 2, (3,), np.float32)

    def __init__(self, foreign=lambda a: a):
        self.foreign, self.t = foreign, 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.foreign(NUMBERS)[0], {}

    def step(self, action):
        self.t += 1
        return self.foreign(NUMBERS)[self.t], self.foreign(NUMBERS[:, 0])[self.t], False, self.t == 3, {}


def source(foreign=lambda a: a):
    return imitate.make(SyncVectorEnv([lambda: Env(foreign)] * 2, autoreset_mode=AutoresetMode.SAME_STEP))


@pytest.mark.parametrize("kind", FOREIGN)
def test_predict(kind):
    policy = nets.policy(source())
    expected = policy.predict(NUMBERS, deterministic=True)[0]
    found = policy.predict(FOREIGN[kind](NUMBERS), deterministic=True)[0]
    np.testing.assert_array_equal(found, expected)
    alone = policy.predict(FOREIGN[kind](NUMBERS)[2], deterministic=True)[0]
    np.testing.assert_allclose(alone, expected[2], rtol=1e-5, atol=1e-6)  # a product of one row rounds otherwise


@pytest.mark.parametrize("dtype", [np.int64, np.float64, np.float32, ">u2", object])
@pytest.mark.parametrize("normalise", [False, True])
def test_predict_of_images_in_any_type(dtype, normalise):
    class Camera(Env):
        observation_space = gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)

        def reset(self, *, seed=None, options=None):
            return np.zeros((8, 8, 3), np.uint8), {}

    place = imitate.make(SyncVectorEnv([Camera], autoreset_mode=AutoresetMode.SAME_STEP))
    policy = nets.policy(place, (4,), normalise=normalise)
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    policy.observe(torch.as_tensor(images[None]))
    expected = policy.predict(images, deterministic=True)[0]
    np.testing.assert_array_equal(policy.predict(images.astype(dtype), deterministic=True)[0], expected)


@pytest.mark.parametrize("kind", FOREIGN)
def test_demonstrations(kind, tmp_path):
    place, foreign = source(), FOREIGN[kind]
    found = Demonstrations.from_arrays(foreign(NUMBERS), foreign(NUMBERS), place, done=foreign(CHOICES == 2))
    assert torch.equal(found.examples.obs[0], torch.as_tensor(NUMBERS))
    assert torch.equal(found.examples.action[0], torch.as_tensor(NUMBERS))
    assert found.episode[0].tolist() == [0, 1, 1, 1]
    cart = imitate.make("CartPole-v1", num_envs=1)
    four = np.concatenate([NUMBERS, NUMBERS[:, :1]], 1)
    chosen = Demonstrations.from_arrays(foreign(four), foreign(CHOICES % 2), cart)
    assert chosen.examples.action[0].tolist() == [0, 0, 1, 0]
    if isinstance(foreign(NUMBERS), np.ndarray) and kind not in ("objects", "masked nowhere"):
        np.savez(tmp_path / "shown.npz", obs=foreign(NUMBERS), action=foreign(NUMBERS))
        again = Demonstrations.from_npz(tmp_path / "shown.npz", place)
        assert torch.equal(again.examples.obs, found.examples.obs)


@pytest.mark.parametrize("kind", FOREIGN)
def test_an_environment(kind):
    """Its observations, its last ones and its rewards are copied right, whatever they are kept in."""
    policy = nets.policy(source())
    expected, found = (place.collect(policy, 5) for place in (source(), source(FOREIGN[kind])))
    for name in ("obs", "next_obs", "reward"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


class Column(VectorEnv):
    """A VectorEnv whose rewards are of a kind."""

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}  # noqa: RUF012

    def __init__(self, rewards):
        self.rewards, self.num_envs = rewards, 3
        self.single_observation_space, self.single_action_space = Env.observation_space, Env.action_space
        self.observation_space = gymnasium.vector.utils.batch_space(Env.observation_space, 3)
        self.action_space = gymnasium.vector.utils.batch_space(Env.action_space, 3)

    def reset(self, *, seed=None, options=None):
        return np.zeros((3, 3), np.float32), {}

    def step(self, actions):
        flags = np.zeros(3, bool)
        return torch.zeros(3, 3, requires_grad=True), self.rewards, flags, flags, {}


@pytest.mark.parametrize(
    "rewards", [[1, 2, 3], np.array([[1.0], [2.0], [3.0]]), torch.tensor([1.0, 2.0, 3.0], requires_grad=True)]
)
def test_rewards_of_a_vector_environment(rewards):
    place = imitate.make(Column(rewards))
    assert place.collect(nets.policy(place), 2).reward.tolist() == [[[1.0, 2.0, 3.0]]] * 2


@pytest.mark.parametrize("rewards", [[1.0, 2.0], 1.0, [None] * 3])
def test_rewards_that_are_none(rewards):
    place = imitate.make(Column(rewards))
    with pytest.raises(ValueError, match=r"^reward: "):
        place.collect(nets.policy(place), 2)


@pytest.mark.parametrize(
    ("values", "space", "message"),
    [
        (np.array([0, 3]), Discrete(3), "obs: row 1 holds 3; it must be a whole number in 0 … 2."),
        (4, Discrete(3, start=1), "obs: holds 4; it must be a whole number in 1 … 3."),
        (np.array([1.5]), Discrete(3), "obs: row 0 holds 1.5; it must be a whole number in 0 … 2."),
        (np.array([[0, 1], [2, 0]]), MultiBinary((2,)), "obs: row 1 holds 2; it must be a whole number in 0 … 1."),
        ([[0, 1], [0, 2]], MultiDiscrete((3, 2)), "obs: row 1 holds 2; it must be a whole number in 0 … 2."),
        ({"a": [1.0]}, Dict.of({"a": Box((1,)), "b": Box(())}), "obs: it lacks 'b' of Dict(a: Box(1,), b: Box())."),
        ([1.0], Tuple((Box(()), Box(()))), "obs: it lacks 1 of Tuple(Box(), Box())."),
        (([[1.0]], 1.0), Tuple((Box((1,)), Box(()))), "obs: some parts are a batch, others are not."),
        (([1.0], [1.0, 2.0]), Tuple((Box(()), Box(()))), "obs: its parts are of different lengths."),
        (np.zeros((2, 2)), Box((3,)), "obs: shape (2, 2) is neither (3,) nor a batch of it."),
        ([[1.0], [1.0, 2.0]], Box((1,)), "obs: rows of different lengths are no array."),
        (
            np.ma.masked_less(NUMBERS, 0),
            Box((3,)),
            "obs: some of its values are masked; fill them, or leave their rows out.",
        ),
    ],
)
def test_what_is_no_element_is_refused(values, space, message):
    with pytest.raises(ValueError) as caught:
        elements(values, space, "obs")
    assert str(caught.value) == message


def test_whole_numbers_keep_their_digits():
    large = np.array([2**60 + 1, -(2**53) - 1], np.int64)
    assert elements(large, Box(()), "obs", torch.int64)[0].tolist() == large.tolist()
    assert elements(large[0], Discrete(9, start=2**60), "obs")[0].tolist() == [1]
