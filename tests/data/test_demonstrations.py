"""Demonstrations against naive loops. Letters: M members, N environments of one member, B steps of one member."""

import io
import os
import pickle
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
import torch

from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.distributions.actions import Categorical, Normal, decide
from imitate.students import Demonstrations, demonstrate
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple
from tests.oracles import Identity, Reach

M = 2


@dataclass(frozen=True)
class Countdown:
    """An episode whose first state says how long it lasts: 1 to 12 steps. Of more than 9, the clock ends it at 9.

    Observed are (length, time, name), where the name of an episode is a number in [0, 1) of its own.
    """

    max_steps: int = 9

    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 2
    observation: ClassVar[Box] = Box((3,))
    action: ClassVar[Discrete] = Discrete(3)

    def reset(self, noise):
        length = 1 + (12 * noise[..., 0] ** 2).floor()  # mostly short
        return torch.stack([length, torch.zeros_like(length), noise[..., 1]], -1)

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        state = state + torch.tensor([0.0, 1.0, 0.0])
        return state, torch.ones(state.shape[:-1]), state[..., 1] >= state[..., 0]


class Sure:
    """A teacher whose mode is (length + time) mod 3, and which draws that with probability about .58."""

    noise = 1

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        best = (obs[..., 0] + obs[..., 1]).long() % 3
        return Categorical(torch.nn.functional.one_hot(best, 3).float())

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


def source(num_envs, env=None, members=M, seed=0):
    return TensorSource(env or Countdown(), id="Countdown-v0", num_envs=num_envs, members=members, seed=seed)


def shown_episodes(shown, member):
    """Episodes of a member as a dict: number -> list of (obs, action, time), found by a loop over all steps."""
    episodes = {}
    for i in range(shown.mask.shape[1]):
        if shown.mask[member, i]:
            step = tuple(shown.examples.obs[member, i].tolist()), int(shown.examples.action[member, i])
            episodes.setdefault(int(shown.episode[member, i]), []).append((*step, int(shown.time[member, i])))
    return episodes


def played_episodes(num_envs, episodes, teacher, members=M):
    """The same by loops over a second source on the same noise: environment by environment, step by step."""
    twin, policy = source(num_envs, members=members), teacher
    found = [{} for _ in range(members)]
    open_ = [[[] for _ in range(num_envs)] for _ in range(members)]
    ended = [[0] * num_envs for _ in range(members)]
    for _ in range(200):
        seen = twin.collect(policy, min(100, Countdown.max_steps)).clone()
        for t in range(len(seen.reward)):
            for m in range(members):
                for n in range(num_envs):
                    time = len(open_[m][n])
                    step = tuple(seen.obs[t, m, n].tolist()), int(seen.action[t, m, n]), time
                    open_[m][n].append(step)
                    if seen.terminated[t, m, n] or seen.truncated[t, m, n]:
                        number = ended[m][n] * num_envs + n
                        if number < episodes:
                            found[m][number] = open_[m][n]
                        open_[m][n] = []
                        ended[m][n] += 1
        if all(len(f) == episodes for f in found):
            return found
    raise AssertionError("the loop did not end")


class Modes(Sure):
    """The teacher's modes, as a policy."""

    noise = 0

    def act(self, obs, noise, memory):
        return self.distribution(obs).mode, None, {}


@pytest.mark.parametrize("deterministic", [True, False])
@pytest.mark.parametrize(("num_envs", "episodes"), [(1, 1), (1, 5), (4, 4), (4, 10), (7, 3), (3, 9)])
def test_demonstrate_is_the_naive_loop(num_envs, episodes, deterministic):
    shown = demonstrate(source(num_envs), Sure(), episodes, deterministic=deterministic)
    expected = played_episodes(num_envs, episodes, Modes() if deterministic else Sure())
    for m in range(M):
        assert shown_episodes(shown, m) == expected[m]
        steps = sum(len(e) for e in expected[m].values())
        assert int(shown.labels[m]) == int(shown.env_steps[m]) == steps


