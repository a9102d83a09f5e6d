import math

import numpy as np
import pytest
import torch
import torch.distributions as td

from imitate.core import tree
from imitate.distributions.actions import Categorical, Normal, TanhNormal
from imitate.nets.action_heads import LOG_STD
from tests.oracles import stream

LOW, HIGH = torch.tensor([-1.0, -0.5], dtype=torch.float64), torch.tensor([3.0, 0.25], dtype=torch.float64)


def random(*shape, seed=0, low=-2.0, high=2.0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def categorical(seed=0, *shape):
    return Categorical(3 * random(*(shape or (5, 4)), seed=seed))


def normal(seed=0):
    return Normal(random(5, 2, seed=seed), random(5, 2, seed=seed + 1, low=0.2, high=2))


def squashed(seed=0, scale=None):
    loc = random(5, 2, seed=seed)
    scale = random(5, 2, seed=seed + 1, low=0.2, high=1.0) if scale is None else torch.full_like(loc, scale)
    return TanhNormal(loc, scale, LOW.expand_as(loc), HIGH.expand_as(loc))


def reference(d):
    if isinstance(d, Categorical):
        return td.Categorical(logits=d.logits)
    base = td.Normal(d.loc, d.scale)
    if isinstance(d, TanhNormal):
        affine = td.AffineTransform((d.low + d.high) / 2, (d.high - d.low) / 2)
        base = td.TransformedDistribution(base, [td.TanhTransform(cache_size=1), affine])
    return td.Independent(base, 1)


KINDS = {"categorical": categorical, "normal": normal, "squashed": squashed}


def grid(count):
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_is_torchs(kind):
    d = KINDS[kind]()
    action = reference(d).sample()
    torch.testing.assert_close(d.log_prob(action), reference(d).log_prob(action))
    assert d.log_prob(action).shape == (5,)


@pytest.mark.parametrize("kind", ["categorical", "normal"])
def test_entropy_and_kl_are_torchs(kind):
    p, q = KINDS[kind](0), KINDS[kind](5)
    torch.testing.assert_close(p.entropy(), reference(p).entropy())
    torch.testing.assert_close(p.kl(q), td.kl_divergence(reference(p), reference(q)))
    assert (p.kl(q) > 0).all()
    assert not torch.allclose(p.kl(q), q.kl(p))


@pytest.mark.parametrize("kind", KINDS)
def test_kl_from_itself_is_zero_and_so_is_its_gradient(kind):
    p = KINDS[kind]()
    name = "logits" if kind == "categorical" else "loc"
    q = tree.map(torch.clone, p)
    leaf = getattr(q, name).requires_grad_()
    torch.testing.assert_close(p.kl(q), torch.zeros(5, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(p.kl(q).sum(), leaf)
    torch.testing.assert_close(gradient, torch.zeros_like(gradient))


def nodes(dimension):
    """Nodes in the inside of one dimension of the box, dense near its ends, and their weights."""
    t = np.linspace(-12, 12, 40_001)
    half = float(HIGH[dimension] - LOW[dimension]) / 2
    unit = np.tanh(t)
    weights = half * (1 - unit**2) * (t[1] - t[0])
    keep = weights > 0
    return torch.tensor(float(LOW[dimension]) + half * (1 + unit))[keep], torch.tensor(weights)[keep]


@pytest.mark.parametrize("row", range(5))
@pytest.mark.parametrize("dimension", [0, 1])
def test_a_squashed_density_integrates_to_one_with_its_entropy_and_kl(row, dimension):
    """By numerical integration in the action's own units."""

    def one(d):
        return TanhNormal(*(getattr(d, n)[row, dimension].reshape(1, 1) for n in ("loc", "scale", "low", "high")))

    p, q = one(squashed(0)), one(squashed(5))
    action, weights = nodes(dimension)

    def log_density(d):
        expanded = tree.map(lambda x: x.expand(len(action), 1), d)
        return expanded.log_prob(action.unsqueeze(1))

    density = log_density(p).exp()
    assert float((density * weights).sum()) == pytest.approx(1, abs=1e-4)
    assert p.entropy().item() == pytest.approx(float(-(density * log_density(p) * weights).sum()), abs=2e-3)
    assert p.kl(q).item() == pytest.approx(
        float((density * (log_density(p) - log_density(q)) * weights).sum()), abs=2e-3
    )


LEAST, MOST = (math.exp(bound) for bound in LOG_STD)
LOCS = (-20.0, -9.0, -3.0, -1.0, -0.3, -1e-3, 0.0, 0.1, 0.7, 2.0, 4.5, 8.0, 20.0)


def unit_box(scale, dtype):
    """Squashed Gaussians [13, 1] in [-1, 1], of one scale and every loc."""
    loc = torch.tensor(LOCS, dtype=dtype).unsqueeze(1)
    low = -torch.ones_like(loc)
    return TanhNormal(loc.requires_grad_(), torch.full_like(loc, scale).detach().requires_grad_(), low, -low)


def log_slope(x):
    return 2 * (math.log(2) - x - torch.nn.functional.softplus(-2 * x))


@pytest.mark.parametrize("scale", [LEAST, 1e-4, 0.03, 0.3, 0.7499, 0.7501, 1.0, 1.7, 3.0, 4.0, MOST, 15.0])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 2e-5)])
def test_entropy_of_a_squashed_gaussian_by_its_width(scale, dtype, tolerance):
    """Against the trapezoidal rule, whose error is below 10⁻⁹ here, over all that a policy may have and beyond.

    Float32 rounds numbers up to 64, and so a dimension by some 10⁻⁶.
    """
    d = unit_box(scale, dtype)
    z = torch.linspace(-9, 9, 20_001, dtype=torch.float64)
    density = torch.exp(-0.5 * z.square())
    exact = (log_slope(d.loc.double() + d.scale.double() * z) * density).sum(-1) / density.sum()
    torch.testing.assert_close(d.entropy().double(), d.base.entropy().double() + exact, rtol=0, atol=tolerance)


