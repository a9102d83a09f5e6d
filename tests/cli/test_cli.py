"""The command line, end to end with tiny budgets; and one line about whatever is wrong with its arguments."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import imitate
from imitate import nets
from imitate.baselines import PPO, PPOConfig
from imitate.cli.main import COMMANDS, main, parse
from imitate.configs import config_for
from imitate.core import checkpoint, tree
from imitate.core.errors import WorkerError
from imitate.experiment.run import save_checkpoint
from imitate.nets import Actor
from imitate.nets.actor import Architecture
from imitate.registry import BASELINES, REDUCTIONS
from imitate.students import (
    AIRL,
    DART,
    GAIL,
    VIPER,
    BehaviourCloning,
    BehaviourCloningConfig,
    BornAgain,
    DAgger,
    DAggerConfig,
    Exponential,
    Finetuning,
    FirstRoundOnly,
    GAILConfig,
    JumpStart,
    Linear,
    PolicyDistillation,
    PolicyDistillationConfig,
    QDagger,
)

FEW = ["--members", "2", "--episodes", "2", "--device", "cpu"]
TRAIN = ["train", "ppo", "--env", "CartPole-v1", "--num-envs", "4", "--steps", "192", "--rollout", "16"]
TRAIN += ["--epochs", "2", "--batch-size", "32", "--hidden", "8", "8", *FEW]
STUDENTS = {
    "airl": ["--demonstrations", "2", "--num-envs", "4", "--ppo.steps", "192", "--ppo.rollout", "16", "--ppo.epochs"]
    + ["2", "--ppo.batch-size", "32", "--ppo.hidden", "6", "--reward.updates", "2"],
    "clone": ["--demonstrations", "3", "--updates", "60", "--validate-every", "20", "--hidden", "6"],
    "dagger": ["--rounds", "3", "--rollout", "8", "--updates", "10", "--num-envs", "4", "--hidden", "6"],
    "dart": ["--rounds", "3", "--rollout", "8", "--updates", "10", "--num-envs", "4", "--hidden", "6"],
    "distill": ["--steps", "96", "--rollout", "8", "--num-envs", "4", "--batch-size", "32", "--hidden", "6"],
    "gail": ["--demonstrations", "2", "--num-envs", "4", "--ppo.steps", "192", "--ppo.rollout", "16", "--ppo.epochs"]
    + ["2", "--ppo.batch-size", "32", "--ppo.hidden", "6", "--discriminator.updates", "2"],
    "generations": ["--generations", "2", "--steps", "96", "--rollout", "8", "--num-envs", "4", "--batch-size", "32"]
    + ["--hidden", "6"],
    "jumpstart": ["--steps", "96", "--rollout", "4", "--num-envs", "4", "--batch-size", "8", "--updates", "1"]
    + ["--hidden", "6", "--return-episodes", "2", "--learning-starts", "16"],
    "qdagger": ["--steps", "96", "--rollout", "4", "--num-envs", "4", "--batch-size", "8", "--updates", "1", "--hidden"]
    + ["6", "--teacher-steps", "32", "--offline-updates", "2", "--return-episodes", "2"],
    "viper": ["--rounds", "3", "--rollout", "8", "--max-depth", "2", "--held-out", "2", "--num-envs", "4"],
}
REDUCED = ["--rounds", "3", "--rollout", "8", "--num-envs", "4", "--hidden", "6"]
STUDENTS |= {
    "reduce forward": ["--every", "200", "--rollout", "8", "--updates", "3", "--num-envs", "4", "--hidden", "6"],
    "reduce smile": [*REDUCED, "--updates", "3"],
    "reduce searn": [*REDUCED, "--updates", "3"],
    "reduce aggrevate": [*REDUCED, "--updates", "3"],
    "reduce aggrevated": REDUCED,
}
ALGORITHMS = {"train": PPO, "clone": BehaviourCloning, "dagger": DAgger, "distill": PolicyDistillation, "gail": GAIL}
ALGORITHMS |= {"airl": AIRL, "dart": DART, "generations": BornAgain, "jumpstart": JumpStart, "qdagger": QDagger}
ALGORITHMS |= {"viper": VIPER, **{f"reduce {name}": algorithm for name, (algorithm, _) in REDUCTIONS.items()}}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """The folder of a run of two members; how well it balances does not matter here."""
    out = tmp_path_factory.mktemp("teacher") / "ppo"
    assert main([*TRAIN, "--out", str(out)]) == 0
    return out


def arguments_of(command, teacher):
    return TRAIN if command == "train" else [*command.split(), "--teacher", str(teacher), *STUDENTS[command], *FEW]


def refused(capsys, arguments):
    """The one line on standard error about arguments that are refused with exit code 2."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert code == 2, (out, err)
    assert err.endswith("\n")
    (line,) = err.splitlines()
    assert line.startswith("imitate: ")
    return line.removeprefix("imitate: ")


def weights(folder):
    """All tensors of the checkpoint of a run."""
    return dict(tree.flatten(checkpoint.read(folder, "checkpoint")[0]))


def steps_of(folder):
    """Steps that the checkpoint of a run tells."""
    return json.loads((folder / "checkpoint.json").read_text("utf-8"))["steps"]


