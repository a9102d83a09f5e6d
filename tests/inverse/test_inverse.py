"""Inverse reinforcement learning against enumerated paths, finite differences and what the theory promises."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from imitate.core.rollout import TensorSource
from imitate.data import demonstrate
from imitate.inverse import (
    apprenticeship,
    empirical_occupancy,
    entered,
    max_margin,
    maximum_causal_entropy,
    maximum_entropy,
    occupancy,
)
from imitate.nets import TabularPolicy
from imitate.policies import Random
from imitate.teachers import planner, policy_iteration, policy_values, soft_policy_iteration, value_iteration
from imitate_envs import CartPole, FrozenLake, FrozenLake8x8, GridWorld
from imitate_envs.tabular import TabularModel

GAMMA = 0.9


def random_model(generator, states=3, actions=2):
    """Every state leads everywhere; the last one is terminal."""
    transition = torch.rand(states, actions, states, generator=generator, dtype=torch.float64)
    transition[-1] = one_hot(torch.tensor(states - 1), states)
    start = torch.rand(states, generator=generator, dtype=torch.float64)
    start[-1] = 0
    reward = torch.randn(states, actions, generator=generator, dtype=torch.float64)
    reward[-1] = 0
    terminal = torch.arange(states) == states - 1
    return TabularModel(transition / transition.sum(-1, keepdim=True), reward, terminal, start / start.sum())


def random_policy(generator, model):
    policy = torch.rand(model.states, model.actions, generator=generator, dtype=torch.float64)
    return policy / policy.sum(-1, keepdim=True)


def paths(model, horizon):
    """All (probability of the environment's draws, steps [(s, a)]) of at most `horizon` steps, by recursion."""

    def go_on(state, probability, steps):
        if model.terminal[state] or len(steps) == horizon:
            yield probability, steps
            return
        for action, following in itertools.product(range(model.actions), range(model.states)):
            share = probability * float(model.transition[state, action, following])
            yield from go_on(following, share, [*steps, (state, action)])

    for state in range(model.states):
        if model.start[state] > 0:
            yield from ((state, p, steps) for p, steps in go_on(state, 1.0, []))


def test_occupancy_is_that_of_all_paths(generator):
    model = random_model(generator)
    policy, horizon = random_policy(generator, model), 5
    total = torch.zeros_like(model.reward)
    for start, probability, steps in paths(model, horizon):
        weight = float(model.start[start]) * probability * math.prod(float(policy[s, a]) for s, a in steps)
        for s, a in steps:
            total[s, a] += weight
    torch.testing.assert_close(occupancy(model, policy, horizon=horizon), total, rtol=1e-12, atol=1e-12)
    each = torch.stack([policy] * horizon)
    torch.testing.assert_close(occupancy(model, each, horizon=horizon), total, rtol=1e-12, atol=1e-12)


def test_discounted_occupancy_earns_the_value(generator):
    model = random_model(generator, 6, 3)
    policy = random_policy(generator, model)
    earned = (occupancy(model, policy, GAMMA) * model.reward).sum()
    torch.testing.assert_close(earned, policy_values(model, policy, GAMMA) @ model.start)


def test_episodes_estimate_the_occupancy():
    env = FrozenLake()
    source = TensorSource(env, id="FrozenLake-v1", num_envs=2000, members=2)
    teacher = planner(env, GAMMA)
    demonstrations = demonstrate(source, teacher, 2000)
    exact = occupancy(env.model(), one_hot(teacher.q[0].argmax(-1), 4), GAMMA)
    found = torch.stack([empirical_occupancy(demonstrations, env.model(), GAMMA, member=m) for m in range(2)])
    # A visit count of an episode is at most 1/(1 − γ) with that mean, so its variance is at most mean/(1 − γ).
    error = (exact / (1 - GAMMA) / 2000).sqrt()
    assert ((found - exact).abs() <= 5 * error + 1e-12).all()
    assert not torch.equal(found[0], found[1])


def test_soft_values_are_those_of_sweeps(generator):
    model = random_model(generator, 6, 3)
    plan = soft_policy_iteration(model, GAMMA)
    values = np.zeros(6)
    for _ in range(400):
        q = model.reward.numpy() + GAMMA * model.continuing.numpy() @ values
        values = np.log(np.exp(q).sum(1))
        values[-1] = 0
    np.testing.assert_allclose(plan.values.numpy(), values, atol=1e-8)
    assert plan.iterations < 12


def test_soft_policies_do_not_see_shaping(generator):
    model = random_model(generator, 6, 3)
    potential = torch.randn(6, generator=generator, dtype=torch.float64) * ~model.terminal
    shaped = model.reward + (GAMMA * model.transition @ potential - potential.unsqueeze(1))
    one, other = (soft_policy_iteration(x, GAMMA).q.softmax(-1)[:-1] for x in (model, replace(model, reward=shaped)))
    torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_the_gradient_of_the_causal_dual_is_the_occupancy(generator):
    model = random_model(generator, 5, 3)

    def log_partition(reward):
        return float(soft_policy_iteration(replace(model, reward=reward), GAMMA).values @ model.start)

    policy = soft_policy_iteration(model, GAMMA).q.softmax(-1)
    found, step = occupancy(model, policy, GAMMA), 1e-4
    for s, a in itertools.product(range(4), range(3)):
        there = torch.zeros_like(model.reward)
        there[s, a] = step
        slope = (log_partition(model.reward + there) - log_partition(model.reward - there)) / (2 * step)
        assert slope == pytest.approx(float(found[s, a]), abs=1e-5)


def test_path_entropy_is_that_of_all_paths(generator):
    model, horizon = random_model(generator), 4
    shown = occupancy(model, random_policy(generator, model), horizon=horizon)
    found = maximum_entropy(model, shown, horizon, features=torch.eye(6).reshape(3, 2, 6), penalty=0.0, tolerance=1e-7)
    assert found.converged and found.gap <= 1e-7
    partition, visits, first = torch.zeros(3), torch.zeros(3, 3, 2), torch.zeros(3, 2)
    partition, visits, first = partition.double(), visits.double(), first.double()
    for start, probability, steps in paths(model, horizon):
        weight = probability * math.exp(sum(float(found.reward[s, a]) for s, a in steps))
        partition[start] += weight
        first[start, steps[0][1]] += weight
        for s, a in steps:
            visits[start, s, a] += weight
    starts = model.start > 0
    expected = (model.start[starts] / partition[starts]) @ visits[starts].flatten(1)
    torch.testing.assert_close(found.visits.flatten(), expected, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(expected, shown.flatten(), rtol=0, atol=1e-7)
    torch.testing.assert_close(found.policy[starts], first[starts] / partition[starts].unsqueeze(1))


def test_causal_entropy_finds_a_soft_teacher_again(generator):
    model = random_model(generator, 6, 3)
    teacher = soft_policy_iteration(model, GAMMA).q.softmax(-1)
    shown = occupancy(model, teacher, GAMMA)
    found = maximum_causal_entropy(
        model, shown, GAMMA, features=torch.eye(18).reshape(6, 3, 18), penalty=0.0, tolerance=1e-8
    )
    assert found.converged
    torch.testing.assert_close(found.policy[:-1], teacher[:-1], rtol=0, atol=1e-6)
    torch.testing.assert_close(found.visits, shown, rtol=0, atol=1e-8)


def test_a_penalty_is_a_prior(generator):
    model = random_model(generator, 6, 3)
    shown = occupancy(model, random_policy(generator, model), GAMMA)
    found = maximum_causal_entropy(model, shown, GAMMA, penalty=0.1, tolerance=1e-8)
    difference = torch.einsum("sa,sak->k", shown - found.visits, entered(model))
    torch.testing.assert_close(difference, 0.1 * found.weights, rtol=0, atol=1e-7)


def test_causal_entropy_on_a_lake():
    """A teacher who never errs, seen exactly: visits to 1e-3, and as good under the reward that was not told."""
    model = FrozenLake8x8().model()
    teacher = one_hot(value_iteration(model, 0.99).actions, 4)
    shown = occupancy(model, teacher, 0.99)
    found = maximum_causal_entropy(model, shown, 0.99, penalty=0.0, tolerance=1e-3)
    assert found.converged
    assert (found.visits.sum(1) - shown.sum(1)).abs().max() <= 1e-3
    assert (found.visits * model.reward).sum() >= 0.95 * (shown * model.reward).sum()


def test_apprenticeship_is_as_good_for_any_reward(generator):
    model = random_model(generator, 6, 3)
    shown = occupancy(model, random_policy(generator, model), GAMMA)
    found = apprenticeship(model, shown, GAMMA, tolerance=1e-3)
    assert found.converged
    torch.testing.assert_close(found.visits, occupancy(model, found.policy, GAMMA))  # the mixture as one policy
    phi = entered(model)
    distance = torch.einsum("sa,sak->k", shown - found.visits, phi).norm()
    assert distance <= 1e-3
    for _ in range(10):
        w = torch.randn(6, generator=generator, dtype=torch.float64)
        earned = ((shown - found.visits) * (phi @ (w / w.norm()))).sum()
        assert abs(float(earned)) <= float(distance) + 1e-12


def test_apprenticeship_projects(generator):
    """Three rounds, written out in numpy."""
    model = random_model(generator, 4, 2)
    shown = occupancy(model, random_policy(generator, model), GAMMA)
    found = apprenticeship(model, shown, GAMMA, max_iterations=4, tolerance=1e-12)
    phi = model.transition.numpy()

    def features(policy):
        return np.einsum("sa,sak->k", occupancy(model, policy, GAMMA).numpy(), phi)

    target = np.einsum("sa,sak->k", shown.numpy(), phi)
    mean = features(torch.full((4, 2), 0.5))
    for _ in range(3):
        w = target - mean
        plan = policy_iteration(replace(model, reward=torch.from_numpy(phi @ w)), GAMMA)
        apart = features(one_hot(plan.actions, 2)) - mean
        mean = mean + min(1.0, max(0.0, apart @ w / (apart @ apart))) * apart
    np.testing.assert_allclose(found.weights.numpy(), target - mean, rtol=1e-9, atol=1e-12)


def test_max_margin_minimises_its_objective(generator):
    model = random_model(generator, 6, 3)
    teacher = one_hot(policy_iteration(model, GAMMA).actions, 3).double()
    shown, phi = occupancy(model, teacher, GAMMA), entered(model)
    found = max_margin(model, shown, GAMMA, penalty=0.1, iterations=600)

    def objective(w):
        augmented = phi @ w + (shown == 0)
        best = policy_iteration(replace(model, reward=augmented), GAMMA).values @ model.start
        return float(0.05 * w @ w + best - w @ torch.einsum("sa,sak->k", shown, phi))

    lowest = objective(found.weights)
    assert lowest < objective(torch.zeros(6, dtype=torch.float64))
    for scale in (0.03, 0.3):
        for _ in range(20):
            other = found.weights + scale * torch.randn(6, generator=generator, dtype=torch.float64)
            assert objective(other) >= lowest - 0.02 * abs(lowest)


def test_max_margin_returns_to_the_teachers_way():
    model = GridWorld(is_slippery=False, desc=("SFFF", "FHFF", "FFFG")).model()
    teacher = one_hot(policy_iteration(model, GAMMA).actions, 4)
    found = max_margin(model, occupancy(model, teacher, GAMMA), GAMMA)
    assert (found.visits * model.reward).sum() == pytest.approx(
        float((occupancy(model, teacher, GAMMA) * model.reward).sum())
    )


def test_what_is_found_is_a_teacher(tmp_path, generator):
    model = random_model(generator, 6, 3)
    found = maximum_causal_entropy(model, occupancy(model, random_policy(generator, model), GAMMA), GAMMA)
    teacher = found.teacher("Somewhere-v0")
    assert isinstance(teacher, TabularPolicy) and teacher.env == "Somewhere-v0"
    probabilities = teacher.distribution(torch.arange(6).unsqueeze(0)).probs[0]
    torch.testing.assert_close(probabilities.double(), found.policy, rtol=1e-5, atol=1e-6)


METHODS = {
    "causal": lambda model, shown, **k: maximum_causal_entropy(model, shown, GAMMA, **k),
    "paths": lambda model, shown, **k: maximum_entropy(model, shown, 3, **k),
    "apprenticeship": lambda model, shown, **k: apprenticeship(model, shown, GAMMA, **k),
    "margin": lambda model, shown, **k: max_margin(model, shown, GAMMA, **k),
}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_bad_input(method, generator):
    model = random_model(generator)
    shown = occupancy(model, random_policy(generator, model), GAMMA)
    with pytest.raises(ValueError, match=r"^expert: visits \(3, 2\), not \(2, 3\)\.$"):
        method(model, shown.mT)
    for wrong in (-shown, shown * torch.nan, shown * 0):
        with pytest.raises(ValueError, match=r"^expert: visits are finite, at least 0, and not all 0\.$"):
            method(model, wrong)
    for wrong in (torch.ones(3, 2), torch.full((3, 2, 1), torch.inf)):
        with pytest.raises(ValueError, match=r"^features: finite numbers \(3, 2, K\), not "):
            method(model, shown, features=wrong)


def test_demonstrations_of_another_place(generator):
    model = random_model(generator)
    source = TensorSource(CartPole(), id="CartPole-v1", num_envs=2, members=1)
    seen = demonstrate(source, Random(source.spec.action), 2, deterministic=False)
    with pytest.raises(ValueError, match=r"^demonstrations: observations that are numbers of states"):
        empirical_occupancy(seen, model)
    lake = TensorSource(FrozenLake(), id="FrozenLake-v1", num_envs=2, members=1)
    seen = demonstrate(lake, planner(FrozenLake()), 20)
    with pytest.raises(ValueError, match=r"^demonstrations: beyond the 3 states and 2 actions of the model\.$"):
        empirical_occupancy(seen, model)
    with pytest.raises(ValueError, match=r"^policy: probabilities \(3, 2\), not \(2, 3\)\.$"):
        occupancy(model, torch.ones(2, 3))