@pytest.mark.parametrize("scale", [1e-3, 0.5, 1.0, 4.0, MOST])
def test_density_of_ones_own_samples_is_exact(scale):
    """However wide; also by the draw alone, when the sample has been rounded to a bound and stored."""
    d = unit_box(scale, torch.float32)
    noise = torch.linspace(0, 1 - 2**-24, 500).reshape(-1, 1, 1).expand(-1, len(LOCS), 1)
    action, draw = d.sample_and_draw(noise)
    x = draw.double()
    exact = td.Normal(d.loc.double(), d.scale.double()).log_prob(x) - log_slope(x)
    for found in (d.log_prob(action), d.log_prob_of_draw(draw), d.sample_and_log_prob(noise)[1]):
        # Of a rounded x the log-density is off by |z|/scale times its rounding, beside that of its own digits.
        error = 5.5 / scale * 2**-23 * x.abs() + 1e-5 * exact.abs() + 1e-4
        assert ((found.double() - exact[..., 0]).abs() <= error[..., 0]).all()
    assert (action.abs() == 1).any() == (scale > 0.9 or max(LOCS) + 5 * scale > 9)
    assert torch.equal(d.sample(noise), action)


@pytest.mark.parametrize("scale", [0.1, 1.0, 4.0, MOST])
def test_density_of_an_action_from_elsewhere_is_as_good_as_it_says(scale):
    d = unit_box(scale, torch.float32)
    x = torch.linspace(-12, 12, 4_001, dtype=torch.float64).reshape(-1, 1, 1)
    action = x.tanh().float().expand(-1, len(LOCS), 1)
    base = td.Normal(d.loc.double(), d.scale.double())
    exact = base.log_prob(x) - log_slope(x)
    off = (d.log_prob(action).double() - exact[..., 0]).abs()
    bound = 0.01 * ((x - d.loc).abs() / d.scale**2 + 2) + 0.5 * (0.01 / d.scale) ** 2 + 1e-4  # and of second order
    assert (off <= bound[..., 0])[x.flatten().abs() <= 6.9].all()
    edges = d.log_prob(torch.tensor([1 - 1e-6, 1.0, 1.5]).reshape(3, 1, 1).expand(-1, len(LOCS), 1))
    edge = d.log_prob_of_draw(torch.full_like(d.loc, 0.5 * math.log(1e6)))
    torch.testing.assert_close(edges, edge.expand(3, -1), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("scale", [LEAST, 1e-4, 0.5, 0.75, 1.0, MOST])
def test_gradients_of_a_squashed_gaussian_are_finite(scale):
    d = unit_box(scale, torch.float32)
    other = unit_box(MOST if scale < 1 else LEAST, torch.float32)
    noise = torch.tensor([0.0, 0.5, 1 - 2**-24]).reshape(-1, 1, 1).expand(-1, len(LOCS), 1)
    action = d.sample(noise).detach()
    found = {
        "own": d.log_prob_of_draw(d.sample_and_draw(noise)[1].detach()),
        "elsewhere": d.log_prob(torch.cat([action, 1.0 - action, torch.ones_like(action)])),
        "sampled": d.sample_and_log_prob(noise)[1],
        "action": d.sample(noise),
        "mode": d.mode,
        "entropy": d.entropy(),
        "kl": d.kl(other) + other.kl(d),
    }
    for name, value in found.items():
        assert value.isfinite().all(), name
        leaves = [d.loc] if name == "mode" else [d.loc, d.scale]
        assert all(g.isfinite().all() for g in torch.autograd.grad(value.sum(), leaves)), name


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.1, 0.7), (-3.3, 1e-3), (100.0, 100.7), (-1e6, 1e-6)])
def test_a_squashed_action_is_never_beyond_a_bound(low, high):
    loc = torch.linspace(-60, 60, 2_001).unsqueeze(1)
    d = TanhNormal(loc, torch.ones_like(loc), torch.full_like(loc, low), torch.full_like(loc, high))
    assert (d.mode >= d.low).all() and (d.mode <= d.high).all()
    assert (d.mode.diff(dim=0) >= 0).all()
    assert d.mode[0] == d.low[0] and d.mode[-1] == d.high[-1]


