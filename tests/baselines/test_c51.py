"""C51's support: from what an environment knows of its rewards, else as given."""

import pytest
import torch

import imitate
import imitate_envs
from imitate.__main__ import main
from imitate.baselines.c51 import C51Config, c51
from imitate.core.return_range import discounted_range
from imitate_envs.base import KnownRewards

KNOWN = [name for name, kind in imitate_envs.ENVS.items() if isinstance(kind(), KnownRewards)]


@pytest.mark.parametrize(
    ("env", "gamma", "expected"),
    [
        ("CartPole-v1", 0.99, (1, 100)),
        ("MountainCar-v0", 0.99, (-100, -1)),
        ("Acrobot-v1", 0.9, (-10, 0)),
        ("Catch-v0", 0.99, (-1, 1)),
        ("FrozenLake-v1", 0.99, (0, 1)),
        ("CliffWalking-v1", 0.9, (-1000, -1)),
        ("Chain-v0", 0.9, (0, 100)),
        ("DeepSea-v0", 0.9, (-0.01, 0.999)),
        ("CartPole-v1", 1.0, (1, 500)),
        ("MountainCar-v0", 1.0, (-200, -1)),
    ],
)
def test_the_range_of_returns(env, gamma, expected):
    assert discounted_range(imitate.make(env).spec, gamma) == pytest.approx(expected)


def test_clipped_rewards_have_a_smaller_one():
    assert discounted_range(imitate.make("CliffWalking-v1").spec, 0.9, clipped=True) == pytest.approx((-10, -1))


@pytest.mark.parametrize("name", KNOWN)
def test_no_reward_is_out_of_its_range(name):
    """Random play for the time of two episodes, or 400 steps."""
    source = imitate.make(name, num_envs=64)
    seen = source.collect(imitate.policies.Random(source.action), min(400, 2 * source.spec.max_steps))
    for rewards, (low, high) in (
        (seen.reward[~seen.terminated], source.spec.reward_range),
        (seen.reward[seen.terminated], source.spec.final_reward_range),
    ):
        assert ((rewards >= low - 1e-6) & (rewards <= high + 1e-6)).all()
    assert len(KNOWN) >= 12


def test_each_end_may_be_given():
    source = imitate.make("CartPole-v1", num_envs=2)
    for given, expected in (({}, (1, 100)), ({"low": -5.0}, (-5, 100)), ({"low": -5.0, "high": 7.0}, (-5, 7))):
        head = c51(source, C51Config(**given)).policy.architecture.head
        assert (head.low, head.high) == pytest.approx(expected)
    torch.testing.assert_close(c51(source).policy.head.points, torch.linspace(1, 100, 51))


def test_it_is_as_wide_as_the_widest_member_needs():
    head = c51(
        imitate.make("CartPole-v1", num_envs=2, members=2), C51Config(gamma=(0.9, 0.99))
    ).policy.architecture.head
    assert (head.low, head.high) == pytest.approx((1, 100))


def test_an_environment_that_does_not_know_its_rewards():
    source = imitate.make("CartPole-v1", num_envs=2, native=False)
    with pytest.raises(ValueError, match=r"low, high: .*CartPole-v1 are unknown; pass --low and --high"):
        c51(source)
    source.envs.close()
    source = imitate.make("Bandit-v0", num_envs=2)
    with pytest.raises(ValueError, match="unknown"):
        c51(source, C51Config(low=0.0))
    c51(source, C51Config(low=-4.0, high=5.0))


def test_the_support_is_printed_before_the_run(tmp_path, capsys):
    options = ["--members", "1", "--num-envs", "2", "--episodes", "1", "--out", str(tmp_path), "--steps", "16"]
    assert main(["train", "c51", "--env", "CartPole-v1", *options]) == 0
    assert "support: 51 returns from 1 to 100" in capsys.readouterr().out
