"""A run that goes on: interrupted, extended, with another hyper-parameter, or with nothing said but its folder."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import imitate
from imitate.baselines import PPO, PPOConfig, TabularConfig
from imitate.cli.common import _rounding
from imitate.cli.main import main, parse
from imitate.cli.resuming import changed, learning_rate
from imitate.core import checkpoint, tree
from imitate.core.lock import locked
from imitate.students import DAggerConfig, GAILConfig, Linear

FEW = ["--members", "2", "--episodes", "2", "--device", "cpu"]
TRAIN = ["train", "ppo", "--env", "CartPole-v1", "--num-envs", "4", "--steps", "192", "--rollout", "16"]
TRAIN += ["--epochs", "2", "--batch-size", "32", "--hidden", "8", "8", "--lr", "0.002", "--seed", "3", *FEW]
DAGGER = ["dagger", "--teacher", "control", "--env", "CartPole-v1", "--rounds", "2", "--rollout", "8", "--updates", "5"]
DAGGER += ["--num-envs", "4", "--hidden", "6", *FEW]
GAIL = ["gail", "--teacher", "control", "--env", "CartPole-v1", "--demonstrations", "2", "--num-envs", "4", *FEW]
GAIL += ["--ppo.steps", "128", "--ppo.rollout", "16", "--ppo.batch-size", "32", "--ppo.hidden", "8"]


def document(folder, name="run"):
    return json.loads((folder / f"{name}.json").read_text("utf-8"))


def weights(folder):
    """All tensors of the checkpoint of a run."""
    return dict(tree.flatten(checkpoint.read(folder, "checkpoint")[0]))


def refused(capsys, arguments):
    capsys.readouterr()
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The folder of a run that Ctrl-C stopped in its first iteration."""
    step = PPO.step
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "step", lambda self: (signal.raise_signal(signal.SIGINT), step(self))[1])
        assert main([*TRAIN, "--out", str(tmp_path / "run")]) == 130
    assert document(tmp_path / "run", "checkpoint")["steps"] == 64
    return tmp_path / "run"


def test_the_folder_is_enough(stopped, tmp_path, capsys):
    """Every option that is not given is that of the run, and not the default."""
    resume = ["train", "ppo", "--resume", "--out", str(stopped)]
    command, before = parse(resume), parse([*TRAIN, "--out", str(stopped)])
    assert command.config == before.config
    for name in ("env", "members", "seed", "num_envs", "out"):
        assert getattr(command.common, name) == getattr(before.common, name)
    assert main(resume) == 0
    assert main([*TRAIN, "--out", str(tmp_path / "straight")]) == 0
    one, two = weights(stopped), weights(tmp_path / "straight")
    assert all(torch.equal(one[name], value) for name, value in two.items())
    assert document(stopped) == document(tmp_path / "straight")


