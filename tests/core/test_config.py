"""Configs that check themselves: what an annotation says, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import pytest

from imitate.baselines.dqn import DQNConfig
from imitate.baselines.ppo import PPOConfig
from imitate.baselines.sac import SACConfig
from imitate.core.config import Count, NonNegative, Positive, Proper, Share, as_json, check
from imitate.core.learner import PerMember
from imitate.rewards import DiscriminatorConfig


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


def test_bools_are_no_numbers():
    """False is no count below 1: an annotation says what a number must be."""
    assert Config(count=False).count is False


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
