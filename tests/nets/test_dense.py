from itertools import pairwise

import pytest
import torch

from imitate.nets import dense

M, B = 3, 40
ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu, "elu": torch.nn.functional.elu}


def chain(widths, dtype=torch.float64, members=M):
    draw = torch.Generator().manual_seed(1)
    found = []
    for i, o in pairwise(widths):
        found.append(torch.randn(members, i, o, generator=draw, dtype=dtype).mul_(i**-0.5).requires_grad_())
        found.append(torch.randn(members, 1, o, generator=draw, dtype=dtype).mul_(0.1).requires_grad_())
    return found


def looped(x, parameters, activation):
    """Layer by layer, member by member, by matrix products and autograd."""
    rows = []
    for m in range(len(x)):
        y = x[m]
        for i in range(0, len(parameters), 2):
            k = m if len(parameters[i]) > 1 else 0
            y = y @ parameters[i][k] + parameters[i + 1][k]
            if i + 2 < len(parameters):
                y = activation(y)
        rows.append(y)
    return torch.stack(rows)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("widths", [(4, 2), (4, 16, 2), (5, 16, 12, 20)])
@pytest.mark.parametrize("batch", [1, B])  # the narrow product takes over for many rows
def test_the_chain_and_its_gradients_are_those_of_a_loop(name, widths, batch):
    parameters, activation = chain(widths), ACTIVATIONS[name]
    x = torch.randn(M, batch, widths[0], dtype=torch.float64, requires_grad=True)
    weights = torch.randn(M, batch, widths[-1], dtype=torch.float64)
    expected = looped(x, parameters, activation)
    found = dense.dense(x, parameters, activation)
    torch.testing.assert_close(found, expected)
    with torch.no_grad():
        torch.testing.assert_close(dense.dense(x, parameters, activation), expected)
    for mine, theirs in zip(
        torch.autograd.grad((found * weights).sum(), [x, *parameters]),
        torch.autograd.grad((expected * weights).sum(), [x, *parameters]),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs)


def test_a_population_of_one_serves_any_number_of_members():
    parameters = chain((4, 8, 3), members=1)
    x = torch.randn(M, B, 4, dtype=torch.float64)
    found = dense.dense(x, parameters, torch.tanh)
    torch.testing.assert_close(found, looped(x, parameters, torch.tanh))
    assert torch.autograd.grad(found.sum(), parameters[0])[0].shape == parameters[0].shape


@pytest.mark.parametrize("rows", [1, B])
def test_the_tanh_of_float32_is_tanh(rows):
    parameters = chain((4, 64, 64, 2), torch.float32)
    x = 5 * torch.randn(M, rows, 4)
    exact = looped(x.double(), [p.double() for p in parameters], torch.tanh)
    found = dense.dense(x, parameters, torch.tanh)
    torch.testing.assert_close(found.double(), exact, rtol=0, atol=3e-6)


def test_the_gradient_leaves_its_inputs_alone():
    parameters = chain((4, 8, 3))
    x = torch.randn(M, B, 4, dtype=torch.float64)
    with torch.no_grad():
        found = dense.outputs(x, parameters, torch.tanh)
        kept, grad = [y.clone() for y in found], torch.ones_like(found[-1])
        dense.gradients(found, parameters[::2], grad, torch.tanh)
    assert torch.equal(grad, torch.ones_like(grad))
    assert all(torch.equal(a, b) for a, b in zip(found, kept, strict=True))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_gradient_of_a_gradient_is_that_of_a_loop(name):
    """What a penalty on the gradient asks for: in the parameters and in the input."""
    parameters, activation = chain((4, 6, 5, 1)), ACTIVATIONS[name]
    x = torch.randn(M, 7, 4, dtype=torch.float64, requires_grad=True)
    found, expected = [], []
    for way, results in ((dense.dense, found), (looped, expected)):
        (slope,) = torch.autograd.grad(way(x, parameters, activation).sum(), x, create_graph=True)
        penalty = (torch.linalg.vector_norm(slope, dim=-1) - 1).square().sum()
        results += [slope, *torch.autograd.grad(penalty, [x, *parameters], materialize_grads=True)]
    assert found[2].abs().max() > 1e-3
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs)
