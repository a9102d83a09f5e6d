"""Losses of features against loops over examples; what leaves them unchanged; where their gradients go."""

import math

import pytest
import torch

from imitate.losses import features as module
from imitate.losses.features import (
    attention_transfer,
    cosine,
    hint,
    in_groups,
    pairwise,
    relational_angle,
    relational_distance,
    similarity,
)

M, B, H, K = 2, 5, 3, 4
RELATIONS = (pairwise, relational_distance, relational_angle)
EQUAL_WIDTHS = (hint, cosine)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def dot(a, b):
    return sum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def length(a):
    return math.sqrt(dot(a, a))


def gap(a, b):
    return [float(x) - float(y) for x, y in zip(a, b, strict=True)]


def huber(x, y):
    d = abs(x - y)
    return 0.5 * d * d if d < 1 else d - 0.5


def cos(a, b):
    return dot(a, b) / (length(a) * length(b)) if length(a) * length(b) > 0 else 0.0


def mean_distance(h):
    return sum(length(gap(h[i], h[j])) for i in range(B) for j in range(B) if i != j) / (B * (B - 1))


def naive(loss, s, t, i):
    """The loss of example i of one member, by its equation."""
    if loss is hint:
        return 0.5 * dot(gap(s[i], t[i]), gap(s[i], t[i]))
    if loss is cosine:
        return 1 - cos(s[i], t[i])
    if loss is pairwise:
        return sum((cos(s[i], s[j]) - cos(t[i], t[j])) ** 2 for j in range(B)) / B
    if loss is relational_distance:
        mine, told = mean_distance(s), mean_distance(t)
        return sum(huber(length(gap(s[i], s[j])) / mine, length(gap(t[i], t[j])) / told) for j in range(B)) / B
    found = 0.0
    for j in range(B):
        for k in range(B):  # the angle at i
            found += huber(cos(gap(s[j], s[i]), gap(s[k], s[i])), cos(gap(t[j], t[i]), gap(t[k], t[i])))
    return found / B**2


@pytest.mark.parametrize("loss", [*EQUAL_WIDTHS, *RELATIONS], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_a_loss_is_its_naive_loop(loss, scale):
    """Float64 sums of 25 terms at the most: the tolerance is a thousand roundings."""
    student, teacher = scale * drawn(M, B, H, seed=1), drawn(M, B, H if loss in EQUAL_WIDTHS else K, seed=2)
    expected = [[naive(loss, student[m], teacher[m], i) for i in range(B)] for m in range(M)]
    torch.testing.assert_close(loss(student, teacher), torch.tensor(expected, dtype=torch.float64), rtol=1e-12, atol=0)


def test_attention_transfer_is_its_naive_loop():
    """Two layers of different channels: Σ_c h² at each place, made a unit vector, and the distance of the two."""
    shapes = ((3, 4, 2), (2, 2, 2))
    student = [drawn(M, B, 5, *shape[1:], seed=i) for i, shape in enumerate(shapes)]
    teacher = [drawn(M, B, *shape, seed=7 + i) for i, shape in enumerate(shapes)]
    for m in range(M):
        for b in range(B):
            expected = 0.0
            for mine, told in zip(student, teacher, strict=True):
                maps = []
                for layer in (mine[m, b], told[m, b]):
                    places = [
                        sum(float(layer[c, y, x]) ** 2 for c in range(len(layer)))
                        for y in range(layer.shape[1])
                        for x in range(layer.shape[2])
                    ]
                    maps.append([value / length(places) for value in places])
                expected += length(gap(*maps))
            assert float(attention_transfer(student, teacher)[m, b]) == pytest.approx(expected, rel=1e-12)


def rotation(width, seed):
    return torch.linalg.qr(drawn(width, width, seed=seed))[0]


@pytest.mark.parametrize("loss", RELATIONS, ids=lambda loss: loss.__name__)
def test_relations_know_no_rotation_and_no_scale(loss):
    features = drawn(M, B, H)
    turned = 3.7 * features @ rotation(H, 4)
    assert float(loss(turned, features).max()) < 1e-25  # squares of roundings of float64
    other = drawn(M, B, H, seed=5)
    torch.testing.assert_close(loss(turned, other), loss(features, other), rtol=1e-10, atol=0)
    assert float(loss(features, other).min()) > 1e-3


@pytest.mark.parametrize("loss", RELATIONS, ids=lambda loss: loss.__name__)
def test_shifts_leave_distances_and_angles_alone(loss):
    features, shift = drawn(M, B, H), drawn(M, 1, H, seed=6)
    found = float(loss(features + shift, features).max())
    assert found > 1e-3 if loss is pairwise else found < 1e-25


def test_similarity_of_known_vectors():
    features = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-3.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    half = math.sqrt(0.5)
    expected = [
        [1, 0, -1, half, 0], [0, 1, 0, half, 0], [-1, 0, 1, -half, 0], [half, half, -half, 1, 0], [0] * 5,
    ]  # fmt: skip
    torch.testing.assert_close(similarity(features), torch.tensor(expected))


@pytest.mark.parametrize("loss", [*EQUAL_WIDTHS, *RELATIONS], ids=lambda loss: loss.__name__)
def test_gradients_are_those_of_finite_differences_and_go_into_the_student_alone(loss):
    student, teacher = drawn(1, B, H, seed=1).requires_grad_(), drawn(1, B, H, seed=2).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: loss(s, teacher.detach()), (student,))
    loss(student, teacher).sum().backward()
    assert teacher.grad is None and float(student.grad.abs().max()) > 0


