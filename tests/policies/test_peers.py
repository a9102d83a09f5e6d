"""Members that answer about what others see: against loops over members. Letters: M members, K of a circle."""

import pytest
import torch

from imitate import nets
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.distributions import mean_of
from imitate.distributions.actions import Categorical, MultiCategorical, Normal, TanhNormal
from imitate.losses import forward_kl
from imitate.policies import Ensemble, Peers, neighbours
from tests.oracles import Reach, Walk

M, B = 6, 5


def actors(env=None, members=M, **options):
    env = env or Walk()
    place = TensorSource(env, id=type(env).__name__, num_envs=2, members=members)
    made = nets.policy(place, (8,), seed=3, **options)
    with torch.no_grad():
        made.head.linear.weight.mul_(100)
    return made


def observations(members=M):
    return torch.randn(members, B, 2, generator=torch.Generator().manual_seed(1))


def test_neighbours_stay_in_their_circle():
    x = torch.arange(M)
    assert neighbours(x, 3).tolist() == [1, 2, 0, 4, 5, 3]
    assert neighbours({"a": x}, 2)["a"].tolist() == [1, 0, 3, 2, 5, 4]
    assert torch.equal(neighbours(neighbours(x, 3, 2), 3, -2), x)


@pytest.mark.parametrize("size", [2, 3, 6])
def test_peers_answer_at_what_a_member_sees(size):
    policy, obs = actors(), observations()
    found = Peers(policy, size).distribution(obs).probs
    for m in range(M):
        first = m - m % size
        others = [policy.member(j).distribution(obs[m : m + 1]).probs[0] for j in range(first, first + size) if j != m]
        # A mean of a few numbers below 1, through a logarithm and back: a few roundings of float32.
        torch.testing.assert_close(found[m], torch.stack(others).mean(0), rtol=1e-5, atol=1e-7)
    assert float((found - policy.distribution(obs).probs).detach().abs().max()) > 0.1


def test_an_ensemble_is_the_mean_of_its_members():
    policy, obs = actors(), observations(2)
    ensemble = Ensemble(policy)
    found = ensemble.distribution(obs).probs
    assert (ensemble.members, found.shape) == (1, (2, B, 3))
    for m in range(2):
        said = [policy.member(j).distribution(obs[m : m + 1]).probs[0] for j in range(M)]
        torch.testing.assert_close(found[m], torch.stack(said).mean(0), rtol=1e-5, atol=1e-7)
    action, memory, _ = ensemble.act(obs, None, None)
    assert memory is None and torch.equal(action, found.argmax(-1))
    assert str(ensemble.action) == str(policy.action)


def test_who_forms_no_circles():
    for size in (1, 4):
        with pytest.raises(ValueError, match=rf"^size: 6 members form no circles of {size}; take a divisor"):
            Peers(actors(), size)
    with pytest.raises(ValueError, match=r"^size: must be at least 1, not 0"):
        Peers(actors(), 0)
    for kind in (Peers, Ensemble):
        with pytest.raises(ValueError, match=r"^policy: it has a memory"):
            kind(actors(gru=3))


# The mean of distributions


def normals(kind):
    generator = torch.Generator().manual_seed(4)
    loc = torch.randn(4, B, 2, generator=generator, dtype=torch.float64)
    scale = torch.rand(4, B, 2, generator=generator, dtype=torch.float64) + 0.3
    if kind is Normal:
        return [Normal(m, s) for m, s in zip(loc, scale, strict=True)]
    bound = torch.ones(B, 2, dtype=torch.float64)
    return [TanhNormal(m, s, -bound, bound) for m, s in zip(loc, scale, strict=True)]


def categoricals(kind):
    generator = torch.Generator().manual_seed(5)
    logits = 3 * torch.randn(4, B, 3, generator=generator, dtype=torch.float64)
    others = torch.randn(4, B, 2, generator=generator, dtype=torch.float64)
    if kind is Categorical:
        return [Categorical(x) for x in logits]
    return [MultiCategorical((x, y)) for x, y in zip(logits, others, strict=True)]


KINDS = {Normal: normals, TanhNormal: normals, Categorical: categoricals, MultiCategorical: categoricals}


@pytest.mark.parametrize("kind", KINDS)
def test_a_student_learns_the_same_from_the_mean(kind):
    """The gradient of the mean of the divergences is that of the divergence from the mean."""
    *teachers, student = KINDS[kind](kind)
    leaves = []

    def leaf(x):
        leaves.append(x.clone().requires_grad_())
        return leaves[-1]

    student = tree.map(leaf, student)
    each = torch.stack([forward_kl(teacher, student) for teacher in teachers]).mean(0)
    together = forward_kl(mean_of(teachers), student)
    expected = torch.autograd.grad(each.sum(), leaves, allow_unused=True)
    found = torch.autograd.grad(together.sum(), leaves, allow_unused=True)
    for one, other in zip(found, expected, strict=True):
        if other is not None:  # the bounds of a squashed Gaussian say nothing
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert float((each - together).detach().abs().min()) > 1e-3  # the losses themselves differ


def test_choices_that_are_forbidden_stay_forbidden():
    masked = Categorical(torch.tensor([0.0, -torch.inf, 1.0]))
    found = mean_of([masked, Categorical(torch.tensor([2.0, -torch.inf, 0.0]))])
    assert found.probs[1] == 0 and found.kl(masked).isfinite()
    assert mean_of([masked]) is masked


def test_what_has_no_mean():
    with pytest.raises(ValueError, match=r"^several: of none"):
        mean_of([])
    with pytest.raises(ValueError, match=r"^several: must be of one kind, not Categorical, Normal"):
        mean_of([categoricals(Categorical)[0], normals(Normal)[0]])


def test_peers_of_continuous_actions_have_the_moments_of_the_mixture():
    policy, obs = actors(Reach()), observations()
    found = Peers(policy, 3).distribution(obs)
    said = [neighbours(policy.distribution(neighbours(obs, 3, -k)), 3, k) for k in (1, 2)]
    mean = (said[0].loc + said[1].loc) / 2
    torch.testing.assert_close(found.loc, mean)
    second = sum(one.loc.square() + one.scale.square() for one in said) / 2
    torch.testing.assert_close(found.scale.square(), second - mean.square(), rtol=1e-4, atol=1e-6)
