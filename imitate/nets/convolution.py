"""Populations of convolutions, and the layers that suit the size of an image.

Letters: M members, B batch, C channels, H height, W width, P numbers under a kernel.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from imitate.core.config import Count, checked
from imitate.core.noise import Stream
from imitate.core.room import admit

__all__ = ["Conv2d", "Convolutions", "orthogonal"]

# Where unfolding beats the convolutions of the CPU backend, by `python -m benchmarks.convolution`.
_FEW_INPUTS, _FEW_COLUMNS = 128, 3 * 2**19


def orthogonal(shape: tuple[int, ...], gain: float, init: Stream) -> nn.Parameter:
    """M orthogonal matrices [M, outputs, inputs, ...], each drawn on its own (Saxe et al. 2014)."""
    sizes = dict(zip(("members", "outputs", "inputs", "kernel"), shape, strict=False))
    if init.device.type != "meta":
        admit("the weights", 8 * math.prod(shape), sizes, init.device)  # laid out twice while they are drawn
    weights = torch.empty(shape, device=init.device)
    for weight in weights if init.device.type != "meta" else ():
        nn.init.orthogonal_(weight, gain, generator=init.generator)
    return nn.Parameter(weights)


class Conv2d(nn.Module):
    """M convolutions without padding: [M, B, C, H, W] -> [M, B, C', H', W'].

    On a GPU they are one grouped convolution. On the CPU that is slow: small ones are one `baddbmm` of unfolded images,
    the others a loop over members. All give the same up to rounding.
    """

    @checked
    def __init__(
        self, members: Count, inputs: Count, outputs: Count, kernel: Count, stride: Count, *, init: Stream
    ) -> None:
        super().__init__()
        self.stride = stride
        self.weight = orthogonal((members, outputs, inputs, kernel, kernel), math.sqrt(2), init)
        self.bias = nn.Parameter(torch.zeros(members, outputs, device=self.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """Apply each member's kernels to its own batch."""
        members = len(x)
        weight: Tensor = self.weight
        bias: Tensor = self.bias
        if len(weight) != members:
            weight, bias = weight.expand(members, *weight.shape[1:]), bias.expand(members, -1)
        if x.device.type != "cpu":
            return grouped(x, weight, bias, self.stride)
        places = math.prod((size - weight.shape[-1]) // self.stride + 1 for size in x.shape[-2:])
        inputs = math.prod(weight.shape[2:])
        few = inputs <= _FEW_INPUTS and members * x.shape[1] * places * inputs <= _FEW_COLUMNS
        return (unfolded if few else looped)(x, weight, bias, self.stride)


def grouped(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """One convolution with a group a member."""
    images = x.transpose(0, 1).flatten(1, 2)  # [B, M·C, H, W]
    out = F.conv2d(images, weight.flatten(0, 1), bias.flatten(), stride, groups=len(x))
    return out.view(len(out), len(x), -1, *out.shape[2:]).transpose(0, 1)


def looped(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """A convolution a member."""
    return torch.stack([F.conv2d(*one, stride) for one in zip(x, weight, bias, strict=True)])


def unfolded(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """One product of the weights [M, C', P] and all that lies under a kernel, [M, P, B·H'·W']."""
    kernel = weight.shape[-1]
    windows = x.unfold(3, kernel, stride).unfold(4, kernel, stride)  # [M, B, C, H', W', k, k]
    height, width = windows.shape[3:5]
    columns = windows.permute(0, 2, 5, 6, 1, 3, 4).reshape(len(x), math.prod(weight.shape[2:]), -1)
    out = torch.baddbmm(bias.unsqueeze(2), weight.flatten(2), columns)
    return out.view(len(x), -1, x.shape[1], height, width).transpose(1, 2)


class Convolutions(nn.ModuleList):
    """M stacks of convolutions with rectifiers, [M, B, C, H, W] in [0, 1] -> [M, B, outputs].

    From 36x36 pixels on they are those of the Atari network (Mnih et al. 2015, Methods), for smaller images that of the
    MinAtar network (Young & Tian 2019, §4).

    Args:
        members: M.
        shape: (C, H, W).
        init: Stream of the initialisation.

    Attributes:
        outputs: Features of an image, flat.
        hidden: Width of the layer that follows in the paper.

    Raises:
        ValueError: The image is smaller than a kernel.
    """

    def __init__(self, members: int, shape: tuple[int, ...], *, init: Stream) -> None:
        channels, *sides = shape
        if min(sides) < 3:
            raise ValueError(
                f"observation: convolutions need images of at least 3x3 pixels, not {sides[0]}x{sides[1]}."
            )
        large = min(sides) >= 36
        layers = []
        for outputs, kernel, stride in ((32, 8, 4), (64, 4, 2), (64, 3, 1)) if large else ((16, 3, 1),):
            layers.append(Conv2d(members, channels, outputs, kernel, stride, init=init))
            channels, sides = outputs, [(side - kernel) // stride + 1 for side in sides]
        super().__init__(layers)
        self.outputs, self.hidden = channels * math.prod(sides), 512 if large else 128

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each layer makes of images, [M, B, C', H', W']."""
        found = []
        for layer in self:
            x = torch.relu(layer(x))
            found.append(x)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Features of each member's own batch."""
        return self.maps(x)[-1].flatten(2)
