"""How much a state matters: naive loops, and what a weighted loss reduces to."""

import math

import pytest
import torch

from imitate.distributions.actions import Categorical, Normal
from imitate.losses import by_gap, forward_kl, value_gap
from imitate.losses.distillation import LOSSES

M, B, A = 2, 7, 4


def test_the_gap_is_best_less_worst_of_what_is_admitted():
    values = torch.randn(M, B, A)
    values[0, 0, 1] = -math.inf
    values[1, 3, :3] = -math.inf  # a single choice is left: nothing can go wrong
    found = value_gap(values)
    for m in range(M):
        for b in range(B):
            admitted = [v for v in values[m, b].tolist() if v > -math.inf]
            assert float(found[m, b]) == pytest.approx(max(admitted) - min(admitted), abs=1e-6)
    assert found[1, 3] == 0


def test_of_a_softmax_it_is_the_gap_of_values_in_units_of_the_temperature():
    values, temperature = torch.randn(M, B, A, dtype=torch.float64), 0.3
    log_probs = (values / temperature).log_softmax(-1)
    # Both sides round some ten numbers below 20 in size: 2⁻⁵² · 20 · 10 < 10⁻¹³.
    torch.testing.assert_close(value_gap(log_probs), value_gap(values) / temperature, rtol=0, atol=1e-13)


def pair():
    return Categorical(torch.randn(M, B, A)), Categorical(torch.randn(M, B, A, requires_grad=True))


def test_a_weighted_loss_is_each_one_times_its_share_of_the_gap():
    teacher, student = pair()
    plain, found = forward_kl(teacher, student), by_gap(forward_kl)(teacher, student)
    for m in range(M):
        gaps = [max(row) - min(row) for row in teacher.logits[m].tolist()]
        for b in range(B):
            wanted = float(plain[m, b].detach()) * gaps[b] / (sum(gaps) / B)
            assert float(found[m, b].detach()) == pytest.approx(wanted, rel=1e-5)
    found.sum().backward()
    assert student.logits.grad.abs().sum() > 0


@pytest.mark.parametrize("name", LOSSES)
def test_of_a_teacher_who_is_always_certain_it_is_the_loss_itself(name):
    teacher, student = Categorical.certain(torch.randint(A, (M, B)), A), pair()[1]
    assert torch.equal(by_gap(LOSSES[name])(teacher, student), LOSSES[name](teacher, student))


def test_where_nothing_matters_it_is_nothing():
    teacher = Categorical(torch.ones(M, B, A))
    assert torch.equal(by_gap(forward_kl)(teacher, pair()[1]), torch.zeros(M, B))


def test_a_gaussian_has_no_gap():
    gaussian = Normal(torch.zeros(M, B, 1), torch.ones(M, B, 1))
    with pytest.raises(ValueError, match="teacher: a Normal has no values"):
        by_gap(forward_kl)(gaussian, gaussian)