@pytest.mark.parametrize("loc", [-30.0, 0.0, 30.0])
def test_a_squashed_action_on_a_bound_has_a_finite_log_prob_and_gradient(loc):
    loc = torch.full((1, 2), loc, requires_grad=True)
    d = TanhNormal(loc, torch.ones(1, 2), LOW.float().expand(1, 2), HIGH.float().expand(1, 2))
    for action in (LOW, HIGH, d.mode.detach()[0], d.sample(torch.rand(1, 2)).detach()[0]):
        log_prob = d.log_prob(action.float().expand(1, 2))
        assert log_prob.isfinite().all()
        assert torch.autograd.grad(log_prob.sum(), loc, retain_graph=True)[0].isfinite().all()


def test_log_prob_recovers_a_squashed_sample_in_float32():
    d = tree.map(torch.Tensor.float, squashed())
    noise = stream().uniform(5, 2)
    x = d.base.sample(noise)
    exact = td.Normal(d.loc.double(), d.scale.double()).log_prob(x.double()) - (
        2 * (math.log(2) - x.double() - torch.nn.functional.softplus(-2 * x.double())) + ((HIGH - LOW) / 2).log()
    )
    torch.testing.assert_close(d.log_prob(d.sample(noise).clone()).double(), exact.sum(-1), rtol=1e-3, atol=1e-3)


def test_categorical_frequencies():
    d = Categorical(random(4, seed=3).expand(1000, 4))
    counts = d.sample(grid(1000).unsqueeze(-1)).bincount(minlength=4)
    torch.testing.assert_close(counts.double() / 1000, d.probs[0], atol=1.1e-3, rtol=0)
    torch.testing.assert_close(d.probs.sum(-1), torch.ones(1000, dtype=torch.float64))


