"""Trees as C, Python, text and pictures: the tree itself on 10,000 observations, every number of float32 told apart."""

import numpy as np
import pytest
import torch

from imitate.export import c_header, draw_tree, python_module, tree_text
from imitate.nets.tree_policy import Split, TreePolicy
from imitate_envs.base import Box, Discrete
from tests.export.compiled import choices, needs_a_compiler

M, F, A, DEPTH, COUNT = 2, 4, 3, 5, 10_000


def grown(depth):
    if depth == 0 or (depth < DEPTH and torch.rand(()) < 1 / 8):
        return int(torch.randint(A, ()))
    # Of every size, down to numbers that have lost digits: decimal constants of few digits would not do.
    threshold = float(torch.randn(()) * 10.0 ** torch.randint(-44, 38, ()))
    return Split(int(torch.randint(F, ())), threshold, grown(depth - 1), grown(depth - 1))


def planted(start=0, depth=DEPTH):
    policy = TreePolicy(Box((F,)), Discrete(A, start), M, DEPTH, env="Test-v0")
    for member in range(M):
        policy.plant(member, grown(depth))
    return policy


def tried(policy, member):
    """Numbers of every size; of each threshold itself, and its neighbours on both sides; and what is no number."""
    size = torch.randint(-44, 38, (COUNT, F))
    obs = (torch.randn(COUNT, F) * 10.0**size).numpy()
    limits = policy.threshold[member][policy.left[member] != torch.arange(policy.left.shape[1])].numpy()
    ends = (np.float32(-np.inf), np.float32(np.inf))
    near = np.concatenate([limits, *(np.nextafter(limits, end) for end in ends)])
    on = np.random.default_rng(0).random(obs.shape) < 0.5
    obs[on] = near[np.random.default_rng(1).integers(len(near), size=on.sum())]
    obs[:3, :] = np.float32([[np.nan], [np.inf], [-np.inf]])
    return obs


def wanted(policy, member, obs):
    x = torch.from_numpy(obs).expand(M, -1, -1)
    return (policy.act(x, None, None)[0][member] + policy.action.start).numpy()


@needs_a_compiler
@pytest.mark.parametrize(("member", "start"), [(0, 0), (1, 0), (-1, 5)])
def test_c_is_the_tree(member, start, tmp_path):
    policy = planted(start)
    obs = tried(policy, member)
    expected = wanted(policy, member, obs)
    assert len(np.unique(expected)) > 1
    assert np.array_equal(choices(c_header(policy, member=member), obs, tmp_path), expected)


@pytest.mark.parametrize(("member", "start"), [(0, 0), (1, 0), (-1, 5)])
def test_python_is_the_tree(member, start):
    policy = planted(start)
    obs = tried(policy, member)
    expected = wanted(policy, member, obs)
    act = python(python_module(policy, member=member))
    assert [act(row) for row in obs.tolist()] == expected.tolist()  # of Python's floats
    assert [act(row) for row in obs[:500]] == expected[:500].tolist()  # of numpy's


def python(module, name="policy"):
    namespace = {}
    exec(compile(module, "policy.py", "exec"), namespace)
    return namespace[f"{name}_act"]


@needs_a_compiler
def test_the_deepest_tree_and_a_single_leaf_are_read_by_both_languages(tmp_path):
    root = 1
    for level in range(64):
        root = Split(0, float(63 - level), 0 if level % 2 else 2, root)
    policy = TreePolicy(Box((F,)), Discrete(A), 2, 64, nodes=129)
    policy.plant(0, root)
    policy.plant(1, 2)
    obs = np.random.default_rng(0).uniform(-1, 65, (1000, F)).astype(np.float32)
    for member in (0, 1):
        expected = wanted(policy, member, obs)
        act = python(python_module(policy, member=member, name="tree"), "tree")
        assert [act(row) for row in obs.tolist()] == expected.tolist()
        assert np.array_equal(choices(c_header(policy, member=member), obs, tmp_path), expected)


def small():
    policy = TreePolicy(Box((2,)), Discrete(3, 1), 1, 2, env="Test-v0")
    policy.plant(0, Split(1, 0.25, Split(0, -1.5, 0, 2), 1))
    return policy


def test_text_is_for_people():
    assert tree_text(small()) == "x[1] <= 0.25\n    x[0] <= -1.5: 1\n    x[0] > -1.5: 3\nx[1] > 0.25: 2\n"
    named = tree_text(small(), features=["v", "θ"], actions=["left", "rest", "right"])
    assert named == "θ <= 0.25\n    v <= -1.5: left\n    v > -1.5: right\nθ > 0.25: rest\n"
    leaf = TreePolicy(Box((2,)), Discrete(3), 1, 1)
    assert tree_text(leaf) == "0\n"


def test_what_is_written_stands_alone_and_says_where_it_is_from():
    module = python_module(small(), name="stop")
    assert module.startswith('"""A decision tree of 5 nodes, member 0 of 1, for Test-v0, written by imitate."""\n')
    assert "import" not in module and "def stop_act(obs):" in module
    header = c_header(small(), name="stop")
    assert "#include" not in header and "static inline int stop_act(const float *obs) {" in header
    assert "if (obs[1] <= 0x1p-2f) { /* 0.25 */" in header


@needs_a_compiler
def test_the_name_of_an_environment_in_a_file_ends_no_comment(tmp_path):
    policy = small()
    policy.env = '*/ int x = 1; """ + exit() + """ ??/\n//'
    obs = np.float32([[0, 0], [0, 1]])
    assert choices(c_header(policy), obs, tmp_path).tolist() == [3, 2]
    assert [python(python_module(policy))(row) for row in obs] == [3, 2]
    head = python_module(policy).splitlines()[0]
    assert head.count('"""') == 2 and head.endswith('"""') and "exit()" not in head


def test_a_picture_is_drawn(tmp_path):
    policy = planted()
    policy.env = "$no mathematics{"
    draw_tree(tmp_path / "tree.png", policy, member=1, features=list("abcd"), actions=["$x", "_y", "z"])
    assert (tmp_path / "tree.png").read_bytes().startswith(b"\x89PNG")


def test_what_does_not_fit_is_one_line(tmp_path):
    policy = small()
    with pytest.raises(ValueError, match=r"^features: 1 names for 2"):
        tree_text(policy, features=["a"])
    with pytest.raises(ValueError, match=r"^actions: 4 names for 3"):
        draw_tree(tmp_path / "x.png", policy, actions=list("abcd"))
    for write in (tree_text, c_header, python_module):
        with pytest.raises(ValueError, match=r"^member: 1 is not one of the 1 members"):
            write(policy, member=1)
    for name in ("", "1st", "a b", "a;b", "ä", "_x"):
        with pytest.raises(ValueError, match=r"^name: "):
            c_header(policy, name=name)
    wide = TreePolicy(Box((1,)), Discrete(2), 1, 8)

    def full(depth, low, high):
        middle = (low + high) / 2
        return (
            depth % 2 if low + 1 >= high else Split(0, middle, full(depth, low, middle), full(depth + 1, middle, high))
        )

    wide.plant(0, full(0, 0, 256))
    with pytest.raises(ValueError, match=r"^policy: a picture has room for 200 leaves, and the tree has 256"):
        draw_tree(tmp_path / "x.png", wide)
