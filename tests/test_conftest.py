"""The safety net itself: shapes are checked, and the walk that looks for unsaved state finds what is planted."""

import importlib

import pytest
import torch
from jaxtyping import TypeCheckError

from imitate.core import tree
from imitate.distributions.actions import Categorical
from imitate.losses import clipped_surrogate, lambda_returns
from tests.conftest import CHECKED
from tests.oracles import snapshot, unsaved_changes

x = torch.zeros(5, 2)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: lambda_returns(x, x, x, x[:4]),
        lambda: lambda_returns(x, x, x[0], x),
        lambda: lambda_returns(x, x.long(), x, x),
        lambda: clipped_surrogate(x, x[:, 0], x),
        lambda: clipped_surrogate(x, x, torch.zeros(3, 1)),
        lambda: Categorical(x.long()),
        lambda: Categorical(x).log_prob(torch.zeros(5)),
        lambda: Categorical(x).sample(torch.zeros(5, 2)),
        lambda: importlib.import_module("imitate.core.scan").linear_recurrence(x, 1.0),
    ],
)
def test_a_wrong_shape_or_dtype_raises(wrong):
    with pytest.raises(TypeCheckError):
        wrong()


def test_a_broadcast_that_is_declared_passes():
    assert clipped_surrogate(x, x, torch.zeros(5, 1)).shape == x.shape


@pytest.mark.parametrize("module", CHECKED)
def test_the_hook_loaded_every_checked_module(module):
    assert "jaxtyping" in type(importlib.import_module(module).__spec__.loader).__module__


def test_walking_a_checked_dataclass_makes_no_invalid_one():
    found = tree.leaves((Categorical(x), None, {"a": x}))
    assert len(found) == 2
    assert found[0] is x


class Leaky:
    def __init__(self):
        self.saved, self.forgotten, self.count, self.inner = (
            torch.zeros(3),
            torch.zeros(3),
            0,
            {"list": [1.0]},
        )
        self.view = self.saved[1:]

    def state_dict(self):
        return {"saved": self.saved}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (lambda a: a.saved.add_(1), None),  # and its view with it
        (lambda a: a.forgotten.add_(1), "Leaky.forgotten"),
        (lambda a: setattr(a, "count", 1), "Leaky.count"),
        (lambda a: a.inner["list"].append(2.0), "Leaky.inner.list"),
        (lambda a: a.inner.pop("list"), "Leaky.inner.list"),
        (lambda a: setattr(a, "extra", "text"), "Leaky.extra"),
    ],
)
def test_unsaved_changes_finds_a_leak(change, path):
    leaky = Leaky()
    before = snapshot(leaky)
    assert unsaved_changes(leaky, before, leaky.state_dict()) == []
    change(leaky)
    found = unsaved_changes(leaky, before, leaky.state_dict())
    assert found == [] if path is None else any(path in f for f in found)
