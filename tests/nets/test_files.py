"""Policies of the first format: files written weight by weight under the names of then, against plain loops.

Letters: T time, M members, B batch, A actions, H hidden units, K parameters of a distribution.
"""

import math

import pytest
import torch
from torch.nn import functional as F

import imitate
from imitate.core import checkpoint
from imitate.core.noise import normal
from imitate.distributions.actions import Categorical, Normal, TanhNormal
from imitate.nets import Actor, QNetwork

M, B, A = 2, 5, 3
VECTOR = {"box": [4], "low": "-inf", "high": "inf"}
PIXELS = {"box": [2, 6, 6], "low": 0.0, "high": 1.0}
FORCES = {"box": [2], "low": [-1.0, 0.0], "high": [3.0, 10.0]}
CHOICES = {"discrete": A}


def draw(*shape):
    return 0.4 * torch.randn(M, *shape)


def linear(name, inputs, outputs):
    return {f"{name}.weight": draw(inputs, outputs), f"{name}.bias": draw(1, outputs)}


def noisy(name, inputs, outputs):
    sigma = {f"{name}.sigma_weight": draw(inputs, outputs), f"{name}.sigma_bias": draw(1, outputs)}
    return linear(f"{name}.mean", inputs, outputs) | sigma


def convolution(name, inputs, outputs):
    return {f"{name}.weight": draw(outputs, inputs, 3, 3), f"{name}.bias": draw(outputs)}


def statistics(*shape):
    count = torch.full((M,), 100.0, dtype=torch.float64)
    return {"normaliser.mean": draw(1, *shape), "normaliser.var": draw(1, *shape).exp(), "normaliser.count": count}


def affine(x, weights, name):
    return torch.stack([x[m] @ weights[f"{name}.weight"][m] + weights[f"{name}.bias"][m] for m in range(M)])


def noised(x, weights, name, noise=None):
    """A noisy layer, row by row; `noise` [M, B, inputs + outputs]."""
    out = affine(x, weights, f"{name}.mean")
    if noise is None:
        return out
    z = normal(noise)
    z = z.sign() * z.abs().sqrt()
    rows = []
    for m in range(M):
        for b in range(B):
            into, out_of = z[m, b, : x.shape[-1]], z[m, b, x.shape[-1] :]
            weight = weights[f"{name}.sigma_weight"][m] * into.unsqueeze(1) * out_of
            rows.append(out[m, b] + x[m, b] @ weight + weights[f"{name}.sigma_bias"][m, 0] * out_of)
    return torch.stack(rows).unflatten(0, (M, B))


def convolved(x, weights, name):
    """Rectified features of each member's images, flat."""
    pictures = [F.conv2d(x[m], weights[f"{name}.weight"][m], weights[f"{name}.bias"][m]) for m in range(M)]
    return torch.relu(torch.stack(pictures)).flatten(2)


def standardised(x, weights, clip=10.0):
    scale = (weights["normaliser.var"] + 1e-8).sqrt()
    return ((x - weights["normaliser.mean"]) / scale).clamp(-clip, clip)


def read(folder, kind, weights, observation, action, architecture, **more):
    description = {"kind": kind, "env": "Test-v0", "members": M, "observation": observation, "action": action}
    checkpoint.write(folder, "policy", weights, {**description, "architecture": architecture, **more})
    found = imitate.load(folder)
    assert (found.members, found.env) == (M, "Test-v0")
    obs = torch.randn(M, B, *found.observation.shape)
    again = folder / "again"
    found.save(again)
    renewed, mine = imitate.load(again), vars(found.distribution(obs))
    assert all(torch.equal(value, mine[name]) for name, value in vars(renewed.distribution(obs)).items())
    return found


# NetworkPolicy


def network_policy(folder, weights, observation=VECTOR, action=CHOICES, **architecture):
    made = {"hidden": [6, 5], "activation": "tanh", "normalise": False, "squash": False, "clip_obs": 10.0}
    found = read(folder, "NetworkPolicy", weights, observation, action, {**made, **architecture}, custom_network=False)
    assert isinstance(found, Actor)
    return found


def perceptron(outputs):
    return linear("network.layers.0", 4, 6) | linear("network.layers.1", 6, 5) | linear("network.layers.2", 5, outputs)


def through(x, weights, activation=torch.tanh):
    for layer in (0, 1):
        x = activation(affine(x, weights, f"network.layers.{layer}"))
    return affine(x, weights, "network.layers.2")


