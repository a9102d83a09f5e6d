"""Numbers that are not finite are found where they come in, and in what is learnt. Letters: M members."""

import math
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

import imitate
from imitate import nets
from imitate.core.finite import LARGEST, finite, flaw
from imitate.core.gymnasium import GymnasiumSource
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples
from imitate.core.rollout import TensorSource
from imitate.core.sequence_replay import SequenceReplay
from imitate.policies import Random
from imitate.students import DAgger, DAggerConfig
from tests.oracles import Walk

M = 2
BAD = (math.nan, math.inf, -math.inf)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("member", [0, 1])
def test_the_member_is_told(value, member):
    data = {"x": torch.full((3, M, 4, 5), 3e38), "n": torch.zeros(3, M, 4, dtype=torch.int64)}  # whose sum overflows
    assert finite(data, 1).tolist() == [True] * M
    assert finite(data["n"], 1).tolist() == [True] * M
    data["x"][2, member, 3, 0] = value
    assert finite(data, 1).tolist() == [member != 0, member != 1]
    assert (~finite(data, 1, 2)).nonzero().tolist() == [[member, 3]]
    assert finite(data["x"], 0, 1, 2, 3).sum() == data["x"].numel() - 1


class Learnt:
    """An algorithm's parts: a policy, something Stateful, a bare tensor."""

    def __init__(self):
        source = TensorSource(Walk(), id="Walk", num_envs=2, members=M)
        self.policy = nets.policy(source, (4,), normalise=True)
        self.moments = Moments()
        self.best_error = torch.full((M,), math.inf)  # before there is one

    def step(self):
        return {}


class Moments:
    def __init__(self):
        self.square = torch.zeros(M, 3)

    def state_dict(self):
        return {"square": self.square}

    def load_state_dict(self, state):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("where", "value", "what"),
    [
        (lambda a: a.policy.head.linear.weight.data, 1.01 * LARGEST, "policy.head.linear.weight is beyond ±4e+09"),
        (lambda a: a.policy.head.linear.weight.data, math.nan, "policy.head.linear.weight"),
        (lambda a: a.policy.body.normaliser.var, math.inf, "policy.body.normaliser.var"),
        (lambda a: a.policy.body.normaliser.mean, math.nan, "policy.body.normaliser.mean"),
        (lambda a: a.moments.square, math.inf, "moments.square is not finite"),
        (lambda a: a.best_error, math.nan, "best_error is not a number"),
    ],
)
def test_what_is_learnt_is_looked_at(where, value, what):
    algorithm = Learnt()
    for fine in (0.99 * LARGEST, -0.99 * LARGEST):
        where(algorithm)[1].fill_(fine)
        assert flaw(algorithm) is None
    where(algorithm)[1].view(-1)[-1] = value
    found = flaw(algorithm)
    assert found.startswith(what) and found.endswith("(member 1)")


def test_two_layers_of_the_largest_weights_have_a_finite_square():
    largest = torch.tensor(LARGEST)
    assert (largest * largest).square().isfinite()
    assert not (1.1 * largest).square().square().isfinite()


class Spoilt(Walk):
    """A walk whose rewards are not finite."""

    def step(self, state, action, noise):
        state, reward, terminated = super().step(state, action, noise)
        return state, reward * math.inf, terminated


def spoilt(rollout, part, value):
    """A rollout with one number of member 1 that is not finite."""
    x = getattr(rollout, part).clone()
    x.view(*x.shape[:3], -1)[2, 1, 0, 0] = value
    return replace(rollout, **{part: x})


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("part", ["obs", "next_obs", "reward"])
def test_what_a_replay_keeps_is_looked_at(part, value):
    source = TensorSource(Walk(), id="Walk", num_envs=2, members=M)
    replay = SequenceReplay(64, source, Stream(0, "replay"), torch.full((M,), 0.9))
    rollout = source.collect(Random(source.spec.action), 4)
    replay.add(rollout)
    assert replay.finite.tolist() == [True, True]
    replay.add(spoilt(rollout, part, value))
    replay.add(rollout)
    assert replay.finite.tolist() == [True, False]