def test_from_a_teacher_to_its_students(teacher, tmp_path, monkeypatch, capsys):
    """Every command works on what the one before left; folders have the names that the last line says."""
    monkeypatch.chdir(tmp_path)
    for words in STUDENTS:
        assert main(arguments_of(words, teacher)) == 0
        command = words.split()[-1]
        out, err = capsys.readouterr()
        folder = Path("runs") / f"{command}-CartPole-v1"
        *notes, first, last = out.splitlines()
        assert len(notes) == (command in ("jumpstart", "qdagger"))  # what its replay takes
        assert first.startswith(f"{command}: mean ")
        assert "n/a: the teacher is no better than chance" in first  # it has learnt for two iterations
        assert "(2 members x 2 episodes, 95 % interval over members)" in first
        assert last == f"policy, checkpoint and logs are in {folder}"
        assert "steps/s" in err  # a line a report
        names = {path.name for path in folder.iterdir()}
        assert {"policy.json", "checkpoint.json", "run.json", "progress.csv"} <= names
        assert any(name.startswith("events.out.tfevents") for name in names)
        with (folder / "progress.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) >= 3
        assert rows[-1]["return"]
        assert float(rows[-1]["labels"]) > 0 or command == "jumpstart"  # whose teacher acts, and labels nothing
        policy = nets.load(folder)
        assert (policy.members, policy.env) == (2, "CartPole-v1")
        assert policy.depth == 2 if command == "viper" else policy.architecture.hidden == (6,)
        run = json.loads((folder / "run.json").read_text("utf-8"))
        assert (run["command"], run["env"], run["members"], run["seed"]) == (command, "CartPole-v1", 2, 0)
        assert run["teacher"] == str(teacher)

        assert main(["evaluate", str(folder), "--episodes", "3", "--teacher", str(teacher)]) == 0
        line = capsys.readouterr().out
        assert line.startswith("mean ")
        assert line.endswith("(2 members x 3 episodes, 95 % interval over members)\n")
        assert main(["evaluate", str(folder), "--episodes", "3", "--json"]) == 0
        document = json.loads(capsys.readouterr().out)
        found = imitate.evaluate(nets.load(folder), "CartPole-v1", 3)
        assert document["mean"] == found.mean
        assert (document["ci_low"], document["ci_high"]) == found.ci
        assert document["member_means"] == found.returns.mean(1).tolist()
        assert document["percent_of_teacher"] is None


def test_a_teacher_is_evaluated_as_itself(teacher, capsys):
    law = ["evaluate", "control", "--env", "CartPole-v1", "--teacher", "control", "--episodes", "20"]
    assert main(law) == 0
    assert " 100.0 % of the teacher [100.0, 100.0]" in capsys.readouterr().out
    assert main([*law, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [document[f"percent_{name}"] for name in ("of_teacher", "ci_low", "ci_high")] == [100.0] * 3


def test_of_a_teacher_that_is_no_better_than_chance_there_is_no_percentage(teacher, capsys):
    assert main(["evaluate", str(teacher), "--teacher", str(teacher), "--episodes", "20"]) == 0
    assert " n/a: the teacher is no better than chance  (2 members" in capsys.readouterr().out
    assert main(["evaluate", str(teacher), "--episodes", "1", "--members", "2", "--json", "--stochastic"]) == 0
    assert json.loads(capsys.readouterr().out)["members"] == 2


def test_numbers_that_do_not_exist_are_null_in_json(tmp_path, capsys):
    """One episode of one member has no interval."""
    nets.policy(imitate.make("CartPole-v1"), hidden=(4,)).save(tmp_path)
    law = ["--teacher", "control", "--episodes", "1", "--json"]
    assert main(["evaluate", str(tmp_path), *law]) == 0
    document = json.loads(capsys.readouterr().out, parse_constant=lambda constant: pytest.fail(constant))
    assert (document["ci_low"], document["ci_high"], document["interval_over"]) == (None, None, "episode")
    assert isinstance(document["percent_of_teacher"], float)


def test_a_control_law_teaches_without_a_run(tmp_path, capsys):
    options = ["--env", "CartPole-v1", "--out", str(tmp_path / "a"), *STUDENTS["clone"], *FEW]
    assert main(["clone", "--teacher", "control", *options]) == 0
    options[3] = str(tmp_path / "b")
    assert main(["clone", "--teacher", "control:CartPole-v1", *options]) == 0
    assert all(torch.equal(value, weights(tmp_path / "b")[name]) for name, value in weights(tmp_path / "a").items())


def test_dagger_from_demonstrations(teacher, tmp_path, capsys):
    more = ["--demonstrations", "2", "--every", "3", "--out", str(tmp_path / "d")]
    assert main([*arguments_of("dagger", teacher), *more]) == 0
    state = weights(tmp_path / "d")
    assert int(state["progress.steps"]) == 3 * 8 * 4
    assert (state["progress.labels"] > 3 * 8 * 4).all()


def test_distillation_by_all_drivers_and_losses(tmp_path, capsys):
    """Each ends elsewhere: no choice is ignored."""
    ends = []
    for drive in ("student", "teacher", "mixture"):
        for loss in ("forward-kl", "reverse-kl", "mse"):
            out = tmp_path / drive / loss
            more = ["--drive", drive, "--loss", loss, "--out", str(out), "--steps", "64"]
            assert main([*arguments_of("distill", "control"), "--env", "CartPole-v1", *more]) == 0
            run = json.loads((out / "run.json").read_text("utf-8"))
            assert (run["drive"], run["loss"]) == (drive, loss)
            ends.append((weights(out)["source.obs"], weights(out)["policy.body.layers.0.weight"]))
    for i, (obs, weight) in enumerate(ends):
        assert not any(torch.equal(weight, other) for _, other in ends[:i])
        if i % 3 == 0:  # of another driver
            assert not any(torch.equal(obs, other) for other, _ in ends[:i])


@pytest.mark.parametrize(
    ("row", "env", "teacher", "more"),
    [
        ("teacher-driven", "CartPole-v1", "control", ()),
        ("expected-entropy", "CartPole-v1", "control", ("--reward", "1")),
        ("on-policy", "FrozenLake-v1", "plan", ("--reward", "1", "--gate")),
        ("teacher-value", "FrozenLake-v1", "plan", ()),
    ],
)
def test_distillation_by_a_row_and_its_resumption(row, env, teacher, more, tmp_path, capsys):
    out, size = str(tmp_path), ["--rollout", "8", "--num-envs", "4", "--hidden", "6", *FEW]
    arguments = ["distill", "--row", row, "--env", env, "--teacher", teacher, "--out", out]
    assert main([*arguments, *size, *more, "--steps", "64"]) == 0
    run = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert (run["row"], run["config"]["reward"], run["config"]["gate"]) == (
        row,
        float("--reward" in more),
        "--gate" in more,
    )
    assert int(weights(tmp_path)["progress.steps"]) == 64
    # The row and all else is known from the folder.
    assert main(["distill", "--teacher", teacher, "--resume", "--out", out, "--steps", "128", *FEW]) == 0
    assert int(weights(tmp_path)["progress.steps"]) == 128


def test_a_box_is_cloned_by_either_loss(tmp_path, capsys):
    for loss in ("default", "nll", "mse"):
        options = ["--loss", loss, "--out", str(tmp_path / loss), *STUDENTS["clone"], *FEW]
        assert main(["clone", "--teacher", "control", "--env", "Pendulum-v1", *options]) == 0
    mine = {loss: weights(tmp_path / loss)["policy.head.log_std"] for loss in ("default", "nll", "mse")}
    assert torch.equal(mine["default"], mine["mse"])
    assert not torch.equal(mine["default"], mine["nll"])


def arrays(path, **changes):
    rng = np.random.default_rng(0)
    data = {"obs": rng.normal(size=(200, 4)), "action": rng.integers(0, 2, 200)} | changes
    np.savez(path, **data)
    return str(path)


def test_every_field_of_the_network_is_used(tmp_path, capsys):
    assert config_for(Architecture, "student", "Pendulum-v1").normalise  # so that it need not be said
    shape = ["--hidden", "5", "7", "--activation", "elu", "--clip-obs", "3.5", "--squash"]
    rest = ["--demonstrations", "2", "--updates", "3", *FEW, "--out", str(tmp_path / "out")]
    assert main(["clone", "--teacher", "control", "--env", "Pendulum-v1", *shape, *rest]) == 0
    assert nets.load(tmp_path / "out").architecture == Architecture((5, 7), "elu", True, True, 3.5)


def test_schedules_of_dagger(teacher, tmp_path, capsys):
    """Its β is chosen after all other options."""
    for words, beta, first in (
        ([], {"kind": "FirstRoundOnly"}, FirstRoundOnly()),
        (["linear", "--rounds", "7"], {"kind": "Linear", "rounds": 7}, Linear(7)),
        (["exponential", "--p", "0.25"], {"kind": "Exponential", "p": 0.25}, Exponential(0.25)),
    ):
        out = tmp_path / beta["kind"]
        arguments = [*arguments_of("dagger", teacher), "--out", str(out), *words]
        assert parse(arguments).config.beta == first
        assert main(arguments) == 0
        assert json.loads((out / "run.json").read_text("utf-8"))["config"]["beta"] == beta
    changed = [*arguments_of("dagger", teacher), "--out", out, "--resume", "exponential", "--p", "0.5"]
    assert "was made with other options: config.beta.p 0.25, now 0.5" in refused(capsys, changed)


def test_gail_from_a_file(tmp_path, capsys):
    data = arrays(tmp_path / "shown.npz")
    options = ["--env", "CartPole-v1", "--out", str(tmp_path / "out"), *STUDENTS["gail"], *FEW]
    assert main(["gail", "--data", data, *options, "--every", "2", "--discriminator.lr", "0.002"]) == 0
    assert weights(tmp_path / "out")["rl.progress.labels"].tolist() == [100, 100]
    config = json.loads((tmp_path / "out" / "run.json").read_text("utf-8"))["config"]
    assert (config["ppo"]["steps"], config["discriminator"]["lr"]) == (192, 0.002)


FINETUNE = [
    "--num-envs",
    "4",
    "--steps",
    "256",
    "--rollout",
    "16",
    "--epochs",
    "2",
    "--batch-size",
    "32",
    "--warmup",
    "64",
]


def test_a_policy_is_finetuned_and_goes_on_where_it_was_stopped(teacher, tmp_path, capsys):
    begin = ["finetune", str(teacher), *FINETUNE, *FEW]
    assert parse(begin).common.env == "CartPole-v1"
    assert main([*begin, "--out", str(tmp_path / "straight")]) == 0
    assert capsys.readouterr().out.startswith("finetune: mean ")
    one = weights(tmp_path / "straight")
    assert one["rl.policy.head.linear.weight"].shape[1] == 8  # the actor is that of the teacher
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, Finetuning, 2)
        assert main([*begin, "--out", str(tmp_path / "stopped")]) == 130
    assert main(["finetune", "--resume", "--out", str(tmp_path / "stopped")]) == 0
    two = weights(tmp_path / "stopped")
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_a_kickstarted_run_learns_from_its_teacher(teacher, tmp_path, capsys):
    """Three rollouts of 64 steps: the term counts in none of them, in all, or in the first quarter, the first."""
    near = [*TRAIN, "--teacher", str(teacher), "--lr", "0.01"]
    found = {}
    for name, more in (
        ("alone", ["--distil", "0"]),
        ("first", ["--distil-steps", "1"]),
        ("all", ["--distil-steps", "192"]),
        ("near", []),
    ):
        assert main([*near, *more, "--out", str(tmp_path / name)]) == 0
        assert "the teacher is no better than chance" in capsys.readouterr().out
        found[name] = weights(tmp_path / name)["policy.head.linear.weight"]
    assert torch.equal(found["near"], found["first"])
    assert not torch.equal(found["near"], found["alone"])
    assert not torch.equal(found["near"], found["all"])
    with (tmp_path / "near" / "progress.csv").open(newline="") as file:
        distances = [float(row["distil_0"]) for row in csv.DictReader(file)]
    assert len(distances) == 3
    run = json.loads((tmp_path / "near" / "run.json").read_text("utf-8"))
    assert run["kickstart"] == {"teacher": str(teacher), "vec_normalize": None, "distil": 1.0, "distil_steps": None}
    resume = ["train", "ppo", "--resume", "--out", str(tmp_path / "near")]
    assert parse(resume).kickstart == parse(near).kickstart
    line = refused(capsys, [*resume, "--distil", "0.5"])
    assert "was made with other options: kickstart.distil 1.0, now 0.5" in line


def test_a_kickstarted_run_that_was_stopped_goes_on(teacher, tmp_path, capsys):
    near = [*TRAIN, "--teacher", str(teacher), "--distil-steps", "150"]
    assert main([*near, "--out", str(tmp_path / "straight")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, PPO, 2)
        assert main([*near, "--out", str(tmp_path / "stopped")]) == 130
    assert main(["train", "ppo", "--resume", "--out", str(tmp_path / "stopped")]) == 0
    one, two = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


def test_sac_swings(tmp_path, capsys):
    few = ["--steps", "40", "--num-envs", "2", "--learning-starts", "8", "--batch-size", "8", "--hidden", "8", *FEW]
    assert main(["train", "sac", "--env", "Pendulum-v1", *few, "--out", str(tmp_path / "sac")]) == 0
    assert nets.load(tmp_path / "sac").architecture.squash
    assert int(weights(tmp_path / "sac")["progress.steps"]) == 40


def test_cloning_from_a_file(tmp_path, capsys):
    data = arrays(tmp_path / "shown.npz")
    options = ["--env", "CartPole-v1", "--out", str(tmp_path / "out"), *STUDENTS["clone"], *FEW]
    assert main(["clone", "--data", data, *options, "--every", "2"]) == 0
    assert weights(tmp_path / "out")["progress.labels"].tolist() == [100, 100]
    assert "% of the teacher" not in capsys.readouterr().out


def stop_after(monkeypatch, kind, iterations):
    """Press Ctrl-C in the midst of an iteration of an algorithm."""
    step, taken = kind.step, []

    def interrupted(self):
        taken.append(1)
        if len(taken) == iterations:
            signal.raise_signal(signal.SIGINT)
        return step(self)

    monkeypatch.setattr(kind, "step", interrupted)


@pytest.mark.parametrize("command", ALGORITHMS)
def test_a_run_that_was_stopped_goes_on_as_if_nothing_had_been(command, teacher, tmp_path, capsys):
    """Stopped after the second iteration and resumed, it has all tensors of the run that was left alone."""
    arguments = arguments_of(command, teacher)
    assert main([*arguments, "--out", str(tmp_path / "straight")]) == 0
    with pytest.MonkeyPatch.context() as patch:
        stop_after(patch, ALGORITHMS[command], 2)
        assert main([*arguments, "--out", str(tmp_path / "stopped")]) == 130
    before = steps_of(tmp_path / "stopped")
    out, err = capsys.readouterr()
    assert err.endswith("imitate: interrupted\n")
    assert f"stopped at step {before}; go on with --resume." in out
    assert before < steps_of(tmp_path / "straight")

    assert main([*arguments, "--out", str(tmp_path / "stopped"), "--resume"]) == 0
    one, two = weights(tmp_path / "straight"), weights(tmp_path / "stopped")
    assert one.keys() == two.keys()
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
    capsys.readouterr()

    assert main([*arguments, "--out", str(tmp_path / "stopped"), "--resume"]) == 0
    out = capsys.readouterr().out
    assert "nothing left to do; the run in" in out
    # neither begun anew nor continued as another run
    line = refused(capsys, [*arguments, "--out", tmp_path / "stopped"])
    assert "holds a run already; pass --resume" in line
    rate = {"airl": "ppo.lr", "gail": "ppo.lr", "viper": "ccp_alpha"}.get(command, "lr")
    line = refused(
        capsys, [*arguments, "--out", tmp_path / "stopped", "--resume", f"--{rate.replace('_', '-')}", "0.5"]
    )
    assert f"was made with other options: config.{rate} " in line
    assert "now 0.5" in line
    line = refused(capsys, [*arguments, "--out", tmp_path / "stopped", "--resume", "--seed", "3"])
    assert "seed 0, now 3" in line
    for name, value in weights(tmp_path / "stopped").items():
        assert torch.equal(value, two[name]), name


def test_the_library_stops_and_the_command_line_goes_on(tmp_path, capsys):
    """A checkpoint is the same whoever wrote it."""
    arguments = [*TRAIN, "--out", str(tmp_path / "run")]
    source = imitate.make("CartPole-v1", num_envs=4, members=2)
    command = parse(arguments)
    half = PPO(source, command.config)
    half.step()
    save_checkpoint(half, tmp_path / "run")
    assert main([*arguments, "--resume"]) == 0
    straight = PPO(imitate.make("CartPole-v1", num_envs=4, members=2), command.config)
    while not straight.progress.finished:
        straight.step()
    found = weights(tmp_path / "run")
    for name, value in tree.flatten(checkpoint.state_of(straight)):
        assert torch.equal(found[name], value), name


def test_a_loss_that_is_not_finite_is_one_line(teacher, tmp_path, capsys):
    line = refused(capsys, [*arguments_of("distill", teacher), "--out", tmp_path / "x", "--lr", "1e38"])
    assert "loss or gradient is not finite (member 0, 1) at iteration 1 " in line
    assert not (tmp_path / "x" / "checkpoint.json").exists()


def test_a_process_that_dies_is_one_line(tmp_path, capsys, monkeypatch):
    def dies(self):
        raise WorkerError("env: the process of environment 3 of 'X' died in step (exit code 1).")

    monkeypatch.setattr(PPO, "step", dies)
    line = refused(capsys, [*TRAIN, "--out", tmp_path / "x"])
    assert line == "env: the process of environment 3 of 'X' died in step (exit code 1)."


def test_a_second_ctrl_c_is_one_line(teacher, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(PPO, "step", lambda self: [signal.raise_signal(signal.SIGINT) for _ in range(2)])
    capsys.readouterr()
    assert main([*TRAIN, "--out", str(tmp_path / "x")]) == 130
    assert capsys.readouterr().err == "imitate: interrupted\n"


@pytest.fixture
def spoilt(teacher, tmp_path):
    """A folder with everything that can be wrong with a file."""
    data = {"obs": np.zeros((50, 4)), "action": np.zeros(50, int)}
    nan = data["obs"].copy()
    nan[7, 2] = np.nan
    arrays(tmp_path / "nan.npz", obs=nan, action=data["action"])
    arrays(tmp_path / "choice.npz", action=np.full(200, 2))
    arrays(tmp_path / "wide.npz", obs=np.zeros((200, 5)))
    (tmp_path / "text.npz").write_text("no arrays")
    np.savez(tmp_path / "lacking.npz", obs=data["obs"])
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "policy.json").write_text('{"weights": "model.bin"}')
    (tmp_path / "foreign" / "checkpoint.json").write_text('{"weights": "model.bin"}')
    (tmp_path / "file").write_text("not a folder")
    for name, what in (("cut-policy", "policy"), ("cut-checkpoint", "checkpoint")):
        shutil.copytree(teacher, tmp_path / name)
        path = next((tmp_path / name).glob(f"{what}-*.safetensors"))
        path.write_bytes(path.read_bytes()[:-20])
    shutil.copytree(teacher, tmp_path / "other-algorithm")
    nets.policy(imitate.make("Acrobot-v1", members=2), hidden=(4,)).save(tmp_path / "acrobot")
    nets.policy(imitate.make("CartPole-v1", members=3), hidden=(4,)).save(tmp_path / "three")
    return tmp_path


CARTPOLE = ["--env", "CartPole-v1"]
CASES = [
    # names
    (
        ["frobnicate"],
        "command: 'frobnicate' is unknown; known: airl, calibrate, clone, compress, condense, condition, dagger, dart, "
        "demo, distill, evaluate, export, finetune, fit, gail, gated, generations, inverse, jumpstart, list, qdagger, "
        "reduce, tasks, together, train, viper.",
    ),
    (["trian", "ppo"], "command: 'trian' is unknown; did you mean 'train'?"),
    (["train", "pppo", *CARTPOLE], "algorithm: 'pppo' is unknown; did you mean 'ppo'?"),
    (["reduce", "smil", *CARTPOLE], "method: 'smil' is unknown; did you mean 'smile'?"),
    (
        ["reduce", *CARTPOLE, "--teacher", "control", "smile"],
        "method: write it first, as in 'imitate reduce smile --teacher control'.",
    ),
    (
        ["reduce", "searn", "--env", "Pendulum-v1", "--teacher", "control"],
        "source: Pendulum-v1 cannot be branched; take one of our environments with a Discrete action.",
    ),
    (["reduce", "smile", *CARTPOLE, "--teacher", "control", "--alpha", "2"], "alpha: must be in [0, 1], not 2.0."),
    (["train", *CARTPOLE, "pppo"], "algorithm: 'pppo' is unknown; did you mean 'ppo'?"),
    (["train", "ppo", "--env", "CartPol-v1"], "env: 'CartPol-v1' is unknown; did you mean CartPole-v1?"),
    (["train", "ppo", "--env", "Nothing-v0"], "env: 'Nothing-v0' is unknown"),
    (["train", "ppo"], "env: which environment? Pass --env"),
    (["clone", "--teacher", "control"], "env: which environment? Pass --env"),
    (["evaluate", "control"], "env: which environment? Pass --env"),
    (
        ["train", "ppo", *CARTPOLE, "--stepz", "3"],
        "Unrecognized options: --stepz, 3; did you mean --steps? See imitate",
    ),
    (["--verbose"], "Unrecognized options: --verbose. See imitate --help."),
    (["train"], "Expected one of {ppo, iter, sac, "),
    (["evaluate"], "POLICY is missing: a run, "),
    (["dagger", *CARTPOLE], "--teacher is missing: a run, "),
    (["clone", *CARTPOLE], "teacher: pass either --teacher or --data."),
    (["clone", *CARTPOLE, "--teacher", "control", "--data", "x.npz"], "teacher: pass either --teacher or --data."),
    # values
    (["train", "ppo", *CARTPOLE, "--steps", "many"], "--steps: invalid literal for int() with base 10: 'many'. See"),
    (
        ["train", "ppo", *CARTPOLE, "--steps"],
        "Missing value for argument '--steps'. Expected 1 values. See imitate train ppo",
    ),
    (
        ["distill", *CARTPOLE, "--teacher", "control", "--loss", "kl"],
        "invalid choice 'kl' for argument '--loss'. Expect",
    ),
    (["train", "ppo", *CARTPOLE, "--device", "tpu"], "invalid choice 'tpu' for argument '--device'. Expected one of"),
    (["train", "ppo", *CARTPOLE, "--members", "0"], "members: must be at least 1, not 0"),
    (["train", "ppo", *CARTPOLE, "--num-envs", "-1"], "num_envs: must be at least 1, not -1"),
    (["train", "ppo", *CARTPOLE, "--episodes", "0"], "episodes: at least 1, not 0"),
    (["train", "ppo", *CARTPOLE, "--evaluate-every", "0"], "evaluate_every: at least 1, not 0"),
    (["train", "ppo", *CARTPOLE, "--batch-size", "100"], "batch_size: 100 does not divide rollout·num_envs = 1024."),
    (["train", "ppo", *CARTPOLE, "--batch-size", "0"], "batch_size: must be at least 1, not 0. See imitate train ppo"),
    (["train", "ppo", *CARTPOLE, "--batch-size", "1"], "batch_size: at least 2"),
    (["train", "ppo", "--env", "CartPole-v1", "--squash"], "squash: a tanh-Gaussian needs a Box"),
    (["train", "ppo", *CARTPOLE, "--activation", "sigmoid"], "'sigmoid'"),
    (["distill", *CARTPOLE, "--teacher", "control", "--batch-size", "100"], "batch_size: 100 does not divide"),
    (["distill", *CARTPOLE, "--teacher", "control", "--batch-size", "0"], "batch_size: must be at least 1, not 0."),
    (["distill", *CARTPOLE, "--teacher", "control", "--temperature", "0"], "temperature: must be positive"),
    (
        ["distill", *CARTPOLE, "--teacher", "control", "--row", "entropi"],
        "row: 'entropi' is unknown; did you mean 'entropy'",
    ),
    (
        ["distill", *CARTPOLE, "--teacher", "control", "--row", "teacher-value"],
        "teacher: a ControlLaw knows no values, which",
    ),
    (
        ["distill", *CARTPOLE, "--teacher", "control", "--row", "on-policy", "--gate"],
        "teacher: a ControlLaw knows no values",
    ),
    (
        ["distill", *CARTPOLE, "--teacher", "control", "--row", "teacher-driven", "--reward", "1"],
        "reward: the teacher acts in this row",
    ),
    (["clone", *CARTPOLE, "--teacher", "control", "--validation", "1"], "validation: must be in [0, 1), not 1.0."),
    (["clone", *CARTPOLE, "--teacher", "control", "--loss", "mse"], "loss: mse needs a continuous action"),
    (["clone", *CARTPOLE, "--teacher", "control", "--demonstrations", "0"], "demonstrations: at least 1, not 0."),
    (["clone", *CARTPOLE, "--teacher", "control", "--demonstrations", "1", "--every", "0"], "every: at least 1, not 0"),
    (["clone", *CARTPOLE, "--teacher", "control", "--demonstrations", "1", "--every", "900"], "has 1 examples; 2 at"),
    (["dagger", *CARTPOLE, "--teacher", "control", "--rounds", "0"], "rounds: must be at least 1, not 0"),
    (["dagger", *CARTPOLE, "--teacher", "control", "--best-round", "--validation", "0"], "best_round: needs held-out"),
    (["distill", "--env", "Pendulum-v1", "--teacher", "control", "--squash"], "teacher: its answers are Normal"),
    (["dagger", *CARTPOLE, "--teacher", "control", "linear", "--rounds", "0"], "beta: rounds: at least 1, not 0. See"),
    (["gail", *CARTPOLE], "teacher: pass either --teacher or --data."),
    (["gail", *CARTPOLE, "--teacher", "control", "--demonstrations", "0"], "demonstrations: at least 1, not 0."),
    (
        ["gail", *CARTPOLE, "--teacher", "control", "--lr", "1"],
        "Unrecognized options: --lr, 1; did you mean --discriminator.lr?",
    ),
    (
        ["gail", *CARTPOLE, "--teacher", "control", "--discriminator.updates", "0"],
        "discriminator: updates: must be at least 1, not 0. See imitate gail --help.",
    ),
    (["train", "sac", *CARTPOLE], "action: SAC squashes its actions into a Box with finite bounds"),
    (["train", "c51", *CARTPOLE, "--teacher", "control"], "teacher: c51 is not kickstarted; ppo, dqn and sac are."),
    (["train", "ppo", *CARTPOLE, "--teacher", "control", "--distil", "-1"], "distil: must be at least 0, not -1.0."),
    (["train", "ppo", *CARTPOLE, "--teacher", "control", "--distil-steps", "0"], "distil_steps: must be at least 1"),
    # teachers
    (["dagger", "--teacher", "{}/none"], "teacher: there is no file or directory '{}/none'."),
    (["dagger", *CARTPOLE, "--teacher", "{}/none"], "teacher: there is no file or directory '{}/none'."),
    (["dagger", *CARTPOLE, "--teacher", "{}/none.zip"], "none.zip"),
    (["dagger", *CARTPOLE, "--teacher", "{}/file"], "neither a directory of ours nor a .zip"),
    (["dagger", *CARTPOLE, "--teacher", "{}/empty"], "No policy.json in '{}/empty'."),
    (["dagger", *CARTPOLE, "--teacher", "{}/foreign"], "was not written by imitate"),
    (["dagger", "--teacher", "{}/cut-policy", "--members", "2"], "is truncated or was changed"),
    (["dagger", *CARTPOLE, "--teacher", "{}/acrobot", "--members", "2"], "but CartPole-v1 gives Box(4,)."),
    (["distill", "--env", "Acrobot-v1", "--teacher", "{teacher}", "--members", "2"], "but Acrobot-v1 gives Box(6,)."),
    (["dagger", "--teacher", "{}/three", "--members", "2"], "has 3, this run 2; pass --members 3."),
    (["clone", "--env", "FrozenLake-v1", "--teacher", "control"], "there is no control law for 'FrozenLake-v1'"),
    (["clone", *CARTPOLE, "--teacher", "control", "--vec-normalize", "v.pkl"], "vec_normalize: only a model of Stable"),
    (
        ["evaluate", "control", *CARTPOLE, "--teacher", "control", "--teacher-vec-normalize", "v.pkl"],
        "vec_normalize: only a model of Stable",
    ),
    (["evaluate", "{}/none"], "policy: there is no file or directory '{}/none'."),
    (["evaluate", "{}/empty", *CARTPOLE], "No policy.json in '{}/empty'."),
    (["evaluate", "{}/cut-policy"], "is truncated or was changed"),
    (["evaluate", "{teacher}", "--env", "Acrobot-v1"], "but Acrobot-v1 gives Box(6,)."),
    (["evaluate", "{teacher}", "--episodes", "0"], "episodes: at least 1, not 0"),
    (["evaluate", "{teacher}", "--members", "5"], "has 2, this run 5; pass --members 2."),
    (["evaluate", "{teacher}", "--teacher", "{}/three"], "has 3, this run 2; pass --members 3."),
    (["finetune", "{}/none"], "policy: there is no file or directory '{}/none'."),
    (["finetune", "control", *CARTPOLE], "policy: there is no file or directory 'control'."),
    (["finetune", "{teacher}", "--members", "3"], "policy: has 2 members, the source 3; one serves all."),
    (["finetune", "{teacher}", "--env", "Acrobot-v1", "--members", "2"], "policy: made for observations Box(4,), but"),
    (["finetune", "{teacher}", "--members", "2", "--warmup", "-1"], "warmup: must be at least 0, not -1."),
    (
        ["qdagger", "--env", "Pendulum-v1", "--teacher", "control"],
        "action: a value is learnt for each of finitely",
    ),
    (["jumpstart", *CARTPOLE, "--teacher", "control", "--stages", "0"], "stages: must be at least 1, not 0."),
    (["qdagger", *CARTPOLE, "--teacher", "control", "--temperature", "0"], "temperature: must be positive, not 0.0."),
    # demonstrations
    (["clone", *CARTPOLE, "--data", "{}/none.npz"], "demonstrations: there is no file '{}/none.npz'."),
    (["clone", *CARTPOLE, "--data", "{}/text.npz"], "text.npz' is not a readable .npz file"),
    (["clone", *CARTPOLE, "--data", "{}/lacking.npz"], "lacking.npz' lacks action; it has ['obs']."),
    (["clone", *CARTPOLE, "--data", "{}/nan.npz"], "obs: row 7 of the demonstrations is not finite."),
    (["clone", *CARTPOLE, "--data", "{}/choice.npz"], "action: row 0 holds 2; it must be a whole number in 0 … 1."),
    (["clone", *CARTPOLE, "--data", "{}/wide.npz"], "obs: shape (200, 5) is neither (4,) nor a batch of it."),
    # folders
    ([*TRAIN, "--out", "{}/file"], "File exists: '{}/file'"),
    ([*TRAIN, "--out", "{teacher}"], "out: '{teacher}' holds a run already; pass --resume"),
    ([*TRAIN, "--out", "{}/foreign", "--resume"], "was not written by imitate"),
    ([*TRAIN, "--out", "{}/cut-checkpoint", "--resume"], "is truncated or was changed"),
    ([*TRAIN, "--out", "{}/cut-checkpoint", "--resume", "--hidden", "9"], "was made with other options: config.hidden"),
    ([*TRAIN, "--out", "{}/other-algorithm", "--resume", "--num-envs", "8"], "num_envs 4, now 8"),
]


@pytest.mark.parametrize(("arguments", "expected"), CASES, ids=[" ".join(case[0][-4:]) for case in CASES])
def test_what_is_wrong_is_said_in_one_line(arguments, expected, spoilt, teacher, capsys, monkeypatch):
    monkeypatch.chdir(spoilt)

    def filled(text):
        return text.replace("{}", str(spoilt)).replace("{teacher}", str(teacher))

    line = refused(capsys, [filled(argument) for argument in arguments])
    assert filled(expected) in line
    assert "Error parsing" not in line


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
@pytest.mark.parametrize("arguments", [TRAIN, ["evaluate", "control", *CARTPOLE]])
def test_a_device_that_is_not_there(arguments, capsys):
    assert refused(capsys, [*arguments, "--device", "cuda"]).startswith("device: 'cuda' cannot be used here: ")


def test_a_wrong_algorithm_after_its_options(capsys):
    """The defaults were those of another one: nothing is to be trained with them."""
    others = [name for name, baseline in BASELINES.items() if not issubclass(baseline.config, PPOConfig)]
    for other in others:
        line = refused(capsys, ["train", *CARTPOLE, other])
        assert line == f"algorithm: write it first, as in 'imitate train {other} --env CartPole-v1'."


@pytest.mark.parametrize("arguments", [[], ["--help"], *([command, "--help"] for command in COMMANDS)])
def test_help(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*arguments[:1], "ppo", *arguments[1:]] if arguments[:1] == ["train"] else arguments)
    assert stop.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "imitate" in out
    if arguments in ([], ["--help"]):
        assert all(command in out for command in COMMANDS)
    if arguments == ["dagger", "--help"]:
        for option in ("--teacher", "--env", "--members", "--rounds", "--capacity", "--hidden", "--resume", "--lr"):
            assert option in out


def test_train_help_without_an_algorithm(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "--help"])
    assert stop.value.code == 0


def test_list_names_everything(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    known = [*COMMANDS.keys() - {"train", "evaluate", "export", "calibrate", "demo", "condition", "fit", "list"}]
    for name in (*known, "ppo", "sac", "CartPole-v1", "forward-kl", "control"):
        assert name in out


@pytest.mark.parametrize("env", ["CartPole-v1", "imitate/CartPole-v1", "Unheard-v0"])
@pytest.mark.parametrize("joined", [False, True])
def test_defaults_are_those_of_the_environment(env, joined):
    where = [f"--env={env}"] if joined else ["--env", env]
    teacher = ["--teacher", "control"]
    expected = {
        ("train", "ppo"): (PPOConfig, "ppo", None),
        ("clone",): (BehaviourCloningConfig, "clone", "student"),
        ("dagger", *teacher): (DAggerConfig, "dagger", "student"),
        ("distill", *teacher): (PolicyDistillationConfig, "distill", "small_student"),
    }
    for command, (kind, name, shape) in expected.items():
        parsed = parse([*command, *where])
        assert parsed.config == config_for(kind, name, env)
        assert (parsed.config == kind()) is (env == "Unheard-v0")
        assert parsed.common.env == env
        if shape is not None:
            assert parsed.student == config_for(Architecture, shape, env)
        changed = parse([*command, *where, "--lr", "0.125", "--seed", "4"])
        assert changed.config == replace(parsed.config, lr=0.125)
        assert changed.common == replace(parsed.common, seed=4)


def test_gail_has_the_defaults_of_the_environment_for_both_parts():
    for env in ("CartPole-v1", "Unheard-v0"):
        arguments = ["gail", "--teacher", "control", "--env", env]
        expected = config_for(GAILConfig, "gail", env)
        assert parse(arguments).config == expected
        assert (expected == GAILConfig()) is (env == "Unheard-v0")
        changed = parse([*arguments, "--ppo.lr", "0.125", "--discriminator.hidden", "5"]).config
        assert changed.ppo == replace(expected.ppo, lr=0.125)
        assert changed.discriminator == replace(expected.discriminator, hidden=(5,))


def test_the_environment_is_the_teachers(teacher):
    parsed = parse(["dagger", "--teacher", str(teacher)])
    assert parsed.common.env == "CartPole-v1"
    assert parsed.config == config_for(DAggerConfig, "dagger", "CartPole-v1")
    assert parsed.config != DAggerConfig()
    assert parse(["distill", f"--teacher={teacher}"]).common.env == "CartPole-v1"
    assert parse(["evaluate", str(teacher)]).env == "CartPole-v1"
    assert parse(["gail", "--teacher", str(teacher)]).common.env == "CartPole-v1"
    kickstarted = parse(["train", "ppo", "--teacher", str(teacher)])
    assert kickstarted.common.env == "CartPole-v1"
    assert kickstarted.config == config_for(PPOConfig, "ppo", "CartPole-v1")


def test_a_number_for_each_member(tmp_path, capsys):
    """A search in one run."""
    arguments = [*TRAIN, "--lr", "0.001", "0.01", "--out", str(tmp_path / "search")]
    assert parse(arguments).config.lr == (0.001, 0.01)
    assert main(arguments) == 0
    run = json.loads((tmp_path / "search" / "run.json").read_text("utf-8"))
    assert run["config"]["lr"] == [0.001, 0.01]
    assert main([*arguments, "--resume"]) == 0  # lists and tuples are the same options


def test_as_a_program(tmp_path):
    """`python -m imitate` in a process of its own: exit code and streams are those of `main`."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "error",
        "PYTHONIOENCODING": "utf-8",
        "PYTHONPATH": str(Path(imitate.__file__).parents[1]),
    }

    def program(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "imitate", *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=environment,
            check=False,
        )

    done = program("clone", "--teacher", "control", *CARTPOLE, *STUDENTS["clone"], *FEW, "--out", "run")
    assert (done.returncode, done.stdout.count("\n")) == (0, 2), done.stderr
    assert isinstance(nets.load(tmp_path / "run"), Actor)
    # here the parser draws boxes, which it does not where the output is captured
    line = "imitate: Unrecognized options: --stepz, 3; did you mean --steps? See imitate train ppo --help.\n"
    mistyped = program("train", "ppo", *CARTPOLE, "--stepz", "3")
    assert (mistyped.returncode, mistyped.stdout, mistyped.stderr) == (2, "", line)
    wrong = program("evaluate", "run", "--env", "Acrobot-v1")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith("imitate: ")
    assert wrong.stderr.count("\n") == 1
