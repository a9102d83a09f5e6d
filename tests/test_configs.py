"""Every file of tuned settings is read whole, and builds what it is for."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

import imitate
from imitate import configs, nets
from imitate.baselines import PPO, PPOConfig
from imitate.configs import available, config_for, settings
from imitate.experiment import run
from imitate.nets.actor import Architecture
from imitate.registry import BASELINES, REDUCTIONS
from imitate.students import (
    AIRLConfig,
    BehaviourCloning,
    BehaviourCloningConfig,
    DAgger,
    DAggerConfig,
    FinetuningConfig,
    GAILConfig,
    JumpStartConfig,
    PolicyDistillation,
    PolicyDistillationConfig,
    QDaggerConfig,
    VIPERConfig,
    demonstrate,
)
from imitate.teachers import LAWS, control_law

FOLDER = Path(configs.__file__).parent
KINDS = {
    "airl": AIRLConfig,
    **{name: baseline.config for name, baseline in BASELINES.items()},
    **{name: config for name, (_, config) in REDUCTIONS.items()},
    "clone": BehaviourCloningConfig,
    "dagger": DAggerConfig,
    "distill": PolicyDistillationConfig,
    "finetune": FinetuningConfig,
    "gail": GAILConfig,
    "jumpstart": JumpStartConfig,
    "qdagger": QDaggerConfig,
    "viper": VIPERConfig,
    "ppo-gru": PPOConfig,
    "student": Architecture,
    "small_student": Architecture,
}
NUMBERS = {"num_envs", "dagger_envs", "distill_envs"}


def test_what_is_available_is_what_is_there():
    assert available() == sorted(path.stem for path in FOLDER.glob("*.json"))
    assert {"CartPole-v1", "Pendulum-v1"} <= set(available())


@pytest.mark.parametrize("env", available())
def test_every_entry_is_known_and_takes_effect(env):
    """No entry is ignored because of its name, and each reaches its dataclass with the type of its default."""
    document = json.loads((FOLDER / f"{env}.json").read_text("utf-8"))
    assert settings(env) == document
    assert document.keys() <= KINDS.keys() | NUMBERS
    for name in NUMBERS & document.keys():
        assert isinstance(document[name], int)
        assert document[name] >= 1
    for name, kind in KINDS.items():
        made = config_for(kind, name, env)
        section = document.get(name, {})
        if "base" in section:
            section = document[section["base"]] | {key: value for key, value in section.items() if key != "base"}
        takes_effect(section, made, kind(), name)


def takes_effect(section, made, default, name):
    """Every entry of a section is in what was made of it, with the type of its default, and nothing else is."""
    for key, value in section.items():
        found, before = getattr(made, key), getattr(default, key)
        if isinstance(value, dict):
            takes_effect(value, found, before, f"{name}.{key}")
            continue
        assert (list(found) if isinstance(found, tuple) else found) == value
        kinds = (int, float) if before is None or isinstance(before, float) else type(before)
        assert isinstance(found, kinds), (name, key)
    untouched = {field.name for field in fields(default)} - section.keys()
    assert all(getattr(made, key) == getattr(default, key) for key in untouched)


@pytest.mark.parametrize("env", [env for env in available() if env in LAWS])
def test_every_algorithm_can_be_built_as_tuned_and_takes_a_step(env):
    """With the tuned numbers of environments, batches are whole; only the amount of work is cut down here."""
    tuned = settings(env)

    def place(name, default):
        return imitate.make(env, num_envs=tuned.get(name, default), members=1)

    def student(source, name):
        shape = config_for(Architecture, name, env)
        return nets.policy(
            source, shape.hidden, activation=shape.activation, normalise=shape.normalise, squash=shape.squash
        )

    law = control_law(env)
    at = place("num_envs", 16)
    ppo = PPO(at, replace(config_for(PPOConfig, "ppo", env), epochs=1))
    assert next(run(ppo)).steps == ppo.config.rollout * at.num_envs

    at = imitate.make(env, num_envs=2, members=1)
    cloning = replace(config_for(BehaviourCloningConfig, "clone", env), validate_every=2)
    BehaviourCloning(at, demonstrate(at, law, 2), student(at, "student"), cloning).step()
    at = place("dagger_envs", 10)
    DAgger(at, law, student(at, "student"), replace(config_for(DAggerConfig, "dagger", env), updates=2)).step()
    at = place("distill_envs", 16)
    config = replace(config_for(PolicyDistillationConfig, "distill", env), epochs=1)
    student_ = student(at, "small_student")
    teacher = student(at, "small_student")
    PolicyDistillation(at, teacher, student_, config).step()


def test_an_unknown_environment_has_the_defaults():
    assert settings("Unheard-v0") == {}
    for name, kind in KINDS.items():
        assert config_for(kind, name, "Unheard-v0") == kind()
        assert config_for(kind, name, "") == kind()
    assert config_for(PPOConfig, "ppo", "imitate/CartPole-v1") == config_for(PPOConfig, "ppo", "CartPole-v1")
    assert config_for(PPOConfig, "ppo", "CartPole-v1") != PPOConfig()


def test_games_share_a_file():
    for family, env in (("ALE", "ALE/Pong-v5"), ("MinAtar", "MinAtar/Breakout-v1"), ("MinAtar", "MinAtar/Asterix-v0")):
        assert settings(env) == settings(family) != {}
    assert settings("CartPole-v1/Breakout-v1") == {}


@pytest.mark.parametrize("name", ["dqn", "qr-dqn", "iqn", "fqf", "er-dqn"])
def test_the_value_family_can_be_built_for_a_small_game(name):
    env = "MinAtar/Breakout-v1"
    tuned = config_for(BASELINES[name].config, name, env)
    source = imitate.make(env, num_envs=settings(env)["num_envs"])
    learner = BASELINES[name].algorithm(source, replace(tuned, capacity=640, learning_starts=64, updates=1))
    learner.step()
    assert int(learner.target.updates) == 1


def test_no_path_leads_out_of_the_folder():
    for name in ("../configs/CartPole-v1", "__init__", "", ".", "CartPole-v1.json", "cartpole-v1"):
        assert settings(name) == {}


def test_a_field_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(configs, "settings", lambda env: {"ppo": {"lr": 0.1, "learning_rate": 0.1}})
    with pytest.raises(ValueError, match=r"configs/X\.json: ppo has no learning_rate"):
        config_for(PPOConfig, "ppo", "X")


def test_a_field_of_a_part_is_named_too_and_the_rest_of_the_part_stays(monkeypatch):
    monkeypatch.setattr(configs, "settings", lambda env: {"gail": {"ppo": {"lr": 0.1}}, "bad": {"ppo": {"lrr": 0.1}}})
    assert config_for(GAILConfig, "gail", "X").ppo == replace(GAILConfig().ppo, lr=0.1)
    assert GAILConfig().ppo.steps != PPOConfig().steps  # which a part made anew would have
    with pytest.raises(ValueError, match=r"configs/X\.json: bad\.ppo has no lrr"):
        config_for(GAILConfig, "bad", "X")
