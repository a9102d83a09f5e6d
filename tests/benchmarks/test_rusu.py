"""The losses of Rusu et al. (2016) against sums over actions, and sizes that are what they are called."""

import math

import pytest
import torch

import imitate
from benchmarks import rusu
from imitate.distributions.actions import Categorical


def test_losses_are_sums_over_actions():
    q, own = 2 * torch.randn(5, 3), torch.randn(5, 3)
    found = {name: loss(Categorical(q), Categorical(own), 0.5) for name, loss in rusu.LOSSES.items()}
    for i in range(5):
        values, logits = q[i].tolist(), own[i].tolist()
        total = math.log(sum(map(math.exp, logits)))
        logs = [z - total for z in logits]
        sharp = [math.exp(z / 0.5) / sum(math.exp(y / 0.5) for y in values) for z in values]
        assert found["NLL"][i].item() == pytest.approx(-logs[values.index(max(values))], rel=1e-5)
        assert found["MSE"][i].item() == pytest.approx(sum((a - b) ** 2 for a, b in zip(values, logits, strict=True)))
        kl = sum(p * (math.log(p) - log) for p, log in zip(sharp, logs, strict=True))
        assert found["KL"][i].item() == pytest.approx(kl, rel=1e-4, abs=1e-6)


def test_a_sharp_teacher_is_its_own_argmax():
    """As τ falls, KL becomes NLL: a certain teacher has no entropy."""
    q, own = torch.tensor([[3.0, 1.0], [0.0, 2.0]]), torch.randn(2, 2)
    nll, kl = (rusu.LOSSES[name](Categorical(q), Categorical(own), rusu.TAU) for name in ("NLL", "KL"))
    assert torch.allclose(nll, kl)


def test_sizes_are_shares_of_the_teacher():
    whole = 4 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2
    for hidden, share in zip(rusu.GATES, (0.25, 0.07, 0.04), strict=True):
        student = imitate.nets.policy(imitate.make("CartPole-v1"), (hidden, hidden))
        larger = imitate.nets.policy(imitate.make("CartPole-v1"), (hidden + 1, hidden + 1))
        assert student.parameters_per_member <= share * whole < larger.parameters_per_member
