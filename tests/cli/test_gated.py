"""The command `imitate gated`, end to end; and one line about whatever is wrong with its arguments."""

import json

import pytest
import torch

import imitate
from imitate.cli.gated import GATES
from imitate.cli.main import main, parse
from imitate.students import GatedDAgger
from tests.cli.test_cli import refused, stop_after, weights

PLACE = ["--env", "CartPole-v1", "--teacher", "control"]
FEW = ["--members", "2", "--episodes", "2", "--device", "cpu", "--num-envs", "4", "--hidden", "6"]
FEW += ["--warm-up", "3", "--rounds", "3", "--rollout", "8", "--updates", "10"]
OPTIONS = {
    "safe": ["--gate.updates", "5", "--gate.hidden", "4", "--gate.threshold", "0.3"],
    "lazy": ["--gate.updates", "5", "--gate.hidden", "4", "--gate.back", "0.1"],
    "ensemble": ["--gate.updates", "5", "--gate.heads", "2", "--gate.chi", "1e-4"],
    "thrifty": ["--gate.updates", "5", "--gate.heads", "2", "--gate.capacity", "100", "--gate.failure", "2"],
    "hg": ["--gate.numbers", "2", "0", "--gate.limits", "0.02", "1.2", "--gate.back", "0.4"],
}


@pytest.mark.parametrize("name", GATES)
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_been(name, tmp_path, capsys):
    begin = ["gated", name, *PLACE, *OPTIONS[name], *FEW]
    assert main([*begin, "--out", str(tmp_path / "straight")]) == 0
    assert capsys.readouterr().out.startswith(f"{name}-dagger: mean ")
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, GatedDAgger, 2)
        assert main([*begin, "--out", str(tmp_path / "stopped")]) == 130
    assert main(["gated", name, "--teacher", "control", "--resume", "--out", str(tmp_path / "stopped")]) == 0
    one, two = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[key]) for key, value in one.items())
    assert int(one["progress.steps"]) == (3 + 3 * 8) * 4 >= int(one["progress.labels"].max())
    run = json.loads((tmp_path / "straight" / "run.json").read_text("utf-8"))
    assert (run["command"], run["name"], run["config"]["warm_up"]) == (f"{name}-dagger", name, 3)
    key, word = OPTIONS[name][-2].removeprefix("--gate."), OPTIONS[name][-1]
    assert run["gate"][key] == float(word)
    assert imitate.load(tmp_path / "straight").architecture.hidden == (6,)
    other = [*begin, "--out", tmp_path / "straight", "--resume", "--gate.updates" if name != "hg" else "--gate.back"]
    assert "was made with other options: gate." in refused(capsys, [*other, "1"])


def test_a_student_that_sees_less_under_a_supervisor_who_sees_all(tmp_path, capsys):
    """The supervisor looks at numbers 2 and 0, of which the student sees one."""
    more = ["--student-view", "keep:0,1", "--out", str(tmp_path)]
    assert main(["gated", "hg", *PLACE, *OPTIONS["hg"], *FEW, *more]) == 0
    assert imitate.load(tmp_path).observation.shape == (2,)


def test_defaults_are_those_of_the_gate():
    for name, (_, config) in GATES.items():
        assert parse(["gated", name, *PLACE]).gate == config()


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["saef", *PLACE], "name: 'saef' is unknown; did you mean 'safe'?"),
        (["safe", "--teacher", "control"], "env: which environment? Pass --env"),
        (["safe"], "--teacher is missing: a run, an SB3 .zip, "),
        ([*PLACE, "lazy"], "name: write it first, as in 'imitate gated lazy --env CartPole-v1'."),
        (["hg", *PLACE], "numbers: which numbers of an observation does the supervisor look at?"),
        (["hg", *PLACE, "--gate.numbers", "4", "--gate.limits", "1"], "numbers: an observation has no 4, only 0 … 3."),
        (["hg", *PLACE, "--gate.numbers", "1"], "gate: limits: 0 for 1 numbers; give one for each."),
        (["safe", *PLACE, "--gate.threshold", "2"], "gate: threshold: must be in [0, 1], not 2.0."),
        (["safe", *PLACE, "--budget", "1"], "budget: 1 labels, but the warm-up takes 100; take more"),
        (["hg", "--env", "FrozenLake-v1", "--teacher", "plan"], "name: the supervisor of hg looks at numbers of a Box"),
    ],
)
def test_bad_arguments(arguments, line, capsys):
    assert refused(capsys, ["gated", *arguments, "--members", "1"]).startswith(line)