def test_so_it_is_for_students(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([*DAGGER, "linear", "--rounds", "7"]) == 0
    command = parse(["dagger", "--resume", "--env", "CartPole-v1"])  # the folder that is the default
    assert command.teacher == "control"
    assert command.student.hidden == (6,)
    assert isinstance(command.config, DAggerConfig)
    assert (command.config.rounds, command.config.beta) == (2, Linear(7))
    assert main(["dagger", "--resume", "--out", "runs/dagger-CartPole-v1"]) == 0
    assert "nothing left to do" in capsys.readouterr().out
    data = tmp_path / "shown.npz"
    np.savez(data, obs=np.zeros((50, 4)), action=np.arange(50) % 2)
    options = ["--env", "CartPole-v1", "--updates", "4", "--validate-every", "2", "--out", "clone", *FEW]
    assert main(["clone", "--data", str(data), *options]) == 0
    assert parse(["clone", "--resume", "--out", "clone"]).data == data


def test_a_finished_run_is_extended(tmp_path, capsys):
    out = ["--out", str(tmp_path / "run")]
    assert main([*TRAIN, *out]) == 0
    assert "changes" not in document(tmp_path / "run")
    assert "config.steps 192, now 128" in refused(capsys, ["train", "ppo", "--resume", *out, "--steps", "128"])
    assert main(["train", "ppo", "--resume", *out, "--steps", "320"]) == 0
    assert document(tmp_path / "run", "checkpoint")["steps"] == 320
    found = document(tmp_path / "run")
    assert found["config"]["steps"] == 320
    assert found["changes"] == [{"step": 192, "option": "steps", "before": 192, "now": 320}]
    assert main(["train", "ppo", "--resume", *out]) == 0  # the new total is now the run's own
    assert "nothing left to do" in capsys.readouterr().out


def test_a_hyper_parameter_is_changed_by_name(stopped, capsys):
    resume = ["train", "ppo", "--resume", "--out", str(stopped)]
    assert "config.lr 0.002, now 0.5" in refused(capsys, [*resume, "--lr", "0.5"])
    assert document(stopped)["config"]["lr"] == 0.002
    assert main([*resume, "--change", "lr=0.001,0.0001", "max-grad-norm=0.25"]) == 0
    found = document(stopped)
    assert (found["config"]["lr"], found["config"]["max_grad_norm"]) == ([0.001, 0.0001], 0.25)
    assert [{**change} for change in found["changes"]] == [
        {"step": 64, "option": "lr", "before": 0.002, "now": [0.001, 0.0001]},
        {"step": 64, "option": "max_grad_norm", "before": 5.0, "now": 0.25},
    ]
    assert document(stopped, "checkpoint")["config"]["lr"] == [0.001, 0.0001]
    assert main([*resume, "--steps", "256", "--change", "lr=0.002"]) == 0
    assert [change["step"] for change in document(stopped)["changes"]] == [64, 64, 192, 192]


def test_a_run_that_is_killed_before_its_next_checkpoint_goes_on_with_the_change(stopped, monkeypatch, capsys):
    resume = ["train", "ppo", "--resume", "--out", str(stopped)]

    def fails(self):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "step", fails)
        assert main([*resume, "--change", "lr=0.001"]) == 130
    assert document(stopped, "checkpoint")["config"]["lr"] == 0.002
    assert main(resume) == 0
    assert document(stopped, "checkpoint")["config"]["lr"] == 0.001


def test_what_cannot_be_loaded_leaves_the_folder_as_it_was(stopped, capsys):
    before = document(stopped)
    line = refused(capsys, ["train", "ppo", "--resume", "--out", str(stopped), "--change", "hidden=9"])
    assert "architecture.hidden [8, 8], now [9]" in line
    assert document(stopped) == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["lrr=3"], "change: 'lrr' is unknown; did you mean 'lr'?"),
        (["lr"], "change: 'lr' is no NAME=VALUE, as lr=1e-4 is."),
        (["steps=many"], "change: 'many' is no value for steps."),
        (["lr=a,b"], "change: 'a,b' is no value for lr."),
        (["lr=1,2,3"], "lr: 3 values for 2 members; give one, or one a member."),
        (["lr=-1"], "lr: "),
    ],
)
def test_a_change_that_is_none_is_one_line(stopped, change, message, capsys):
    before = document(stopped)
    line = refused(capsys, ["train", "ppo", "--resume", "--out", str(stopped), "--change", *change])
    assert line.startswith(f"imitate: {message}")
    assert document(stopped) == before


def test_only_a_run_that_is_resumed_changes(tmp_path, capsys):
    for more in ([], ["--resume"]):  # there is nothing in the folder
        line = refused(capsys, [*TRAIN, "--out", str(tmp_path / "run"), *more, "--change", "lr=1"])
        assert line.startswith("imitate: change: only a run that is resumed has something to change; pass --resume")
        assert not (tmp_path / "run").exists()


