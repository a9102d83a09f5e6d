"""Networks as ONNX: what ONNX Runtime makes of them is what torch makes, but for rounding."""

import hashlib

import numpy as np
import pytest
import torch

from imitate.core.noise import Stream
from imitate.export import onnx_model
from imitate.export.timing import FLOAT32
from imitate.nets import Actor, Architecture
from imitate.nets.compression import dequantised
from imitate.nets.tree_policy import TreePolicy
from imitate_envs.base import Box, Discrete, MultiDiscrete
from tests.export.test_networks import (
    ACTING,
    CHOOSING,
    FORCES,
    SPACE,
    U,
    actor,
    deterministic,
    observations,
    outputs_and_errors,
)


def session(policy, **options):
    runtime = pytest.importorskip("onnxruntime")
    exact = runtime.SessionOptions()
    exact.add_session_config_entry(FLOAT32, "1")
    return runtime.InferenceSession(onnx_model(policy, **options), exact)


@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("case", CHOOSING)
def test_a_choice_is_that_of_torch(case, int8):
    """Equal wherever the best two outputs are further apart than both can be wrong, and that is nearly everywhere."""
    policy, obs = CHOOSING[case](), observations()
    same = dequantised(policy) if int8 and isinstance(policy, Actor) else policy
    if int8 and same is policy:
        pytest.skip("value networks of eight bits are no policies of ours")
    (mine,) = session(policy, member=1, int8=int8).run(None, {"obs": obs.numpy()})
    theirs = deterministic(same, 1, obs)
    out, error = outputs_and_errors(same, 1, obs)
    best, second = out.topk(2, -1).values.unbind(-1)
    clear = (best - second > 4 * error.amax(-1)).numpy()
    assert mine.dtype == np.int64
    assert np.array_equal(mine[clear], theirs[clear])
    assert clear.mean() > 0.99 and len(np.unique(theirs)) > 1


@pytest.mark.parametrize("case", ACTING)
def test_an_action_is_that_of_torch(case):
    """Both within the error of the outputs, times the half range, and some roundings of numbers as large as bounds."""
    policy, obs = ACTING[case](), observations()
    (mine,) = session(policy, member=1).run(None, {"obs": obs.numpy()})
    theirs = deterministic(policy, 1, obs)
    count = policy.action.shape[0]
    out, error = (x[:, :count].numpy() for x in outputs_and_errors(policy, 1, obs))
    half = np.maximum(getattr(policy.head, "half_range", torch.ones(1)).numpy(), 1.0)
    if hasattr(policy.head, "low"):  # squashed
        half = (policy.head.high - policy.head.low).numpy()
    allowed = 2 * half * (error + 8 * U * (1 + np.abs(out))) + 16 * U * (np.abs(theirs) + half)
    assert (np.abs(mine - theirs) <= allowed).all()
    assert allowed.max() < 1e-2 * theirs.std()  # the bound says something
    low, high = (np.asarray(bound, np.float32) for bound in (policy.action.low, policy.action.high))
    assert (mine >= low).all() and (mine <= high).all()


def test_the_bytes_are_those_that_onnx_runtime_1_32_has_read():
    """Where ONNX Runtime is not installed: the same file as on the day when the tests above passed."""
    policy = actor(Discrete(2, start=1), hidden=(3,), activation="gelu", normalise=True)
    with torch.no_grad():
        for i, value in enumerate(policy.state_dict().values()):
            value.copy_(torch.linspace(0.5, 1.5, value.numel()).view(value.shape) * (-1) ** i * (i + 1))
        policy.body.normaliser.var.abs_()
        policy.body.normaliser.floor.zero_()
    found = [hashlib.sha256(onnx_model(policy, member=1, int8=int8)).hexdigest()[:16] for int8 in (False, True)]
    assert found == ["073c56e07cb07ef8", "8ae270738c47b95c"]


def test_what_has_no_such_form_is_refused():
    memory = Actor(SPACE, Discrete(3), 2, Architecture(hidden=(4,), gru=3), Stream(0, "init"))
    with pytest.raises(ValueError, match=r"^policy: only a multilayer perceptron is written"):
        onnx_model(memory)
    with pytest.raises(ValueError, match=r"^policy: a TreePolicy is not written as ONNX"):
        onnx_model(TreePolicy(SPACE, Discrete(2), 1, 1))
    with pytest.raises(ValueError, match=r"^policy: actions of a Discrete or a Box are written as ONNX"):
        onnx_model(actor(MultiDiscrete((2, 3))))
    with pytest.raises(ValueError, match=r"^member: 2 is not one of the 2 members"):
        onnx_model(actor(FORCES), member=2)
    assert onnx_model(actor(Box((1,)))) != onnx_model(actor(Box((1,))), member=1)
