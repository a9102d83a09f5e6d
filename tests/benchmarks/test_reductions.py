"""The chain of the reductions: exact losses, by a formula and by enumeration, and their slopes."""

import itertools

import pytest
import torch

from benchmarks.reductions import LENGTHS, METHODS, chain, loss, slopes


def by_paths(model, policy):
    """Every path by itself."""
    total = 0.0
    for actions in itertools.product(range(2), repeat=len(policy)):
        probability, state, cost = 1.0, 0, 0.0
        for now, action in zip(policy, actions, strict=True):
            probability *= float(now[state, action])
            cost -= float(model.reward[state, action])
            state = int(model.transition[state, action].argmax())
        total += probability * cost
    return total


@pytest.mark.parametrize("name", METHODS)
def test_losses_are_those_of_all_paths(name):
    model = chain()
    policy = METHODS[name](model, 7, 0.1)
    assert policy.shape == (7, 2, 2)
    torch.testing.assert_close(loss(model, policy), by_paths(model, policy))


def test_cloning_loses_with_the_square_of_the_length_and_the_others_with_the_length():
    """Σ_t 1 − (1 − ε)^t for cloning, Tε for the others; slopes within the .1 that the theory leaves at ε T << 1."""
    epsilon, rows = 1e-6, slopes(1e-6)["rows"]
    for steps, cloning in zip(LENGTHS, rows["cloning"]["losses"], strict=True):
        assert cloning == pytest.approx(sum(1 - (1 - epsilon) ** t for t in range(1, steps + 1)), rel=1e-6)
    assert abs(rows["cloning"]["slope"] - 2) < 0.1
    for name in ("forward training", "DAgger"):
        assert rows[name]["losses"] == pytest.approx([steps * epsilon for steps in LENGTHS], rel=1e-9)
        assert abs(rows[name]["slope"] - 1) < 1e-6
