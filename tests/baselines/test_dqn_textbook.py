"""The DQN family against a textbook: one network, one member, loops over rows; and what it learns in tiny worlds.

Letters: T time, M members, N environments, B batch, A actions, K parameters of a distribution.
"""

import dataclasses
import itertools
import math
from typing import ClassVar

import numpy as np
import pytest
import torch

from imitate.baselines.dqn import DQN, DQNConfig
from imitate.baselines.fqf import FQFConfig, fqf
from imitate.core import checkpoint, rollout, tree
from imitate.core.noise import Stream, normal
from imitate.core.rollout import TensorSource
from imitate.core.sequence_replay import Sample
from imitate.core.types import mean_metrics
from imitate.distributions.regression import impute_expectiles
from imitate.distributions.returns import QuantileReturn
from imitate.nets.return_heads import Atoms, Expectiles, Fractions, Implicit, Quantiles, Scalar
from imitate_envs.base import Box, Discrete
from tests.oracles import Bandit, Identity, Sliced, Walk

A = 3
CONFIG = DQNConfig(
    steps=400, rollout=4, updates=2, batch_size=6, learning_starts=8, hidden=(7, 5), target_every=2, capacity=400,
    lr=3e-3, max_grad_norm=0.5,
)  # fmt: skip
NOISY = {"noisy": True, "epsilon": 0.0, "epsilon_end": 0.0}
FAMILY = {
    "dqn": ({}, Scalar()),
    "double": ({"double": True}, Scalar()),
    "dueling": ({"dueling": True}, Scalar()),
    "prioritised": ({"priority": 0.6, "n_step": 2}, Scalar()),
    "persistent": ({"persistent": True, "epsilon": 0.5, "epsilon_end": 0.3}, Scalar()),
    "noisy": (NOISY, Scalar()),
    "munchausen": ({"munchausen": 0.9, "munchausen_temperature": 0.1}, Scalar()),
    "c51": ({"double": True}, Atoms(7, -1.0, 2.0)),
    "rainbow": ({**NOISY, "double": True, "dueling": True, "n_step": 3, "priority": 0.5}, Atoms(7, -1.0, 2.0)),
    "qr": ({}, Quantiles(5)),
    "qr-dueling": ({"dueling": True, "double": True, "priority": 0.5}, Quantiles(5, 0.2)),
    "iqn": ({}, Implicit(4, 6)),
    "iqn-noisy": (NOISY, Implicit(3, 6)),
    "iqn-all": ({**NOISY, "double": True, "dueling": True, "priority": 0.5}, Implicit(3, 6, 0.3)),
    "fqf": ({}, Fractions(4, 6, 0.3)),
    "fqf-all": ({**NOISY, "double": True, "dueling": True, "priority": 0.5}, Fractions(3, 6)),
    "expectile": ({}, Expectiles(5, 0.1)),
    "expectile-all": ({**NOISY, "double": True, "dueling": True, "priority": 0.5}, Expectiles(3, 0.2)),
}


def dqn(env=None, config=CONFIG, head=None, members=1, num_envs=4, seed=0, **change):
    env = env or Walk()
    source = TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=members, seed=seed)
    config = dataclasses.replace(config, **change)
    if isinstance(head, Fractions):
        own = {"fractions": head.count, "cosines": head.cosines, "kappa": head.kappa, "fraction_lr": 1e-2}
        shared = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
        return fqf(source, FQFConfig(**shared, **own, entropy=0.1))
    return DQN(source, config, head=head)


# A textbook


