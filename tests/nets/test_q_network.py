"""Value networks against explicit constructions. Letters: M members, B batch, A actions."""

import json
import math

import numpy as np
import pytest
import torch

import imitate
from imitate.core.noise import Stream, normal
from imitate.distributions.returns import CategoricalReturn, ExpectedReturn, ExpectileReturn, QuantileReturn
from imitate.nets.noisy import NoisyLinear
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.return_heads import Atoms, Expectiles, Fractions, Implicit, Quantiles, Scalar
from imitate_envs.base import Box, Discrete

M, B, A = 3, 4, 2
OBS = Box((5,))
HEADS = [Scalar(), Atoms(11, 0, 10), Quantiles(7), Implicit(6, 8), Fractions(5, 8), Expectiles(7)]


def make(head=HEADS[0], members=M, **options):
    architecture = QArchitecture(hidden=(8, 6), head=head, **options)
    return QNetwork(OBS, Discrete(A), members, architecture, Stream(0, "init"), env="CartPole-v1")


@pytest.mark.parametrize("noisy", [False, True])
@pytest.mark.parametrize("dueling", [False, True])
@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_members_are_networks_of_their_own(head, dueling, noisy):
    policy = make(head, dueling=dueling, noisy=noisy)
    obs = torch.randn(M, B, 5)
    noise = torch.rand(M, B, policy.return_noise)
    for given in (None, noise):
        distribution = policy.returns(obs, given)
        assert isinstance(
            distribution,
            {Scalar: ExpectedReturn, Atoms: CategoricalReturn, Expectiles: ExpectileReturn}.get(
                type(head), QuantileReturn
            ),
        )
        assert distribution.mean.shape == (M, B, A)
        for m in range(M):
            alone = make(head, members=1, dueling=dueling, noisy=noisy)
            alone.load_state_dict({name: value[m : m + 1] for name, value in policy.state_dict().items()})
            part = None if given is None else given[m : m + 1]
            torch.testing.assert_close(
                alone.returns(obs[m : m + 1], part).mean, distribution.mean[m : m + 1], rtol=1e-4, atol=1e-5
            )
            # rows of a batch do not touch each other, noise included
            row = alone.returns(obs[m : m + 1, 1:2], None if part is None else part[:, 1:2])
            torch.testing.assert_close(row.mean[0, 0], distribution.mean[m, 1], rtol=1e-4, atol=1e-5)
    assert policy.return_noise == 0 or not torch.equal(policy.returns(obs, noise).mean, policy.returns(obs).mean)


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


