"""Gated memories against torch's own, step by step and over sequences; actors that carry them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from imitate import nets
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.nets import Actor, Architecture
from imitate.nets.recurrent import GRU, LSTM
from imitate.policies import Greedy
from imitate_envs.base import Box, Dict, Discrete
from tests.oracles import Walk, stream

T, M, B, F, H = 7, 2, 3, 5, 4
CELLS = {"gru": (GRU, nn.GRU), "lstm": (LSTM, nn.LSTM)}
every_cell = pytest.mark.parametrize("kind", CELLS)


def shaken(module):
    """Biases that are not zero, and weights that matter."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return module


def make(kind):
    return shaken(CELLS[kind][0](M, F, H, init=stream()))


def torchs(cell, kind, member):
    """One member as torch's own, with copies of its weights."""
    one = CELLS[kind][1](F, H)
    with torch.no_grad():
        one.weight_ih_l0.copy_(cell.inward.weight[member].T)
        one.weight_hh_l0.copy_(cell.recurrent.weight[member].T)
        one.bias_ih_l0.copy_(cell.inward.bias[member, 0])
        one.bias_hh_l0.copy_(cell.recurrent.bias[member, 0])
    return one


def memory_of(kind):
    """A memory that is not empty, [M, B, H] each."""
    h, c = torch.randn(M, B, H), torch.randn(M, B, H)
    return h if kind == "gru" else (h, c)


def at(memory, index):
    return tree.map(lambda leaf: leaf[index], memory)


@every_cell
def test_a_sequence_is_torchs_with_its_gradients(kind):
    cell, x, memory = make(kind), torch.randn(T, M, B, F), memory_of(kind)
    states = cell.unroll(x, memory)
    found = states if kind == "gru" else states[0]
    found.square().sum().backward()
    for m in range(M):
        one = torchs(cell, kind, m)
        expected, last = one(x[:, m], at(tree.map(lambda leaf: leaf.unsqueeze(1), memory), m))
        torch.testing.assert_close(found[:, m], expected, rtol=1e-5, atol=1e-6)
        for mine, theirs in zip(tree.leaves(at(states, -1)), tree.leaves(last), strict=True):
            torch.testing.assert_close(mine[m], theirs[0], rtol=1e-5, atol=1e-6)
        expected.square().sum().backward()
        pairs = [
            (cell.inward.weight.grad[m].T, one.weight_ih_l0),
            (cell.recurrent.weight.grad[m].T, one.weight_hh_l0),
            (cell.inward.bias.grad[m, 0], one.bias_ih_l0),
            (cell.recurrent.bias.grad[m, 0], one.bias_hh_l0),
        ]
        for mine, theirs in pairs:
            torch.testing.assert_close(mine, theirs.grad, rtol=1e-4, atol=1e-5)


