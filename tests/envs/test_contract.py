"""What every environment for learning models keeps: pure, of any leading shape, in the float type of its inputs."""

import dataclasses
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from beartype import beartype
from gymnasium.utils.env_checker import check_env
from jaxtyping import TypeCheckError, jaxtyped
from torch.fx.experimental.proxy_tensor import make_fx

from imitate.baselines import DQN, PPO, DQNConfig, PPOConfig, QLearning, TabularConfig
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate_envs import (
    ENVS,
    Bernoulli,
    Conditioning,
    Decay,
    DriftingBandit,
    ExponentialPause,
    Feedback,
    Gaussian,
    Microstimuli,
    NormalMeans,
    Presence,
    PuzzleBox,
    Reflect,
    ReversalBandit,
    StationaryBandit,
    TimedConditioning,
    Timing,
    TrialKind,
)
from imitate_envs.gymnasium import TensorVectorEnv, to_gymnasium

NEW = [
    "StationaryBandit-v0",
    "DriftingBandit-v0",
    "ReversalBandit-v0",
    "TwoStep-v0",
    "PuzzleBox-v0",
    "Conditioning-v0",
    "TimedConditioning-v0",
]
KINDS = (
    TrialKind((1.0, 0.0), 1.0),
    TrialKind((1.0, 0.5), 2.0, periods=(0, 1), probe=True),
    TrialKind((0.0, 1.0)),
)
SHORT = Timing(duration=2.0, gap=1.0, pause=ExponentialPause(2.0))
VARIANTS = {
    **{name: ENVS[name]() for name in NEW},
    "fixed means": StationaryBandit((0.2, 0.5, 0.9), Gaussian(0.1)),
    "normal means": StationaryBandit(NormalMeans(3), Gaussian()),
    "drifting chances": DriftingBandit(2, Reflect(), Bernoulli()),
    "drifting without noise": DriftingBandit(3, Decay(), Gaussian(0.0)),
    "reversal, criterion": ReversalBandit((0.9, 0.5, 0.1), 0.5, criterion=2),
    "box, many trials": PuzzleBox(acts=3, correct=2, trials=4),
    "conditioning, sessions": Conditioning(KINDS, ((0, 1, 2, 0), (2, 1))),
    "conditioning, omission": Conditioning(KINDS, omission=True),
    "time, sessions": TimedConditioning(KINDS, ((0, 1), (2, 1, 0)), SHORT, Microstimuli(), omission=True),
    "time, presence": TimedConditioning(KINDS, None, SHORT, Presence()),
    "feedback": Feedback(ReversalBandit()),
    "feedback in time": Feedback(TimedConditioning(KINDS, ((0, 1, 2),), SHORT)),
}
SMALLEST = 2.0**-24


@pytest.fixture(params=VARIANTS)
def env(request):
    return VARIANTS[request.param]


@pytest.fixture(params=NEW)
def name(request):
    return request.param