def test_values_have_the_types_of_their_options():
    found = changed(PPOConfig(), ["lr=1e-4", "hidden=3,4", "anneal-lr=True", "steps=7", "activation=relu"])
    assert found == PPOConfig(lr=1e-4, hidden=(3, 4), anneal_lr=True, steps=7, activation="relu")
    with pytest.raises(ValueError, match="'beta' is unknown"):  # a schedule is no number
        changed(DAggerConfig(), ["beta=1"])
    both = changed(GAILConfig(), ["ppo.anneal-lr=True", "discriminator.lr=1e-4,1e-3", "ppo.steps=7"])
    assert both.ppo == replace(GAILConfig().ppo, anneal_lr=True, steps=7)
    assert both.discriminator == replace(GAILConfig().discriminator, lr=(1e-4, 1e-3))
    for name in ("lr", "ppo", "ppo.lrr"):
        with pytest.raises(ValueError, match=f"change: '{name}' is unknown"):
            changed(GAILConfig(), [f"{name}=1"])


def test_a_part_of_a_config_is_changed_and_extended(tmp_path, capsys):
    out = ["--out", str(tmp_path / "gail")]
    assert main([*GAIL, *out]) == 0
    resume = ["gail", "--resume", *out]
    assert parse(resume).config == parse(GAIL).config
    assert "config.ppo.lr 0.003, now 0.5" in refused(capsys, [*resume, "--ppo.lr", "0.5"])
    assert "config.ppo.steps 128, now 64" in refused(capsys, [*resume, "--ppo.steps", "64"])
    assert main([*resume, "--ppo.steps", "192", "--change", "discriminator.lr=0.5"]) == 0
    found = document(tmp_path / "gail")
    assert [(change["option"], change["now"]) for change in found["changes"]] == [
        ("ppo.steps", 192),
        ("discriminator.lr", 0.5),
    ]
    assert document(tmp_path / "gail", "checkpoint")["steps"] == 192
    assert main(resume) == 0
    assert "config.ppo.lr 0.003, now 0.5" in refused(capsys, [*resume, "--ppo.lr", "0.5"])


@pytest.mark.parametrize("command", [TRAIN, DAGGER], ids=lambda command: command[0])
def test_the_advice_of_a_run_that_diverged_can_be_followed(tmp_path, capsys, command):
    out = ["--out", str(tmp_path / "run")]
    line = refused(capsys, [*command, *out, "--lr", "1e38"])
    assert line.endswith("No checkpoint was written yet. Begin again with another --lr.")
    assert not (tmp_path / "run" / "checkpoint.json").exists()
    assert main([*command, *out, "--lr", "1e-3"]) == 0


@pytest.mark.parametrize(
    ("config", "rate"), [(PPOConfig(), "lr"), (GAILConfig(), "ppo.lr"), (TabularConfig(), "alpha"), (None, "lr")]
)
def test_the_learning_rate_is_called_as_it_is(config, rate):
    assert learning_rate(config) == rate


def test_so_can_that_of_one_that_diverged_later(tmp_path, monkeypatch, capsys):
    """At the last good checkpoint by the change that the line names."""
    out, step, counts = ["--out", str(tmp_path / "run")], PPO.step, []

    def diverges(self):
        counts.append(step(self))
        return counts[-1] | ({"loss": torch.tensor([1.0, float("inf")])} if len(counts) == 3 else {})

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "step", diverges)
        assert main([*TRAIN, *out, "--evaluate-every", "64"]) == 2
    *_, line = capsys.readouterr().err.splitlines()
    advice = f"--resume {' '.join(out)} --change lr=VALUE"
    assert line.endswith(f"step 64, is kept. {advice} goes on from there with another learning rate.")
    assert main(["train", "ppo", *advice.replace("VALUE", "1e-4").split()]) == 0
    assert document(tmp_path / "run")["changes"] == [{"step": 64, "option": "lr", "before": 0.002, "now": 1e-4}]
    assert document(tmp_path / "run", "checkpoint")["steps"] == 192


