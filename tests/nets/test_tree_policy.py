"""Tree policies: a walk node by node as the oracle, files, and numbers that are no trees."""

import math

import pytest
import torch

import imitate
from imitate import nets
from imitate.core import checkpoint
from imitate.nets.tree_policy import Split, TreePolicy
from imitate_envs.base import Box, Dict, Discrete
from tests.oracles import Identity

M, B, F, A, DEPTH = 3, 200, 4, 3, 5
SPACE = Box((F,))


def walk(node, x):
    """One observation, one node after the other."""
    while isinstance(node, Split):
        node = node.left if x[node.feature] <= node.threshold else node.right
    return node


def thresholds():
    return float(torch.randn(()))


def grown(depth):
    """A random tree; a number in eight is a leaf before its time."""
    if depth == 0 or (depth < DEPTH and torch.rand(()) < 1 / 8):
        return int(torch.randint(A, ()))
    return Split(int(torch.randint(F, ())), thresholds(), grown(depth - 1), grown(depth - 1))


def planted(space=SPACE, members=M):
    roots = [grown(DEPTH) for _ in range(members)]
    policy = TreePolicy(space, Discrete(A), members, DEPTH, env="Test-v0")
    for member, root in enumerate(roots):
        policy.plant(member, root)
    return policy, roots


def tried(roots):
    """Observations [M, B, F]: draws, numbers that are thresholds, and what is no number."""

    def of(node):
        return [] if isinstance(node, int) else [node.threshold, *of(node.left), *of(node.right)]

    known = torch.tensor([threshold for root in roots for threshold in of(root)])
    x = torch.randn(len(roots), B, F)
    on = torch.rand(x.shape) < 0.3
    x[on] = known[torch.randint(len(known), (int(on.sum()),))]
    x[:, :3, 0] = torch.tensor([math.inf, -math.inf, math.nan])
    return x


def test_a_choice_is_that_of_a_walk():
    policy, roots = planted()
    x = tried(roots)
    action, memory, extras = policy.act(x, None, None)
    assert memory is None and extras == {}
    assert action.tolist() == [[walk(root, row) for row in x[m].tolist()] for m, root in enumerate(roots)]
    assert torch.equal(policy.distribution(x).mode, action)
    assert len(action.unique()) == A


def test_a_tree_is_what_was_planted():
    policy, roots = planted()
    assert [policy.root(m) for m in range(M)] == roots
    assert policy.nodes.tolist() == [count(root) for root in roots]
    policy.plant(1, 2)
    assert [policy.root(m) for m in range(M)] == [roots[0], 2, roots[2]]
    assert policy.nodes[1] == 1


def count(node):
    return 1 if isinstance(node, int) else 1 + count(node.left) + count(node.right)


def test_one_member_serves_observations_of_any_shape():
    policy, (root,) = planted(members=1)
    x = torch.randn(5, 7, F)
    assert policy.act(x, None, None)[0].tolist() == [[walk(root, row) for row in rows] for rows in x.tolist()]


def test_numbers_of_double_precision_are_compared_as_those_of_single():
    policy, roots = planted()
    x = tried(roots)
    assert torch.equal(policy.act(x.double(), None, None)[0], policy.act(x, None, None)[0])


def test_choices_among_the_observations_are_one_hot():
    """Feature 2 of a Discrete(3) is 1 in state 2 alone; numbers stand before choices."""
    policy = TreePolicy(Discrete(3), Discrete(2), 1, 1)
    policy.plant(0, Split(2, 0.5, 0, 1))
    assert policy.act(torch.tensor([[0, 1, 2]]), None, None)[0].tolist() == [[0, 0, 1]]
    mixed = TreePolicy(Dict.of({"a": Discrete(2), "b": Box((1,))}), Discrete(2), 1, 2)
    mixed.plant(0, Split(0, 5.0, Split(2, 0.5, 0, 1), 1))
    obs = {"a": torch.tensor([[0, 1, 0]]), "b": torch.tensor([[[1.0], [1.0], [6.0]]])}
    assert mixed.act(obs, None, None)[0].tolist() == [[0, 1, 1]]


def test_it_is_written_and_read(tmp_path):
    policy, roots = planted()
    policy.save(tmp_path)
    found = imitate.load(tmp_path)
    assert isinstance(found, TreePolicy)
    assert (found.members, found.env, found.depth, found.action) == (M, "Test-v0", DEPTH, Discrete(A))
    assert [found.root(m) for m in range(M)] == roots
    obs = torch.randn(7, F).numpy()
    assert found.predict(obs, member=2)[0].tolist() == [walk(roots[2], row) for row in obs.tolist()]


def test_it_is_a_teacher_of_its_environment(tmp_path):
    source = imitate.make("CartPole-v1", num_envs=2, members=2)
    policy = TreePolicy(source.spec.observation, source.spec.action, 2, 1, env="CartPole-v1")
    for member in range(2):
        policy.plant(member, Split(2, 0.0, 0, 1))
    policy.save(tmp_path)
    teacher = imitate.teachers.load(tmp_path, source)
    assert imitate.evaluate(teacher, source, episodes=2).returns.shape == (2, 2)
    with pytest.raises(ValueError, match=r"^teacher: .*but Identity gives"):
        imitate.teachers.load(tmp_path, imitate.make(Identity(), num_envs=2))


