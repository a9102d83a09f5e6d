"""Code of a user's may write into what it is given: nothing that is learnt from changes. Letters: T, M, N."""

import numpy as np
import pytest
import torch
from torch import nn

from imitate import nets
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.core.wrappers import Recorded, Relabelled, Viewed
from imitate.policies import Greedy
from imitate.teachers import from_callable, from_module
from imitate.teachers.label import labels
from imitate_envs.base import Box
from tests.oracles import Reach

M, N, T = 2, 3, 6


def source():
    return TensorSource(Reach(), id="Reach", num_envs=N, members=M)


class Spoil(nn.Module):
    """Works in place, on a vector and on whatever it has made of it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, x):
        x.mul_(0).add_(7)
        return 0 * self.linear(x)


def spoil(obs):
    obs[...] = 7
    return np.zeros((len(obs), 2))


def spoil_view(obs):
    return obs.mul_(0).add_(7)[..., :1]


class Reward:
    def __call__(self, rollout):
        for leaf in tree.leaves(rollout):
            leaf.fill_(1)
        return rollout.reward

    def learn(self, rollout):
        return {}


class Again:
    """Does what was done: zeros, or given actions."""

    noise = 0

    def __init__(self, actions=None):
        self.actions = iter(torch.zeros(T, M, N, 2) if actions is None else actions)

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return next(self.actions).clone(), None, {}


def driven_by(policy):
    return source().collect(Greedy(policy), T)


def labelled_by(teacher):
    rollout = source().collect(Again(), T)
    labels(rollout, teacher, Reach.action)
    return rollout


def behind_a_view():
    seen = Viewed(source(), spoil_view, Box((1,))).collect(Again(), T)
    return type(seen)(**{**vars(seen), "obs": seen.extras["obs"], "extras": {}})


USES = {
    "a function drives": lambda: driven_by(from_callable(spoil, source())),
    "a function of one observation": lambda: driven_by(
        from_callable(lambda x: spoil(x[None])[0], source(), batched=False)
    ),
    "a function labels": lambda: labelled_by(from_callable(spoil, source())),
    "a module drives": lambda: driven_by(from_module(Spoil(), source())),
    "a module labels": lambda: labelled_by(from_module(Spoil(), source())),
    "a network drives": lambda: driven_by(nets.policy(source(), build=Spoil)),
    "a view": behind_a_view,
    "a witness": lambda: Recorded(source(), Reward()).collect(Again(), T),
}


@pytest.mark.parametrize("use", USES)
def test_what_was_collected_stays(use):
    found = USES[use]()
    expected = source().collect(Again(found.action), T)
    for name in ("obs", "reward", "terminated", "truncated", "starts"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name
    if use != "a view":
        assert torch.equal(found.next_obs, expected.next_obs)


def test_a_reward_model_spoils_its_own_copy():
    place, expected = Relabelled(source(), Reward()), source().collect(Again(), T)
    found = place.collect(Again(), T)
    assert (found.reward == 1).all()
    for seen in (found, place.rollout):
        assert torch.equal(seen.obs, expected.obs) and torch.equal(seen.next_obs, expected.next_obs)
    assert torch.equal(place.rollout.reward, expected.reward)
