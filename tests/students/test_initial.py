"""A student never begins where its teacher of the same seed began."""

import pytest
import torch

import imitate
from imitate import nets
from imitate.baselines import PPO, SAC, PPOConfig, SACConfig
from imitate.core import tree
from imitate.nets.actor import Architecture, fresh
from imitate.students import GAIL, GAILConfig, demonstrate
from imitate.teachers import control_law

SIZE = (8, 8)
PPO_ = PPOConfig(steps=64, rollout=8, batch_size=32, hidden=SIZE)


def source(env="Pendulum-v1", seed=0):
    return imitate.make(env, num_envs=4, members=2, seed=seed)


def gail(place):
    shown = demonstrate(source(seed=9), control_law("Pendulum-v1"), 4)
    return GAIL(place, shown, GAILConfig(ppo=PPO_)).policy


STUDENTS = {
    "policy": lambda place: nets.policy(place, SIZE),
    "policy of a seed": lambda place: nets.policy(source(seed=5), SIZE, seed=0),
    "normalised": lambda place: nets.policy(place, SIZE, normalise=True),
    "squashed": lambda place: nets.policy(place, SIZE, squash=True),
    "smaller": lambda place: nets.policy(place, (4, 8)),
    "commands": lambda place: fresh(place, Architecture(SIZE)),
    "gail": gail,
}
TEACHERS = {
    "ppo": lambda place: PPO(place, PPO_),
    "sac": lambda place: SAC(place, SACConfig(steps=64, hidden=SIZE, capacity=100, batch_size=4)),
}


@pytest.mark.parametrize("teacher", TEACHERS)
@pytest.mark.parametrize("student", STUDENTS)
def test_a_student_shares_no_weights_with_its_teacher(student, teacher):
    taught, teaches = STUDENTS[student](source()), TEACHERS[teacher](source())
    own = {round(w, 6) for w in torch.cat([p.flatten() for p in taught.parameters()]).tolist()} - {0.0}
    assert len(own) > 50
    for network in (teaches.policy, teaches.critic):
        theirs = {round(w, 6) for w in torch.cat([p.flatten() for p in network.parameters()]).tolist()}
        assert len(own & theirs) < len(own) / 20


def test_a_network_of_ones_own_is_another_one_too():
    one, other = (nets.policy(source(), build=lambda: torch.nn.Linear(3, 1), seed=s) for s in (0, 1))
    with torch.random.fork_rng():
        assert not any(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True) if a.any())


def test_baselines_begin_as_ever():
    """Their tables hold: the first weights that PPO and SAC draw are those of the stream "init"."""
    for teacher in TEACHERS.values():
        made = teacher(source()).policy
        again = fresh(source(), made.architecture, "init")
        assert all(
            torch.equal(a, b)
            for a, b in zip(tree.leaves(made.state_dict()), tree.leaves(again.state_dict()), strict=True)
        )


def test_critics_share_nothing_with_one_another_or_with_their_actor():
    sac = TEACHERS["sac"](source())
    first = sac.critic.body.layers[0].weight if hasattr(sac.critic, "body") else next(sac.critic.parameters())
    assert len({tuple(w.flatten().tolist()) for w in first}) == len(first) == 4  # two of each member


def test_one_seed_gives_one_student():
    a, b, c = (nets.policy(source(), SIZE, seed=seed) for seed in (3, 3, 4))
    weights = [torch.cat([p.flatten() for p in one.parameters()]) for one in (a, b, c)]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[0], weights[2])
