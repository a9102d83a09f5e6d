"""k steps, a checkpoint, k more: the uninterrupted run, bit for bit."""

from __future__ import annotations

import torch

from imitate.experiment import load_checkpoint, save_checkpoint
from tests.oracles import snapshot


def same(a, b):
    """Whether two dicts of metrics are equal, bit for bit."""
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def assert_resumes(build, folder, iterations=4, at=2):
    """Metrics and all that is reached from a resumed algorithm are those of one that was not interrupted.

    Another seed gives other metrics, so that the comparison can fail.
    """
    straight, first, second, other = build(0), build(0), build(0), build(1)
    expected = [straight.step() for _ in range(iterations)]
    for metrics in expected[:at]:
        assert same(first.step(), metrics)
    assert not all(same(other.step(), metrics) for metrics in expected[:at])
    save_checkpoint(first, folder)
    load_checkpoint(second, folder)
    assert int(second.progress.steps) == int(first.progress.steps)
    for i, metrics in enumerate(expected[at:], at):
        assert same(second.step(), metrics), f"metrics of iteration {i + 1}"
    mine, theirs = (
        # Addresses are another process's own, and `_saved` things are kept only to be read next time.
        {path: value for path, value in snapshot(one).items() if "_saved" not in path and "_places" not in path}
        for one in (second, straight)
    )
    assert mine.keys() == theirs.keys()
    for path, value in theirs.items():
        equal = torch.equal(mine[path], value) if isinstance(value, torch.Tensor) else mine[path] == value
        assert equal or (value != value and mine[path] != mine[path]), path
