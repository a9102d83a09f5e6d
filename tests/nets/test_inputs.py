"""Bodies: what they take of a space, and of what they are made. Letters: T time, M members, B batch."""

import pytest
import torch

from imitate.nets import Body
from imitate.nets.inputs import Inputs
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from tests.oracles import stream

M, B = 3, 4


def body(space, members=M, hidden=(4,), **options):
    return Body(space, members, hidden=hidden, activation="relu", init=stream(), **options)


def test_inputs():
    obs = torch.tensor([[0, 2]])
    assert Inputs(Discrete(3))(obs).tolist() == [[[1, 0, 0], [0, 0, 1]]]
    image = torch.randint(256, (1, 2, 3, 4, 4), dtype=torch.uint8)
    torch.testing.assert_close(Inputs(Box((3, 4, 4), 0, 255))(image), image / 255)
    for dtype in (torch.float32, torch.float64, torch.int64):  # bytes all the same
        torch.testing.assert_close(Inputs(Box((3, 4, 4), 0, 255))(image.to(dtype)), image / 255)
    depth = torch.rand(1, 2, 3, 4, 4)
    assert torch.equal(Inputs(Box((3, 4, 4), 0, 10))(depth), depth)
    doubled = Inputs(Box((3, 4, 4), 0, 255))(image, lambda x: 2 * x.float())
    assert torch.equal(doubled, 2 * image.float())  # a normaliser's answer is left alone
    assert Inputs(Box((2, 3)))(torch.zeros(4, 5, 2, 3)).shape == (4, 5, 6)
    last = torch.randint(256, (1, 2, 40, 36, 3), dtype=torch.uint8)
    torch.testing.assert_close(Inputs(Box((40, 36, 3), 0, 255))(last), last.permute(0, 1, 4, 2, 3) / 255)
    made = body(Box((40, 36, 3), 0, 255), 1)
    assert made(made.prepare(last))[0].shape == (1, 2, 512)
    bits = torch.randint(2, (1, 2, 10, 10, 4), dtype=torch.uint8)
    assert torch.equal(Inputs(Box((10, 10, 4), 0, 1))(bits), bits.permute(0, 1, 4, 2, 3).float())
    assert torch.equal(Inputs(Box((4, 10, 10), 0, 1))(bits.bool()[..., :4, :, :]), bits[..., :4, :, :].float())
    vector = torch.randn(4, 5, 3)
    assert torch.equal(Inputs(Box((3,)))(vector), vector)


def test_inputs_of_several_kinds():
    """Numbers first, in the order of the space, then choices, then each image by itself."""
    space = Dict.of(
        {
            "camera": Box((2, 6, 6), 0, 255),
            "gear": Discrete(3),
            "level": Box(()),
            "pair": Tuple((MultiDiscrete((2, 3), (0, 0)), MultiBinary((2,)))),
            "torques": Box((2, 2)),
        }
    )
    camera = torch.randint(256, (M, B, 2, 6, 6), dtype=torch.uint8)
    gear, level, torques = torch.randint(3, (M, B)), torch.randn(M, B), torch.randn(M, B, 2, 2)
    many = torch.stack([torch.randint(2, (M, B)), torch.randint(3, (M, B))], -1)
    bits = torch.randint(2, (M, B, 2), dtype=torch.uint8)
    obs = {"camera": camera, "gear": gear, "level": level, "pair": (many, bits), "torques": torques}
    inputs = Inputs(space)
    assert (inputs.numbers, inputs.flat, inputs.images) == (1 + 2 + 4, 7 + 3 + 5, [(2, 6, 6)])
    flat, image = inputs(obs)
    torch.testing.assert_close(image, camera / 255)
    for m in range(M):
        for b in range(B):
            expected = [level[m, b].item(), *bits[m, b].tolist(), *torques[m, b].flatten().tolist()]
            expected += [float(gear[m, b] == k) for k in range(3)]
            expected += [float(many[m, b, 0] == k) for k in range(2)] + [float(many[m, b, 1] == k) for k in range(3)]
            torch.testing.assert_close(flat[m, b], torch.tensor(expected))
    made = body(space, normalise=True)
    made.observe({**obs, "level": 3 * level + 7})
    torch.testing.assert_close(made.normaliser.mean[:, 0, 0], 3 * level.mean(1) + 7)
    assert made.width == 4
    assert made(made.prepare(obs))[0].shape == (M, B, 4)


@pytest.mark.parametrize(
    ("space", "width", "flat"),
    [
        (Discrete(3), 4, True),
        (Box((4,)), 4, True),
        (Box((2, 3)), 4, True),
        (Box((3, 36, 36), 0, 255), 512, False),
        (Box((10, 10, 4), 0, 1), 128, False),
    ],
)
def test_a_body_suits_its_space(space, width, flat):
    made = body(space)
    assert (made.width, made.flat, len(made.images)) == (width, flat, 0 if flat else 1)
    obs = torch.zeros(M, B, *space.shape, dtype=torch.int64 if isinstance(space, Discrete) else torch.float32)
    assert made(made.prepare(obs))[0].shape == (M, B, width)
