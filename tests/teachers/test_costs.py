"""Costs to go: a naive loop, exact planning, and what cannot be had. M members, B states, S samples, H steps."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from imitate import nets
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.core.types import fold
from imitate.distributions.actions import Categorical
from imitate.policies import Greedy, Random
from imitate.teachers import Branching, Told, costs_of, costs_to_go, planner, policy_values
from imitate.teachers.planning import action_values
from imitate_envs import Discrete
from imitate_envs.gridworld import GridWorld
from tests.oracles import Reach, Walk

M, B, S, H = 2, 3, 2, 9


def source(env, members=M, num_envs=4, seed=0):
    return TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=members, seed=seed)


def by_loop(env, policy, state, elapsed, decisions, dynamics):
    """Each episode by itself: one state, one choice, one sample."""
    members, states = elapsed.shape
    samples, count = dynamics.shape[3], env.action.n
    costs = torch.zeros(members, states, count)
    for m in range(members):
        for b in range(states):
            for a in range(count):
                for s in range(samples):
                    one, age, action = tree.map(lambda x: x[m : m + 1, b : b + 1], state), int(elapsed[m, b]), None  # noqa: B023
                    for h in range(len(dynamics)):
                        if h == 0:
                            action = torch.tensor([[a]])
                        else:
                            obs = env.observe(one).expand(members, -1, -1)
                            noise = decisions[h, m, b, s].expand(members, 1, -1)
                            action = policy.act(obs, noise, None)[0][m : m + 1]
                        one, reward, ended = env.step(one, action, dynamics[h, m, b, s].reshape(1, 1, -1))
                        costs[m, b, a] -= float(reward) / samples
                        age += 1
                        if bool(ended) or age >= env.max_steps:
                            break
    return costs


def test_every_choice_is_tried_and_the_policy_goes_on_until_the_end():
    env, place = Walk(), source(Walk())
    policy = nets.policy(place, (8,), seed=7)
    carry, elapsed = place.carry, torch.tensor([[0, 2, 5], [6, 1, 0]])
    state = tree.map(lambda x: x[:, :B], carry.state)
    decisions, dynamics = torch.rand(H, M, B, S, policy.noise), torch.rand(H, M, B, S, env.step_noise)
    found = costs_to_go(env, policy, state, elapsed, decisions, dynamics)
    expected = by_loop(env, policy, state, elapsed, decisions, dynamics)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)  # sums of at most nine rewards of size 1
    assert len(found.unique()) == found.numel()


def test_without_noise_they_are_those_of_exact_planning():
    """A policy that errs where the row is odd, on a dry floor: Q = −(r + v) to the last bit of float32."""
    env = GridWorld(is_slippery=False, reward_schedule=(-1.0, -7.0, -1.0), max_steps=50)
    best = planner(env, 1.0).q[0].argmax(-1)
    wrong = torch.arange(25) == 11
    chosen = torch.where(wrong, (best + 2) % 4, best)  # away from the goal, and back: a detour that ends
    chosen[6] = best[6]
    table = nets.TabularPolicy(torch.nn.functional.one_hot(chosen, 4).float().unsqueeze(0))
    model = env.model()
    probs = torch.nn.functional.one_hot(chosen, 4).double()
    try:
        values = policy_values(model, probs, 1.0)
    except RuntimeError:
        pytest.fail("the policy never ends")
    exact = -action_values(model, values, 1.0)
    states = torch.arange(25).expand(1, 25)
    decisions, dynamics = torch.rand(50, 1, 25, 1, 0), torch.rand(50, 1, 25, 1, 1)
    found = costs_to_go(env, Greedy(table), states, torch.zeros_like(states), decisions, dynamics)[0]
    alive = ~model.terminal
    torch.testing.assert_close(found[alive], exact[alive].float(), rtol=0, atol=0)


def test_branching_drives_as_without_and_looks_at_one_state_in_every_few():
    place, other = source(Walk()), source(Walk())
    driver = nets.policy(place, (8,), seed=3)
    costs = Branching(place, Random(place.spec.action), every=2, samples=3)
    examples = costs(driver, 5)
    rollout = other.collect(driver, 5)
    assert torch.equal(examples.obs, fold(rollout.obs[::2]))
    assert examples.action.shape == (M, 3 * 4, 3)
    assert torch.equal(place.carry.obs, other.carry.obs)


def test_a_teacher_with_values_tells_them_and_what_is_not_admitted_costs_as_the_worst():
    class Knows:
        noise = 0

        def memory(self, *shape):
            return None

        def act(self, obs, noise, memory):
            return torch.zeros(obs.shape[:-1], dtype=torch.int64), None, {}

        def action_values(self, obs):
            return torch.stack([obs[..., 0], -obs[..., 0], torch.full_like(obs[..., 0], -torch.inf)], -1)

    place = source(Walk())
    examples = Told(place, Knows())(Random(place.spec.action), 4)
    x = examples.obs[..., 0]
    assert torch.equal(examples.action, torch.stack([-x, x, x.abs()], -1))


def test_a_tensor_environment_is_branched_whatever_its_teacher_tells():
    place = source(GridWorld(max_steps=9))
    assert isinstance(costs_of(place, planner(place.env)), Branching)


@dataclass(frozen=True)
class Elsewhere:
    """A source that is no tensor environment."""

    inner: TensorSource

    @property
    def spec(self):
        return self.inner.spec

    def collect(self, policy, steps):
        return self.inner.collect(policy, steps)

    def play(self, policy, episodes, seed):
        return self.inner.play(policy, episodes, seed)


class Remembers:
    """A policy with a memory."""

    noise: ClassVar[int] = 0
    action: ClassVar[Discrete] = Discrete(3)

    def memory(self, *shape):
        return torch.zeros(shape)

    def act(self, obs, noise, memory):
        return torch.zeros(memory.shape, dtype=torch.int64), memory, {}

    def distribution(self, obs):
        return Categorical.certain(torch.zeros(obs.shape[:-1], dtype=torch.int64), 3)


def test_where_nothing_is_branched_values_are_asked_for():
    place = source(GridWorld(max_steps=9))
    assert isinstance(costs_of(Elsewhere(place), planner(place.env)), Told)
    with pytest.raises(ValueError, match=r"^teacher: GridWorld cannot be branched, and a Random tells no action"):
        costs_of(Elsewhere(place), Random(place.spec.action))


def test_what_cannot_be_branched_is_refused():
    with pytest.raises(ValueError, match=r"^source: Reach cannot be branched; take one of our environments with"):
        Branching(source(Reach()), Random(Reach.action))
    with pytest.raises(ValueError, match=r"^teacher: it has a memory, which no state tells"):
        Branching(source(Walk()), Remembers())
    with pytest.raises(ValueError, match=r"^every: must be at least 1, not 0"):
        Branching(source(Walk()), Random(Walk.action), 0)
    with pytest.raises(ValueError, match=r"^env: .* has no finitely many choices to try"):
        costs_to_go(
            Reach(), Random(Reach.action), torch.zeros(1, 1, 2), torch.zeros(1, 1), *[torch.zeros(1, 1, 1, 1, 2)] * 2
        )
