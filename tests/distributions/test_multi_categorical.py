"""Several choices at once against torch's, and draws with their log-probabilities, of every distribution."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.distributions as td
from torch.nn.functional import softplus

from imitate.core import tree
from imitate.distributions.actions import Categorical, MultiCategorical, Normal, TanhNormal
from imitate.losses.distillation import cross_entropy, forward_kl, mse, reverse_kl

COUNTS = (3, 2, 4)
LOW, HIGH = torch.tensor([-1.0, 100.0], dtype=torch.float64), torch.tensor([3.0, 200.0], dtype=torch.float64)


def random(*shape, seed=0, low=-2.0, high=2.0):
    generator = torch.Generator().manual_seed(seed)
    return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)


def multi(seed=0, rows=6):
    return MultiCategorical(tuple(random(rows, n, seed=seed + i) for i, n in enumerate(COUNTS)))


def every_choice():
    return torch.cartesian_prod(*(torch.arange(n) for n in COUNTS))


def torchs(d):
    return [td.Categorical(logits=logits) for logits in d.logits]


def test_log_prob_is_the_sum_of_torchs():
    d = multi()
    for choice in every_choice():
        action = choice.expand(6, 3)
        expected = sum(one.log_prob(action[:, k]) for k, one in enumerate(torchs(d)))
        torch.testing.assert_close(d.log_prob(action), expected)
    total = torch.stack([d.log_prob(choice.expand(6, 3)).exp() for choice in every_choice()]).sum(0)
    torch.testing.assert_close(total, torch.ones(6, dtype=torch.float64))


def test_entropy_and_kl_are_those_of_the_whole_table():
    """By all 24 joint choices, not place by place."""
    p, q = multi(0), multi(10)
    log_p, log_q = (torch.stack([d.log_prob(c.expand(6, 3)) for c in every_choice()]) for d in (p, q))
    torch.testing.assert_close(p.entropy(), -(log_p.exp() * log_p).sum(0))
    torch.testing.assert_close(p.kl(q), (log_p.exp() * (log_p - log_q)).sum(0))
    torch.testing.assert_close(p.entropy(), sum(one.entropy() for one in torchs(p)))
    assert (p.kl(q) > 0).all() and not torch.allclose(p.kl(q), q.kl(p))


def test_the_mode_maximises_log_prob():
    d = multi()
    every = torch.stack([d.log_prob(choice.expand(6, 3)) for choice in every_choice()])
    assert torch.equal(d.mode, every_choice()[every.argmax(0)])


def test_each_place_is_drawn_by_a_uniform_of_its_own():
    """Over a grid of uniforms frequencies are probabilities, and places are independent."""
    side = 30
    axis = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    grid = torch.cartesian_prod(axis, axis, axis)
    d = tree.map(lambda logits: logits[:1].expand(len(grid), -1), multi(3))
    drawn = d.sample(grid)
    assert drawn.shape == (side**3, 3) and drawn.dtype == torch.int64
    for choice in every_choice():
        share = (drawn == choice).all(-1).double().mean()
        # A place's frequency is off by 1/30 at most, that of a product of three by the sum.
        assert abs(share - d.log_prob(choice.expand(len(grid), 3))[0].exp()) < 3 / side
    marginal = [drawn[:, k].bincount(minlength=n) / side**3 for k, n in enumerate(COUNTS)]
    for found, logits in zip(marginal, d.logits, strict=True):
        torch.testing.assert_close(found.double(), logits[0].softmax(-1), rtol=0, atol=1 / side)


def test_a_mask_forbids_for_good():
    d = multi()
    logits = d.logits[2].clone()
    logits[:, [0, 3]] = -torch.inf
    leaf = logits.requires_grad_()
    masked = MultiCategorical((d.logits[0], d.logits[1], leaf))
    for u in (0.0, 0.3, 1 - 2**-24):
        assert set(masked.sample(torch.full((6, 3), u, dtype=torch.float64))[:, 2].tolist()) <= {1, 2}
    assert set(masked.mode[:, 2].tolist()) <= {1, 2}
    two = torch.distributions.Categorical(logits=logits[:, 1:3].detach())
    expected = sum(one.entropy() for one in torchs(d)[:2]) + two.entropy()
    torch.testing.assert_close(masked.entropy(), expected)
    torch.testing.assert_close(masked.kl(masked), torch.zeros(6, dtype=torch.float64))
    assert masked.log_prob(torch.tensor([0, 0, 3]).expand(6, 3)).tolist() == [-math.inf] * 6
    for scalar in (masked.entropy(), masked.kl(multi(4)), masked.log_prob(masked.mode)):
        (grad,) = torch.autograd.grad(scalar.sum(), leaf, retain_graph=True)
        assert grad.isfinite().all() and not grad[:, [0, 3]].any()


def test_one_place_is_a_categorical():
    logits = random(5, 4)
    one, plain = MultiCategorical((logits,)), Categorical(logits)
    noise = random(5, 1, seed=1, low=0, high=1)
    assert torch.equal(one.sample(noise).squeeze(-1), plain.sample(noise))
    for name in ("entropy",):
        assert torch.equal(getattr(one, name)(), getattr(plain, name)())
    assert torch.equal(one.log_prob(plain.mode.unsqueeze(-1)), plain.log_prob(plain.mode))


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, cross_entropy, mse])
def test_distillation_of_several_choices_is_the_sum_over_places(loss):
    teacher, student = multi(0), multi(20)
    found = loss(teacher, student, 2.0)
    expected = sum(loss(t, s, 2.0) for t, s in zip(teacher.parts, student.parts, strict=True))
    torch.testing.assert_close(found, expected)
    assert (found > 0).all()


def test_it_is_a_tree():
    d = multi()
    picked = tree.map(lambda x: x[[3, 1]], d)
    assert isinstance(picked, MultiCategorical)
    torch.testing.assert_close(picked.entropy(), d.entropy()[[3, 1]])
    assert len(tree.leaves(d)) == 3


# Draws and their log-probabilities


def normal(scale=None):
    loc = random(6, 2)
    return Normal(loc, random(6, 2, seed=1, low=0.2, high=2.0) if scale is None else torch.full_like(loc, scale))


def squashed(scale=None):
    base = normal(scale)
    return TanhNormal(base.loc, base.scale, LOW.expand(6, 2), HIGH.expand(6, 2))


def reference(d):
    if isinstance(d, Categorical):
        return td.Categorical(logits=d.logits)
    base = td.Normal(d.loc, d.scale)
    if isinstance(d, TanhNormal):
        affine = td.AffineTransform((d.low + d.high) / 2, (d.high - d.low) / 2)
        base = td.TransformedDistribution(base, [td.TanhTransform(cache_size=1), affine])
    return td.Independent(base, 1)


@pytest.mark.parametrize(
    ("build", "width"),
    [(lambda: Categorical(random(6, 4)), 1), (multi, 3), (normal, 2), (lambda: squashed(0.7), 2)],
    ids=["categorical", "several", "normal", "squashed"],
)
def test_a_draw_with_its_log_probability(build, width):
    """The draw is that of `sample`, its log-probability torch's at it."""
    d, noise = build(), random(6, width, seed=7, low=0.01, high=0.99)
    action, log_prob = d.sample_and_log_prob(noise)
    assert torch.equal(action, d.sample(noise)) and log_prob.shape == (6,)
    if isinstance(d, MultiCategorical):
        expected = sum(one.log_prob(action[:, k]) for k, one in enumerate(torchs(d)))
    else:
        expected = reference(d).log_prob(action)
    torch.testing.assert_close(log_prob, expected)


