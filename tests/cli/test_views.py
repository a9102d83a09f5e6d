"""Students on the command line that see less than their teachers."""

import json

import pytest

import imitate
from imitate import nets
from imitate.cli.main import main
from imitate.core.views import Select, Stack
from imitate.core.wrappers import Viewed

FEW = ["--env", "CartPole-v1", "--members", "2", "--episodes", "2", "--device", "cpu"]
COMMANDS = {
    "clone": ["--demonstrations", "2", "--updates", "20", "--hidden", "6"],
    "dagger": [
        "--num-envs",
        "4",
        "--rounds",
        "2",
        "--rollout",
        "8",
        "--updates",
        "10",
        "--demonstrations",
        "1",
        "--hidden",
        "6",
    ],
    "distill": ["--steps", "96", "--rollout", "8", "--num-envs", "4", "--hidden", "6", "--gru", "3", "--unroll", "4"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_student_sees_its_view_and_is_evaluated_by_it(command, tmp_path, capsys):
    """The teacher is untaught, so that episodes are short."""
    out, teacher = tmp_path / "run", str(tmp_path / "teacher")
    nets.policy(imitate.make("CartPole-v1", members=1), (4,)).save(teacher)
    view = ["--student-view", "keep:0,2", "stack:3"]
    arguments = [command, "--teacher", teacher, *FEW, *COMMANDS[command], *view, "--out", str(out)]
    assert main(arguments) == 0
    assert main([*arguments, "--resume"]) == 0  # nothing is left to do
    student = nets.load(out)
    assert student.observation == Viewed(Viewed(imitate.make("CartPole-v1"), Select((0, 2))), Stack(3)).spec.observation
    assert student.observation.shape == (3, 2)
    capsys.readouterr()
    assert main(["evaluate", str(out), "--episodes", "2", "--teacher", teacher, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["members"] == 2
    assert main(["evaluate", str(out), "--student-view", "keep:0,2", "noise:0", "stack:3", "--episodes", "2"]) == 0


@pytest.mark.parametrize(
    ("view", "line"),
    [
        ("keep:0,9", "student_view: keep:0,9: keep: (0, 9) are not all among the 4 numbers of an observation, 0 to 3."),
        ("keep", "student_view: 'keep' has no numbers behind the colon, as keep:0,2 has."),
        ("stack:x", "student_view: 'stack:x' has no numbers behind the colon, as stack:2 has."),
        ("noise:-1", "student_view: noise:-1: std: must be at least 0, not -1.0."),
        ("delay:1,2", "student_view: delay:1,2: one number, not 2."),
        ("stak:2", "student_view: 'stak' is unknown; did you mean 'stack'?"),
    ],
)
def test_a_view_that_there_is_not(view, line, capsys):
    assert main(["distill", "--teacher", "control", *FEW, "--student-view", view]) == 2
    assert capsys.readouterr().err == f"imitate: {line}\n"
