"""The loop around an algorithm: reports, checkpoints, logs, interruptions. Letters: M members."""

import csv
import json
import math
import signal
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch.utils.tensorboard import SummaryWriter

from imitate import nets
from imitate.core.progress import Progress
from imitate.core.rollout import TensorSource
from imitate.experiment import Evaluation, Report, load_checkpoint, log, run
from imitate.experiment.evaluate import Evaluator
from imitate.experiment.log import Log
from tests.oracles import Walk

M = 2


class Fake:
    """An algorithm that only counts: ten steps an iteration, of which iteration i has the losses (i, 2i).

    Args:
        budget: Where it is finished.
        during: Called with the number of the iteration in the midst of it; may return metrics to replace.
        per: Steps of an iteration.
    """

    def __init__(self, budget=100, during=lambda i: None, per=10):
        self.source = TensorSource(Walk(), id="Walk", num_envs=2, members=M)
        self.policy = nets.policy(self.source, (4,))
        self.progress = Progress(self.source.spec, budget)
        self.total = torch.zeros(M)  # what it has learnt
        self.during, self.per = during, per

    def step(self):
        i = int(self.progress.steps) // self.per + 1
        metrics = {"loss": torch.tensor([1.0, 2.0]) * i, "other": torch.full((M,), float(i * i))}
        metrics |= self.during(i) or {}
        self.total += metrics["loss"]
        self.progress.advance(self.per, torch.tensor([1, 3]))
        return metrics


def steps_of(folder):
    return json.loads((folder / "checkpoint.json").read_text("utf-8"))["steps"]


