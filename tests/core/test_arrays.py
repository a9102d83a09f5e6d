"""Whatever numpy takes for an array of numbers becomes a tensor of the same numbers, with memory of its own."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from imitate.core.arrays import as_array, as_tensor

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
    ],
    ids=lambda values: f"{type(values).__name__}-{getattr(values, 'dtype', '')}",
)
def test_the_numbers_are_the_same(values):
    tensor = as_tensor(values)
    plain = values.detach().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
    np.testing.assert_array_equal(tensor.numpy(), plain)
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
    ],
)
def test_what_is_no_number_is_refused(values, line):
    with pytest.raises(ValueError) as caught:
        as_tensor(values, name="obs")
    assert str(caught.value) == line
