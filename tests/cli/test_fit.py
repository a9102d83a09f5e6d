"""The command `imitate fit`, end to end on a small table."""

import pandas as pd
import pytest
import torch

from imitate.__main__ import main
from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import CHOICE_MODELS
from imitate.conditioning.data import Choices
from imitate.fitting.fit import IdentificationWarning, fit
from imitate_envs.bandits import StationaryBandit


@pytest.fixture(scope="module")
def choices():
    epsilon = torch.tensor([0.02, 0.4, 0.9])
    return simulate_choices(
        CHOICE_MODELS["win-stay-lose-shift"], {"epsilon": epsilon}, StationaryBandit((0.3, 0.7)), 20
    )


@pytest.fixture
def table(choices, tmp_path):
    path = tmp_path / "choices.csv"
    choices.to_pandas().drop(columns=["learns", "scored"]).to_csv(path, index=False)
    return path


def test_models_are_fitted_compared_and_written(choices, table, tmp_path, capsys):
    out = tmp_path / "there" / "estimates.csv"
    arguments = ["fit", str(table), "--actions", "2", "--model", "win-stay-lose-shift", "q-learning", "--set", "Q0=0.5"]
    assert main([*arguments, "--starts", "2", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "win-stay-lose-shift: 3 subjects" in said
    assert "1 of 3 subjects (0) have epsilon at its lower bound, 0." in said
    assert "protected" in said
    written = pd.read_csv(out)
    assert written["model"].tolist() == ["win-stay-lose-shift"] * 3 + ["q-learning"] * 3
    with pytest.warns(IdentificationWarning, match="epsilon at its lower bound, 0"):
        own = fit(CHOICE_MODELS["win-stay-lose-shift"], choices, starts=2)
    assert written["epsilon"][:3].to_numpy() == pytest.approx(own.epsilon_)
    assert written["Q0"][3:].tolist() == [0.5] * 3


def test_a_population(table, capsys):
    assert (
        main(["fit", str(table), "--actions", "2", "--model", "win-stay-lose-shift", "--population", "--starts", "1"])
        == 0
    )
    assert "epsilon" in capsys.readouterr().out


@pytest.fixture
def own(choices, tmp_path):
    """A file of another program: tabs, other names, words for actions, blocks, no feedback at times."""
    rows = choices.to_pandas()
    silent = rows["trial"] % 7 == 6
    table = pd.DataFrame(
        {
            "subjID": rows["subject"],
            "run": rows["trial"] // 10,
            "key": rows["action"].map({0: "left", 1: "right"}),
            "won": rows["reward"].where(~silent),
            "feedback": (~silent).astype(int),
        }
    )
    path = tmp_path / "choices.txt"
    table.to_csv(path, sep="\t", index=False)
    return path


OWN = ["--actions", "2", "--subject", "subjID", "--action", "key", "--reward", "won", "--model", "reward-punishment"]


def test_a_file_of_another_program(own, tmp_path, capsys):
    out = tmp_path / "estimates.csv"
    more = ["--learns", "feedback", "--block", "run", "--lower", "beta=0.5", "--upper", "beta=5", "--out", str(out)]
    assert main(["fit", str(own), *OWN, *more, "--starts", "2"]) == 0
    said = capsys.readouterr().out
    assert "data: 3 subjects, 6 blocks, 60 choices between 2 actions, 6 of them without feedback" in said
    assert "left is action 0, right is action 1" in said
    assert "have beta at its upper bound, 5." in said
    table = pd.read_csv(own, sep="\t")
    data = Choices.from_pandas(
        table, ("left", "right"), subject="subjID", action="key", reward="won", learns="feedback", block="run"
    )
    with pytest.warns(IdentificationWarning):
        found = fit(CHOICE_MODELS["reward-punishment"], data, lower={"beta": 0.5}, upper={"beta": 5}, starts=2)
    assert pd.read_csv(out)["log_likelihood"].to_numpy() == pytest.approx(found.log_likelihood_)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "won: row 8 holds nan, which is no reward; have a column that is 0 where there was no feedback"),
        (["--learns", "feedbak"], "column: 'feedbak' is unknown; did you mean 'feedback'? Pass"),
        (["--learns", "run", "--action", "kei"], "column: 'kei' is unknown; did you mean 'key'?"),
        (["--learns", "feedback", "--actions", "left", "up"], "key: row "),
        (["--learns", "feedback", "--upper", "bta=3"], "upper: 'bta' is unknown; did you mean 'beta'?"),
        (["--learns", "feedback", "--upper", "beta=inf"], "upper: 'beta=inf' is no NAME=NUMBER"),
        (["--learns", "feedback", "--lower", "beta=3", "--set", "beta=3"], "lower: 'beta' is unknown"),
        (["--learns", "feedback", "--set", "Q0=1", "Q0=2"], "set: 'Q0' is there twice."),
    ],
)
def test_one_line_about_such_a_file(own, arguments, message, capsys):
    assert main(["fit", str(own), *OWN, *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--actions", "2", "--model", "q-lerning"], "model: 'q-lerning' is unknown; did you mean"),
        (["--actions", "2", "--set", "alhpa=1"], "set: 'alhpa' is unknown; did you mean 'alpha'?"),
        (["--actions", "2", "--set", "Q0"], "set: 'Q0' is no NAME=NUMBER, as Q0=0.5 is."),
        (["--actions", "2", "--set", "alpha=2", "--model", "q-learning"], "alpha: 2 is outside [0, 1]."),
        (["--actions", "1"], "action: row "),
        (["--actions", "2", "--reward", "points"], "column: 'points' is unknown; known: action"),
        ([], "actions"),
    ],
)
def test_one_line_about_what_is_wrong(table, arguments, message, capsys):
    assert main(["fit", str(table), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_line_of_the_file_is_named(tmp_path, capsys):
    path = tmp_path / "bad.csv"
    path.write_text("subject,action,reward\nann,0,1\nann,2,0\n")
    assert main(["fit", str(path), "--actions", "2"]) == 2
    assert "action: row 3 holds 2" in capsys.readouterr().err
    assert main(["fit", str(tmp_path / "none.csv"), "--actions", "2"]) == 2
    assert "data: there is no file" in capsys.readouterr().err
