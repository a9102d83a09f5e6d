"""Critics against single networks in plain torch; target networks against a naive loop."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from imitate.core.learner import Learner
from imitate.core.noise import Stream
from imitate.core.spec import Spec
from imitate.nets import Actor, Architecture
from imitate.nets.critic import ActionValue, Critic
from imitate.nets.target import TargetNetwork
from imitate_envs.base import Box, Dict, Discrete, MultiBinary
from tests.oracles import stream

M, B, K, F = 2, 5, 3, 4
LOW, HIGH = (-1.0, 100.0), (3.0, 200.0)
BOX = Box((2,), LOW, HIGH)
IMAGE = Dict.of({"eye": Box((2, 6, 5)), "place": Box((3,))})


def values(observation=Box((F,)), critics=K, members=M, action=BOX):  # noqa: B008
    critic = ActionValue(Spec("x", observation, action, members), (6, 5), critics=critics)
    with torch.no_grad():
        for p in critic.parameters():
            p.add_(0.2 * torch.randn(p.shape))
    return critic


def single(critic, number):
    """Critic `number` of M·K as plain torch, on observations beside actions in half ranges from the centre."""
    layers = []
    for layer in (*critic.body.layers, critic.value):
        plain = nn.Linear(*layer.weight.shape[1:])
        with torch.no_grad():
            plain.weight.copy_(layer.weight[number].T)
            plain.bias.copy_(layer.bias[number, 0])
        layers += [plain, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def data():
    obs, unit = torch.randn(M, B, F), 2 * torch.rand(M, B, 2) - 1
    action = torch.tensor([1.0, 150.0]) + torch.tensor([2.0, 50.0]) * unit
    return obs, action, unit


@pytest.mark.parametrize("critics", [1, K])
def test_values_are_those_of_single_networks(critics):
    critic, (obs, action, unit) = values(critics=critics), data()
    found = critic(obs, action)
    assert found.shape == (M, B, critics)
    for m in range(M):
        for k in range(critics):
            expected = single(critic, m * critics + k)(torch.cat([obs[m], unit[m]], -1)).squeeze(-1)
            torch.testing.assert_close(found[m, :, k], expected, rtol=1e-4, atol=1e-5)


def test_a_learner_trains_each_by_a_loss_of_its_own():
    """The gradient of critic k of member m is that of its single network, and of nothing else."""
    critic, (obs, action, unit) = values(), data()
    target = torch.randn(M, B)
    losses = (critic(obs, action) - target.unsqueeze(-1)).square().mean(1).flatten()
    grads = torch.autograd.grad(losses.sum(), list(critic.parameters()))
    for m in range(M):
        for k in range(K):
            one = single(critic, m * K + k)
            loss = (one(torch.cat([obs[m], unit[m]], -1)).squeeze(-1) - target[m]).square().mean()
            torch.testing.assert_close(losses[m * K + k], loss, rtol=1e-4, atol=1e-5)
            expected = torch.autograd.grad(loss, list(one.parameters()))
            for mine, theirs in zip(grads, expected, strict=True):
                part = mine[m * K + k].squeeze(0) if theirs.dim() == 1 else mine[m * K + k].T
                torch.testing.assert_close(part, theirs, rtol=1e-3, atol=1e-5)
    learner = Learner([critic], lambda batch: (losses, {}), lr=1e-3)
    assert len(learner.lr) == M * K


@pytest.mark.parametrize("observation", [Box((F,)), IMAGE])
def test_values_of_actions_alone(observation):
    """The same values, and the gradient of the action."""
    critic, (obs, action, _) = values(observation), data()
    if observation is IMAGE:
        obs = {"eye": torch.randn(M, B, 2, 6, 5), "place": torch.randn(M, B, 3)}
    action.requires_grad_()
    whole, alone = critic(obs, action), critic.of_action(obs, action)
    torch.testing.assert_close(alone, whole)
    weight = torch.randn(M, B, K)
    (expected,) = torch.autograd.grad((weight * whole).sum(), action, retain_graph=True)
    (found,) = torch.autograd.grad((weight * alone).sum(), action, retain_graph=True)
    torch.testing.assert_close(found, expected)
    assert expected.abs().min() > 0
    if critic.body.flat:
        nothing = torch.autograd.grad((weight * alone).sum(), list(critic.parameters()), allow_unused=True)
        assert all(grad is None for grad in nothing)
        assert not critic.of_action(obs, action.detach()).requires_grad


def test_actions_count_in_half_ranges():
    narrow, wide = values(action=Box((2,), -1.0, 1.0)), values(action=Box((2,), -1000.0, 3000.0))
    wide.load_state_dict(narrow.state_dict())
    obs, _, unit = data()
    torch.testing.assert_close(wide(obs, 1000 + 2000 * unit), narrow(obs, unit), rtol=1e-4, atol=1e-5)


def test_a_mask_is_not_looked_at():
    masked = values(Dict.of({"observation": Box((F,)), "action_mask": MultiBinary((2,))}))
    obs, action, _ = data()
    plain = values()
    plain.load_state_dict(masked.state_dict())
    mask = torch.randint(2, (M, B, 2), dtype=torch.uint8)
    assert torch.equal(masked({"observation": obs, "action_mask": mask}, action), plain(obs, action))


def test_a_critic_takes_what_an_actor_prepares():
    observation = Dict.of({"gear": Discrete(3), "place": Box((2,))})
    critic = Critic(observation, M, (6,), init=stream())
    actor = Actor(observation, Discrete(2), M, Architecture((4,), normalise=True), stream())
    obs = {"gear": torch.randint(3, (M, B)), "place": 5 + torch.randn(M, B, 2)}
    actor.observe(obs)
    x = actor.prepare(obs)
    first, last = critic.body.layers[0], critic.value
    for m in range(M):
        hidden = torch.tanh(x[m] @ first.weight[m] + first.bias[m])
        torch.testing.assert_close(critic(x)[m], (hidden @ last.weight[m] + last.bias[m, 0]).squeeze(-1))


@pytest.mark.parametrize("memory", ["gru", "lstm"])
def test_a_critic_unrolls_step_by_step(memory):
    critic = Critic(Box((F,)), M, (6,), init=stream(), **{memory: 3})
    x, starts = torch.randn(6, M, B, F), torch.rand(6, M, B) < 0.3
    value, memories = critic.unroll(x, critic.memory(M, B), starts)
    assert critic.recurrent and not critic.plain
    parts = [memories] if memory == "gru" else list(memories)
    before = [torch.zeros(M, B, 3) for _ in parts]
    for t in range(6):
        before = [leaf.masked_fill(starts[t].unsqueeze(-1), 0.0) for leaf in before]
        given = before[0] if memory == "gru" else tuple(before)
        torch.testing.assert_close(critic(x[t], given), value[t], rtol=1e-5, atol=1e-6)
        before = [leaf[t] for leaf in parts]


# Targets


class Watched(nn.Module):
    """A parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(M, 3))
        self.register_buffer("seen", torch.zeros(M))


