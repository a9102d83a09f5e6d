"""The demo, with its work cut down to almost nothing: all of its parts, in their places."""

import json
import signal

import pytest
from matplotlib import image

import imitate
from imitate import demo as module
from imitate import nets
from imitate.baselines import PPO
from imitate.cli.main import main
from imitate.configs import settings
from imitate.demo import demo

M, EPISODES = 2, 5
TINY = {
    "num_envs": 4,
    "dagger_envs": 3,
    "distill_envs": 4,
    "ppo": {"steps": 256, "rollout": 16, "epochs": 2, "batch_size": 32, "hidden": [16, 16], "lr": 0.001},
    "student": {"hidden": [12]},
    "small_student": {"hidden": [4]},
    "clone": {"updates": 40, "validate_every": 10},
    "dagger": {"rounds": 3, "rollout": 8, "updates": 20},
    "distill": {"steps": 256, "rollout": 8, "epochs": 1, "batch_size": 32},
}


@pytest.fixture
def tiny(monkeypatch):
    """Settings for everything that the demo asks about."""
    assert TINY.keys() <= settings("CartPole-v1").keys()
    monkeypatch.setattr("imitate.configs.settings", lambda env: TINY)
    monkeypatch.setattr(module, "settings", lambda env: TINY)
    monkeypatch.setattr(module, "CURVE_EPISODES", 2)
    monkeypatch.setattr(module, "DEMONSTRATIONS", 4)
    monkeypatch.setattr(module, "THINNED", 3)


def test_five_rows_and_a_report(tiny, tmp_path, monkeypatch):
    said, seeds, make = [], [], module.make
    monkeypatch.setattr(
        module, "make", lambda *a, seed, **options: seeds.append(seed) or make(*a, seed=seed, **options)
    )
    found = demo("CartPole-v1", members=M, episodes=EPISODES, out=tmp_path / "demo", say=said.append)

    assert [row.kind for row in found.rows] == ["teacher", "bc", "bc", "dagger", "distilled"]
    assert len({row.name for row in found.rows}) == 5
    assert [line.split(":")[0] for line in said] == [row.name.split(":")[0] for row in found.rows]
    teacher, many, one, dagger, distilled = found.rows
    # nobody learns from the numbers of another job, but the two clones start alike
    assert len(seeds) == 6
    assert len(set(seeds)) == 5
    assert seeds[2] == seeds[3]

    # all on the same noise, against the same teacher
    for row in found.rows:
        assert row.evaluation.returns.shape == (M, EPISODES)
        assert (row.evaluation.teacher == teacher.evaluation.returns).all()
        assert (row.evaluation.random == teacher.evaluation.random).all()
        assert row.seconds > 0
        assert len(row.curve.x) == 1 if row.kind == "bc" else len(row.curve.x) >= 2
        assert row.curve.x == sorted(row.curve.x)
    assert teacher.evaluation.percent_of_teacher == 100

    # costs
    assert (teacher.labels, teacher.env_steps) == (0, 256)
    assert many.labels == many.env_steps > one.env_steps
    assert one.labels < one.env_steps / 2
    assert dagger.labels == pytest.approx(one.labels + 3 * 8 * 3, abs=1)
    assert dagger.env_steps == one.env_steps + 3 * 8 * 3
    assert distilled.labels == distilled.env_steps == 256
    assert teacher.curve.x[-1] == 256
    assert distilled.curve.x[-1] == 256
    assert dagger.curve.x[-1] == pytest.approx(dagger.labels, abs=1)

    # sizes: 4 inputs, hidden layers, 2 choices
    assert teacher.parameters == 4 * 16 + 16 + 16 * 16 + 16 + 16 * 2 + 2
    assert many.parameters == one.parameters == dagger.parameters == 4 * 12 + 12 + 12 * 2 + 2
    assert distilled.parameters == 4 * 4 + 4 + 4 * 2 + 2
    assert f"{100 * distilled.parameters / teacher.parameters:.0f} %" in distilled.name

    document = json.loads((tmp_path / "demo" / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert (document["env"], document["seed"], document["device"]) == ("CartPole-v1", 0, "cpu")
    assert [row["mean"] for row in document["rows"]] == [row.evaluation.mean for row in found.rows]
    assert image.imread(tmp_path / "demo" / "report.png").std() > 0.02

    # each policy is what was evaluated
    for i, row in enumerate(found.rows, 1):
        policy = nets.load(tmp_path / "demo" / f"{i}-{row.kind}")
        assert (policy.members, policy.env) == (M, "CartPole-v1")
        place = imitate.make("CartPole-v1", num_envs=1, members=M)
        assert (imitate.evaluate(policy, place, EPISODES).returns == row.evaluation.returns).all()


def test_members_are_independent_and_seeds_matter(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "THINNED", 50)  # more than an episode has: two steps of it stay all the same
    one, two = (demo(members=M, episodes=2, seed=seed, out=tmp_path / str(seed)) for seed in (0, 1))
    again = demo(members=M, episodes=2, seed=0, out=tmp_path / "again")
    for a, b, c in zip(one.rows, two.rows, again.rows, strict=True):
        assert (a.evaluation.returns == c.evaluation.returns).all()
        assert not (a.evaluation.returns == b.evaluation.returns).all()
        assert a.labels >= 2 or a.kind == "teacher"
    weights = nets.load(tmp_path / "0" / "1-teacher").body.layers[0].weight
    assert not (weights[0] == weights[1]).all()


def test_the_command_prints_the_table(tiny, tmp_path, capsys):
    assert main(["demo", "--members", "2", "--episodes", "2", "--device", "cpu", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for part in ("PPO teacher", "distilled", "% of teacher", str(tmp_path / "report.json")):
        assert part in out
    assert len(json.loads((tmp_path / "report.json").read_text("utf-8"))["rows"]) == 5


def test_an_interruption_ends_all_of_it(tiny, tmp_path, monkeypatch, capsys):
    """A student of half a teacher would be no result."""
    step = PPO.step
    monkeypatch.setattr(PPO, "step", lambda self: (signal.raise_signal(signal.SIGINT), step(self))[1])
    assert main(["demo", "--members", "2", "--episodes", "2", "--device", "cpu", "--out", str(tmp_path)]) == 130
    out, err = capsys.readouterr()
    assert (out, err) == ("", "imitate: interrupted\n")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_environment_is_refused_before_any_work(tmp_path):
    with pytest.raises(ValueError, match="'CartPol-v1' is unknown"):
        demo("CartPol-v1", out=tmp_path / "demo")
    assert not (tmp_path / "demo").exists()
