"""Jump-start: who acts when, and when the teacher hands over earlier."""

from dataclasses import replace

import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.core.spec import FOREVER
from imitate.core.views import Select
from imitate.core.wrappers import Viewed
from imitate.students import JumpStart, JumpStartConfig
from tests.oracles import Reach, Walk

M, N = 2, 4
SMALL = JumpStartConfig(
    steps=400, rollout=5, updates=1, batch_size=6, hidden=(8,), capacity=200, learning_starts=20, epsilon=0.0,
    epsilon_end=0.0, horizon=9, stages=3, stage_episodes=3, return_episodes=5,
)  # fmt: skip


class Left:
    """Always to the left."""

    noise = 0

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return torch.zeros(obs.shape[:2], dtype=torch.int64), None, {}


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def made(config=SMALL, teacher=None, env=None):
    return JumpStart(source(env), teacher or Left(), config)


def rollouts_of(one):
    """What the inner source collects from now on."""
    seen, collect = [], one.source.collect
    one.source.collect = lambda policy, steps: seen.append(collect(policy, steps).clone()) or seen[-1]
    return seen


def test_the_teacher_begins_every_episode():
    one = made(replace(SMALL, tolerance=1e-9))
    one.missing.teacher.fill_(1e9)  # never reached, so that nothing is handed over
    seen = rollouts_of(one)
    for _ in range(5):
        assert one.step()["horizon"].tolist() == [9.0] * M
    elapsed = torch.zeros(M, N, dtype=torch.int64)
    for rollout in seen:
        for t in range(SMALL.rollout):
            elapsed[rollout.starts[t]] = 0
            led = elapsed < 9
            assert torch.equal(rollout.extras["first_acted"][t], led)
            assert (rollout.action[t][led] == 0).all()
            elapsed += 1


def test_members_whose_return_is_there_are_led_for_less():
    """A stage at a time, behind its own episodes; the other member waits."""
    one = made()
    one.missing.teacher.copy_(torch.tensor([-1e9, 1e9]))
    one.missing.origin.copy_(torch.tensor([-2e9, 0.0]))
    seen, horizons = rollouts_of(one), [[9.0, 9.0]]
    while len(horizons) < 40 and horizons[-1][0] > 0:
        horizons.append(one.step()["horizon"].tolist())
    mine, other = zip(*horizons, strict=True)
    assert sorted(set(mine), reverse=True) == [9.0, 6.0, 3.0, 0.0] and set(other) == {9.0}
    ended = torch.cat([rollout.done[:, 0].flatten() for rollout in seen]).sum()
    assert ended >= 3 * SMALL.stage_episodes
    assert one.step()["horizon"][0] == 0.0  # and stays there


def test_what_the_teacher_does_is_remembered():
    one = made()
    one.step()
    assert len(one.rl.replay) == SMALL.rollout * N and (one.rl.replay.action[:, : SMALL.rollout * N] == 0).all()


def test_evaluation_is_of_the_student_alone():
    one = made()
    assert torch.equal(one.rl.source.play(one.policy, 4, 1), source().play(one.policy, 4, 1))


def without_a_limit():
    place = source()
    place.spec = replace(place.spec, max_steps=FOREVER)
    return place


class Wide(Left):
    members = 3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(replace(SMALL, horizon=0)), "horizon: must be at least 1"),
        (lambda: made(replace(SMALL, stages=0)), "stages: must be at least 1"),
        (lambda: made(replace(SMALL, tolerance=0.0)), "tolerance: must be positive"),
        (lambda: made(teacher=Wide()), "teacher: has 3 members, the source 2"),
        (
            lambda: JumpStart(without_a_limit(), Left(), replace(SMALL, horizon=None)),
            "horizon: the source tells no",
        ),
        (lambda: made(env=Reach(), teacher=nets.policy(source(Reach()), (4,))), "action: a value is learnt for each"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()


def test_the_teacher_sees_past_a_view():
    """It leads the first five steps by two numbers; the student sees one, and goes on."""
    place = Viewed(source(), Select((0,)))
    one = JumpStart(place, nets.policy(source(), (4,)), replace(SMALL, horizon=5))
    one.step()
    assert one.policy.observation.shape == (1,)
