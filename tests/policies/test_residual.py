"""A base and what corrects it. Letters: T time, M members, N environments of one member."""

import pytest
import torch

import imitate
from imitate.baselines import PPO, SAC, PPOConfig, SACConfig
from imitate.core.rollout import TensorSource
from imitate.policies import Corrections, Random, Residual
from tests.oracles import Reach, Walk

M, N = 2, 3
SMALL = PPOConfig(steps=120, rollout=5, epochs=2, batch_size=5, hidden=(6,))


class Steady:
    """Does the same everywhere, and remembers how often."""

    def __init__(self, action):
        self.action, self.noise = action, 0

    def memory(self, *shape):
        return torch.zeros(shape)

    def act(self, obs, noise, memory):
        return torch.tensor(self.action).expand(*memory.shape, 2), memory + 1, {}


def source(env=None):
    return TensorSource(env or Reach(), id="Reach", num_envs=N, members=M, seed=3)


def test_corrections_of_the_centre_of_all_actions_are_actions():
    """PPO counts actions in half ranges from their centre, so that it learns the same."""
    plain, mine = PPO(source(), SMALL), PPO(Corrections(source(), Steady((0.0, -0.125)), scale=1.0), SMALL)
    for _ in range(3):
        plain.step(), mine.step()
    torch.testing.assert_close(mine.learner.flat, plain.learner.flat, rtol=1e-4, atol=1e-6)  # sums round otherwise
    returns = (one.source.play(one.policy, 2, 7) for one in (mine, plain))
    torch.testing.assert_close(*returns, rtol=1e-4, atol=1e-5)


def test_the_environment_receives_the_sum_and_the_learner_its_own_part():
    place = source()
    corrected = Corrections(source(), Steady((0.25, 0.0)), scale=0.5)
    policy = PPO(corrected, SMALL).policy
    mine, theirs = corrected.collect(policy, 4), place.collect(Residual(Steady((0.25, 0.0)), policy), 4)
    assert torch.equal(mine.action + torch.tensor((0.25, 0.0)), theirs.action)
    assert torch.equal(mine.obs, theirs.obs) and torch.equal(mine.reward, theirs.reward)
    assert "correction" not in mine.extras and mine.memory is None
    low, high = corrected.spec.action.low, corrected.spec.action.high
    assert (low, high) == ((-0.5, -0.1875), (0.5, 0.1875))


def test_whoever_learns_off_policy_may_learn_corrections():
    learner = SAC(
        Corrections(source(), Steady((0.1, 0.0)), scale=0.3), SACConfig(steps=60, learning_starts=12, hidden=(6,))
    )
    while not learner.progress.finished:
        learner.step()
    assert (learner.policy.act(torch.zeros(M, N, 2), None, None)[0].abs() <= torch.tensor((0.3, 0.1125)) + 1e-6).all()
    found = imitate.evaluate(Residual(Steady((0.1, 0.0)), learner.policy), source(), 2)
    assert len(found.scores) == M


def test_choices_are_not_added():
    with pytest.raises(ValueError, match=r"^source: corrections are added to actions of a Box"):
        Corrections(source(Walk()), Random(Walk().action))
