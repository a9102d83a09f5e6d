"""Frames kept once, against a store of whole transitions. Letters: T time, M members, N environments, K frames."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from imitate.core.frames import Frames
from imitate.core.noise import Stream
from imitate.core.sequence_replay import SequenceReplay
from imitate.core.spec import Spec
from imitate.core.types import Rollout
from imitate_envs.base import Box, Discrete

M, N = 2, 2
SHAPE = (2, 3)  # of a frame
GAMMA = torch.tensor([0.9, 0.5])
CHOICES = Discrete(1_000)


@dataclass(frozen=True)
class Announced:
    """A source of which only the steps are known."""

    spec: Spec


def announced(stack, shape=SHAPE):
    observation = Box((stack, *shape) if stack > 1 else shape, 0, 255)
    return Announced(
        Spec("Announced", observation, CHOICES, members=M, num_envs=N, obs_dtype=torch.uint8, frames=stack)
    )


def padding_repeat(rng, frame, stack):
    return [frame] * stack


def padding_zero(rng, frame, stack):
    return [np.zeros_like(frame)] * (stack - 1) + [frame]


def padding_other(rng, frame, stack):
    """Frames from before the episode, as no-operations at its beginning leave them."""
    return [rng.integers(0, 3, SHAPE) for _ in range(stack - 1)] + [frame]


def steps_of(rng, time, stack, padding, values, chance):
    """Whole transitions of one environment: (obs, next_obs, reward, terminated, truncated)."""

    def seen(frames):
        return np.stack(frames[-stack:]) if stack > 1 else frames[-1]

    rows, frames = [], padding(rng, rng.integers(0, values, SHAPE), stack)
    for _ in range(time):
        obs = seen(frames)
        frames = [*frames, rng.integers(0, values, SHAPE)]  # with few values, many frames are equal
        u = rng.random()
        rows.append((obs, seen(frames), rng.normal(), u < chance / 2, chance / 2 <= u < chance))
        if u < chance:
            frames = padding(rng, rng.integers(0, values, SHAPE), stack)
    return rows


def joined(histories, start, stop):
    """Steps [start, stop) of all environments as one rollout."""

    def column(i, dtype):
        part = [[[h[t][i] for h in row] for row in histories] for t in range(start, stop)]
        return torch.from_numpy(np.array(part)).to(dtype)

    number = torch.arange(start, stop).reshape(-1, 1, 1).expand(-1, M, N)
    terminated, truncated = column(3, torch.bool), column(4, torch.bool)
    starts = torch.cat([torch.full((1, M, N), start == 0), (terminated | truncated)[:-1]])
    return Rollout(
        column(0, torch.uint8), number % 1_000, column(2, torch.float32), column(1, torch.uint8),
        terminated, truncated, starts=starts,
    )  # fmt: skip


def counted(history, now, slots, rows, stack):
    """The oldest step that is there, by its time slot and by the frames since; and how many were written."""
    numbers, written, before = [], 0, None
    for obs, after, *_ in history[:now]:
        written += 1 if before is not None and np.array_equal(obs, before) else 1 + stack
        numbers.append(written - 2)
        before = after
    kept = [t for t, number in enumerate(numbers) if number - stack + 1 >= written - rows]
    return max(kept[0], now - slots, 0), written


def window(history, start, n_step, gamma):
    total, discount = 0.0, 1.0
    for _, after, reward, terminated, truncated in history[start : start + n_step]:
        total, discount = total + discount * reward, discount * gamma
        if terminated:
            return total, 0.0, after
        if truncated:
            break
    return total, discount, after


@given(
    seed=st.integers(0, 2**31),
    stack=st.sampled_from([1, 2, 4]),
    padding=st.sampled_from([padding_repeat, padding_zero, padding_other]),
    values=st.sampled_from([1, 2, 256]),
    chance=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
    slots=st.integers(3, 12),
    spare=st.integers(0, 12),
    n_step=st.integers(1, 3),
    alpha=st.sampled_from([0.0, 0.6]),
)
def test_what_is_sampled_is_what_was_seen(seed, stack, padding, values, chance, slots, spare, n_step, alpha):
    rng = np.random.default_rng(seed)
    histories = [[steps_of(rng, 30, stack, padding, values, chance) for _ in range(N)] for _ in range(M)]
    options = {"n_step": n_step, "alpha": alpha, "spare": spare}
    source = announced(stack)
    replay = SequenceReplay(slots * N, source, Stream(seed, "replay"), GAMMA, **options)
    now = 0
    while now < 30:
        size = int(rng.integers(1, min(slots, 30 - now) + 1))
        replay.add(joined(histories, now, now + size))
        now += size
        if rng.random() < 0.2:  # the same run, stopped and resumed
            state, replay = (
                replay.state_dict(),
                SequenceReplay(slots * N, source, Stream(1, "replay"), GAMMA, **options),
            )
            replay.load_state_dict(state)
        if now < n_step or rng.random() < 0.6:
            continue
        sample = replay.sample(16)
        assert sample.obs.dtype == sample.next_obs.dtype == torch.uint8
        for m in range(M):
            counts = [counted(h, now, slots, replay.frames.rows, stack) for h in histories[m]]
            oldest = [count[0] for count in counts]
            assert replay.oldest[m].tolist() == oldest
            assert replay.frames.written[m].tolist() == [count[1] for count in counts]
            for b in range(16):
                t, n = divmod(int(sample.index[m, b]), N)
                assert oldest[n] <= t <= now - n_step
                reward, discount, after = window(histories[m][n], t, n_step, float(GAMMA[m]))
                np.testing.assert_array_equal(sample.obs[m, b].numpy(), histories[m][n][t][0])
                np.testing.assert_array_equal(sample.next_obs[m, b].numpy(), after)
                assert sample.reward[m, b].item() == pytest.approx(reward, abs=1e-5)
                assert sample.discount[m, b].item() == pytest.approx(discount, abs=1e-6)
                assert int(sample.action[m, b]) == t
            if alpha > 0:
                found = {divmod(int(i), N) for i in replay.priority[m].nonzero()}
                assert found == {(t % slots, n) for n in range(N) for t in range(oldest[n], now - n_step + 1)}
                replay.update_priorities(sample.index, sample.reward)


def test_an_episode_takes_its_frames_and_one_stack():
    rng = np.random.default_rng(0)
    frames = Frames(1, 1, 100, (4, *SHAPE), torch.uint8, stack=4)
    written = 0
    for length in (5, 1, 9):
        rows = steps_of(rng, length, 4, padding_zero, 256, 0.0)
        obs, after = (torch.from_numpy(np.stack([row[i] for row in rows])).byte()[:, None, None] for i in (0, 1))
        number, whole = frames.write(obs, after)
        assert whole.flatten().tolist() == [True] + [False] * (length - 1)
        written += length + 4
        assert int(frames.written) == written
        assert torch.equal(frames.read(number[:, 0].T, torch.zeros(1, length, dtype=torch.int64))[0], obs[:, 0, 0])
        assert torch.equal(
            frames.read(number[:, 0].T + 1, torch.zeros(1, length, dtype=torch.int64))[0], after[:, 0, 0]
        )


def test_what_is_not_a_stack_is_refused():
    histories = [[steps_of(np.random.default_rng(i), 6, 1, padding_zero, 256, 0.0) for i in range(N)]] * M
    seen = joined(histories, 0, 6)
    wide = replace(seen, obs=seen.obs.repeat_interleave(2, 3), next_obs=seen.next_obs.repeat_interleave(2, 3))
    source = announced(4, (3,))
    replay = SequenceReplay(20, source, Stream(0, "replay"), GAMMA)
    with pytest.raises(
        ValueError, match="obs: not 4 successive frames, the newest last; make the source with frames=1"
    ):
        replay.add(wide)


@pytest.mark.parametrize("change", ["members", "rows", "shape", "dtype"])
def test_frames_of_another_size_are_refused(change):
    made = {"members": 2, "num_envs": 2, "rows": 4, "shape": SHAPE, "dtype": torch.uint8}
    frames = Frames(*made.values())
    other = Frames(*{**made, change: {"members": 3, "rows": 6, "shape": (3, 2), "dtype": torch.int64}[change]}.values())
    obs = torch.ones(3, other.store.shape[0], 2, *other.shape, dtype=other.store.dtype)
    other.write(obs[:2], 2 * obs[:2])
    other.write(3 * obs[:2], 4 * obs[:2])
    with pytest.raises(RuntimeError, match="frames are"):
        frames.load_state_dict(other.state_dict())
    assert not frames.store.any()
