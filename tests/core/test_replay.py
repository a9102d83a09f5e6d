"""The dataset against a list. Letters: M members, B batch."""

import pytest
import torch

from imitate.core.checkpoint import read, write
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples

M = 2


def examples(numbers):
    """Examples [M, B] whose observation is a number and whose action is ten times it."""
    numbers = torch.as_tensor(numbers)
    return Examples(numbers.float().unsqueeze(-1), 10 * numbers)


def contents(dataset):
    """What each member holds, in order."""
    held, counts = dataset.all()
    assert torch.equal(held.action, 10 * held.obs[..., 0].long())
    assert torch.equal(dataset.size, counts.sum(1))
    assert counts.shape[1] == int(dataset.size.max())
    # what does not count comes last, so that a sample needs no mask
    assert torch.equal(counts, torch.arange(counts.shape[1]) < dataset.size.unsqueeze(1))
    return [held.obs[m, counts[m], 0].long().tolist() for m in range(len(counts))]


def test_a_dataset_with_masks_is_a_list_for_each_member(generator):
    """Ragged additions of any pattern, also of nothing, in the order of their arrival."""
    dataset, expected, first = Dataset(3, 1_000, Stream(0, "shuffle")), [[], [], []], 0
    for step in range(12):
        count = 1 + step % 4
        numbers = torch.arange(first, first + count).repeat(3, 1)
        first += count
        mask = None if step in (2, 3, 8) else torch.rand(3, count, generator=generator) < (0.2, 0.5, 0.9)[step % 3]
        if step == 5:
            mask = torch.zeros(3, count, dtype=torch.bool)
        dataset.add(examples(numbers), mask)
        for m in range(3):
            expected[m] += [int(x) for i, x in enumerate(numbers[m]) if mask is None or mask[m, i]]
        assert contents(dataset) == expected
    assert len({len(e) for e in expected}) > 1


def test_a_dataset_samples_uniformly_what_counts_and_nothing_else():
    dataset = Dataset(2, 100, Stream(0, "shuffle"))
    mask = torch.tensor([[True, False, True, False, False], [True] * 5])
    dataset.add(examples([[1, 66, 2, 66, 66], [3, 4, 5, 6, 7]]), mask)
    drawn = dataset.sample(20_000)
    assert torch.equal(drawn.action, 10 * drawn.obs[..., 0].long())
    one, two = (torch.bincount(row, minlength=80) / 20_000 for row in drawn.obs[..., 0].long())
    assert one.nonzero().flatten().tolist() == [1, 2]
    assert two.nonzero().flatten().tolist() == [3, 4, 5, 6, 7]
    assert (one[[1, 2]] - 1 / 2).abs().max() < 4 * (0.25 / 20_000) ** 0.5
    assert (two[3:8] - 1 / 5).abs().max() < 4 * (0.16 / 20_000) ** 0.5


@pytest.mark.parametrize("sizes", [[1] * 40, [40], [10, 30], [3, 7] * 4, [25, 5, 5, 5]])
@pytest.mark.parametrize("masked", [False, True])
def test_beyond_capacity_a_dataset_is_a_uniform_sample_of_all_it_saw(sizes, masked):
    """Each of 40 stays with probability 8/40, whenever it came: a chi-squared test over 2,000 members."""
    members, capacity, seen = 2_000, 8, 40
    dataset, first = Dataset(members, capacity, Stream(3, "shuffle")), 0
    for size in sizes:
        numbers = torch.arange(first, first + size).repeat(members, 1)
        mask = None
        if masked:  # as many beside them that do not count
            numbers = torch.stack([numbers, torch.full_like(numbers, 99)], 2).flatten(1)
            mask = numbers != 99
        dataset.add(examples(numbers), mask)
        first += size
        assert (dataset.size == min(first, capacity)).all()
    held, counts = dataset.all()
    assert counts.all()
    kept = torch.bincount(held.obs.long().flatten(), minlength=seen)
    assert kept.shape == (seen,)
    assert (held.obs[..., 0].diff() > 0).all()  # none twice, in the order of arrival
    share = capacity / seen
    # the counts of one member add up to 8, so the sum below has seen − 1 degrees of freedom
    chi2 = float(((kept - members * share) ** 2 / (members * share * (1 - share))).sum()) * (seen - 1) / seen
    assert chi2 < 72.1, kept  # 0.999 quantile of χ²(39)
    assert chi2 > 16.3, "too even to be random"  # 0.0005 quantile


def test_members_sample_their_reservoirs_independently():
    dataset = Dataset(50, 5, Stream(0, "shuffle"))
    for i in range(30):
        dataset.add(examples(torch.full((50, 1), i)))
    assert len({tuple(row) for row in contents(dataset)}) > 45


def test_a_dataset_keeps_copies():
    """What a source collected is valid until it collects again."""
    for mask in (None, torch.ones(2, 3, dtype=torch.bool)):
        dataset, given = Dataset(2, 10, Stream(0, "shuffle")), examples([[1, 2, 3]] * 2)
        dataset.add(given, mask)
        given.obs.fill_(-1)
        given.action.fill_(-10)
        assert contents(dataset) == [[1, 2, 3]] * 2


def test_an_empty_dataset_refuses():
    with pytest.raises(ValueError, match="at least 1 example"):
        Dataset(2, 0, Stream(0, "shuffle"))
    dataset = Dataset(2, 10, Stream(0, "shuffle"))
    with pytest.raises(ValueError, match="the dataset is empty"):
        dataset.all()
    with pytest.raises(ValueError, match="no examples"):
        dataset.sample(1)
    dataset.add(examples([[1], [2]]), torch.tensor([[True], [False]]))
    with pytest.raises(ValueError, match="no examples"):
        dataset.sample(1)
    dataset.add(examples([[3], [4]]))
    assert contents(dataset) == [[1, 3], [4]]
    assert set(dataset.sample(50).action[1].tolist()) == {40}


@pytest.mark.parametrize("state", ["empty", "ragged", "overflowing"])
def test_a_dataset_survives_the_disk(tmp_path, state):
    one, two = Dataset(2, 6, Stream(0, "shuffle")), Dataset(2, 6, Stream(5, "other"))
    two.add(examples([[50], [51]]))
    if state != "empty":
        one.add(examples([[1, 2, 3], [4, 5, 6]]), torch.tensor([[True] * 3, [False, True, False]]))
    if state == "overflowing":
        one.add(examples([list(range(7, 17))] * 2))
        one.sample(3)
    write(tmp_path, "data", one.state_dict(), {})
    two.load_state_dict(read(tmp_path, "data")[0])
    fresh = Dataset(2, 6, Stream(7, "fresh"))
    fresh.load_state_dict(read(tmp_path, "data")[0])
    if state == "empty":
        for dataset in (two, fresh):
            with pytest.raises(ValueError, match="no examples"):
                dataset.sample(1)
    else:
        drawn, again = two.sample(20), fresh.sample(20)
        assert torch.equal(drawn.obs, again.obs)
        assert torch.equal(drawn.obs, one.sample(20).obs)
    for dataset in (one, two):
        dataset.add(examples([[90, 91], [92, 93]]))
    assert contents(one) == contents(two)
    assert torch.equal(one.key, two.key)
    assert torch.equal(one.sample(20).obs, two.sample(20).obs)