def test_what_a_dataset_keeps_is_looked_at_and_padding_is_not():
    data = Dataset(M, 10, Stream(0, "shuffle"))
    obs, action = torch.zeros(M, 3, 2), torch.zeros(M, 3, 1)
    obs[0, 1], mask = math.nan, torch.tensor([[True, False, True], [True, True, True]])
    data.add(Examples(obs, action), mask)
    assert data.finite.tolist() == [True, True]
    action[1, 2] = math.inf
    data.add(Examples(torch.zeros(M, 3, 2), action), mask)
    assert data.finite.tolist() == [True, False]


def test_a_tensor_environment_is_looked_at_and_ends_the_run(tmp_path):
    source = TensorSource(Spoilt(), id="Spoilt", num_envs=2, members=M)
    student = nets.policy(source, (4,))
    dagger = DAgger(source, nets.policy(source, (4,), seed=1), student, DAggerConfig(rounds=2, rollout=4, updates=1))
    line = (
        r"source was given a number that is not finite \(member 0, 1\) before step 8: .* No checkpoint was written yet"
    )
    with pytest.raises(FloatingPointError, match=line):
        list(imitate.run(dagger, checkpoint=tmp_path))  # which never looks at a reward
    assert not (tmp_path / "checkpoint.json").exists()


class Broken(gymnasium.Env):
    """Gives one number that is not finite, at its 12th step or at its first reset; episodes are five steps long."""

    observation_space = gymnasium.spaces.Box(-9, 9, (3,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, what="", value=math.nan, at=12):
        self.what, self.value, self.at, self.age, self.steps = what, value, at, 0, 0

    def _obs(self, spoilt):
        obs = np.ones(3, np.float32)
        obs[1] = self.value if spoilt else 1
        return obs

    def reset(self, seed=None, options=None):
        self.age = 0
        return self._obs(self.what == "reset"), {}

    def step(self, action):
        self.steps, self.age = self.steps + 1, self.age + 1
        now = self.steps == self.at
        return (
            self._obs(now and self.what == "obs"),
            self.value if now and self.what == "reward" else 1.0,
            self.age == 5,
            False,
            {},
        )


def broken(what, value, at=12, kind=gymnasium.vector.SyncVectorEnv):
    """Four environments of two members, of which the third is broken."""
    made = [lambda i=i: Broken(what if i == 2 else "", value, at) for i in range(4)]
    return GymnasiumSource(kind(made, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP), members=M)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize(
    ("what", "at", "said"),
    [("obs", 12, "an observation"), ("obs", 10, "a last observation"), ("reward", 12, "a reward")],
)
def test_a_gymnasium_environment_is_named_at_once(what, at, value, said):
    source = broken(what, value, at)
    policy = Random(source.spec.action)
    source.collect(policy, at - 1)
    with pytest.raises(
        FloatingPointError, match=rf"env: environment 2 of 'Broken' \(member 1\) gave {said} that is not"
    ):
        source.collect(policy, 1)


def test_so_is_one_that_begins_badly_or_that_somebody_else_steps():
    with pytest.raises(FloatingPointError, match="environment 2 of 'Broken'"):
        broken("reset", math.inf)

    class Vector(gymnasium.vector.SyncVectorEnv):
        pass

    source = broken("obs", math.nan, kind=Vector)
    with pytest.raises(FloatingPointError, match=r"environment 2 of .* \(member 1\)"):
        source.collect(Random(source.spec.action), 20)


def test_an_evaluation_says_so_too():
    source = broken("reward", math.inf, at=3)
    with pytest.raises(FloatingPointError, match="gave a reward that is not finite"):
        source.play(Random(source.spec.action), 2, seed=0)


def test_modules_of_other_kinds_are_looked_at():
    class Own(Learnt):
        def __init__(self):
            super().__init__()
            self.scale = nn.ParameterList([nn.Parameter(torch.tensor(2.0))])

    algorithm = Own()
    assert flaw(algorithm) is None
    with torch.no_grad():
        algorithm.scale[0].fill_(math.nan)
    assert flaw(algorithm) == "scale.0 is beyond ±4e+09, or not a number"
