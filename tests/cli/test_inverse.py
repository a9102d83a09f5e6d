"""The command `imitate inverse`, end to end; and one line about whatever is wrong with its arguments."""

import pytest
import torch

import imitate
from imitate.cli.inverse import METHODS
from imitate.cli.main import main
from imitate.core import checkpoint

FEW = ["--env", "GridWorld-v0", "--members", "2", "--episodes", "20"]


@pytest.mark.parametrize("method", METHODS)
def test_a_reward_behind_a_planner(method, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["inverse", method, "--teacher", "plan", "--demonstrations", "20", "--out", str(out), *FEW]) == 0
    policy = imitate.load(out)
    assert policy.members == 2 and policy.env == "GridWorld-v0"
    state, about = checkpoint.read(out, "reward")
    assert state["reward"].shape == (2, 25, 4) and state["reward"].dtype is torch.float64
    assert about["method"] == method
    assert "teacher" in capsys.readouterr().out
    assert main(["evaluate", str(out), "--episodes", "5"]) == 0
    assert main(["inverse", method, "--teacher", "plan", "--out", str(out), *FEW]) == 2
    assert "holds a policy already; pass another --out." in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["mce-il", "--teacher", "plan", *FEW], "method: 'mce-il' is unknown; did you mean 'mce-irl'?"),
        (["mce-irl", "--teacher", "plan"], "env: which environment? Pass --env, for example --env FrozenLake-v1."),
        (["mce-irl", *FEW], "teacher: pass either --teacher or --data."),
        (["mce-irl", "--teacher", "plan", *FEW, "--gamma", "1"], "gamma: must be in [0, 1), not 1.0."),
        (["apprenticeship", "--teacher", "plan", *FEW, "--penalty", "1"], "penalty: apprenticeship has none; leave it"),
        (
            ["mce-irl", "--teacher", "control", "--env", "CartPole-v1", "--members", "1", "--demonstrations", "1"],
            "env: CartPole-v1 has no model to plan with; see imitate list for those of ours.",
        ),
    ],
)
def test_bad_arguments(arguments, line, capsys):
    assert main(["inverse", *arguments]) == 2
    assert capsys.readouterr().err.startswith(f"imitate: {line}")
