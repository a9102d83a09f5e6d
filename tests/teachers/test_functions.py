"""Functions and modules as teachers: any leading shape, and one clear line for a wrong answer."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from imitate.core.rollout import TensorSource
from imitate.core.wrappers import Recorded
from imitate.distributions.actions import Categorical, Normal
from imitate.teachers import from_callable, from_module, load
from imitate_envs import ENVS, Box, Discrete
from imitate_envs.base import Dict

FOUR = Box((4,))
FORCES = Box((2,), -2.0, (1.0, 3.0))
LEADING = [(), (5,), (3, 5), (2, 3, 5)]


def sign(obs):
    """The side to which the pole leans: a discrete teacher."""
    return (obs[..., 2] > 0).astype(np.int64)


def half(obs):
    """A continuous teacher of two actions."""
    return np.clip(0.5 * obs[..., :2], -1, 1)


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("batched", [True, False])
def test_discrete_callable(leading, batched):
    teacher = from_callable(sign, (FOUR, Discrete(2)), batched=batched)
    obs = torch.randn(*leading, 4)
    expected = (obs[..., 2] > 0).long()
    action, memory, extras = teacher.act(obs, torch.zeros(*leading, 0), teacher.memory(*leading))
    assert (teacher.noise, memory, extras) == (0, None, {})
    assert action.dtype == torch.int64
    assert torch.equal(action, expected)
    distribution = teacher.distribution(obs)
    assert isinstance(distribution, Categorical)
    assert torch.equal(distribution.mode, expected)
    assert (distribution.log_prob(expected) > -1e-10).all()


@pytest.mark.parametrize("leading", LEADING)
@pytest.mark.parametrize("batched", [True, False])
def test_continuous_callable(leading, batched):
    teacher = from_callable(half, (FOUR, FORCES), batched=batched, scale=0.3)
    obs = torch.randn(*leading, 4)
    expected = (0.5 * obs[..., :2]).clamp(-1, 1)
    action, _, _ = teacher.act(obs, torch.zeros(*leading, 0), None)
    torch.testing.assert_close(action, expected)
    distribution = teacher.distribution(obs)
    assert isinstance(distribution, Normal)
    torch.testing.assert_close(distribution.mode, expected)
    torch.testing.assert_close(distribution.scale, torch.full((*leading, 2), 0.3))


def test_observations_of_other_shapes():
    seen = []

    def function(obs):
        seen.append(obs.shape)
        return np.zeros(len(obs), np.int64)

    from_callable(function, (Discrete(7), Discrete(2))).distribution(torch.zeros(2, 3, dtype=torch.int64))
    from_callable(function, (Box((3, 8, 8)), Discrete(2))).distribution(torch.zeros(2, 5, 3, 8, 8))
    from_callable(function, (FOUR, Discrete(2))).distribution(torch.zeros(2, 0, 4))  # nothing asked
    assert seen == [(6,), (10, 3, 8, 8), (0, 4)]


def test_a_source_an_environment_or_spaces():
    env = ENVS["CartPole-v1"]()
    source = TensorSource(env, id="CartPole-v1", num_envs=2)
    vector = gym.make_vec("CartPole-v1", num_envs=3)
    theirs = gym.make("CartPole-v1")
    pair = (theirs.observation_space, theirs.action_space)
    for given in (env, source, vector, theirs, pair):
        teacher = from_callable(sign, given)
        assert teacher.observation.shape == (4,)
        assert teacher.action == Discrete(2)
    vector.close()
    with pytest.raises(ValueError, match="source: a source, an environment or a pair"):
        from_callable(sign, "CartPole-v1")
    with pytest.raises(ValueError, match="not supported"):
        from_callable(sign, (theirs.observation_space, spaces.Text(3)))
    with pytest.raises(ValueError, match=r"action: policies act in .*, not in Dict"):
        from_callable(sign, (FOUR, Dict.of({"turn": FORCES})))


def test_a_source_around_a_source_has_a_spec_and_no_more():
    source = Recorded(TensorSource(ENVS["CartPole-v1"](), id="CartPole-v1", num_envs=2), lambda rollout: None)
    assert from_callable(sign, source).action == Discrete(2)
    assert load(sign, source).observation.shape == (4,)
    with pytest.raises(ValueError, match=r"made for observations Box\(3,\), but CartPole-v1 gives Box\(4,\)"):
        load("control:Pendulum-v1", source)


def test_many_choices_and_matrices():
    """What a function gives is in the shape of the space, and what acts in the suite is flat."""
    obs = torch.randn(2, 3, 4)
    levers = from_callable(lambda x: (x[:, :2] > 0).astype(int) + [0, 1], (FOUR, spaces.MultiDiscrete([2, 3])))
    expected = (obs[..., :2] > 0).long() + torch.tensor([0, 1])
    assert torch.equal(levers.act(obs, None, None)[0], expected)
    assert torch.equal(levers.distribution(obs).mode, expected)
    matrix = from_callable(lambda x: x.reshape(len(x), 2, 2).clip(-1, 1), (FOUR, Box((2, 2), -1.0, 1.0)))
    torch.testing.assert_close(matrix.act(obs, None, None)[0], obs.clamp(-1, 1))
    torch.testing.assert_close(matrix.distribution(obs).mode, obs.clamp(-1, 1))


def test_in_a_rollout():
    env = ENVS["CartPole-v1"]()
    source = TensorSource(env, id="CartPole-v1", num_envs=4, members=2)
    seen = source.collect(from_callable(lambda obs: (obs[:, 2] + obs[:, 3] > 0).astype(int), source), 20)
    assert seen.action.shape == (20, 2, 4)
    assert torch.equal(seen.action, (seen.obs[..., 2] + seen.obs[..., 3] > 0).long())


WRONG = {
    "shape": (
        lambda obs: np.zeros((len(obs), 1), int),
        Discrete(2),
        r"shape \(6, 1\) for 6 obs.*\(6,\) \(pass",
    ),
    "one for all": (lambda obs: 0, Discrete(2), r"shape \(\) for 6 observations"),
    "floats": (lambda obs: np.zeros(len(obs)), Discrete(2), "float64 for .*integers"),
    "too large": (lambda obs: np.full(len(obs), 2), Discrete(2), r"gave 2 to 2; Discrete\(2\) is 0 to 1"),
    "negative": (lambda obs: -np.ones(len(obs), int), Discrete(2), "gave -1 to -1"),
    "predict": (lambda obs: (np.zeros(len(obs), int), None), Discrete(2), "rows of different lengths are no array"),
    "flat": (lambda obs: np.zeros(len(obs)), FORCES, r"shape \(6,\) .* needs \(6, 2\)"),
    "nan": (lambda obs: np.full((len(obs), 2), np.nan), FORCES, "not finite"),
    "text": (lambda obs: np.full((len(obs), 2), "a"), FORCES, "must hold numbers, not <U1"),
    "outside": (lambda obs: np.tile([0.0, 3.1], (len(obs), 1)), FORCES, "outside the bounds.*np.clip"),
    "below": (lambda obs: np.tile([-2.1, 0.0], (len(obs), 1)), FORCES, "outside the bounds"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers(name):
    function, action, reason = WRONG[name]
    teacher = from_callable(function, (FOUR, action))
    with pytest.raises(ValueError, match=reason) as caught:
        teacher.distribution(torch.zeros(2, 3, 4))
    assert "\n" not in str(caught.value)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="scale"):
        from_callable(half, (FOUR, FORCES), scale=0.0)
    with pytest.raises(ValueError, match="scale"):
        from_module(nn.Linear(4, 2), (FOUR, FORCES), scale=float("nan"))
    teacher = from_callable(half, (FOUR, FORCES))
    with pytest.raises(ValueError, match=r"made for observations Box\(4,\), got \(2, 6\)"):
        teacher.distribution(torch.zeros(2, 6))
    with pytest.raises(ValueError, match=r"made for observations Box\(4,\), got \(\)"):
        teacher.distribution(torch.zeros(()))


def test_rounding_is_not_out_of_bounds():
    teacher = from_callable(lambda obs: np.tile([1.00001, 3.00001], (len(obs), 1)), (FOUR, FORCES))
    teacher.distribution(torch.zeros(2, 4))


@pytest.mark.parametrize("leading", LEADING)
def test_module(leading):
    module = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
    obs = torch.randn(*leading, 4)
    discrete = from_module(module, (FOUR, Discrete(2)))
    torch.testing.assert_close(discrete.distribution(obs).logits, module(obs).detach())
    assert discrete.noise == 1
    continuous = from_module(module, (FOUR, FORCES), scale=0.2)
    assert isinstance(continuous.distribution(obs), Normal)
    noise = torch.rand(*leading, continuous.noise)
    action, memory, extras = continuous.act(obs, noise, continuous.memory(*leading))
    torch.testing.assert_close(action, Normal(module(obs), torch.full_like(action, 0.2)).sample(noise).detach())
    assert (memory, extras) == (None, {})


def test_module_is_frozen():
    module = nn.Sequential(nn.Linear(4, 2), nn.Dropout(0.5)).train()
    teacher = from_module(module, (FOUR, Discrete(2)), device="cpu")
    obs = torch.randn(3, 4)
    before = teacher.distribution(obs).logits
    with torch.no_grad():
        module[0].weight.zero_()
    assert torch.equal(teacher.distribution(obs).logits, before)  # a copy, and no dropout
    assert not before.requires_grad
    assert module.training
    assert module[0].weight.requires_grad


def test_module_of_images():
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 6 * 6, 3))
    teacher = from_module(module, (Box((1, 8, 8)), Discrete(3)))
    assert teacher.distribution(torch.randn(2, 5, 1, 8, 8)).logits.shape == (2, 5, 3)


def test_module_of_the_wrong_width():
    with pytest.raises(ValueError, match=r"gave \(6, 3\) for 6 observations; Discrete\(2\) needs logits \[B, 2\]"):
        from_module(nn.Linear(4, 3), (FOUR, Discrete(2))).distribution(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"gave tuple .* needs means"):
        from_module(nn.LSTM(4, 2), (FOUR, FORCES)).distribution(torch.zeros(2, 3, 4))
