"""Value networks against explicit constructions. Letters: M members, B batch, A actions."""

import math

import numpy as np
import pytest
import torch

import imitate
from envs.base import Box, Discrete
from imitate.core.noise import Stream, normal
from imitate.laws import AtomsLaw, Expected, QuantileLaw
from imitate.nets.value_network import Atoms, Implicit, NoisyLinear, Quantiles, Scalar, ValueArchitecture, ValuePolicy

M, B, A = 3, 4, 2
OBS = Box((5,))
HEADS = [Scalar(), Atoms(11, 0, 10), Quantiles(7), Implicit(6, 8)]


def make(head=HEADS[0], members=M, **options):
    architecture = ValueArchitecture(hidden=(8, 6), head=head, **options)
    return ValuePolicy(OBS, Discrete(A), members, architecture, Stream(0, "init"), env="CartPole-v1")


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_members_are_networks_of_their_own(head, dueling, noisy):
    policy = make(head, dueling=dueling, noisy=noisy)
    obs = torch.randn(M, B, 5)
    noise = torch.rand(M, B, policy.law_noise)
    for given in (None, noise):
        law = policy.law(obs, given)
        assert isinstance(law, {Scalar: Expected, Atoms: AtomsLaw}.get(type(head), QuantileLaw))
        assert law.mean.shape == (M, B, A)
        for m in range(M):
            alone = make(head, members=1, dueling=dueling, noisy=noisy)
            alone.load_state_dict({name: value[m : m + 1] for name, value in policy.state_dict().items()})
            part = None if given is None else given[m : m + 1]
            torch.testing.assert_close(alone.law(obs[m : m + 1], part).mean, law.mean[m : m + 1], rtol=1e-4, atol=1e-5)
            # rows of a batch do not touch each other, noise included
            row = alone.law(obs[m : m + 1, 1:2], None if part is None else part[:, 1:2])
            torch.testing.assert_close(row.mean[0, 0], law.mean[m, 1], rtol=1e-4, atol=1e-5)
    assert policy.law_noise == 0 or not torch.equal(policy.law(obs, noise).mean, policy.law(obs).mean)


@torch.no_grad()
def test_noisy_weights_are_the_papers():
    layer = NoisyLinear(2, 4, 3, init=Stream(0, "init"))
    torch.nn.init.uniform_(layer.sigma_weight)
    torch.nn.init.uniform_(layer.sigma_bias)
    x, noise = torch.randn(2, 5, 4), torch.rand(2, 5, 7)
    out = layer(x, noise)

    def f(z):
        return math.copysign(math.sqrt(abs(z)), z)

    for m in range(2):
        for b in range(5):
            z = [f(v) for v in normal(noise[m, b]).tolist()]
            for o in range(3):
                bias = layer.mean.bias[m, 0, o] + layer.sigma_bias[m, 0, o] * z[4 + o]
                total = float(bias)
                for i in range(4):
                    weight = layer.mean.weight[m, i, o] + layer.sigma_weight[m, i, o] * z[i] * z[4 + o]
                    total += float(weight) * float(x[m, b, i])
                assert out[m, b, o].item() == pytest.approx(total, rel=1e-4, abs=1e-5)
    assert torch.equal(layer(x, None), layer.mean(x))


def test_dueling_takes_the_advantages_mean_off():
    policy = make(dueling=True)
    obs = torch.randn(M, B, 5)
    x = obs
    for layer in policy.hidden:
        x = torch.relu(layer(x, None))
    value, advantage = policy.state_value(x, None), policy.advantage(x, None)
    torch.testing.assert_close(policy.law(obs).mean, value + advantage - advantage.mean(-1, keepdim=True))
    torch.testing.assert_close(policy.law(obs).mean.mean(-1, keepdim=True), value)


def test_implicit_levels_are_embedded_by_cosines():
    policy = make(Implicit(3, 8), members=1)
    obs, tau = torch.randn(1, 2, 5), torch.rand(1, 2, 3)
    found = policy.law(obs, tau)
    assert torch.equal(found.tau, tau.unsqueeze(-2))
    psi = torch.relu(policy.hidden[0](obs, None))
    for b in range(2):
        for k in range(3):
            cosines = torch.tensor([math.cos(math.pi * i * tau[0, b, k]) for i in range(8)])
            phi = torch.relu(policy.embedding(cosines.reshape(1, 1, -1)))
            h = torch.relu(policy.hidden[1](psi[:, b : b + 1] * phi, None))
            torch.testing.assert_close(found.values[0, b, :, k], policy.advantage(h, None)[0, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_files(head, tmp_path):
    policy = make(head, dueling=True, noisy=True, normalise=True, temperature=0.3)
    policy.normaliser.update(torch.randn(M, 50, 5) * 3)
    policy.save(tmp_path)
    loaded = imitate.load(tmp_path)
    assert isinstance(loaded, ValuePolicy)
    assert loaded.architecture == policy.architecture
    obs = torch.randn(M, B, 5)
    assert torch.equal(loaded.law(obs).mean, policy.law(obs).mean)
    assert torch.equal(loaded.distribution(obs).logits, policy.law(obs).mean / 0.3)
    action, _ = loaded.predict(np.zeros(5, np.float32), deterministic=True)
    assert action == policy.law(torch.zeros(M, 1, 5)).mean[0, 0].argmax()


def test_bad_input():
    with pytest.raises(ValueError, match="action"):
        ValuePolicy(OBS, Box((1,), -1, 1), 1, ValueArchitecture(), Stream(0, "init"))
    with pytest.raises(ValueError, match="temperature"):
        make(temperature=0.0)
    with pytest.raises(ValueError, match="head"):
        make(Atoms(1))
    with pytest.raises(ValueError, match="head"):
        make(Atoms(5, 1.0, 0.0))
    with pytest.raises(ValueError, match="head"):
        make(Quantiles(0))
