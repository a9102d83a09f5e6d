"""Rows, what is made of their timings, and the tables of them."""

import ast
import importlib.util
import json
import sys
from inspect import Parameter, Signature
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import guard, parity, scaling, time_shares, versus, versus_rows
from benchmarks.pages import tables
from benchmarks.pairing import Spread, WorkerError
from benchmarks.versus_rows import Row, ours, sb3
from imitate.experiment.evaluate import interval

FOLDER = Path(versus.__file__).parent


class Fake:
    """A worker whose timings are known: seconds by round."""

    def __init__(self, seconds, **more):
        self.seconds, self.more, self.forgotten = seconds, more, 0

    def ask(self, task, arguments, seed=0):
        return {"seconds": self.seconds[seed], "count": 100, **self.more}

    def forget(self):
        self.forgotten += 1


@pytest.fixture(scope="module")
def worker_ours():
    sys.path.insert(0, str(FOLDER))  # as when it is run as a script
    try:
        spec = importlib.util.spec_from_file_location("worker_ours", FOLDER / "worker_ours.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(FOLDER))
        sys.modules.pop("serving", None)
    return module


def functions(script):
    """Signatures of a script's functions, without running it."""
    parsed = ast.parse((FOLDER / script).read_text("utf-8"))
    return {f.name: signature(f.args) for f in parsed.body if isinstance(f, ast.FunctionDef)}


def signature(arguments):
    """Parameters of a function, and which of them have a default."""
    names = [a.arg for a in arguments.args]
    first = len(names) - len(arguments.defaults)
    return Signature(
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=Parameter.empty if i < first else None)
        for i, name in enumerate(names)
    )


def test_every_contestant_is_a_task_with_its_arguments():
    known = {who: functions(f"worker_{who}.py") for who in ("ours", "sb3", "imitation", "rsl")}
    rows = versus_rows.rows()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert len({c.name for c in row.contestants}) == len(row.contestants)
        for contestant in row.contestants:
            known[contestant.who][contestant.task].bind(**contestant.arguments)
    for task, arguments in guard.ROWS.values():
        known["ours"][task].bind(**arguments)
    for task in parity.TASKS.values():
        known["ours"][task].bind(members=8, episodes=100)
        known["sb3"][task].bind(episodes=100)


def test_parity_compares_members_of_ours_with_seeds_of_theirs(tmp_path, monkeypatch, capsys):
    class Trainer:
        def __init__(self, python, script, path=None):
            self.mine, self.versions = script.name == "worker_ours.py", {}

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def ask(self, task, arguments, seed=0):
            assert task == "trained_dqn"
            return {"seconds": 2.0, "scores": [490.0, 500.0] if self.mine else [100.0 * seed]}

    monkeypatch.setattr(parity, "Worker", Trainer)
    parity.main(parity.Options(("DQN",), seeds=2, out=tmp_path / "parity.json"))
    [row] = json.loads((tmp_path / "parity.json").read_text())["rows"]
    low, high = interval(np.array([490.0, 500.0]))
    assert row["imitate"] == {"scores": [490, 500], "mean": 495, "ci_low": low, "ci_high": high, "seconds": 2}
    assert (row["stable-baselines3"]["scores"], row["stable-baselines3"]["seconds"]) == ([0, 100], 4)
    assert f"495.0 [{low:.1f}, {high:.1f}] in 2 s: 490 500" in capsys.readouterr().out