def test_every_episode_is_whole_and_known_by_its_first_observation():
    shown = demonstrate(source(4), Sure(), 10)
    for m in range(M):
        episodes = shown_episodes(shown, m)
        assert sorted(episodes) == list(range(10))
        names = set()
        for steps in episodes.values():
            length, _, name = steps[0][0]
            names.add(name)
            assert len(steps) == min(length, 9)
            assert [time for _, _, time in steps] == list(range(len(steps)))
            assert [obs for obs, _, _ in steps] == [(length, float(t), name) for t in range(len(steps))]
            assert [action for _, action, _ in steps] == [int(length + t) % 3 for t in range(len(steps))]
        assert len(names) == 10


def test_short_episodes_are_not_preferred():
    """The mean length is that of the distribution of lengths; taking the first to end would give about half of it."""
    members, episodes = 400, 4
    shown = demonstrate(source(4, members=members), Sure(), episodes)
    lengths = shown.labels.double() / episodes
    squares = (torch.arange(1_000_000).double() + 0.5) / 1_000_000
    expected = (1 + (12 * squares**2).floor()).clamp(max=9).mean()
    error = lengths.std() / members**0.5
    assert abs(lengths.mean() - expected) < 4 * error
    assert error < 0.1


def test_a_teacher_that_draws_is_not_its_mode():
    one, two = (demonstrate(source(4), Sure(), 8, deterministic=d) for d in (True, False))
    modes = [(s.examples.action == (s.examples.obs[..., 0] + s.examples.obs[..., 1]) % 3)[s.mask] for s in (one, two)]
    assert modes[0].all()
    assert 0.3 < modes[1].float().mean() < 0.85


def test_first_and_thinned_choose_steps_and_nothing_else():
    shown = demonstrate(source(4), Sure(), 10)
    for m in range(M):
        whole = shown_episodes(shown, m)
        for count in (1, 3, 10, 99):
            some = shown.first(count)
            assert shown_episodes(some, m) == {k: v for k, v in whole.items() if k < count}
            assert int(some.env_steps[m]) == sum(len(v) for k, v in whole.items() if k < count)
        for every in (1, 2, 4, 20):
            thin = shown.thinned(every)
            expected = {k: [step for step in v if step[2] % every == 0] for k, v in whole.items()}
            assert shown_episodes(thin, m) == expected
            assert int(thin.labels[m]) == sum(map(len, expected.values()))
            # thinning saves labels, but no steps
            assert torch.equal(thin.env_steps, shown.env_steps)
        both = shown.first(2).thinned(3)
        assert torch.equal(both.mask, shown.thinned(3).first(2).mask)
        assert int(both.env_steps[m]) == len(whole[0]) + len(whole[1])


def test_a_source_may_reuse_its_memory():
    """What it collected is valid until it collects again: it has to be copied."""
    plain, reusing = source(4), source(4)
    collect, kept = reusing.collect, []

    def overwriting(*arguments):
        seen = collect(*arguments).clone()
        kept.append(seen) if not kept else tree.map(torch.Tensor.copy_, kept[0], seen)
        return kept[0]

    reusing.collect = overwriting
    one, two = demonstrate(plain, Sure(), 10), demonstrate(reusing, Sure(), 10)
    for m in range(M):
        assert shown_episodes(one, m) == shown_episodes(two, m)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: demonstrate(source(2), Sure(), 0), "episodes: at least 1, not 0"),
        (lambda: demonstrate(source(2), Sure(), 1).first(0), "episodes: at least 1, not 0"),
        (lambda: demonstrate(source(2), Sure(), 1).thinned(0), "every: at least 1, not 0"),
    ],
)
def test_counts_below_one_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def arrays(steps=6):
    rng = np.random.default_rng(0)
    return rng.normal(size=(steps, 3)), rng.integers(0, 3, steps)


def test_from_arrays_gives_every_member_all_steps():
    obs, action = arrays()
    shown = Demonstrations.from_arrays(obs, action, source(2), done=[0, 0, 1, 0, 1, 0])
    assert shown.examples.obs.shape == (M, 6, 3)
    assert shown.examples.obs.dtype == torch.float32
    assert shown.examples.action.dtype == torch.int64
    assert shown.mask.all()
    for m in range(M):
        torch.testing.assert_close(shown.examples.obs[m], torch.as_tensor(obs).float())
        assert shown.examples.action[m].tolist() == action.tolist()
        assert shown.episode[m].tolist() == [0, 0, 0, 1, 1, 2]
        assert shown.time[m].tolist() == [0, 1, 2, 0, 1, 0]
    assert shown.thinned(2).mask[0].tolist() == [True, False, True, True, False, True]
    assert Demonstrations.from_arrays(obs, action, source(2)).time[0].tolist() == list(range(6))


