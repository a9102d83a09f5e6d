"""GymnasiumSource against naive loops over single environments, where every number is known."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv, VectorWrapper
from gymnasium.wrappers import (
    AtariPreprocessing,
    FlattenObservation,
    FrameStackObservation,
    OrderEnforcing,
    TimeLimit,
)
from torch import Tensor

from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core import checkpoint
from imitate.core.gymnasium import GymnasiumSource, _seed
from imitate.core.rollout import Carry, TensorSource
from imitate.policies import Random
from imitate_envs import CartPole
from imitate_envs.base import Discrete

needs_ale = pytest.mark.skipif(importlib.util.find_spec("ale_py") is None, reason="needs ale-py")
needs_box2d = pytest.mark.skipif(importlib.util.find_spec("Box2D") is None, reason="needs box2d")


class Counting(gymnasium.Env):
    """Shows (seed, episode, step). Episodes end as `ends` says, in turn: (length, terminated, truncated)."""

    action_space = spaces.Discrete(3)
    observation_space = spaces.Box(-np.inf, np.inf, (3,), np.float64)

    def __init__(self, ends=((3, True, False), (4, False, True), (2, True, True)), key: int = 1000):
        self.ends, self.key = ends, key

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        super().reset(seed=seed)
        if seed is not None:
            self.seed, self.episode = seed % self.key, -1
        self.episode += 1
        self.t = 0
        return self.show(), {}

    def show(self):
        return np.array([self.seed, self.episode, self.t], np.float64)

    def step(self, action):
        self.t += 1
        length, terminated, truncated = self.ends[self.episode % len(self.ends)]
        over = self.t >= length
        reward = 100.0 * self.episode + 10 * self.t + action
        return self.show(), reward, terminated and over, truncated and over, {}


class SeedLength(Counting):
    """An episode is as long as its seed says, and every step earns 1: returns reveal lengths and seeds."""

    def __init__(self):
        super().__init__(key=40)

    def step(self, action):
        self.t += 1
        over, odd = self.t > self.seed, self.seed % 2 == 1
        return self.show(), 1.0, over and odd, over and not odd, {}


class Image(Counting):
    observation_space = spaces.Box(0, 255, (8, 6, 3), np.uint8)

    def show(self):
        return np.full((8, 6, 3), 10 * self.episode + self.t, np.uint8)


class Cell(Counting):
    observation_space = spaces.Discrete(100)

    def show(self):
        return 10 * self.episode + self.t


class Arm(gymnasium.Env):
    """Observes the action that it was given, and insists that it is a legal one."""

    action_space = spaces.Box(np.array([-0.1, -1.0]), np.array([0.1, 0.7]), dtype=np.float64)
    observation_space = spaces.Box(-np.inf, np.inf, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert action in self.action_space
        return action.astype(np.float32), 0.0, False, False, {}


class Counter:
    """Counts the steps of an episode in its memory and acts by the count."""

    noise = 0

    def memory(self, *shape: int) -> Tensor:
        return torch.zeros(shape, dtype=torch.int64)

    def act(self, obs: Tensor, noise: Tensor | None, memory: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
        return memory % 3, memory + 1, {"count": memory}


class Reflex:
    """Pushes the cart to where the pole falls."""

    noise = 0

    def memory(self, *shape: int) -> None:
        return None

    def act(self, obs: Tensor, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        return (obs[..., 2] + 0.3 * obs[..., 3] > 0).long(), None, {}


class Constant(Reflex):
    def __init__(self, action: Tensor) -> None:
        self.action = action

    def act(self, obs: Tensor, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        return self.action.expand(*obs.shape[:2], *self.action.shape), None, {}


class Wrapped(VectorWrapper):
    """Changes nothing, but is no plain SyncVectorEnv."""


def vector(make_one: Callable[[], gymnasium.Env] | type, count: int, mode=AutoresetMode.SAME_STEP) -> SyncVectorEnv:
    return SyncVectorEnv([make_one] * count, autoreset_mode=mode)


def cartpoles(count: int, **kwargs: Any) -> VectorEnv:
    return gymnasium.make_vec("CartPole-v1", count, "sync", {"autoreset_mode": AutoresetMode.SAME_STEP}, **kwargs)


def naive(env: gymnasium.Env, seed: int, steps: int) -> list[tuple]:
    """The rows of one environment under `Counter`: obs, action, reward, next_obs, terminated, truncated."""
    rows, count = [], 0
    obs, _ = env.reset(seed=seed)
    for _ in range(steps):
        action = count % 3
        seen, reward, terminated, truncated, _ = env.step(action)
        rows.append((obs, action, reward, seen, terminated, truncated and not terminated))
        obs, count = seen, count + 1
        if terminated or truncated:
            (obs, _), count = env.reset(), 0
    return rows


@pytest.mark.parametrize("rollouts", [(20,), (1, 7, 12)])
@pytest.mark.parametrize("kind", [Counting, Image, Cell])
def test_every_number_is_that_of_a_naive_loop(kind, rollouts):
    source, policy = GymnasiumSource(vector(kind, 6), members=2, seed=5), Counter()
    trajectories = [source.collect(policy, steps) for steps in rollouts]
    ended = set()
    for m in range(2):
        for n in range(3):
            rows = naive(kind(), _seed(5, "env", 0, 3 * m + n), sum(rollouts))
            columns = [
                torch.cat([getattr(seen, name)[:, m, n] for seen in trajectories])
                for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated")
            ]
            for got, expected in zip(columns, zip(*rows, strict=True), strict=True):
                np.testing.assert_array_equal(got.numpy(), np.stack(expected))
            ended |= {(t, u) for *_, t, u in rows}
    assert ended == {(False, False), (True, False), (False, True)}


def test_no_row_joins_two_episodes_and_memory_follows_the_episode():
    seen = GymnasiumSource(vector(Counting, 4), members=2).collect(Counter(), 30)
    assert seen.obs.dtype == seen.next_obs.dtype == seen.reward.dtype == torch.float32
    torch.testing.assert_close(seen.next_obs[..., :2], seen.obs[..., :2])  # of one seed and one episode
    torch.testing.assert_close(seen.next_obs[..., 2], seen.obs[..., 2] + 1)
    torch.testing.assert_close(seen.extras["count"].float(), seen.obs[..., 2])
    ongoing = ~seen.done[:-1]
    torch.testing.assert_close(seen.next_obs[:-1][ongoing], seen.obs[1:][ongoing])
    assert not (seen.terminated & seen.truncated).any()


def test_a_policy_that_takes_over_starts_with_a_fresh_memory():
    source, first = GymnasiumSource(vector(Counting, 2)), Counter()
    source.collect(first, 2)
    assert (source.collect(Counter(), 1).extras["count"] == 0).all()
    assert (source.collect(first, 1).extras["count"] == 0).all()


def test_starts_and_the_memory_before():
    source, policy = GymnasiumSource(vector(Counting, 4), members=2), Counter()
    first, second = source.collect(policy, 5), source.collect(policy, 20)
    for seen in (first, second):
        torch.testing.assert_close(seen.starts, seen.obs[..., 2] == 0)
        torch.testing.assert_close(seen.memory, seen.extras["count"][0])
    assert first.starts[0].all() and not second.starts[0].any()
    assert (source.collect(Counter(), 1).memory == 0).all()
    source.load_state_dict(source.state_dict())
    assert source.collect(policy, 1).starts.all()
    assert source.collect(Constant(torch.tensor(1)), 1).memory is None


def test_the_spec():
    source = GymnasiumSource(cartpoles(4), members=2, seed=3)
    spec = source.spec
    assert (spec.id, spec.members, spec.num_envs, spec.max_steps, spec.seed) == ("CartPole-v1", 2, 2, 500, 3)
    assert (spec.observation, spec.action, spec.device) == (source.observation, source.action, source.device)
    assert (spec.obs_dtype, spec.frames, spec.reward_range) == (torch.float32, 1, None)
    assert GymnasiumSource(vector(lambda: TimeLimit(Counting(), 9), 1)).spec.max_steps == 9


def test_shapes_and_types():
    image = GymnasiumSource(vector(Image, 6), members=3).collect(Counter(), 5)
    assert image.obs.shape == image.next_obs.shape == (5, 3, 2, 8, 6, 3)
    assert image.obs.dtype == image.next_obs.dtype == torch.uint8
    cell = GymnasiumSource(vector(Cell, 6), members=3).collect(Counter(), 5)
    assert cell.obs.shape == cell.reward.shape == cell.done.shape == (5, 3, 2)
    assert cell.obs.dtype == torch.int64


def test_actions_are_clipped_for_the_environment_only():
    action = torch.tensor([3.0, -3.0])
    source = GymnasiumSource(vector(Arm, 4), members=2)
    seen = source.collect(Constant(action), 2)
    torch.testing.assert_close(seen.action, action.expand(2, 2, 2, 2))
    torch.testing.assert_close(seen.next_obs, torch.tensor([0.1, -1.0]).expand(2, 2, 2, 2))
    inside = torch.tensor([0.05, 0.25])
    torch.testing.assert_close(source.collect(Constant(inside), 1).next_obs, inside.expand(1, 2, 2, 2))


def test_members_and_environments_differ_and_the_seed_decides():
    policy = Reflex()
    first, again, other = (GymnasiumSource(cartpoles(6), members=2, seed=s).collect(policy, 3) for s in (0, 0, 1))
    assert len(first.obs[0].flatten(0, 1).unique(dim=0)) == 6
    torch.testing.assert_close(first.obs, again.obs, rtol=0, atol=0)
    assert (first.obs[0] != other.obs[0]).any(-1).all()


def test_cartpole_is_that_of_the_tensor_source():
    theirs = GymnasiumSource(cartpoles(12), members=3, seed=2)
    ours = TensorSource(CartPole(), id="CartPole-v1", num_envs=4, members=3, seed=2)
    ours.carry = Carry(*(theirs._last[0].clone() for _ in range(2)), ours.carry.elapsed, None)
    assert (theirs.id, theirs.action, theirs.spec.max_steps) == (ours.id, ours.action, ours.spec.max_steps)
    assert theirs.observation.shape == ours.observation.shape
    policy = Random(ours.action)  # one seed, one stream: one and the same noise
    a, b = theirs.collect(policy, 60), ours.collect(policy, 60)
    torch.testing.assert_close(a.action, b.action)
    first = (a.done.cumsum(0) - a.done.int()) == 0  # later episodes begin elsewhere
    assert a.done.any(0).all()
    for name in ("obs", "next_obs", "reward", "terminated", "truncated"):
        torch.testing.assert_close(getattr(a, name)[first], getattr(b, name)[first], rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_other_autoreset_modes_are_refused_with_the_remedy(mode):
    wrong = vector(lambda: gymnasium.make("CartPole-v1"), 4, mode)
    with pytest.raises(ValueError, match=f"{mode.name} is not supported") as caught:
        GymnasiumSource(wrong)
    remedy = str(caught.value).split(" or ")[1].rstrip(".")
    assert "imitate.make('CartPole-v1'" in str(caught.value)
    assert GymnasiumSource(eval(remedy)).num_envs == 4


def test_the_mode_is_not_read_from_metadata_that_environments_share():
    right = vector(Counting, 1)
    wrong = vector(Counting, 1, AutoresetMode.NEXT_STEP)
    assert right.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP  # as Gymnasium has it
    GymnasiumSource(right)
    vector(Counting, 1)
    with pytest.raises(ValueError, match="NEXT_STEP"):
        GymnasiumSource(wrong)
    Counting.metadata.pop("autoreset_mode")


def test_bad_input():
    with pytest.raises(ValueError, match="members: 3 members cannot share 4"):
        GymnasiumSource(vector(Counting, 4), members=3)

    class Told(Counting):
        observation_space = spaces.Dict({"a": spaces.Box(0, 1, (9, 9)), "mission": spaces.Text(9)})

    class Pair(Counting):
        action_space = spaces.Tuple([spaces.Discrete(3), spaces.Discrete(2)])

    for kind, name in ((Told, "observation: Text"), (Pair, "action: Tuple.*")):
        with pytest.raises(ValueError, match=f"^{name} is not supported: [^\n]*$"):
            GymnasiumSource(vector(kind, 1))
    with pytest.raises(ValueError, match="episodes"):
        GymnasiumSource(cartpoles(1)).play(Reflex(), 0, 0)


def test_a_missing_last_observation_is_an_error():
    class Forgetful(VectorWrapper):
        def step(self, actions):
            *rest, infos = self.env.step(actions)
            return *rest, {key: value for key, value in infos.items() if "final" not in key}

    with pytest.raises(RuntimeError, match="final_obs"):
        GymnasiumSource(Forgetful(vector(Counting, 2))).collect(Counter(), 5)


def play_alone(env: gymnasium.Env, policy, seed: int) -> float:
    """The return of one episode."""
    obs, _ = env.reset(seed=seed)
    total, over, memory = 0.0, False, policy.memory(1, 1)
    while not over:
        action, memory, _ = policy.act(torch.as_tensor(obs)[None, None].float(), torch.empty(1, 1, 0), memory)
        obs, reward, terminated, truncated, _ = env.step(action.item())
        total, over = total + float(reward), terminated or truncated
    return total


@pytest.mark.parametrize("wrap", [lambda envs: envs, Wrapped], ids=["sync", "any"])
def test_play_is_a_naive_loop_over_episodes_of_every_length(wrap):
    source = GymnasiumSource(
        vector(SeedLength, 4), members=2, seed=9, make_envs=lambda count: wrap(vector(SeedLength, count))
    )
    returns = source.play(Counter(), 70, seed=3)  # 3 waves of 24, of which 2 do not count
    expected = [[_seed(3, "evaluate", m, e) % 40 + 1 for e in range(70)] for m in range(2)]
    np.testing.assert_array_equal(returns.numpy(), expected)
    assert returns.dtype == torch.float32
    np.testing.assert_array_equal(source.play(Counter(), 5, seed=3).numpy(), np.array(expected)[:, :5])


def test_play_on_cartpole_is_a_naive_loop():
    source = GymnasiumSource(cartpoles(4), members=2)
    alone, policy = gymnasium.make("CartPole-v1"), Reflex()
    expected = [[play_alone(alone, policy, _seed(1, "evaluate", m, e)) for e in range(4)] for m in range(2)]
    np.testing.assert_array_equal(source.play(policy, 4, 1).numpy(), expected)


def test_play_is_paired():
    class Witness(Random):
        """Acts at random and remembers the first observations and all noise."""

        def act(self, obs, noise, memory):
            self.first = getattr(self, "first", obs.clone())
            self.heard = [*getattr(self, "heard", []), noise.clone()]
            return super().act(obs, noise, memory)

    source = GymnasiumSource(cartpoles(2))
    one, two = Witness(source.action), Witness(source.action)
    returns = source.play(one, 40, 7)
    source.collect(two, 5)
    del two.first, two.heard
    torch.testing.assert_close(source.play(two, 40, 7), returns, rtol=0, atol=0)
    torch.testing.assert_close(one.first, two.first, rtol=0, atol=0)
    assert (source.play(Witness(source.action), 40, 8) != returns).any()
    # The second wave hears the same, however long the first one lasted.
    short, long = Witness(source.action), Witness(source.action)
    original = short.act
    short.act = lambda obs, noise, memory: (torch.zeros_like(original(obs, noise, memory)[0]), None, {})
    source.play(short, 40, 7), source.play(long, 40, 7)
    assert len(short.heard) < len(long.heard)
    heard = {tuple(noise.flatten().tolist()) for noise in long.heard}
    assert len(heard) == len(long.heard)  # and not what the first one heard
    assert all(tuple(noise.flatten().tolist()) in heard for noise in short.heard)


def test_play_leaves_the_episodes_alone():
    alone, disturbed = (GymnasiumSource(cartpoles(4), members=2, seed=3) for _ in range(2))
    policy = Random(alone.action)
    expected = [alone.collect(policy, 8) for _ in range(2)][1]
    disturbed.collect(policy, 8)
    disturbed.play(policy, 3, seed=3)
    torch.testing.assert_close(disturbed.collect(policy, 8).next_obs, expected.next_obs, rtol=0, atol=0)


def test_play_builds_the_same_kind_of_environment():
    class Half(gymnasium.Wrapper):
        def step(self, action):
            obs, reward, *rest = self.env.step(action)
            return obs, reward / 2, *rest

    policy = Constant(torch.tensor(1))
    short = GymnasiumSource(cartpoles(2, max_episode_steps=3, wrappers=[Half]))
    assert short.max_steps == 3
    np.testing.assert_array_equal(short.play(policy, 2, 0).numpy(), [[1.5, 1.5]])
    by_hand = GymnasiumSource(vector(lambda: gymnasium.make("CartPole-v1", max_episode_steps=4), 2))
    assert (by_hand.id, by_hand.max_steps) == ("CartPole-v1", 4)
    np.testing.assert_array_equal(by_hand.play(policy, 1, 0).numpy(), [[4.0]])
    stage = by_hand._stage
    by_hand.play(policy, 1, 1)
    assert by_hand._stage is stage  # kept
    by_hand.close()
    assert by_hand._stage is None and stage is not None and stage.closed


def test_play_asks_for_a_builder_where_it_cannot_know():
    with pytest.raises(ValueError, match=r"make_envs: .* pass make_envs=lambda count"):
        GymnasiumSource(Wrapped(cartpoles(2))).play(Counter(), 1, 0)


def test_play_builds_by_the_functions_of_a_vector_made_by_hand():
    source = GymnasiumSource(vector(SeedLength, 2))
    np.testing.assert_array_equal(source.play(Counter(), 1, 3), [[_seed(3, "evaluate", 0, 0) % 40 + 1]])
    assert source.id == "SeedLength"


def test_one_environment_at_two_places_is_refused():
    shared, others = Counting(), [Counting(), Counting()]
    with pytest.raises(ValueError, match=r"^env: the function gave one environment twice"):
        GymnasiumSource(vector(lambda: shared, 2))
    source = GymnasiumSource(SyncVectorEnv([lambda: others[0]], autoreset_mode=AutoresetMode.SAME_STEP))
    with pytest.raises(ValueError, match=r"^env: the function gave one environment twice"):
        source.play(Counter(), 1, 0)


def test_play_refuses_a_builder_of_another_mode():
    source = GymnasiumSource(
        vector(Counting, 2), make_envs=lambda count: vector(Counting, count, AutoresetMode.NEXT_STEP)
    )
    with pytest.raises(ValueError, match="make_envs: autoreset mode NEXT_STEP"):
        source.play(Counter(), 1, 0)


def test_an_environment_of_ours_as_a_vector_env():
    kwargs = {"autoreset_mode": AutoresetMode.SAME_STEP}
    source = GymnasiumSource(gymnasium.make_vec("imitate/CartPole-v1", 6, **kwargs), members=2)
    assert source.max_steps == 500
    seen = source.collect(Random(source.action), 40)
    assert seen.done.any() and seen.obs.shape == (40, 2, 3, 4)
    assert (seen.next_obs[seen.terminated][..., 2].abs() > 0.2).all()  # fallen, not begun anew
    returns = source.play(Random(source.action), 5, 0)
    torch.testing.assert_close(source.play(Random(source.action), 5, 0), returns)
    assert len(returns.unique()) > 2


def test_a_saved_source_goes_on_with_new_episodes_repeatably(tmp_path):
    source, policy = GymnasiumSource(cartpoles(4), members=2, seed=4), Random(CartPole.action)
    begun = source.collect(policy, 6)
    assert source.state_dict()["taken"] == 6
    checkpoint.write(tmp_path, "source", source.state_dict(), {})
    going_on = source.collect(policy, 6)
    resumed = []
    for seed in (4, 4):
        other = GymnasiumSource(cartpoles(4), members=2, seed=seed)
        other.load_state_dict(checkpoint.read(tmp_path, "source")[0])
        resumed.append(other.collect(policy, 6))
    torch.testing.assert_close(resumed[0].obs, resumed[1].obs, rtol=0, atol=0)
    torch.testing.assert_close(resumed[0].action, going_on.action)  # the policy's stream goes on
    assert (resumed[0].obs[0] != begun.obs[0]).any(-1).all()  # new episodes
    with pytest.raises(RuntimeError, match=r"saved with \(members, num_envs\) = \(2, 2\)"):
        GymnasiumSource(cartpoles(4), members=4).load_state_dict(source.state_dict())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")  # by Gymnasium, from Python 3.12 on
def test_processes_give_the_same():
    one = GymnasiumSource(vector(Counting, 2))
    two = GymnasiumSource(
        AsyncVectorEnv([Counting] * 2, autoreset_mode=AutoresetMode.SAME_STEP),
    )
    a, b = one.collect(Counter(), 10), two.collect(Counter(), 10)
    two.close()
    for name in ("obs", "reward", "next_obs", "terminated", "truncated"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=0, atol=0)


class Grey(Counting):
    observation_space = spaces.Box(0, 255, (3, 2), np.uint8)

    def show(self):
        return np.full((3, 2), 10 * self.episode + self.t, np.uint8)


def test_stacked_frames_are_known():
    def stacked():
        return FrameStackObservation(Grey(), 4)

    source = GymnasiumSource(vector(stacked, 4), members=2)
    assert (source.frames, source.spec.obs_dtype) == (4, torch.uint8)
    seen = source.collect(Counter(), 9)
    assert torch.equal(seen.next_obs[:, :, :, :3], seen.obs[:, :, :, 1:])
    assert GymnasiumSource(vector(lambda: TimeLimit(OrderEnforcing(stacked()), 9), 1)).frames == 4
    others = (Grey, lambda: FlattenObservation(stacked()))
    assert [GymnasiumSource(vector(made, 1)).frames for made in others] == [1, 1]
    assert GymnasiumSource(Wrapped(vector(stacked, 1))).frames == 1
    assert GymnasiumSource(Wrapped(vector(stacked, 1)), frames=4).frames == 4
    assert GymnasiumSource(vector(stacked, 1), frames=1).frames == 1
    with pytest.raises(ValueError, match=r"frames: observations Box\(4, 3, 2\) are no stack of 3"):
        GymnasiumSource(vector(stacked, 1), frames=3)


# The Arcade Learning Environment


def pong(count, **options):
    from imitate.sources import make

    return make("ALE/Pong-v5", num_envs=count, members=2, seed=3, env_kwargs=options)


@needs_ale
def test_atari_games_are_stacks_of_grey_frames_with_whole_episodes():
    source = pong(2, max_num_frames_per_episode=48)
    assert (source.observation.shape, source.spec.obs_dtype, source.spec.frames) == ((4, 84, 84), torch.uint8, 4)
    assert (source.id, source.action, source.max_steps) == ("ALE/Pong-v5", Discrete(6), 12)
    seen = source.collect(Random(source.action), 40)
    assert torch.equal(seen.next_obs[:, :, :, :3], seen.obs[:, :, :, 1:])  # also where an episode ends
    assert torch.equal(seen.next_obs[:-1][~seen.done[:-1]], seen.obs[1:][~seen.done[:-1]])
    assert seen.truncated.any() and not seen.terminated.any()
    begun = seen.obs[1:][seen.truncated[:-1]]
    assert not begun[:, :3].any() and begun[:, 3].flatten(1).any(1).all()
    assert source.play(Random(source.action), 2, 0).shape == (2, 2)
    source.close()


@needs_ale
def test_each_atari_game_has_a_seed_of_its_own():
    policy = Constant(torch.tensor(2))
    one, again = (pong(2).collect(policy, 60) for _ in range(2))
    assert torch.equal(one.next_obs, again.next_obs)
    assert len(one.next_obs[40].flatten(0, 1).unique(dim=0)) == 4
    from imitate.sources import make

    alone = make("ALE/Pong-v5", num_envs=1, members=1, seed=3).collect(policy, 60)
    assert torch.equal(alone.next_obs[:, 0, 0], one.next_obs[:, 0, 0])


@needs_ale
def test_atari_games_are_those_of_gymnasiums_wrappers():
    """Without randomness the same frames, rewards and ends; at the start of an episode the rest of a stack is black."""
    pytest.importorskip("cv2")
    source = pong(1, repeat_action_probability=0.0, noop_max=0)
    game = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0)
    expected = FrameStackObservation(AtariPreprocessing(game, noop_max=0), 4, padding_type="zero")
    actions = np.random.default_rng(0).integers(0, 6, 1_200)
    obs, _ = expected.reset(seed=0)
    for action in actions.tolist():
        seen = source.collect(Constant(torch.tensor(action)), 1)
        np.testing.assert_array_equal(seen.obs[0, 0, 0].numpy(), obs)
        obs, reward, terminated, truncated, _ = expected.step(action)
        np.testing.assert_array_equal(seen.next_obs[0, 0, 0].numpy(), obs)
        assert (seen.reward[0, 0, 0], seen.terminated[0, 0, 0]) == (reward, terminated)
        if terminated or truncated:
            obs, _ = expected.reset()


@needs_box2d
def test_ppo_runs_on_lunar_lander():
    from imitate.sources import make

    source = make("LunarLander-v3", num_envs=4, members=2)
    ppo = PPO(source, PPOConfig(steps=256, rollout=32, batch_size=32, epochs=2))
    for _ in range(2):
        metrics = ppo.step()
    assert all(metric.shape == (2,) and metric.isfinite().all() for metric in metrics.values())
    assert ppo.progress.finished
    returns = source.play(ppo.policy, 3, 0)
    assert returns.shape == (2, 3) and (returns < 0).any()
    source.close()


@pytest.mark.gpu
def test_a_device_gets_the_same():
    here, there = (GymnasiumSource(cartpoles(6), members=2, device=device) for device in ("cpu", "cuda"))
    for _ in range(2):
        a, b = here.collect(Reflex(), 60), there.collect(Reflex(), 60)
        assert a.done.any() and b.obs.device.type == b.starts.device.type == "cuda"
        for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "starts"):
            torch.testing.assert_close(getattr(a, name), getattr(b, name).cpu(), rtol=0, atol=0)
    torch.testing.assert_close(here.play(Reflex(), 3, 0), there.play(Reflex(), 3, 0).cpu())
