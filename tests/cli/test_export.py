"""The command `imitate export`: what it writes, where, and one line about what it cannot."""

import pytest
import torch

import imitate
from imitate import nets
from imitate.cli.main import main
from imitate.export import c_header, onnx_model, python_module, tree_text
from imitate.nets.tree_policy import Split, TreePolicy


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    spec = imitate.make("CartPole-v1", num_envs=1).spec
    policy = TreePolicy(spec.observation, spec.action, 2, 2, env="CartPole-v1")
    policy.plant(0, Split(2, 0.0, 0, 1))
    policy.plant(1, Split(2, 0.0, Split(3, 1.0, 0, 1), 1))
    folder = tmp_path_factory.mktemp("tree")
    policy.save(folder)
    return folder


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    folder = tmp_path_factory.mktemp("network")
    nets.policy(imitate.make("CartPole-v1", num_envs=1, members=2), (4,)).save(folder)
    return folder


def test_a_tree_is_printed_or_written(tree, tmp_path, capsys):
    policy = nets.load(tree)
    for kind, write in (("c", c_header), ("python", python_module), ("text", tree_text)):
        assert main(["export", str(tree), "--format", kind, "--member", "1"]) == 0
        assert capsys.readouterr().out.splitlines() == write(policy, member=1).splitlines()
        out = tmp_path / kind
        assert main(["export", str(tree), "--format", kind, "--out", str(out)]) == 0
        assert out.read_text("utf-8") == write(policy)
        assert capsys.readouterr().out == f"export: member 0 of '{tree}' is in {out}\n"
    names = ["--features", "x", "v", "angle", "spin", "--actions", "left", "right"]
    assert main(["export", str(tree), "--format", "text", *names]) == 0
    assert capsys.readouterr().out == "angle <= 0: left\nangle > 0: right\n"
    assert main(["export", str(tree), "--format", "png", "--out", str(tmp_path / "tree.png"), *names]) == 0
    assert (tmp_path / "tree.png").read_bytes().startswith(b"\x89PNG")


def test_a_network_is_written_as_c(network, tmp_path):
    out = tmp_path / "policy.h"
    assert main(["export", str(network), "--out", str(out), "--name", "mine", "--member", "-1"]) == 0
    header = out.read_text("utf-8")
    assert header == c_header(nets.load(network), member=-1, name="mine")
    assert "static inline int mine_act(const float *obs)" in header
    assert main(["export", str(network), "--out", str(out), "--format", "c-int8"]) == 0
    assert out.read_text("utf-8") == c_header(nets.load(network), int8=True) != c_header(nets.load(network))


def test_a_network_is_written_as_onnx(network, tmp_path):
    out = tmp_path / "policy.onnx"
    assert main(["export", str(network), "--out", str(out), "--format", "onnx", "--member", "1"]) == 0
    assert out.read_bytes() == onnx_model(nets.load(network), member=1)


@pytest.mark.parametrize(
    ("of", "options", "message"),
    [
        ("network", ["--format", "python"], "format: only a tree is written as Python"),
        ("network", ["--format", "text"], "format: only a tree is shown as text"),
        ("network", ["--format", "png", "--out", "x.png"], "format: only a tree is shown as png"),
        ("tree", ["--format", "png"], "out: a picture goes to a file that ends in .png"),
        ("tree", ["--format", "png", "--out", "x.svg"], "out: a picture goes to a file that ends in .png"),
        ("tree", ["--format", "onxn"], "--format"),
        ("network", ["--format", "onnx"], "out: a model of ONNX goes to a file"),
        ("tree", ["--format", "onnx", "--out", "x.onnx"], "policy: a TreePolicy is not written as ONNX"),
        ("tree", ["--format", "c-int8"], "int8: a tree has no weights"),
        ("tree", ["--member", "2"], "member: 2 is not one of the 2 members"),
        ("tree", ["--name", "1"], "name: '1' is no name"),
        ("tree", ["--format", "text", "--features", "x"], "features: 1 names for 4"),
        ("tree", ["--out", "/none/x.h"], "out: No such file or directory"),
        ("missing", [], "policy: there is no file or directory 'missing'"),
        ("control:CartPole-v1", [], "policy: a ControlLaw cannot be written as C"),
    ],
)
def test_what_cannot_be_is_one_line(of, options, message, request, capsys):
    folder = str(request.getfixturevalue(of)) if of in ("network", "tree") else of
    assert main(["export", folder, *options]) == 2
    err = capsys.readouterr().err
    assert err.startswith("imitate: ") and message in err and err.count("\n") == 1


def test_the_header_of_a_run_says_what_the_run_says(tmp_path):
    """From a teacher to a tree to Python, on the command line alone."""
    run = tmp_path / "run"
    few = ["--members", "1", "--rounds", "1", "--rollout", "20", "--held-out", "1", "--episodes", "1"]
    assert main(["viper", "--teacher", "control", "--env", "CartPole-v1", "--out", str(run), *few]) == 0
    assert main(["export", str(run), "--format", "python", "--out", str(tmp_path / "tree.py")]) == 0
    namespace = {}
    exec((tmp_path / "tree.py").read_text("utf-8"), namespace)
    obs = torch.randn(1, 50, 4)
    wanted = nets.load(run).act(obs, None, None)[0][0].tolist()
    assert [namespace["policy_act"](row) for row in obs[0].tolist()] == wanted
