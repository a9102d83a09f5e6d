"""Iterated relearning: without it PPO, with it the policy that was taught goes on. Letters: M members, N copies."""

from dataclasses import replace

import pytest
import torch

from imitate.baselines import PPO, PPOConfig
from imitate.core.rollout import TensorSource
from imitate.core.types import fold
from imitate.students import ITER, ITERConfig
from tests.oracles import Walk

M, N = 2, 4
RL = {"steps": 400, "rollout": 5, "epochs": 2, "batch_size": 10, "hidden": (8,), "normalise_obs": True}
CONFIG = ITERConfig(**RL, generation=3, taught=2, next_epochs=3, next_lr=1e-2)


def source():
    return TensorSource(Walk(), id="Walk", num_envs=N, members=M)


def test_before_a_generation_ends_it_is_ppo():
    mine, plain = ITER(source(), replace(CONFIG, generation=100)), PPO(source(), PPOConfig(**RL))
    for _ in range(4):
        found, expected = mine.step(), plain.step()
        assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert torch.equal(mine.rl.learner.flat, plain.learner.flat)
    assert torch.equal(mine.source.collect(mine.policy, 5).obs, plain.source.collect(plain.policy, 5).obs)


def test_the_one_that_was_taught_takes_over():
    mine = ITER(source(), CONFIG)
    born = mine.learner.flat.clone()
    assert "next_kl" not in mine.step() and torch.equal(mine.learner.flat, born)
    assert "next_kl" in mine.step() and not torch.equal(mine.learner.flat, born)
    obs = torch.randn(M, 9, 2, generator=torch.Generator().manual_seed(1))
    take_over, seen = mine._take_over, {}

    def watched():
        seen["next"] = mine.next_policy.distribution(obs).logits.detach().clone()
        seen["weights"] = mine.learner.flat.clone()
        take_over()

    mine._take_over = watched
    mine.step()
    assert int(mine.generation) == 2
    assert torch.equal(mine.rl.learner.flat, seen["weights"])
    assert not torch.equal(mine.learner.flat, seen["weights"]) and not torch.equal(mine.learner.flat, born)
    assert int(mine.rl.learner.count) == int(mine.learner.count) == 0 and not mine.rl.learner.mean.any()
    assert not torch.equal(mine.rl.policy.distribution(obs).logits, seen["next"])  # standardised as the last one was


def test_what_it_was_taught_is_the_policy_and_its_values():
    """After many passes over its rollouts the next one answers as the present one, where an untaught one does not."""
    still = replace(CONFIG, lr=0.0, steps=10_000)  # a teacher that stands still
    mine = ITER(source(), replace(still, generation=1_000, taught=1_000, next_epochs=10))
    with torch.no_grad():
        mine.policy.head.linear.weight.mul_(100)
        mine.rl.critic.value.weight.add_(1.0)
    first = mine.step()
    for _ in range(30):
        last = mine.step()
    for name in ("next_kl", "next_value_error"):
        assert (last[name] < 0.2 * first[name]).all()
    obs = fold(mine.source.collect(mine.policy, 5).obs)
    same = mine.policy.distribution(obs).mode == mine.next_policy.distribution(obs).mode
    assert float(same.float().mean()) > 0.9


def test_bad_input():
    with pytest.raises(ValueError, match=r"^taught: 4 rollouts of a generation of 3"):
        replace(CONFIG, taught=4)
    with pytest.raises(ValueError, match=r"^gru, lstm: the next generation"):
        replace(CONFIG, gru=3)
    with pytest.raises(ValueError, match=r"^batch_size: 15 does not divide"):
        ITER(source(), replace(CONFIG, batch_size=15))
    with pytest.raises(ValueError, match=r"^next_value: 3 values for 2 members"):
        ITER(source(), replace(CONFIG, next_value=(0.1, 0.2, 0.3)))
