"""DART: noise as large as the student's error. Letters: M members, N environments of one member, A actions."""

from dataclasses import replace

import pytest
import torch

from imitate import nets
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.core.types import fold
from imitate.core.views import Select
from imitate.core.wrappers import Viewed
from imitate.policies import Perturbed
from imitate.students import DART, DAgger, DAggerConfig, DARTConfig, Exponential
from imitate.students.dart import _root
from imitate_envs.base import MultiDiscrete
from tests.oracles import Reach, Walk
from tests.policies.test_policies import TORQUE, chooser
from tests.students.test_dagger import Home, Middle

M, N = 2, 4
SMALL = DARTConfig(rounds=3, rollout=6, updates=10, batch_size=8, lr=1e-2, validation=0.3)


def made(env=None, config=SMALL, **student):
    env = env or Reach()
    place = TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=0)
    teacher = Home() if isinstance(env, Reach) else Middle()
    return DART(place, teacher, nets.policy(place, (8,), **student), config)


def after(steps, **options):
    dart = made(**options)
    for _ in range(steps):
        metrics = dart.step()
    return dart, metrics


def test_the_covariance_is_that_of_held_out_errors():
    dart, metrics = after(2)
    examples, counts = dart.held_out.all()
    modes = dart.policy.distribution(examples.obs).mode.detach()
    for m in range(M):
        sigma, amount, count = torch.zeros(2, 2), 0.0, 0
        for mine, told in zip(modes[m, counts[m]], examples.action[m, counts[m]], strict=True):
            error = torch.stack([mine[0].clamp(-1, 1), mine[1].clamp(-0.5, 0.25)]) - told
            sigma += torch.outer(error, error)
            amount += float(error[0] ** 2 + (error[1] / 0.375) ** 2)  # half ranges 1 and 0.375
            count += 1
        assert 0 < count < 2 * 6 * N
        # Sums of some 20 products, each rounded to 2^-24 of itself, and a root of them.
        torch.testing.assert_close(dart.noise[m] @ dart.noise[m].T, sigma / count, rtol=1e-4, atol=1e-6)
        assert float(metrics["noise"][m]) == pytest.approx(amount / count, rel=1e-4)


def test_with_an_error_the_trace_is_that_and_the_shape_is_the_same():
    (one, _), (scaled, metrics) = after(1), after(1, config=replace(SMALL, error=0.05))
    assert metrics["noise"].tolist() == pytest.approx([0.05] * M)
    for m in range(M):
        sigma, other = (dart.noise[m] @ dart.noise[m].T for dart in (one, scaled))
        assert float(other[0, 0] + other[1, 1] / 0.375**2) == pytest.approx(0.05, rel=1e-4)
        torch.testing.assert_close(other / other[0, 0], sigma / sigma[0, 0], rtol=1e-3, atol=1e-5)


def test_of_choices_it_is_the_share_of_other_ones():
    dart, metrics = after(2, env=Walk())
    examples, counts = dart.held_out.all()
    wrong = dart.policy.distribution(examples.obs).mode != examples.action
    share = (wrong & counts).sum(1) / counts.sum(1)
    torch.testing.assert_close(metrics["noise"], share)
    # A uniform choice of three is another one in two of three cases.
    torch.testing.assert_close(dart.noise * 2 / 3, share.clamp(max=2 / 3))
    assert after(1, env=Walk(), config=replace(SMALL, error=0.3))[1]["noise"].tolist() == pytest.approx([0.3] * M)


@pytest.mark.parametrize("env", [Reach(), Walk()])
def test_the_first_round_is_cloning_and_the_others_are_not(env):
    """To the bit: DAgger whose teacher drives every round."""
    place = TensorSource(env, id="x", num_envs=N, members=M, seed=0)
    shared = {name: getattr(SMALL, name) for name in ("rounds", "rollout", "updates", "batch_size", "lr", "validation")}
    teacher = Home() if isinstance(env, Reach) else Middle()
    cloning = DAgger(place, teacher, nets.policy(place, (8,)), DAggerConfig(**shared, beta=Exponential(1.0)))
    dart = made(env)
    for first in (True, False):
        cloning.step()
        dart.step()
        assert torch.equal(cloning.learner.flat, dart.learner.flat) is first
    assert torch.equal(dart.progress.labels, cloning.progress.labels)


def test_labels_are_what_the_teacher_meant():
    dart, _ = after(2)
    examples, counts = dart.data.all()
    meant = (-0.5 * examples.obs).clamp(torch.tensor([-1.0, -0.5]), torch.tensor([1.0, 0.25]))
    assert torch.equal(examples.action[counts], meant[counts])
    rollout = dart.source.collect(dart.driver, 6)
    assert not torch.equal(fold(rollout.action), -0.5 * fold(rollout.obs))


def test_a_perfect_student_leaves_no_noise():
    assert torch.equal(_root(torch.zeros(M, 3, 3)), torch.zeros(M, 3, 3))
    singular = torch.tensor([[[4.0, 2.0], [2.0, 1.0]]])
    torch.testing.assert_close(_root(singular) @ _root(singular).mT, singular, rtol=0, atol=1e-5)


def test_a_teacher_acts_by_what_its_student_does_not_see():
    place = TensorSource(Reach(), id="Reach", num_envs=N, members=M, seed=0)
    blind = Viewed(place, Select((0,)))
    dart = DART(blind, Home(), nets.policy(blind, (8,)), SMALL)
    dart.step()
    assert dart.data.all()[0].obs.shape[-1] == 1 and dart.data.all()[0].action.shape[-1] == 2


def test_a_root_of_a_covariance_is_the_noise_of_actions():
    teacher, obs = chooser(0.5, 0.5), torch.zeros(M, 20_000, 3)
    teacher.act = lambda obs, noise, memory: (torch.zeros(*obs.shape[:2], 2), memory, {})
    root = torch.tensor([[[1.0, 0.0], [0.5, 2.0]], [[0.1, 0.0], [0.0, 0.0]]])
    policy, noise = Perturbed(teacher, TORQUE, root), Stream(0, "noise").uniform(M, 20_000, 3)
    action, _, _ = policy.act(obs, noise, policy.memory(M, 20_000))
    found = torch.stack([action[m].T.cov() for m in range(M)])
    sigma = root @ root.mT
    # The variance of a sample covariance is (σ_ii σ_jj + σ_ij²)/n; five standard errors.
    spread = sigma.diagonal(dim1=1, dim2=2)
    bound = 5 * ((spread.unsqueeze(1) * spread.unsqueeze(2) + sigma.square()) / 20_000).sqrt()
    assert ((found - sigma).abs() <= bound + 1e-9).all()
    same = Perturbed(teacher, TORQUE, 0.5 * torch.eye(2).expand(M, 2, 2))
    scalar = Perturbed(teacher, TORQUE, torch.tensor(0.5))
    assert torch.equal(*(one.act(obs, noise, one.memory(M, 20_000))[0] for one in (same, scalar)))


class Several(Walk):
    action = MultiDiscrete((2, 2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: DARTConfig(validation=0.0),
            "validation: the noise is estimated from held-out labels; set it above 0.",
        ),
        (lambda: DARTConfig(error=0.0), "error: must be positive, not 0.0."),
        (lambda: made(Walk(), replace(SMALL, error=1.0)), "error: a probability below 1, not 1.0."),
        (lambda: made(Several()), "action: noise is known for a Box and for one choice of several, not for"),
        (
            lambda: Perturbed(chooser(1.0), MultiDiscrete((2, 2)), torch.tensor(1.0)),
            "action: Gaussian noise needs a Box",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
