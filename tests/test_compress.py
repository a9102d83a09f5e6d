"""Students of many sizes: what is made, what it is measured by, and a compression that goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib import image

import imitate
from imitate import compress as module
from imitate import nets
from imitate.baselines import PPOConfig
from imitate.cli.main import main
from imitate.compress import CompressConfig, compress
from imitate.experiment.compression import Compression
from imitate.nets.compression import dequantised
from imitate.students import PolicyDistillation, PolicyDistillationConfig
from imitate.teachers import control_law, load

M, E = 2, 2
FEW = PolicyDistillationConfig(steps=64, rollout=8, epochs=1, batch_size=16, lr=0.01)
CONFIG = CompressConfig(sizes=(3, 4), layers=1, prune=(0.5,), distillation=FEW)
STUDENTS = replace(CONFIG, scratch=False)
OPTIONS = {"members": M, "num_envs": 4, "episodes": E}


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """PPO of two iterations; times that take none; a picture in one test alone."""
    tuned = module.config_for
    few = PPOConfig(steps=64, rollout=8, epochs=1, batch_size=16)
    monkeypatch.setattr(module, "config_for", lambda kind, *a: few if kind is PPOConfig else tuned(kind, *a))
    monkeypatch.setattr(module, "TIMED", 4)
    monkeypatch.setattr(module, "STATES", 8)
    if request.function is not test_rows_of_all_kinds_and_a_report:
        monkeypatch.setattr(Compression, "_draw", lambda *a: None)
    monkeypatch.setattr("imitate.export.timing._median", lambda call, count, blocks: 7.0)
    monkeypatch.setattr("imitate.export.timing.find_spec", lambda name: None)
    monkeypatch.setattr("imitate.export.timing.shutil.which", lambda name: None)


def random_teacher(env="CartPole-v1", **options):
    """Whose episodes are short."""
    return nets.policy(imitate.make(env, members=M), (4,), seed=3, **options)


def rows_of(folder):
    document = json.loads((folder / "report.json").read_text("utf-8"), parse_constant=pytest.fail)
    for row in document["rows"]:
        assert row.pop("microseconds").keys() == {"eager", "onnx", "c"}
    return document["rows"]


def test_rows_of_all_kinds_and_a_report(tmp_path):
    said, teacher = [], random_teacher()
    found = compress(teacher, "CartPole-v1", CONFIG, out=tmp_path, say=said.append, **OPTIONS)
    names = ["teacher", "distilled 3", "distilled 4", "3, int8", "4, int8", "4, 50 % pruned", "scratch 3", "scratch 4"]
    assert [row.name for row in found.rows] == names
    rows = dict(zip(names, found.rows, strict=True))

    # numbers of 4 inputs, one layer and 2 choices; a pruned one lacks half of its weights
    assert (rows["teacher"].parameters, rows["teacher"].bytes) == (30, 120)
    for size in (3, 4):
        count = 4 * size + size + 2 * size + 2
        assert [rows[f"{kind} {size}"].parameters for kind in ("distilled", "scratch")] == [count, count]
        assert rows[f"distilled {size}"].bytes == 4 * count
        assert rows[f"{size}, int8"].bytes == 6 * size + 4 * ((size + 2) + (size + 2))
    assert rows["4, 50 % pruned"].parameters == 4 * 4 + 4 + 2 * 4 + 2 - 12
    assert rows["4, 50 % pruned"].bytes == 4 * 18 + 3
    assert [rows[name].labels for name in ("teacher", "distilled 3", "4, 50 % pruned", "scratch 3")] == [0, 64, 64, 0]
    assert rows["scratch 3"].env_steps == 64

    # each is what lies in its folder, played on the noise of the others
    source = imitate.make("CartPole-v1", num_envs=4, members=M, seed=4_000)
    for name, folder in (("distilled 3", "size-3"), ("4, 50 % pruned", "pruned-0.5-of-4"), ("scratch 4", "scratch-4")):
        policy = nets.load(tmp_path / folder)
        wanted = imitate.evaluate(policy, source, E, teacher=teacher)
        assert np.array_equal(wanted.returns, rows[name].evaluation.returns)
        assert np.array_equal(wanted.random, rows[name].evaluation.random)
    small = dequantised(nets.load(tmp_path / "size-3"))
    assert np.array_equal(imitate.evaluate(small, source, E).returns, rows["3, int8"].evaluation.returns)
    pruned = nets.load(tmp_path / "pruned-0.5-of-4")
    zeros = sum((p == 0).sum() for name, p in pruned.named_parameters() if name.endswith("weight"))
    assert zeros == M * 12

    assert [row["member_means"] for row in rows_of(tmp_path)] == [
        row.evaluation.returns.mean(1).tolist() for row in found.rows
    ]
    assert rows["teacher"].on_own is None and rows["distilled 3"].on_own.agreement.shape == (M,)
    assert image.imread(tmp_path / "report.png").std() > 0.02
    told = [line.partition(":")[0] for line in said]
    assert [name for name in told if name in names] == [
        *(n for n in names if "int8" not in n and n != "teacher"),
        *names,
    ]


def test_a_killed_compression_goes_on_with_what_is_missing(tmp_path, monkeypatch):
    """Killed in the second student, and asked for another size: the rest is as if nothing had happened."""
    teacher = random_teacher()
    compress(teacher, "CartPole-v1", STUDENTS, out=tmp_path / "whole", **OPTIONS)
    step, steps = PolicyDistillation.step, []

    def counted(self):
        steps.append(self.policy.architecture.hidden)
        if len(steps) == 4:
            raise RuntimeError("killed")
        return step(self)

    monkeypatch.setattr(PolicyDistillation, "step", counted)
    compress(teacher, "CartPole-v1", replace(STUDENTS, sizes=(3,), prune=()), out=tmp_path / "cut", **OPTIONS)
    assert steps == [(3,)] * 2
    with pytest.raises(RuntimeError, match="killed"):
        compress(teacher, "CartPole-v1", STUDENTS, out=tmp_path / "cut", resume=True, **OPTIONS)
    assert steps == [(3,)] * 2 + [(4,)] * 2
    compress(teacher, "CartPole-v1", STUDENTS, out=tmp_path / "cut", resume=True, **OPTIONS)
    assert steps == [(3,)] * 2 + [(4,)] * 2 + [(4,)] * 3  # one step of it was kept; the other two are the pruned one's
    assert rows_of(tmp_path / "cut") == rows_of(tmp_path / "whole")
    for folder in ("size-4", "pruned-0.5-of-4"):
        mine, theirs = (nets.load(tmp_path / run / folder).state_dict() for run in ("cut", "whole"))
        assert all(torch.equal(value, mine[name]) for name, value in theirs.items())


def test_what_differs_is_refused(tmp_path):
    teacher, only = random_teacher(), replace(STUDENTS, sizes=(3,), prune=())
    compress(teacher, "CartPole-v1", only, out=tmp_path, **OPTIONS)
    with pytest.raises(ValueError, match=r"^out: '.*' holds a run already; resume it, or take another folder\."):
        compress(teacher, "CartPole-v1", only, out=tmp_path, **OPTIONS)
    deeper = replace(only, layers=2)
    with pytest.raises(ValueError, match=r"^out: '.*' was made with other options: layers 1, now 2\."):
        compress(teacher, "CartPole-v1", deeper, out=tmp_path, resume=True, **OPTIONS)
    other = control_law("CartPole-v1")
    with pytest.raises(ValueError, match=r"other options: teacher_weights Actor [0-9a-f]+, now ControlLaw"):
        compress(other, "CartPole-v1", only, out=tmp_path, resume=True, **OPTIONS)
    assert module._digest(teacher) != module._digest(nets.policy(imitate.make("CartPole-v1", members=M), (4,)))
    longer = replace(only, distillation=replace(FEW, steps=128))
    with pytest.raises(ValueError, match=r"other options: distillation.steps 64, now 128\."):
        compress(teacher, "CartPole-v1", longer, out=tmp_path, resume=True, **OPTIONS)


def test_squashed_teachers_have_squashed_students(tmp_path):
    teacher = random_teacher("Pendulum-v1", squash=True)
    config = replace(CONFIG, sizes=(3,), prune=())
    found = compress(teacher, "Pendulum-v1", config, out=tmp_path, **OPTIONS)
    assert nets.load(tmp_path / "size-3").architecture.squash
    assert all(row.on_own.agreement is None for row in found.rows[1:])
    assert (found.rows[1].on_own.kl > 0).all()
    assert found.rows[-1].on_own.kl is None  # PPO's Gaussian is no tanh-Gaussian


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (8, 0)}, "sizes: must be at least 1, not 0."),
        ({"sizes": ()}, "sizes: at least one size, such as 16."),
        ({"sizes": (8, 8)}, "sizes: each once, not [8, 8]."),
        ({"prune": (0.5, 1.0)}, "prune: must be in [0, 1), not 1.0."),
        ({"layers": 0}, "layers: must be at least 1, not 0."),
    ],
)
def test_sizes_that_are_none(options, message):
    with pytest.raises(ValueError) as error:
        CompressConfig(**options)
    assert str(error.value) == message


def test_images_have_layers_of_one_size(tmp_path):
    teacher = random_teacher("MinAtar/Breakout-v1")
    with pytest.raises(ValueError, match=r"^sizes: a student for the images of MinAtar/Breakout-v1"):
        compress(teacher, "MinAtar/Breakout-v1", CONFIG, out=tmp_path, **OPTIONS)


def test_the_command_and_its_resumption(tmp_path, capsys):
    out = tmp_path / "out"
    random_teacher().save(tmp_path / "teacher")
    few = ["--members", "2", "--episodes", "2", "--num-envs", "4", "--steps", "64", "--rollout", "8", "--batch-size"]
    few += ["16", "--prune", "0.5", "--device", "cpu"]
    arguments = ["compress", str(tmp_path / "teacher"), "--out", str(out), "--sizes"]
    assert main([*arguments, "3", "4", *few]) == 0
    said = capsys.readouterr().out
    for part in ("distilled 3", "4, int8", "4, 50 % pruned", "scratch 4", f"{out / 'report.json'}", "pip install onnx"):
        assert part in said
    run = json.loads((out / "run.json").read_text("utf-8"))
    assert (run["command"], run["env"], run["config"]["sizes"]) == ("compress", "CartPole-v1", [3, 4])
    # All options are known from the folder, but the sizes, of which one more is asked for.
    more = ["--resume", "--episodes", "2", "--device", "cpu"]
    assert main([*arguments, "3", "4", "5", *more]) == 0
    said = capsys.readouterr().out
    assert "distilled 4: trained before" in said and "distilled 5: trained in" in said
    assert main([*arguments, "3", "0"]) == 2
    assert capsys.readouterr().err == "imitate: sizes: must be at least 1, not 0. See imitate compress --help.\n"
    assert main([*arguments, "3", "--members", "2"]) == 2
    assert "holds a run already" in capsys.readouterr().err
    assert load(out / "size-3").architecture.hidden == (3, 3)
