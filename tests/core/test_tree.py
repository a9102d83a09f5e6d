from collections import namedtuple
from dataclasses import dataclass

import pytest
import torch

from imitate.core import tree
from imitate.core.types import Rollout, Transition, fold, mean_metrics, unfold

Pair = namedtuple("Pair", "one two")


@dataclass(frozen=True)
class Leafy:
    x: torch.Tensor
    label: str = "kept"
    inner: object = None


def example(value=1.0):
    x = torch.full((2, 3), value)
    return {"a": Leafy(x, "kept", [x + 1, None]), "b": (Pair(x + 2, x + 3), {})}


def test_map_reaches_every_leaf_and_keeps_the_structure():
    mapped = tree.map(lambda x, y: x - 2 * y, example(5.0), example(1.0))
    assert isinstance(mapped["a"], Leafy)
    assert mapped["a"].label == "kept"
    assert mapped["a"].inner[1] is None
    assert isinstance(mapped["b"][0], Pair)
    assert mapped["b"][1] == {}
    # x − 2y of 5, 6, 7, 8 and 1, 2, 3, 4
    assert [float(leaf[0, 0]) for leaf in tree.leaves(mapped)] == [3, 2, 1, 0]


def test_leaves_come_in_the_order_of_map():
    assert [float(leaf[0, 0]) for leaf in tree.leaves(example())] == [1, 2, 3, 4]


@pytest.mark.parametrize("leaf", [3, "text", 1.5, object()])
def test_map_refuses_what_is_no_tree(leaf):
    with pytest.raises(TypeError, match=type(leaf).__name__):
        tree.map(lambda x: x, (torch.zeros(1), leaf))


@pytest.mark.parametrize("dim", [0, 1])
def test_stack(dim):
    stacked = tree.stack([example(float(i)) for i in range(4)], dim)
    assert torch.equal(stacked["a"].inner[0], torch.stack([example(float(i))["a"].inner[0] for i in range(4)], dim))


def test_where_covers_leading_dimensions_only():
    mask = torch.tensor([True, False])
    chosen = tree.where(mask, (torch.ones(2), torch.ones(2, 2, 3), None), (torch.zeros(2), torch.zeros(2, 2, 3), None))
    assert chosen[0].tolist() == [1, 0]
    # [2, 2, 3]: a mask aligned with the wrong end would choose within the rows
    assert torch.equal(chosen[1], torch.stack([torch.ones(2, 3), torch.zeros(2, 3)]))
    assert chosen[2] is None


def test_flatten_and_unflatten_are_inverse():
    nested = {"a": {"b": {"c": 1, "d": 2}}, "e": 3}
    flat = dict(tree.flatten(nested))
    assert flat == {"a.b.c": 1, "a.b.d": 2, "e": 3}
    assert tree.unflatten(flat) == nested
    # names with dots, as of a module's parameters, become levels: flattened again they are the same names
    assert dict(tree.flatten(tree.unflatten({"net.0.weight": 1}))) == {"net.0.weight": 1}


def test_fold_keeps_members_apart_and_unfold_undoes_it():
    time, members, copies = 3, 2, 4
    x = torch.arange(time * members * copies * 5).reshape(time, members, copies, 5)
    folded = fold(x)
    assert folded.shape == (members, time * copies, 5)
    for m in range(members):
        for t in range(time):
            for n in range(copies):
                assert torch.equal(folded[m, t * copies + n], x[t, m, n])
    assert torch.equal(unfold(folded, time), x)


def rollout(*shape):
    flags = torch.zeros(shape, dtype=torch.bool)
    obs, next_obs = torch.rand(*shape, 3), torch.rand(*shape, 3)
    memory = {"hidden": torch.rand(*shape[1:], 5)}
    return Rollout(obs, torch.zeros(shape), torch.rand(shape), next_obs, flags, ~flags, starts=~flags, memory=memory)


def test_a_rollout_flattens_clones_and_gathers_extras():
    seen = rollout(3, 2, 4).with_extras(one={"deep": torch.rand(3, 2, 4)}).with_extras(two=torch.rand(3, 2, 4))
    flat, copy = seen.flatten(), seen.clone()
    assert type(flat) is Transition and type(copy) is Rollout
    assert set(flat.extras) == {"one", "two"}
    assert torch.equal(flat.obs, fold(seen.obs))
    assert torch.equal(flat.extras["one"]["deep"], fold(seen.extras["one"]["deep"]))
    kept = seen.extras["one"]["deep"].clone()
    memory = seen.memory["hidden"].clone()
    seen.extras["one"]["deep"].zero_(), seen.memory["hidden"].zero_(), seen.starts.zero_()
    assert torch.equal(copy.extras["one"]["deep"], kept)
    assert torch.equal(copy.memory["hidden"], memory) and bool(copy.starts.all())
    assert bool(seen.done.all())


def test_steps_are_the_rollout_without_its_order():
    seen = rollout(3, 2, 4).with_extras(one=torch.rand(3, 2, 4))
    assert type(seen.steps) is Transition
    assert all(a is b for a, b in zip(tree.leaves(seen.steps), tree.leaves(seen), strict=False))
    assert len(tree.leaves(seen)) == len(tree.leaves(seen.steps)) + 2  # starts and memory


def test_mean_metrics_is_per_member():
    found = mean_metrics([{"loss": torch.tensor([1.0, 10.0])}, {"loss": torch.tensor([3.0, 30.0])}])
    assert found["loss"].tolist() == [2, 20]
    assert mean_metrics([]) == {}
