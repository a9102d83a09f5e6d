"""Whatever numpy takes for an array of numbers becomes a tensor of the same numbers, with memory of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imitate.core.arrays import as_array, as_number, as_tensor

PLAIN = np.arange(12.0).reshape(3, 4)


def frozen():
    array = PLAIN.copy()
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "values",
    [
        PLAIN,
        PLAIN[::-1],
        PLAIN[:, ::-1],
        PLAIN[::2, 1::2],
        PLAIN.T,
        np.asfortranarray(PLAIN),
        PLAIN.astype(">f8"),
        PLAIN.astype(">i4"),
        PLAIN.astype("<f2"),
        PLAIN.astype(np.uint16),
        PLAIN.astype(np.uint32),
        PLAIN.astype(np.uint64),
        PLAIN.astype(np.longdouble),
        PLAIN > 3,
        frozen(),
        np.broadcast_to(np.arange(4), (3, 4)),
        np.float32(3.5),
        np.int64(7),
        np.bool_(True),
        PLAIN.tolist(),
        [[1, 2], [3, 4]],
        7,
        2.5,
        np.empty((0, 3)),
        np.ma.masked_array(PLAIN),
        torch.arange(4),
        torch.arange(4.0, requires_grad=True),
        torch.arange(4.0).bfloat16(),
        torch.arange(6).reshape(2, 3).T,
        PLAIN.astype(object),
        [PLAIN[0], PLAIN[1]],
        (np.float32(1), np.float32(2)),
        [torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([3.0, 4.0])],
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_the_numbers_are_the_same(values):
    tensor = as_tensor(values)
    plain = torch.stack(values) if isinstance(values, list) and isinstance(values[0], torch.Tensor) else values
    plain = plain.detach().double().numpy() if isinstance(plain, torch.Tensor) else np.asarray(plain, float)
    np.testing.assert_array_equal(tensor.double().numpy(), plain)
    assert not tensor.requires_grad and tensor.is_contiguous()
    assert as_tensor(values, torch.float32).dtype == torch.float32


@pytest.mark.parametrize("values", [PLAIN.copy(), torch.arange(4.0)], ids=["array", "tensor"])
def test_the_memory_is_its_own(values):
    tensor = as_tensor(values)
    expected = tensor.clone()
    values[...] = -1
    assert torch.equal(tensor, expected)


def test_types():
    assert as_tensor(np.arange(3, dtype=np.uint8)).dtype == torch.uint8
    assert as_tensor(np.arange(3, dtype=">i2")).dtype == torch.int16
    assert as_tensor(np.array([2**32 - 1], np.uint32)).tolist() == [2**32 - 1]
    assert as_array([1, 2]).dtype == np.int64


@pytest.mark.parametrize(
    ("values", "line"),
    [
        (np.array([None, 1]), "obs: must hold numbers, not object."),
        (["a", "b"], "obs: must hold numbers, not <U1."),
        ([[1, 2], [3]], "obs: rows of different lengths are no array."),
        (np.array([1j]), "obs: must hold numbers, not complex128."),
        (np.array([2**63], np.uint64), "obs: 9223372036854775808 is beyond int64."),
        ({"a": 1}, "obs: must hold numbers, not object."),
        (np.array(["1", "2"], object), "obs: must hold numbers, not <U1."),
        (np.ma.masked_less(PLAIN, 3), "obs: some of its values are masked; fill them, or leave their rows out."),
        ([np.ma.masked_less(PLAIN, 3)], "obs: some of its values are masked; fill them, or leave their rows out."),
        (np.array(["2026-11-30"], "M8[D]"), "obs: must hold numbers, not datetime64[D]."),
    ],
)
def test_what_is_no_number_is_refused(values, line):
    with pytest.raises(ValueError) as caught:
        as_tensor(values, name="obs")
    assert str(caught.value) == line


@pytest.mark.parametrize(
    "value", [2.5, np.float32(2.5), np.float16(2.5), np.array(2.5), np.array([2.5]), torch.tensor(2.5), [2.5]]
)
def test_one_number(value):
    assert as_number(value) == 2.5 and type(float(as_number(value))) is float
    assert as_number(torch.tensor([2.5], requires_grad=True)) == 2.5
    assert as_number(True) == 1


@pytest.mark.parametrize(
    ("value", "line"),
    [
        ([1.0, 2.0], "reward: one number is needed, not an array of shape (2,)."),
        (None, "reward: must hold numbers, not object."),
        ("1", "reward: must hold numbers, not <U1."),
    ],
)
def test_what_is_not_one_number_is_refused(value, line):
    with pytest.raises(ValueError) as caught:
        as_number(value, "reward")
    assert str(caught.value) == line