def uniforms(*shape, seed=0, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def episode(env, shape, steps=12, dtype=torch.float64, pick=lambda x: x):
    """States, observations, rewards and ends of `steps` steps; `pick` chooses lanes of all that is drawn."""
    state = env.reset(pick(uniforms(*shape, env.reset_noise, dtype=dtype)))
    seen = [state, env.observe(state)]
    for t in range(steps):
        noise = pick(uniforms(*shape, env.step_noise, seed=10 + t, dtype=dtype))
        action = pick((uniforms(*shape, seed=50 + t) * env.action.n).long())
        state, reward, terminated = env.step(state, action, noise)
        seen += [state, env.observe(state), reward, terminated]
    return seen


@pytest.mark.parametrize("shape", [(), (3,), (2, 1, 3), (0,)])
def test_any_leading_shape_equals_row_by_row(env, shape):
    whole = episode(env, shape)
    assert whole[1].shape == (*shape, *env.observation.shape)
    assert whole[4].shape == whole[5].shape == shape and whole[5].dtype is torch.bool
    for index in np.ndindex(*shape):
        alone = episode(env, shape, pick=lambda x, at=index: x[at])
        for batch, row in zip(tree.leaves(whole), tree.leaves(alone), strict=True):
            torch.testing.assert_close(batch[index], row, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_float_type_follows_the_inputs(env, dtype):
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if dtype is torch.float32 else torch.float32)
        seen = tree.leaves(episode(env, (4,), 3, dtype))
    finally:
        torch.set_default_dtype(default)
    assert {leaf.dtype for leaf in seen} <= {dtype, torch.int64, torch.bool}
    assert seen[-2].dtype == dtype  # the reward


def test_inputs_are_not_changed(env):
    state = env.reset(uniforms(5, env.reset_noise))
    action, noise = torch.zeros(5, dtype=torch.int64), uniforms(5, env.step_noise)
    before = [leaf.clone() for leaf in tree.leaves((state, action, noise))]
    env.observe(env.step(state, action, noise)[0])
    assert all(map(torch.equal, tree.leaves((state, action, noise)), before))


def test_observations_lie_in_their_space(env):
    space = to_gymnasium(env.observation)
    for extreme in (0.0, 1 - SMALLEST, None):
        state = env.reset(
            uniforms(8, env.reset_noise) if extreme is None else torch.full((8, env.reset_noise), extreme)
        )
        for t in range(15):
            noise = uniforms(8, env.step_noise, seed=t, dtype=torch.float32)
            noise = noise if extreme is None else torch.full_like(noise, extreme)
            state, reward, _ = env.step(state, torch.full((8,), t % env.action.n), noise)
            assert reward.isfinite().all()
            assert all(space.contains(obs) for obs in env.observe(state).float().numpy().astype(space.dtype))


def test_traces_to_a_graph_without_branches(env):
    """What one batch traced is right for another: no number of a batch decides what is computed."""

    def run(action, *noise):
        state = env.reset(noise[0])
        for u in noise[1:]:
            state, reward, terminated = env.step(state, action, u)
        return env.observe(state), reward, terminated

    def inputs(seed):
        widths = (env.reset_noise, env.step_noise, env.step_noise, env.step_noise)
        noise = [uniforms(5, width, seed=seed + i) for i, width in enumerate(widths)]
        return (uniforms(5, seed=seed) * env.action.n).long(), *noise

    run(*inputs(0))  # tables are made
    traced = make_fx(run)(*inputs(0))
    assert all(map(torch.equal, traced(*inputs(9)), run(*inputs(9))))
    assert not any("_local_scalar_dense" in str(node.target) for node in traced.graph.nodes)  # no sync


def test_constants_are_fields(env):
    assert hash(env) == hash(dataclasses.replace(env)) and env == dataclasses.replace(env)
    with pytest.raises(dataclasses.FrozenInstanceError):
        env.anything = 1


def test_annotations_hold(env):
    def checked(function):
        return jaxtyped(function, typechecker=beartype)

    kind = type(env)
    state = checked(kind.reset)(env, uniforms(2, 3, env.reset_noise))
    checked(kind.observe)(env, state)
    action, noise = torch.zeros(2, 3, dtype=torch.int64), uniforms(2, 3, env.step_noise)
    checked(kind.step)(env, state, action, noise)
    with pytest.raises(TypeCheckError):
        checked(kind.step)(env, state, action[0], noise)


def test_gymnasium(name):
    env = gymnasium.make(f"imitate/{name}")
    assert env.spec.max_episode_steps == ENVS[name]().max_steps
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    first = [env.reset(seed=3)[0], *(env.step(0)[0] for _ in range(4))]
    again = [env.reset(seed=3)[0], *(env.step(0)[0] for _ in range(4))]
    assert all(map(np.array_equal, first, again))


def test_gymnasium_vector(env):
    """Auto-reset reaches every leaf of the state."""
    vector = TensorVectorEnv(env, num_envs=4, max_episode_steps=6)
    vector.reset(seed=0)
    vector.action_space.seed(0)
    ended = 0
    for _ in range(20):
        obs, _, terminated, truncated, _ = vector.step(vector.action_space.sample())
        assert vector.observation_space.contains(obs)
        ended += (terminated | truncated).sum()
    assert ended >= 12


def test_every_algorithm_trains(env):
    """A hundred steps of a policy gradient, and of values where they fit."""

    def source():
        return TensorSource(env, id="learning", num_envs=4, members=2, seed=1)

    algorithms = [PPO(source(), PPOConfig(rollout=8, batch_size=16, epochs=1, hidden=(8,)))]
    algorithms.append(DQN(source(), DQNConfig(steps=100, learning_starts=16, batch_size=8, hidden=(8,))))
    if not env.observation.shape:
        algorithms.append(QLearning(source(), TabularConfig(steps=100)))
    for algorithm in algorithms:
        for _ in range(3):
            metrics = algorithm.step()
        assert all(value.isfinite().all() for value in metrics.values())


@pytest.mark.gpu
def test_on_a_gpu(env):
    for here, there in zip(
        tree.leaves(episode(env, (4,))), tree.leaves(episode(env, (4,), pick=lambda x: x.cuda())), strict=True
    ):
        assert there.is_cuda
        torch.testing.assert_close(there.cpu(), here, rtol=0, atol=1e-10)
