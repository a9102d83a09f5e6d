"""Commands of several: tasks in one student, peers together, a population to one."""

import json

import pytest
import torch

import imitate
from imitate import nets
from imitate.cli.main import main
from imitate.core import checkpoint, tree
from imitate.nets.actor import Architecture, fresh

FEW = ["--members", "2", "--episodes", "2", "--device", "cpu"]
SMALL = ["--num-envs", "2", "--steps", "96", "--rollout", "8", "--batch-size", "32", "--epochs", "2", "--hidden", "6"]
BOTH = ["--envs", "CartPole-v1", "MirroredCartPole-v0"]


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    """Folders of a policy of two members for each task."""
    out = tmp_path_factory.mktemp("teachers")
    for env in BOTH[1:]:
        fresh(imitate.make(env, members=2), Architecture((5,)), f"init-{env}").save(out / env)
    return [str(out / env) for env in BOTH[1:]]


def weights(folder):
    return dict(tree.flatten(checkpoint.read(folder, "checkpoint")[0]))


def refused(capsys, arguments):
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line.removeprefix("imitate: ")


@pytest.mark.parametrize("more", [[], ["--heads", "2", "--features", "0.1"]], ids=["one head", "heads, Actor-Mimic"])
def test_two_tasks_in_one_student(teachers, more, tmp_path, capsys):
    out = tmp_path / "run"
    arguments = ["tasks", "--teachers", *teachers, *SMALL, *FEW, *more]
    assert main([*arguments, "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[1] for line in lines if line.startswith("tasks: ")][1:] == BOTH[1:]
    assert lines[-1].startswith("policies of single tasks are in ")
    assert json.loads((out / "run.json").read_text("utf-8"))["envs"] == BOTH[1:]
    student, obs = nets.load(out), torch.randn(2, 7, 4, generator=torch.Generator().manual_seed(0))
    for task, env in enumerate(BOTH[1:]):
        alone = nets.load(out / f"task-{task}")
        assert (alone.env, alone.architecture.heads) == (env, 0)
        said = student.distribution((obs, torch.full((2, 7), task))).logits
        torch.testing.assert_close(alone.distribution(obs).logits, said, rtol=1e-4, atol=1e-5)
        assert main(["evaluate", str(out / f"task-{task}"), "--episodes", "2"]) == 0

    half = ["--steps", "64", "--out", str(tmp_path / "cut")]
    assert main([*arguments, *half]) == 0
    assert main(["tasks", "--teachers", *teachers, "--resume", "--steps", "96", "--out", str(tmp_path / "cut")]) == 0
    assert int(weights(tmp_path / "cut")["progress.steps"]) == 96
    document = json.loads((tmp_path / "cut" / "run.json").read_text("utf-8"))
    for spoilt in ({"envs": []}, {"num_envs": "4"}):
        (tmp_path / "cut" / "run.json").write_text(json.dumps(document | spoilt), "utf-8")
        line = refused(capsys, ["tasks", "--teachers", *teachers, "--resume", "--out", tmp_path / "cut"])
        assert line.startswith("resume: run.json does not fit this version")
    assert main([*arguments, "--resume", "--out", str(out)]) == 0
    assert "nothing left to do" in capsys.readouterr().out


def test_tasks_that_are_refused(teachers, tmp_path, capsys):
    run = ["tasks", *SMALL, *FEW, "--out", tmp_path / "x", "--teachers"]
    line = refused(capsys, [*run, teachers[0], *BOTH])
    assert line == "teachers: none for MirroredCartPole-v0; give one for each of CartPole-v1, MirroredCartPole-v0."
    assert refused(capsys, [*run, "control"]).startswith("envs: 'control' does not tell its environment")
    line = refused(capsys, [*run, *teachers, "--env", "CartPole-v1"])
    assert line.startswith("env: several tasks have several; pass --envs CartPole-v1 Mirrored")
    line = refused(capsys, [*run, *teachers, "--envs", "CartPole-v1", "Acrobot-v1"])
    assert line.startswith("sources: CartPole-v1 has observation Box(4,), Acrobot-v1 has Box(6,)")
    assert refused(capsys, [*run, *teachers, "--heads", "3"]).startswith("heads: observations of Tuple")
    assert refused(capsys, [*run, "none", "none", *BOTH]).startswith("teachers: there is no file")
    line = refused(capsys, [*run, *reversed(teachers), *BOTH])
    assert "was made for MirroredCartPole-v0, not for CartPole-v1" in line
    assert refused(capsys, ["distill", "--teacher", teachers[0], *SMALL, *FEW, "--heads", "2"]).startswith("heads: ")
    assert not (tmp_path / "x").exists()


PEERS = [
    "together",
    "--env",
    "CartPole-v1",
    "--num-envs",
    "2",
    "--rollout",
    "16",
    "--epochs",
    "1",
    "--batch-size",
    "16",
]
PEERS += ["--hidden", "6", "--members", "4", "--episodes", "2", "--device", "cpu"]


@pytest.mark.parametrize("by", ["mutual", "stale", "dual"])
def test_peers_and_their_resumption(by, tmp_path, capsys):
    arguments = [*PEERS, "--by", by, "--circle", "4", "--exchange", "3"]
    assert main([*arguments, "--steps", "128", "--out", str(tmp_path / "whole")]) == 0
    assert "together: circles of 4; members of one are no replications" in capsys.readouterr().out
    assert main([*arguments, "--steps", "64", "--out", str(tmp_path / "cut")]) == 0
    assert main(["together", "--resume", "--steps", "128", "--out", str(tmp_path / "cut")]) == 0
    term = "codistil" if by == "stale" else by
    assert f"{term}_0" in (tmp_path / "whole" / "progress.csv").read_text("utf-8").splitlines()[0]
    one, two = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert one.keys() == two.keys() and (by != "stale" or any("stale.network" in name for name in one))


def test_peers_that_are_refused(tmp_path, capsys):
    run = [*PEERS, "--out", tmp_path / "x"]
    assert refused(capsys, [*run, "--circle", "3"]).startswith("size: 4 members form no circles of 3")
    assert refused(capsys, [*run, "--weight", "-1"]).startswith("weight: must be at least 0")
    assert refused(capsys, [*run, "--gru", "3"]).startswith("policy: it has a memory")


def test_a_population_is_distilled_to_others(teachers, tmp_path, capsys):
    """By two members to three, which is refused where each has its own teacher."""
    run = [
        "distill",
        "--teacher",
        teachers[0],
        *SMALL,
        "--num-envs",
        "4",
        "--members",
        "3",
        "--episodes",
        "2",
        "--device",
        "cpu",
    ]
    assert refused(capsys, [*run, "--out", tmp_path / "x"]).startswith(f"members: '{teachers[0]}' has 2, this run 3")
    assert main([*run, "--ensemble", "--out", str(tmp_path / "run")]) == 0
    assert nets.load(tmp_path / "run").members == 3
    assert main(["distill", "--resume", "--out", str(tmp_path / "run"), "--teacher", teachers[0]]) == 0
    assert "nothing left to do" in capsys.readouterr().out
