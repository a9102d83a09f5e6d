import math

import pytest
import torch

from imitate.core import checkpoint, rollout, tree
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource, clip
from imitate.policies import Mixture, Random
from imitate_envs.base import Box, Discrete
from tests import oracles
from tests.oracles import Bandit, Identity, Reach, Recorded, Remembering, Walk

M, N = 2, 3


def source(env, members=M, num_envs=N, seed=0):
    return TensorSource(env, id="test", num_envs=num_envs, members=members, seed=seed)


def joined(parts):
    return tree.map(lambda *xs: torch.cat(xs), parts[0], *parts[1:])


class Wild:
    """Gaussian actions far outside of the box."""

    noise = 2

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return 3 * (2 * noise - 1) + obs, None, {}


@pytest.mark.parametrize(
    ("env", "policy"),
    [
        (Walk(), Remembering()),
        (Walk(limit=0.6, max_steps=4), Remembering()),
        (Reach(), Wild()),
        (Reach(), Random(Reach.action)),
        (Walk(), Mixture(Remembering(), Random(Walk.action), torch.tensor(0.5))),
    ],
)
def test_collect_is_the_plain_loop(env, policy, monkeypatch):
    monkeypatch.setattr(rollout, "Stream", lambda *args: Recorded(Stream(*args)))
    mine = source(env)
    seen = joined([mine.collect(policy, steps) for steps in (9, 1, 13)])
    first, *dynamics = mine.dynamics.handed
    expected = oracles.rollout(env, policy, first, torch.cat(mine.decisions.handed), torch.cat(dynamics))
    assert expected["truncated"].sum() > 0
    assert isinstance(env, Reach) or expected["terminated"].sum() > 0
    for name, value in expected.items():
        found = seen.extras["count"] if name == "count" else getattr(seen, name)
        assert found.dtype == value.dtype, name
        torch.testing.assert_close(found, value, rtol=1e-6, atol=1e-6, msg=name)
    assert not (seen.terminated & seen.truncated).any()


def test_next_obs_is_the_one_before_the_reset_and_obs_the_one_after_it():
    seen = source(Walk()).collect(Remembering(), 60)
    ended = seen.done[:-1]
    assert ended.any()
    assert torch.equal(seen.next_obs[:-1][~ended], seen.obs[1:][~ended])
    assert (seen.next_obs[:-1][ended] != seen.obs[1:][ended]).any(-1).all()
    place = seen.next_obs[..., 0].abs()
    assert torch.equal(place > 1, seen.terminated)  # the last observation of an episode is really the last
    assert (seen.obs[..., 0].abs() <= 0.5)[1:][ended].all()  # where `Walk` begins


def test_termination_at_the_time_limit_is_termination():
    seen = source(Bandit(max_steps=1)).collect(Random(Bandit.action), 5)
    assert seen.terminated.all()
    assert not seen.truncated.any()


def test_the_clock_starts_anew_with_each_episode():
    env = Walk(limit=math.inf, max_steps=4)
    seen = source(env).collect(Remembering(), 13)
    assert torch.equal(seen.truncated[:, 0, 0], torch.tensor([(t + 1) % 4 == 0 for t in range(13)]))


def test_memory_is_that_of_the_episode():
    seen = source(Walk()).collect(Remembering(), 40)
    count = torch.full((M, N), 3)
    for t in range(40):
        assert torch.equal(seen.extras["count"][t], count)
        count = torch.where(seen.done[t], 3, count + 1)


def test_a_policy_that_takes_over_brings_its_own_memory():
    mine, one, two = source(Walk(limit=math.inf, max_steps=100)), Remembering(), Remembering()
    mine.collect(one, 5)
    assert mine.collect(one, 1).extras["count"][0, 0, 0] == 8
    taken = mine.collect(two, 1)
    assert taken.extras["count"][0, 0, 0] == 3
    assert mine.carry.elapsed[0, 0] == 7  # the episode itself goes on


