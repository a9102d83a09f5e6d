"""Actions of a Box: bounds, units, clipping; and any bounds are as easy to learn as ±1 with the default settings."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core.actions import bounds, choices, clip, unit, width
from imitate.core.rollout import TensorSource
from imitate.core.types import fold
from imitate.losses.imitation import SquaredError, default_loss
from imitate.students import BehaviourCloning, BehaviourCloningConfig, DAgger, DAggerConfig, Demonstrations
from imitate.teachers.label import labels
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

CPU = torch.device("cpu")
INF = math.inf


@pytest.mark.parametrize(
    ("space", "numbers", "counts"),
    [
        (Discrete(5, 2), 1, (5,)),
        (MultiDiscrete((3, 2, 4), outer=(3, 1)), 3, (3, 2, 4)),
        (MultiBinary((2, 3)), 6, (2,) * 6),
        (Box((2, 3)), 6, ()),
        (Box(()), 1, ()),
    ],
)
def test_width_and_choices(space, numbers, counts):
    assert width(space) == numbers and choices(space) == counts


@pytest.mark.parametrize("space", [Dict.of({"a": Discrete(2)}), Tuple((Box((1,)),))])
def test_nobody_acts_in_a_composite_space(space):
    with pytest.raises(ValueError, match=r"^action: policies act in Discrete, .* not in (Dict|Tuple)"):
        choices(space)


@pytest.mark.parametrize(
    ("box", "low", "high", "centre", "half"),
    [
        (Box((2,), 100.0, 200.0), [100, 100], [200, 200], [150, 150], [50, 50]),
        (Box((2, 1), (-1.0, 0.0), (1.0, 8.0)), [-1, 0], [1, 8], [0, 4], [1, 4]),
        (Box((), -3.0, 5.0), [-3], [5], [1], [4]),
        (Box((2,)), [-INF, -INF], [INF, INF], [0, 0], [1, 1]),
        # One bound is none; neither is one without a range, nor a range that float32 does not hold.
        (Box((3,), (0.0, -INF, 2.0), (INF, 4.0, 2.0)), [0, -INF, 2], [INF, 4, 2], [0, 0, 0], [1, 1, 1]),
        (Box((1,), -3.4e38, 3.4e38), [-3.4e38], [3.4e38], [0], [1]),
        (Box((1,), 0.0, 3e38), [0], [3e38], [1.5e38], [1.5e38]),
    ],
)
def test_bounds_and_units(box, low, high, centre, half):
    for found, expected in zip((*bounds(box, CPU), *unit(box, CPU)), (low, high, centre, half), strict=True):
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


@pytest.mark.parametrize("box", [Box((2,), -1.0, 2.0), Box((2,), (-1.0, -5.0), (2.0, 0.0)), Box((2,), 0.0, INF)])
def test_clipping_is_numpys(box):
    action = 4 * torch.randn(50, 2)
    low, high = (np.broadcast_to(np.asarray(b), (2,)) for b in (box.low, box.high))
    np.testing.assert_allclose(clip(box, action).numpy(), np.clip(action.numpy(), low, high).astype(np.float32))
    inside = clip(box, action)
    assert torch.equal(clip(box, inside), inside) and not torch.equal(inside, action)
    assert clip(box, action.double()).dtype == torch.float64


def test_choices_are_not_clipped():
    action = torch.tensor([0, 7])
    assert clip(Discrete(2), action) is action


# Learning


@dataclass(frozen=True)
class Target:
    """One step: an action at 3/10 of the way from the centre to the upper bound is best (cases/03 in small)."""

    low: float = -1.0
    high: float = 1.0
    max_steps: int = 1

    step_noise = 0
    reset_noise = 2

    @property
    def observation(self):
        return Box((2,))

    @property
    def action(self):
        return Box((1,), self.low, self.high)

    def reset(self, noise):
        return 2 * noise - 1

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        u = (action[..., 0] - (self.low + self.high) / 2) / ((self.high - self.low) / 2)
        return state, -((u - 0.3) ** 2), torch.ones(u.shape, dtype=torch.bool)


def source(low, high, members=2, seed=0):
    return TensorSource(Target(low, high), id="Target", num_envs=8, members=members, seed=seed)


WIDE = [(100.0, 200.0), (-1000.0, 1000.0), (-1.0, 1.0)]


def units(action, low, high):
    return (np.asarray(action) - (low + high) / 2) / ((high - low) / 2)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("low", "high"), WIDE)
def test_ppo_finds_the_best_action_of_any_box(low, high, squash):
    """Default settings but for the learning rate and the budget, so that it is short."""
    place = source(low, high)
    ppo = PPO(place, PPOConfig(steps=4_096, rollout=64, lr=3e-3, squash=squash))
    while not ppo.progress.finished:
        ppo.step()
    obs = np.random.default_rng(0).uniform(-1, 1, (50, 2)).astype(np.float32)
    best = 0.3
    if not squash:
        # The best mean of a Gaussian that is clipped, at the width that it has come to, by a grid of its quantiles.
        scale = float(ppo.policy.head.log_std[0].detach().exp())
        drawn = torch.special.ndtri((torch.arange(2000, dtype=torch.float64) + 0.5) / 2000)
        means = torch.linspace(-1, 2, 301, dtype=torch.float64)
        loss = ((means.unsqueeze(1) + scale * drawn).clamp(-1, 1) - 0.3).square().mean(1)
        best = float(means[loss.argmin()])
    action, _ = ppo.policy.predict(obs, deterministic=True)
    assert np.abs(units(action, low, high) - best).mean() < 0.2
    assert abs(best) > 0.2  # where the policy began


@pytest.mark.parametrize("squash", [False, True])
def test_ppo_in_a_wide_box_is_ppo_in_a_narrow_one(squash):
    """The same noise, the same units: the same run up to rounding."""
    narrow, wide = (
        PPO(source(*box), PPOConfig(steps=1000, rollout=8, batch_size=32, epochs=2, squash=squash))
        for box in ((-1.0, 1.0), (-1024.0, 1024.0))
    )
    for _ in range(3):
        one, other = narrow.step(), wide.step()
        torch.testing.assert_close(other["reward"], one["reward"], rtol=1e-4, atol=1e-5)
        # Densities are in the action's own units: ln 1024 lower.
        torch.testing.assert_close(other["entropy"], one["entropy"] + math.log(1024), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(wide.learner.flat, narrow.learner.flat, rtol=1e-2, atol=1e-4)


def shown(low, high, count=500):
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(count, 2)).astype(np.float32)
    return obs, ((low + high) / 2 + (high - low) / 2 * 0.9 * np.tanh(0.8 * obs[:, :1])).astype(np.float32)


@pytest.mark.parametrize("squash", [False, True])
@pytest.mark.parametrize(("low", "high"), WIDE)
def test_cloning_is_as_good_in_any_box(low, high, squash):
    place = source(low, high, members=1)
    obs, action = shown(low, high)
    cloning = BehaviourCloning(
        place,
        Demonstrations.from_arrays(obs, action, place),
        nets.policy(place, squash=squash),
        BehaviourCloningConfig(updates=300),
    )
    while not cloning.progress.finished:
        cloning.step()
    found, _ = cloning.policy.predict(obs, deterministic=True)
    error = np.sqrt(np.mean((units(found, low, high) - units(action, low, high)) ** 2))
    assert error < 0.06  # of half a range; the labels have a spread of .5


def test_the_squared_error_is_in_half_ranges():
    box = Box((2,), (100.0, -1.0), (200.0, 3.0))
    loss = default_loss(box)
    assert loss == SquaredError(box) and default_loss(Discrete(2)) != loss
    policy = nets.policy(source(-1.0, 1.0), (4,))
    student = policy.distribution(torch.randn(2, 5, 2))
    mode, target = student.mode.expand(2, 5, 2), torch.tensor([150.0, 1.0]) + torch.randn(2, 5, 2)
    found = loss(type(student)(mode, torch.ones(2, 5, 2)), target)
    expected = ((mode[..., 0] - target[..., 0]) / 50) ** 2 + ((mode[..., 1] - target[..., 1]) / 2) ** 2
    torch.testing.assert_close(found, expected)


# Labels


class Beyond:
    """A teacher that asks for twice what there is."""

    noise = 0

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return 150 + 100 * torch.sign(obs[..., :1]), None, {}


class Counting:
    """The same with a memory: what it asks for grows with the steps of an episode."""

    noise = 0

    def memory(self, *shape):
        return torch.zeros(shape)

    def act(self, obs, noise, memory):
        return (120 + 30 * memory).unsqueeze(-1), memory + 1, {}


def test_labels_are_clipped():
    place = source(100.0, 200.0)
    policy = nets.policy(place, (4,))
    rollout = place.collect(policy, 6)
    found = labels(rollout, Beyond(), place.spec.action)
    assert torch.equal(found, 150 + 50 * torch.sign(fold(rollout.obs)[..., :1]))
    long = TensorSource(Target(100.0, 200.0, max_steps=4), id="Target", num_envs=3, members=2)
    seen = long.collect(policy, 6)
    starts = torch.zeros_like(seen.starts)
    starts[[0, 3]] = True
    told = labels(type(seen)(**{**vars(seen), "starts": starts}), Counting(), place.spec.action, torch.ones(2, 3))
    expected = torch.tensor([120.0, 150, 180, 120, 150, 180]).repeat_interleave(3).expand(2, 18)
    assert torch.equal(told.squeeze(-1), expected)
    later = labels(type(seen)(**{**vars(seen), "starts": starts & False}), Counting(), place.spec.action,
                   2 * torch.ones(2, 3))  # fmt: skip
    assert torch.equal(later[0, ::3, 0], torch.tensor([180.0, 200, 200, 200, 200, 200]))


def test_what_a_dagger_remembers_is_clipped():
    place = source(100.0, 200.0)
    dagger = DAgger(place, Beyond(), nets.policy(place, (4,)), DAggerConfig(rounds=1, rollout=4, updates=2))
    dagger.step()
    examples, _ = dagger.data.all()
    assert sorted(examples.action.unique().tolist()) == [100.0, 200.0]


def test_an_environment_receives_what_is_inside():
    """A policy may draw beyond the bounds; the rollout says what it drew, `predict` what there is."""
    place = source(100.0, 200.0)
    policy = nets.policy(place, (4,))
    with torch.no_grad():
        policy.head.log_std.add_(2.0)
    seen = place.collect(policy, 8)
    assert (seen.action > 200).any() and (seen.action < 100).any()
    inside = seen.action.clamp(100, 200).squeeze(-1)
    torch.testing.assert_close(seen.reward, -(((inside - 150) / 50 - 0.3) ** 2))
    action, _ = policy.predict(np.zeros((200, 2), np.float32))
    assert action.min() == 100 and action.max() == 200
