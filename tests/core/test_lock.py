"""One writer a folder, whatever becomes of it."""

import os
import signal
import sys
import time

import pytest

from imitate.core.lock import locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no locks of this kind")


def test_a_second_writer_is_refused_and_told_who_the_first_is(tmp_path):
    refusal = rf"another run writes into '{tmp_path}' \(process {os.getpid()}\)"
    with locked(tmp_path):
        for _ in range(2):  # a refusal leaves the lock where it is
            with pytest.raises(ValueError, match=refusal), locked(tmp_path):
                pass
        with locked(tmp_path / ".."):
            pass
    assert list(tmp_path.iterdir()) == []
    with locked(tmp_path):
        pass


def holding(folder, *, child=False):
    """A process that holds the lock of a folder, and perhaps a child of it that lives on."""
    reads, writes = os.pipe()
    owner = os.fork()
    if owner == 0:
        try:
            with locked(folder):
                heir = os.fork() if child else 0
                if not child or heir:
                    os.write(writes, f"{heir}\n".encode())
                time.sleep(600)
        finally:
            os._exit(0)
    os.close(writes)
    heir = int(os.read(reads, 20))
    os.close(reads)
    return owner, heir


@pytest.mark.parametrize("child", [False, True])
def test_kill_9_lets_go_at_once(tmp_path, child):
    """Also where a child of the process lives on."""
    owner, heir = holding(tmp_path, child=child)
    try:
        with pytest.raises(ValueError, match=f"process {owner}"), locked(tmp_path):
            pass
        os.kill(owner, signal.SIGKILL)
        os.waitpid(owner, 0)
        assert (tmp_path / ".lock").exists()
        with locked(tmp_path):
            pass
        assert list(tmp_path.iterdir()) == []
    finally:
        if heir:
            os.kill(heir, signal.SIGKILL)


def test_a_child_that_ends_leaves_the_lock_of_its_parent(tmp_path):
    with locked(tmp_path):
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        with pytest.raises(ValueError, match="another run"), locked(tmp_path):
            pass
