import math

import numpy as np
import pytest
import torch
from torch import nn

from imitate.core.noise import Stream
from imitate.nets.convolution import Conv2d
from imitate.nets.layers import ACTIVATIONS, MLP, Linear, Population, RunningNorm
from tests.oracles import plain_mlp, stream

M, B = 3, 4
PLAIN = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}


def members_differ(module):
    assert all(not torch.equal(p[0], p[1]) for p in module.parameters() if p.any())


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("hidden", [(), (6,), (6, 5)])
def test_an_mlp_is_that_many_plain_ones(activation, hidden):
    module = MLP(M, 5, hidden, 2, activation=activation, init=stream())
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn(p.shape) * 0.1)  # biases that are not zero
    x = torch.randn(M, B, 5)
    out = module(x)
    assert out.shape == (M, B, 2)
    members_differ(module)
    for m in range(M):
        torch.testing.assert_close(out[m], plain_mlp(module, m, PLAIN[activation])(x[m]), rtol=1e-5, atol=1e-6)


def test_gradients_are_those_of_plain_networks():
    module = MLP(M, 5, (6,), 2, init=stream())
    x = torch.randn(M, B, 5)
    module(x).square().sum().backward()
    for m in range(M):
        plain = plain_mlp(module, m)
        plain(x[m]).square().sum().backward()
        for layer, mine in zip(plain[::2], module.layers, strict=True):
            torch.testing.assert_close(mine.weight.grad[m].T, layer.weight.grad, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(mine.bias.grad[m, 0], layer.bias.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (lambda: MLP(1, 5, (6,), 2, init=stream()), (5,)),
        (lambda: Conv2d(1, 2, 3, 3, 1, init=stream()), (2, 6, 6)),
        (lambda: Population(lambda: nn.Linear(5, 2), 1, Stream(0, "init")), (5,)),
        (
            lambda: Population(
                lambda: nn.Sequential(nn.Linear(5, 3), nn.Tanh(), nn.Linear(3, 2)), 1, Stream(0, "init")
            ),
            (5,),
        ),
    ],
)
def test_a_population_of_one_serves_any_number_of_members(module, shape):
    module, x = module(), torch.randn(M, B, *shape)
    out = module(x)
    for m in range(M):
        torch.testing.assert_close(out[m], module(x[m : m + 1])[0], rtol=1e-5, atol=1e-6)
    out.square().sum().backward()  # and it is trained by all of them
    assert all(p.grad.any() for p in module.parameters())


def test_a_population_of_two_does_not_serve_three():
    with pytest.raises(RuntimeError):
        MLP(2, 5, (6,), 2, init=stream())(torch.randn(3, B, 5))


def test_members_are_orthogonal_with_their_gain():
    weight = Linear(M, 8, 8, init=stream(), gain=0.5).weight
    for m in range(M):
        torch.testing.assert_close(weight[m] @ weight[m].T, 0.25 * torch.eye(8), rtol=0, atol=1e-5)
    last = MLP(M, 8, (16,), 3, init=stream(), last_gain=0.01).layers[-1]
    torch.testing.assert_close(last.weight.norm(dim=1), torch.full((M, 3), 0.01))
    assert not last.bias.any()


def test_initialisation_comes_from_its_stream_alone():
    before = torch.get_rng_state()
    a, b, c = (MLP(M, 5, (6,), 2, init=stream(s)) for s in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(a.layers[0].weight, b.layers[0].weight)
    assert not torch.equal(a.layers[0].weight, c.layers[0].weight)


# Running statistics


@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
def test_running_norm_is_the_mean_and_variance_of_all_that_was_seen(shape):
    norm = RunningNorm(M, shape)
    everything = []
    for size in (1, 7, 2, 64, 1, 300):
        scale = torch.tensor([1.0, 10.0, 0.01]).reshape(M, 1, *(1,) * len(shape))
        everything.append(scale * torch.randn(M, size, *shape) + 5 * scale)
        norm.update(everything[-1])
    x = torch.cat(everything, 1).double().numpy()
    np.testing.assert_allclose(norm.mean[:, 0], x.mean(1), rtol=1e-5)
    np.testing.assert_allclose(norm.var[:, 0], x.var(1), rtol=1e-4)
    assert norm.count.tolist() == [375] * M
    expected = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-8)
    np.testing.assert_allclose(norm(torch.cat(everything, 1)), expected.clip(-10, 10), rtol=1e-3, atol=1e-3)


