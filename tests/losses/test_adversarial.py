"""Losses of a discriminator against a loop over probabilities."""

import math

import pytest
import torch

from imitate.losses.adversarial import discrimination, gradient_penalty, log_odds, negative, positive


def test_they_are_those_of_a_loop():
    generator = torch.Generator().manual_seed(0)
    teacher, learner, norm = (torch.randn(2, 5, generator=generator) for _ in range(3))
    loss, penalty = discrimination(teacher, learner), gradient_penalty(norm.abs())
    for m in range(2):
        total = 0.0
        for b in range(5):
            one, other = (1 / (1 + math.exp(-float(z[m, b]))) for z in (teacher, learner))
            total -= (math.log(one) + math.log(1 - other)) / 5
            for z, d in ((teacher, one), (learner, other)):
                assert float(positive(z)[m, b]) == pytest.approx(-math.log(1 - d), rel=1e-5)
                assert float(negative(z)[m, b]) == pytest.approx(math.log(d), rel=1e-5)
                assert float(log_odds(z)[m, b]) == pytest.approx(math.log(d) - math.log(1 - d), rel=1e-4, abs=1e-6)
        assert float(loss[m]) == pytest.approx(total, rel=1e-5)
        assert float(penalty[m]) == pytest.approx(sum((abs(float(x)) - 1) ** 2 for x in norm[m]) / 5, rel=1e-5)


def test_they_are_finite_where_d_is_not_between_0_and_1():
    z = torch.tensor([[-1e4, 1e4]])
    assert positive(z).isfinite().all() and negative(z).isfinite().all() and discrimination(z, z).isfinite().all()
