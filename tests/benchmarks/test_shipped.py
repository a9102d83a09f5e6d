"""The gate of shipped settings: what it takes to hold, and that nothing is run twice."""

import json
from dataclasses import replace

import pytest

from benchmarks import shipped
from imitate.registry import BASELINES


def rows(*scores):
    return [{"scores": list(each)} for each in scores]


def test_the_mean_and_nine_of_ten_members_have_to_be_there():
    target = shipped.TARGETS["CartPole-v1"]
    _, holds = shipped.judge("CartPole-v1", "dqn", rows([500.0] * 9, [target] + [400.0]))
    found, fails = shipped.judge("CartPole-v1", "dqn", rows([500.0] * 8, [474.0, 474.0]))
    assert holds and found["mean"] > target and not fails  # the mean is there, the members are not
    _, low = shipped.judge("CartPole-v1", "dqn", rows([target] * 9, [0.0]))
    assert not low  # the members are there, the mean is not


def test_every_environment_with_a_target_has_settings():
    for env in shipped.TARGETS:
        assert "ppo" in shipped.algorithms(env)
    assert set(shipped.algorithms("CartPole-v1")) >= {"dqn", "c51", "qr-dqn", "iqn", "fqf", "er-dqn", "rainbow", "ppo"}


def test_a_row_is_measured_once(tmp_path, monkeypatch):
    small = BASELINES["ppo"]._replace(algorithm=lambda source, config: small_ppo(source, config))

    def small_ppo(source, config):
        from imitate import PPO

        return PPO(source, replace(config, steps=1024))

    monkeypatch.setitem(BASELINES, "ppo", small)
    asked = shipped.Options("CartPole-v1", ("ppo",), (100,), members=2, episodes=2, out=tmp_path / "shipped.json")
    [first] = shipped.measure(asked)
    assert first["steps"] == 1024 and len(first["scores"]) == 2
    monkeypatch.setitem(BASELINES, "ppo", small._replace(algorithm=None))  # a second run would call it
    assert shipped.measure(asked) == [first]
    held = json.loads(asked.out.read_text("utf-8"))
    held[0]["config"]["lr"] = 1.0
    asked.out.write_text(json.dumps(held), "utf-8")
    with pytest.raises(TypeError):
        shipped.measure(asked)  # other settings


def test_an_unknown_algorithm_is_named(tmp_path):
    with pytest.raises(SystemExit, match="algorithms: 'sarsa' is none of"):
        shipped.measure(shipped.Options("CartPole-v1", ("sarsa",), out=tmp_path / "x.json"))