@pytest.mark.parametrize(("tau", "every"), [(1.0, 1), (1.0, 3), (0.3, 1), (0.05, 4)])
def test_a_target_is_the_naive_loop(tau, every):
    online = Watched()
    target = TargetNetwork(online, tau, every)
    assert torch.equal(target.network.weight, online.weight) and target.network.weight is not online.weight
    expected, seen = online.weight.detach().double(), torch.zeros(M)
    for update in range(1, 11):
        with torch.no_grad():
            online.weight.add_(torch.randn(M, 3))
            online.seen.add_(1)
        target.update()
        if update % every == 0:
            expected, seen = (1 - tau) * expected + tau * online.weight.detach().double(), online.seen.clone()
        torch.testing.assert_close(target.network.weight.double(), expected, rtol=1e-5, atol=1e-6)
        assert torch.equal(target.network.seen, seen) and int(target.updates) == update
        if tau == 1 and update % every == 0:
            assert torch.equal(target.network.weight, online.weight)
    target.follow()
    assert torch.equal(target.network.seen, online.seen)


def test_a_target_is_frozen_and_apart():
    critic = values()
    target = TargetNetwork(critic)
    assert not any(p.requires_grad for p in target.network.parameters())
    assert all(p.requires_grad for p in critic.parameters())
    obs, action, _ = data()
    before = target.network(obs, action)
    learner = Learner([critic], lambda _: (critic(obs, action).square().mean(1).flatten(), {}), lr=1e-2)
    learner(None)
    assert torch.equal(target.network(obs, action), before) and not torch.equal(critic(obs, action), before)
    target.update()  # also of weights that a learner has laid out anew
    assert torch.equal(target.network(obs, action), critic(obs, action))


def test_a_target_goes_on_where_it_was():
    first, second = (TargetNetwork(Watched(), 0.5, 2) for _ in range(2))
    second.online.load_state_dict(first.online.state_dict())
    for _ in range(3):
        with torch.no_grad():
            first.online.weight.add_(1.0)
        first.update()
    second.online.load_state_dict(first.online.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for target in (first, second):
        target.update()
    assert torch.equal(first.network.weight, second.network.weight)
    assert int(second.updates) == 4 and not torch.equal(second.network.weight, second.online.weight)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tau": 0.0}, r"^tau: a share in \(0, 1\], not 0\.0"),
        ({"tau": 1.1}, r"^tau: a share in \(0, 1\], not 1\.1"),
        ({"every": 0}, r"^every: at least 1, not 0"),
    ],
)
def test_bad_targets(options, message):
    with pytest.raises(ValueError, match=message):
        TargetNetwork(Watched(), **options)


def test_critics_are_of_the_seed():
    one, two, three = (ActionValue(Spec("x", Box((F,)), BOX, M, seed=seed)) for seed in (0, 0, 1))
    assert all(map(torch.equal, one.parameters(), two.parameters()))
    assert not torch.equal(one.value.weight, three.value.weight)
    first = one.body.layers[0].weight
    assert not torch.equal(first[0], first[1])  # the K of a member differ
    assert first.device == Stream(0, "x").generator.device