class Textbook:
    """The family for one member; weights are drawn row by row, targets are made by loops."""

    def __init__(self, algorithm):
        self.config, self.head = algorithm.config, algorithm.policy.architecture.head
        self.online = {
            name: value[0].detach().clone().requires_grad_() for name, value in algorithm.policy.named_parameters()
        }
        self.target = {name: value[0].detach().clone() for name, value in algorithm.target.network.named_parameters()}
        self.adam = torch.optim.Adam(self.online.values(), lr=self.config.lr)
        if isinstance(self.head, Fractions):
            self.proposal = [value for name, value in self.online.items() if name.startswith("head.proposal")]
            self.other_adam = torch.optim.Adam(self.proposal, lr=1e-2, betas=(0.0, 0.95), eps=1e-5)
        self.updates = 0

    def layer(self, weights, name, x, uniforms):
        """One row through one layer; takes what noise it needs from the front of `uniforms`."""
        for plain in (name, f"{name}.linear"):
            if f"{plain}.weight" in weights:
                return x @ weights[f"{plain}.weight"] + weights[f"{plain}.bias"][0]
        w, b = weights[f"{name}.mean.weight"], weights[f"{name}.mean.bias"][0]
        if uniforms is not None:
            inputs, outputs = w.shape
            z = torch.stack([torch.copysign(v.abs().sqrt(), v) for v in normal(uniforms[: inputs + outputs])])
            w = w + weights[f"{name}.sigma_weight"] * torch.outer(z[:inputs], z[inputs:])
            b = b + weights[f"{name}.sigma_bias"][0] * z[inputs:]
            del uniforms[: inputs + outputs]
        return x @ w + b

    def shares(self, weights, obs):
        """Shares of probability [K] at one observation."""
        x = torch.relu(self.layer(weights, "body.layers.0", obs, None)).detach()
        return torch.softmax(self.layer(weights, "head.proposal", x, None), 0)

    def returns(self, weights, obs, uniforms, at=None):
        """Parameters [A, K] of the distributions at one observation; levels of quantiles are its own by default."""
        uniforms = None if uniforms is None else uniforms.tolist()
        levels = [None]
        if isinstance(self.head, Implicit):
            count = self.head.count
            levels = [(i + 0.5) / count for i in range(count)] if uniforms is None else uniforms[:count]
            uniforms = None if uniforms is None else uniforms[count:]
        if isinstance(self.head, Fractions):
            upper = np.cumsum([0.0, *self.shares(weights, obs).tolist()])
            levels = [(low + high) / 2 for low, high in itertools.pairwise(upper)]
        levels, answers = levels if at is None else at, []
        for tau in levels:
            left = Uniforms(uniforms) if uniforms else None
            x = torch.relu(self.layer(weights, "body.layers.0", obs, left))
            if tau is not None:
                cosines = torch.tensor([math.cos(math.pi * i * tau) for i in range(self.head.cosines)])
                x = x * torch.relu(self.layer(weights, "head.embedding", cosines, None))
            x = torch.relu(self.layer(weights, "head.hidden.0", x, left))
            out = self.layer(weights, "head.advantage", x, left).reshape(A, -1)
            if self.config.dueling:
                out = self.layer(weights, "head.state_value", x, left) + out - out.mean(0)
            answers.append(out)
        if isinstance(self.head, Quantiles):
            levels = [(i + 0.5) / self.head.count for i in range(self.head.count)]
        if isinstance(self.head, Expectiles):
            first, count = self.head.edge, self.head.count
            levels = [first + (1 - 2 * first) * i / (count - 1) for i in range(count)]
        return torch.cat(answers, 1), levels

    def mean(self, parameters, weights, obs):
        if isinstance(self.head, Fractions):
            return parameters @ self.shares(weights, obs)
        if isinstance(self.head, Expectiles):
            return parameters[:, self.head.count // 2]
        if isinstance(self.head, Atoms):
            return parameters.softmax(1) @ torch.linspace(self.head.low, self.head.high, self.head.count)
        return parameters.mean(1)

    def row(self, batch, b, uniforms, following_uniforms):
        """Loss and priority of one row."""
        config, head = self.config, self.head
        reward, discount, action = float(batch.reward[0, b]), float(batch.discount[0, b]), int(batch.action[0, b])
        parameters, levels = self.returns(self.online, batch.obs[0, b], uniforms)
        taken = parameters[action]
        with torch.no_grad():
            after, _ = self.returns(self.target, batch.next_obs[0, b], following_uniforms)
            who, choosing = (self.online, None) if config.double else (self.target, following_uniforms)
            # An action is never chosen by the levels that are bootstrapped from.
            at = [(i + 0.5) / head.count for i in range(head.count)] if isinstance(head, Implicit) else None
            chooser, _ = self.returns(who, batch.next_obs[0, b], choosing, at)
            best = after[int(self.mean(chooser, who, batch.next_obs[0, b]).argmax())]
            shares = [1 / len(best)] * len(best)
            if isinstance(head, Fractions):
                shares = self.shares(self.target, batch.next_obs[0, b]).tolist()
            if isinstance(head, Scalar):
                value = float(best[0])
                if config.munchausen:
                    tau = config.munchausen_temperature
                    value = tau * math.log(sum(math.exp(q / tau) for q in after[:, 0].tolist()))
                    now = self.returns(self.target, batch.obs[0, b], None)[0][:, 0].tolist()
                    log_policy = now[action] / tau - math.log(sum(math.exp(q / tau) for q in now))
                    reward += config.munchausen * max(-1.0, tau * log_policy)
                target = reward + discount * value
        if isinstance(head, Scalar):
            error = target - taken[0]
            loss = 0.5 * error**2 if abs(float(error.detach())) <= 1 else error.abs() - 0.5
            return loss, abs(float(error.detach()))
        if isinstance(head, Atoms):
            step = (head.high - head.low) / (head.count - 1)
            m = np.zeros(head.count)
            for j, p in enumerate(best.softmax(0).tolist()):
                z = min(max(reward + discount * (head.low + j * step), head.low), head.high)
                at = (z - head.low) / step
                low = min(math.floor(at), head.count - 2)
                m[low] += p * (low + 1 - at)
                m[low + 1] += p * (at - low)
            loss = sum(p * (math.log(p) - log_q) for p, log_q in zip(m, taken.log_softmax(0), strict=True) if p > 0)
            return loss, float(loss.detach())
        if isinstance(head, Expectiles):
            loss, samples = torch.zeros(()), impute_expectiles(best, torch.tensor(levels))
            for value, tau in zip(taken, levels, strict=True):
                for sample, p in zip(*(x.tolist() for x in samples), strict=True):
                    u = reward + discount * sample - value
                    loss = loss + p * abs(tau - (float(u.detach()) < 0)) * u**2 / len(taken)
            return loss, float(loss.detach())
        loss, kappa = torch.zeros(()), head.kappa
        for value, tau in zip(taken, levels, strict=True):
            for sample, share in zip(best.tolist(), shares, strict=True):
                u = reward + discount * sample - value
                size = abs(float(u.detach()))
                huber = 0.5 * u**2 if size <= kappa else kappa * (u.abs() - 0.5 * kappa)
                loss = loss + abs(tau - (float(u.detach()) < 0)) * huber / kappa * share / len(taken)
        return loss, float(loss.detach())

    def update(self, batch, uniforms, following_uniforms):
        """One gradient step; the loss before it and the priorities."""
        total, priorities = torch.zeros(()), []
        size = batch.reward.shape[1]
        for b in range(size):
            loss, priority = self.row(
                batch, b, *(None if u is None else u[0, b] for u in (uniforms, following_uniforms))
            )
            total = total + batch.weight[0, b] * loss / size
            priorities.append(priority)
        self.adam.zero_grad()
        total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.online.values(), self.config.max_grad_norm)
        self.adam.step()
        if isinstance(self.head, Fractions):
            self.propose(batch)
        self.updates += 1
        if self.updates % self.config.target_every == 0:
            self.target = {name: value.detach().clone() for name, value in self.online.items()}
        return total.item(), priorities, norm.item()

    def propose(self, batch):
        """One gradient step of the shares, after that of the values (Yang et al. 2019, proposition 1)."""
        total, size = torch.zeros(()), batch.reward.shape[1]
        for b in range(size):
            obs, action = batch.obs[0, b], int(batch.action[0, b])
            shares = self.shares(self.online, obs)
            tau = shares.cumsum(0)
            with torch.no_grad():
                middle = self.returns(self.online, obs, None)[0][action]
                edge = self.returns(self.online, obs, None, tau.tolist())[0][action]
            loss = 0.1 * (shares * shares.log()).sum()
            for i in range(len(shares) - 1):
                loss = loss + tau[i] * float(2 * edge[i] - middle[i] - middle[i + 1])
            total = total + batch.weight[0, b] * loss / size
        self.other_adam.zero_grad()
        total.backward()
        self.other_adam.step()


