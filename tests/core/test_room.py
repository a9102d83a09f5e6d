"""What does not fit into memory is refused before it is allocated, and nothing else is."""

import math
import resource
import sys

import pytest
import torch

import imitate
from imitate import nets
from imitate.baselines import (
    C51Config,
    DQNConfig,
    IQNConfig,
    PPOConfig,
    QRDQNConfig,
    SACConfig,
    TabularConfig,
    bootstrapped_dqn,
    c51,
    iqn,
    qr_dqn,
)
from imitate.baselines.bootstrapped import BootstrappedConfig
from imitate.core import memory, room
from imitate.core.learner import Learner
from imitate.core.noise import Stream
from imitate.core.room import admit, admit_steps
from imitate.nets.measure import admit_network
from imitate.students import BehaviourCloningConfig, DAggerConfig, PolicyDistillationConfig
from imitate.teachers import control_law

HUGE = 10**12


@pytest.fixture
def free(monkeypatch):
    """Set how many bytes are free."""
    return lambda count: monkeypatch.setattr(room, "available", lambda device: count)


@pytest.fixture(scope="module")
def source():
    return imitate.make("CartPole-v1", num_envs=3, members=2)


def test_what_just_fits_is_admitted_and_a_byte_more_is_not(free):
    free(1000)
    admit("it", 1000, {"members": 2}, "cpu")
    with pytest.raises(ValueError, match=r"^members: 2 is too much; it would take 0 MiB, but cpu has 0 MiB free\.$"):
        admit("it", 1001, {"members": 2}, "cpu")
    free(None)  # where the system does not say
    admit("it", math.inf, {"members": 2}, "cpu")


def test_the_largest_of_the_sizes_is_to_blame(free):
    free(2**20)
    with pytest.raises(ValueError, match=r"^rollout: 4,096 is too much; .* take 160 MiB, but cpu has 1 MiB free\.$"):
        admit("it", 160 * 2**20, {"members": 8, "rollout": 4096, "num_envs": 16}, "cpu")


def test_a_step_has_two_observations_and_an_action(free, source):
    each = 2 * 4 * 4 + 4
    free(each * 60)
    admit_steps(source.spec, {"rollout": 10, "num_envs": 3, "members": 2})
    with pytest.raises(ValueError, match=r"^rollout: 11 is too much; 66 steps would take"):
        admit_steps(source.spec, {"rollout": 11, "num_envs": 3, "members": 2})


