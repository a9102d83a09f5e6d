"""Configs that check themselves: what an annotation says, and what it leaves alone."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from inspect import signature
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any, Literal, Protocol

import numpy as np
import pytest
import torch
from torch import Tensor

import imitate
from imitate.baselines.dqn import DQNConfig
from imitate.baselines.ppo import PPOConfig
from imitate.baselines.sac import SACConfig
from imitate.core.config import Count, NonNegative, Positive, Proper, Share, as_json, check, checked
from imitate.core.learner import PerMember
from imitate.rewards import DiscriminatorConfig


@dataclass(frozen=True)
class Inner:
    depth: Count = 1

    def __post_init__(self):
        check(self)


@dataclass(frozen=True)
class Config:
    count: Count = 1
    floor: NonNegative[PerMember] = 0.0
    positive: Positive[float] = 1.0
    proper: Proper[PerMember] = 0.0
    share: Share[PerMember] = 0.5
    free: float = -1.0
    maybe: float | None = None
    hidden: tuple[int, ...] = (-1, 0)
    switch: bool = False
    word: str = "tanh"
    choice: Literal["a", "b"] = "a"
    part: Inner | None = None

    def __post_init__(self):
        check(self)


REFUSED = [
    ("count", 0, "count: must be at least 1, not 0."),
    ("count", -3, "count: must be at least 1, not -3."),
    ("count", np.int64(0), "count: must be at least 1, not 0."),
    ("floor", -1e-9, "floor: must be at least 0, not -1e-09."),
    ("floor", (0.0, -1.0), "floor: must be at least 0, not -1.0."),
    ("positive", 0.0, "positive: must be positive, not 0.0."),
    ("positive", np.float32(-2), "positive: must be positive, not -2.0."),
    ("proper", 1.0, "proper: must be in [0, 1), not 1.0."),
    ("proper", (0.5, -0.1), "proper: must be in [0, 1), not -0.1."),
    ("share", 1.5, "share: must be in [0, 1], not 1.5."),
    ("share", (1.0, 0.0, -0.5), "share: must be in [0, 1], not -0.5."),
    *((name, value, f"{name}: must be finite, not {value}.") for name in ("floor", "free", "maybe", "share")
      for value in (math.nan, math.inf, -math.inf)),
    ("floor", (1.0, math.nan), "floor: must be finite, not nan."),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "message"), REFUSED)
def test_what_is_refused(name, value, message):
    with pytest.raises(ValueError) as caught:
        Config(**{name: value})
    assert str(caught.value) == message


ADMITTED = [
    ("count", 1), ("floor", 0), ("floor", (0.0, 3.0)), ("positive", 1e-30), ("proper", 0.0), ("proper", (0.0, 0.999)),
    ("share", 0.0), ("share", 1.0), ("share", (0.0, 1.0)), ("free", -1e30), ("maybe", None), ("hidden", (-5,)),
    ("switch", False), ("switch", True), ("word", ""), ("floor", ()),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), ADMITTED)
def test_what_is_admitted(name, value):
    assert getattr(Config(**{name: value}), name) == value


TYPES = [
    ("count", True, "count: must be a whole number, not True."),
    ("count", "3", "count: must be a whole number, not '3'."),
    ("count", 1e5, "count: must be a whole number, not 100000.0."),
    ("count", None, "count: must be a whole number, not None."),
    ("count", np.float32(2), "count: must be a whole number, not 2.0."),
    ("count", torch.tensor(2), "count: must be a whole number, not a Tensor."),
    ("count", 2**63, "count: must be less than 2^63, not a number of 64 bits."),
    ("floor", "a", "floor: must be a number or a tuple of numbers, not 'a'."),
    ("floor", (1.0, "a"), "floor: must be a number or a tuple of numbers, not (1.0, 'a')."),
    ("floor", None, "floor: must be a number or a tuple of numbers, not None."),
    ("floor", False, "floor: must be a number or a tuple of numbers, not False."),
    ("positive", 1j, "positive: must be a number, not a complex."),
    ("positive", 10**400, "positive: must be less than 2^63, not a number of 1329 bits."),
    ("maybe", "x" * 100, "maybe: must be a number or None, not a str."),
    ("hidden", 64, "hidden: must be a tuple of whole numbers, not 64."),
    ("hidden", "64", "hidden: must be a tuple of whole numbers, not '64'."),
    ("hidden", (64, 0.5), "hidden: must be a tuple of whole numbers, not (64, 0.5)."),
    ("switch", 1, "switch: must be True or False, not 1."),
    ("switch", None, "switch: must be True or False, not None."),
    ("word", 3, "word: must be a text, not 3."),
    ("choice", "c", "choice: 'c' is none of a, b."),
    ("part", "x", "part: must be an Inner or None, not 'x'."),
]


@pytest.mark.parametrize(("name", "value", "message"), TYPES)
def test_what_is_of_another_type_is_refused(name, value, message):
    with pytest.raises(ValueError) as caught:
        Config(**{name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(("name", "value"), [
    ("count", np.int64(3)), ("floor", np.float32(0.5)), ("floor", [0.5, 1]), ("positive", 3), ("positive", np.int32(3)),
    ("hidden", [8, 8]), ("hidden", (np.int64(8),)), ("switch", np.bool_(True)), ("choice", "b"), ("part", None),
])  # fmt: skip
def test_what_is_as_good_is_admitted(name, value):
    assert getattr(Config(**{name: value}), name) is value


def test_a_config_within_a_config_is_looked_at():
    config = Config()
    object.__setattr__(config, "part", object.__new__(Inner))
    object.__setattr__(config.part, "depth", 0)
    with pytest.raises(ValueError, match=r"^depth: must be at least 1, not 0\.$"):
        check(config)


class Walks(Protocol):
    """Whatever walks."""

    def walk(self) -> None:
        """Walk."""


class Dog:
    """It does."""

    def walk(self) -> None:
        """Walk."""


@checked
def called(
    count: Count,
    rest: float | Tensor = 0.0,
    *,
    who: Walks | None = None,
    where: Path | str | None = None,
    many: Sequence[int] = (),
    named: Mapping[str, float] = MappingProxyType({}),
    what: Callable[[], int] | None = None,
    free: Any = None,
) -> int:
    """A public function."""
    return count


@pytest.mark.parametrize(("arguments", "message"), [
    ({"count": "3"}, "count: must be a whole number, not '3'."),
    ({"count": 0}, "count: must be at least 1, not 0."),
    ({"count": 1, "rest": "x"}, "rest: must be a number or a Tensor, not 'x'."),
    ({"count": 1, "rest": math.nan}, "rest: must be finite, not nan."),
    ({"count": 1, "who": Path()}, "who: must be a Walks or None, not a PosixPath."),
    ({"count": 1, "where": 3}, "where: must be a Path, a text or None, not 3."),
    ({"count": 1, "many": "ab"}, "many: must be several of whole numbers, not 'ab'."),
    ({"count": 1, "many": [1, None]}, "many: must be several of whole numbers, not [1, None]."),
    ({"count": 1, "named": {"a": "b"}}, "named: must be a number, not 'b'."),
    ({"count": 1, "named": {1: 2.0}}, "named: must be a text, not 1."),
    ({"count": 1, "what": 3}, "what: must be a function or None, not 3."),
])  # fmt: skip
def test_arguments_of_a_function_are_looked_at(arguments, message):
    with pytest.raises(ValueError) as caught:
        called(**arguments)
    assert str(caught.value) == message
    if arguments.keys() == {"count"}:
        with pytest.raises(ValueError, match=re.escape(message)):
            called(*arguments.values())


def test_a_property_is_not_asked_for_its_value():
    class Costly(Dog):
        @property
        def walk(self):
            raise AssertionError("was asked")

    assert called(1, who=Costly()) == 1
    with pytest.raises(ValueError, match=r"^who: must be a Walks or None, not a SimpleNamespace"):
        called(1, who=SimpleNamespace(walks=None))
    assert called(1, who=SimpleNamespace(walk=None)) == 1


def test_a_function_that_is_looked_at_is_what_it_was():
    given = {"who": Dog(), "where": "x", "many": range(3), "named": {"a": 1}, "what": dict, "free": object()}
    assert called(2, torch.zeros(3), **given) == 2
    assert called.__name__ == "called"
    assert list(signature(called).parameters)[:2] == ["count", "rest"]
    with pytest.raises(TypeError, match="unexpected keyword argument 'cuont'"):
        called(cuont=3)


@pytest.mark.parametrize("call", [
    lambda: imitate.make("CartPole-v1", num_envs="3"),
    lambda: imitate.make("CartPole-v1", num_envs=True),
    lambda: imitate.make("CartPole-v1", num_envs=2.0),
    lambda: imitate.nets.policy(imitate.make("CartPole-v1"), "64"),
    lambda: PPOConfig(lr="a"),
])  # fmt: skip
def test_wrong_types_in_the_library_are_one_line(call):
    with pytest.raises(ValueError, match=r"^(num_envs|hidden|lr): must be .*\.$"):
        call()


def test_bounds_are_inherited_and_may_be_replaced():
    @dataclass(frozen=True)
    class Later(Config):
        count: int = 0
        more: Count = 2

    assert Later().count == 0
    for name, value in (("more", 0), ("share", 2.0)):
        with pytest.raises(ValueError, match=rf"^{name}: must be "):
            Later(**{name: value})


@pytest.mark.parametrize("config", [PPOConfig, DQNConfig, SACConfig, DiscriminatorConfig])
def test_configs_of_algorithms_refuse_what_is_not_finite(config):
    numbers = [field.name for field in fields(config) if isinstance(field.default, float)]
    assert len(numbers) >= 1
    for name in numbers:
        with pytest.raises(ValueError, match=rf"^{name}: must be finite, not nan\.$"):
            config(**{name: math.nan})


@pytest.mark.parametrize("config", [PPOConfig, DQNConfig, SACConfig])
def test_configs_of_algorithms_refuse_no_steps(config):
    with pytest.raises(ValueError, match=r"^steps: must be at least 1, not 0\.$"):
        config(steps=0)
    with pytest.raises(ValueError, match=r"^gamma: must be in \[0, 1\], not 1\.01\.$"):
        config(gamma=(0.9, 1.01))


def test_as_json():
    assert as_json(Config(floor=(1.0, 2.0)))["floor"] == [1.0, 2.0]
    assert as_json(Config())["maybe"] is None