class Uniforms:
    """A list that is eaten from the front."""

    def __init__(self, numbers):
        self.numbers = torch.tensor(numbers)

    def __getitem__(self, part):
        return self.numbers[part]

    def __delitem__(self, part):
        self.numbers = self.numbers[part.stop :]


def random_batch(generator, size=6):
    return Sample(
        obs=torch.randn(1, size, 2, generator=generator),
        action=torch.randint(A, (1, size), generator=generator),
        reward=torch.randn(1, size, generator=generator),
        discount=0.9 * (torch.rand(1, size, generator=generator) > 0.3),
        next_obs=torch.randn(1, size, 2, generator=generator),
        weight=torch.rand(1, size, generator=generator),
        index=torch.randperm(40, generator=generator)[:size].unsqueeze(0),
    )


@pytest.mark.parametrize("name", FAMILY)
def test_updates_are_the_textbooks(name, generator, monkeypatch):
    """Five updates and two copies of the target network: losses, gradient norms, priorities, all weights."""
    options, head = FAMILY[name]
    mine = dqn(head=head, **options)
    mine.replay.add(mine.source.collect(mine.driver, 20))
    with torch.no_grad():
        for p in mine.target.network.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
        for p in (*mine.policy.parameters(), *mine.target.network.parameters()):
            p.add_(0.1 * torch.randn(p.shape, generator=generator))  # zeros at the start would hide mistakes
    book = Textbook(mine)
    draw, handed = mine._noise, []
    monkeypatch.setattr(mine, "_noise", lambda batch: handed.append(draw(batch)) or handed[-1])
    for _ in range(5):
        handed.clear()
        batch = random_batch(generator)
        metrics = mean_metrics([mine._update(batch)])
        uniforms = [one.expand(*batch.reward.shape, -1) for one in handed if one is not None] or [None, None]
        assert len(uniforms) == 2
        loss, priorities, norm = book.update(batch, *uniforms)
        assert metrics["loss"].item() == pytest.approx(loss, rel=1e-3, abs=1e-5)
        assert metrics["grad_norm"].item() == pytest.approx(norm, rel=2e-3, abs=1e-5)
        if mine.config.priority:
            stored = mine.replay.priority[0, batch.index[0]]
            expected = (torch.tensor(priorities) + 1e-6) ** mine.config.priority
            torch.testing.assert_close(stored, expected, rtol=2e-3, atol=1e-4)
    for weights, module in ((book.online, mine.policy), (book.target, mine.target.network)):
        for path, value in module.named_parameters():
            torch.testing.assert_close(value[0], weights[path], rtol=1e-3, atol=2e-4, msg=path)


