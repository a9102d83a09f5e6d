"""Environments in other processes: the same numbers, and one line and no process left whatever goes wrong."""

from __future__ import annotations

import ctypes
import faulthandler
import functools
import multiprocessing
import os
import sys
import time

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit

from imitate.core.gymnasium import GymnasiumSource
from imitate.core.workers import WorkerError, Workers
from imitate.sources import make
from tests.core.gymnasium_envs import (
    BOX,
    NESTED,
    ZERO,
    Always,
    Count,
    Faulty,
    OneArray,
    Show,
    nested,
    vector,
)

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # from Python 3.12 on

LONG = 60.0  # longer than anything here takes on a busy machine


class SelfishError(Exception):
    """Can be pickled, but not read again."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


class LocalError(Exception):
    """Cannot be pickled."""

    def __init__(self, message):
        super().__init__(message)
        self.handle = lambda: None


def hang():
    time.sleep(3600)


def stop():
    os._exit(3)


def segfault():
    faulthandler.disable()  # pytest's, which would tell all about it
    ctypes.string_at(0)


def quits():
    sys.exit(4)


def selfish():
    raise SelfishError(1, 2)


def local():
    raise LocalError("three\nlines\nlong")


def plain():
    raise ValueError("a plain one")


def ended():
    raise EOFError("an end")


FAULTS = [
    (hang, r"timeout: environment 1 of 'Faulty' did not answer within 1 s when asked to step; .*"),
    (stop, r"env: the process of environment 1 of 'Faulty' died when asked to step \(exit code 3\)\."),
    (segfault, r"env: the process of environment 1 of 'Faulty' died when asked to step \(SIG(SEGV|BUS)\)\."),
    (quits, r"env: the process of environment 1 of 'Faulty' died when asked to step \(exit code 4\)\."),
    (selfish, r"env: environment 1 of 'Faulty' raised SelfishError: 1 and 2 when asked to step\."),
    (local, r"env: environment 1 of 'Faulty' raised LocalError: three lines long when asked to step\."),
    (plain, r"env: environment 1 of 'Faulty' raised ValueError: a plain one when asked to step\."),
    (ended, r"env: environment 1 of 'Faulty' raised EOFError: an end when asked to step\."),
]
quiet = pytest.mark.skipif(sys.platform == "win32", reason="exit codes of another kind")


def no_child_left():
    return not multiprocessing.active_children()


@quiet
@pytest.mark.parametrize(("fault", "line"), FAULTS, ids=[fault.__name__ for fault, _ in FAULTS])
def test_a_fault_is_one_line_and_leaves_nothing(fault, line):
    others = [functools.partial(Faulty, fault, at) for at in (99, 2, 99)]
    envs = Workers(others, timeout=LONG)
    source = GymnasiumSource(envs)
    source.collect(Always(ZERO), 1)
    envs.timeout = 1.0 if fault is hang else LONG
    with pytest.raises(WorkerError, match=rf"\A{line}\Z"):
        source.collect(Always(ZERO), 3)
    assert no_child_left()
    with pytest.raises(WorkerError, match="are closed"):
        source.collect(Always(ZERO), 1)
    source.close()
    source.close()


@quiet
@pytest.mark.parametrize("fault", [hang, stop, plain])
def test_a_fault_while_building(fault):
    how = {hang: "did not answer within 1 s", stop: "died", plain: "raised ValueError: a plain one"}[fault]
    with pytest.raises(ValueError, match=rf"\A(env|timeout): .* {how} when asked to build.*\Z"):
        make(
            Faulty,
            2,
            asynchronous=True,
            timeout=1.0 if fault is hang else LONG,
            env_kwargs={"fault": fault, "at": 0},
        )
    assert no_child_left()


def test_where_it_was_raised_is_the_cause():
    source = GymnasiumSource(Workers([functools.partial(Faulty, plain, 1)], timeout=LONG))
    with pytest.raises(WorkerError) as caught:
        source.collect(Always(ZERO), 1)
    assert "in plain" in str(caught.value.__cause__)


def test_infos_that_cannot_be_sent():
    class Secretive(Count):
        def step(self, action):
            *rest, _ = super().step(action)
            return *rest, {"secret": lambda: 0}

    source = GymnasiumSource(Workers([Secretive], timeout=LONG))
    with pytest.raises(WorkerError, match=r"\Aenv: environment 0 of 'Secretive' raised .*(pickle|local object).*\Z"):
        source.collect(Always(ZERO), 1)
    assert no_child_left()


class Sleeper(Count):
    """Takes its time to close."""

    def close(self):
        time.sleep(3600)


def test_closing_does_not_wait_for_ever():
    envs = Workers([Count, Sleeper], timeout=LONG)
    envs.timeout = 0.5
    envs.close()
    assert no_child_left()


def test_an_interrupt_leaves_nothing(monkeypatch):
    envs = Workers([Count] * 2, timeout=LONG)
    envs.reset(seed=0)

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("multiprocessing.connection.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            envs.step(np.zeros(2, np.int64))
    assert no_child_left()


def test_the_same_numbers_as_in_one_process():
    def make_one():
        return Show(NESTED, nested)

    a, b = GymnasiumSource(vector(make_one, 4), members=2), GymnasiumSource(Workers([make_one] * 4, LONG), members=2)
    one, two = a.collect(Always(ZERO), 7), b.collect(Always(ZERO), 7)
    torch.testing.assert_close(vars(one), vars(two), rtol=0, atol=0)
    assert b.play(Always(ZERO), 2, 0).tolist() == [[3.0, 3.0]] * 2
    b.close()


def test_last_observations_are_copied():
    source = GymnasiumSource(Workers([OneArray] * 2, LONG))
    seen = source.collect(Always(ZERO), 7)
    torch.testing.assert_close(seen.next_obs, seen.obs + 1, rtol=0, atol=0)
    source.close()


def test_what_they_know_of_themselves():
    envs = Workers([lambda: TimeLimit(Count(), 9)] * 2, LONG)
    source = GymnasiumSource(envs)
    assert (source.spec.id, source.spec.max_steps) == ("Count", 9)
    assert envs.reset(seed=3)[0].tolist() == [[0.0], [0.0]] and envs.reset()[0].shape == (2, 1)
    source.close()


def test_spaces_must_be_the_same():
    other = functools.partial(Show, spaces.Discrete(2), int)
    with pytest.raises(ValueError, match="env: environments 0 and 1 of 'Count' differ in their spaces"):
        Workers([Count, other], LONG)
    assert no_child_left() and BOX.shape == (1,)
