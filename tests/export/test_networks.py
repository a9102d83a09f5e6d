"""Networks as C: equal to torch but for rounding, which is bounded layer by layer (Higham 2002, §3.1)."""

import math

import numpy as np
import pytest
import torch
from stable_baselines3 import DQN

from imitate import nets, teachers
from imitate.core.noise import Stream
from imitate.export import c_header, python_module
from imitate.nets import Actor, Architecture, QArchitecture, QNetwork
from imitate.nets.action_heads import GaussianHead, SquashedGaussianHead, linear_of
from imitate.nets.compression import dequantised
from imitate.nets.layers import ACTIVATIONS
from imitate.nets.return_heads import Quantiles
from imitate_envs.base import Box, Dict, Discrete, MultiDiscrete
from tests.export.compiled import actions, choices, needs_a_compiler

M, F, COUNT = 2, 5, 10_000
U = 2.0**-24  # unit roundoff of float32
SPACE = Box((F,))
LOPSIDED = Box((3,), (-1.0, 0.0, -math.inf), (3.0, 10.0, 0.5))
FORCES = Box((2,), (-1.0, -20.0), (3.0, 10.0))


def actor(action, observation=SPACE, **architecture):
    """Weights large enough for choices of all kinds, and actions beyond the bounds."""
    made = Actor(observation, action, M, Architecture(**{"hidden": (16, 8), **architecture}), Stream(0, "init"))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
        if made.head.linear is not None:
            made.head.linear.weight.mul_(3)
    made.observe(2 * torch.randn(M, 200, F) + 1)
    return made


def observations():
    return (3 * torch.randn(COUNT, F)).float()


def outputs_and_errors(policy, member, obs):
    """Outputs of the last layer in float64, and by how much either float32 computation can be away from them.

    A sum of k products, in any order and with or without fused operations, is off by γ_k = ku/(1 − ku) of the sum of
    sizes. An activation has slope 1.13 at the most, and is computed within 16u·max(1, |x|): some four operations, each
    of a few units in the last place.
    """
    chain = [*policy.body.chain, *(linear_of(policy.head) if isinstance(policy, Actor) else policy.head).parameters()]
    x, error = obs.double(), torch.zeros(obs.shape, dtype=torch.float64)
    norm = policy.body.normaliser
    if norm is not None:
        scale = (norm.var.maximum(norm.floor) + norm.epsilon).rsqrt()[member].double()
        x = (x - norm.mean[member].double()) * scale
        # Either takes the same rounded scale; a difference and a product are rounded.
        error, x = 2.1 * U * x.abs(), x.clamp(-norm.clip, norm.clip)
    for i in range(0, len(chain), 2):
        weight, bias = (p.detach()[member].double() for p in chain[i : i + 2])
        k = len(weight) + 1
        gamma = k * U / (1 - k * U)
        error = error @ weight.abs() + gamma * ((x.abs() + error) @ weight.abs() + bias.abs())
        x = x @ weight + bias
        if i + 2 < len(chain):
            error = 1.13 * error + 16 * U * x.abs().clamp(min=1)
            x = policy.body.activation(x)
    return x, error


def deterministic(policy, member, obs):
    with torch.no_grad():
        return policy.predict(obs.numpy(), deterministic=True, member=member)[0]


def value_network(**architecture):
    made = QNetwork(SPACE, Discrete(4), M, QArchitecture(hidden=(16, 8), **architecture), Stream(0, "init"))
    made.observe(2 * torch.randn(M, 200, F) + 1)
    return made


CHOOSING = {
    **{name: lambda name=name: actor(Discrete(4), activation=name) for name in ACTIVATIONS},
    "normalised": lambda: actor(Discrete(3), normalise=True),
    "clipped close": lambda: actor(Discrete(3), normalise=True, clip_obs=0.7),
    "linear": lambda: actor(Discrete(4), hidden=()),
    "one layer": lambda: actor(Discrete(2), hidden=(3,)),
    "counted from 7": lambda: actor(Discrete(3, 7)),
    "values": value_network,
    "values, normalised": lambda: value_network(normalise=True, activation="tanh"),
}


@needs_a_compiler
@pytest.mark.parametrize("case", CHOOSING)
def test_a_choice_is_that_of_torch(case, tmp_path):
    """Equal wherever the best two outputs are further apart than both can be wrong, and that is nearly everywhere."""
    policy, obs = CHOOSING[case](), observations()
    mine = choices(c_header(policy, member=1), obs.numpy(), tmp_path)
    theirs = deterministic(policy, 1, obs)
    out, error = outputs_and_errors(policy, 1, obs)
    best, second = out.topk(2, -1).values.unbind(-1)
    clear = (best - second > 4 * error.amax(-1)).numpy()  # each of two outputs in each of two computations
    assert np.array_equal(mine[clear], theirs[clear])
    assert clear.mean() > 0.99
    assert (mine == theirs).mean() > 0.999
    assert len(np.unique(theirs)) > 1
    assert np.array_equal(theirs[clear], (out.argmax(-1) + policy.action.start).numpy()[clear])


