"""Sources around sources, and sources, reward models and policies of a user's own with the fewest names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.core.types import Rollout
from imitate.core.wrappers import Recorded, Relabelled, Viewed, without_mask
from imitate.experiment import evaluate
from imitate_envs.base import Box, Dict, Discrete, MultiBinary
from tests.oracles import Remembering, Walk
from tests.resumed import assert_resumes

M, N = 2, 3


def source(env=None, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=seed)


def place_alone(obs):
    return obs[..., :1]


class Spy:
    """A policy that walks outwards, and keeps the shapes that it sees."""

    noise = 1

    def __init__(self):
        self.shapes = set()

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        self.shapes.add(tuple(leaf.shape[2:] for leaf in tree.leaves(obs)))
        first = tree.leaves(obs)[0]
        drawn = (3 * noise[..., 0]).long() if noise is not None else torch.ones(first.shape[:2], dtype=torch.int64)
        return drawn, None, {"seen": first.flatten(2)[..., 0]}


# Viewed


def test_a_policy_sees_the_view_and_extras_keep_the_whole():
    viewed, plain = Viewed(source(), place_alone, Box((1,))), source()
    policy = Spy()
    for _ in range(2):
        found, expected = viewed.collect(policy, 5), plain.collect(Spy(), 5)
        assert policy.shapes == {((1,),)}
        assert torch.equal(found.extras["obs"], expected.obs) and found.extras["obs"].shape == (5, M, N, 2)
        assert torch.equal(found.obs, expected.obs[..., :1])
        assert torch.equal(found.next_obs, expected.next_obs[..., :1])
        assert torch.equal(found.extras["seen"], expected.obs[..., 0])
        for name in ("action", "reward", "terminated", "truncated", "starts"):
            assert torch.equal(getattr(found, name), getattr(expected, name))
    assert viewed.spec == replace(plain.spec, observation=Box((1,)))
    assert torch.equal(viewed.play(Spy(), 4, 3), plain.play(Spy(), 4, 3))
    viewed.play(policy, 2, 3)
    assert policy.shapes == {((1,),)}


def test_a_memory_goes_on_behind_a_view():
    """The driver of the source stays one and the same, so that its memory is not begun anew each rollout."""
    viewed, plain = Viewed(source(), lambda obs: obs, Box((2,))), source()
    policy = Remembering()
    for _ in range(3):
        found, expected = viewed.collect(policy, 4), plain.collect(policy, 4)
        assert torch.equal(found.extras["count"], expected.extras["count"])
        assert all(map(torch.equal, tree.leaves(found.memory), tree.leaves(expected.memory)))
    assert not (found.memory["count"] == 3).all()


def test_views_around_views_keep_the_whole():
    viewed = Viewed(Viewed(source(), lambda obs: 2 * obs, Box((2,))), place_alone, Box((1,)))
    found = viewed.collect(Spy(), 4)
    assert found.extras["obs"].shape == (4, M, N, 2)
    assert torch.equal(found.obs, 2 * found.extras["obs"][..., :1])


def test_a_view_may_change_the_type():
    viewed = Viewed(source(), lambda obs: (obs[..., 0] > 0).long(), Discrete(2), obs_dtype=torch.int64)
    assert viewed.spec.obs_dtype == torch.int64 and viewed.spec.frames == 1
    ppo = PPO(viewed, PPOConfig(steps=12, rollout=4, batch_size=6, hidden=(4,)))
    ppo.step()
    assert ppo.policy.observation == Discrete(2)


def test_ppo_learns_behind_a_view_and_resumes(tmp_path):
    def build(seed):
        config = PPOConfig(steps=100, rollout=4, batch_size=4, epochs=2, hidden=(4,), gru=3)
        return PPO(Viewed(source(seed=seed), place_alone, Box((1,))), config)

    assert_resumes(build, tmp_path)


# Relabelled


class Outwards:
    """A reward model without anything to learn: the distance from the origin at the end of a step."""

    def __call__(self, rollout):
        return rollout.next_obs[..., 0].abs()

    def learn(self, rollout):
        return {}


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_rewards_are_replaced(share):
    relabelled, plain = Relabelled(source(), Outwards(), share=share), source()
    found, expected = relabelled.collect(Spy(), 6), plain.collect(Spy(), 6)
    model = expected.next_obs[..., 0].abs()
    torch.testing.assert_close(found.reward, (1 - share) * model + share * expected.reward)
    if share in (0.0, 1.0):
        assert torch.equal(found.reward, expected.reward if share else model)
    assert torch.equal(relabelled.rollout.reward, expected.reward)  # what the model learns from
    assert torch.equal(found.obs, expected.obs)
    # Evaluation counts the environment's own.
    assert torch.equal(relabelled.play(Spy(), 5, 1), plain.play(Spy(), 5, 1))


def test_a_relabelled_source_knows_no_range_of_rewards():
    place = source()
    place.spec = replace(place.spec, reward_range=(0.0, 1.0), final_reward_range=(0.0, 0.0))
    relabelled = Relabelled(place, Outwards())
    assert relabelled.spec.reward_range is None and relabelled.spec.final_reward_range is None
    assert replace(relabelled.spec, reward_range=(0.0, 1.0), final_reward_range=(0.0, 0.0)) == place.spec


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_that_is_none(share):
    with pytest.raises(ValueError, match=r"^share: must be in \[0, 1\], not "):
        Relabelled(source(), Outwards(), share=share)


# Recorded


def test_a_witness_is_shown_each_rollout_as_it_is():
    shown = []
    recorded = Recorded(source(), shown.append)
    rollouts = [recorded.collect(Spy(), 3) for _ in range(2)]
    for seen, rollout in zip(shown, rollouts, strict=True):
        for a, b in zip(tree.leaves(seen), tree.leaves(rollout), strict=True):
            assert torch.equal(a, b) and a.data_ptr() != b.data_ptr()
    plain = source()
    assert torch.equal(recorded.play(Spy(), 3, 0), plain.play(Spy(), 3, 0)) and len(shown) == 2
    assert recorded.spec == plain.spec


# Masks


class Masked:
    """`Walk` with a mask of its three actions, alone or beside two other observations."""

    step_noise, reset_noise, max_steps, action = Walk.step_noise, Walk.reset_noise, 7, Discrete(3)

    def __init__(self, named):
        self.named, self.walk = named, Walk()
        inner = {"place": Box((1,)), "drift": Box((1,))} if named else {"observation": Box((2,))}
        self.observation = Dict.of({**inner, "action_mask": MultiBinary((3,))})

    def reset(self, noise):
        return self.walk.reset(noise)

    def observe(self, state):
        mask = torch.ones(*state.place.shape, 3, dtype=torch.uint8)
        mask[..., 0] = state.place > 0
        seen = self.walk.observe(state)
        inner = {"place": seen[..., :1], "drift": seen[..., 1:]} if self.named else {"observation": seen}
        return {**inner, "action_mask": mask}

    def step(self, state, action, noise):
        return self.walk.step(state, action, noise)


def test_without_a_mask_that_stands_beside_one_observation():
    place = source(Masked(named=False))
    found = without_mask(place)
    assert found.spec.observation == Box((2,)) and found.spec.obs_dtype == torch.float32
    seen = found.collect(Spy(), 3)
    assert seen.obs.shape == (3, M, N, 2)
    assert torch.equal(seen.extras["obs"]["observation"], seen.obs)
    assert seen.extras["obs"]["action_mask"].shape == (3, M, N, 3)


def test_without_a_mask_that_stands_beside_several():
    found = without_mask(source(Masked(named=True)))
    assert found.spec.observation == Dict.of({"place": Box((1,)), "drift": Box((1,))})
    assert found.spec.obs_dtype == {"place": torch.float32, "drift": torch.float32}
    assert found.collect(Spy(), 3).obs.keys() == {"place", "drift"}


def test_without_a_mask_where_there_is_none():
    place = source()
    assert without_mask(place) is place


# Of a user's own: three names, two, three


class Line:
    """A source without torch's or our machinery: a number goes up and down, in numpy, three steps an episode."""

    def __init__(self, seed=0):
        self.spec = Spec("Line-v0", Box((1,)), Discrete(2), members=M, num_envs=N, max_steps=3, seed=seed)
        self.place = torch.zeros(M, N)
        self.time = torch.zeros(M, N)
        self.drawn = torch.zeros((), dtype=torch.int64)

    def collect(self, policy, steps):
        rows = []
        for _ in range(steps):
            rng = np.random.default_rng([self.spec.seed, int(self.drawn)])
            self.drawn += 1
            obs = self.place.clone().unsqueeze(-1)
            starts = self.time == 0
            noise = torch.as_tensor(rng.random((M, N, policy.noise)), dtype=torch.float32)
            action, _, extras = policy.act(obs, noise, policy.memory(M, N))
            self.place += 0.5 * (2 * action - 1)
            self.time += 1
            reward, next_obs, done = self.place.clone(), self.place.clone().unsqueeze(-1), self.time == 3
            self.place[done], self.time[done] = 0.0, 0.0
            rows.append((obs, action, reward, next_obs, torch.zeros_like(done), done, starts, extras))
        *columns, extras = zip(*rows, strict=True)
        *parts, starts = (torch.stack(column) for column in columns)
        return Rollout(*parts, {name: torch.stack([e[name] for e in extras]) for name in extras[0]}, starts=starts)

    def play(self, policy, episodes, seed):
        place, total = torch.zeros(M, episodes), torch.zeros(M, episodes)
        rng = np.random.default_rng(seed)
        for _ in range(3):
            noise = torch.as_tensor(rng.random((M, episodes, policy.noise)), dtype=torch.float32)
            action, _, _ = policy.act(place.unsqueeze(-1), noise, policy.memory(M, episodes))
            place = place + 0.5 * (2 * action - 1)
            total += place
        return total


