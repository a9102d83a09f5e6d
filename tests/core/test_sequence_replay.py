"""n-step and prioritised replay against plain lists. Letters: T time, M members, N environments."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from imitate.core import memory, tree
from imitate.core.checkpoint import read, write
from imitate.core.noise import Stream
from imitate.core.priorities import blocks, search
from imitate.core.sequence_replay import SequenceReplay
from imitate.core.spec import Spec
from imitate.core.types import Rollout
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, Tuple

M, N = 2, 3
GAMMA = torch.tensor([0.9, 0.5])


NUMBER, CHOICES = Box((1,)), Discrete(10_000)


@dataclass(frozen=True)
class Announced:
    """A source of which only the steps are known."""

    spec: Spec


def announced(num_envs=N, observation=NUMBER, action=CHOICES, **known):
    return Announced(Spec("Announced", observation, action, members=M, num_envs=num_envs, **known))


def replay_of(slots, num_envs=N, gamma=GAMMA, seed=0, **options):
    return SequenceReplay(slots * num_envs, announced(num_envs), Stream(seed, "replay"), gamma, **options)


def rollout(first, time, seed=0):
    """Steps numbered from `first`; obs tells (step, member, environment), and the last of an episode is obs + 0.5."""
    generator = torch.Generator().manual_seed(seed + first)
    step = torch.arange(first, first + time).reshape(-1, 1, 1) * 100.0
    number = step + torch.arange(M).reshape(1, -1, 1) * 10 + torch.arange(N)
    chance = torch.rand(time, M, N, generator=generator)
    ended = chance < 0.3
    return Rollout(
        obs=number.unsqueeze(-1),
        action=number.long(),
        reward=torch.randn(time, M, N, generator=generator),
        next_obs=(number + torch.where(ended, 0.5, 100.0)).unsqueeze(-1),
        terminated=chance < 0.15,
        truncated=(chance >= 0.15) & ended,
        extras={"dropped": number},
        starts=torch.cat([torch.full((1, M, N), first == 0), ended[:-1]]),
    )


def of_others(seen, members, num_envs):
    """A rollout of some members, which may recur, and of the first environments."""
    return tree.map(lambda x: x[:, members, :num_envs], seen)


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
    """Reward, discount and last observation, by a loop."""
    total, discount = 0.0, 1.0
    for number, reward, terminated, truncated in steps[start : start + n_step]:
        total += discount * reward
        discount *= gamma
        if terminated:
            return total, 0.0, number + 0.5
        if truncated:
            return total, discount, number + 0.5
    return total, discount, number + 100


@pytest.mark.parametrize("n_step", [1, 2, 3, 5])
@pytest.mark.parametrize(("slots", "sizes"), [(20, [4, 4]), (8, [3, 3, 3, 3]), (8, [8]), (8, [1] * 19), (7, [5, 7, 2])])
def test_windows_are_those_of_a_loop(n_step, slots, sizes):
    replay, rollouts, first = replay_of(slots, n_step=n_step), [], 0
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
            assert sample.next_obs[m, b].item() == last
            assert sample.obs[m, b].item() == number
            assert sample.index[m, b].item() == start * N + n
        assert starts == {(t, n) for t in range(oldest, newest + 1) for n in range(N)}
    assert torch.equal(sample.weight, torch.ones(M, 600))


@pytest.mark.parametrize("n_step", [1, 3])
def test_priorities_are_followed_and_corrected_for(n_step):
    alpha, beta, draws = 0.7, 0.5, 60_000
    replay = replay_of(8, seed=1, n_step=n_step, alpha=alpha)
    for first in (0, 5, 10):
        replay.add(rollout(first, 5))
    valid = {(t, n) for t in range(7, 15 - n_step + 1) for n in range(N)}
    every = replay.sample(4_000)
    starts = {(int(a) // 100, int(a) % 10) for a in every.action[0]}
    assert starts == valid  # all are new, and of one priority: nothing incomplete or overwritten among them
    assert torch.allclose(every.weight, torch.ones_like(every.weight))
    error = 0.1 + (every.action % 10).float() + torch.arange(M).unsqueeze(1)  # depends on environment and member
    replay.update_priorities(every.index, error)
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
    replay = replay_of(20, seed=1, alpha=1.0)
    replay.add(rollout(0, 4))
    sample = replay.sample(200)
    replay.update_priorities(sample.index, torch.full_like(sample.reward, 7.0))
    replay.add(rollout(4, 1))
    assert replay.priority.max() == pytest.approx(7.0, rel=1e-5)
    fresh = replay.priority.view(M, -1, N)[:, 4]
    torch.testing.assert_close(fresh, torch.full_like(fresh, 7.0 + 1e-6))


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_it_survives_the_disk(tmp_path, alpha):
    def fresh():
        return replay_of(6, n_step=2, alpha=alpha)

    one, two = fresh(), fresh()
    for first in (0, 4):
        one.add(rollout(first, 4))
    sample = one.sample(5)
    one.update_priorities(sample.index, sample.reward)
    write(tmp_path, "replay", one.state_dict(), {})
    two.load_state_dict(read(tmp_path, "replay")[0])
    for replay in (one, two):
        replay.add(rollout(8, 3))
    expected, found = one.sample(50), two.sample(50)
    assert len(tree.leaves(expected)) == 7
    for value, again in zip(tree.leaves(expected), tree.leaves(found), strict=True):
        assert torch.equal(value, again)


def test_bad_sizes():
    with pytest.raises(ValueError, match="capacity: 3 does not hold 2 steps"):
        replay_of(1, n_step=2)
    assert replay_of(2, n_step=2).slots == 2  # one window of each environment is enough
    with pytest.raises(ValueError, match="n_step"):
        replay_of(6, n_step=0)
    replay = replay_of(4)
    with pytest.raises(ValueError, match="capacity"):
        replay.add(rollout(0, 5))
    seen = rollout(0, 2)
    with pytest.raises(ValueError, match=r"obs: torch\.float64 \(1,\), but the source announced torch\.float32 \(1,\)"):
        replay.add(replace(seen, obs=seen.obs.double()))


def starts_of(first, slots, n_step):
    """(step, environment) of every window that is whole and still there after `first` steps."""
    return {(t, n) for t in range(max(0, first - slots), first - n_step + 1) for n in range(N)}


@pytest.mark.parametrize("n_step", [1, 2, 3, 5])
@pytest.mark.parametrize(("slots", "sizes"), [(8, [1] * 20), (8, [2, 1, 3, 2, 4, 1]), (8, [8, 8, 3]), (7, [5, 7, 2])])
def test_exactly_the_whole_windows_have_a_priority(n_step, slots, sizes):
    """After each rollout, also while there is none yet, and beside the write head."""
    replay, first = replay_of(slots, n_step=n_step, alpha=0.5), 0
    for size in sizes:
        replay.add(rollout(first, size))
        first += size
        expected = starts_of(first, slots, n_step)
        assert len(replay) == len(expected)
        for m in range(M):
            found = {(int(i) // N, int(i) % N) for i in replay.priority[m].nonzero()}
            assert found == {(t % slots, n) for t, n in expected}
        if expected:
            drawn = replay.sample(len(expected))
            # one priority for all: each stratum of the batch is one start
            for m in range(M):
                assert {(int(a) // 100, int(a) % 10) for a in drawn.action[m]} == expected


def chi2(counts, shares):
    expected = np.asarray(shares) / np.sum(shares) * np.sum(counts)
    return float(((np.asarray(counts) - expected) ** 2 / expected).sum())


def test_uniform_samples_are_uniform():
    replay = replay_of(8, seed=5, n_step=3)
    for first in (0, 5, 10):
        replay.add(rollout(first, 5))
    drawn, valid = replay.sample(36_000), sorted(starts_of(15, 8, 3))
    assert len(valid) == 18
    for m in range(M):
        counts = dict.fromkeys(valid, 0)
        for a in drawn.action[m].tolist():
            counts[a // 100, a % 10] += 1
        assert 4.4 < chi2(list(counts.values()), [1] * 18) < 40.8  # 0.001 and 0.999 quantiles of χ²(17)
    assert not torch.equal(drawn.index[0], drawn.index[1])


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_every_step_is_drawn_by_its_own_priority(alpha):
    """Errors of every start and member at random; shares by chi-squared, weights by the formula."""
    replay = replay_of(8, seed=2, n_step=2, alpha=alpha)
    for first in (0, 6, 12):
        replay.add(rollout(first, 6))
    valid = sorted(starts_of(18, 8, 2))
    index = torch.tensor([t * N + n for t, n in valid]).expand(M, -1)
    error = torch.rand(M, len(valid), generator=torch.Generator().manual_seed(1)) - 0.5  # of either sign
    replay.update_priorities(index, error)
    priority = (error.abs().double() + 1e-6) ** alpha
    drawn = replay.sample(40_000, 0.4)
    for m in range(M):
        counts = [int((drawn.index[m] == i).sum()) for i in index[m]]
        assert sum(counts) == 40_000
        assert chi2(counts, priority[m].numpy()) < 47.5  # 0.999 quantile of χ²(20); strata make it smaller
        p = priority[m] / priority[m].sum()
        weight = (len(valid) * p) ** -0.4
        table = torch.zeros(18 * N, dtype=torch.float64)
        table[index[m]] = weight
        expected = table[drawn.index[m]]
        torch.testing.assert_close(drawn.weight[m].double(), expected / expected.max(), rtol=1e-4, atol=0)
    assert float(drawn.weight.max()) == 1
    # β = 1 takes the bias away: the weighted mean is the mean over all
    full = replay.sample(40_000, 1.0)
    mean = (full.weight * (full.action // 100)).sum(1) / full.weight.sum(1)
    assert mean.tolist() == pytest.approx([np.mean([t for t, _ in valid])] * M, abs=0.15)


def test_members_have_priorities_of_their_own():
    replay = replay_of(8, seed=2, alpha=0.5)
    replay.add(rollout(0, 4))
    before = replay.priority.clone()
    error = torch.tensor([[9.0], [0.04]])
    replay.update_priorities(torch.tensor([[3], [5]]), error)
    before[0, 3], before[1, 5] = 3.0, 0.2
    torch.testing.assert_close(replay.priority, before, rtol=1e-4, atol=0)
    torch.testing.assert_close(replay.largest, torch.tensor([[3.0], [1.0]]), rtol=1e-4, atol=0)
    replay.update_priorities(torch.tensor([[3], [5]]), error / 100)
    replay.add(rollout(4, 2))
    fresh = replay.priority.view(M, 8, N)[:, 4:6]
    torch.testing.assert_close(fresh, torch.tensor([3.0, 1.0]).reshape(2, 1, 1).expand(2, 2, N), rtol=1e-4, atol=0)


def test_a_replay_keeps_copies_and_no_extras():
    replay, given = replay_of(8), rollout(0, 3)
    expected = given.clone()
    replay.add(given)
    for name in ("obs", "next_obs", "reward"):
        getattr(given, name).fill_(-1)
    state = replay.state_dict()
    assert set(state["steps"]) == {"action", "reward", "ended", "number"}
    for value in state["steps"].values():
        assert value.shape == (M, 3, N)  # unused slots are left out
    for name in ("action", "reward"):
        value = state["steps"][name].transpose(0, 1)
        assert value.dtype == getattr(expected, name).dtype
        assert torch.equal(value, getattr(expected, name))
    drawn = replay.sample(50)
    t, n = drawn.index // N, drawn.index % N
    members = torch.arange(M).unsqueeze(1)
    assert torch.equal(drawn.obs, expected.obs[t, members, n])
    assert torch.equal(drawn.next_obs, expected.next_obs[t, members, n])


def test_a_state_of_another_shape_is_refused_and_changes_nothing():
    def filled(slots, num_envs=N, gamma=GAMMA, alpha=0.0, steps=10):
        made = replay_of(slots, num_envs, gamma, alpha=alpha)
        for first in range(0, steps, 2):
            made.add(of_others(rollout(first, 2), torch.arange(len(gamma)) % M, num_envs))
        return made

    for other in (
        filled(6),  # wrapped: its slots lie in another order
        filled(20, steps=20),
        filled(8, num_envs=2),
        filled(8, gamma=torch.full((3,), 0.9)),
        filled(8, alpha=0.5),
    ):
        mine = filled(8, steps=4)
        with pytest.raises(RuntimeError, match="not"):
            mine.load_state_dict(other.state_dict())
        assert int(mine.written) == 4
        assert torch.equal(mine.sample(9).index, filled(8, steps=4).sample(9).index)
    grown = filled(8)
    grown.load_state_dict(filled(20, steps=4).state_dict())  # not yet wrapped: it does not matter
    assert torch.equal(grown.sample(50).obs, filled(8, steps=4).sample(50).obs)
    empty = replay_of(8)
    grown.load_state_dict(empty.state_dict())
    assert len(grown) == 0


def test_one_number_a_state_stays_an_integer():
    seen = rollout(0, 3)
    seen = replace(seen, obs=seen.action, next_obs=seen.action + 100)
    source = announced(observation=Discrete(10_000), obs_dtype=torch.int64)
    replay = SequenceReplay(4 * N, source, Stream(0, "replay"), GAMMA, n_step=2)
    replay.add(seen)
    drawn = replay.sample(7)
    assert drawn.obs.dtype == drawn.next_obs.dtype == torch.int64
    assert torch.equal(drawn.obs, drawn.action)


def test_actions_of_a_box_are_kept():
    seen = rollout(0, 3)
    seen = replace(seen, action=torch.stack([seen.reward, seen.obs[..., 0]], -1))
    replay = SequenceReplay(4 * N, announced(action=Box((2,))), Stream(0, "replay"), GAMMA)
    replay.add(seen)
    drawn = replay.sample(20)
    assert torch.equal(drawn.action, torch.stack([drawn.reward, drawn.obs[..., 0]], -1))


def test_a_priority_is_not_given_to_what_took_the_place():
    """Between a sample and its errors the ring moved on: the steps that made room stay gone, the others are heard."""
    replay = replay_of(4, alpha=1.0)
    replay.add(rollout(0, 4))
    sample = replay.sample(200)
    replay.add(rollout(4, 2))
    before = replay.priority.clone()
    replay.update_priorities(sample.index, torch.full_like(sample.reward, 5.0))
    gone = torch.arange(4 * N) < 2 * N  # the slots of steps 0 and 1, where 4 and 5 are now
    assert torch.equal(replay.priority[:, gone], before[:, gone])
    assert (replay.priority[:, ~gone] == 5.0 + 1e-6).all()


def test_no_window_joins_what_a_restarted_source_began_with_what_it_left():
    replay = replay_of(20, n_step=3)
    whole = rollout(0, 4)
    never = torch.zeros_like(whole.terminated)
    going = replace(whole, next_obs=whole.obs + 100, terminated=never, truncated=never)
    replay.add(going)
    replay.add(replace(going, obs=going.obs + 5_000, next_obs=going.next_obs + 5_000))
    drawn = replay.sample(400)
    for m in range(M):
        for b in range(400):
            t, n = divmod(int(drawn.index[m, b]), N)
            last = min(t + 2, 3 if t < 4 else 7)
            assert drawn.discount[m, b].item() == pytest.approx(float(GAMMA[m]) ** (last - t + 1))
            end = (5_000 if last > 3 else 0) + 100.0 * (last % 4) + 10 * m + n + 100
            assert drawn.next_obs[m, b].item() == end


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_no_window_joins_episodes_that_look_alike(alpha):
    """A restarted source says that an episode starts, though what it shows is what the last one ended with."""
    replay = replay_of(20, n_step=3, alpha=alpha)
    alike = torch.zeros(4, M, N, 1)
    never, starts = torch.zeros(4, M, N, dtype=torch.bool), torch.zeros(4, M, N, dtype=torch.bool)
    starts[0] = True
    for _ in range(2):
        replay.add(Rollout(alike, alike[..., 0].long(), torch.ones(4, M, N), alike, never, never, starts=starts))
    drawn = replay.sample(300)
    steps = (3 - drawn.index // N % 4 + 1).clamp(max=3)  # to the end of a rollout
    torch.testing.assert_close(drawn.discount, GAMMA.unsqueeze(1) ** steps)


@pytest.mark.parametrize("num_envs", [1, 3, 64])
def test_drawing_is_finer_than_a_replay_is_large(num_envs):
    """Each environment and each step of it is a draw of its own, by all bits of a float64."""
    replay = replay_of(4, num_envs=num_envs)
    handed = []

    class Handed:
        def uniform(self, *shape, dtype=torch.float32):
            assert dtype == torch.float64
            handed.append(Stream(len(handed), "replay").uniform(*shape, dtype=dtype))
            return handed[-1]

    replay.written.fill_(10)
    replay.oldest.fill_(6)
    replay.stream = Handed()
    index = replay.sample(500).index
    assert torch.equal(index % num_envs, (handed[0] * num_envs).long())
    assert torch.equal(index // num_envs, 6 + (handed[1] * 4).long())


UNKNOWN = (float("nan"), float("inf"), -float("inf"))


@pytest.mark.parametrize("alpha", [0.01, 0.6, 1.0, 9.0])
def test_errors_that_are_no_numbers_are_replaced_and_counted(alpha):
    replay = replay_of(200, alpha=alpha)
    replay.add(rollout(0, 150))
    index = torch.arange(8).expand(M, 8)
    error = torch.tensor([[*UNKNOWN, 2.0, 0.0, -3.0, 1e-30, 3e38], [1.0] * 8])
    assert replay.update_priorities(index, error).tolist() == [3, 0]
    table = replay.priority[:, :8]
    assert table.isfinite().all() and (table > 0).all()
    assert (table[0, :3] == 1).all()  # the largest before, as of a new step
    assert table[0, 4] <= table[0, 3] < table[0, 5] < table[0, 7]
    for _ in range(3):
        drawn = replay.sample(64, beta=1.0)
        assert drawn.weight.isfinite().all() and drawn.weight.amax() == 1
        assert (drawn.index < 150 * N).all() and (drawn.index >= 0).all()


@pytest.mark.parametrize("error", [0.0, 1e-38, 3e38])
def test_priorities_of_one_extreme_are_all_drawn(error):
    """Sums neither overflow nor vanish, however many there are, and none is drawn that is not there."""
    replay = replay_of(400, alpha=20.0)
    replay.add(rollout(0, 300))
    everything = torch.arange(300 * N).expand(M, -1)
    replay.update_priorities(everything, torch.full(everything.shape, error))
    drawn = replay.sample(300 * N)
    assert torch.equal(drawn.index, everything)  # one in each stratum
    torch.testing.assert_close(drawn.weight, torch.ones_like(drawn.weight))


@pytest.mark.parametrize("count", [1, 255, 257, 1000])
def test_the_search_stays_inside_of_what_there_is(count):
    """Also at a share of 1, which rounding makes of the last stratum, with nothing behind the last priority."""
    table = blocks(1, 2_000)
    table.flatten(1)[:, 100 : 100 + count] = 1e-30
    place, priority = search(table, torch.tensor([[0.0, 0.5, 1 - 2**-53, 1.0]], dtype=torch.float64))
    assert place[0, 0] == 100 and (place[0, 2:] == 99 + count).all()
    assert (priority > 0).all()


def test_a_state_with_priorities_that_are_no_numbers_is_refused():
    replay = replay_of(8, alpha=0.5)
    replay.add(rollout(0, 4))
    state = tree.map(torch.clone, replay.state_dict())
    state["priority"][0, 0] = float("nan")
    with pytest.raises(RuntimeError, match="its numbers point to nothing"):
        replay_of(8, alpha=0.5).load_state_dict(state)


def test_memory_is_told_with_what_is_kept(monkeypatch):
    replay = replay_of(8, keep=("dropped", "wide"))
    before, seen = replay.bytes, rollout(0, 4)
    seen = replace(seen, extras={**seen.extras, "wide": torch.zeros(4, M, N, 5, dtype=torch.float64)})
    replay.add(seen)
    assert replay.bytes - before == M * 8 * N * (4 + 5 * 8)
    assert f"({replay.bytes / (M * 8 * N):,.0f} bytes each)" in str(replay)
    monkeypatch.setattr(memory, "available", lambda device: before if device == torch.device("cpu") else None)
    small = replay_of(8, keep=("wide",))
    monkeypatch.setattr(memory, "available", lambda device: 100)
    with pytest.raises(ValueError, match=r"^keep: 'wide' of 24 transitions of 2 members takes 0 MiB, but cpu has"):
        small.add(seen)


def test_memory_is_told_and_what_does_not_fit_is_refused(monkeypatch):
    source = announced(8, Box((4, 84, 84), 0, 255), obs_dtype=torch.uint8, frames=4)
    gamma = torch.full((2,), 0.99)
    replay = SequenceReplay(4_000, source, Stream(0, "replay"), gamma, alpha=0.5)
    held = sum(x.untyped_storage().nbytes() for x in (
        replay.frames.store, replay.action, replay.reward, replay.ended, replay.number, replay.priority
    ))  # fmt: skip
    assert replay.bytes == pytest.approx(held, rel=1e-4)
    each = replay.bytes / 8_000
    assert each < 1.2 * 84 * 84  # whole transitions have 8 · 84 · 84
    assert str(replay) == f"replay: 4,000 transitions a member, 2 members, 61 MiB on cpu ({each:,.0f} bytes each)"
    monkeypatch.setattr(memory, "available", lambda device: 2**20 * 6_000)
    with pytest.raises(ValueError) as refused:
        SequenceReplay(1_000_000, source, Stream(0, "replay"), gamma)
    assert str(refused.value) == (
        "capacity: 1,000,000 transitions of 2 members take 15,181 MiB, but cpu has 6,000 MiB free; "
        "about 395,238 would fit."
    )
    SequenceReplay(10_000, source, Stream(0, "replay"), gamma)
    monkeypatch.setattr(memory, "available", lambda device: None)  # where nobody knows, it is tried
    assert len(SequenceReplay(1_000, source, Stream(0, "replay"), gamma)) == 0


def test_free_memory_is_that_of_the_system():
    free = memory.available("cpu")
    assert free is not None and 2**26 < free < 2**50


# What is kept beside a step


def with_option(seen):
    """A choice and a vector that tell the step, as a policy of options records them."""
    vector = torch.stack([seen.obs[..., 0] + 0.25, -seen.obs[..., 0]], -1)
    return replace(seen, extras={"option": seen.action * 3, "vector": vector, "dropped": seen.obs})


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize(("slots", "sizes"), [(20, [4, 4]), (8, [3, 3, 3, 3]), (8, [1] * 19), (7, [5, 7, 2])])
def test_what_it_is_told_to_keep_is_that_of_the_first_step(slots, sizes, n_step, alpha):
    replay, first, lists = replay_of(slots, n_step=n_step, alpha=alpha, keep=("option", "vector")), 0, {}
    for size in sizes:
        seen = with_option(rollout(first, size))
        replay.add(seen)
        for t in range(size):
            for m in range(M):
                for n in range(N):
                    row = (seen.extras["option"][t, m, n].item(), seen.extras["vector"][t, m, n].tolist())
                    lists.setdefault((m, n), []).append(row)
        first += size
    sample = replay.sample(200)
    assert set(sample.kept) == {"option", "vector"}
    assert sample.kept["option"].dtype == torch.int64 and sample.kept["vector"].shape == (M, 200, 2)
    starts = set()
    for m in range(M):
        for b in range(200):
            t, n = divmod(int(sample.index[m, b]), N)
            starts.add((t, n))
            option, vector = lists[m, n][t]
            assert sample.kept["option"][m, b].item() == option == 3 * int(sample.action[m, b])
            assert sample.kept["vector"][m, b].tolist() == vector
    assert starts == starts_of(first, slots, n_step)
    parts = list(replay.batches(5, 3))
    assert all(torch.equal(part.kept["option"], 3 * part.action) for part in parts)


def test_what_is_kept_is_a_copy_and_survives_the_disk(tmp_path):
    def fresh():
        return replay_of(6, n_step=2, keep=("option", "vector"))

    one, two, later = fresh(), fresh(), fresh()
    later.add(with_option(rollout(3, 5)))  # other steps, to be forgotten
    seen = with_option(rollout(0, 4))
    one.add(seen)
    seen.extras["vector"].fill_(-1)
    one.add(with_option(rollout(4, 4)))
    write(tmp_path, "replay", one.state_dict(), {})
    for other in (two, later):
        other.load_state_dict(read(tmp_path, "replay")[0])
    for replay in (one, two, later):
        replay.add(with_option(rollout(8, 3)))
    expected = one.sample(50)
    assert torch.equal(expected.kept["option"], 3 * expected.action)
    for other in (two, later):
        found = other.sample(50)
        assert len(tree.leaves(found)) == 9
        for value, again in zip(tree.leaves(expected), tree.leaves(found), strict=True):
            assert torch.equal(value, again)


def test_an_extra_that_a_rollout_lacks_is_named():
    replay = replay_of(8, keep=("option",))
    with pytest.raises(ValueError, match=r"keep: the rollout has no extra 'option'; its driver records dropped\."):
        replay.add(rollout(0, 3))
    assert len(replay) == 0 and not replay.frames.written.any()


@pytest.mark.parametrize(("mine", "saved"), [((), ("option",)), (("option",), ()), (("vector",), ("option",))])
def test_a_state_that_keeps_something_else_is_refused(mine, saved):
    one, two = replay_of(8, keep=saved), replay_of(8, keep=mine)
    one.add(with_option(rollout(0, 3)))
    with pytest.raises(RuntimeError, match="keeps"):
        two.load_state_dict(one.state_dict())
    assert len(two) == 0
    two.add(with_option(rollout(0, 3)))
    assert set(two.sample(4).kept) == set(mine)


# Observations of several parts

IMAGE, VECTOR, COUNT, FLAGS = Box((2, 3, 3), 0, 255), Box((2,)), Discrete(300), MultiBinary((4,))
TREES = {
    "dict": (
        Dict.of({"image": IMAGE, "vector": VECTOR, "count": COUNT}),
        {"image": torch.uint8, "vector": torch.float32, "count": torch.int64},
        lambda image, vector, count, flags: {"count": count, "vector": vector, "image": image},  # in another order
    ),
    "tuple": (
        Tuple((COUNT, IMAGE, FLAGS)),
        (torch.int64, torch.uint8, torch.bool),
        lambda image, vector, count, flags: (count, image, flags),
    ),
    "nested": (
        Dict.of({"low": Tuple((VECTOR, COUNT)), "high": Dict.of({"image": IMAGE})}),
        {"low": (torch.float64, torch.int64), "high": {"image": torch.uint8}},
        lambda image, vector, count, flags: {"low": (vector.double(), count), "high": {"image": image}},
    ),
    "one": (
        Dict.of({"vector": VECTOR}),
        {"vector": torch.float32},
        lambda image, vector, count, flags: {"vector": vector},
    ),
}  # fmt: skip


def parts_of(number):
    """The parts of an observation, all told by its number."""
    scaled = torch.stack([number, -number / 3], -1)
    image = (number.long().unsqueeze(-1) + torch.arange(18)).remainder(256).to(torch.uint8)
    flags = number.long().unsqueeze(-1).bitwise_and(torch.tensor([1, 2, 4, 8])) > 0
    return image.unflatten(-1, (2, 3, 3)), scaled, (2 * number).long() % 300, flags


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.parametrize("n_step", [1, 3])
@pytest.mark.parametrize("kind", TREES)
def test_trees_are_those_of_a_list(kind, n_step, alpha, tmp_path):
    """Every part of both observations in its own type, over the end of the ring and over the disk."""
    observation, dtype, build = TREES[kind]

    def fresh():
        source = announced(observation=observation, obs_dtype=dtype)
        return SequenceReplay(8 * N, source, Stream(0, "replay"), GAMMA, n_step=n_step, alpha=alpha)

    replay, rollouts, first = fresh(), [], 0
    for size in (3, 5, 4, 1):
        seen = rollout(first, size)
        rollouts.append(seen)
        obs, next_obs = (build(*parts_of(x[..., 0])) for x in (seen.obs, seen.next_obs))
        replay.add(replace(seen, obs=obs, next_obs=next_obs))
        tree.map(lambda x: x.zero_(), (obs, next_obs))  # it keeps copies
        first += size
    again = fresh()
    write(tmp_path, "replay", replay.state_dict(), {})
    again.load_state_dict(read(tmp_path, "replay")[0])
    steps, sample, other = history(rollouts), replay.sample(120), again.sample(120)
    assert len(replay.frames.store.shape) == 4 and replay.frames.store.dtype == torch.uint8
    last = torch.zeros(M, 120)
    for m in range(M):
        for b in range(120):
            t, n = divmod(int(sample.index[m, b]), N)
            assert steps[m, n][t][0] == int(sample.action[m, b])
            reward, discount, last[m, b] = window(steps[m, n], t, n_step, float(GAMMA[m]))
            assert sample.reward[m, b].item() == pytest.approx(reward, abs=1e-5)
            assert sample.discount[m, b].item() == pytest.approx(discount, abs=1e-6)
    assert {divmod(int(i), N) for i in sample.index.flatten()} == starts_of(first, 8, n_step)
    for found, number in ((sample.obs, sample.action.float()), (sample.next_obs, last)):
        expected = build(*parts_of(number))
        mine, theirs = (dict(tree.flatten(tree.as_dicts(x))) for x in (found, expected))
        assert mine.keys() == theirs.keys() and len(mine) >= 1
        for path, value in theirs.items():
            assert mine[path].dtype == value.dtype and torch.equal(mine[path], value), path
    for value, restored in zip(tree.leaves(sample), tree.leaves(other), strict=True):
        assert torch.equal(value, restored)


def test_trees_keep_numbers_that_equal_nothing():
    """Not a number is kept as it is, and joins steps as any other number does."""
    source = announced(observation=Dict.of({"vector": VECTOR}), obs_dtype={"vector": torch.float32})
    replay, seen = SequenceReplay(8 * N, source, Stream(0, "replay"), GAMMA), rollout(0, 3)
    never = torch.zeros_like(seen.terminated)
    obs = {"vector": torch.full((3, M, N, 2), torch.nan)}
    replay.add(replace(seen, obs=obs, next_obs=obs, terminated=never, truncated=never))
    assert replay.sample(9).obs["vector"].isnan().all()
    assert (replay.frames.written == 4).all()  # three steps and where they end