def test_from_arrays_takes_lists_columns_and_whole_floats():
    obs, action = arrays()
    for given in (action.tolist(), action.reshape(-1, 1), action.astype(float), action.astype(np.uint8)):
        shown = Demonstrations.from_arrays(obs.tolist(), given, source(2))
        assert shown.examples.action[1].tolist() == action.tolist()


@pytest.mark.parametrize(
    ("ours", "number", "theirs"),
    [
        *(
            (ours, 200, theirs)
            for ours in (torch.uint8, torch.float32)
            for theirs in ("u1", "f2", ">f4", "f8", "i8", "O")
        ),
        *((torch.int64, number, theirs) for number in (2**40 + 1, -(2**24) - 1) for theirs in ("i8", ">i8", "f8", "O")),
    ],
)
def test_observations_become_what_the_source_gives(ours, number, theirs):
    """Bytes are bytes, whole numbers beyond what float32 holds keep their digits, whatever the array was of."""
    at = SimpleNamespace(spec=Spec("x", Box((3,)), Discrete(3), members=2, obs_dtype=ours))
    found = Demonstrations.from_arrays(np.full((4, 3), number).astype(theirs), np.zeros(4, int), at).examples.obs
    assert found.dtype == ours and (found == number).all()


@pytest.mark.parametrize(
    ("ours", "number", "message"),
    [
        (torch.uint8, 0.5, "obs: row 2 holds 0.5; it must be a whole number in 0 … 255"),
        (torch.uint8, 256, "obs: row 2 holds 256; it must be a whole number in 0 … 255"),
        (torch.uint8, -1, "obs: row 2 holds -1"),
        (torch.uint8, np.nan, "obs: row 2 holds nan"),
        (torch.int64, 1.5, "obs: row 2 holds 1.5"),
        (torch.float32, 1e300, "obs: row 2 of the demonstrations is not finite"),
    ],
)
def test_what_the_source_never_gives_is_refused(ours, number, message):
    at = SimpleNamespace(spec=Spec("x", Box((3,)), Discrete(3), members=2, obs_dtype=ours))
    obs = np.ones((4, 3))
    obs[2, 1] = number
    with pytest.raises(ValueError, match=message):
        Demonstrations.from_arrays(obs, np.zeros(4, int), at)


def test_choices_become_whole_numbers():
    choices = Demonstrations.from_arrays(np.array([0.0, 2.0]), np.array([1, 2]), source(2, Identity()))
    assert choices.examples.obs.dtype == torch.int64
    assert choices.examples.obs[0].tolist() == [0, 2]


def test_from_arrays_of_a_box_keeps_fractions():
    action = np.random.default_rng(0).uniform((-1, -0.5), (1, 0.25), size=(5, 2))
    shown = Demonstrations.from_arrays(np.zeros((5, 2)), action, source(2, Reach()))
    torch.testing.assert_close(shown.examples.action[1], torch.as_tensor(action).float())


def spoilt(array, row, value):
    array = np.array(array, float)
    array[row] = value
    return array


OBS, ACTION = arrays()