def table(folder):
    with (folder / "progress.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("options", "per", "expected"),
    [
        ({}, 10, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        ({"report_every": 30}, 10, [30, 60, 90, 100]),
        ({"report_every": 25}, 10, [30, 50, 80, 100]),
        ({"report_every": 100}, 10, [100]),
        ({"report_every": 1_000}, 10, [100]),
        ({"report_every": 5}, 30, [30, 60, 90, 120]),
        ({"evaluate_every": 40}, 10, [40, 80, 100]),
        ({"evaluate_every": 40, "report_every": 50}, 10, [50, 100]),
        ({"steps": 50, "report_every": 30}, 10, [30, 50]),
        ({"steps": 45}, 20, [20, 40, 60]),
        ({"steps": 1_000}, 50, [50, 100]),
        ({"steps": 0}, 10, []),
    ],
)
def test_reports_come_at_the_asked_steps_and_at_the_end(options, per, expected):
    assert [report.steps for report in run(Fake(per=per), **options)] == expected


def test_a_step_over_several_periods_is_one_report_and_owes_none():
    algorithm = Fake(budget=65)
    steps = iter([30, 5, 5, 5, 5, 5, 10])
    algorithm.during = lambda i: setattr(algorithm, "per", next(steps))
    assert [report.steps for report in run(algorithm, report_every=10)] == [30, 40, 50, 65]


def test_a_report_says_what_happened_since_the_last():
    reports = list(run(Fake(), report_every=30))
    iterations = [[1, 2, 3], [4, 5, 6], [7, 8, 9], [10]]
    for report, several in zip(reports, iterations, strict=True):
        assert report.metrics["loss"].tolist() == pytest.approx([np.mean(several), 2 * np.mean(several)])
        assert report.metrics["other"].tolist() == pytest.approx([np.mean(np.square(several))] * M)
        assert report.metrics["loss"].dtype == np.float64
        assert report.labels == 2 * several[-1]  # (1 + 3)/2 an iteration
        assert report.evaluation is None
        assert report.row() == pytest.approx(
            {
                "steps": report.steps,
                "seconds": report.seconds,
                "steps_per_second": report.steps_per_second,
                "labels": report.labels,
                "loss": 1.5 * np.mean(several),
                "other": np.mean(np.square(several)),
            }
        )


def test_a_metric_that_is_not_always_there_is_averaged_over_where_it_is():
    algorithm = Fake(during=lambda i: {"rare": torch.tensor([1.0, float(i)])} if i % 2 == 0 else None)
    reports = list(run(algorithm, report_every=50))
    assert reports[0].metrics["rare"].tolist() == [1, 3]  # of iterations 2 and 4
    assert reports[1].metrics["rare"].tolist() == [1, 8]


def test_seconds_are_those_of_the_algorithm_alone(monkeypatch):
    """A clock that only steps and evaluations move: two seconds an iteration, a hundred an evaluation."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def wait(seconds):
        now[0] += seconds

    monkeypatch.setattr(Evaluator, "__call__", lambda self, policy: wait(100) or Evaluation(np.ones((M, 2))))
    reports = []
    for report in run(Fake(during=lambda i: wait(2)), evaluate_every=20, report_every=10):
        reports.append(report)
        wait(1_000)  # what the caller does does not count either
    assert [report.seconds for report in reports] == [2.0 * i for i in range(1, 11)]
    assert [report.steps_per_second for report in reports] == pytest.approx([M * 10 / 2] * 10)
    assert [report.evaluation is not None for report in reports] == [False, True] * 5


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"evaluate_every": 40, "report_every": 10}, [40, 80, 100]),
        ({"evaluate_every": 35, "report_every": 10}, [40, 70, 100]),
        ({"evaluate_every": 30, "report_every": 20}, [40, 60, 100]),
        ({"evaluate_every": 10}, list(range(10, 101, 10))),
        ({"evaluate_every": 1_000}, [100]),
        ({"report_every": 10}, []),
    ],
)
def test_evaluations_come_when_due_and_at_the_end(options, expected):
    reports = list(run(Fake(), episodes=2, **options))
    assert [report.steps for report in reports if report.evaluation is not None] == expected


def test_evaluations_are_of_the_policy_on_its_source_against_the_teacher():
    algorithm = Fake()
    teacher = nets.policy(algorithm.source, (4,), seed=9)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    (report,) = run(algorithm, evaluate_every=1_000, episodes=3, teacher=teacher)
    assert np.array_equal(report.evaluation.returns, Evaluator(algorithm.source, 3)(algorithm.policy).returns)
    assert np.array_equal(report.evaluation.teacher, Evaluator(algorithm.source, 3)(teacher).returns)
    assert report.row()["return"] == report.evaluation.mean
    assert (report.row()["return_low"], report.row()["return_high"]) == report.evaluation.ci
    assert "percent_of_teacher" in report.row()
    (alone,) = run(Fake(), evaluate_every=1_000, episodes=3)
    assert "percent_of_teacher" not in alone.row()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"report_every": 10}, [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]),
        ({"report_every": 10, "checkpoint_every": 30}, [None, None, 30, 30, 30, 60, 60, 60, 90, 100]),
        ({"report_every": 20, "checkpoint_every": 30}, [None, 40, 60, 60, 100]),
        ({"report_every": 50, "checkpoint_every": 1_000}, [None, 100]),
        ({"evaluate_every": 50, "episodes": 1}, [50, 100]),
    ],
)
def test_checkpoints_are_written_when_due_and_at_the_end(options, expected, tmp_path):
    def last():
        return steps_of(tmp_path) if (tmp_path / "checkpoint.json").exists() else None

    assert [last() for _ in run(Fake(), checkpoint=tmp_path, **options)] == expected


def test_a_checkpoint_is_on_disk_before_its_evaluation(tmp_path, monkeypatch):
    """An evaluation may be long, and be interrupted."""
    found = []
    monkeypatch.setattr(
        Evaluator, "__call__", lambda self, policy: found.append(steps_of(tmp_path)) or Evaluation(np.ones((M, 2)))
    )
    list(run(Fake(), evaluate_every=50, checkpoint=tmp_path))
    assert found == [50, 100]


def test_without_a_folder_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    list(run(Fake(), evaluate_every=50, episodes=1))
    assert list(tmp_path.iterdir()) == []


def test_the_table_and_the_events_hold_the_reports(tmp_path):
    reports = list(run(Fake(), report_every=20, evaluate_every=60, episodes=2, checkpoint=tmp_path / "a" / "b"))
    rows = table(tmp_path / "a" / "b")
    assert [row["steps"] for row in rows] == ["20", "40", "60", "80", "100"]
    for row, report in zip(rows, reports, strict=True):
        expected = report.row()
        assert set(row) == set(reports[2].row())
        for name, text in row.items():
            if name in expected:
                assert float(text) == pytest.approx(expected[name], rel=1e-6)
            else:
                assert text == ""  # no evaluation there
    assert rows[1]["return"] == ""
    assert rows[2]["return"] != ""
    assert nets.load(tmp_path / "a" / "b").members == M
    found = events(tmp_path / "a" / "b")
    assert found["loss"] == pytest.approx({r.steps: r.row()["loss"] for r in reports})
    assert found["return"] == pytest.approx({r.steps: r.row()["return"] for r in (reports[2], reports[4])}, rel=1e-5)
    assert "steps" not in found


def events(folder):
    """Scalars of the TensorBoard files in a folder: tag -> {step: value}."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert list(folder.glob("events.out.tfevents.*"))
    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    found = {}
    for tag in accumulator.Tags()["scalars"]:
        steps = [event.step for event in accumulator.Scalars(tag)]
        assert steps == sorted(set(steps)), "a step is there twice"
        found[tag] = {event.step: event.value for event in accumulator.Scalars(tag)}
    return found


def test_whole_numbers_are_written_in_full_so_that_no_row_is_lost(tmp_path):
    with Log(tmp_path, 0) as log:
        for step in (123_456_788, 123_456_789, 123_456_790):
            log.write({"steps": float(step), "loss": 1 / 3, "nan": math.nan, "inf": math.inf}, step)
    with Log(tmp_path, 123_456_789) as log:
        log.write({"steps": 123_456_791.0, "more": 1.0}, 123_456_791)
    rows = table(tmp_path)
    assert [row["steps"] for row in rows] == ["123456788", "123456789", "123456791"]
    assert [row["more"] for row in rows] == ["", "", "1"]
    assert rows[0]["loss"] == "0.33333333"
    assert rows[0]["nan"] == "nan"
    assert set(events(tmp_path)) == {"loss", "more"}  # neither NaN nor infinity is drawn


@pytest.mark.parametrize(("teacher", "text", "shown"), [(30.0, "50", {"percent_of_teacher"}), (0.0, "", set())])
def test_a_percentage_that_does_not_exist_is_an_empty_field(teacher, text, shown, tmp_path):
    evaluation = Evaluation(np.full((2, 1), 15.0), np.full((2, 1), teacher), np.zeros((2, 1)))
    with Log(tmp_path, 0) as log:
        log.write(Report(8, 1.0, 1.0, 0.0, {}, evaluation).row(), 8)
    assert [row["percent_of_teacher"] for row in table(tmp_path)] == [text]
    assert {name for name in events(tmp_path) if name.startswith("percent")} == shown
    assert ("n/a: the teacher is no better than chance" in text_of(evaluation=evaluation)) is (text == "")


def nan_at(iteration, name="loss", member=1, value=math.nan):
    def during(i):
        if i != iteration:
            return None
        metric = torch.ones(M)
        metric[member] = value
        return {name: metric}

    return during


@pytest.mark.parametrize("name", ["loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_ends_the_run_and_spares_the_checkpoint(tmp_path, name, value):
    algorithm = Fake(during=lambda i: {"grad_norm": torch.ones(M)} | (nan_at(6, name, 1, value)(i) or {}))
    found = []
    with pytest.raises(FloatingPointError, match=r"\(member 1\) at iteration 1 of the 1 before step 60") as caught:
        found.extend(r.steps for r in run(algorithm, checkpoint=tmp_path, report_every=10, checkpoint_every=30))
    assert found == [10, 20, 30, 40, 50]
    assert "\n" not in str(caught.value)
    assert "The last good checkpoint, of step 30, is kept." in str(caught.value)
    assert steps_of(tmp_path) == 30
    fresh = Fake()
    load_checkpoint(fresh, tmp_path)
    assert int(fresh.progress.steps) == 30
    assert fresh.total.tolist() == [6, 12]


def test_the_iteration_and_all_members_are_named():
    def during(i):
        return {"loss": torch.full((M,), math.nan)} if i == 5 else None

    with pytest.raises(FloatingPointError, match=r"\(member 0, 1\) at iteration 2 of the 3 before step 60"):
        list(run(Fake(during=during), report_every=30))


def test_other_metrics_may_be_anything():
    reports = list(run(Fake(during=nan_at(3, "curious")), report_every=50))
    assert len(reports) == 2


def test_a_run_is_resumed_from_its_checkpoint_and_the_table_with_it(tmp_path):
    """Rows that were written after the checkpoint are dropped: their steps are taken again."""
    with pytest.raises(FloatingPointError):
        list(run(Fake(during=nan_at(6)), checkpoint=tmp_path, report_every=10, checkpoint_every=30))
    assert [row["steps"] for row in table(tmp_path)] == ["10", "20", "30", "40", "50"]
    again = Fake()
    reports = list(run(again, checkpoint=tmp_path, report_every=10, checkpoint_every=30, resume=True))
    assert [report.steps for report in reports] == [40, 50, 60, 70, 80, 90, 100]
    rows = table(tmp_path)
    assert [row["steps"] for row in rows] == [str(i) for i in range(10, 101, 10)]
    assert [float(row["loss"]) for row in rows] == pytest.approx([1.5 * i for i in range(1, 11)])
    assert again.total.tolist() == [55, 110]
    assert reports[0].labels == 8
    found = events(tmp_path)["loss"]
    assert found == pytest.approx({10 * i: 1.5 * i for i in range(1, 11)})


CLOCKS = {"seconds", "steps_per_second"}


def without_clocks(folder):
    rows = [{name: text for name, text in row.items() if name not in CLOCKS} for row in table(folder)]
    return rows, {name: curve for name, curve in events(folder).items() if name not in CLOCKS}


OFTEN = {"report_every": 10, "evaluate_every": 50, "episodes": 2}


@pytest.mark.parametrize("at", [60, 100])
@pytest.mark.parametrize(
    ("owner", "name"), [(Evaluator, "__call__"), (Log, "write"), (SummaryWriter, "flush"), (log, "replace")]
)
def test_what_a_checkpoint_owes_is_done_first_by_who_resumes(tmp_path, monkeypatch, at, owner, name):
    """Stopped behind a checkpoint, in the evaluation, or before the events or the row are there."""
    curious = {"curious": torch.tensor([math.nan, math.inf])}
    straight = list(run(Fake(during=lambda i: curious), checkpoint=tmp_path / "straight", **OFTEN))
    broken, original = tmp_path / "broken", getattr(owner, name)

    def stops(*args, **kwargs):
        if (broken / "checkpoint.json").exists() and steps_of(broken) == at:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, stops)
        with suppress(KeyboardInterrupt):  # nothing is evaluated at 60
            list(run(Fake(during=lambda i: curious), checkpoint=broken, **OFTEN))
    lost = owner is not Evaluator or at == 100
    assert steps_of(broken) == (at if lost else 100)
    reports = list(run(Fake(during=lambda i: curious), checkpoint=broken, resume=True, **OFTEN))
    if lost:
        first, same = str(reports[0]), str(straight[at // 10 - 1])
        assert first.partition("steps/s")[2] == same.partition("steps/s")[2]
        assert [report.steps for report in reports] == list(range(at, 101, 10))
    assert without_clocks(broken) == without_clocks(tmp_path / "straight")


def test_what_a_checkpoint_owes_may_be_damaged(tmp_path):
    list(run(Fake(), steps=50, checkpoint=tmp_path))
    (tmp_path / "progress.csv").unlink()
    for owed in ("x", {"metrics": {}}, {"metrics": {"a": ["b"]}, "seconds": 1, "steps_per_second": 1, "labels": 0}):
        rename(tmp_path, owed=owed)
        with pytest.raises(ValueError, match="owes a report that is none"):
            list(run(Fake(), checkpoint=tmp_path, resume=True))


@pytest.mark.parametrize(
    "content",
    [b"a,b\n1,2\n", b"steps,b\nabc,2\n", b"b,steps\n1\n", b"steps,b\n1,2,3\n", b"steps\n\xff\n", b"steps\nnan\n"],
)
def test_a_table_that_is_none_is_named(tmp_path, content):
    list(run(Fake(), steps=50, checkpoint=tmp_path))
    (tmp_path / "progress.csv").write_bytes(content)
    with pytest.raises(ValueError, match=r"progress\.csv' is no table of a run's steps; move it away"):
        list(run(Fake(), checkpoint=tmp_path, resume=True))
    (tmp_path / "progress.csv").unlink()
    list(run(Fake(), checkpoint=tmp_path, resume=True))
    assert [row["steps"] for row in table(tmp_path)] == [str(step) for step in range(50, 101, 10)]


def test_a_row_that_is_there_is_not_owed(tmp_path):
    reports = run(Fake(), checkpoint=tmp_path, report_every=20)
    assert [next(reports).steps for _ in range(2)] == [20, 40]
    reports.close()
    assert [report.steps for report in run(Fake(), checkpoint=tmp_path, report_every=20, resume=True)] == [60, 80, 100]


def test_two_runs_do_not_write_into_one_folder(tmp_path):
    first = run(Fake(), checkpoint=tmp_path, report_every=20)
    next(first)
    line = r"checkpoint: another run writes into .* \(process \d+\); wait for its end"
    for resume in (False, True):
        second = Fake()
        with pytest.raises(ValueError, match=line):
            next(run(second, checkpoint=tmp_path, resume=resume))
        assert int(second.progress.steps) == 0
    assert [report.steps for report in first] == [40, 60, 80, 100]
    assert list(run(Fake(), checkpoint=tmp_path, resume=True)) == []


def test_what_is_to_be_known_of_a_run_is_beside_it(tmp_path):
    list(run(Fake(), checkpoint=tmp_path, about={"command": "fake"}))
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == {"command": "fake"}
    with pytest.raises(ValueError, match="holds a run already"):
        list(run(Fake(), checkpoint=tmp_path, about={"command": "other"}))
    assert json.loads((tmp_path / "run.json").read_text("utf-8")) == {"command": "fake"}


def test_a_policy_of_ones_own_is_never_older_than_the_checkpoint(tmp_path):
    class Own:
        def save(self, folder):
            saved.append(steps_of(folder) if (folder / "checkpoint.json").exists() else 0)

    algorithm, saved = Fake(), []
    algorithm.policy = Own()
    list(run(algorithm, checkpoint=tmp_path, report_every=50))
    assert saved == [0, 50]


def lost_at(iteration):
    return Fake(during=nan_at(iteration, value=math.inf))


def test_a_checkpoint_from_which_the_next_iteration_is_lost_is_not_the_last_good_one(tmp_path):
    """Weights may be finite and lead to a loss that is not, whatever the learning rate."""
    with pytest.raises(FloatingPointError, match="The last good checkpoint, of step 40, is kept"):
        list(run(lost_at(6), checkpoint=tmp_path, report_every=10))
    assert steps_of(tmp_path) == 40
    assert len(list(tmp_path.glob("*.safetensors"))) == 2
    reports = list(run(Fake(), checkpoint=tmp_path, report_every=10, resume=True))
    assert [report.steps for report in reports] == [50, 60, 70, 80, 90, 100]
    assert [row["steps"] for row in table(tmp_path)] == [str(i) for i in range(10, 101, 10)]
    assert len(list(tmp_path.glob("*.safetensors"))) == 2


def test_one_behind_which_an_iteration_went_well_is(tmp_path):
    with pytest.raises(FloatingPointError, match="The last good checkpoint, of step 40, is kept"):
        list(run(lost_at(6), checkpoint=tmp_path, report_every=20))  # the second iteration behind the checkpoint
    with pytest.raises(FloatingPointError, match="The last good checkpoint, of step 40, is kept"):
        list(run(lost_at(7), checkpoint=tmp_path, report_every=20, resume=True))


def test_no_good_checkpoint_is_promised_where_there_is_none(tmp_path):
    with pytest.raises(FloatingPointError, match="No checkpoint was written yet"):
        list(run(lost_at(1), checkpoint=tmp_path))
    with pytest.raises(FloatingPointError, match="The only checkpoint, of step 10, is kept; if it leads there again"):
        list(run(lost_at(2), checkpoint=tmp_path))
    with pytest.raises(FloatingPointError, match=r"or look at the data\.\Z"):
        list(run(lost_at(2)))


@pytest.mark.parametrize("value", [1e38, -1e10, math.nan])
def test_weights_from_which_nothing_is_to_be_learnt_are_not_kept(tmp_path, value):
    """The losses are well, for they are of the weights before."""

    def spoil(i):
        if i == 10:
            algorithm.policy.head.linear.bias.data.fill_(value)

    algorithm = Fake(during=spoil)
    line = r"policy\.head\.linear\.bias .* \(member 0, 1\) before step 100: .* of step 90, is kept"
    with pytest.raises(FloatingPointError, match=line):
        list(run(algorithm, checkpoint=tmp_path, report_every=10))
    assert steps_of(tmp_path) == 90
    assert nets.load(tmp_path).head.linear.bias.abs().max() < 1


def test_reports_of_a_resumed_run_come_where_they_would_have_come(tmp_path):
    list(run(Fake(budget=100), steps=40, report_every=30, checkpoint=tmp_path))
    assert steps_of(tmp_path) == 40
    reports = list(run(Fake(), report_every=30, checkpoint=tmp_path, resume=True))
    assert [report.steps for report in reports] == [60, 90, 100]


def test_a_finished_run_has_nothing_left_and_a_new_one_is_refused(tmp_path):
    list(run(Fake(), checkpoint=tmp_path, report_every=50))
    assert list(run(Fake(), checkpoint=tmp_path, resume=True)) == []
    algorithm = Fake()
    with pytest.raises(ValueError, match="holds a run already; pass resume=True to go on with it, or another folder"):
        next(run(algorithm, checkpoint=tmp_path))
    assert int(algorithm.progress.steps) == 0
    assert [row["steps"] for row in table(tmp_path)] == ["50", "100"]
    assert not (tmp_path / ".lock").exists()


def test_resume_without_a_checkpoint_begins(tmp_path):
    reports = list(run(Fake(), checkpoint=tmp_path / "new", report_every=50, resume=True))
    assert [report.steps for report in reports] == [50, 100]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "checkpoint.json").write_text("{"), "not written by imitate"),
        (lambda f: (f / "checkpoint.json").write_text('{"a": 1}'), "not written by imitate"),
        (lambda f: truncate(next(f.glob("checkpoint-*.safetensors"))), "truncated or was changed"),
        (lambda f: next(f.glob("checkpoint-*.safetensors")).unlink(), "is missing"),
        (lambda f: rename(f, algorithm="Other"), "is of algorithm Other, this run is of Fake"),
        (lambda f: rename(f, env="Other"), "is of env Other, this run is of Walk"),
    ],
)
def test_a_foreign_or_truncated_checkpoint_is_refused(tmp_path, damage, message):
    list(run(Fake(), steps=50, checkpoint=tmp_path))
    damage(tmp_path)
    algorithm = Fake()
    with pytest.raises(ValueError, match=message) as caught:
        list(run(algorithm, checkpoint=tmp_path, resume=True))
    assert "\n" not in str(caught.value)
    assert int(algorithm.progress.steps) == 0


