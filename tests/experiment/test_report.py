"""The report: its JSON to the letter, a picture with something in it, a table."""

import io
import json
import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib import image
from rich.console import Console

from imitate.experiment import Evaluation
from imitate.experiment.report import COLOURS, Curve, Experiment, Row

M, E = 4, 6


def evaluation(mean, teacher=90.0, random=10.0, members=M, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    returns = mean + spread * rng.normal(size=(members, E))
    return Evaluation(returns, np.full((members, E), teacher), np.full((members, E), random))


def curve(*points):
    found = Curve()
    for x, mean in points:
        found.add(x, evaluation(mean, seed=int(x)))
    return found


def experiment(**changes):
    """A teacher and four students, as the demo has them."""
    rows = [
        Row("teacher", "teacher", 4_610, 0, 80_000, 12.34567, evaluation(90), curve((8_000, 30), (80_000, 90))),
        Row("many", "bc", 4_610, 900, 900, 2.0, evaluation(80, seed=1), curve((900, 80))),
        Row("few", "bc", 4_610, 20, 400, 2.0, evaluation(30, seed=2), curve((20, 30))),
        Row("dagger", "dagger", 4_610, 520, 800, 3.0, evaluation(88, seed=3), curve((120, 50), (520, 88))),
        Row("small", "distilled", 386, 5_000, 5_000, 4.0, evaluation(85, seed=4), curve((500, 20), (5_000, 85))),
    ]
    return Experiment(**{"env": "CartPole-v1", "seed": 3, "device": "cpu", "rows": rows} | changes)


FIELDS = {
    "name": str,
    "kind": str,
    "members": int,
    "parameters": int,
    "labels": int,
    "env_steps": int,
    "seconds": float,
    "mean": float,
    "iqm": float,
    "ci_low": float,
    "ci_high": float,
    "iqm_ci_low": float,
    "iqm_ci_high": float,
    "percent_of_teacher": float,
    "episodes": int,
}


def strict(path):
    """JSON without the NaN and Infinity that Python would let pass."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text("utf-8"), parse_constant=refuse)


def test_the_json_is_as_agreed(tmp_path):
    made = experiment()
    made.save(tmp_path / "new" / "folder")
    document = strict(tmp_path / "new" / "folder" / "report.json")
    assert {"env", "seed", "device", "versions", "rows"} <= document.keys()
    assert (document["env"], document["seed"], document["device"]) == ("CartPole-v1", 3, "cpu")
    assert {"imitate-suite", "python", "torch", "numpy", "gymnasium", "stable-baselines3"} <= document[
        "versions"
    ].keys()
    assert all(isinstance(version, str) and version[0].isdigit() for version in document["versions"].values())
    assert document["random_means"] == [10.0] * M
    assert [row["kind"] for row in document["rows"]] == ["teacher", "bc", "bc", "dagger", "distilled"]
    for row, given in zip(document["rows"], made.rows, strict=True):
        for name, kind in FIELDS.items():
            assert type(row[name]) is kind, name
        found = given.evaluation
        assert (row["members"], row["episodes"]) == (M, E)
        assert (row["name"], row["parameters"], row["labels"]) == (given.name, given.parameters, given.labels)
        assert row["env_steps"] == given.env_steps
        assert row["seconds"] == pytest.approx(given.seconds, abs=1e-3)
        assert (row["mean"], row["iqm"]) == (found.mean, found.iqm)
        assert (row["ci_low"], row["ci_high"]) == found.ci
        assert (row["iqm_ci_low"], row["iqm_ci_high"]) == found.iqm_ci
        assert row["percent_of_teacher"] == found.percent_of_teacher
        assert row["member_means"] == found.returns.mean(1).tolist()
        assert row["ci_low"] <= row["mean"] <= row["ci_high"]


def test_what_does_not_exist_is_null(tmp_path):
    """A single score has no interval, and of a teacher no better than chance there is no percentage."""
    single = Evaluation(np.array([[3.0]]), np.array([[5.0]]), np.array([[5.0]]))
    lone = Evaluation(np.array([[3.0, 4.0]]))
    point = Curve([1.0], [3.0], [math.nan], [math.nan])
    rows = [
        Row("teacher", "teacher", 1, 0, 10, 1.0, single, point),
        Row("student", "bc", 1, 5, 10, 1.0, single, point),
        Row("alone", "dagger", 1, 5, 10, 1.0, lone, point),
    ]
    experiment(rows=rows).save(tmp_path)
    first, _, last = strict(tmp_path / "report.json")["rows"]
    for name in ("ci_low", "ci_high", "percent_of_teacher", "percent_ci_low", "percent_ci_high"):
        assert first[name] is None
    assert last["percent_of_teacher"] is None
    assert last["ci_low"] <= 3.5 <= last["ci_high"]
    assert (tmp_path / "report.png").stat().st_size > 10_000


def pixels(path):
    picture = image.imread(path)
    assert picture.ndim == 3
    return (picture[..., :3] * 255).round().astype(int)


def count(picture, colour, tolerance=8):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture - rgb).max(-1) <= tolerance).sum())


def test_the_picture_shows_every_kind(tmp_path):
    experiment().save(tmp_path)
    assert (tmp_path / "report.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    picture = pixels(tmp_path / "report.png")
    assert picture.shape[0] > 300
    assert picture.shape[1] > 800
    for kind, colour in COLOURS.items():
        assert count(picture, colour) > 500, kind
    without = experiment()
    without.rows.pop()  # distilled
    without.save(tmp_path / "without")
    assert count(pixels(tmp_path / "without" / "report.png"), COLOURS["distilled"]) < 20


def test_error_bars_of_equal_scores_can_be_drawn(tmp_path):
    """The mean of equal numbers may be rounded differently from the ends of their interval."""
    rows = experiment().rows
    for seed in range(5):
        row = np.random.default_rng(seed).integers(-200, 0, E) + 0.1
        same = Evaluation(np.tile(row, (M, 1)), np.zeros((M, E)), np.full((M, E), -300.0))
        odd = Curve([20.0], [same.mean], [np.nextafter(same.mean, 0)], [np.nextafter(same.mean, -999)])
        rows.append(Row(f"same {seed}", "bc", 1, 20, 20, 1.0, same, odd))
    made = experiment(rows=rows)
    made.save(tmp_path)
    assert [row["ci_low"] == row["mean"] == row["ci_high"] for row in strict(tmp_path / "report.json")["rows"][5:]] == [
        True
    ] * 5


def test_a_report_replaces_the_one_before(tmp_path):
    experiment().save(tmp_path)
    experiment(seed=4).save(tmp_path)
    assert strict(tmp_path / "report.json")["seed"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.png"]


def printed(made, **options):
    """The table as text, and its lines by the name of the policy."""
    console = Console(width=200, file=io.StringIO())
    console.print(made.table(**options))
    text = console.file.getvalue()
    return text, {
        row.name: next(line for line in text.splitlines() if line.strip().startswith(f"{row.name} "))
        for row in made.rows
    }


@pytest.mark.parametrize("wide", [True, False])
def test_the_table_has_a_row_for_each_policy(wide):
    made = experiment()
    text, lines = printed(made, wide=wide)
    few = made.rows[2].evaluation
    assert f"{few.mean:.1f} [{few.ci[0]:.1f}, {few.ci[1]:.1f}]" in lines["few"]
    assert f"{few.percent_of_teacher:.1f} [{few.percent_ci[0]:.1f}, {few.percent_ci[1]:.1f}]" in lines["few"]
    assert lines["teacher"].count("[") == 1  # of itself it is no share
    assert " 20 " in lines["few"]
    for part in ("4,610", "400", "2.0"):
        assert (f" {part} " in lines["few"]) is wide
    assert ("80,000" in lines["teacher"]) is wide
    assert (f"{few.iqm:.1f}" in lines["few"].split("]")[1].split("[")[0]) or not wide
    assert f"{M} members x {E} episodes" in text
    assert "CartPole-v1, seed 3, cpu" in text


def test_the_table_says_in_words_why_there_is_no_percentage():
    rows = experiment().rows[:2]
    rows[1] = replace(rows[1], evaluation=evaluation(80, teacher=10.0, random=10.0))
    assert "n/a: the teacher is no better than chance" in printed(experiment(rows=rows))[1]["many"]


def test_a_curve_keeps_the_points_with_their_intervals():
    one = evaluation(50.0)
    found = Curve()
    found.add(10, one)
    found.add(20.5, evaluation(60.0, seed=2))
    assert found.x == [10, 20.5]
    assert (found.mean[0], found.low[0], found.high[0]) == (one.mean, *one.ci)
    assert len(found.mean) == len(found.low) == len(found.high) == 2
