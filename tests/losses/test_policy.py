import numpy as np
import pytest
import torch

from imitate.distributions.actions import Categorical
from imitate.losses import approximate_kl, clipped_surrogate
from imitate.losses.imitation import categorical_likelihood
from imitate.losses.policy import categorical_surrogate


def batch(seed=0, shape=(2, 50)):
    rng = np.random.default_rng(seed)
    return rng.normal(0, 0.4, shape), rng.normal(0, 1, shape)


@pytest.mark.parametrize("epsilon", [0.05, 0.2])
def test_clipped_surrogate_is_the_definition(epsilon):
    log_ratio, advantage = batch()
    found = clipped_surrogate(
        torch.tensor(log_ratio), torch.tensor(advantage), torch.full((2, 1), epsilon, dtype=torch.float64)
    )
    for index in np.ndindex(found.shape):
        ratio = np.exp(log_ratio[index])
        clipped = min(max(ratio, 1 - epsilon), 1 + epsilon)
        assert found[index] == pytest.approx(-min(ratio * advantage[index], clipped * advantage[index]), rel=1e-12)


def test_each_member_has_its_own_epsilon():
    log_ratio = torch.tensor([[0.5], [0.5]])
    found = clipped_surrogate(log_ratio, torch.ones(2, 1), torch.tensor([[0.1], [0.3]]))
    torch.testing.assert_close(found, torch.tensor([[-1.1], [-1.3]]))


@pytest.mark.parametrize(
    ("ratio", "advantage", "flows"),
    [
        (1.5, 1.0, False),
        (0.5, -1.0, False),
        (0.5, 1.0, True),
        (1.5, -1.0, True),
        (1.0, 1.0, True),
        (1.0, -1.0, True),
    ],
)
def test_the_gradient_stops_exactly_where_the_bound_is_pessimistic(ratio, advantage, flows):
    log_ratio = torch.tensor([float(np.log(ratio))], requires_grad=True)
    loss = clipped_surrogate(log_ratio, torch.tensor([advantage]), torch.tensor([0.2]))
    (gradient,) = torch.autograd.grad(loss.sum(), log_ratio)
    torch.testing.assert_close(gradient, torch.tensor([-ratio * advantage if flows else 0.0]))


def test_approximate_kl_is_unbiased_and_never_negative():
    """Its mean over actions of the old policy is KL(old ‖ new); the sign or the direction swapped would not be."""
    old = torch.tensor([0.1, 0.6, 0.3], dtype=torch.float64)
    new = torch.tensor([0.3, 0.5, 0.2], dtype=torch.float64)
    estimate = approximate_kl((new / old).log())
    assert (estimate >= 0).all()
    assert float((old * estimate).sum()) == pytest.approx(float((old * (old / new).log()).sum()), rel=1e-12)
    assert approximate_kl(torch.zeros(3)).tolist() == [0, 0, 0]


def choices(masked=False, seed=0):
    """Logits, actions, old log-probabilities and advantages, [2, 50, 4] and [2, 50]; the last choice may be masked."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, 50, 4, generator=generator, dtype=torch.float64)
    action = torch.randint(0, 3, (2, 50), generator=generator)
    old, advantage = (torch.randn(2, 50, generator=generator, dtype=torch.float64) for _ in range(2))
    if masked:
        logits[..., 3] = -torch.inf
    return logits, action, Categorical(logits).log_prob(action) + 0.3 * old, advantage


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("weight", [0.0, 0.1, 20.0])
def test_gradients_written_out_are_those_of_autograd(masked, weight):
    logits, action, old, advantage = choices(masked)
    epsilon, c = torch.tensor([[0.1], [0.3]], dtype=torch.float64), torch.full((2, 1), weight, dtype=torch.float64)
    free = logits.clone().requires_grad_()
    distribution = Categorical(free)
    likelihood = -distribution.log_prob(action)
    surrogate = clipped_surrogate(distribution.log_prob(action) - old, advantage, epsilon)
    for expected, (loss, grad) in (
        (surrogate, (lambda s: (s.loss, s.grad))(categorical_surrogate(logits, action, old, advantage, epsilon, c))),
        (likelihood, (lambda e, h, s: (e - c * h, s))(*categorical_likelihood(logits, action, c))),
    ):
        whole = expected - c * distribution.entropy()
        torch.testing.assert_close(loss, whole.detach())
        (wanted,) = torch.autograd.grad(whole.sum(), free, retain_graph=True)
        torch.testing.assert_close(grad, wanted.nan_to_num(0.0), rtol=1e-9, atol=1e-12)
        assert grad.isfinite().all()
