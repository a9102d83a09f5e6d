"""Recurrent policies against torch's GRU, over steps and over sequences."""

import numpy as np
import pytest
import torch
from torch import nn

from imitate import nets
from imitate.nets import GRU, Actor, Architecture
from imitate_envs.base import Box, Discrete
from tests.oracles import stream

T, M, B, F, H = 7, 3, 4, 5, 6
OBS = Box((F,))


def shaken(module):
    """Biases that are not zero, and weights that matter."""
    with torch.no_grad():
        for p in module.parameters():
            p.add_(0.3 * torch.randn(p.shape))
    return module


def plain(population, member):
    """One member as torch's own, with copies of its weights."""
    one = nn.GRU(population.inward.weight.shape[1], population.hidden)
    with torch.no_grad():
        one.weight_ih_l0.copy_(population.inward.weight[member].T)
        one.weight_hh_l0.copy_(population.recurrent.weight[member].T)
        one.bias_ih_l0.copy_(population.inward.bias[member, 0])
        one.bias_hh_l0.copy_(population.recurrent.bias[member, 0])
    return one


def make(members=M, observation=OBS, units=H):
    return shaken(Actor(observation, Discrete(3), members, Architecture(hidden=(), gru=units), stream()))


def test_members_are_torchs_own():
    core = shaken(GRU(M, F, H, init=stream()))
    x, h = torch.randn(T, M, B, F), torch.randn(M, B, H)
    found = core.unroll(x, h)
    found.square().sum().backward()
    for m in range(M):
        one = plain(core, m)
        expected, _ = one(x[:, m], h[m].unsqueeze(0))
        torch.testing.assert_close(found[:, m], expected, rtol=1e-5, atol=1e-6)
        expected.square().sum().backward()
        torch.testing.assert_close(core.inward.weight.grad[m].T, one.weight_ih_l0.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(core.recurrent.weight.grad[m].T, one.weight_hh_l0.grad, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(core.recurrent.bias.grad[m, 0], one.bias_hh_l0.grad, rtol=1e-4, atol=1e-5)


def test_gates_begin_orthogonal_and_members_differ():
    core = GRU(M, F, H, init=stream())
    for weight in core.recurrent.weight:
        for gate in weight.split(H, -1):
            torch.testing.assert_close(gate @ gate.T, torch.eye(H), atol=1e-5, rtol=0)
    assert not torch.equal(core.recurrent.weight[0], core.recurrent.weight[1])


def test_an_episode_that_starts_forgets():
    """A sequence with starts is one sequence for each episode."""
    core = shaken(GRU(M, F, H, init=stream()))
    x, h = torch.randn(T, M, B, F), torch.randn(M, B, H)
    starts = torch.zeros(T, M, B, dtype=torch.bool)
    starts[3, 1, 2] = True
    found = core.unroll(x, h, starts)
    torch.testing.assert_close(found[:3], core.unroll(x[:3], h))
    torch.testing.assert_close(found[3:, 1, 2], core.unroll(x[3:], torch.zeros_like(h))[:, 1, 2])
    others = torch.ones(M, B, dtype=torch.bool)
    others[1, 2] = False
    torch.testing.assert_close(found[:, others], core.unroll(x, h)[:, others])


def test_acting_is_the_sequence_step_by_step():
    policy = make()
    obs, noise = torch.randn(T, M, B, F), torch.rand(T, M, B, 1)
    starts = torch.zeros(T, M, B, dtype=torch.bool)
    starts[0] = True
    said, memories = policy.unroll(obs, None, starts)
    memory = policy.memory(M, B)
    for t in range(T):
        action, memory, _ = policy.act(obs[t], noise[t], memory)
        expected = type(said)(said.logits[t]).sample(noise[t])
        assert torch.equal(action, expected)
        torch.testing.assert_close(memories[t], memory)
    assert memory.shape == (M, B, H)
    later, _ = policy.unroll(obs, memory, torch.zeros_like(starts))
    assert not torch.allclose(later.logits, said.logits)


def test_one_network_serves_many_members():
    policy = make(members=1)
    obs = torch.randn(M, B, F)
    action, memory, _ = policy.act(obs, torch.rand(M, B, 1), policy.memory(M, B))
    assert action.shape == (M, B)
    _, alone, _ = policy.act(obs[1:2], torch.rand(1, B, 1), policy.memory(1, B))
    torch.testing.assert_close(memory[1:2], alone)


def test_predict_carries_the_state():
    policy = make()
    obs = np.random.default_rng(0).normal(size=(T, B, F)).astype(np.float32)
    starts = torch.zeros(T, M, B, dtype=torch.bool)
    said = policy.unroll(torch.as_tensor(obs).unsqueeze(1).expand(T, M, B, F), None, starts)[0].mode
    state = None
    for t in range(T):
        action, state = policy.predict(obs[t], state, deterministic=True, member=1)
        assert action.tolist() == said[t, 1].tolist()
    again, _ = policy.predict(obs[0], state, np.ones(B, bool), deterministic=True, member=1)
    assert again.tolist() == said[0, 1].tolist()
    single, _ = policy.predict(obs[0, 2], deterministic=True, member=1)
    assert single == said[0, 1, 2]


@pytest.mark.parametrize("observation", [OBS, Discrete(4)])
def test_files(observation, tmp_path):
    policy = make(observation=observation)
    policy.save(tmp_path)
    loaded = nets.load(tmp_path)
    obs = torch.randint(4, (T, M, B)) if isinstance(observation, Discrete) else torch.randn(T, M, B, F)
    starts = torch.zeros(T, M, B, dtype=torch.bool)
    assert torch.equal(loaded.unroll(obs, None, starts)[0].logits, policy.unroll(obs, None, starts)[0].logits)
    assert loaded.architecture == policy.architecture


def test_bad_input(tmp_path):
    with pytest.raises(ValueError, match="gru: at least 0 units, not -1"):
        make(units=-1)
    make().save(tmp_path)
    text = (tmp_path / "policy.json").read_text()
    assert '"gru": 6' in text
    (tmp_path / "policy.json").write_text(text.replace('"gru": 6', '"gru": 5'))
    with pytest.raises(ValueError, match=r"policy\.json"):
        nets.load(tmp_path)