# Members


@pytest.mark.parametrize("name", ["dqn", "rainbow", "iqn-all", "fqf-all", "expectile", "munchausen"])
def test_members_are_single_runs_on_the_same_noise(name, monkeypatch):
    """Fourteen updates, with numbers of their own for each member."""
    options, head = FAMILY[name]
    members, own = 3, {"lr": (1e-3, 3e-3, 3e-4), "gamma": (0.9, 0.5, 0.99)}
    if "noisy" not in options:
        own["epsilon"] = (1.0, 0.0, 0.5)
    options = {**options, "normalise_obs": True, "steps": 200}
    together = dqn(head=head, members=members, **{**options, **own})
    weights = {name: value.clone() for name, value in together.policy.state_dict().items()}
    for _ in range(7):
        together.step()
    assert int(together.target.updates) == 14
    for m in range(members):
        with monkeypatch.context() as patch:
            patch.setattr(rollout, "Stream", lambda *args, m=m: Sliced(Stream(*args), members, m))
            alone = dqn(head=head, **{**options, **{name: value[m] for name, value in own.items()}})
            mine = {name: value[m : m + 1] for name, value in weights.items()}
            alone.policy.load_state_dict(mine)
            alone.target.network.load_state_dict(mine)
            alone.replay.stream = Sliced(alone.replay.stream, members, m)
            alone.weights_noise = Sliced(alone.weights_noise, members, m)
            for _ in range(7):
                alone.step()
        torch.testing.assert_close(alone.learner.flat[0], together.learner.flat[m], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(alone.replay.priority[0], together.replay.priority[m], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            alone.target.network.body.normaliser.var[0], together.target.network.body.normaliser.var[m]
        )
    assert not torch.equal(together.learner.flat[0], together.learner.flat[1])


# The same run later


@pytest.mark.parametrize(
    "name", ["prioritised", "persistent", "rainbow", "iqn-all", "fqf-all", "qr-dueling", "expectile", "munchausen"]
)
def test_a_resumed_run_is_the_uninterrupted_one_in_every_number(name, tmp_path):
    """Parameters, moments, priorities, ring and streams, saved within a window and after the ring has wrapped."""
    options, head = FAMILY[name]

    def fresh():
        return dqn(head=head, members=2, capacity=28, rollout=3, normalise_obs=True, anneal_lr=True, **options)

    def everything(algorithm):
        return dict(tree.flatten(checkpoint.state_of(algorithm)))

    whole, first, later = fresh(), fresh(), fresh()
    for _ in range(5):
        first.step()
    checkpoint.write(tmp_path, "run", checkpoint.state_of(first), {})
    checkpoint.load_state(later, checkpoint.read(tmp_path, "run")[0])
    for _ in range(10):
        metrics = whole.step()
    for _ in range(5):
        again = later.step()
    expected, found = everything(whole), everything(later)
    assert expected.keys() == found.keys()
    assert [path for path, value in expected.items() if not torch.equal(value, found[path])] == []
    assert all(torch.equal(metrics[key], again[key]) for key in metrics)
    assert int(later.replay.written) == 30
    other = dqn(head=head, members=2, capacity=40, normalise_obs=True, **options)
    with pytest.raises(ValueError, match="replay does not fit this run"):
        checkpoint.load_state(other, checkpoint.state_of(whole))


# Schedules, exploration


def test_the_importance_exponent_rises_to_one(monkeypatch):
    mine, seen = dqn(priority=0.6, importance=0.4, steps=160), []
    sample = mine.replay.sample
    monkeypatch.setattr(mine.replay, "sample", lambda size, beta: seen.append(beta) or sample(size, beta))
    for _ in range(12):
        mine.step()
    begun = [0.4 + 0.6 * min(1, 16 * i / 160) for i in range(12) for _ in range(2)]
    assert seen == pytest.approx(begun)
    assert seen[-1] == 1


def test_nothing_is_learnt_before_its_time():
    mine = dqn(learning_starts=50)
    before = mine.learner.flat.clone()
    for i in range(5):
        metrics = mine.step()
        learnt = 16 * (i + 1) >= 50
        assert torch.equal(mine.learner.flat, before) != learnt
        assert int(mine.target.updates) == 2 * max(0, i - 2)
        assert set(metrics) == {"epsilon", *(["loss", "grad_norm", "value"] if learnt else [])}
        assert all(value.shape == (1,) for value in metrics.values())
    assert len(mine.replay) == 80


def test_the_learning_rate_falls_where_it_is_asked_to():
    mine = dqn(anneal_lr=True, lr=(1e-3, 1e-2), steps=160, members=2)
    for i in range(12):
        mine.step()
        torch.testing.assert_close(mine.learner.lr, torch.tensor([1e-3, 1e-2]) * max(0.0, 1 - i / 10))


def test_epsilon_is_the_share_of_random_actions():
    mine = dqn(epsilon=(0.0, 0.3, 1.0), epsilon_end=(0.0, 0.3, 1.0), members=3, num_envs=50, learning_starts=10**6)
    mine.step()
    seen = mine.source.collect(mine.driver, 40)
    greedy = mine.policy.returns(seen.obs.transpose(0, 1).flatten(1, 2)).mean.argmax(-1)
    agree = (seen.action.transpose(0, 1).flatten(1, 2) == greedy).float().mean(1)
    assert agree[0] == 1
    assert agree[1].item() == pytest.approx(0.7 + 0.3 / 3, abs=0.04)
    assert agree[2].item() == pytest.approx(1 / 3, abs=0.05)


@pytest.mark.parametrize("head", [Scalar(), Implicit(4, 6)])
def test_noisy_weights_explore_by_themselves(head):
    mine = dqn(head=head, num_envs=60, **NOISY)
    obs = torch.full((1, 60, 2), 0.3)
    noise = torch.rand(1, 60, mine.driver.noise)
    action = mine.driver.act(obs, noise, mine.driver.memory(1, 60))[0]
    assert len(action.unique()) > 1
    assert torch.equal(action, mine.driver.act(obs, noise, mine.driver.memory(1, 60))[0])
    assert len(mine.policy.distribution(obs).mode.unique()) == 1  # evaluated at the mean weights


def test_the_target_networks_statistics_are_the_policys():
    mine = dqn(normalise_obs=True)
    for i in range(1, 4):
        mine.step()
        assert mine.policy.body.normaliser.count.tolist() == [16 * i]
        for name, value in mine.policy.body.normaliser.state_dict().items():
            assert torch.equal(value, mine.target.network.body.normaliser.state_dict()[name])


# Learning


@dataclasses.dataclass(frozen=True)
class Corridor:
    """Five cells in a row from the first; 1 at the end, −.1 a step back, which ends nothing at the wall."""

    max_steps: int = 12

    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 1
    observation: ClassVar[Discrete] = Discrete(5)
    action: ClassVar[Discrete] = Discrete(2)

    def reset(self, noise):
        return (noise[..., 0] * 4).long()

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        moved = (state + 2 * action - 1).clamp(0, 4)
        return moved, (moved == 4).float() - 0.1 * (action == 0), moved == 4


def corridor_values(gamma):
    q = np.zeros((5, 2))
    for _ in range(200):
        for s in range(4):
            for a in range(2):
                moved = min(max(s + 2 * a - 1, 0), 4)
                q[s, a] = (moved == 4) - 0.1 * (a == 0) + gamma * (moved != 4) * q[moved].max()
    return torch.as_tensor(q[:4], dtype=torch.float32)


TINY = DQNConfig(
    steps=12_000, rollout=8, updates=4, batch_size=64, learning_starts=200, hidden=(32,), target_every=40, lr=1e-2,
    anneal_lr=True, gamma=(0.8, 0.5), epsilon=1.0, epsilon_end=1.0, capacity=20_000,
)  # fmt: skip


@pytest.mark.parametrize(
    ("options", "head"),
    [
        ({}, Scalar()),
        ({"double": True, "dueling": True, "priority": 0.6}, Scalar()),
        ({}, Atoms(31, -1.0, 1.0)),
        ({}, Quantiles(5, 0.1)),
    ],
)
def test_a_corridor_is_learnt_exactly(options, head):
    """Values of all actions, whoever drives and wherever episodes are cut."""
    mine = dqn(Corridor(), TINY, head, members=2, num_envs=8, **options)
    while not mine.progress.finished:
        mine.step()
    found = mine.policy.returns(torch.arange(4).expand(2, 4)).mean.detach()
    expected = torch.stack([corridor_values(0.8), corridor_values(0.5)])
    torch.testing.assert_close(found, expected, atol=0.03, rtol=0)


@pytest.mark.parametrize("n_step", [1, 3, 5])
def test_a_time_limit_is_not_an_end(n_step):
    """Reward 1 for ever is worth 1/(1 − γ), though every episode is cut after 4 steps."""

    @dataclasses.dataclass(frozen=True)
    class Forever(Identity):
        max_steps: int = 4

        def step(self, state, action, noise):
            state, reward, ended = super().step(state, action, noise)
            return state, torch.ones_like(reward), ended

    mine = dqn(Forever(), TINY, num_envs=8, gamma=0.8, n_step=n_step, steps=10_000, target_every=20)
    while not mine.progress.finished:
        mine.step()
    values = mine.policy.returns(torch.arange(3).expand(1, 3)).mean
    torch.testing.assert_close(values.detach(), torch.full((1, 3, 3), 5.0), atol=0.15, rtol=0)


def test_a_bandit_pays_what_it_pays():
    """The mean of a reward of 0 or 1 where every step is an end; Huber's loss with κ = 1 is the squared error here."""
    mine = dqn(Bandit(), TINY, members=2, num_envs=8, n_step=3, gamma=0.9, steps=8_000)
    while not mine.progress.finished:
        mine.step()
    found = mine.policy.returns(torch.zeros(2, 1, 1)).mean[:, 0].detach()
    torch.testing.assert_close(found, torch.tensor([[0.2, 0.8]] * 2), atol=0.06, rtol=0)


@dataclasses.dataclass(frozen=True)
class Gamble:
    """One state, eight actions, each pays uniformly from −2 to 2: whatever is done, the expected return is 0."""

    max_steps: int = 50

    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0
    observation: ClassVar[Box] = Box((1,))
    action: ClassVar[Discrete] = Discrete(8)

    def reset(self, noise):
        return torch.ones(*noise.shape[:-1], 1)

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        return state, 4 * noise[..., 0] - 2, torch.zeros_like(noise[..., 0], dtype=torch.bool)


def overestimate(double):
    config = dataclasses.replace(
        TINY, steps=8_000, gamma=0.9, lr=1e-2, anneal_lr=False, batch_size=16, target_every=10, double=double
    )
    mine = dqn(Gamble(), config, members=8, num_envs=8)
    found = []
    while not mine.progress.finished:
        mine.step()
        if int(mine.progress.steps) > 4_000:
            found.append(mine.policy.returns(torch.ones(8, 1, 1)).mean.amax(-1)[:, 0].detach())
    returns = mine.source.play(mine.policy, 40, seed=3).mean(1)  # undiscounted, of 50 steps
    assert returns.mean().item() == pytest.approx(0, abs=4 * (50 * 4 / 3 / 320) ** 0.5)
    return torch.stack(found).mean(0)


def test_double_q_learning_overestimates_less():
    """Of a value of 0, DQN's greatest is 3.8 on average, double DQN's 3.2; the order holds for all eight members."""
    single, double = overestimate(False), overestimate(True)
    assert (single > 0.1).all()
    assert (double < single).all()


@pytest.mark.parametrize("kappa", [1.0, 0.2])
def test_levels_of_an_implicit_law_are_ordered_where_it_has_learnt(kappa):
    """Quantiles of a bandit that pays 0 or 1: low levels below high ones."""

    class Seen(Bandit):
        def observe(self, state):
            return torch.ones_like(state)  # a product with nothing but zeros would know no levels

    mine = dqn(Seen(), TINY, Implicit(8, 16, kappa), members=2, num_envs=8, gamma=0.9, steps=6_000)
    while not mine.progress.finished:
        mine.step()
    tau = torch.tensor([0.05, 0.1, 0.2, 0.5, 0.9, 0.95, 0.97, 0.99]).expand(2, 1, 8)
    distribution = mine.policy.returns(torch.ones(2, 1, 1), tau)
    assert isinstance(distribution, QuantileReturn)
    values = distribution.values[:, 0].detach()
    assert (values.diff(dim=-1) > -0.05).all()
    assert (values[:, 1, 3:].mean(-1) - values[:, 1, :2].mean(-1) > 0.3).all()


@pytest.mark.parametrize("head", [Scalar(), Atoms(7, 0.0, 5.0), Quantiles(5), Implicit(4, 6)])
def test_evaluation_takes_the_greedy_action_of_the_mean(head):
    mine = dqn(head=head, members=2, dueling=True)
    mine.step()
    obs = torch.randn(2, 9, 2)
    assert torch.equal(mine.policy.distribution(obs).mode, mine.policy.returns(obs).mean.argmax(-1))


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps: must be at least 1, not 0"),
        ({"rollout": 0}, "rollout: must be at least 1, not 0"),
        ({"batch_size": 0}, "batch_size: must be at least 1, not 0"),
        ({"target_every": 0}, "target_every: must be at least 1, not 0"),
        ({"n_step": 0}, "n_step: must be at least 1, not 0"),
        ({"capacity": 20}, "capacity: 20 hold 20 windows at most, fewer than a batch"),
        ({"capacity": 3}, "capacity: 3 does not hold"),
        ({"lr": (1e-3, 1e-3, 1e-3)}, "lr: 3 values for 2 members"),
        ({"gamma": (0.9,)}, "gamma: 1 values"),
        ({"munchausen": 0.9, "double": True}, "double: munchausen"),
        ({"hidden": ()}, "hidden"),
        ({"activation": "sigmoid"}, "activation"),
        ({"temperature": 0.0}, "temperature: must be positive, not 0.0"),
    ],
)
def test_bad_numbers_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        dqn(members=2, **{"batch_size": 21, **change})


def test_persistent_exploration_goes_on_from_one_rollout_to_the_next():
    """ε = 1: bouts of one action only. One that the end of a rollout cuts goes on in the next."""
    algorithm = dqn(persistent=True, epsilon=1.0, epsilon_end=1.0, num_envs=200)
    first = algorithm.source.collect(algorithm.driver, 5).clone()
    left, lasting, _ = algorithm.source.carry.memory
    on = (left > 0)[0]
    assert 20 < int(on.sum()) < 200
    second = algorithm.source.collect(algorithm.driver, 1)
    assert first.extras["explored"].all()
    assert second.extras["explored"].all()
    assert torch.equal(second.action[0, 0][on], lasting[0][on])