def test_peers_import_nothing_of_ours():
    for script in ("serving.py", "worker_sb3.py", "worker_imitation.py"):
        for node in ast.walk(ast.parse((FOLDER / script).read_text("utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not any(name.split(".")[0] in ("imitate", "envs", "benchmarks") for name in names)


@pytest.mark.parametrize(
    ("task", "arguments", "count"),
    [
        ("steps", {"num_envs": 2, "steps": 130}, 260),
        ("moves", {"num_envs": 2, "steps": 130}, 260),
        ("rollout", {"num_envs": 2, "steps": 3}, 6),
        ("ppo", {"members": 2, "num_envs": 8, "rollout": 32, "epochs": 1, "steps": 512}, 1_024),
        ("dqn", {"members": 2, "steps": 256}, 512),
        ("qr_dqn", {"members": 1, "steps": 256}, 256),
        ("distill", {"members": 2, "num_envs": 4, "rollout": 8, "each": 4, "labels": 64}, 128),
        ("clone", {"members": 2, "batch": 8, "updates": 3, "samples": 500}, 48),
        (
            "dagger",
            {"members": 2, "rounds": 2, "rollout": 5, "updates": 2, "batch": 8, "fading": 3},
            80,
        ),
        (
            "clone_until",
            {"members": 2, "batch": 8, "samples": 500, "target": 1.0, "every": 2, "limit": 4},
            1,
        ),
        ("score", {"members": 2, "target": 1.0, "budget": 4_096, "own": False}, 1),
        ("score", {"members": 2, "target": 1.0, "budget": 4_096, "own": True}, 1),
    ],
)
def test_our_tasks_count_what_they_do(worker_ours, task, arguments, count):
    answer = getattr(worker_ours, task)(**arguments)(0)
    assert answer["count"] == count
    assert answer["seconds"] > 0
    if "reached" in answer:
        assert len(answer["reached"]) == 2
        assert answer["looks"] == 1
        assert None not in answer["reached"]


ROW = Row("row", "Work", "steps/s", "Read this.", (sb3("peer", "p"), ours("1 member", "o"), ours("8 members", "o")))


def test_measure_pairs_rounds():
    workers = {"sb3": Fake([1.0, 4.0, 1.0]), "ours": Fake([0.5, 2.0, 2.0])}
    entry = versus.measure(ROW, workers, 3)
    peer, one, _ = entry["contestants"]
    assert (peer["median"], peer["low"], peer["high"]) == (100, 25, 100)
    assert (one["median"], one["low"], one["high"]) == (50, 50, 200)
    found = {(r["name"], r["against"]): (r["ratio"], r["low"], r["high"]) for r in entry["ratios"]}
    assert found == {
        ("imitate, 1 member", "peer"): (2.0, 0.5, 2.0),
        ("imitate, 8 members", "peer"): (2.0, 0.5, 2.0),
        ("imitate, 8 members", "imitate, 1 member"): (1.0, 1.0, 1.0),
    }
    assert workers["sb3"].forgotten == workers["ours"].forgotten == 1


def test_measure_of_a_race_keeps_seconds_and_says_how_many_arrived():
    row = Row("race", "Race", "seconds", "", (sb3("peer", "p"), ours("1 member", "o")))
    there = {"reached": [2.0], "score": 9.0}
    workers = {"sb3": Fake([4.0, 8.0], reached=[None], score=1.0), "ours": Fake([2.0, 2.0], **there)}
    for worker in workers.values():
        worker.ask = lambda task, arguments, seed=0, w=worker: {**Fake.ask(w, task, arguments, seed), "count": 1}
    entry = versus.measure(row, workers, 2)
    assert [c["median"] for c in entry["contestants"]] == [6.0, 2.0]
    assert entry["ratios"][0]["ratio"] == 3.0
    assert [versus.arrived(c) for c in entry["contestants"]] == [" (0 of 2 there)", " (2 of 2 there)"]


def test_rows_are_chosen_by_the_beginning_of_their_names():
    every = versus_rows.rows()
    names = [row.name for row in versus.chosen(every, ("ppo", "qr"))]
    assert names == ["ppo-8", "ppo-64", "qr-dqn-256", "qr-dqn-64"]
    assert versus.chosen(every, ()) == list(every)
    with pytest.raises(ValueError, match="rows: none begins with 'sac'; there are steps-8"):
        versus.chosen(every, ("ppo", "sac"))


def test_a_row_measured_again_takes_its_place():
    old = [{"name": "score", "v": 1}, {"name": "steps-8", "v": 1}, {"name": "gone", "v": 1}]
    found = versus.merged(old, {"name": "score", "v": 2})
    assert found == [{"name": "steps-8", "v": 1}, {"name": "score", "v": 2}, {"name": "gone", "v": 1}]


def test_without_peers_a_line_tells_the_remedy(tmp_path, capsys):
    out = tmp_path / "versus.json"
    assert versus.main(versus.Options(rows=("clone-32",), peers=tmp_path, out=out)) == 0
    said = capsys.readouterr()
    assert said.err.count("\n") == 1
    assert "run `make peers`" in said.err
    assert not out.exists()


def test_speed_table():
    workers = {"sb3": Fake([1.0, 4.0, 1.0]), "ours": Fake([0.5, 2.0, 2.0])}
    document = {"rows": [versus.measure(ROW, workers, 3)]}
    found = tables.speed_table(json.loads(json.dumps(document))).splitlines()
    assert found[2:] == [
        "| Work | peer | 100 steps/s |  |",
        "|  | imitate, 1 member | 50 steps/s | 2 [0.5, 2] |",
        "|  | imitate, 8 members | 50 steps/s | 2 [0.5, 2] |",
        "",
        "- Work: Read this.",
    ]


def test_guard_is_about_medians_beyond_the_tolerance():
    assert not guard.slower(Spread(1.15, 1.0, 9.0), 0.15)
    assert guard.slower(Spread(1.151, 0.9, 1.2), 0.15)
    assert guard.line(Spread(1.2, 0.9, 1.5), 0.15) == " +20.0 % time [-10.0, +50.0]  SLOWER"
    assert guard.line(Spread(0.5, 0.5, 1.5), 0.15) == " -50.0 % time [-50.0, +50.0]  ok"


class Sides:
    """Stands for `Worker` in the guard: the revision, whose imports lie in another folder, and the working tree."""

    then = now = 1.0

    def __init__(self, python, script, *, threads, keep_memory, path):
        assert script == path / "benchmarks" / "worker_ours.py"  # each tree has a worker of its own
        self.own = path == FOLDER.parent

    def ask(self, task, arguments, seed=0):
        if task == "dqn" and not self.own:
            raise WorkerError("dqn: TypeError: what is that")
        return {"seconds": self.now if self.own else self.then, "count": 1}

    def forget(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.mark.parametrize(("now", "code", "word"), [(1.1, 0, "ok"), (1.3, 1, "SLOWER"), (0.5, 0, "ok")])
def test_guard_ends_with_its_verdict(monkeypatch, capsys, now, code, word):
    monkeypatch.setattr(guard, "Worker", Sides)
    monkeypatch.setattr(guard, "unpack", lambda revision, folder: None)
    monkeypatch.setattr(Sides, "now", now)
    assert guard.main(guard.Options(against="old", rounds=2)) == code
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(guard.ROWS)
    assert all(line.endswith(word) for line in said[:-1])
    assert "not compared: old cannot run dqn: TypeError" in said[-1]


def test_guard_refuses_what_is_not_there(tmp_path):
    with pytest.raises(ValueError, match="against: 'no-such-revision' cannot be unpacked"):
        guard.unpack("no-such-revision", tmp_path)
    with pytest.raises(ValueError, match="rows: none begins with SAC; there are environment step"):
        guard.main(guard.Options(against="HEAD", rows=("SAC",)))


def test_a_table_of_values_names_other_steps():
    def row(variant, steps):
        return {"variant": variant, "steps": steps, "scores": [5.0, 5.0]}

    one = {"env": "A-v0", "rows": [row("DQN", 50_048), row("PER", 100_000), row("C51", 100_000)]}
    other = {"env": "B-v0", "rows": [row("PER", 200_000)]}
    assert tables.value_table([one, other]).splitlines() == [
        "| variant | A-v0, 100k steps | B-v0, 200k steps |",
        "| --- | --- | --- |",
        "| DQN | 5.0 [5.0, 5.0] (50k) | not run |",
        "| PER | 5.0 [5.0, 5.0] | 5.0 [5.0, 5.0] |",
        "| C51 | 5.0 [5.0, 5.0] | not run |",
    ]


def test_knee_is_where_doubling_stops_paying():
    assert scaling.knee([1, 2, 4, 8], [10, 20, 38, 50]) == 4
    assert scaling.knee([1, 4, 16], [10, 30, 50]) == 4  # 3 for two doublings is 1.73 for one; 5/3 is 1.29
    assert scaling.knee([1, 2], [10, 19]) is None


def test_compiling_is_earned_back_by_what_each_step_saves():
    assert scaling.break_even(9.0, eager=100.0, compiled=1_000.0) == 1_000  # 9 ms a step
    assert scaling.break_even(9.0, eager=100.0, compiled=100.0) is None


class Event:
    def __init__(self, name, spent, parent=None):
        self.name, self.self_cpu_time_total, self.cpu_parent = name, spent, parent


def test_shares_go_to_the_innermost_mark():
    whole = Event("iteration", 10)
    policy = Event("policy", 20, whole)
    product = Event("aten::addmm", 30, policy)
    events = [whole, policy, product, Event("aten::copy_", 5, product), Event("aten::rand", 35, whole)]
    found = time_shares.shares([*events, Event("aten::before", 1_000)])
    assert found == {"environment": 0, "policy": 0.35, "update": 0, "elsewhere": 0.35, "Python": 0.30}


def test_ppo_is_profiled_in_all_its_parts():
    found = time_shares.profile_ppo(1, iterations=1)
    assert all(share > 0 for share in found.values())
    assert sum(found.values()) == pytest.approx(1)


def test_scaling_writes_curves_and_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, dynamic: function)  # which takes seconds a size
    monkeypatch.setattr(scaling, "profile_ppo", lambda members: {"update": 0.25, "Python": 0.75})
    tiny = {"members": (1, 2), "envs": (2, 4), "widths": (4, 8), "episodes": (5, 10), "seconds": 0.0, "rounds": 1}
    scaling.main(scaling.Options(**tiny, keep_memory=False, out=tmp_path / "scaling.json"))
    document = json.loads((tmp_path / "scaling.json").read_text())
    assert [curve["sizes"] for curve in document["curves"]] == [[1, 2]] * 2 + [[2, 4]] * 4 + [[4, 8]] * 2 + [[5, 10]]
    assert set(document["break_even_steps"]) == {"random actions", "64-64 policy"}
    assert all(speed > 0 for curve in document["curves"] for speed in curve["speeds"])
    assert (tmp_path / "scaling.png").stat().st_size > 0