def spoilt(name, place, value):
    def change(arrays):
        arrays[name][0, place] = value

    return change


def twice(arrays):
    """Two parents: the right child of the root is also that of its left one."""
    arrays["right"][0, 1] = arrays["right"][0, 0]


def deeper(arrays):
    """A chain of splits, one more than the depth."""
    places = torch.arange(arrays["left"].shape[1])
    arrays["left"][0], arrays["right"][0] = places.clone(), places.clone()
    for level in range(DEPTH + 1):
        arrays["left"][0, 2 * level], arrays["right"][0, 2 * level] = 2 * level + 1, 2 * level + 2


def orphan(arrays):
    places = torch.arange(arrays["left"].shape[1])
    arrays["left"][0], arrays["right"][0] = places.clone(), places.clone()
    arrays["left"][0, 3], arrays["right"][0, 3] = 4, 5


def typed(arrays):
    arrays["threshold"] = arrays["threshold"].double()


def without(arrays):
    del arrays["choice"]


NO_TREES = {
    "back": (spoilt("left", 1, 0), "leads out of its tree, or back"),
    "itself": (spoilt("left", 0, 0), "leads out of its tree, or back"),
    "both sides": (lambda a: a["right"].__setitem__((0, 0), int(a["left"][0, 0])), "leads out of its tree, or back"),
    "beyond": (spoilt("right", 0, 2 ** (DEPTH + 1) - 1), "leads out of its tree, or back"),
    "negative": (spoilt("right", 0, -1), "leads out of its tree, or back"),
    "two parents": (twice, "two parents, or none"),
    "no parent": (orphan, "two parents, or none"),
    "a feature": (spoilt("feature", 0, F), "none of 4 features"),
    "a negative feature": (spoilt("feature", 0, -1), "none of 4 features"),
    "a choice": (spoilt("choice", 2, A), "none of 3 choices"),
    "a negative choice": (spoilt("choice", 2, -1), "none of 3 choices"),
    "infinite": (spoilt("threshold", 0, math.inf), "threshold is not finite"),
    "deeper": (deeper, "deeper than 5 splits"),
    "of another type": (typed, "does not hold the arrays of trees"),
    "incomplete": (without, "does not hold the arrays of trees"),
}


def full(depth):
    return 0 if depth == 0 else Split(0, 0.5, full(depth - 1), full(depth - 1))


@pytest.mark.parametrize("case", NO_TREES)
def test_numbers_that_are_no_tree_are_refused(case, tmp_path):
    change, message = NO_TREES[case]
    policy = TreePolicy(SPACE, Discrete(A), M, DEPTH)
    for member in range(M):
        policy.plant(member, full(DEPTH))
    arrays = {name: value.clone() for name, value in policy.state_dict().items()}
    change(arrays)
    with pytest.raises(ValueError, match=message):
        policy.load_state_dict(arrays)
    _, description = policy.record()
    checkpoint.write(tmp_path, "policy", arrays, description)
    with pytest.raises(ValueError, match=message) as caught:
        nets.load(tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"), [("members", M + 1), ("members", 10**12), ("depth", 65), ("depth", None), ("action", None)]
)
def test_a_description_that_does_not_fit_is_refused(name, value, tmp_path):
    arrays, description = planted()[0].record()
    checkpoint.write(tmp_path, "policy", arrays, {**description, name: value})
    with pytest.raises(ValueError, match=r"policy\.json is incomplete or foreign"):
        nets.load(tmp_path)


@pytest.mark.parametrize(
    ("observation", "action", "depth", "message"),
    [
        (SPACE, Box((1,), -1, 1), 2, "^action: the leaves of a tree are choices"),
        (Box((3, 8, 8), 0, 255), Discrete(2), 2, "^observation: a tree splits numbers"),
        (Dict.of({"observation": SPACE, "action_mask": Box((2,), 0, 1)}), Discrete(2), 2, "^observation: .* mask"),
        (SPACE, Discrete(2), 0, "^depth: must be in"),
        (SPACE, Discrete(2), 60, "is too much; the trees would take"),
    ],
)
def test_spaces_and_sizes_that_no_tree_has_are_refused(observation, action, depth, message):
    with pytest.raises(ValueError, match=message):
        TreePolicy(observation, action, 2, depth)


def test_a_tree_that_does_not_fit_is_not_planted():
    policy = TreePolicy(SPACE, Discrete(A), 1, 2, nodes=5)
    before = policy.root(0)
    for root, message in [
        (full(2), "7 nodes, and there are 5 places"),
        (Split(F, 0.0, 0, 1), "none of 4 features"),
        (Split(0, 0.0, 0, A), "none of 3 choices"),
        (Split(0, 0.0, 0, Split(0, 1.0, 0, 1)), None),
    ]:
        if message is not None:
            with pytest.raises(ValueError, match=message):
                policy.plant(0, root)
            assert policy.root(0) == before
    policy = TreePolicy(SPACE, Discrete(A), 1, 1, nodes=7)
    with pytest.raises(ValueError, match="deeper than 1 splits"):
        policy.plant(0, full(2))