@every_cell
def test_a_sequence_with_starts_is_its_steps_one_by_one(kind):
    cell, x, memory = make(kind), torch.randn(T, M, B, F), memory_of(kind)
    starts = torch.rand(T, M, B) < 0.3
    starts[0, 0] = True
    assert starts[1:].any() and not starts[0].all()
    states = cell.unroll(x, memory, starts)
    for t in range(T):
        memory = tree.map(lambda leaf: leaf.masked_fill(starts[t].unsqueeze(-1), 0.0), memory)  # noqa: B023
        output, memory = cell(x[t], memory)
        for mine, expected in zip(tree.leaves(at(states, t)), tree.leaves(memory), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(output, memory if kind == "gru" else memory[0])


@every_cell
def test_no_gradient_passes_the_start_of_an_episode(kind):
    cell, x = make(kind), torch.randn(T, M, B, F, requires_grad=True)
    starts = torch.zeros(T, M, B, dtype=torch.bool)
    starts[4] = True
    states = cell.unroll(x, memory_of(kind), starts)
    last = states[-1] if kind == "gru" else states[0][-1]
    (grad,) = torch.autograd.grad(last.sum(), x)
    assert not grad[:4].any() and grad[4:].abs().sum((1, 2, 3)).gt(0).all()


def test_what_is_orthogonal_and_what_is_one_at_first():
    cell = LSTM(M, F, H, init=stream())
    for weight in cell.recurrent.weight:
        for gate in weight.split(H, -1):
            torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
    forget = torch.zeros(4 * H)
    forget[H : 2 * H] = 1
    assert torch.equal(cell.inward.bias, forget.expand(M, 1, 4 * H)) and not cell.recurrent.bias.any()
    assert [leaf.shape for leaf in cell.memory(M, B)] == [(M, B, H)] * 2
    assert not any(leaf.any() for leaf in cell.memory(M, B))


# Actors

SEES = {
    "a vector": Box((F,)),
    "a dict": Dict.of({"eye": Box((3, 6, 5), 0, 255), "place": Box((2,)), "gear": Discrete(3)}),
}


def actor(kind, observation=SEES["a vector"], action=Discrete(3), hidden=(6,), normalise=False):  # noqa: B008
    architecture = Architecture(hidden, normalise=normalise, **{kind: H})
    return shaken(Actor(observation, action, M, architecture, stream()))


def draw(observation, *shape):
    if isinstance(observation, Dict):
        return {
            "eye": torch.randint(256, (*shape, 3, 6, 5), dtype=torch.uint8),
            "place": torch.randn(*shape, 2),
            "gear": torch.randint(3, shape),
        }
    return torch.randn(*shape, F)


@every_cell
@pytest.mark.parametrize("name", SEES)
@pytest.mark.parametrize("hidden", [(), (6,)])
def test_an_actor_unrolls_as_it_acts(kind, name, hidden):
    policy = actor(kind, SEES[name], hidden=hidden)
    obs, noise = draw(SEES[name], T, M, B), torch.rand(T, M, B, 1)
    starts = torch.rand(T, M, B) < 0.25
    assert starts[1:].any()
    before = memory_of(kind)
    said, memories = policy.unroll(obs, before, starts)
    memory = before
    fresh = policy.memory(M, B)
    for t in range(T):
        memory = tree.where(starts[t], fresh, memory)
        one = at(obs, t)
        mode, _, _ = policy.act(one, None, memory)
        action, memory, _ = policy.act(one, noise[t], memory)
        now = type(said)(said.logits[t])
        assert torch.equal(action, now.sample(noise[t])) and torch.equal(mode, now.mode)
        for mine, expected in zip(tree.leaves(at(memories, t)), tree.leaves(memory), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-5, atol=1e-6)


@every_cell
def test_an_actor_without_a_memory_before_it_begins_with_nothing(kind):
    policy, obs = actor(kind), draw(SEES["a vector"], T, M, B)
    never = torch.zeros(T, M, B, dtype=torch.bool)
    said, _ = policy.unroll(obs, None, never)
    again, _ = policy.unroll(obs, policy.memory(M, B), never)
    assert torch.equal(said.logits, again.logits)
    torch.testing.assert_close(policy.distribution(obs[0]).logits, said.logits[0])
    other, _ = policy.unroll(obs, memory_of(kind), never)
    assert not torch.allclose(other.logits, said.logits)


def test_an_actor_without_a_memory_unrolls_too():
    policy = nets.policy(TensorSource(Walk(), id="Walk", num_envs=B, members=M, seed=0), (6,))
    obs = torch.randn(T, M, B, 2)
    said, memories = policy.unroll(obs, None, torch.zeros(T, M, B, dtype=torch.bool))
    assert memories is None and said.logits.shape == (T, M, B, 3)
    torch.testing.assert_close(said.logits[3], policy.distribution(obs[3]).logits)


@every_cell
def test_a_source_carries_the_memory(kind):
    """A rollout's own memory and starts are all that it takes to say again what was said, over several rollouts."""
    place = TensorSource(Walk(), id="Walk", num_envs=B, members=M, seed=0)
    policy = shaken(nets.policy(place, (6,), **{kind: H}))

    class Telling:
        noise = policy.noise
        memory = staticmethod(policy.memory)

        def act(self, obs, noise, memory):
            action, after, _ = policy.act(obs, noise, memory)
            features = policy.body(policy.prepare(obs), memory)[0]
            return action, after, {"logits": policy.head.linear(features)}

    driver, ends = Telling(), 0
    for _ in range(4):
        seen = place.collect(driver, 5)
        said, memories = policy.unroll(seen.obs, seen.memory, seen.starts)
        torch.testing.assert_close(said.logits, seen.extras["logits"], rtol=1e-5, atol=1e-6)
        ends += int(seen.done[:-1].sum())
        carried = place.carry.memory
        expected = tree.where(seen.done[-1], policy.memory(M, B), at(memories, -1))
        for mine, wanted in zip(tree.leaves(carried), tree.leaves(expected), strict=True):
            torch.testing.assert_close(mine, wanted, rtol=1e-5, atol=1e-6)
    assert ends > 5


@every_cell
def test_greedy_is_the_mode_with_its_memory(kind):
    policy, obs = actor(kind), draw(SEES["a vector"], T, M, B)
    said, _ = policy.unroll(obs, None, torch.zeros(T, M, B, dtype=torch.bool))
    greedy = Greedy(policy)
    memory = greedy.memory(M, B)
    for t in range(T):
        action, memory, _ = greedy.act(obs[t], torch.rand(M, B, 1), memory)
        assert torch.equal(action, said.logits[t].argmax(-1))


@every_cell
def test_predict_carries_the_state(kind):
    policy = actor(kind)
    obs = draw(SEES["a vector"], T, 1, B)
    never = torch.zeros(T, M, B, dtype=torch.bool)
    said, memories = policy.unroll(obs.expand(T, M, B, F), None, never)
    state = None
    for t in range(T):
        action, state = policy.predict(obs[t, 0].numpy(), state, deterministic=True, member=1)
        assert action.tolist() == said.mode[t, 1].tolist()
        for mine, expected in zip(state, tree.leaves(at(memories, t)), strict=True):
            np.testing.assert_allclose(mine, expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    began = np.array([True, False, True])
    action, state = policy.predict(obs[0, 0].numpy(), state, began, deterministic=True, member=1)
    expected, after = policy.unroll(
        obs[0].expand(1, M, B, F), at(memories, -1), torch.as_tensor(began).expand(1, M, B)
    )  # fmt: skip
    assert action.tolist() == expected.mode[0, 1].tolist()
    np.testing.assert_allclose(state[0], tree.leaves(after)[0][0].detach().numpy(), rtol=1e-5, atol=1e-6)
    single, after = policy.predict(obs[0, 0, 2].numpy(), deterministic=True, member=1)
    assert single == said.mode[0, 1, 2] and after[0].shape == (M, 1, H)


@every_cell
@pytest.mark.parametrize("normalise", [False, True])
def test_files_and_members(kind, normalise, tmp_path):
    policy, obs = actor(kind, normalise=normalise), draw(SEES["a vector"], T, M, B)
    policy.observe(obs.transpose(0, 1).flatten(1, 2))
    starts = torch.rand(T, M, B) < 0.2
    said, _ = policy.unroll(obs, None, starts)
    policy.save(tmp_path)
    assert torch.equal(nets.load(tmp_path).unroll(obs, None, starts)[0].logits, said.logits)
    for m in range(M):
        alone, _ = policy.member(m).unroll(obs[:, m : m + 1], None, starts[:, m : m + 1])
        torch.testing.assert_close(alone.logits[:, 0], said.logits[:, m], rtol=1e-5, atol=1e-6)


def test_a_box_of_actions():
    policy = actor("lstm", action=Box((2,), (0.0, 10.0), (1.0, 30.0)))
    obs = draw(SEES["a vector"], T, M, B)
    said, _ = policy.unroll(obs, None, torch.zeros(T, M, B, dtype=torch.bool))
    action, _, _ = policy.act(obs[0], None, policy.memory(M, B))
    torch.testing.assert_close(action, said.loc[0])
    assert said.scale.shape == (T, M, B, 2)


def test_a_network_of_ones_own_brings_no_memory():
    with pytest.raises(ValueError, match=r"^gru, lstm: a network of your own brings no memory of ours"):
        Actor(Box((F,)), Discrete(2), M, Architecture(gru=3), stream(), network=nn.Identity())