@needs_a_compiler
@pytest.mark.parametrize("case", CHOOSING)
def test_weights_of_eight_bits_choose_as_those_of_float32_that_are_equal(case, tmp_path):
    """A scale multiplies a sum instead of each weight: two roundings more of each product, so twice the error does."""
    policy, obs = CHOOSING[case](), observations()
    if isinstance(policy, QNetwork):
        header = c_header(policy, member=1, int8=True)
        assert "static const signed char policy_weight_0[80]" in header and "policy_scale_0[16]" in header
        return
    same = dequantised(policy)
    mine = choices(c_header(policy, member=1, int8=True), obs.numpy(), tmp_path)
    out, error = outputs_and_errors(same, 1, obs)
    best, second = out.topk(2, -1).values.unbind(-1)
    clear = (best - second > 8 * error.amax(-1)).numpy()
    assert np.array_equal(mine[clear], deterministic(same, 1, obs)[clear])
    assert clear.mean() > 0.99
    assert (mine != deterministic(policy, 1, obs)).any()  # eight bits are not float32


def test_of_equal_outputs_the_first_is_taken(tmp_path):
    policy = actor(Discrete(4), hidden=(8,))
    with torch.no_grad():
        linear = linear_of(policy.head)
        linear.weight[..., 2], linear.bias[..., 2] = linear.weight[..., 1], linear.bias[..., 1]
    obs = observations()
    theirs = deterministic(policy, 0, obs)
    assert 1 in theirs and 2 not in theirs
    if needs_a_compiler.args[0]:
        pytest.skip(needs_a_compiler.kwargs["reason"])
    assert 2 not in choices(c_header(policy), obs.numpy(), tmp_path)


ACTING = {
    "a Gaussian, scaled and clipped": lambda: actor(FORCES),
    "in its own units": lambda: actor(FORCES, scaled=False, normalise=True),
    "half open": lambda: actor(LOPSIDED),
    "without bounds": lambda: actor(Box((2,))),
    "squashed": lambda: actor(FORCES, squash=True, activation="relu"),
}


@needs_a_compiler
@pytest.mark.parametrize("case", ACTING)
def test_an_action_is_that_of_torch(case, tmp_path):
    policy, obs = ACTING[case](), observations()
    width = policy.action.shape[0]
    mine = actions(c_header(policy, member=1), obs.numpy(), width, tmp_path)
    theirs = deterministic(policy, 1, obs)
    out, error = outputs_and_errors(policy, 1, obs)
    head = policy.head
    if isinstance(head, SquashedGaussianHead):
        loc, error = out[:, :width], error[:, :width]
        span = (head.high - head.low).double()
        exact = head.low + span * (2 * loc).sigmoid()
        # σ(2x) has slope 1/2; a sigmoid within 8u, and the lerp rounds three times numbers no larger than the bounds.
        error = span * (0.5 * error + 8 * U) + 4 * U * (head.low.abs() + head.high.abs() + span)
    elif isinstance(head, GaussianHead) and head.scaled:
        exact = head.centre + head.half_range * out
        error = head.half_range * error + 3 * U * (head.centre.abs() + head.half_range * out.abs())
    else:
        exact = out
    low, high = (torch.as_tensor(b, dtype=torch.float64) for b in (policy.action.low, policy.action.high))
    exact = exact.clamp(low, high).numpy()
    for found in (mine, theirs):
        assert (np.abs(found - exact) <= error.numpy()).all()
        assert (found >= low.numpy()).all() and (found <= high.numpy()).all()
    assert float(error.max()) < 1e-2 * float(exact.std())  # the bound says something


@needs_a_compiler
def test_a_model_of_stable_baselines3_is_written_too(tmp_path):
    model = DQN("MlpPolicy", "CartPole-v1", buffer_size=10, seed=0, device="cpu")
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    model.save(tmp_path / "model.zip")
    policy, obs = teachers.load(tmp_path / "model.zip"), 3 * torch.randn(COUNT, 4)
    theirs = model.predict(obs.numpy(), deterministic=True)[0]
    out, error = outputs_and_errors(policy, 0, obs)
    clear = ((out[:, 0] - out[:, 1]).abs() > 4 * error.amax(-1)).numpy()
    assert np.array_equal(choices(c_header(policy), obs.numpy(), tmp_path)[clear], theirs[clear])
    assert clear.mean() > 0.99 and len(np.unique(theirs)) == 2


def test_what_is_more_than_a_perceptron_is_refused():
    masked = Dict.of({"observation": SPACE, "action_mask": Box((3,), 0, 1)})
    pixels = Box((2, 8, 8), 0, 255)
    source_like = [
        Actor(SPACE, Discrete(3), M, Architecture(hidden=(4,), gru=3), Stream(0, "init")),
        Actor(masked, Discrete(3), M, Architecture(hidden=(4,)), Stream(0, "init")),
        Actor(pixels, Discrete(3), M, Architecture(hidden=(4,)), Stream(0, "init")),
    ]
    for policy in source_like:
        with pytest.raises(ValueError, match=r"^policy: only a multilayer perceptron is written as C"):
            c_header(policy)
    for architecture in ({"dueling": True}, {"noisy": True}, {"head": Quantiles(5)}):
        with pytest.raises(ValueError, match=r"^policy: of value networks only those of mean returns"):
            c_header(value_network(**architecture))
    with pytest.raises(ValueError, match=r"^policy: actions of a Discrete or a Box are written as C"):
        c_header(actor(MultiDiscrete((2, 3))))
    with pytest.raises(ValueError, match=r"^policy: a TabularPolicy cannot be written as C"):
        c_header(nets.TabularPolicy(torch.zeros(1, 2, 2)))
    with pytest.raises(ValueError, match=r"^format: only a tree is written as Python"):
        python_module(actor(Discrete(2)))
    with pytest.raises(ValueError, match=r"^member: 2 is not one of the 2 members"):
        c_header(actor(Discrete(2)), member=2)