def truncate(path):
    path.write_bytes(path.read_bytes()[:-10])


def rename(folder, **changes):
    path = folder / "checkpoint.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes))


def test_a_folder_without_a_checkpoint_cannot_be_loaded(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No checkpoint\.json"):
        load_checkpoint(Fake(), tmp_path)


@dataclass(frozen=True)
class Beta:
    """A part of a config."""

    p: float = 0.5


@dataclass(frozen=True)
class Config:
    """What a run of `Fake` may say of itself."""

    steps: int = 100
    lr: float | tuple[float, ...] = 1e-3
    hidden: tuple[int, ...] = (8, 8)
    clip: float = math.inf
    beta: Beta = Beta()


def configured(**changes):
    """An algorithm that ends at the steps of its config."""
    config = Config(**changes)
    algorithm = Fake(budget=config.steps)
    algorithm.config = config
    return algorithm


def test_a_checkpoint_holds_the_config_and_the_network(tmp_path):
    list(run(configured(lr=(0.1, 0.2)), checkpoint=tmp_path))
    document = json.loads((tmp_path / "checkpoint.json").read_text("utf-8"))
    assert document["config"] == {
        "steps": 100,
        "lr": [0.1, 0.2],
        "hidden": [8, 8],
        "clip": "inf",
        "beta": {"kind": "Beta", "p": 0.5},
    }
    assert document["architecture"]["hidden"] == [4]
    load_checkpoint(configured(lr=(0.1, 0.2)), tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lr": 0.5}, "config.lr 0.001, now 0.5."),
        ({"lr": (0.5, 0.1)}, "config.lr 0.001, now [0.5, 0.1]."),
        ({"steps": 50}, "config.steps 100, now 50."),
        ({"beta": Beta(0.25), "clip": 1.0}, "config.clip inf, now 1.0; config.beta.p 0.5, now 0.25."),
    ],
)
def test_a_checkpoint_of_another_config_is_refused_unless_it_is_named(tmp_path, changes, message):
    list(run(configured(), checkpoint=tmp_path))
    other = configured(**changes)
    with pytest.raises(ValueError, match="was made with other options") as caught:
        load_checkpoint(other, tmp_path)
    assert str(caught.value) == f"checkpoint: '{tmp_path}' was made with other options: {message}"
    assert int(other.progress.steps) == 0
    load_checkpoint(other, tmp_path, changed=changes)
    assert int(other.progress.steps) == 100