@pytest.mark.parametrize(
    ("given", "env", "message"),
    [
        ({"obs": spoilt(OBS, 4, np.nan)}, Countdown(), "obs: row 4 of the demonstrations is not finite"),
        ({"obs": spoilt(OBS, (2, 1), np.inf)}, Countdown(), "obs: row 2 of the demonstrations is not finite"),
        ({"action": spoilt(ACTION, 3, np.nan)}, Countdown(), "action: row 3 holds nan"),
        ({"obs": OBS[:, :2]}, Countdown(), r"obs: shape \(6, 2\) is neither \(3,\) nor a batch of it"),
        ({"obs": OBS[0]}, Countdown(), r"obs: one of Box\(3,\); at least one step \[B, ...\] is needed"),
        ({"obs": OBS[:0], "action": ACTION[:0]}, Countdown(), r"obs: 0 of Box\(3,\); at least one step"),
        ({"obs": np.float64(3)}, Countdown(), r"obs: shape \(\)"),
        ({"action": ACTION[:5]}, Countdown(), "action: 5 for 6 steps of Countdown-v0"),
        ({"action": np.zeros((6, 2))}, Countdown(), r"action: shape \(6, 2\)"),
        ({"action": spoilt(ACTION, 4, 3)}, Countdown(), "action: row 4 holds 3; it must be a whole number in 0 … 2"),
        ({"action": spoilt(ACTION, 5, -1)}, Countdown(), "action: row 5 holds -1; it must be a whole number"),
        ({"action": spoilt(ACTION, 5, 0.5)}, Countdown(), "action: row 5 holds 0.5; it must be a whole number"),
        ({"obs": np.array(["a"] * 18).reshape(6, 3)}, Countdown(), "obs: must hold numbers, not <U1"),
        ({"action": ACTION.astype(complex)}, Countdown(), "action: must hold numbers, not complex128"),
        ({"done": np.zeros(5)}, Countdown(), "done: 5 values for 6 steps"),
        ({"obs": np.array([0, 1, 2, 0, 1, 3])}, Identity(), "obs: row 5 holds 3; it must be a whole number in 0 … 2"),
        (
            {"obs": np.zeros((6, 2)), "action": np.zeros((6, 1))},
            Reach(),
            r"action: shape \(6, 1\) is neither \(2,\) nor a batch",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(given, env, message):
    with pytest.raises(ValueError, match=message):
        Demonstrations.from_arrays(**{"obs": OBS, "action": ACTION, "source": source(2, env)} | given)


@pytest.mark.parametrize("num_envs", [1, 4])
@pytest.mark.parametrize("every", [1, 2])
def test_what_is_saved_is_read(tmp_path, num_envs, every):
    """Episodes stay whole, in order, though several environments played them at the same time."""
    shown = demonstrate(source(num_envs), Sure(), 10).thinned(every)
    for member in range(M):
        shown.save(tmp_path / "shown.npz", source(num_envs), member)
        back = Demonstrations.from_npz(tmp_path / "shown.npz", source(3, members=3))
        assert (back.labels == shown.labels[member]).all()
        for m in range(3):
            found, expected = shown_episodes(back, m), shown_episodes(shown, member)
            assert sorted(found) == sorted(expected) == list(range(10))
            for k, steps in expected.items():
                assert [step[:2] for step in found[k]] == [step[:2] for step in steps]


def test_a_continuous_teacher_is_saved_and_read(tmp_path):
    class Home:
        noise = 0

        def memory(self, *shape):
            return None

        def distribution(self, obs):
            return Normal(-obs, torch.ones_like(obs))

        def act(self, obs, noise, memory):
            return self.distribution(obs).mode, None, {}

    shown = demonstrate(source(2, Reach()), Home(), 3)
    low, high = torch.tensor(Reach.action.low), torch.tensor(Reach.action.high)
    expected = (-shown.examples.obs).clamp(low, high)  # what was done: labels stay inside a bounded Box
    assert not torch.equal(expected, -shown.examples.obs)
    torch.testing.assert_close(shown.examples.action, expected)
    shown.save(tmp_path / "shown.npz", source(2, Reach()))
    back = Demonstrations.from_npz(tmp_path / "shown.npz", source(2, Reach()))
    assert back.labels.tolist() == [15, 15]
    torch.testing.assert_close(back.examples.action, (-back.examples.obs).clamp(low, high))


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_in_an_npz_is_refused_and_not_executed(tmp_path):
    trap = tmp_path / "executed"
    array = np.empty(1, object)
    array[0] = Malicious(trap)
    np.savez(tmp_path / "bad.npz", obs=OBS, action=array)
    with pytest.raises(ValueError, match=r"bad.npz' is not a readable .npz file: .*object instead of numbers"):
        Demonstrations.from_npz(tmp_path / "bad.npz", source(2))
    assert not trap.exists()
    (tmp_path / "pure.npz").write_bytes(pickle.dumps(Malicious(trap)))
    with pytest.raises(ValueError, match="not a readable"):
        Demonstrations.from_npz(tmp_path / "pure.npz", source(2))
    assert not trap.exists()
    pickle.loads((tmp_path / "pure.npz").read_bytes())  # the trap works
    assert trap.exists()


def npy(array):
    content = io.BytesIO()
    np.save(content, array)
    return content.getvalue()


def archive(path, **arrays):
    with path.open("wb") as file:
        np.savez(file, **arrays)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "there is no file"),
        (lambda p: p.mkdir(), "there is no file"),
        (lambda p: p.write_bytes(b""), "not a readable .npz"),
        (lambda p: p.write_bytes(b"obs,action\n1,2\n"), "not a readable .npz"),
        (lambda p: p.write_bytes(b"PK\x03\x04 no zip"), "not a readable .npz"),
        (lambda p: p.write_bytes(npy(OBS)), "not a readable .npz"),
        (lambda p: archive(p, obs=OBS), "lacks action; it has \\['obs'\\]"),
        (lambda p: archive(p, x=OBS), "lacks action, obs"),
        (lambda p: archive(p, obs=spoilt(OBS, 1, np.nan), action=ACTION), "obs: row 1"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, make, message):
    path = tmp_path / "shown.npz"
    make(path)
    with pytest.raises(ValueError, match=message) as caught:
        Demonstrations.from_npz(path, source(2))
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "shown.npz"
    np.savez_compressed(path, obs=np.random.default_rng(0).normal(size=(500, 3)), action=np.zeros(500, int))
    content = path.read_bytes()
    for length in (len(content) // 2, len(content) - 30):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="not a readable"):
            Demonstrations.from_npz(path, source(2))


def test_demonstrations_are_left_alone_by_their_parts():
    shown = demonstrate(source(2), Sure(), 4)
    mask = shown.mask.clone()
    shown.first(1), shown.thinned(5), replace(shown, mask=shown.mask & False)
    assert torch.equal(shown.mask, mask)


@pytest.mark.parametrize(
    ("observation", "action"),
    [
        (Discrete(4, start=3), Discrete(3, start=-1)),
        (MultiDiscrete((3, 2), start=(1, 5)), MultiDiscrete((2, 2), outer=(2, 1))),
        (Box((2, 2)), Box((2, 3), -1.0, 1.0)),
        (Dict.of({"a": Box((2,)), "b": Tuple((Discrete(3), MultiBinary((2,))))}), MultiBinary((3,))),
    ],
)
def test_any_space_is_saved_as_the_environment_has_it(tmp_path, observation, action):
    """Arrays of the environment in, a file of them out, and the same examples back."""

    def drawn(space, rows):
        if isinstance(space, Dict):
            return {key: drawn(inner, rows) for key, inner in space.spaces}
        if isinstance(space, Tuple):
            return tuple(drawn(inner, rows) for inner in space.spaces)
        if isinstance(space, Discrete):
            return rng.integers(space.n, size=rows) + space.start
        if isinstance(space, MultiDiscrete):
            shape = (rows, *space.outer)
            counts, start = (np.reshape(x, space.outer) for x in (space.nvec, space.start))
            return rng.integers(counts, size=shape) + start
        if isinstance(space, MultiBinary):
            return rng.integers(2, size=(rows, *space.shape))
        return rng.uniform(-1, 1, (rows, *space.shape)).astype(np.float32)

    rng = np.random.default_rng(0)
    at = SimpleNamespace(spec=Spec("x", observation, action, members=2))
    obs, acted = drawn(observation, 5), drawn(action, 5)
    made = Demonstrations.from_arrays(obs, acted, at)
    made.save(tmp_path / "all.npz", at, member=1)
    back = Demonstrations.from_npz(tmp_path / "all.npz", at)
    for one, other in zip(tree.leaves(made.examples), tree.leaves(back.examples), strict=True):
        assert torch.equal(one, other)
    with np.load(tmp_path / "all.npz") as file:
        assert np.array_equal(file["action"], acted)
        if not isinstance(observation, Dict):
            assert np.array_equal(file["obs"], obs)


# What followed


def test_what_followed_is_what_was_seen_next():
    """By the numbers in the observations: (length, time, name) is followed by (length, time + 1, name)."""
    shown = demonstrate(source(3), Sure(), 7)
    for m in range(M):
        terminations = set()
        for i in range(shown.mask.shape[1]):
            length, time, name = shown.examples.obs[m, i].tolist()
            assert shown.following.next_obs[m, i].tolist() == [length, time + 1, name]
            over = time + 1 >= length
            assert bool(shown.following.terminated[m, i]) is over and bool(shown.following.known[m, i])
            if over and shown.mask[m, i]:
                terminations.add(int(shown.episode[m, i]))
        assert 0 < int(shown.terminations[m]) == len(terminations) < 7
    assert torch.equal(shown.thinned(4).terminations, shown.terminations)
    examples, mask = shown.thinned(4).transitions
    assert torch.equal(mask, shown.thinned(4).mask) and examples.extras["next_obs"] is shown.following.next_obs


SIX = np.arange(12, dtype=np.float32).reshape(6, 2)


@pytest.mark.parametrize("named", [False, True])
def test_what_followed_in_arrays(named):
    """Successive rows, but for the last row of each episode; or what is said."""
    place = TensorSource(Reach(), id="Reach", num_envs=1, members=M)
    done, terminated = [0, 0, 1, 0, 0, 1], [0, 0, 1, 0, 0, 0]
    behind = {"next_obs": SIX + 100} if named else {}
    shown = Demonstrations.from_arrays(SIX, np.zeros((6, 2)), place, done=done, terminated=terminated, **behind)
    examples, mask = shown.transitions
    for m in range(M):
        for i in range(6):
            # The third row ends its episode by termination, so that nobody asks what followed; the last by the clock.
            assert bool(mask[m, i]) is (named or i != 5)
            if named or i not in (2, 5):
                wanted = SIX[i] + 100 if named else SIX[i + 1]
                assert examples.extras["next_obs"][m, i].tolist() == wanted.tolist()
            assert bool(examples.extras["terminated"][m, i]) is bool(terminated[i])
    assert shown.terminations.tolist() == [1, 1] and shown.episode[0].tolist() == [0, 0, 0, 1, 1, 1]


def test_a_termination_ends_an_episode():
    place = TensorSource(Reach(), id="Reach", num_envs=1, members=M)
    shown = Demonstrations.from_arrays(SIX, np.zeros((6, 2)), place, terminated=[0, 1, 0, 0, 0, 0])
    assert shown.episode[0].tolist() == [0, 0, 1, 1, 1, 1]


def test_what_followed_is_written_and_read(tmp_path):
    shown, place = demonstrate(source(3), Sure(), 7).thinned(2), source(3)
    shown.save(tmp_path / "one.npz", place, member=1)
    read = Demonstrations.from_npz(tmp_path / "one.npz", place)
    order = sorted(range(shown.mask.shape[1]), key=lambda i: (int(shown.episode[1, i]), int(shown.time[1, i])))
    kept = [i for i in order if shown.mask[1, i]]
    assert read.following.known.all()
    assert torch.equal(read.following.next_obs[0], shown.following.next_obs[1, kept])
    assert torch.equal(read.following.terminated[0], shown.following.terminated[1, kept])


def test_bad_consequences():
    place = TensorSource(Reach(), id="Reach", num_envs=1, members=M)

    def made(**more):
        return Demonstrations.from_arrays(SIX, np.zeros((6, 2)), place, **more)

    with pytest.raises(ValueError, match=r"^terminated: 5 values for 6 steps\."):
        made(terminated=[0] * 5)
    with pytest.raises(ValueError, match=r"^terminated: must be true or false, 1 or 0\."):
        made(terminated=[0, 0, 0, 0, 0, 2])
    with pytest.raises(ValueError, match=r"^next_obs: 5 for 6 steps of Reach\."):
        made(next_obs=SIX[:5])
    with pytest.raises(ValueError, match=r"^next_obs: row 1 of the demonstrations is not finite\."):
        made(next_obs=np.where(SIX == 3, np.nan, SIX))
    with pytest.raises(ValueError, match=r"^demonstrations: it is not known what followed"):
        replace(made(), following=None).transitions
