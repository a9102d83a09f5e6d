"""Several estimates of a value against naive loops. Letters: M members, B batch, A actions, K estimates."""

import numpy as np
import pytest
import torch

import imitate
from imitate.core.noise import Stream
from imitate.distributions.returns import EnsembleReturn, ReturnDistribution
from imitate.nets.q_network import QArchitecture, QNetwork
from imitate.nets.return_heads import Ensemble
from imitate_envs.base import Box, Discrete

M, B, A, K = 2, 5, 3, 4
OBS = Box((6,))


def make(seed=0):
    return EnsembleReturn(torch.randn(M, B, A, K, generator=torch.Generator().manual_seed(seed)))


def network(head, observation=OBS, **options):
    architecture = QArchitecture(hidden=(8, 6), head=head, **options)
    return QNetwork(observation, Discrete(A), M, architecture, Stream(0, "init"), env="CartPole-v1")


def rows():
    return [(m, b) for m in range(M) for b in range(B)]


def test_estimates_are_equally_likely_values():
    distribution = make()
    assert isinstance(distribution, ReturnDistribution)
    values = distribution.values.numpy()
    np.testing.assert_allclose(distribution.mean.numpy(), values.mean(-1), rtol=1e-5, atol=1e-6)
    for x in (-1.0, 0.2, 9.0):
        np.testing.assert_allclose(distribution.cdf(torch.full((M, B, A), x)).numpy(), (values <= x).mean(-1))
    tau = torch.tensor([0.0, 0.1, 0.25, 0.26, 0.5, 0.74, 0.99])
    expected = np.quantile(values, tau.double().numpy(), axis=-1, method="inverted_cdf")
    np.testing.assert_array_equal(distribution.quantile(tau).numpy(), np.moveaxis(expected, 0, -1))
    drawn = distribution.sample(torch.rand(M, B, A, 8_000))
    np.testing.assert_allclose((drawn == distribution.values[..., :1]).double().mean(-1), 1 / K, atol=0.03)


def test_what_is_taken_and_what_follows():
    distribution, other = make(), make(1)
    action = torch.randint(A, (M, B), generator=torch.Generator().manual_seed(2))
    reward, discount = torch.randn(M, B), torch.rand(M, B)
    taken, own, moved = (
        distribution.take(action),
        distribution.greedy(other),
        distribution.take(action).bellman_backup(reward, discount),
    )
    for m, b in rows():
        for k in range(K):
            best = int(other.values[m, b, :, k].argmax())
            assert taken.values[m, b, k] == distribution.values[m, b, action[m, b], k]
            assert own.values[m, b, k] == distribution.values[m, b, best, k]
            expected = reward[m, b] + discount[m, b] * distribution.values[m, b, action[m, b], k]
            torch.testing.assert_close(moved.values[m, b, k], expected)
    with_disagreement = other.values.argmax(-2)
    assert (with_disagreement != with_disagreement[..., :1]).any()


def test_each_estimate_has_a_target_of_its_own():
    one, two = make().take(torch.zeros(M, B, dtype=torch.int64)), make(1).take(torch.ones(M, B, dtype=torch.int64))
    found = one.loss(two)
    for m, b in rows():
        sizes = [abs(float(x - y)) for x, y in zip(one.values[m, b], two.values[m, b], strict=True)]
        expected = sum(0.5 * e * e if e <= 1 else e - 0.5 for e in sizes) / K
        assert found[m, b].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("options", [{}, {"dueling": True}, {"normalise": True}])
def test_a_prior_is_added_and_never_learnt(options):
    policy = network(Ensemble(K, 2.5), **options)
    obs = 3 * torch.randn(M, B, 6)
    policy.observe(torch.randn(M, 50, 6) * 3 + 1)
    seen = obs if policy.body.normaliser is None else policy.body.normaliser(obs)
    x = torch.relu(policy.prior.head.hidden[0](torch.relu(policy.prior.body.layers[0](seen)), None))
    prior = policy.prior.head.advantage(x, None).unflatten(-1, (A, K))
    without = network(Ensemble(K), **options)
    state = {name: value for name, value in policy.state_dict().items() if not name.startswith("prior.")}
    without.load_state_dict(state)
    assert without.prior is None
    torch.testing.assert_close(policy.returns(obs).values, without.returns(obs).values + 2.5 * prior)
    assert not any(p.requires_grad for p in policy.prior.parameters())
    learnt = {id(p) for part in policy.estimators for p in part.parameters()}
    assert not learnt & {id(p) for p in policy.prior.parameters()}
    assert learnt == {id(p) for p in policy.parameters() if p.requires_grad}
    assert policy.parameters_per_member == without.parameters_per_member
    spread = prior.std(-1)
    assert (spread > 0).all()  # each estimate has a function of its own


def test_a_prior_for_images():
    policy = network(Ensemble(K, 1.0), Box((2, 10, 10), 0.0, 1.0))
    obs = torch.randint(2, (M, B, 2, 10, 10), dtype=torch.uint8)
    without = network(Ensemble(K), Box((2, 10, 10), 0.0, 1.0))
    state = {name: value for name, value in policy.state_dict().items() if not name.startswith("prior.")}
    without.load_state_dict(state)
    prior = policy.prior.returns(obs).values
    torch.testing.assert_close(policy.returns(obs).values, without.returns(obs).values + prior)
    assert prior.abs().max() > 0
    assert len(policy.prior.body.images) == 1


def test_files_hold_the_prior(tmp_path):
    policy = network(Ensemble(K, 2.0), dueling=True)
    policy.save(tmp_path)
    loaded = imitate.load(tmp_path)
    assert loaded.architecture == policy.architecture
    obs = torch.randn(M, B, 6)
    assert torch.equal(loaded.returns(obs).values, policy.returns(obs).values)


@pytest.mark.parametrize(("head", "message"), [(Ensemble(0), "too few"), (Ensemble(3, -1.0), "prior")])
def test_bad_numbers(head, message):
    with pytest.raises(ValueError, match=message):
        network(head)
