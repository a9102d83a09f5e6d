"""The command `imitate fit`, end to end on a small table."""

import pandas as pd
import pytest
import torch

from imitate.__main__ import main
from imitate.conditioning.agent import simulate_choices
from imitate.conditioning.choice import CHOICE_MODELS
from imitate.fitting.fit import fit
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
    assert "protected" in said
    written = pd.read_csv(out)
    assert written["model"].tolist() == ["win-stay-lose-shift"] * 3 + ["q-learning"] * 3
    own = fit(CHOICE_MODELS["win-stay-lose-shift"], choices, starts=2)
    assert written["epsilon"][:3].to_numpy() == pytest.approx(own.epsilon_)
    assert written["Q0"][3:].tolist() == [0.5] * 3


def test_a_population(table, capsys):
    assert (
        main(["fit", str(table), "--actions", "2", "--model", "win-stay-lose-shift", "--population", "--starts", "1"])
        == 0
    )
    assert "epsilon" in capsys.readouterr().out


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
