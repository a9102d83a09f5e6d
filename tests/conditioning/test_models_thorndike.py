"""The law of effect and Bush & Mosteller's operator: loops, the hyperbola of latencies, gradients."""

import numpy as np
import pytest
import torch

from imitate.conditioning.model import ChoiceModel
from imitate.conditioning.models import BushMosteller, LawOfEffect
from imitate.core import tree
from imitate.core.noise import categorical
from tests.conditioning.pavlov import drawn, parameters

MODELS = [LawOfEffect(), BushMosteller()]
models = pytest.mark.parametrize("model", MODELS, ids=["law-of-effect", "bush-mosteller"])
ACTS = 4


def record(generator, time, lanes):
    action = torch.randint(ACTS, (time, lanes), generator=generator)
    reward = torch.rand(time, lanes, generator=generator, dtype=torch.float64)
    return action, reward * (torch.rand(time, lanes, generator=generator) < 0.6)


def log_probs(model, theta, action, reward, mask=None):
    state = model.initial(theta, tuple(action.shape[1:]), ACTS)
    seen = []
    for t in range(len(action)):
        seen.append(model.log_probs(theta, state))
        new = model.update(theta, state, action[t], reward[t])
        state = new if mask is None else tree.where(mask[t], new, state)
    return torch.stack(seen)


def law_of_effect(p, action, reward):
    s, path = np.full(ACTS, p["strength"]), []
    for a, r in zip(action, reward, strict=True):
        path.append(np.log(s / s.sum()))
        s[a] = (s[a] + p["eta"] * r if r > 0 else (1 - p["kappa"]) * s[a]) + p["exercise"]
    return path


def bush_mosteller(p, action, reward):
    q, path = np.full(ACTS, 1 / ACTS), []
    for a, r in zip(action, reward, strict=True):
        path.append(np.log(q))
        for j in range(ACTS):
            if r > 0:
                q[j] += p["alpha"] * r * ((j == a) - q[j])
        if r <= 0:
            lost = p["beta"] * q[a]
            q -= np.where(np.arange(ACTS) == a, lost, -lost / (ACTS - 1))
    return path


@pytest.mark.parametrize(("model", "loop"), [(MODELS[0], law_of_effect), (MODELS[1], bush_mosteller)])
def test_lanes_are_loops(model, loop, generator):
    theta = drawn(model, generator, 5, 1)
    action, reward = record(generator, 40, 5)
    found = log_probs(model, theta, action, reward)
    for lane in range(5):
        numbers = {name: float(value[lane]) for name, value in theta.items()}
        expected = loop(numbers, action[:, lane].tolist(), reward[:, lane].tolist())
        np.testing.assert_allclose(found[:, lane].numpy(), expected, rtol=0, atol=1e-12)


@models
def test_probabilities(model, generator):
    assert isinstance(model, ChoiceModel)
    action, reward = record(generator, 50, 3)
    total = log_probs(model, drawn(model, generator, 3, 1), action, reward).exp().sum(-1)
    torch.testing.assert_close(total, torch.ones_like(total))


@models
def test_gradients(model, generator):
    theta = {name: value.requires_grad_() for name, value in drawn(model, generator, 3, 1).items()}
    action, reward = record(generator, 8, 3)

    def function(*values):
        return log_probs(model, dict(zip(theta, values, strict=True)), action, reward)

    assert torch.autograd.gradcheck(function, tuple(theta.values()))


@models
def test_masked_trials_leave_no_trace(model, generator):
    theta = drawn(model, generator, 3, 1)
    action, reward = record(generator, 6, 3)
    short, long = ({name: value.clone().requires_grad_() for name, value in theta.items()} for _ in range(2))
    twice = action.repeat_interleave(2, 0)
    padded = torch.stack([reward, -5 * torch.ones_like(reward)], 1).flatten(0, 1)
    mask = torch.tensor([True, False] * 6).unsqueeze(-1).expand(12, 3)
    want, found = log_probs(model, short, action, reward), log_probs(model, long, twice, padded, mask)[::2]
    assert torch.equal(found, want)
    want.square().sum().backward()
    found.square().sum().backward()
    assert all(torch.equal(long[name].grad, short[name].grad) for name in theta)


def escape(model, theta, acts, trials, agents, generator):
    """Acts that each of many agents needs to get out, in each of its trials; act 0 opens the door."""
    state = model.initial(theta, (agents,), acts)
    done = torch.zeros(agents, dtype=torch.int64)
    counts = torch.zeros(agents, trials, dtype=torch.float64)
    while (done < trials).any():
        active = done < trials
        uniform = torch.rand(agents, generator=generator, dtype=torch.float64)
        action = categorical(model.log_probs(theta, state), uniform)
        reward = (action == 0).double()
        state = tree.where(active, model.update(theta, state, action, reward), state)
        counts[torch.arange(agents), done.clamp(max=trials - 1)] += active
        done += active & (action == 0)
    return counts


def test_latency_is_a_hyperbola(generator):
    """Mean latencies of 10,000 cats in a box of 8 acts, each within 2.5 standard errors of the formula."""
    theta = parameters(LawOfEffect(), 1, eta=0.8)
    seconds, trials = 5.0, 8
    latency = seconds * escape(LawOfEffect(), theta, 8, trials, 10_000, generator)
    expected = LawOfEffect.latency(torch.arange(1, trials + 1), seconds, torch.tensor(1.0), torch.tensor(7.0), 0.8)
    error = latency.std(0) / 100
    assert ((latency.mean(0) - expected).abs() < 2.5 * error).all()
    assert expected[0] == 8 * seconds  # as for a cat that acts at random


def test_latency_by_bush_and_mosteller(generator):
    theta = parameters(BushMosteller(), 1, alpha=0.2)
    acts = escape(BushMosteller(), theta, 8, 8, 10_000, generator)
    p = 1 - (1 - 1 / 8) * 0.8 ** torch.arange(8)
    assert ((acts.mean(0) - 1 / p).abs() < 2.5 * acts.std(0) / 100).all()


def test_certainty_keeps_a_finite_gradient():
    """With α = 1 a rewarded act becomes certain; the logarithms of the others stay finite, and so do gradients."""
    theta = {name: value.requires_grad_() for name, value in parameters(BushMosteller(), 1, alpha=1.0).items()}
    action, reward = torch.zeros(3, dtype=torch.int64), torch.ones(3, dtype=torch.float64)
    found = log_probs(BushMosteller(), theta, action, reward)
    assert torch.isfinite(found).all()
    found[:, 0].sum().backward()
    assert torch.isfinite(theta["alpha"].grad)
