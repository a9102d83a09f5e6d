import math

import numpy as np
import pytest
import scipy.stats
import torch

from imitate.core.noise import Stream, bernoulli, categorical, integers, normal

LAST = 1 - 2**-24  # the largest float32 below 1, and the largest uniform


def test_a_stream_repeats_itself():
    a, b = Stream(3, "env"), Stream(3, "env")
    assert torch.equal(a.uniform(4, 5), b.uniform(4, 5))
    assert torch.equal(a.uniform(7), b.uniform(7))
    assert not torch.equal(a.uniform(7), Stream(3, "env").uniform(7))


def test_streams_of_other_seeds_and_names_are_unrelated():
    drawn = torch.stack([Stream(s, n).uniform(4000) for s in (-1, 0, 1) for n in ("env", "policy", "shuffle")])
    correlation = torch.corrcoef(drawn) - torch.eye(len(drawn))
    assert correlation.abs().max() < 5 / math.sqrt(4000)


def test_streams_neither_read_nor_move_the_global_generator():
    before = torch.get_rng_state()
    first = Stream(0, "env").uniform(5)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(Stream(0, "env").uniform(5), first)


def test_a_width_of_zero_draws_nothing():
    a, b = Stream(0, "env"), Stream(0, "env")
    assert a.uniform(3, 0).shape == (3, 0)
    assert torch.equal(a.uniform(5), b.uniform(5))


def test_a_restored_stream_goes_on_in_place():
    stream = Stream(0, "env")
    stream.uniform(3)
    state = {"state": stream.state_dict()["state"].clone()}
    expected = stream.uniform(5)
    other = Stream(1, "policy")
    other.load_state_dict(state)
    assert torch.equal(other.uniform(5), expected)


def test_streams_of_one_run_do_not_collide():
    """torch's CPU generator takes 32 bits of a seed: a thousand streams must still all differ."""
    firsts = {float(Stream(s, n).uniform(1, 4).double().sum()) for s in range(250) for n in ("a", "b", "c", "d")}
    assert len(firsts) == 1000


