"""Convolutions of a population against torch's own, one member at a time. Letters: M members, B batch."""

import copy

import pytest
import torch
from torch import nn

from imitate.nets import Body
from imitate.nets.convolution import Conv2d, Convolutions, grouped, looped, unfolded
from imitate_envs.base import Box
from tests.oracles import stream

M, B = 3, 4


def plain(layer, m):
    """Member m as a convolution of torch's."""
    outputs, inputs, kernel, _ = layer.weight.shape[1:]
    made = nn.Conv2d(inputs, outputs, kernel, layer.stride).to(layer.weight.dtype)
    with torch.no_grad():
        made.weight.copy_(layer.weight[m])
        made.bias.copy_(layer.bias[m])
    return made


def encoder(members, shape):
    """The body for images of that shape."""
    return Body(Box(shape, 0.0, 1.0), members, hidden=(64,), activation="tanh", init=stream())


def shifted(module):
    """Biases that are not zero."""
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name.endswith("bias"):
                p.add_(torch.randn(p.shape))
    return module


@pytest.mark.parametrize("way", [None, grouped, looped, unfolded], ids=["chosen", "grouped", "looped", "unfolded"])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (2, 2), (3, 2), (4, 3)])
def test_a_convolution_is_that_many_plain_ones(way, kernel, stride):
    """In float64, where rounding is small: outputs, and gradients of kernels, biases and images."""
    module = shifted(Conv2d(M, 2, 5, kernel, stride, init=stream())).double()
    assert not torch.equal(module.weight[0], module.weight[1])
    x = torch.randn(M, B, 2, 9, 8, dtype=torch.float64, requires_grad=True)
    out = module(x) if way is None else way(x, module.weight, module.bias, stride)
    found = torch.autograd.grad(out.sin().sum(), [x, module.weight, module.bias])
    for m in range(M):
        mine, image = plain(module, m), x[m].detach().requires_grad_()
        expected = mine(image)
        torch.testing.assert_close(out[m], expected, rtol=0, atol=1e-13)
        grads = torch.autograd.grad(expected.sin().sum(), [image, mine.weight, mine.bias])
        for got, right in zip(found, grads, strict=True):
            torch.testing.assert_close(got[m], right, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("batch", "shape", "exact"), [(32, (4, 10, 10), False), (400, (10, 10, 10), True)])
def test_the_way_is_chosen_by_size(batch, shape, exact):
    """A loop over members gives each the very bits of a convolution of its own; the unfolded way, up to rounding."""
    module, x = shifted(Conv2d(M, shape[0], 16, 3, 1, init=stream())), torch.rand(M, batch, *shape)
    out = module(x)
    expected = torch.stack([plain(module, m)(x[m]) for m in range(M)])
    torch.testing.assert_close(out, expected, rtol=1e-5, atol=1e-5)
    assert torch.equal(out, looped(x, module.weight, module.bias, 1)) == exact
    assert torch.equal(out, unfolded(x, module.weight, module.bias, 1)) != exact
    if exact:
        assert torch.equal(out, expected)


@pytest.mark.parametrize(
    ("shape", "layers", "hidden"),
    [
        ((3, 40, 36), [(32, 8, 4), (64, 4, 2), (64, 3, 1)], 512),
        ((4, 10, 10), [(16, 3, 1)], 128),
        ((2, 35, 60), [(16, 3, 1)], 128),
    ],
)
def test_networks_for_images_are_those_of_the_papers(shape, layers, hidden):
    module = shifted(encoder(2, shape))
    (convolutions,), (last,) = module.images, module.image_layers
    assert [(*layer.weight.shape[1::2], layer.stride) for layer in convolutions] == layers
    assert last.weight.shape[-1] == module.width == hidden
    assert convolutions.outputs == last.weight.shape[1]
    x = torch.rand(2, 2, *shape)
    out, _ = module(module.prepare(x))
    assert out.shape == (2, 2, hidden)
    for m in range(2):
        parts = [part for layer in convolutions for part in (plain(layer, m), nn.ReLU())]
        dense = nn.Linear(convolutions.outputs, hidden)
        with torch.no_grad():
            dense.weight.copy_(last.weight[m].T)
            dense.bias.copy_(last.bias[m, 0])
        alone = nn.Sequential(*parts, nn.Flatten(), dense, nn.ReLU())
        torch.testing.assert_close(out[m], alone(x[m]), rtol=1e-4, atol=1e-5)


def test_an_image_smaller_than_a_kernel_is_refused():
    with pytest.raises(ValueError, match="observation: convolutions need images of at least 3x3 pixels, not 2x9"):
        Convolutions(1, (3, 2, 9), init=stream())


def test_members_learn_apart():
    module = encoder(2, (2, 6, 6))
    before = copy.deepcopy(module.state_dict())
    module(torch.rand(2, 5, 2, 6, 6))[0][1].sum().backward()
    assert all(p.grad[1].any() and not p.grad[0].any() for p in module.parameters())
    assert all(torch.equal(p, before[name]) for name, p in module.state_dict().items())