def test_attention_goes_into_the_student_alone():
    student, teacher = ([drawn(1, 2, 3, 4, 4, seed=seed).requires_grad_()] for seed in (1, 2))
    assert torch.autograd.gradcheck(lambda s: attention_transfer([s], [teacher[0].detach()]), (student[0],))
    attention_transfer(student, teacher).sum().backward()
    assert teacher[0].grad is None


@pytest.mark.parametrize("loss", [cosine, *RELATIONS], ids=lambda loss: loss.__name__)
def test_equal_and_vanishing_features_have_finite_gradients(loss):
    """Two examples that are one, and one that is zero, as rectifiers make them: no root and no angle is infinite."""
    student = drawn(1, B, H)
    student[:, 1] = student[:, 0]
    student[:, 2] = 0
    student.requires_grad_()
    found = loss(student, drawn(1, B, H, seed=3))
    found.sum().backward()
    assert bool(found.isfinite().all()) and float(student.grad.abs().max()) < 100
    dead = torch.zeros(1, B, H, dtype=torch.float64, requires_grad=True)
    loss(dead, drawn(1, B, H, seed=3)).sum().backward()
    assert bool(dead.grad.isfinite().all())


def test_dead_maps_have_finite_gradients():
    dead = torch.zeros(1, 2, 3, 4, 4, requires_grad=True)
    attention_transfer([dead], [drawn(1, 2, 3, 4, 4).float()]).sum().backward()
    assert bool(dead.grad.isfinite().all())


@pytest.mark.parametrize("loss", RELATIONS, ids=lambda loss: loss.__name__)
def test_groups_are_batches_of_their_own(loss):
    student, teacher = drawn(M, 6, H, seed=1), drawn(M, 6, K, seed=2)
    found = in_groups(loss, 3)(student, teacher)
    expected = torch.cat([loss(student[:, i : i + 3], teacher[:, i : i + 3]) for i in (0, 3)], 1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert torch.equal(in_groups(loss, 6)(student, teacher), loss(student, teacher))
    assert not torch.allclose(found, loss(student, teacher), rtol=1e-3)


def test_bad_input():
    with pytest.raises(ValueError, match=r"^size: at least 2 examples"):
        in_groups(pairwise, 1)
    with pytest.raises(ValueError, match=r"^size: groups of 4 do not divide a batch of 5"):
        in_groups(pairwise, 4)(drawn(M, B, H), drawn(M, B, H))
    for loss in EQUAL_WIDTHS:
        with pytest.raises(ValueError, match=r"^student: 3 features, the teacher 4; take a Hint"):
            loss(drawn(M, B, H), drawn(M, B, K))
    with pytest.raises(ValueError, match=r"^student: its maps are \[\(2, 2\)\], the teacher's \[\(3, 2\)\]"):
        attention_transfer([drawn(1, 2, 1, 2, 2)], [drawn(1, 2, 1, 3, 2)])


def test_every_loss_is_here():
    tested = {hint, cosine, *RELATIONS, attention_transfer, in_groups, similarity}
    helpers = {module.distances, module.angles, module.attention, module.FeatureLoss}
    assert {getattr(module, name) for name in module.__all__} == tested | helpers