@pytest.mark.parametrize("kind", ["normal", "squashed"])
def test_moments_of_samples_are_those_of_the_density(kind):
    """One uniform a dimension: over an even grid of uniforms the sample mean and variance are exact up to the grid."""
    d = KINDS[kind]()
    one = tree.map(lambda x: x[:1].expand(4000, 2), d)
    noise = torch.stack([grid(4000), grid(4000).flip(0)], -1)
    drawn = one.sample(noise)
    if kind == "normal":
        torch.testing.assert_close(drawn.mean(0), d.loc[0], atol=1e-3, rtol=0)
        torch.testing.assert_close(drawn.std(0), d.scale[0], atol=3e-3, rtol=0)
    else:
        for i in range(2):
            action, weights = nodes(i)
            single = TanhNormal(
                *(getattr(d, n)[:1, i : i + 1].expand(len(action), 1) for n in ("loc", "scale", "low", "high"))
            )
            mass = single.log_prob(action.unsqueeze(1)).exp() * weights
            assert float(drawn[:, i].mean()) == pytest.approx(float((mass * action).sum()), abs=1e-3)
            assert float((drawn[:, i] ** 2).mean()) == pytest.approx(float((mass * action**2).sum()), abs=3e-3)
        assert (drawn >= LOW).all()
        assert (drawn <= HIGH).all()
    assert float(torch.corrcoef(drawn.T)[0, 1]) < -0.8  # each dimension from its own uniform


@pytest.mark.parametrize("kind", KINDS)
def test_samples_increase_with_their_uniform_and_the_mode_is_the_middle(kind):
    d = KINDS[kind]()
    if kind == "categorical":
        assert torch.equal(d.mode, d.probs.argmax(-1))
        return
    low, middle, high = (d.sample(torch.full((5, 2), u, dtype=torch.float64)) for u in (0.2, 0.5, 0.8))
    assert (low < middle).all()
    assert (middle < high).all()
    torch.testing.assert_close(d.mode, middle)


def test_mode_of_a_categorical_maximises_log_prob():
    d = categorical()
    every = torch.stack([d.log_prob(torch.full((5,), a)) for a in range(4)])
    assert torch.equal(d.mode, every.argmax(0))
    torch.testing.assert_close(every.exp().sum(0), torch.ones(5, dtype=torch.float64))


def test_gradient_of_log_prob_is_onehot_minus_p():
    logits = random(6, 4).requires_grad_()
    action = torch.tensor([0, 1, 2, 3, 0, 1])
    (gradient,) = torch.autograd.grad(Categorical(logits).log_prob(action).sum(), logits)
    torch.testing.assert_close(gradient, torch.nn.functional.one_hot(action, 4) - logits.softmax(-1).detach())


def test_large_logits_are_stable():
    d = Categorical(torch.tensor([[1e4, 0.0, -1e4]]))
    assert d.log_prob(torch.tensor([2])).item() == -2e4
    assert d.entropy().item() == 0
    assert d.kl(Categorical(torch.zeros(1, 3))).item() == pytest.approx(math.log(3), rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_certain(dtype):
    choice = torch.tensor([[0, 2], [1, 2]], dtype=dtype)
    certain = Categorical.certain(choice, 3)
    assert certain.logits.shape == (2, 2, 3)
    assert torch.equal(certain.mode, choice.long())
    assert (certain.entropy() < 1e-10).all()
    torch.testing.assert_close(certain.log_prob((choice.long() + 1) % 3), torch.full((2, 2), -30.0))
    student = Categorical(torch.randn(2, 2, 3, requires_grad=True))
    # against a certain teacher KL is the negative log-likelihood of its choice
    torch.testing.assert_close(certain.kl(student), -student.log_prob(choice.long()))
    for divergence in (
        certain.kl(student),
        student.kl(certain),
        certain.kl(Categorical.certain((choice + 1) % 3, 3)),
    ):
        assert divergence.isfinite().all()
        assert (divergence >= 0).all()
    (gradient,) = torch.autograd.grad(student.kl(certain).sum(), student.logits)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_distributions_are_trees(kind):
    d = KINDS[kind]()
    picked = tree.map(lambda x: x[[3, 1]], d)
    assert type(picked) is type(d)
    torch.testing.assert_close(picked.entropy(), d.entropy()[[3, 1]])