@pytest.mark.parametrize("kind", [normal, squashed])
def test_gradients_flow_through_draw_and_log_probability(kind):
    """As those of torch's rsample and its log_prob, both with respect to location and scale."""
    ours, theirs = kind(0.7), kind(0.7)
    noise = random(6, 2, seed=8, low=0.05, high=0.95)
    parts = []
    for d in (ours, theirs):
        object.__setattr__(d, "loc", d.loc.clone().requires_grad_())
        object.__setattr__(d, "scale", d.scale.clone().requires_grad_())
    action, log_prob = ours.sample_and_log_prob(noise)
    z = td.Normal(0.0, 1.0).icdf(noise)
    x = theirs.loc + theirs.scale * z
    again = x if isinstance(theirs, Normal) else (LOW + HIGH) / 2 + (HIGH - LOW) / 2 * x.tanh()
    expected = reference(theirs).log_prob(again)
    for d, a, lp in ((ours, action, log_prob), (theirs, again, expected)):
        parts.append(torch.autograd.grad((a.sin().sum(-1) + lp).sum(), [d.loc, d.scale]))
    for mine, wanted in zip(*parts, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-7, atol=1e-7)


def exact(loc, scale, x):
    """Log-density of a squashed Gaussian at the squash of x, in float64."""
    slope = 2 * (math.log(2) - x - softplus(-2 * x)) + ((HIGH - LOW) / 2).log()
    return (-0.5 * ((x - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi) - slope).sum(-1)


@pytest.mark.parametrize("scale", [0.5, 1.0, 4.0, math.e**2])
def test_a_wide_squashed_gaussian_knows_the_density_of_its_own_draws(scale):
    """In float32 an action does not tell how near to a bound it was drawn; the draw does (torchrl issue 2199)."""
    rows = 4000
    noise = torch.rand(rows, 2)
    loc = torch.tensor([[0.5, -1.0]]).expand(rows, 2)
    d = TanhNormal(loc, torch.full((rows, 2), scale), LOW.float().expand(rows, 2), HIGH.float().expand(rows, 2))
    action, log_prob = d.sample_and_log_prob(noise)
    # The float32 draw before the tanh, in float64 from there on.
    x = d.base.sample(noise).double()
    expected = exact(loc.double(), d.scale.double(), x)
    # (x − loc)/scale is off by 2⁻²⁴·|x|/scale, so its half square by that times |z| ≤ 5.42; slopes are near 2x.
    bound = 2**-23 * (x.abs() * (2 + 5.42 / scale) + 40).sum(-1)
    assert ((log_prob.double() - expected).abs() <= bound).all()
    assert (action >= LOW.float()).all() and (action <= HIGH.float()).all()
    if scale >= 4:
        other = TanhNormal(loc, d.scale, LOW.float().expand(rows, 2), HIGH.float().expand(rows, 2))
        by_action = (other.log_prob(action).double() - expected).abs()
        assert by_action.mean() > 0.1  # why it is needed: what the action says is far off
    # −E log π is the entropy; its mean over the draws has a standard error of .03 nats, and of .2 at the largest width.
    assert abs(float(-expected.mean() - d.entropy().double().mean())) < (0.8 if scale > 4 else 0.15)


def test_certain_choices_and_numpy():
    """Logits of 10⁴ are no trouble."""
    d = MultiCategorical((torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, -1e4, 1.0]])))
    assert d.mode.tolist() == [[0, 2]] and np.isfinite(float(d.entropy()))
    assert float(d.log_prob(torch.tensor([[1, 1]]))) == pytest.approx(-2e4, rel=1e-3)