def grid(count):
    """Uniforms in the middle of `count` equal cells."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


def test_categorical_inverts_the_cdf():
    logits = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log() + 7
    drawn = categorical(logits.expand(1000, 4), grid(1000))
    assert drawn.dtype == torch.int64
    assert torch.equal(drawn, drawn.sort().values)
    assert drawn.bincount().tolist() == [100, 200, 300, 400]


def test_categorical_frequencies():
    probs = torch.tensor([0.05, 0.5, 0.15, 0.3])
    counts = categorical(probs.log().expand(20_000, 4), Stream(0, "policy").uniform(20_000)).bincount(minlength=4)
    assert (
        scipy.stats.chisquare(counts.numpy(), 20_000 * probs.double().numpy() / probs.double().sum().item()).pvalue
        > 0.01
    )


@pytest.mark.parametrize("impossible", [-math.inf, -300.0])
@pytest.mark.parametrize("uniform", [0.0, 2.0**-24, 0.5, LAST])
def test_categorical_never_draws_a_choice_of_probability_zero(impossible, uniform, generator):
    """Neither the first at u = 0, nor the last where rounding leaves the sum below 1, nor one in the middle."""
    logits = 3 * torch.randn(5000, 9, generator=generator)
    logits[:, [0, 4, 8]] = impossible
    drawn = categorical(logits, torch.full((5000,), uniform))
    assert not torch.isin(drawn, torch.tensor([0, 4, 8])).any()


@pytest.mark.parametrize("uniform", [0.0, LAST])
def test_categorical_at_the_ends_takes_the_ends(uniform):
    assert categorical(torch.zeros(6), torch.tensor(uniform)) == (0 if uniform == 0 else 5)


def test_categorical_has_any_leading_shape(generator):
    logits, uniform = torch.randn(2, 3, 4, 5, generator=generator), torch.rand(2, 3, 4, generator=generator)
    drawn = categorical(logits, uniform)
    for index in np.ndindex(2, 3, 4):
        assert drawn[index] == categorical(logits[index], uniform[index])


def test_normal_is_the_quantile_function():
    uniform = torch.cat([torch.tensor([2.0**-24, LAST]), Stream(0, "policy").uniform(1000)])
    np.testing.assert_allclose(normal(uniform), scipy.stats.norm.ppf(uniform.double()), rtol=2e-5, atol=2e-6)


def test_normal_is_never_infinite():
    z = normal(torch.tensor([0.0, 2.0**-30, LAST]))
    assert z.isfinite().all()
    assert z[0] == z[1]
    assert 5 < -z[0] < 5.5
    assert 5 < z[2] < 5.5


def test_normal_moments():
    z = normal(grid(100_000))
    assert abs(z.mean()) < 1e-6
    assert abs(z.var() - 1) < 1e-3


def test_bernoulli_at_its_ends_and_between():
    uniform = torch.tensor([0.0, 0.3, LAST])
    assert bernoulli(0.0, uniform).tolist() == [False, False, False]
    assert bernoulli(1.0, uniform).tolist() == [True, True, True]
    assert bernoulli(torch.tensor([0.1, 0.3, 0.99]), uniform).tolist() == [True, False, False]


@pytest.mark.parametrize("bound", [1, 2, 7, 100_000, 2**24, 2**31])
def test_integers_stay_below_their_bound(bound):
    drawn = integers(bound, torch.tensor([0.0, LAST]))
    assert drawn.dtype == torch.int64
    assert drawn[0] == 0
    assert bound * LAST - 1 < int(drawn[1]) < bound


def first_of_each(bound, bits):
    """The first uniform of so many bits, as a whole number, that belongs to each integer below a bound."""
    return torch.tensor([-(-(i * 2**bits) // bound) for i in range(1, bound)])


def test_every_integer_has_as_many_uniforms_as_any_other():
    """`integers` rises with its uniform: where it goes from one number to the next tells how many each of them has.

    By 24 bits some of a million have 6 % more than others, and some of ten million twice as many; by 53 bits none has.
    """
    bound = 1_000_003
    few = first_of_each(bound, 24)
    assert torch.equal(integers(bound, few.double() * 2.0**-24), torch.arange(1, bound))
    assert torch.equal(integers(bound, (few - 1).double() * 2.0**-24), torch.arange(bound - 1))
    assert set(few.diff().tolist()) == {16, 17}
    many = first_of_each(bound, 53)
    # The product is rounded to 2⁻³³, which is the step of the uniforms: one to either side.
    assert torch.equal(integers(bound, (many + 1).double() * 2.0**-53), torch.arange(1, bound))
    assert torch.equal(integers(bound, (many - 2).double() * 2.0**-53), torch.arange(bound - 1))
    assert (many.diff().double() * bound / 2**53 - 1).abs().max() + 4 * bound / 2**53 < 1e-9


def test_a_stream_draws_integers_by_53_bits():
    uniform = Stream(0, "replay").uniform(4_000, dtype=torch.float64)
    low = integers(2**53, uniform) % 64  # what 24 bits would leave at 0
    assert scipy.stats.chisquare(low.bincount(minlength=64).numpy()).pvalue > 0.001


def test_integers_are_uniform_and_take_a_bound_each():
    assert integers(4, grid(400)).bincount().tolist() == [100] * 4
    assert integers(torch.tensor([[2], [10]]), torch.tensor([[0.6], [0.6]])).tolist() == [[1], [6]]


def test_integers_are_the_exact_product_rounded_down():
    """In float32 the product would round up to the next integer now and then."""
    uniform = torch.cat([Stream(0, "replay").uniform(2000), torch.arange(1, 7) / 7])
    for bound in (7, 1_000_003):
        expected = [int(u * bound) for u in uniform.double().tolist()]
        assert integers(bound, uniform).tolist() == expected
