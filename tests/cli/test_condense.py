"""A few labelled states from the command line, and clones of them."""

import numpy as np
import pytest

from imitate import nets
from imitate.cli.main import main

FEW = ["--env", "CartPole-v1", "--episodes", "1", "--device", "cpu", "--hidden", "4"]
WAYS = {
    "evolution": ["--members", "4", "--pairs", "3", "--generations", "2", "--updates", "2", "--plays", "1"],
    "a teacher": ["--members", "2", "--pairs", "3", "--steps", "2", "--unroll", "2", "--demonstrations", "1"],
}


@pytest.mark.parametrize("way", WAYS)
def test_from_a_data_set_to_a_clone(way, tmp_path, capsys):
    out, teacher = tmp_path / "run", tmp_path / "teacher"
    arguments = ["condense", *FEW, *WAYS[way], "--out", str(out)]
    if way == "a teacher":
        assert (
            main(
                ["clone", *FEW, "--teacher", "control", "--demonstrations", "1", "--updates", "1", "--members", "1"]
                + ["--out", str(teacher)]
            )
            == 0
        )
        arguments += ["--teacher", str(teacher)]
    assert main(arguments) == 0
    assert f"the data set is in {out / 'pairs.npz'}" in capsys.readouterr().out
    with np.load(out / "pairs.npz") as pairs:
        assert pairs["obs"].shape == (3, 4) and pairs["action"].tolist() == [0, 1, 0]
    assert nets.load(out).members == int(WAYS[way][1])
    assert main([*arguments, "--resume"]) == 0
    clone = ["clone", *FEW, "--data", str(out / "pairs.npz"), "--validation", "0", "--updates", "2", "--members", "2"]
    assert main([*clone, "--out", str(tmp_path / "clone")]) == 0


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--members", "3"], "members: 3 candidates cannot mirror each other; take an even number."),
        (["--pairs", "1"], "pairs: 1 cannot show each of 2 actions; at least 2."),
        (["--teacher", "none"], "teacher: there is no file or directory 'none'."),
    ],
)
def test_what_cannot_be_is_one_line(arguments, line, capsys):
    assert main(["condense", *FEW, *arguments]) == 2
    assert capsys.readouterr().err == f"imitate: {line}\n"


@pytest.mark.parametrize("states", ["generated", "uniform"])
def test_distillation_without_data(states, tmp_path):
    out = tmp_path / "run"
    arguments = ["distill", "--states", states, "--reach", "2", "--teacher", "control", *FEW, "--members", "2"]
    arguments += ["--steps", "3", "--batch-size", "4", "--evaluate-every", "3", "--out", str(out)]
    assert main(arguments) == 0
    assert main(["distill", "--resume", "--out", str(out), "--teacher", "control", "--steps", "4"]) == 0
    assert nets.load(out).members == 2
