"""Pruned weights and weights of eight bits. Letters: M members, I inputs, O outputs."""

import math

import pytest
import torch

import imitate
from imitate import nets
from imitate.core.learner import Learner
from imitate.core.noise import Stream
from imitate.nets import Actor, Architecture
from imitate.nets.compression import dequantised, int8_bytes, nonzero, prune, pruned_bytes, quantise
from imitate_envs.base import Box, Discrete

M = 2


def actor(**architecture):
    made = Actor(Box((3,)), Discrete(2), M, Architecture(**{"hidden": (5, 4), **architecture}), Stream(0, "init"))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def layers_of(made, member):
    return [p.detach()[member].flatten() for name, p in made.named_parameters() if name.endswith("weight")]


def weights_of(made, member):
    return torch.cat(layers_of(made, member))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_the_least_weights_of_each_layer_are_zero(share):
    whole = actor()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    made = prune(whole, share)
    for member in range(M):
        for one, other in zip(layers_of(whole, member), layers_of(made, member), strict=True):
            old, new = one.tolist(), other.tolist()
            gone = sorted(range(len(old)), key=lambda i: abs(old[i]))[: math.floor(share * len(old))]
            assert new == [0.0 if i in gone else old[i] for i in range(len(old))]
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters() if name.endswith("bias"))
    sizes = [3 * 5, 5 * 4, 4 * 2]
    assert nonzero(made) == whole.parameters_per_member - sum(math.floor(share * count) for count in sizes)
    assert pruned_bytes(made) == 4 * nonzero(made) + math.ceil(sum(sizes) / 8)


def learnt(made, steps=5):
    """After some steps of cloning; the log-likelihood moves every weight."""
    obs, action = torch.randn(M, 16, 3, generator=torch.Generator().manual_seed(0)), torch.arange(32).view(M, 16) % 2
    learner = Learner([made], lambda x: (-made.distribution(x[0]).log_prob(x[1]).mean(1), {}), lr=0.01, max_grad_norm=1)
    for _ in range(steps):
        learner((obs, action))
    return made


@pytest.mark.parametrize("options", [{}, {"activation": "gelu"}], ids=["written", "autograd"])
def test_pruned_weights_stay_zero_while_the_others_learn(options):
    made = prune(actor(**options), 0.5)
    before = [weights_of(made, member).clone() for member in range(M)]
    learnt(made)
    for member in range(M):
        after, zero = weights_of(made, member), before[member] == 0
        assert (after[zero] == 0).all() and zero.any()
        assert (after[~zero] != before[member][~zero]).float().mean() > 0.5  # others lead to units that lead nowhere
    assert not made.plain  # its gradient is not the one that is written out


def test_nothing_pruned_is_the_actor_itself():
    same = actor()
    mine, theirs = learnt(prune(same, 0.0)), learnt(same)
    assert all(torch.equal(a, b) for a, b in zip(mine.parameters(), theirs.parameters(), strict=True))


def test_quantised_weights_are_a_loop_over_outputs():
    weight = torch.randn(M, 6, 4)
    weight[0, :, 2] = 0
    whole, scale = quantise(weight)
    assert whole.dtype == torch.int8 and scale.shape == (M, 1, 4)
    for member in range(M):
        for output in range(4):
            column = weight[member, :, output].tolist()
            largest = max(map(abs, column))
            if largest == 0:
                assert not whole[member, :, output].any()
                continue
            assert scale[member, 0, output].item() == pytest.approx(largest / 127, rel=2**-23)
            for q, w in zip(whole[member, :, output].tolist(), column, strict=True):
                assert q == round(w / scale[member, 0, output].item())
                # Half a step, and what float32 makes of a quotient of up to 127.
                assert abs(w - q * largest / 127) <= (0.5 + 127 * 2**-23) * largest / 127
    assert set(whole.abs().amax(-2).flatten().tolist()) == {0, 127}


def test_eight_bits_are_told_by_eight_bits():
    """Quantised twice is quantised once: what is written of a dequantised actor is what is written of the first."""
    policy = actor()
    once = dequantised(policy)
    for first, second in zip(policy.body.layers, once.body.layers, strict=True):
        assert torch.equal(quantise(first.weight)[0], quantise(second.weight)[0])
        assert torch.equal(first.bias, second.bias)
        assert not torch.equal(first.weight, second.weight)
    assert int8_bytes(policy) == (15 + 20 + 8) + 4 * ((5 + 4 + 2) + (5 + 4 + 2))


def test_what_cannot_be_made_smaller_is_one_line():
    own = nets.policy(imitate.make("CartPole-v1", members=M), build=lambda: torch.nn.Linear(4, 2))
    for make in (lambda: prune(own, 0.5), lambda: dequantised(own)):
        with pytest.raises(ValueError, match=r"^actor: one around a network of your own cannot be rebuilt"):
            make()
    with pytest.raises(ValueError, match=r"^share: must be in \[0, 1\), not 1"):
        prune(actor(), 1.0)
    pixels = Actor(Box((2, 8, 8), 0, 255), Discrete(2), M, Architecture(hidden=(4,)), Stream(0, "init"))
    with pytest.raises(ValueError, match=r"^actor: convolutions are not quantised"):
        dequantised(pixels)
    assert nonzero(prune(pixels, 0.5)) < pixels.parameters_per_member