@torch.no_grad()
@pytest.mark.parametrize("head", [h for h in HEADS if not isinstance(h, Implicit)], ids=lambda h: type(h).__name__)
def test_rows_may_share_the_noise_of_the_weights(head):
    policy = make(head, dueling=True, noisy=True)
    obs, noise = torch.randn(M, B, 5), torch.rand(M, 1, policy.return_noise)
    each = policy.returns(obs, noise.expand(M, B, -1)).mean
    torch.testing.assert_close(policy.returns(obs, noise).mean, each, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(each, policy.returns(obs).mean)


def test_dueling_takes_the_advantages_mean_off():
    policy = make(dueling=True)
    obs = torch.randn(M, B, 5)
    x = torch.relu(policy.head.hidden[0](torch.relu(policy.body.layers[0](obs)), None))
    value, advantage = policy.head.state_value(x, None), policy.head.advantage(x, None)
    torch.testing.assert_close(policy.returns(obs).mean, value + advantage - advantage.mean(-1, keepdim=True))
    torch.testing.assert_close(policy.returns(obs).mean.mean(-1, keepdim=True), value)


def test_implicit_levels_are_embedded_by_cosines():
    policy = make(Implicit(3, 8), members=1)
    obs, tau = torch.randn(1, 2, 5), torch.rand(1, 2, 3)
    found = policy.returns(obs, tau)
    assert torch.equal(found.tau, tau.unsqueeze(-2))
    psi = torch.relu(policy.body.layers[0](obs))
    for b in range(2):
        for k in range(3):
            cosines = torch.tensor([math.cos(math.pi * i * tau[0, b, k]) for i in range(8)])
            phi = torch.relu(policy.head.embedding.linear(cosines.reshape(1, 1, -1)))
            h = torch.relu(policy.head.hidden[0](psi[:, b : b + 1] * phi, None))
            expected = policy.head.advantage(h, None)[0, 0]
            torch.testing.assert_close(found.values[0, b, :, k], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_files(head, tmp_path):
    policy = make(head, dueling=True, noisy=True, normalise=True, temperature=0.3)
    policy.observe(torch.randn(M, 50, 5) * 3)
    policy.save(tmp_path)
    loaded = imitate.load(tmp_path)
    assert isinstance(loaded, QNetwork)
    assert loaded.architecture == policy.architecture
    obs = torch.randn(M, B, 5)
    assert torch.equal(loaded.returns(obs).mean, policy.returns(obs).mean)
    assert torch.equal(loaded.distribution(obs).logits, policy.returns(obs).mean / 0.3)
    action, _ = loaded.predict(np.zeros(5, np.float32), deterministic=True)
    assert action == policy.returns(torch.zeros(M, 1, 5)).mean[0, 0].argmax()


def test_bad_input():
    with pytest.raises(ValueError, match="action"):
        QNetwork(OBS, Box((1,), -1, 1), 1, QArchitecture(), Stream(0, "init"))
    with pytest.raises(ValueError, match="temperature"):
        make(temperature=0.0)
    with pytest.raises(ValueError, match="head"):
        make(Atoms(1))
    with pytest.raises(ValueError, match="head"):
        make(Atoms(5, 1.0, 0.0))
    with pytest.raises(ValueError, match="head"):
        make(Quantiles(0))


def test_noise_is_shared_by_the_levels_of_a_row():
    """The weights of a row are drawn once, whatever the number of levels: equal levels, equal returns."""
    policy = make(Implicit(4, 8), noisy=True, dueling=True)
    noise = torch.rand(M, B, policy.return_noise)
    noise[..., :4] = noise[..., :1]
    values = policy.returns(torch.randn(M, B, 5), noise).values
    torch.testing.assert_close(values, values[..., :1].expand_as(values))
    assert not torch.allclose(values[:, 0], values[:, 1])


def test_uniforms_are_counted():
    hidden, last = 8 + 6, 6 + A  # of the second hidden layer, of the last; the first is not noisy
    assert make().return_noise == 0
    assert make(noisy=True).return_noise == hidden + last
    assert make(noisy=True, dueling=True).return_noise == hidden + last + 6 + 1
    assert make(Implicit(5, 8)).return_noise == 5
    assert make(Implicit(5, 8), noisy=True).return_noise == 5 + hidden + last
    assert make(Atoms(11, 0, 1), noisy=True, dueling=True).return_noise == hidden + (6 + 11 * A) + (6 + 11)
    assert make(noisy=True).noise == 1


def test_noisy_weights_begin_as_the_paper_has_them():
    layer = NoisyLinear(2, 16, 3, init=Stream(0, "init"))
    for parameter in (layer.mean.weight, layer.mean.bias):
        assert 0.25 * 0.8 < parameter.abs().max() <= 0.25
        assert parameter.min() < 0 < parameter.max()
    torch.testing.assert_close(layer.sigma_weight, torch.full((2, 16, 3), 0.5 / 4))
    torch.testing.assert_close(layer.sigma_bias, torch.full((2, 1, 3), 0.5 / 4))


def test_without_noise_levels_are_midpoints():
    policy = make(Implicit(4, 8))
    obs = torch.randn(M, B, 5)
    midpoints = torch.tensor([0.125, 0.375, 0.625, 0.875])
    torch.testing.assert_close(policy.returns(obs).values, policy.returns(obs, midpoints.expand(M, B, 4)).values)
    assert policy.returns(obs).tau.shape == (M, B, 1, 4)
    fixed = make(Quantiles(4)).returns(obs)
    torch.testing.assert_close(fixed.tau, midpoints)
    assert fixed.values.shape == (M, B, A, 4)


def test_atoms_are_probabilities_on_the_support():
    distribution = make(Atoms(11, -5, 10)).returns(torch.randn(M, B, 5))
    assert distribution.log_probs.shape == (M, B, A, 11)
    torch.testing.assert_close(distribution.probs.sum(-1), torch.ones(M, B, A))
    torch.testing.assert_close(distribution.support, torch.linspace(-5, 10, 11))


def test_a_dueling_head_shares_the_value_among_the_parameters_of_a_distribution():
    for head in (Quantiles(7), Implicit(6, 8)):
        policy = make(head, dueling=True)
        obs = torch.randn(M, B, 5)
        before = policy.returns(obs).values
        shift = torch.arange(7.0) if isinstance(head, Quantiles) else torch.tensor([3.0])
        with torch.no_grad():  # an advantage that all actions have is none, in each parameter by itself
            policy.head.advantage.linear.bias.add_(shift.repeat(A))
        torch.testing.assert_close(policy.returns(obs).values, before, atol=1e-5, rtol=1e-5)
        with torch.no_grad():
            policy.head.state_value.linear.bias.add_(3.0)
        torch.testing.assert_close(policy.returns(obs).values, before + 3, atol=1e-5, rtol=1e-5)


def test_the_normaliser_stands_before_the_network():
    policy, plain = make(normalise=True), make()
    policy.observe(3 + 2 * torch.randn(M, 100, 5))
    obs = torch.randn(M, B, 5)
    mean, var = policy.body.normaliser.mean, policy.body.normaliser.var
    x = ((obs - mean) / (var + 1e-8).sqrt()).clamp(-10, 10)
    torch.testing.assert_close(policy.returns(obs).mean, plain.returns(x).mean)


def test_discrete_observations_are_one_hot():
    policy = QNetwork(Discrete(5), Discrete(A), M, QArchitecture(hidden=(8, 6)), Stream(0, "init"))
    state = torch.randint(5, (M, B))
    torch.testing.assert_close(policy.returns(state).mean, make().returns(torch.eye(5)[state]).mean)
    assert int(policy.predict(np.int64(3), deterministic=True)[0]) in (0, 1)


@pytest.mark.parametrize("head", HEADS, ids=lambda h: type(h).__name__)
def test_its_mode_is_greedy_and_its_draws_are_a_softmax(head):
    policy = make(head, noisy=True, temperature=0.5)
    obs = torch.randn(M, B, 5)
    mean = policy.returns(obs).mean
    distribution = policy.distribution(obs)
    assert torch.equal(distribution.mode, mean.argmax(-1))
    torch.testing.assert_close(distribution.probs, (mean / 0.5).softmax(-1))
    noise = torch.rand(M, B, 1)
    assert torch.equal(policy.act(obs, noise, None)[0], distribution.sample(noise))
    batch = obs[1].numpy()
    for m in range(M):
        action, _ = policy.predict(batch, deterministic=True, member=m)
        assert action.tolist() == policy.returns(obs[1:2].expand(M, -1, -1)).mean[m].argmax(-1).tolist()
    with pytest.raises(ValueError, match="observation"):
        policy.predict(np.zeros((2, 4), np.float32))


def test_files_that_do_not_fit(tmp_path):
    make(Quantiles(7)).save(tmp_path)
    document = json.loads((tmp_path / "policy.json").read_text())
    incomplete, unfit = "policy\\.json is incomplete", "the weights do not fit policy\\.json"
    for change, message in (({"count": 8}, unfit), ({"kind": "Nothing"}, incomplete), ({"wrong": 1}, incomplete)):
        broken = json.loads(json.dumps(document))
        broken["architecture"]["head"] |= change
        (tmp_path / "policy.json").write_text(json.dumps(broken))
        with pytest.raises(ValueError, match=message):
            imitate.load(tmp_path)


@pytest.mark.parametrize(
    ("observation", "change", "message"),
    [
        (OBS, {"hidden": ()}, "hidden"),
        (OBS, {"activation": "sigmoid"}, "'sigmoid' is none of"),
        (Discrete(3), {"normalise": True}, "normalise"),
        (OBS, {"head": Implicit(0)}, "head"),
        (OBS, {"head": Quantiles(3, kappa=0.0)}, "kappa"),
        (OBS, {"temperature": -1.0}, "temperature"),
    ],
)
def test_more_bad_input(observation, change, message):
    with pytest.raises(ValueError, match=message):
        QNetwork(observation, Discrete(2), 1, QArchitecture(**change), Stream(0, "init"))


@pytest.mark.parametrize("head", [Implicit(6, 8), Fractions(6, 8)])
def test_an_observation_of_zeros_has_a_distribution_that_is_no_point(head):
    """From the start, and every parameter behind the first product learns of it."""
    policy = make(head)
    distribution = policy.returns(torch.zeros(M, B, 5))
    values = distribution.network(torch.tensor([0.1, 0.9]))
    assert (values[..., 0] - values[..., 1]).abs().min() > 1e-5
    grads = torch.autograd.grad(values.square().sum(), list(policy.head.embedding.parameters()))
    assert all((grad.flatten(1).abs().sum(1) > 0).all() for grad in grads)


def test_shares_are_proposed_for_each_observation():
    """Softmax of a linear map of the first layer's features; a level is the middle of its share."""
    policy = make(Fractions(5, 8))
    with torch.no_grad():
        policy.head.proposal.linear.weight.mul_(100)  # they begin nearly equal
    obs = torch.randn(M, B, 5)
    distribution = policy.returns(obs)
    shares = torch.softmax(policy.head.proposal.linear(torch.relu(policy.body.layers[0](obs))), -1)
    torch.testing.assert_close(distribution.weights, shares.unsqueeze(-2))
    for at in np.ndindex(M, B):
        edge = 0.0
        for k in range(5):
            share = float(shares[at][k].detach())
            assert distribution.tau[at][0, k].item() == pytest.approx(edge + share / 2, abs=1e-5)
            edge += share
    assert not distribution.tau.requires_grad
    torch.testing.assert_close(distribution.values, distribution.network(distribution.tau))
    torch.testing.assert_close(distribution.mean, (distribution.values * shares.unsqueeze(-2)).sum(-1))
    fresh = make(Fractions(5, 8)).returns(obs).weights
    torch.testing.assert_close(fresh, torch.full_like(fresh, 0.2), atol=0.02, rtol=0)


def test_each_action_may_be_asked_at_levels_of_its_own():
    distribution = make(Implicit(6, 8), noisy=True).returns(
        torch.randn(M, B, 5), torch.rand(M, B, make(Implicit(6, 8), noisy=True).return_noise)
    )
    own = torch.rand(M, B, A, 3)
    found = distribution.quantile(own)
    for a in range(A):
        torch.testing.assert_close(found[:, :, a], distribution.quantile(own[:, :, a : a + 1])[:, :, a])
    torch.testing.assert_close(distribution.quantile(own[0, 0, 0])[..., :2], distribution.quantile(own[0, 0, 0, :2]))


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (Expectiles(4), "odd"),
        (Expectiles(1), "too few"),
        (Expectiles(5, 0.5), "edge"),
        (Fractions(1), "too few"),
        (Fractions(4, 0), "cosines"),
        (Implicit(4, 8, 0.0), "kappa"),
    ],
)
def test_heads_that_do_not_fit(head, message):
    with pytest.raises(ValueError, match=f"head: .*{message}"):
        make(head)
