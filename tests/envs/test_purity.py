"""Environments are pure functions of tensors: of any leading shape, in the float type of their inputs."""

import dataclasses
import math

import gymnasium
import pytest
import torch
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped
from torch.fx.experimental.proxy_tensor import make_fx

from imitate_envs import ENVS, Box, Discrete
from imitate_envs.gymnasium import to_gymnasium

CLASSIC = ["CartPole-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Acrobot-v1", "Pendulum-v1"]
SMALLEST = 2.0**-24  # float32 uniforms are at most 1 minus this


@pytest.fixture(params=CLASSIC)
def name(request):
    return request.param


@pytest.fixture
def env(name):
    return ENVS[name]()


def inputs(env, *shape, dtype=torch.float64, seed=0):
    """A state some steps into an episode, an action and noise."""
    generator = torch.Generator().manual_seed(seed)

    def uniform(*size):
        return torch.rand(*shape, *size, generator=generator, dtype=torch.float64).to(dtype)

    def action():
        if isinstance(env.action, Discrete):
            return torch.randint(env.action.n, shape, generator=generator)
        return 2 * (2 * uniform(*env.action.shape) - 1)

    state = env.reset(uniform(env.reset_noise))
    for _ in range(5):
        state, _, _ = env.step(state, action(), uniform(env.step_noise))
    return state, action(), uniform(env.step_noise)


def outputs(env, state, action, noise):
    next_state, reward, terminated = env.step(state, action, noise)
    return next_state, env.observe(next_state), reward, terminated


def test_declarations_are_those_of_gymnasium(name, env):
    spec = gymnasium.spec(name)
    theirs = spec.make().unwrapped
    assert to_gymnasium(env.observation) == theirs.observation_space
    assert to_gymnasium(env.action) == theirs.action_space
    assert env.max_steps == spec.max_episode_steps


