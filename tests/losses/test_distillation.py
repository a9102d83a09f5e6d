import math

import numpy as np
import pytest
import torch

from imitate.core import tree
from imitate.distributions.actions import Categorical, Normal, TanhNormal
from imitate.losses import cross_entropy, forward_kl, mse, reverse_kl
from imitate.losses.distillation import LOSSES

B, A = 7, 4
KINDS = ["categorical", "normal", "squashed"]


def make(kind, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    if kind == "categorical":
        return Categorical(draw(B, A))
    if kind == "normal":
        return Normal(draw(B, 2), draw(B, 2).mul(0.3).exp())
    low, high = torch.tensor([-1.0, -2.0]).double(), torch.tensor([1.0, 3.0]).double()
    return TanhNormal(draw(B, 2), draw(B, 2).mul(0.3).exp(), low.expand(B, 2), high.expand(B, 2))


def free(distribution):
    """A copy whose parameters take gradients, and the list of these."""
    copy = tree.map(lambda x: x.clone(), distribution)
    names = ["logits"] if isinstance(copy, Categorical) else ["loc", "scale"]
    return copy, [getattr(copy, name).requires_grad_() for name in names]


def gradients(loss, teacher, student, temperature=1.0):
    copy, leaves = free(student)
    return torch.autograd.grad(loss(teacher, copy, temperature).sum(), leaves, materialize_grads=True)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("temperature", [0.01, 1.0, 3.0])
def test_at_the_teacher_there_is_nothing_to_learn(kind, name, temperature):
    teacher = make(kind, 0)
    loss = LOSSES[name](teacher, teacher, temperature)
    assert loss.shape == (B,)
    expected = torch.zeros(B, dtype=torch.float64)
    if name == "cross-entropy":
        factor = temperature**2 if kind == "categorical" else temperature
        expected = factor * sharpened(teacher, temperature).entropy()
    torch.testing.assert_close(loss, expected, atol=1e-10, rtol=1e-9)
    for gradient in gradients(LOSSES[name], teacher, teacher, temperature):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-9, rtol=0)


def sharpened(d, temperature):
    if isinstance(d, Categorical):
        return Categorical(d.logits / temperature)
    scaled = {"loc": d.loc, "scale": d.scale * math.sqrt(temperature)}
    return Normal(**scaled) if isinstance(d, Normal) else TanhNormal(**scaled, low=d.low, high=d.high)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_losses_of_choices_are_their_definitions(temperature):
    teacher, student = make("categorical", 0), make("categorical", 1)
    forward = forward_kl(teacher, student, temperature)
    backward, cross = reverse_kl(teacher, student, temperature), cross_entropy(teacher, student, temperature)
    for b in range(B):
        p = np.exp(teacher.logits[b].numpy() / temperature)
        q = np.exp(student.logits[b].numpy() / temperature)
        p, q = p / p.sum(), q / q.sum()
        t2 = temperature**2
        assert forward[b] == pytest.approx(t2 * sum(p[a] * math.log(p[a] / q[a]) for a in range(A)), rel=1e-9)
        assert backward[b] == pytest.approx(t2 * sum(q[a] * math.log(q[a] / p[a]) for a in range(A)), rel=1e-9)
        assert cross[b] == pytest.approx(-t2 * sum(p[a] * math.log(q[a]) for a in range(A)), rel=1e-9)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, cross_entropy])
def test_losses_of_gaussians_are_integrals_of_powered_densities(loss, temperature):
    """Each density to the power 1/T, normalised on a grid: that is what a temperature means for logits too."""
    teacher, student = make("normal", 0), make("normal", 1)
    found = loss(teacher, student, temperature)
    x = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    width = float(x[1] - x[0])
    for b in range(B):
        total = 0.0
        for i in range(2):

            def powered(d, b=b, i=i):
                log = -0.5 * ((x - d.loc[b, i]) / d.scale[b, i]) ** 2 / temperature
                return log - torch.logsumexp(log + math.log(width), 0)

            p, q = powered(teacher), powered(student)
            if loss is reverse_kl:
                p, q = q, p
            total += float((p.exp() * ((0 if loss is cross_entropy else p) - q)).sum()) * width
        assert found[b] == pytest.approx(temperature * total, rel=1e-6)