def test_running_norm_is_the_identity_before_it_has_seen_anything_but_clips():
    x = torch.tensor([[[0.5, -3.0, 11.0]]])
    torch.testing.assert_close(RunningNorm(1, (3,))(x), torch.tensor([[[0.5, -3.0, 10.0]]]))
    torch.testing.assert_close(RunningNorm(1, (3,), clip=1.0)(x), torch.tensor([[[0.5, -1.0, 1.0]]]))


def test_running_norm_changes_in_update_only():
    norm = RunningNorm(1, (2,))
    norm.train()
    norm(torch.randn(1, 9, 2))
    assert norm.count.tolist() == [0]


@pytest.mark.parametrize("shape", [(), (2, 3)])
@pytest.mark.parametrize("constant", [0.0, 1e-7, 1e-3, 0.1, 1.0, 7.0, 21.3, -21.3, 255.0, 12345.678, 1e6, 3.3e7])
def test_a_drift_of_what_was_constant_stays_small(constant, shape):
    """However many batches, and however float32 rounds their mean: in units of the constant, or ones if it is small."""
    for batch, merges in ((16, 300), (20_000, 3)):
        norm = RunningNorm(1, shape)
        for _ in range(merges):
            norm.update(torch.full((1, batch, *shape), constant))
        size = max(1.0, abs(constant))
        for drift in (0.0, 1e-3, 1e-2):
            found = norm(torch.full((1, 1, *shape), constant + drift * size))
            # The mean may be wrong by the 16 roundings that a constant is told by.
            assert (found.abs() <= drift * 1.001 + 2**-19).all()


def test_what_hardly_varies_counts_as_a_ten_thousandth_of_its_mean():
    norm = RunningNorm(1, (1,))
    norm.update(torch.tensor([[[1000.0], [1000.01]]]))
    torch.testing.assert_close(norm(torch.tensor([[[1000.105]]])).item(), 1.0, rtol=1e-2, atol=0)


@pytest.mark.parametrize(
    ("mean", "spread"), [(0.0, 1e-4), (0.0, 1.0), (1e-4, 1e-5), (21.3, 0.1), (1e4, 2.0), (-1e6, 200.0), (255.0, 60.0)]
)
def test_whatever_varies_is_standardised_as_ever(mean, spread):
    x = mean + spread * torch.randn(2, 400, 3)
    norm = RunningNorm(2, (3,))
    norm.update(x[:, :150])
    norm.update(x[:, 150:])
    expected = ((x - norm.mean) * (norm.var + 1e-8).rsqrt()).clamp(-10, 10)
    assert torch.equal(norm(x), expected)


def test_a_constant_of_one_member_or_of_one_pixel_is_its_own():
    x = 5 * torch.randn(2, 100, 4, 4, generator=torch.Generator().manual_seed(0))
    x[0, :, 1, 2] = 0.0
    norm = RunningNorm(2, (4, 4))
    norm.update(x)
    new = x[:, :1] + 1e-3
    found = norm(new) - norm(x[:, :1])
    assert (found.abs() <= 1.01e-3).all()
    moved = norm.floor > norm.var
    assert moved.nonzero().tolist() == [[0, 0, 1, 2]]


def test_a_feature_that_begins_to_vary_is_standardised():
    norm = RunningNorm(1, (1,))
    norm.update(torch.full((1, 50, 1), 21.3))
    x = 21.3 + torch.randn(1, 50, 1)
    norm.update(x)
    assert (norm.floor < norm.var).all()


def test_statistics_from_elsewhere_have_no_floor():
    """A VecNormalize divides by √(var + 1e-8), however constant a feature was."""
    norm = RunningNorm(1, (2,))
    norm.mean.copy_(torch.tensor([[[21.3, 0.0]]])), norm.var.zero_()
    x = torch.tensor([[[21.3 + 1e-4, 1e-5]]])
    torch.testing.assert_close(norm(x), (x - norm.mean) / 1e-4, rtol=1e-6, atol=0)


def test_a_mask_leaves_out_what_does_not_count():
    generator = torch.Generator().manual_seed(0)
    x, mask = torch.randn(3, 40, 2, generator=generator), torch.rand(3, 40, generator=generator) < 0.6
    mask[2] = False
    x[~mask] = torch.nan
    masked = RunningNorm(3, (2,))
    for here in (slice(0, 15), slice(15, 40)):
        masked.update(x[:, here], mask[:, here])
    assert masked.count.tolist() == mask.sum(1).tolist()
    for m in range(2):
        alone = RunningNorm(1, (2,))
        alone.update(x[m : m + 1, mask[m]])
        for name in ("mean", "var"):
            torch.testing.assert_close(getattr(masked, name)[m], getattr(alone, name)[0])
    assert torch.equal(masked.mean[2], torch.zeros(1, 2))
    assert torch.equal(masked.var[2], torch.ones(1, 2))