def test_the_action_is_recorded_as_given_and_clipped_for_the_environment():
    seen = source(Reach(max_steps=100)).collect(Wild(), 20)
    low, high = torch.tensor(Reach.action.low), torch.tensor(Reach.action.high)
    assert (seen.action > high).any()
    assert (seen.action < low).any()
    torch.testing.assert_close(seen.next_obs - seen.obs, 0.5 * seen.action.clamp(low, high))


@pytest.mark.parametrize(
    ("space", "expected"),
    [
        (Discrete(3), [[5.0, -5.0], [0.1, 0.2]]),
        (Box((2,), -1.0, 2.0), [[2.0, -1.0], [0.1, 0.2]]),
        (Box((2,), (-1.0, -2.0), (1.0, 0.1)), [[1.0, -2.0], [0.1, 0.1]]),
        (Box((2,), (-1.0, -2.0), 3.0), [[3.0, -2.0], [0.1, 0.2]]),
        (Box((2,)), [[5.0, -5.0], [0.1, 0.2]]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clip(space, expected, dtype):
    action = torch.tensor([[5.0, -5.0], [0.1, 0.2]], dtype=dtype)
    found = clip(space, action)
    assert found.dtype == dtype
    torch.testing.assert_close(found, torch.tensor(expected, dtype=dtype))


def test_the_same_seed_gives_the_same_run_and_another_another():
    a, b, c = (source(Walk(), seed=s).collect(Remembering(), 10) for s in (0, 0, 1))
    assert torch.equal(a.obs, b.obs)
    assert torch.equal(a.action, b.action)
    assert not torch.equal(a.obs, c.obs)


def test_environments_are_unlike_each_other():
    obs = source(Walk()).collect(Remembering(), 1).obs.flatten(0, 2)
    assert len(obs.unique(dim=0)) == M * N


def test_a_rollout_survives_the_next_one():
    mine = source(Walk())
    seen = mine.collect(Remembering(), 5)
    kept = seen.clone()
    mine.collect(Remembering(), 5)
    assert torch.equal(seen.obs, kept.obs)


@pytest.mark.parametrize("members", [0, -1])
def test_no_members_is_refused(members):
    with pytest.raises(ValueError, match="at least 1"):
        source(Walk(), members=members)
    with pytest.raises(ValueError, match="at least 1"):
        source(Walk(), num_envs=members)


# Saving and going on

MAKERS = {
    "memory": (Walk, Remembering),
    "tensor state": (Reach, lambda: Random(Reach.action)),
    "discrete observations": (Identity, lambda: Random(Discrete(3))),
    "memory in memory": (Walk, lambda: Mixture(Remembering(), Remembering(), torch.tensor(0.5))),
}


@pytest.mark.parametrize("through_disk", [False, True])
@pytest.mark.parametrize("kind", MAKERS)
def test_a_restored_source_goes_on_bit_for_bit(kind, through_disk, tmp_path):
    env, policy = (make() for make in MAKERS[kind])
    mine = source(env)
    mine.collect(policy, 5)  # an odd number: episodes and memories are under way
    state = tree.map(torch.clone, mine.state_dict())
    if through_disk:
        checkpoint.write(tmp_path, "source", state, {})
        state = checkpoint.read(tmp_path, "source")[0]
    expected = joined([mine.collect(policy, 4), mine.collect(policy, 7)])

    other = source(env, seed=77)
    other.collect(policy, 3)
    other.load_state_dict(state)
    again = tree.map(torch.clone, other.state_dict())  # a run that is saved before its first step loses nothing either
    assert dict(tree.flatten(again)).keys() == dict(tree.flatten(mine.state_dict())).keys()
    newest = source(env, seed=78)
    newest.load_state_dict(again)
    for restored in (other, newest):
        fresh_policy = MAKERS[kind][1]()
        found = joined([restored.collect(fresh_policy, 4), restored.collect(fresh_policy, 7)])
        for a, b in zip(tree.leaves(found), tree.leaves(expected), strict=True):
            assert a.dtype == b.dtype
            assert torch.equal(a, b)


def test_a_source_of_another_size_is_refused():
    state = source(Walk(), num_envs=4).state_dict()
    with pytest.raises(RuntimeError, match=r"\(2, 4\).*\(2, 3\)"):
        source(Walk()).load_state_dict(state)


# Evaluation


@pytest.mark.parametrize(
    ("env", "policy"), [(Walk(max_steps=60), Remembering()), (Reach(max_steps=3), Random(Reach.action))]
)
def test_play_gives_the_returns_of_whole_episodes(env, policy, monkeypatch):
    """By a loop of its own over the noise that `play` drew: 60 steps are more than one of its blocks."""
    streams = {}

    def make(seed, name, device):
        return streams.setdefault(name, Recorded(Stream(seed, name, device)))

    mine = source(env)
    monkeypatch.setattr(rollout, "Stream", make)
    returns = mine.play(policy, 4, seed=5)
    first, *dynamics = streams["evaluate"].handed
    seen = oracles.rollout(env, policy, first, torch.cat(streams["evaluate-policy"].handed), torch.cat(dynamics))
    assert returns.shape == (M, 4)
    for m in range(M):
        for e in range(4):
            done = (seen["terminated"] | seen["truncated"])[:, m, e]
            length = int(done.int().argmax()) + 1
            assert done[length - 1]
            torch.testing.assert_close(returns[m, e], seen["reward"][:length, m, e].sum(), rtol=1e-5, atol=1e-5)


class Always:
    """One choice, whatever is seen; asks for `noise` uniforms and ignores them."""

    def __init__(self, choice, noise=0):
        self.choice, self.noise = choice, noise

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        return torch.full(obs.shape[:-1], self.choice), None, {}


def test_play_is_paired_and_repeatable():
    mine, random = source(Bandit()), Random(Bandit.action)
    once = mine.play(random, 200, seed=1)
    assert torch.equal(once, mine.play(random, 200, seed=1))
    assert not torch.equal(once, mine.play(random, 200, seed=2))
    # On the same uniforms, the arm that pays where u < .2 never wins where the one that pays where u < .8 loses.
    worse, better = mine.play(Always(0), 200, seed=1), mine.play(Always(1), 200, seed=1)
    assert (worse <= better).all()
    assert abs(float(better.mean()) - 0.8) < 0.1
    assert abs(float(worse.mean()) - 0.2) < 0.1


def test_what_a_policy_consumes_does_not_move_the_world():
    plain, greedy_for_noise = Always(1), Always(1, noise=5)
    assert torch.equal(source(Walk()).play(plain, 6, seed=0), source(Walk()).play(greedy_for_noise, 6, seed=0))
    one, two = (source(Walk()).collect(policy, 20) for policy in (plain, greedy_for_noise))
    assert torch.equal(one.next_obs, two.next_obs)


def test_play_leaves_the_source_alone():
    mine, twin = source(Walk()), source(Walk())
    policy = Remembering()
    mine.collect(policy, 5), twin.collect(policy, 5)
    mine.play(policy, 3, seed=0)
    a, b = mine.collect(policy, 9), twin.collect(policy, 9)
    assert all(torch.equal(x, y) for x, y in zip(tree.leaves(a), tree.leaves(b), strict=True))


def test_nothing_collected_carries_a_gradient():
    weight = torch.nn.Parameter(torch.ones(2))

    class Learnt(Wild):
        def act(self, obs, noise, memory):
            return obs * weight, None, {"weight": weight * torch.ones(M, N, 2)}

    seen = source(Reach()).collect(Learnt(), 2)
    assert not any(leaf.requires_grad for leaf in tree.leaves(seen))