def test_another_network_is_refused(tmp_path):
    list(run(configured(), checkpoint=tmp_path))
    other = configured()
    other.policy = nets.policy(other.source, (4,), activation="relu")
    with pytest.raises(ValueError, match=r"architecture\.activation tanh, now relu"):
        load_checkpoint(other, tmp_path, changed=("activation",))


def test_a_finished_run_is_extended(tmp_path):
    list(run(configured(), checkpoint=tmp_path))
    longer = configured(steps=150)
    assert [report.steps for report in run(longer, checkpoint=tmp_path, resume=True)] == [110, 120, 130, 140, 150]
    again = configured(steps=170, lr=0.5)
    with pytest.raises(ValueError, match=r"config\.lr"):
        list(run(again, checkpoint=tmp_path, resume=True))
    assert len(list(run(again, checkpoint=tmp_path, resume=True, changed=("lr",)))) == 2


def test_a_checkpoint_that_holds_no_config_is_refused_and_its_policy_loads(tmp_path):
    """Those of the first version."""
    list(run(configured(), checkpoint=tmp_path))
    path = tmp_path / "checkpoint.json"
    document = json.loads(path.read_text("utf-8"))
    del document["config"], document["architecture"]
    path.write_text(json.dumps(document))
    algorithm = configured()
    with pytest.raises(ValueError, match="was written by an earlier version; only its policy can be loaded"):
        load_checkpoint(algorithm, tmp_path)
    assert int(algorithm.progress.steps) == 0
    assert nets.load(tmp_path).members == M