def test_choices(tmp_path):
    weights = perceptron(A)
    found = network_policy(tmp_path, weights)
    obs = torch.randn(M, B, 4)
    distribution = found.distribution(obs)
    assert isinstance(distribution, Categorical)
    torch.testing.assert_close(distribution.logits, through(obs, weights))


def test_a_gaussian_keeps_its_own_units(tmp_path):
    weights = perceptron(2) | {"log_std": draw(1, 2)}
    found = network_policy(tmp_path, weights, action=FORCES, activation="elu")
    obs = torch.randn(M, B, 4)
    distribution = found.distribution(obs)
    assert isinstance(distribution, Normal)
    torch.testing.assert_close(distribution.loc, through(obs, weights, F.elu))
    torch.testing.assert_close(distribution.scale, weights["log_std"].exp().expand(M, B, 2))


def test_a_squashed_gaussian(tmp_path):
    weights = perceptron(4)
    found = network_policy(tmp_path, weights, action=FORCES, squash=True, activation="relu")
    obs = torch.randn(M, B, 4)
    out, distribution = through(obs, weights, torch.relu), found.distribution(obs)
    assert isinstance(distribution, TanhNormal)
    torch.testing.assert_close(distribution.loc, out[..., :2])
    torch.testing.assert_close(distribution.scale, out[..., 2:].exp())
    mode = torch.tensor([-1.0, 0.0]) + torch.tensor([4.0, 10.0]) * (out[..., :2].tanh() + 1) / 2
    torch.testing.assert_close(found.act(obs, None, None)[0], mode)


@pytest.mark.parametrize("shape", [(4,), (2, 2)])
def test_statistics_of_observations(tmp_path, shape):
    """Those of a matrix were kept in its shape."""
    weights = perceptron(A) | statistics(*shape)
    observation = {"box": list(shape), "low": "-inf", "high": "inf"}
    found = network_policy(tmp_path, weights, observation, normalise=True, clip_obs=1.5)
    obs = 3 * torch.randn(M, B, *shape)
    expected = through(standardised(obs, weights, 1.5).flatten(2), weights)
    torch.testing.assert_close(found.distribution(obs).logits, expected)


@pytest.mark.parametrize("options", [{}, {"hidden": []}, {"normalise": True}], ids=str)
def test_images(tmp_path, options):
    """Widths of hidden layers meant nothing to them, not even their absence."""
    weights = convolution("network.convolutions.0", 2, 16)
    weights |= linear("network.head.layers.0", 16 * 4 * 4, 128) | linear("network.head.layers.1", 128, A)
    weights |= statistics(2, 6, 6) if options.get("normalise") else {}
    found = network_policy(tmp_path, weights, PIXELS, **options)
    obs = torch.rand(M, B, 2, 6, 6)
    seen = standardised(obs, weights) if options.get("normalise") else obs
    hidden = torch.relu(affine(convolved(seen, weights, "network.convolutions.0"), weights, "network.head.layers.0"))
    expected = affine(hidden, weights, "network.head.layers.1")
    torch.testing.assert_close(found.distribution(obs).logits, expected, rtol=1e-4, atol=1e-5)


def test_a_network_of_ones_own(tmp_path):
    def build():
        return torch.nn.Sequential(torch.nn.Linear(4, 2))

    weights = {"network.0/weight": draw(2, 4), "network.0/bias": draw(2), "log_std": draw(1, 2)}
    description = {"kind": "NetworkPolicy", "env": None, "members": M, "observation": VECTOR, "action": FORCES}
    architecture = {"hidden": [], "activation": "tanh", "normalise": False, "squash": False, "clip_obs": 10.0}
    checkpoint.write(tmp_path, "policy", weights, {**description, "architecture": architecture, "custom_network": True})
    found, obs = imitate.nets.load(tmp_path, build=build), torch.randn(M, B, 4)
    for m in range(M):
        expected = F.linear(obs[m], weights["network.0/weight"][m], weights["network.0/bias"][m])
        torch.testing.assert_close(found.distribution(obs).loc[m], expected)
    torch.testing.assert_close(found.distribution(obs).scale, weights["log_std"].exp().expand(M, B, 2))


# RecurrentPolicy