def test_a_run_under_way_is_not_resumed_by_another(stopped, capsys):
    before = document(stopped)
    with locked(stopped):
        line = refused(capsys, ["train", "ppo", "--resume", "--out", str(stopped), "--change", "lr=1"])
    assert line.startswith(f"imitate: checkpoint: another run writes into '{stopped}' (process {os.getpid()})")
    assert document(stopped) == before


@pytest.mark.parametrize("text", ["{", "[]"])
def test_a_foreign_run_is_one_line(stopped, text, capsys):
    (stopped / "run.json").write_text(text)
    assert "run.json' was not written by imitate" in refused(
        capsys, ["train", "ppo", "--resume", "--out", str(stopped)]
    )


def test_a_folder_without_a_policy_yet(tmp_path, capsys):
    (tmp_path / "run.json").write_text('{"command": "ppo", "env": "CartPole-v1", "members": 2}')
    folder = str(tmp_path)
    for what, arguments in (
        ("policy", ["evaluate", folder]),
        ("policy", ["evaluate", folder, "--env", "CartPole-v1"]),
        ("teacher", ["evaluate", "control", "--env", "CartPole-v1", "--teacher", folder]),
        ("teacher", ["dagger", "--teacher", folder]),
        ("teacher", ["distill", "--teacher", folder, "--env", "CartPole-v1"]),
        ("teacher", ["clone", "--teacher", folder]),
        ("run", ["calibrate", folder]),
    ):
        line = refused(capsys, arguments)
        assert line == (
            f"imitate: {what}: no policy in this folder yet: '{folder}'; its run has written no checkpoint."
        )


@pytest.mark.parametrize(
    ("config", "total", "budget", "line"),
    [
        (PPOConfig(steps=100_000, rollout=128), 100_000, 100_352, "100,352 steps: a rollout takes 2,048"),
        (PPOConfig(steps=4_096, rollout=128), 4_096, 4_096, None),
        (SimpleNamespace(steps=100), 100, 112, "112 steps: an iteration is not cut"),
        (DAggerConfig(), 10, 10, None),
        (GAILConfig(), 300_000, 300_032, "300,032 steps: an iteration is not cut"),
    ],
)
def test_steps_that_are_rounded_are_told(config, total, budget, line):
    progress = SimpleNamespace(total=total, budget=budget)
    source = SimpleNamespace(spec=SimpleNamespace(num_envs=16))
    algorithm = SimpleNamespace(config=config, progress=progress, source=source)
    assert _rounding(algorithm) == line


def test_sigterm_ends_the_iteration_and_writes_a_checkpoint(tmp_path):
    """What a scheduler sends before it kills."""
    root = Path(imitate.__file__).parents[1]
    path = os.pathsep.join([str(root), str(root / "envs")])
    out = tmp_path / "run"
    more = ["--steps", "100000000", "--evaluate-every", "100", "--out", str(out)]
    running = subprocess.Popen(
        [sys.executable, "-m", "imitate", *TRAIN, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    while not (out / "checkpoint.json").exists() and running.poll() is None:
        time.sleep(0.05)
    running.send_signal(signal.SIGTERM)
    said, err = running.communicate()
    assert running.returncode == 130, err
    steps = document(out, "checkpoint")["steps"]
    assert f"stopped at step {steps:,}; go on with --resume." in said
    assert err.splitlines()[-1] == "imitate: interrupted"


def test_the_change_takes_effect(stopped):
    """At a learning rate of zero nothing is learnt any more."""
    before = imitate.load(stopped).state_dict()
    assert main(["train", "ppo", "--resume", "--out", str(stopped), "--change", "lr=0"]) == 0
    assert document(stopped, "checkpoint")["steps"] == 192
    after = imitate.load(stopped).state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