class Downwards:
    """A reward model that learns how low it has been: nothing but `__call__` and `learn`."""

    def __init__(self):
        self.lowest = torch.zeros(M, 1)

    def __call__(self, rollout):
        return -rollout.next_obs[..., 0] - self.lowest

    def learn(self, rollout):
        self.lowest.copy_(torch.minimum(self.lowest, rollout.next_obs[..., 0].amin((0, 2)).unsqueeze(1)))
        return {"lowest": self.lowest.squeeze(1).clone()}


class Coin:
    """A policy that is nothing but `noise`, `memory` and `act`."""

    noise = 1

    def memory(self, *shape):
        return None

    def act(self, obs, noise, memory):
        drawn = torch.full(obs.shape[:2], 0.9) if noise is None else noise[..., 0]
        return (drawn > 0.5).long(), None, {}


def names(thing):
    return {name for name in vars(type(thing)) if not name.startswith("__")} | {"spec"} & vars(thing).keys()


def test_how_many_names_there_are():
    assert names(Line()) == {"spec", "collect", "play"}
    assert names(Downwards()) == {"learn"} and callable(Downwards())
    assert names(Coin()) == {"noise", "memory", "act"}


def test_a_source_of_ones_own_is_learnt_in():
    ppo = PPO(Line(), PPOConfig(steps=2000, rollout=12, batch_size=36, epochs=4, hidden=(8,), lr=1e-2))
    while not ppo.progress.finished:
        ppo.step()
    found = evaluate(ppo.policy, ppo.source, episodes=5, deterministic=True)
    assert found.mean == 3.0  # .5 + 1 + 1.5: up, always


