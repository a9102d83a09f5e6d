"""Networks whose modules were changed: what is computed without calling them must not ignore it."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize

import imitate
from imitate.core import capture as captures
from imitate.core.parts import touched
from imitate.core.spec import Spec
from imitate.nets import MLP, Actor, Architecture, Critic, QArchitecture, QNetwork
from imitate.nets.critic import ActionValue
from imitate.nets.recurrent import GRU
from imitate.policies import EpsilonGreedy
from imitate.students.behaviour_cloning import imitator
from imitate_envs.spaces import Box, Discrete
from tests.oracles import stream

M, B, F = 2, 6, 3
OBS = Box((F,))


class Half(nn.Module):
    def forward(self, x):
        return 0.5 * x


def halved(module, into, out):
    return tuple(grad if grad is None else 0.5 * grad for grad in into)


def half_forward(layer):
    layer.forward = lambda x: 0.5 * type(layer).forward(layer, x)


TOUCHES = {
    "nothing": lambda layer: None,
    "hook": lambda layer: layer.register_forward_hook(lambda module, given, out: 0.5 * out),
    "hook before": lambda layer: layer.register_forward_pre_hook(lambda module, given: (0.5 * given[0],)),
    "hook on the gradient": lambda layer: layer.register_full_backward_hook(halved),
    "hook on a parameter": lambda layer: layer.weight.register_hook(lambda grad: 0.5 * grad),
    "parametrisation": lambda layer: parametrize.register_parametrization(layer, "weight", Half()),
    "spectral norm": lambda layer: parametrizations.spectral_norm(layer).eval(),  # as it is, without iterations
    "weight": lambda layer: setattr(layer, "weight", nn.Parameter(0.5 * layer.weight.detach())),
    "forward": half_forward,
    "class": lambda layer: setattr(layer, "__class__", type("Halved", (Halved, type(layer)), {})),
}


class Halved:
    def forward(self, x):
        return 0.5 * super().forward(x)


def called(layers, x, activation=torch.tanh):
    """Layers as a user would call them."""
    for layer in layers[:-1]:
        x = activation(layer(x))
    return layers[-1](x)


def mlp():
    network = MLP(M, F, (5,), 2, init=stream())
    return list(network.layers), lambda x: network(x), torch.tanh


def actor():
    network = Actor(OBS, Discrete(2), M, Architecture((5,)), stream())
    return [*network.body.layers, network.head.linear], lambda x: network.distribution(x).logits, torch.tanh


def critic():
    network = Critic(OBS, M, (5,), init=stream())
    return [*network.body.layers, network.value], lambda x: network(x).unsqueeze(-1), torch.tanh


def q_network():
    network = QNetwork(OBS, Discrete(2), M, QArchitecture((5, 4)), stream())
    layers = [*network.body.layers, *(layer.linear for layer in network.head.layers)]
    return layers, lambda x: network.returns(x).mean, torch.relu


def memory_body():
    """Its hidden layers are fused, though not what follows."""
    body = Actor(OBS, Discrete(2), M, Architecture((5, 4), gru=2), stream()).body
    return [*body.layers], lambda x: body.encode(x), lambda x: torch.tanh(x)


@pytest.mark.parametrize("touch", TOUCHES)
@pytest.mark.parametrize("build", [mlp, actor, critic, q_network])
@pytest.mark.parametrize("place", [0, -1])
def test_a_network_is_what_its_modules_say(build, touch, place):
    layers, network, activation = build()
    TOUCHES[touch](layers[place])
    x = stream(3).uniform(M, B, F).requires_grad_()
    found, expected = network(x), called(layers, x, activation)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    leaves = [x, *(p for layer in layers for p in layer.parameters())]
    grads = [torch.autograd.grad(out.square().sum(), leaves) for out in (found, expected)]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("touch", ["nothing", "hook", "parametrisation", "forward", "weight"])
def test_hidden_layers_before_a_memory_are_what_they_say(touch):
    layers, network, activation = memory_body()
    TOUCHES[touch](layers[0])
    x = stream(3).uniform(M, B, F)
    torch.testing.assert_close(network(x), activation(called(layers, x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("touch", ["nothing", "hook", "parametrisation", "forward", "weight", "class"])
def test_a_memory_unrolled_is_its_steps(touch):
    cell = GRU(M, F, 4, init=stream())
    TOUCHES[touch](cell.recurrent)
    x, h = stream(3).uniform(5, M, B, F), torch.zeros(M, B, 4)
    starts = stream(4).uniform(5, M, B) < 0.3
    steps = []
    for t in range(5):
        h = cell(x[t], h * ~starts[t].unsqueeze(-1))[0]
        steps.append(h)
    torch.testing.assert_close(cell.unroll(x, torch.zeros(M, B, 4), starts), torch.stack(steps), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("touch", ["hook", "hook on the gradient", "parametrisation", "forward"])
@pytest.mark.parametrize("whole", [False, True])
def test_values_of_an_action_are_those_of_the_call(touch, whole):
    critic = ActionValue(Spec("", OBS, Box((1,), -1.0, 1.0), M, 1, 9, 0, torch.device("cpu"), torch.float32), (5,))
    if whole and touch == "forward":
        critic.forward = lambda obs, action: 0.5 * ActionValue.forward(critic, obs, action)
    elif not (whole and touch == "parametrisation"):
        TOUCHES[touch](critic if whole else critic.value)
    obs, action = stream(1).uniform(M, B, F), stream(2).uniform(M, B, 1).requires_grad_()
    found, expected = critic.of_action(obs, action), critic(obs, action)
    torch.testing.assert_close(found, expected)
    grads = [torch.autograd.grad(out.sum(), action)[0] for out in (found, expected)]
    torch.testing.assert_close(*grads)


def test_a_hook_for_all_modules_is_called():
    layers, network, _ = actor()
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, out: seen.append(module))
    try:
        network(stream().uniform(M, B, F))
    finally:
        handle.remove()
    assert {id(layer) for layer in layers} <= {id(module) for module in seen}


@pytest.mark.parametrize("touch", sorted(TOUCHES.keys() - {"spectral norm"}))  # that begins at random
@pytest.mark.parametrize("name", ["ppo", "dqn"])
def test_a_written_gradient_is_that_of_the_loss(name, touch):
    """By a learner that has one and one that does not, after the same change of the policy."""

    def run(written):
        source = imitate.make("CartPole-v1", num_envs=4, members=2)
        if name == "ppo":
            algorithm = imitate.PPO(source, imitate.PPOConfig(rollout=8, epochs=2, batch_size=16, hidden=(8,)))
            layer, modules = algorithm.policy.head.linear, lambda: [algorithm.policy, algorithm.critic]
        else:
            algorithm = imitate.DQN(source, imitate.DQNConfig(rollout=8, batch_size=16, learning_starts=0, hidden=(8,)))
            layer, modules = algorithm.policy.head.advantage.linear, lambda: algorithm.policy.estimators
        TOUCHES[touch](layer)
        if touch in ("parametrisation", "weight"):
            with pytest.raises(RuntimeError, match="learner: its parameters"):
                algorithm.step()
            gradient = algorithm.learner.gradient
            algorithm.learner = type(algorithm.learner)(modules(), algorithm._loss, gradient=gradient, lr=1e-2)
            algorithm.target = imitate.nets.target.TargetNetwork(algorithm.policy)
        if not written:
            algorithm.learner.gradient = None
        for _ in range(2):
            metrics = algorithm.step()
        return algorithm.learner.flat, metrics["grad_norm"]

    for mine, theirs in zip(run(True), run(False), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("method", ["on_features", "distribution", "prepare"])
@pytest.mark.parametrize("by", ["subclass", "object"])
def test_what_overrides_a_method_goes_by_autograd(method, by):
    source = imitate.make("CartPole-v1", num_envs=4, members=2)
    student = imitate.nets.policy(source, (5,))
    learner = imitator(student, imitate.losses.imitation.negative_log_likelihood, source, 0.0, 1e-2, 0.0)
    own = getattr(student, method)
    assert student.plain
    if by == "object":
        setattr(student, method, lambda *given: own(*given))
    else:
        student.__class__ = type("Mine", (Actor,), {method: lambda self, *given: own(*given)})
    assert not student.plain
    examples = imitate.core.replay.Examples(torch.rand(2, 8, 4), torch.zeros(2, 8, dtype=torch.int64))
    assert learner.gradient(examples) is None
    assert learner(examples)["loss"].isfinite().all()


@dataclasses.dataclass
class Tape:
    """A recorder that replays nothing: whoever asks it for the results gets those of the recording."""

    name: str = "tape"

    def aside(self, run):
        return run(), False

    def record(self, run):
        found = run()
        return lambda: None, found


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_rollout_that_was_recorded_calls_a_hook(wrapped, monkeypatch):
    monkeypatch.setattr(captures, "recorder", lambda device: Tape())
    source = imitate.make("CartPole-v1", num_envs=4, members=2)
    network = imitate.nets.policy(source, (5,))
    policy = EpsilonGreedy(network, source.action, torch.zeros(2)) if wrapped else network
    for _ in range(4):
        source.collect(policy, 4)
    seen = []
    handle = network.head.linear.register_forward_hook(lambda module, given, out: seen.append(1))
    assert touched(policy)
    source.collect(policy, 4)
    assert len(seen) == 4
    handle.remove()
    assert not touched(policy)


def test_a_step_that_was_recorded_calls_a_hook(monkeypatch):
    monkeypatch.setattr(captures, "recorder", lambda device: Tape())
    source = imitate.make("CartPole-v1", num_envs=4, members=2)
    ppo = imitate.PPO(source, imitate.PPOConfig(rollout=8, epochs=2, batch_size=16, hidden=(8,)))
    for _ in range(4):
        ppo.step()
    seen = []
    ppo.critic.value.register_forward_hook(lambda module, given, out: seen.append(1))
    ppo.step()
    assert len(seen) == 2 + 2 * 2  # values of a rollout and of what follows, then two minibatches of two epochs
