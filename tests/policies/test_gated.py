"""A gated policy: who drives, who is asked, how long. Letters: T time, M members, N environments of one member."""

import pytest
import torch

from imitate.core.rollout import TensorSource
from imitate.core.types import Metrics
from imitate.core.views import Select
from imitate.core.wrappers import Privileged, Viewed
from imitate.policies import Gated, Lesson, Moment
from tests.oracles import Remembering, Walk

M, N, T = 2, 3, 40


class Says:
    """A policy that says always the same, and counts the steps that it sees."""

    noise = 1

    def __init__(self, action):
        self.action = action

    def memory(self, *shape):
        return torch.zeros(shape)

    def act(self, obs, noise, memory):
        return torch.full(memory.shape, self.action), memory + 1, {}


class Script:
    """A gate whose answers were drawn beforehand, and which keeps what it saw."""

    def __init__(self, asked, drives):
        self.asked, self.drives, self.seen = asked, drives, []

    def __call__(self, moment: Moment):
        at = len(self.seen)
        self.seen.append(moment)
        return self.asked[at], self.drives[at]

    def learn(self, lesson: Lesson) -> Metrics:
        return {}


def script(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return Script(*(torch.rand(T, M, N, generator=generator) < 0.6 for _ in range(2)))


def questions(*left):
    return torch.tensor(left)


@pytest.mark.parametrize("leads", [False, True])
@pytest.mark.parametrize("left", [(1000, 1000), (17, 1000), (0, 1)])
def test_it_is_a_loop_over_steps_and_environments(left, leads):
    """The questions run out in the order of steps, and in a step in that of environments."""
    gate, counted = script(), questions(*left)
    gated = Gated(Says(1), Says(0), gate, counted, torch.tensor(leads))
    memory = gated.memory(M, N)
    remaining, driving = list(left), [[False] * N for _ in range(M)]
    for t in range(T):
        action, memory, extras = gated.act(torch.zeros(M, N, 2), torch.rand(M, N, gated.noise), memory)
        for m in range(M):
            for n in range(N):
                assert bool(gate.seen[t].driving[m, n]) == driving[m][n]
                asked = (bool(gate.asked[t, m, n]) or leads) and remaining[m] > 0
                drives = asked and (bool(gate.drives[t, m, n]) or leads)
                remaining[m] -= asked
                assert bool(extras["asked"][m, n]) == asked
                assert bool(extras["drives"][m, n]) == drives == int(action[m, n])
                assert bool(extras["switched"][m, n]) == (drives != driving[m][n])
                driving[m][n] = drives
        assert (extras["told"] == 1).all() and (gate.seen[t].action == 0).all()
    assert counted.tolist() == remaining
    assert all((own == T).all() for own in memory[1:])  # both saw every step


def test_an_episode_begins_with_the_student():
    gate = Script(*(torch.ones(T, M, N, dtype=torch.bool) for _ in range(2)))
    source = TensorSource(Walk(), id="Walk", num_envs=N, members=M, seed=0)
    gated = Gated(Says(1), Says(0), gate, questions(10**6, 10**6), torch.tensor(False))
    rollout = source.collect(gated, T)
    assert rollout.starts.sum() > 2 * M * N
    assert torch.equal(torch.stack([moment.driving for moment in gate.seen]), ~rollout.starts)
    assert torch.equal(rollout.extras["switched"], rollout.starts)


def test_behind_a_view_the_gate_sees_what_both_see():
    gate = script()
    source = Viewed(TensorSource(Walk(), id="Walk", num_envs=N, members=M, seed=0), Select((1,)))
    gated = Gated(Privileged(Remembering()), Says(0), gate, questions(10**6, 10**6), torch.tensor(False))
    rollout = source.collect(gated, T)
    assert rollout.obs.shape[-1] == 1
    assert torch.equal(torch.stack([moment.obs for moment in gate.seen]), rollout.obs)
    assert torch.equal(torch.stack([moment.whole for moment in gate.seen]), rollout.extras["obs"])
    assert torch.equal(rollout.action, torch.where(gate.asked & gate.drives, rollout.extras["told"], 0))


def test_without_noise_it_is_deterministic():
    """Both policies are asked for their modes."""
    gate = script()
    gated = Gated(Says(1), Says(0), gate, questions(9, 9), torch.tensor(False))
    action, _, _ = gated.act(torch.zeros(M, N, 2), None, gated.memory(M, N))
    assert torch.equal(action.bool(), gate.asked[0] & gate.drives[0])
