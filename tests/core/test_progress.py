"""How far a run has come: counting, rounding up, and going on."""

from __future__ import annotations

import pytest
import torch

from imitate.core.progress import Progress
from imitate.core.spec import Spec
from imitate_envs.base import Box, Discrete

SPEC = Spec("x", Box((2,)), Discrete(2), members=3)


@pytest.mark.parametrize(("total", "each", "iterations"), [(100, 1, 100), (100, 30, 4), (90, 30, 3), (1, 30, 1)])
def test_a_run_ends_with_a_whole_iteration(total, each, iterations):
    progress = Progress(SPEC, total, each)
    assert progress.budget == iterations * each
    shares = []
    while not progress.finished:
        shares.append(progress.share)
        progress.advance(each)
    assert int(progress.steps) == progress.budget
    # Schedules go by the steps that were asked for, and are at their end where the run is.
    assert shares == [min(1.0, i * each / total) for i in range(iterations)]
    assert progress.share == 1.0


def test_labels_are_counted_for_each_member():
    progress = Progress(SPEC, 10)
    progress.advance(0, torch.tensor([1, 2, 3]))
    progress.advance(2, 5)
    assert progress.labels.tolist() == [6, 7, 8] and int(progress.steps) == 2
    assert progress.labels.dtype == progress.steps.dtype == torch.int64


def test_it_may_be_stopped():
    progress = Progress(SPEC, 10)
    assert not progress.finished
    progress.stop()
    assert progress.finished and progress.share == 0.0


def test_a_longer_run_goes_on_where_a_shorter_one_was_finished():
    short, long = Progress(SPEC, 20, 8), Progress(SPEC, 40, 8)
    for _ in range(3):
        short.advance(8, 1)
    assert short.finished
    state = {name: value.clone() for name, value in short.state_dict().items()}
    short.advance(8)
    steps = long.steps
    long.load_state_dict(state)
    assert long.steps is steps  # in place
    assert int(long.steps) == 24 and long.labels.tolist() == [3, 3, 3]
    assert not long.finished and long.share == 24 / 40


def test_a_stop_is_remembered():
    first, second = Progress(SPEC, 20), Progress(SPEC, 20)
    first.stop()
    second.load_state_dict(first.state_dict())
    assert second.finished