def test_constants_are_fields(env):
    assert dataclasses.replace(env, max_steps=7).max_steps == 7
    assert hash(env) == hash(type(env)()) and env == type(env)()
    with pytest.raises(dataclasses.FrozenInstanceError):
        env.max_steps = 7


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 1, 3), (0,)])
def test_any_leading_shape_equals_row_by_row(env, shape):
    given = inputs(env, *shape)
    batched = outputs(env, *given)
    assert batched[0].shape == given[0].shape
    assert batched[1].shape == shape + env.observation.shape
    assert batched[2].shape == batched[3].shape == shape
    for index in torch.cartesian_prod(*map(torch.arange, shape)).reshape(-1, len(shape)).tolist() if shape else []:
        single = outputs(env, *(tensor[tuple(index)] for tensor in given))
        for whole, row in zip(batched, single, strict=True):
            torch.testing.assert_close(whole[tuple(index)], row, rtol=0, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_float_type_follows_the_inputs(env, dtype):
    default = torch.get_default_dtype()
    try:
        torch.set_default_dtype(torch.float64 if dtype is torch.float32 else torch.float32)
        state, action, noise = inputs(env, 4, dtype=dtype)
        next_state, obs, reward, terminated = outputs(env, state, action, noise)
    finally:
        torch.set_default_dtype(default)
    assert {state.dtype, next_state.dtype, obs.dtype, reward.dtype} == {dtype}
    assert terminated.dtype is torch.bool


def test_float32_is_close_to_float64(env):
    state, action, noise = inputs(env, 256)
    exact = outputs(env, state, action, noise)
    single = outputs(env, state.float(), action.float() if action.is_floating_point() else action, noise.float())
    for a, b in zip(exact[:3], single[:3], strict=True):
        torch.testing.assert_close(b.double(), a, rtol=1e-5, atol=1e-5)


def test_inputs_are_not_changed(env):
    given = inputs(env, 2, 3)
    noise = torch.rand(2, 3, env.reset_noise)
    before = [tensor.clone() for tensor in (*given, noise)]
    outputs(env, *given)
    env.reset(noise)
    for tensor, copy in zip((*given, noise), before, strict=True):
        assert torch.equal(tensor, copy)


RANGES = {
    "CartPole-v1": ([-0.05] * 4, [0.05] * 4),
    "MountainCar-v0": ([-0.6, 0.0], [-0.4, 0.0]),
    "MountainCarContinuous-v0": ([-0.6, 0.0], [-0.4, 0.0]),
    "Acrobot-v1": ([-0.1] * 4, [0.1] * 4),
    "Pendulum-v1": ([-math.pi, -1.0], [math.pi, 1.0]),
}


def test_ranges_of_first_states(name, env):
    low, high = RANGES[name]
    zeros, ones = torch.zeros(env.reset_noise), torch.full((env.reset_noise,), 1 - SMALLEST)
    torch.testing.assert_close(env.reset(zeros), torch.tensor(low), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(env.reset(ones), torch.tensor(high), rtol=1e-6, atol=1e-6)


def test_observations_lie_in_their_space(env):
    space = to_gymnasium(env.observation)
    state = env.reset(torch.rand(64, env.reset_noise))
    action = inputs(env, 64, dtype=torch.float32)[1]
    for _ in range(100):
        for obs in env.observe(state).numpy():
            assert space.contains(obs)
        next_state, _, terminated = env.step(state, action, torch.empty(64, env.step_noise))
        state = torch.where(terminated[:, None], state, next_state)


def test_vmap(env):
    given = inputs(env, 5)
    for mapped, batched in zip(
        torch.func.vmap(lambda *each: outputs(env, *each))(*given), outputs(env, *given), strict=True
    ):
        torch.testing.assert_close(mapped, batched, rtol=0, atol=1e-12)


def test_traces_to_a_graph_without_branches(env):
    """What one batch traced is right for another: no number of a batch decides what is computed."""
    traced = make_fx(lambda *each: outputs(env, *each))(*inputs(env, 5, seed=0))
    given = inputs(env, 5, seed=1)
    for graph, eager in zip(traced(*given), outputs(env, *given), strict=True):
        assert torch.equal(graph, eager)
    assert not any("_local_scalar_dense" in str(node.target) for node in traced.graph.nodes)  # no sync


def test_few_kernels(name, env):
    """An eager step costs what it launches: growth is to be a decision."""
    graph = make_fx(lambda *each: env.step(*each))(*inputs(env, 5)).graph
    views = (
        "unbind",
        "select",
        "movedim",
        "unsqueeze",
        "permute",
        "getitem",
        "detach",
        "clone",
        "view",
        "alias",
    )
    kernels = [n for n in graph.nodes if n.op == "call_function" and not any(v in str(n.target) for v in views)]
    bound = {"CartPole-v1": 22, "Acrobot-v1": 124, "Pendulum-v1": 15}.get(name, 19)
    assert len(kernels) <= bound, [str(node.target) for node in kernels]


def test_annotations_hold(env):
    def checked(function):
        return jaxtyped(function, typechecker=beartype)

    kind = type(env)
    state, action, noise = inputs(env, 2, 3)
    checked(kind.step)(env, state, action, noise)
    checked(kind.observe)(env, state)
    checked(kind.reset)(env, torch.rand(2, 3, env.reset_noise))
    with pytest.raises(TypeCheckError):
        checked(kind.step)(env, state, action[0], noise)


def test_box_counts_its_bounds():
    with pytest.raises(ValueError, match="low has 1 entries"):
        Box((2,), (0.0,), 1.0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda_graph(env):
    """A step recorded once replays on other numbers."""
    given = [tensor.cuda() for tensor in inputs(env, 8, 16, dtype=torch.float32, seed=0)]
    for _ in range(3):
        outputs(env, *given)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        recorded = outputs(env, *given)
    others = inputs(env, 8, 16, dtype=torch.float32, seed=1)
    for static, other in zip(given, others, strict=True):
        static.copy_(other)
    graph.replay()
    for a, b in zip(recorded, outputs(env, *others), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-4, atol=1e-5)
