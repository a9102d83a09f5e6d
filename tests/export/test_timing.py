"""Decisions timed in torch, ONNX Runtime and C: the forms are the policy's, and what is missing is told."""

import numpy as np
import pytest
import torch

import imitate
from imitate.export import c_header, compiled, latency
from imitate.export import timing as module
from imitate.export.timing import missing
from imitate.nets.tree_policy import Split, TreePolicy
from imitate.teachers import control_law
from imitate_envs.base import Discrete
from tests.export.compiled import needs_a_compiler
from tests.export.test_networks import FORCES, SPACE, actor, deterministic

OBS = 3 * torch.randn(20, 5)


@needs_a_compiler
@pytest.mark.parametrize("action", [Discrete(3, 2), FORCES], ids=str)
def test_a_compiled_header_acts_as_the_policy(action):
    policy = actor(action)
    act = compiled(c_header(policy, member=1), action)
    found, wanted = act(OBS.numpy()), deterministic(policy, 1, OBS)
    assert found.shape == wanted.shape
    assert np.allclose(found, wanted, rtol=0, atol=1e-4)  # of numbers up to 20, in float32: a rounding is 1e-6
    assert len(np.unique(wanted)) > 1


def test_each_form_takes_its_time(monkeypatch):
    calls = []
    monkeypatch.setattr(module, "_median", lambda call, count, blocks: calls.append(count) or call(0) is None or 7.0)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    found = latency(actor(Discrete(3)), OBS, Discrete(3), member=1)
    assert found.eager == 7.0 and found.onnx is None
    assert found.c == (7.0 / 2_000 if module.shutil.which("cc") else None)
    assert calls == ([20, 1] if found.c else [20])
    assert latency(actor(Discrete(3)), OBS, Discrete(3), int8=True).eager is None


def test_what_has_no_other_form_is_timed_in_torch_alone(monkeypatch):
    law = control_law("CartPole-v1")
    found = latency(law, torch.zeros(3, 4), law.action, blocks=1)
    assert found.eager > 0 and found.onnx is None and found.c is None
    tree = TreePolicy(SPACE, Discrete(2), 1, 2)
    tree.plant(0, Split(2, 0.0, 0, 1))
    found = latency(tree, OBS, Discrete(2), blocks=1)
    assert found.onnx is None and (found.c is None) == (module.shutil.which("cc") is None)
    recurrent = imitate.nets.policy(imitate.make("CartPole-v1", members=2), (4,), gru=3)
    assert latency(recurrent, torch.zeros(3, 4), Discrete(2), blocks=1).c is None


def test_what_is_missing_is_told_with_its_remedy(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    onnx, c = missing()
    assert onnx.startswith("onnx: ") and "pip install onnxruntime" in onnx
    assert c.startswith("c: ") and "gcc" in c
    assert latency(actor(Discrete(3)), OBS, Discrete(3), blocks=1).c is None
    monkeypatch.setattr(module, "find_spec", lambda name: name)
    monkeypatch.setattr(module.shutil, "which", lambda name: name)
    assert missing() == ()
