"""What the distributional family learns: of a coin, safe arms and risky ones, shares of probability."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
import torch

from imitate.baselines import (
    C51Config,
    DQNConfig,
    ERDQNConfig,
    FQFConfig,
    IQNConfig,
    QRDQNConfig,
    c51,
    er_dqn,
    fqf,
    iqn,
    qr_dqn,
)
from imitate.baselines.dqn import DQN
from imitate.core.rollout import TensorSource
from imitate.core.sequence_replay import Sample
from imitate.distributions.regression import fraction_loss
from imitate.distributions.returns import ExpectileReturn
from imitate.distributions.risk import CVaR, Distorted
from imitate.nets.return_heads import Implicit
from imitate.policies import RiskSensitive
from imitate_envs.base import Box, Discrete
from tests.oracles import Walk


@dataclasses.dataclass(frozen=True)
class Coin:
    """One step: action 0 pays 0 or 10 with equal chance, action 1 pays 4."""

    observation: ClassVar[Box] = Box((4,))
    action: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0
    max_steps: ClassVar[int] = 1

    def reset(self, noise):
        return torch.ones(*noise.shape[:-1], 4)

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        paid = torch.where(action == 0, 10.0 * (noise[..., 0] < 0.5), 4.0)
        return state, paid, torch.ones_like(action, dtype=torch.bool)


LEARNT = {
    "steps": 24_000, "rollout": 2, "updates": 1, "batch_size": 32, "lr": 1e-2, "anneal_lr": True, "hidden": (32,),
    "epsilon": 0.5, "epsilon_end": 0.5, "learning_starts": 500, "capacity": 20_000,
}  # fmt: skip
KINDS = {
    "c51": (c51, C51Config(**LEARNT, low=0.0, high=10.0)),
    "qr-dqn": (qr_dqn, QRDQNConfig(**LEARNT, quantiles=20, kappa=0.1)),
    "iqn": (iqn, IQNConfig(**LEARNT, levels=32, cosines=64, kappa=0.1)),
    "fqf": (fqf, FQFConfig(**LEARNT, fractions=24, cosines=64, kappa=0.1, fraction_lr=3e-3, entropy=1.0)),
    "er-dqn": (er_dqn, ERDQNConfig(**LEARNT, expectiles=9, edge=0.1)),
}


def learn(kind, env, **change):
    algorithm, config = KINDS[kind]
    mine = algorithm(TensorSource(env, id="Coin", num_envs=16, members=4), dataclasses.replace(config, **change))
    while not mine.progress.finished:
        mine.step()
    return mine


@pytest.mark.parametrize("kind", KINDS)
def test_the_law_of_a_coin_is_learnt(kind):
    """Wasserstein-1 of the learnt distribution to {0, 10} with chance ½ each is below .3."""
    distribution = learn(kind, Coin()).policy.returns(torch.ones(4, 1, 4))
    tau = (torch.arange(1_000) + 0.5) / 1_000
    distance = (distribution.quantile(tau)[:, 0, 0] - torch.where(tau < 0.5, 0.0, 10.0)).abs().mean(-1)
    assert float(distance.detach().mean()) < 0.3, distance
    torch.testing.assert_close(distribution.mean.detach()[..., 1], torch.full((4, 1), 4.0), atol=0.25, rtol=0)
    if isinstance(distribution, ExpectileReturn):  # at .1, …, .9
        torch.testing.assert_close(
            distribution.values[:, 0, 0].detach(), 10 * distribution.tau.expand(4, -1), atol=0.25, rtol=0
        )


# Risk


@dataclasses.dataclass(frozen=True)
class RiskyOrSafe:
    """Four cells in a row: 0 walks on for .5, 1 goes on a rope that pays 2.5 or, with probability .2, −5."""

    observation: ClassVar[Discrete] = Discrete(5)
    action: ClassVar[Discrete] = Discrete(2)
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 1
    max_steps: ClassVar[int] = 10

    def reset(self, noise):
        return (4 * noise[..., 0]).long()

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        rope = torch.where(noise[..., 0] < 0.2, -5.0, 2.5)
        return state + 1, torch.where(action == 1, rope, 0.5), state + 1 == 4


def test_the_worst_tenth_takes_the_safe_arm_where_the_mean_takes_the_risky_one():
    """In every cell, and in all members; CVaR(.1) of one rope is −5."""
    mine = learn("iqn", RiskyOrSafe(), steps=20_000, gamma=1.0, kappa=0.2, epsilon=1.0, epsilon_end=1.0)
    cells = torch.arange(4).expand(4, 4)
    safe = RiskSensitive(mine.policy, Distorted(CVaR(0.1)))
    assert (mine.policy.distribution(cells).mode == 1).all()
    assert (safe.distribution(cells).mode == 0).all()


# Implicit quantiles


def test_an_action_is_not_chosen_by_the_levels_that_are_bootstrapped_from(monkeypatch, generator):
    """All levels drawn are .01; the choice goes by the midpoints all the same."""
    source = TensorSource(Walk(), id="Walk", num_envs=2, members=2)
    mine = DQN(source, DQNConfig(hidden=(16,)), head=Implicit(5, 8))
    batch = Sample(
        obs=torch.randn(2, 50, 2, generator=generator),
        action=torch.zeros(2, 50, dtype=torch.int64),
        reward=torch.randn(2, 50, generator=generator),
        discount=torch.full((2, 50), 0.9),
        next_obs=torch.randn(2, 50, 2, generator=generator),
        weight=torch.ones(2, 50),
        index=torch.zeros(2, 50, dtype=torch.int64),
    )
    low = torch.full((2, 50, 5), 0.01)
    monkeypatch.setattr(mine.weights_noise, "uniform", lambda *shape: low)
    with torch.no_grad():
        found = mine._target(batch)
        choice = mine.target.network.returns(batch.next_obs).mean.argmax(-1)
        drawn = mine.target.network.returns(batch.next_obs, low)
        assert (choice != drawn.mean.argmax(-1)).any()
        expected = drawn.take(choice).bellman_backup(batch.reward, batch.discount)
    torch.testing.assert_close(found.values, expected.values)


# Proposed shares


def staircase_distance(theta, tau):
    """Wasserstein-1 between a quantile function and its staircase, by a fine sum."""
    fine = (np.arange(400_000) + 0.5) / 400_000
    share = np.searchsorted(tau, fine) - 1
    return np.abs(theta(fine) - theta((tau[:-1] + tau[1:]) / 2)[share]).mean()


@pytest.mark.parametrize("theta", [lambda t: t**3, lambda t: -np.log1p(-0.99 * t), lambda t: np.tanh(9 * t - 3)])
def test_the_slope_of_the_shares_is_that_of_the_distance(theta):
    """Against finite differences (Yang et al. 2019, proposition 1)."""
    tau = np.array([0.0, 0.15, 0.4, 0.8, 1.0])
    edges = torch.tensor(tau, requires_grad=True)
    middle = (tau[:-1] + tau[1:]) / 2
    fraction_loss(edges, torch.as_tensor(theta(tau[1:-1])), torch.as_tensor(theta(middle))).backward()
    for i in (1, 2, 3):
        moved = [tau.copy(), tau.copy()]
        moved[0][i] -= 1e-3
        moved[1][i] += 1e-3
        slope = (staircase_distance(theta, moved[1]) - staircase_distance(theta, moved[0])) / 2e-3
        assert edges.grad[i].item() == pytest.approx(slope, abs=2e-3)
    assert edges.grad[0] == edges.grad[-1] == 0


def tiny_fqf(**change):
    source = TensorSource(Walk(), id="Walk", num_envs=4, members=2)
    config = FQFConfig(steps=400, rollout=4, updates=1, batch_size=8, learning_starts=8, hidden=(7,), fractions=4)
    return fqf(source, dataclasses.replace(config, **change))


def test_values_and_shares_are_learnt_apart():
    """Neither loss moves the other's parameters; without a learning rate the shares stay as they began."""
    mine = tiny_fqf(fraction_lr=0.0)
    other = tiny_fqf(fraction_lr=0.1)
    before = {name: value.clone() for name, value in mine.policy.named_parameters()}
    for algorithm in (mine, other):
        algorithm.step()
        assert algorithm.step()["entropy"].shape == (2,)
    for (name, value), (_, shares) in zip(mine.policy.named_parameters(), other.policy.named_parameters(), strict=True):
        assert torch.equal(value, before[name]) == name.startswith("head.proposal")
        assert torch.equal(shares, before[name]) is False
    batch = mine.replay.sample(8, 1.0)
    loss, _ = mine.proposals.loss(batch)
    parameters = dict(mine.policy.named_parameters())
    grads = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
    touched = {name for name, grad in zip(parameters, grads, strict=True) if grad is not None}
    assert touched == {"head.proposal.linear.weight", "head.proposal.linear.bias"}
    loss, _ = mine._loss(batch)
    grads = torch.autograd.grad(loss.sum(), list(parameters.values()), allow_unused=True)
    assert {name for name, grad in zip(parameters, grads, strict=True) if grad is None} == touched


def test_a_bonus_on_entropy_keeps_shares_even():
    entropy = []
    for bonus in (0.0, 10.0):
        mine = tiny_fqf(entropy=bonus, fraction_lr=0.05, steps=2_000)
        while not mine.progress.finished:
            metrics = mine.step()
        entropy.append(metrics["entropy"])
    assert (entropy[1] > entropy[0]).all()
    torch.testing.assert_close(entropy[1], torch.full((2,), np.log(4.0)).float(), atol=0.01, rtol=0)


def test_the_shares_rate_falls_with_the_other():
    mine = tiny_fqf(fraction_lr=(1e-2, 1e-3), anneal_lr=True, steps=160)
    for i in range(3):
        mine.step()
        torch.testing.assert_close(mine.proposals.lr, torch.tensor([1e-2, 1e-3]) * (1 - i / 10))
