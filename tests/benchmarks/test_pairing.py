"""Rounds, ratios, and the two ends of a worker."""

import sys
from pathlib import Path

import pytest

from benchmarks import serving
from benchmarks.pairing import Spread, Worker, WorkerError, alternate, paired

SERVING = Path(serving.__file__).parent

SCRIPT = """
import os, sys
sys.path.insert(0, {folder!r})
from serving import serve, timed
built = []
def double(number):
    built.append(number)
    print("a library that talks")
    return lambda seed: {{"seconds": 1.0, "count": 2 * number + seed, "built": len(built)}}
def broken():
    raise RuntimeError("no luck\\nand more lines")
def threads():
    return lambda seed: {{"seconds": 1.0, "count": int(os.environ["OMP_NUM_THREADS"])}}
def where():
    import imitate
    return lambda seed: {{"seconds": 1.0, "count": 1, "file": imitate.__file__}}
def path():
    return lambda seed: {{"seconds": 1.0, "count": 1, "folders": os.environ["PYTHONPATH"].split(os.pathsep)}}
def fatal():
    print("out of cheese", file=sys.stderr)
    sys.stderr.flush()
    os._exit(7)
tasks = (double, broken, threads, where, path, fatal)
serve({{task.__name__: task for task in tasks}}, ("pytest", "no-such-package"))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text(SCRIPT.format(folder=str(SERVING)))
    return path


def test_paired_takes_ratios_within_a_round():
    # The second round was slow for both, the third for one.
    found = paired([10.0, 1.0, 6.0], [5.0, 0.5, 6.0])
    assert found == Spread(2.0, 1.0, 2.0)


def test_paired_refuses_rounds_that_do_not_match():
    with pytest.raises(ValueError, match="rounds: 2 and 1"):
        paired([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="rounds: 0 and 0"):
        paired([], [])


def test_alternate_goes_forth_and_back():
    calls = []
    found = alternate({name: lambda n, name=name: calls.append((name, n)) or n * 10 for name in "ab"}, 3)
    assert calls == [("a", 0), ("b", 0), ("b", 1), ("a", 1), ("a", 2), ("b", 2)]
    assert found == {"a": [0, 10, 20], "b": [0, 10, 20]}


def test_a_worker_builds_once_until_it_forgets(script):
    with Worker(sys.executable, script) as worker:
        assert worker.versions["pytest"] == pytest.__version__
        assert worker.versions["no-such-package"] == "not installed"
        assert worker.ask("double", {"number": 4}, seed=3) == {"seconds": 1.0, "count": 11, "built": 1}
        assert worker.ask("double", {"number": 4})["built"] == 1
        assert worker.ask("double", {"number": 5})["built"] == 2
        worker.forget()
        assert worker.ask("double", {"number": 5})["built"] == 3


def test_a_worker_says_what_failed_and_goes_on(script):
    with Worker(sys.executable, script) as worker:
        with pytest.raises(WorkerError, match=r"^broken: RuntimeError: no luck$"):
            worker.ask("broken", {})
        with pytest.raises(WorkerError, match=r"KeyError: 'unknown'"):
            worker.ask("unknown", {})
        assert worker.ask("double", {"number": 1})["count"] == 2


def test_a_worker_that_ends_leaves_its_last_words(script):
    with Worker(sys.executable, script) as worker, pytest.raises(WorkerError, match="code 7: out of cheese"):
        worker.ask("fatal", {})


def test_a_worker_that_cannot_start(tmp_path):
    path = tmp_path / "worker.py"
    path.write_text("import no_such_module\n")
    with pytest.raises(WorkerError, match="code 1: ModuleNotFoundError: No module named 'no_such_module'"):
        Worker(sys.executable, path)


def test_threads_reach_the_worker(script):
    with Worker(sys.executable, script, threads=3) as worker:
        assert worker.ask("threads", {})["count"] == 3


def test_imports_look_in_the_given_folder_first(script, tmp_path):
    package = tmp_path / "old" / "imitate"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    for folder in (package.parent, SERVING.parent):  # the second is what is installed, or the tree around the tests
        with Worker(sys.executable, script, path=folder) as worker:
            assert worker.ask("where", {})["file"] == str(folder / "imitate" / "__init__.py")


@pytest.mark.parametrize("modern", [True, False])
def test_imports_find_the_environments_of_the_same_tree(script, tmp_path, modern):
    """What is in `envs/` itself, as once it was, stays below that name."""
    (tmp_path / "envs" / ("imitate_envs" if modern else "base")).mkdir(parents=True)
    with Worker(sys.executable, script, path=tmp_path) as worker:
        folders = worker.ask("path", {})["folders"]
    assert folders[0] == str(tmp_path)
    assert (str(tmp_path / "envs") in folders) == modern


def test_timed_warms_up_and_counts():
    calls = []
    run = serving.timed(lambda: calls.append(1) or 5)
    assert len(calls) == 1
    assert run(0)["count"] == 5
    assert run(0)["seconds"] >= 0
    assert len(calls) == 3


def test_race_remembers_when_each_first_arrived():
    scores = iter([[0.0, 9.0], [0.0, 1.0], [9.0, 1.0], [9.0, 9.0]])
    found = serving.race(lambda: None, lambda: False, lambda: next(scores), 9.0)
    assert found["looks"] == 3  # the second had arrived before, and need not stay
    first, second = found["reached"]
    assert second < first == found["seconds"]
    assert found["score"] == 5.0


def test_race_ends_with_the_learner():
    left = iter([False, False, True])
    found = serving.race(lambda: None, lambda: next(left), lambda: [1.0], 9.0)
    assert found["reached"] == [None]
    assert found["looks"] == 2