def test_the_gradient_keeps_its_size_at_a_high_temperature():
    """T²·∂/∂z tends to (z_S − z_T)/A of centred logits; without T² it would be 400 times smaller at T = 20."""
    teacher, student = make("categorical", 0), make("categorical", 1)

    def centred(d):
        return d.logits - d.logits.mean(-1, keepdim=True)

    limit = (centred(student) - centred(teacher)) / A
    for temperature, tolerance in ((20.0, 0.1), (200.0, 0.01)):
        for loss in (forward_kl, reverse_kl, cross_entropy):
            (gradient,) = gradients(loss, teacher, student, temperature)
            assert (gradient - limit).norm() < tolerance * limit.norm()
    (gradient,) = gradients(mse, teacher, student)
    torch.testing.assert_close(gradient, A * limit)
    torch.testing.assert_close(A * forward_kl(teacher, student, 1e4), mse(teacher, student), rtol=1e-3, atol=1e-6)


def test_the_gradient_of_a_gaussians_mean_does_not_depend_on_the_temperature():
    """T·KL of two Gaussians of one width, each to the power 1/T, is KL at T = 1."""
    teacher, student = make("normal", 0), make("normal", 1)
    student = Normal(student.loc, teacher.scale)
    for loss in (forward_kl, reverse_kl):
        at_one, _ = gradients(loss, teacher, student)
        for temperature in (0.1, 20.0):
            torch.testing.assert_close(gradients(loss, teacher, student, temperature)[0], at_one)


def test_a_masked_choice_gives_no_nan():
    masked = Categorical(torch.tensor([[0.3, -math.inf, 1.0]]))
    other = Categorical(torch.tensor([[0.1, -math.inf, 0.2]]))
    assert torch.isfinite(masked.entropy()).all()
    assert torch.isfinite(masked.kl(other)).all()
    assert masked.kl(masked).item() == pytest.approx(0, abs=1e-7)


def test_the_gradient_at_temperature_one_is_the_difference_of_probabilities():
    teacher, student = make("categorical", 0), make("categorical", 1)
    (gradient,) = gradients(forward_kl, teacher, student)
    torch.testing.assert_close(gradient, student.probs - teacher.probs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_cross_entropy_and_forward_kl_have_one_gradient(kind, temperature):
    teacher, student = make(kind, 0), make(kind, 1)
    for a, b in zip(
        gradients(forward_kl, teacher, student, temperature),
        gradients(cross_entropy, teacher, student, temperature),
        strict=True,
    ):
        torch.testing.assert_close(a, b)
    assert not torch.allclose(forward_kl(teacher, student, temperature), cross_entropy(teacher, student, temperature))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_teacher_is_constant(name, kind):
    """Also one that is being trained itself, as a peer is."""
    teacher, leaves = free(make(kind, 0))
    student, own = free(make(kind, 1))
    loss = LOSSES[name](teacher, student, 2.0).sum()
    assert all(g is None for g in torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True))
    assert any(bool(g.any()) for g in torch.autograd.grad(loss, own, materialize_grads=True, allow_unused=True))


def test_mse_ignores_a_constant_in_logits_and_the_temperature():
    teacher, student = make("categorical", 0), make("categorical", 1)
    shifted = Categorical(student.logits + torch.randn(B, 1, dtype=torch.float64) * 100)
    torch.testing.assert_close(mse(teacher, shifted), mse(teacher, student), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(mse(teacher, student, 5.0), mse(teacher, student))
    assert (mse(teacher, student) > 0).all()
    # ½ |(1, −1) − (0, 0)|²
    two = Categorical(torch.tensor([[2.0, 0.0]]))
    assert mse(two, Categorical(torch.zeros(1, 2))).item() == 1


@pytest.mark.parametrize("kind", ["normal", "squashed"])
def test_mse_of_gaussians_is_that_of_their_means(kind):
    teacher, student = make(kind, 0), make(kind, 1)
    torch.testing.assert_close(mse(teacher, student), 0.5 * (teacher.loc - student.loc).square().sum(-1))


def test_reverse_and_forward_differ():
    teacher, student = make("categorical", 0), make("categorical", 1)
    torch.testing.assert_close(reverse_kl(teacher, student), forward_kl(student, teacher))
    assert not torch.allclose(reverse_kl(teacher, student), forward_kl(teacher, student))


def test_unlike_kinds_are_refused():
    with pytest.raises(ValueError, match="student: a Categorical cannot be compared with a Normal"):
        mse(make("categorical", 0), make("normal", 0))
    with pytest.raises(ValueError, match="student: a Normal cannot be compared with a TanhNormal"):
        mse(make("normal", 0), make("squashed", 0))