@pytest.mark.parametrize("observation", [VECTOR, {"discrete": 4}], ids=["vector", "one-hot"])
def test_a_recurrent_policy(tmp_path, observation):
    steps, units = 6, 5
    weights = linear("core.inward", 4, 3 * units) | linear("core.recurrent", units, 3 * units)
    weights |= linear("head", units, A)
    description = {"kind": "RecurrentPolicy", "env": "Test-v0", "members": M, "observation": observation}
    checkpoint.write(tmp_path, "policy", weights, {**description, "action": CHOICES, "architecture": {"hidden": units}})
    found = imitate.load(tmp_path)
    assert isinstance(found, Actor)
    discrete = "discrete" in observation
    obs = torch.randint(4, (steps, M, B)) if discrete else torch.randn(steps, M, B, 4)
    starts = torch.zeros(steps, M, B, dtype=torch.bool)
    starts[0] = starts[3, 0, 1] = True
    said, memories = found.unroll(obs, None, starts)
    for m in range(M):
        core = torch.nn.GRU(4, units)
        with torch.no_grad():
            core.weight_ih_l0.copy_(weights["core.inward.weight"][m].T)
            core.weight_hh_l0.copy_(weights["core.recurrent.weight"][m].T)
            core.bias_ih_l0.copy_(weights["core.inward.bias"][m, 0])
            core.bias_hh_l0.copy_(weights["core.recurrent.bias"][m, 0])
        for b in range(B):
            h = torch.zeros(1, 1, units)
            for t in range(steps):
                h = torch.zeros_like(h) if starts[t, m, b] else h
                x = F.one_hot(obs[t, m, b], 4).float() if discrete else obs[t, m, b]
                _, h = core(x.reshape(1, 1, 4), h)
                logits = h[0, 0] @ weights["head.weight"][m] + weights["head.bias"][m, 0]
                torch.testing.assert_close(memories[t, m, b], h[0, 0], rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(said.logits[t, m, b], logits, rtol=1e-4, atol=1e-5)


# ValuePolicy


def value_policy(folder, weights, head, observation=VECTOR, **architecture):
    made = {"hidden": [6, 5], "activation": "relu", "head": head, "dueling": False, "noisy": False}
    made |= {"normalise": False, "temperature": 0.5}
    found = read(folder, "ValuePolicy", weights, observation, CHOICES, {**made, **architecture})
    assert isinstance(found, QNetwork)
    return found


def values_of(outputs, prefix=""):
    """Weights of a plain value network: two hidden layers, and `outputs` for each action."""
    weights = linear(f"{prefix}hidden.0.linear", 4, 6) | linear(f"{prefix}hidden.1.linear", 6, 5)
    return weights | linear(f"{prefix}advantage.linear", 5, A * outputs)


def hidden_of(x, weights, prefix=""):
    for layer in (0, 1):
        x = torch.relu(affine(x, weights, f"{prefix}hidden.{layer}.linear"))
    return x


def valued(x, weights, prefix=""):
    out = affine(hidden_of(x, weights, prefix), weights, f"{prefix}advantage.linear")
    return out.unflatten(-1, (A, -1))


def test_values(tmp_path):
    weights = values_of(1) | statistics(4)
    found = value_policy(tmp_path, weights, {"kind": "Scalar"}, normalise=True)
    obs = 3 * torch.randn(M, B, 4)
    expected = valued(standardised(obs, weights), weights).squeeze(-1)
    torch.testing.assert_close(found.returns(obs).mean, expected)
    torch.testing.assert_close(found.distribution(obs).probs, (expected / 0.5).softmax(-1))


def test_dueling_atoms(tmp_path):
    weights = values_of(7) | linear("state_value.linear", 5, 7)
    head = {"kind": "Atoms", "count": 7, "low": -1.0, "high": 2.0}
    found = value_policy(tmp_path, weights, head, dueling=True)
    obs = torch.randn(M, B, 4)
    advantage = valued(obs, weights)
    state = affine(hidden_of(obs, weights), weights, "state_value.linear").unsqueeze(-2)
    logits = state + advantage - advantage.mean(-2, keepdim=True)
    torch.testing.assert_close(found.returns(obs).log_probs, logits.log_softmax(-1))


def test_noisy_weights_of_a_dueling_network(tmp_path):
    weights = linear("hidden.0.linear", 4, 6) | noisy("hidden.1", 6, 5)
    weights |= noisy("advantage", 5, A) | noisy("state_value", 5, 1)
    found = value_policy(tmp_path, weights, {"kind": "Scalar"}, noisy=True, dueling=True)
    sizes = [6 + 5, 5 + A, 5 + 1]
    assert found.return_noise == sum(sizes)
    obs, noise = torch.randn(M, B, 4), torch.rand(M, B, sum(sizes))
    for given in (None, noise):
        second, third, fourth = [None] * 3 if given is None else given.split(sizes, -1)
        x = torch.relu(affine(obs, weights, "hidden.0.linear"))
        x = torch.relu(noised(x, weights, "hidden.1", second))
        advantage, state = noised(x, weights, "advantage", third), noised(x, weights, "state_value", fourth)
        expected = state + advantage - advantage.mean(-1, keepdim=True)
        torch.testing.assert_close(found.returns(obs, given).mean, expected, rtol=1e-4, atol=1e-5)


def at_levels(x, weights, tau):
    """Quantiles [M, B, A, K] of an implicit network at levels [M, B, K], level by level."""
    features, found = torch.relu(affine(x, weights, "hidden.0.linear")), []
    for level in tau.unbind(-1):
        cosines = torch.stack([torch.cos(math.pi * i * level) for i in range(8)], -1)
        each = features * torch.relu(affine(cosines, weights, "embedding.linear"))
        each = torch.relu(affine(each, weights, "hidden.1.linear"))
        found.append(affine(each, weights, "advantage.linear"))
    return torch.stack(found, -1)


def test_implicit_quantiles(tmp_path):
    weights = values_of(1) | linear("embedding.linear", 8, 6)
    head = {"kind": "Implicit", "count": 4, "cosines": 8, "kappa": 1.0}
    found = value_policy(tmp_path, weights, head)
    obs, tau = torch.randn(M, B, 4), torch.rand(M, B, 4)
    torch.testing.assert_close(found.returns(obs, tau).values, at_levels(obs, weights, tau))


def test_proposed_fractions(tmp_path):
    weights = values_of(1) | linear("embedding.linear", 8, 6) | linear("proposal.linear", 6, 4)
    head = {"kind": "Fractions", "count": 4, "cosines": 8, "kappa": 1.0}
    found, obs = value_policy(tmp_path, weights, head), torch.randn(M, B, 4)
    shares = affine(torch.relu(affine(obs, weights, "hidden.0.linear")), weights, "proposal.linear").softmax(-1)
    distribution, tau = found.returns(obs), shares.cumsum(-1) - shares / 2
    torch.testing.assert_close(distribution.weights, shares.unsqueeze(-2))
    torch.testing.assert_close(distribution.values, at_levels(obs, weights, tau))


def test_an_ensemble_and_its_prior(tmp_path):
    weights = values_of(4) | values_of(4, "prior.") | statistics(4)
    found = value_policy(tmp_path, weights, {"kind": "Ensemble", "count": 4, "prior": 2.5}, normalise=True)
    obs = 3 * torch.randn(M, B, 4)
    x = standardised(obs, weights)
    expected = valued(x, weights) + 2.5 * valued(x, weights, "prior.")
    torch.testing.assert_close(found.returns(obs).values, expected)


@pytest.mark.parametrize("prior", [0.0, 1.5])
def test_pixels(tmp_path, prior):
    weights = {}
    for part in ("", "prior.") if prior else ("",):
        weights |= convolution(f"{part}trunk.0", 2, 16) | linear(f"{part}hidden.0.linear", 16 * 4 * 4, 128)
        weights |= linear(f"{part}advantage.linear", 128, A * 4)
    head = {"kind": "Ensemble", "count": 4, "prior": prior}
    found, obs = value_policy(tmp_path, weights, head, PIXELS), torch.rand(M, B, 2, 6, 6)

    def estimates(part):
        x = torch.relu(affine(convolved(obs, weights, f"{part}trunk.0"), weights, f"{part}hidden.0.linear"))
        return affine(x, weights, f"{part}advantage.linear").unflatten(-1, (A, -1))

    expected = estimates("") + (prior * estimates("prior.") if prior else 0.0)
    torch.testing.assert_close(found.returns(obs).values, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["NetworkPolicy", "ValuePolicy", "RecurrentPolicy"])
def test_what_lacks_an_architecture_is_refused(tmp_path, kind):
    description = {"kind": kind, "env": None, "members": M, "observation": VECTOR, "action": CHOICES}
    for architecture in ({}, {"hidden": None}, {"hidden": [6, 5], "unknown": 1}):
        checkpoint.write(
            tmp_path, "policy", perceptron(A), {**description, "architecture": architecture, "custom_network": False}
        )
        with pytest.raises(ValueError, match=r"policy\.json"):
            imitate.load(tmp_path)


def test_a_kind_that_is_not_ours(tmp_path):
    checkpoint.write(tmp_path, "policy", perceptron(A), {"kind": "Oracle", "architecture": {}})
    with pytest.raises(ValueError, match=r"policy\.json is foreign: it holds a Oracle"):
        imitate.load(tmp_path)