def interrupt(at, *numbers):
    def during(i):
        if i == at:
            for number in numbers:
                signal.raise_signal(number)

    return during


SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def handler():
    """The handler of Ctrl-C before and after a test; that of SIGTERM is compared too."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield before[0]
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_lets_the_iteration_end_and_writes_a_checkpoint(tmp_path, handler, number):
    algorithm = Fake(during=interrupt(3, number))
    reports = list(run(algorithm, checkpoint=tmp_path, report_every=1_000, checkpoint_every=1_000))
    assert [report.steps for report in reports] == [30]
    assert reports[0].metrics["loss"].tolist() == [2, 4]  # all three iterations
    assert steps_of(tmp_path) == 30
    assert [row["steps"] for row in table(tmp_path)] == ["30"]
    assert not algorithm.progress.finished  # how a caller knows
    assert signal.getsignal(signal.SIGINT) is handler
    resumed = Fake()
    assert [report.steps for report in run(resumed, checkpoint=tmp_path, report_every=50, resume=True)] == [50, 100]
    assert resumed.total.tolist() == [55, 110]


@pytest.mark.parametrize("first", SIGNALS)
def test_a_second_signal_interrupts_at_once(tmp_path, handler, first):
    algorithm = Fake(during=interrupt(3, first, signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        list(run(algorithm, checkpoint=tmp_path, report_every=20))
    assert int(algorithm.progress.steps) == 20
    assert steps_of(tmp_path) == 20


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_that_is_ignored_stays_ignored(tmp_path, number):
    """As Ctrl-C is in the background jobs of a script."""
    before = signal.signal(number, signal.SIG_IGN)
    try:
        reports = list(run(Fake(during=interrupt(3, number)), checkpoint=tmp_path))
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)
    assert reports[-1].steps == 100


def test_ctrl_c_between_reports_ends_the_run_after_one_more_iteration(tmp_path, handler):
    found = []
    for report in run(Fake(), report_every=20, checkpoint=tmp_path):
        found.append(report.steps)
        if report.steps == 40:
            signal.raise_signal(signal.SIGINT)
    assert found == [20, 40, 50]
    assert steps_of(tmp_path) == 50


def test_a_run_that_is_left_gives_ctrl_c_back(handler):
    reports = run(Fake())
    next(reports)
    assert signal.getsignal(signal.SIGINT) is not handler
    reports.close()
    assert signal.getsignal(signal.SIGINT) is handler


def test_a_run_in_a_thread_leaves_signals_alone(handler):
    found = []
    thread = threading.Thread(target=lambda: found.extend(run(Fake(), report_every=50)))
    thread.start()
    thread.join()
    assert [report.steps for report in found] == [50, 100]


@pytest.mark.parametrize("name", ["evaluate_every", "report_every", "checkpoint_every", "episodes"])
@pytest.mark.parametrize("value", [0, -5])
def test_periods_below_one_are_refused(name, value):
    algorithm = Fake()
    with pytest.raises(ValueError, match=f"{name}: at least 1, not {value}"):
        list(run(algorithm, **{name: value}))
    assert int(algorithm.progress.steps) == 0


def test_progress_is_a_line_a_report_on_standard_error(capsys):
    reports = list(run(Fake(), report_every=30, progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [str(report) for report in reports]
    list(run(Fake(), report_every=30))
    assert capsys.readouterr() == ("", "")


def test_progress_on_a_terminal_is_a_bar(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich's word for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    list(run(Fake(), report_every=50, progress=True))
    out, err = capsys.readouterr()
    assert out == ""
    assert "100/100" in err
    assert "\x1b[?25h" in err  # the cursor is shown again
    with pytest.raises(FloatingPointError):
        list(run(Fake(during=nan_at(3)), progress=True))
    assert "\x1b[?25h" in capsys.readouterr().err


def text_of(**options):
    """A report with something changed, as it is printed."""
    metrics = {"loss": np.array([1.0, 2.0]), "x": np.array([0.5, 0.5])}
    return str(
        Report(
            **{"steps": 12_345, "seconds": 1.0, "steps_per_second": 6_789.4, "labels": 0.0}
            | options
            | {"metrics": metrics}
        )
    )


def test_a_report_is_one_line():
    assert text_of() == "   12,345 steps      6,789 steps/s  loss 1.5  x 0.5"
    assert "  500 labels" in text_of(labels=500.0)
    evaluation = Evaluation(np.array([[15.0], [15.0]]), np.array([[30.0], [30.0]]), np.zeros((2, 1)))
    text = text_of(evaluation=evaluation)
    assert "return 15.0 [15.0, 15.0]  50.0 % of the teacher" in text
    assert "loss" not in text
    assert "\n" not in text