class Learns:
    """PPO on a reward model of one's own, as an algorithm of one's own does it."""

    def __init__(self, seed):
        self.source, self.reward = Line(seed), Downwards()
        self.relabelled = Relabelled(self.source, self.reward)
        self.rl = PPO(self.relabelled, PPOConfig(steps=2000, rollout=12, batch_size=12, epochs=2, hidden=(8,), lr=1e-2))

    @property
    def policy(self):
        return self.rl.policy

    @property
    def progress(self):
        return self.rl.progress

    def step(self):
        return self.rl.step() | self.reward.learn(self.relabelled.rollout)


def test_a_reward_model_of_ones_own_is_learnt_from_and_resumed(tmp_path):
    assert_resumes(Learns, tmp_path)
    learns = Learns(0)
    for _ in range(30):
        learns.step()
    assert (learns.reward.lowest == -1.5).all()
    assert evaluate(learns.policy, learns.source, episodes=5, deterministic=True).mean == -3.0


def test_a_policy_of_ones_own_acts_and_is_evaluated():
    seen = Line().collect(Coin(), 6)
    assert seen.action.shape == (6, M, N) and len(seen.action.unique()) == 2
    assert evaluate(Coin(), Line(), episodes=4, deterministic=True).mean == 3.0
    in_ours = source().collect(Coin(), 5)
    assert in_ours.action.unique().tolist() == [0, 1]
    assert nets.policy(Line()).noise == Coin.noise


def test_a_policy_of_ones_own_is_a_driver_behind_wrappers():
    shown = []
    stacked = Recorded(Relabelled(Viewed(source(), place_alone, Box((1,))), Outwards()), shown.append)
    seen = stacked.collect(Coin(), 5)
    assert torch.equal(seen.reward, seen.next_obs[..., 0].abs()) and seen.obs.shape == (5, M, N, 1)
    assert torch.equal(shown[0].reward, seen.reward)
    assert stacked.play(Coin(), 3, 0).shape == (M, 3)
