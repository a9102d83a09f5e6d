"""n-step and prioritised replay against plain lists. Letters: T time, M members, N environments."""

import numpy as np
import pytest
import torch

from imitate.core.checkpoint import read, write
from imitate.core.noise import Stream
from imitate.core.sequence_replay import SequenceReplay
from imitate.core.types import Transition

M, N = 2, 3
GAMMA = torch.tensor([0.9, 0.5])


def rollout(first, time, seed=0):
    """Steps numbered from `first`; obs tells (step, member, environment), the last observation is obs + 0.5."""
    generator = torch.Generator().manual_seed(seed + first)
    step = torch.arange(first, first + time).reshape(-1, 1, 1) * 100.0
    number = step + torch.arange(M).reshape(1, -1, 1) * 10 + torch.arange(N)
    chance = torch.rand(time, M, N, generator=generator)
    return Transition(
        obs=number.unsqueeze(-1),
        action=number.long(),
        reward=torch.randn(time, M, N, generator=generator),
        next_obs=number.unsqueeze(-1) + 0.5,
        terminated=chance < 0.15,
        truncated=(chance >= 0.15) & (chance < 0.3),
        extras={"dropped": number},
    )


def history(rollouts):
    """{(member, environment): list of (number, reward, terminated, truncated)} in time order."""
    steps = {}
    for seen in rollouts:
        for t in range(len(seen.reward)):
            for m in range(M):
                for n in range(N):
                    row = tuple(x[t, m, n].item() for x in (seen.action, seen.reward, seen.terminated, seen.truncated))
                    steps.setdefault((m, n), []).append(row)
    return steps


def window(steps, start, n_step, gamma):
    """Reward, discount and number of the last step, by a loop."""
    total, discount = 0.0, 1.0
    for number, reward, terminated, truncated in steps[start : start + n_step]:
        total += discount * reward
        discount *= gamma
        if terminated:
            return total, 0.0, number
        if truncated:
            break
    return total, discount, number


@pytest.mark.parametrize("n_step", [1, 2, 3, 5])
@pytest.mark.parametrize(("slots", "sizes"), [(20, [4, 4]), (8, [3, 3, 3, 3]), (8, [8]), (8, [1] * 19), (7, [5, 7, 2])])
def test_windows_are_those_of_a_loop(n_step, slots, sizes):
    replay, rollouts, first = SequenceReplay(slots * N, N, Stream(0, "replay"), GAMMA, n_step=n_step), [], 0
    for size in sizes:
        rollouts.append(rollout(first, size))
        replay.add(rollouts[-1])
        first += size
    steps = history(rollouts)
    oldest, newest = max(0, first - slots), first - n_step  # starts whose whole window is there
    assert len(replay) == max(0, newest - oldest + 1) * N
    if len(replay) == 0:
        with pytest.raises(ValueError, match="no complete window"):
            replay.sample(4)
        return
    sample = replay.sample(600)
    for m in range(M):
        starts = set()
        for b in range(600):
            number = int(sample.action[m, b])
            start, n = number // 100, number % 10
            assert (number % 100) // 10 == m
            starts.add((start, n))
            reward, discount, last = window(steps[m, n], start, n_step, float(GAMMA[m]))
            assert sample.reward[m, b].item() == pytest.approx(reward, abs=1e-5)
            assert sample.discount[m, b].item() == pytest.approx(discount, abs=1e-6)
            assert sample.next_obs[m, b].item() == last + 0.5
            assert sample.obs[m, b].item() == number
        assert starts == {(t, n) for t in range(oldest, newest + 1) for n in range(N)}
    assert torch.equal(sample.weight, torch.ones(M, 600))


@pytest.mark.parametrize("n_step", [1, 3])
def test_priorities_are_followed_and_corrected_for(n_step):
    alpha, beta, draws = 0.7, 0.5, 60_000
    replay = SequenceReplay(8 * N, N, Stream(1, "replay"), GAMMA, n_step=n_step, alpha=alpha)
    for first in (0, 5, 10):
        replay.add(rollout(first, 5))
    valid = {(t, n) for t in range(7, 15 - n_step + 1) for n in range(N)}
    every = replay.sample(4_000)
    starts = {(int(a) // 100, int(a) % 10) for a in every.action[0]}
    assert starts == valid  # all are new, and of one priority: nothing incomplete or overwritten among them
    assert torch.allclose(every.weight, torch.ones_like(every.weight))
    error = 0.1 + (every.action % 10).float() + torch.arange(M).unsqueeze(1)  # depends on environment and member
    replay.prioritise(every.index, error)
    sample = replay.sample(draws, beta)
    for m in range(M):
        weights = np.array([(0.1 + n + m + 1e-6) ** alpha for n in range(N)])
        share = np.bincount((sample.action[m] % 10).numpy(), minlength=N) / draws
        np.testing.assert_allclose(share, weights / weights.sum(), atol=4 * 0.5 / draws**0.5)
        p = weights / (weights.sum() * len(valid) / N)
        expected = (len(valid) * p) ** -beta
        expected = expected / expected.max()
        found = [sample.weight[m][sample.action[m] % 10 == n].unique() for n in range(N)]
        for n in range(N):
            np.testing.assert_allclose(found[n].numpy(), expected[n], rtol=1e-4)


def test_new_steps_get_the_largest_priority_so_far():
    replay = SequenceReplay(20 * N, N, Stream(1, "replay"), GAMMA, alpha=1.0)
    replay.add(rollout(0, 4))
    sample = replay.sample(200)
    replay.prioritise(sample.index, torch.full_like(sample.reward, 7.0))
    replay.add(rollout(4, 1))
    assert replay.priority.max() == pytest.approx(7.0, rel=1e-5)
    fresh = replay.priority.view(M, -1, N)[:, 4]
    torch.testing.assert_close(fresh, torch.full_like(fresh, 7.0 + 1e-6))


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_it_survives_the_disk(tmp_path, alpha):
    def fresh():
        return SequenceReplay(6 * N, N, Stream(0, "replay"), GAMMA, n_step=2, alpha=alpha)

    one, two = fresh(), fresh()
    for first in (0, 4):
        one.add(rollout(first, 4))
    sample = one.sample(5)
    one.prioritise(sample.index, sample.reward)
    write(tmp_path, "replay", one.state_dict(), {})
    two.load_state_dict(read(tmp_path, "replay")[0])
    for replay in (one, two):
        replay.add(rollout(8, 3))
    expected, found = vars(one.sample(50)), vars(two.sample(50))
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_bad_sizes():
    with pytest.raises(ValueError, match="capacity"):
        SequenceReplay(2 * N, N, Stream(0, "replay"), GAMMA, n_step=2)
    with pytest.raises(ValueError, match="n_step"):
        SequenceReplay(20, N, Stream(0, "replay"), GAMMA, n_step=0)
    replay = SequenceReplay(4 * N, N, Stream(0, "replay"), GAMMA)
    with pytest.raises(ValueError, match="capacity"):
        replay.add(rollout(0, 5))