@pytest.mark.parametrize("size", [1e-4, 1e3])
def test_the_first_batch_replaces_the_initial_statistics(size):
    norm = RunningNorm(1, (1,))
    x = size * torch.randn(1, 50, 1)
    norm.update(x)
    torch.testing.assert_close(norm.var[0, 0], x[0].var(0, correction=0))


def test_running_norm_still_learns_after_a_billion_observations():
    """The share of a new batch is then below what float32 resolves near 1."""
    norm = RunningNorm(1, (1,))
    norm.count.fill_(1e9)
    exact = {"mean": 0.0, "var": 1.0, "count": 1e9}
    for _ in range(200):
        norm.update(torch.tensor([[[3.0], [5.0]]]).expand(1, 2, 1).repeat(1, 500, 1))
        share = 1000 / (exact["count"] + 1000)
        delta = 4.0 - exact["mean"]
        exact["var"] = (1 - share) * exact["var"] + share * 1.0 + share * (1 - share) * delta**2
        exact["mean"] += share * delta
        exact["count"] += 1000
    assert norm.mean.item() == pytest.approx(exact["mean"], rel=1e-4)
    assert norm.var.item() - 1 == pytest.approx(exact["var"] - 1, rel=0.1)


def test_running_norm_takes_bytes():
    norm = RunningNorm(1, (2,))
    x = torch.randint(256, (1, 30, 2), dtype=torch.uint8)
    norm.update(x)
    torch.testing.assert_close(norm.mean[0, 0], x[0].float().mean(0))
    assert norm(x).dtype == torch.float32


def test_each_member_has_its_own_statistics():
    norm = RunningNorm(2, (1,))
    norm.update(torch.tensor([[[1.0], [3.0]], [[10.0], [30.0]]]))
    assert norm.mean.flatten().tolist() == [2, 20]
    assert norm.var.flatten().tolist() == [1, 100]


# A user's own modules


class Own(nn.Module):
    """A plain network with a buffer and a parameter of no layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(5, 6), nn.ReLU(), nn.Linear(6, 2))
        self.scale = nn.Parameter(torch.rand(()))
        self.register_buffer("shift", torch.randn(2))

    def forward(self, x):
        return self.scale * self.body(x) + self.shift


def test_a_population_is_its_copies():
    made = []

    def build():
        made.append(Own())
        return made[-1]

    population = Population(build, M, Stream(0, "init"))
    assert len(made) == M
    x = torch.randn(M, B, 5)
    out = population(x)
    assert len(list(population.parameters())) == 5
    assert len(list(population.buffers())) == 1
    assert all(len(p) == M for p in population.parameters())
    for m in range(1, M):  # the first serves as the prototype and gave its weights away
        torch.testing.assert_close(out[m], made[m](x[m]), rtol=1e-5, atol=1e-6)
    first = Own()
    first.load_state_dict({name.replace("/", "."): value[0] for name, value in population.state_dict().items()})
    torch.testing.assert_close(out[0], first(x[0]), rtol=1e-5, atol=1e-6)


def test_a_population_is_drawn_from_its_stream_alone():
    torch.manual_seed(5)
    one = Population(Own, M, Stream(0, "init"))
    after = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), after)  # the global generator is where it was
    again = Population(Own, M, Stream(0, "init"))
    for p, q in zip(one.parameters(), again.parameters(), strict=True):
        assert torch.equal(p, q)


def test_a_frozen_parameter_stays_frozen():
    def build():
        module = torch.nn.Linear(2, 2)
        module.bias.requires_grad_(False)
        return module

    assert sorted(p.requires_grad for p in Population(build, M, Stream(0, "init")).parameters()) == [False, True]


def test_a_population_is_saved_and_trained():
    population, other = Population(Own, M, Stream(0, "init")), Population(Own, M, Stream(1, "init"))
    x = torch.randn(M, B, 5)
    assert not torch.equal(population(x), other(x))
    other.load_state_dict(population.state_dict())
    assert torch.equal(population(x), other(x))
    population(x)[1].sum().backward()
    for p in population.parameters():
        assert p.grad[1].any()
        assert not p.grad[0].any()


def test_default_gain_is_that_of_a_rectifier():
    assert Linear(1, 9, 4, init=stream()).weight.norm(dim=1).mean().item() == pytest.approx(math.sqrt(2), rel=1e-5)
