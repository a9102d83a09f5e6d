"""k iterations, a checkpoint, k more: the uninterrupted run, bit for bit."""

from __future__ import annotations

import csv
from contextlib import closing
from itertools import islice

import numpy as np
import torch

from imitate.core import checkpoint, tree
from imitate.experiment import run
from tests.oracles import snapshot

CLOCK = ("seconds", "steps_per_second")  # a row's columns that no two runs share


def same(a, b):
    """Whether two dicts of metrics are equal, bit for bit."""
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)


def assert_resumes(build, folder, iterations=4, at=2):
    """A run that is stopped and taken over by new objects is the run that was not: all that it holds, says and writes.

    Another seed gives other metrics, so that the comparison can fail.

    Args:
        build: Makes an algorithm from a seed.
        folder: Where both runs may write.
        iterations: Of the whole run, at the most.
        at: After how many the other is stopped.
    """
    straight, first, second, other = build(0), build(0), build(0), build(1)
    with closing(run(straight, checkpoint=folder / "whole")) as reports:
        whole = list(islice(reports, iterations))
    cut = list(run(first, whole[at - 1].steps, checkpoint=folder / "cut"))
    assert len(cut) == at < len(whole)
    cut += run(second, whole[-1].steps, checkpoint=folder / "cut", resume=True)
    assert [report.steps for report in cut] == [report.steps for report in whole]
    for number, (mine, theirs) in enumerate(zip(cut, whole, strict=True), 1):
        assert same(mine.metrics, theirs.metrics), f"metrics of iteration {number}"
    assert not all(same(other.step(), report.metrics) for report in whole)

    assert rows(folder / "cut") == rows(folder / "whole")
    mine, theirs = (dict(tree.flatten(checkpoint.read(folder / name, "checkpoint")[0])) for name in ("cut", "whole"))
    assert_equal(mine, theirs)
    # Addresses are another process's own, and `_saved` things are kept only to be read next time.
    mine, theirs = (
        {path: value for path, value in snapshot(one).items() if "_saved" not in path and "_places" not in path}
        for one in (second, straight)
    )
    assert_equal(mine, theirs)


def rows(folder):
    """The rows of `progress.csv` without what a clock says."""
    with (folder / "progress.csv").open(newline="") as file:
        return [{name: text for name, text in row.items() if name not in CLOCK} for row in csv.DictReader(file)]


def assert_equal(mine, theirs):
    assert mine.keys() == theirs.keys()
    for path, value in theirs.items():
        equal = torch.equal(mine[path], value) if isinstance(value, torch.Tensor) else mine[path] == value
        assert equal or (value != value and mine[path] != mine[path]), path
