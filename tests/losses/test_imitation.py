import pytest
import torch

from imitate.distributions.actions import Categorical, Normal, TanhNormal
from imitate.losses.imitation import SquaredError, default_loss, negative_log_likelihood, squared_error
from imitate_envs.base import Box, Discrete


def test_negative_log_likelihood_is_cross_entropy_with_the_label():
    logits, action = torch.randn(2, 5, 3), torch.randint(3, (2, 5))
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), action.flatten(), reduction="none")
    torch.testing.assert_close(negative_log_likelihood(Categorical(logits), action).flatten(), expected)


def test_squared_error_is_of_the_executed_action_summed_over_dimensions():
    loc, action, ones = torch.randn(4, 2), torch.rand(4, 2), torch.ones(4, 2)
    torch.testing.assert_close(squared_error(Normal(loc, ones), action), ((loc - action) ** 2).sum(1))
    squashed = TanhNormal(loc, ones, -2 * ones, 2 * ones)
    torch.testing.assert_close(squared_error(squashed, action), ((2 * loc.tanh() - action) ** 2).sum(1))
    with pytest.raises(ValueError, match="negative_log_likelihood"):
        squared_error(Categorical(loc), torch.zeros(4, dtype=torch.int64))


def test_default_loss_by_space():
    assert default_loss(Discrete(2)) is negative_log_likelihood
    assert default_loss(Box((2,))) == SquaredError(Box((2,)))


def test_the_default_error_counts_in_half_ranges():
    """Of bounded dimensions only: in a Box without bounds it is the plain one."""
    loc, action, ones = 100 * torch.randn(4, 2), 100 * torch.rand(4, 2), torch.ones(4, 2)
    student = Normal(loc, ones)
    assert torch.equal(default_loss(Box((2,)))(student, action), squared_error(student, action))
    found = default_loss(Box((2,), (100.0, -1.0), (200.0, float("inf"))))(student, action)
    torch.testing.assert_close(found, ((loc - action)[:, 0] / 50) ** 2 + (loc - action)[:, 1] ** 2)
    with pytest.raises(ValueError, match="negative_log_likelihood"):
        default_loss(Box((2,)))(Categorical(loc), torch.zeros(4, dtype=torch.int64))