KINDS = {
    "plain": nets.Architecture((5, 6)),
    "gru": nets.Architecture((5,), normalise=True, gru=3),
    "lstm": nets.Architecture((), lstm=4),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("env", ["CartPole-v1", "Pendulum-v1", "MinAtar/Breakout-v1"])
def test_a_network_is_measured_as_it_is_made(monkeypatch, kind, env):
    """By the weights that it has, and the largest of them once more; no number of the stream is used up."""
    spec, found = imitate.make(env, num_envs=1).spec, []
    architecture = KINDS[kind] if "MinAtar" not in env or kind != "gru" else nets.Architecture((5,), gru=3)
    monkeypatch.setattr("imitate.nets.measure.admit", lambda what, need, sizes, device: found.append(need))
    one, several = (nets.Actor(spec.observation, spec.action, m, architecture, Stream(0, "init")) for m in (1, 3))
    parts = [part.nbytes for part in (*one.parameters(), *one.buffers())]
    assert {sum(parts) + max(parts), 3 * (sum(parts) + max(parts))} <= set(found)
    monkeypatch.setattr("imitate.nets.actor.admit_network", lambda *_: None)
    other = nets.Actor(spec.observation, spec.action, 3, architecture, Stream(0, "init"))
    assert all(torch.equal(a, b) for a, b in zip(several.parameters(), other.parameters(), strict=True))


def test_more_numbers_than_can_be_counted_are_refused_too(source):
    for sizes in ({"hidden": (2**40, 2**40)}, {"gru": 2**62}, {"lstm": 2**31}):
        with pytest.raises(ValueError, match=rf"^{next(iter(sizes))}: [\d,]+ is too much; the weights would take"):
            nets.policy(source, **{"hidden": (4,), **sizes})


def test_an_error_of_another_kind_is_not_taken_for_a_size(source):
    def fails(init):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        admit_network(fails, 1, Stream(0, "init"), {"members": 1})


def test_what_is_learnt_needs_a_gradient_two_moments_and_a_step(free, source):
    policy = nets.policy(source, (4,))
    count = sum(p.numel() for p in policy.parameters())
    free(16 * count)
    Learner([policy], lambda batch: batch, lr=1.0)
    free(16 * count - 1)
    with pytest.raises(ValueError, match=r"^hidden: 4 is too much; gradients and moments would take"):
        Learner([policy], lambda batch: batch, lr=1.0)


POLICY = {"hidden": (4,)}
SIZES = {
    "num_envs": lambda s: imitate.make("CartPole-v1", num_envs=HUGE),
    "num_envs of Gymnasium's": lambda s: imitate.make("Acrobot-v1", num_envs=HUGE, native=False),
    "members": lambda s: imitate.make("GridWorld-v0", members=HUGE),
    "hidden": lambda s: nets.policy(s, (HUGE,)),
    "gru": lambda s: imitate.PPO(s, PPOConfig(batch_size=128, gru=HUGE)),
    "lstm": lambda s: nets.Body(s.spec.observation, 2, hidden=(), activation="tanh", init=Stream(0, "x"), lstm=HUGE),
    "rollout": lambda s: imitate.PPO(s, PPOConfig(rollout=HUGE, **POLICY)),
    "rollout of DQN": lambda s: imitate.DQN(s, DQNConfig(rollout=HUGE, **POLICY)),
    "rollout of SAC": lambda s: imitate.SAC(imitate.make("Pendulum-v1"), SACConfig(rollout=HUGE, **POLICY)),
    "rollout of a table": lambda s: imitate.QLearning(imitate.make("GridWorld-v0"), TabularConfig(rollout=HUGE)),
    "rollout of DAgger": lambda s: imitate.DAgger(s, law(), nets.policy(s, (4,)), DAggerConfig(rollout=HUGE)),
    "rollout of distillation": lambda s: imitate.PolicyDistillation(
        s, nets.policy(s, (4,)), nets.policy(s, (4,)), PolicyDistillationConfig(rollout=HUGE, batch_size=1)
    ),
    "rounds": lambda s: imitate.DAgger(
        s, law(), nets.policy(s, (4,)), DAggerConfig(rounds=HUGE, best_round=True, rollout=1)
    ),
    "batch_size": lambda s: imitate.BehaviourCloning(
        s, imitate.demonstrate(s, law(), 1), nets.policy(s, (4,)), BehaviourCloningConfig(batch_size=HUGE)
    ),
    "batch_size of DAgger": lambda s: imitate.DAgger(s, law(), nets.policy(s, (4,)), DAggerConfig(batch_size=HUGE)),
    "capacity": lambda s: imitate.DQN(s, DQNConfig(capacity=HUGE, **POLICY)),
    "quantiles": lambda s: qr_dqn(s, QRDQNConfig(quantiles=HUGE)),
    "levels": lambda s: iqn(s, IQNConfig(levels=HUGE)),
    "cosines": lambda s: iqn(s, IQNConfig(cosines=HUGE)),
    "atoms": lambda s: c51(s, C51Config(atoms=HUGE)),
    "heads": lambda s: bootstrapped_dqn(s, BootstrappedConfig(heads=HUGE)),
    "critics": lambda s: imitate.SAC(imitate.make("Pendulum-v1"), SACConfig(critics=HUGE, **POLICY)),
    "episodes": lambda s: s.play(nets.policy(s, (4,)), HUGE, 0),
    "episodes of demonstrations": lambda s: imitate.demonstrate(s, law(), HUGE),
}


def law():
    return control_law("CartPole-v1")


@pytest.mark.parametrize("name", SIZES)
def test_every_size_is_told_by_its_name(name, source):
    with pytest.raises(ValueError) as caught:
        SIZES[name](source)
    assert str(caught.value).startswith(f"{name.split()[0]}: 1,000,000,000,000 ")
    assert "but cpu has " in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="nobody says how much is mapped")
def test_the_limit_of_the_process_is_kept_to(monkeypatch):
    whole = memory.available("cpu")
    monkeypatch.setattr(resource, "getrlimit", lambda what: (0, 0))
    assert memory.available("cpu") == 0
    monkeypatch.setattr(resource, "getrlimit", lambda what: (2**62, 2**62))
    assert memory.available("cpu") == pytest.approx(whole, rel=0.5)
