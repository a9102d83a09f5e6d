"""Learners of tables, against textbook loops and against the planners."""

import dataclasses
import itertools
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

import imitate
from imitate.__main__ import main
from imitate.baselines import (
    DoubleQLearning,
    ExpectedSarsa,
    ExpectedSarsaConfig,
    MonteCarlo,
    MonteCarloConfig,
    QLambda,
    QLearning,
    Sarsa,
    SarsaConfig,
    TabularConfig,
    TDLambda,
    TDLambdaConfig,
    TraceConfig,
    monte_carlo,
    q_learning,
    sarsa,
)
from imitate.core import checkpoint, rollout, tree
from imitate.core.noise import Stream, normal
from imitate.core.rollout import TensorSource
from imitate.registry import BASELINES
from imitate.teachers import policy_values, value_iteration
from imitate_envs import Bandit, CartPole, Chain, DeepSea, Discrete, GridWorld
from tests.oracles import Recorded, Sliced, snapshot, unsaved_changes

LEARNERS = {
    "monte-carlo": (MonteCarlo, MonteCarloConfig),
    "td-lambda": (TDLambda, TDLambdaConfig),
    "sarsa": (Sarsa, SarsaConfig),
    "expected-sarsa": (ExpectedSarsa, ExpectedSarsaConfig),
    "q-learning": (QLearning, TabularConfig),
    "q-lambda": (QLambda, TraceConfig),
    "double-q-learning": (DoubleQLearning, TabularConfig),
}
CONTROL = [name for name in LEARNERS if name != "td-lambda"]
LONG = GridWorld(max_steps=10_000)  # the clock never cuts


@pytest.fixture(params=LEARNERS)
def name(request):
    return request.param


def learner(name, env=None, members=1, num_envs=1, seed=0, **options):
    env = GridWorld() if env is None else env
    source = TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=members, seed=seed)
    kind, config = LEARNERS[name]
    return kind(source, config(**options))


def finish(algorithm):
    while not algorithm.progress.finished:
        metrics = algorithm.step()
    return metrics


def everything(algorithm):
    return dict(tree.flatten(checkpoint.state_of(algorithm)))


def equal(a, b):
    a, b = everything(a), everything(b)
    return a.keys() == b.keys() and all(torch.equal(a[path], b[path]) for path in a)


# Textbooks: one environment, one step after the other


class Steps:
    """The steps that a source hands out, as a list of numbers for each environment."""

    def __init__(self, algorithm, monkeypatch):
        self.rollouts, collect = [], algorithm.source.collect
        monkeypatch.setattr(
            algorithm.source, "collect", lambda *a: self.rollouts.append(collect(*a)) or self.rollouts[-1]
        )

    def of(self, env=0):
        return [
            tuple(
                getattr(seen, field)[t, 0, env].item()
                for field in ("obs", "action", "reward", "next_obs", "terminated", "truncated")
            )
            for seen in self.rollouts
            for t in range(len(seen.reward))
        ]


class Textbook:
    """Tables of one environment and their eligibility traces, as dictionaries."""

    def __init__(self, shape, gamma, lam, alpha, omega):
        self.table, self.count, self.trace = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        self.gamma, self.lam, self.alpha, self.omega = gamma, lam, alpha, omega

    def learn(self, entry, error, keep=True):
        self.trace = self.trace * (self.gamma * self.lam if keep else 0)
        self.trace[entry] += 1
        self.count[entry] += 1
        self.table += self.alpha / np.maximum(self.count, 1) ** self.omega * error * self.trace


NUMBERS = {"gamma": 0.9, "alpha": 0.7, "omega": 0.6}


@pytest.mark.parametrize("lam", [0.0, 0.5, 0.95])
def test_td_lambda_is_the_textbooks(lam, monkeypatch):
    mine = learner("td-lambda", GridWorld(max_steps=9), steps=1200, lam=lam, **NUMBERS)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    book, goes_on, ends = Textbook(25, lam=lam, **NUMBERS), False, [0, 0]
    for obs, _, reward, after, terminated, truncated in steps.of():
        error = reward + 0.9 * (not terminated) * book.table[after] - book.table[obs]
        book.learn(obs, error, goes_on)
        goes_on = not (terminated or truncated)
        ends[0] += terminated
        ends[1] += truncated
    np.testing.assert_allclose(mine.values[0].numpy(), book.table, rtol=0, atol=1e-5)
    assert min(ends) > 20 and np.abs(book.table).max() > 0.01


@pytest.mark.parametrize("lam", [0.0, 0.8])
@pytest.mark.parametrize("length", [1, 7])
def test_sarsa_is_the_textbooks(lam, length, monkeypatch):
    mine = learner("sarsa", LONG, steps=1001, rollout=length, lam=lam, epsilon=0.5, epsilon_end=0.5, **NUMBERS)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    book, goes_on, seen = Textbook((25, 4), lam=lam, **NUMBERS), False, steps.of()
    for (obs, action, reward, after, terminated, _), (_, next_action, *_) in itertools.pairwise(seen):
        error = reward + 0.9 * (not terminated) * book.table[after, next_action] - book.table[obs, action]
        book.learn((obs, action), error, goes_on)
        goes_on = not terminated
    np.testing.assert_allclose(mine.policy.q[0].numpy(), book.table, rtol=0, atol=1e-5)
    assert np.abs(book.table).max() > 0.05


def test_q_learning_is_the_textbooks(monkeypatch):
    mine = learner("q-learning", GridWorld(max_steps=9), steps=1200, **NUMBERS)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    book = Textbook((25, 4), lam=0.0, **NUMBERS)
    for obs, action, reward, after, terminated, _ in steps.of():
        error = reward + 0.9 * (not terminated) * book.table[after].max() - book.table[obs, action]
        book.learn((obs, action), error)
    np.testing.assert_allclose(mine.policy.q[0].numpy(), book.table, rtol=0, atol=1e-5)


def test_q_lambda_is_the_textbooks(monkeypatch):
    mine = learner("q-lambda", LONG, steps=1200, lam=0.8, epsilon=0.4, epsilon_end=0.4, **NUMBERS)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    book, goes_on, cuts = Textbook((25, 4), lam=0.8, **NUMBERS), False, 0
    for obs, action, reward, after, terminated, _ in steps.of():
        greedy = book.table[obs, action] >= book.table[obs].max() - 1e-7
        error = reward + 0.9 * (not terminated) * book.table[after].max() - book.table[obs, action]
        book.learn((obs, action), error, goes_on and greedy)
        cuts += goes_on and not greedy
        goes_on = not terminated
    np.testing.assert_allclose(mine.policy.q[0].numpy(), book.table, rtol=0, atol=1e-4)
    assert 100 < cuts < 900


def test_expected_sarsa_is_the_textbooks(monkeypatch):
    mine = learner("expected-sarsa", GridWorld(max_steps=9), steps=1200, epsilon=0.4, epsilon_end=0.4, **NUMBERS)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    book = Textbook((25, 4), lam=0.0, **NUMBERS)
    for obs, action, reward, after, terminated, _ in steps.of():
        policy = np.full(4, 0.1)
        policy[book.table[after].argmax()] += 0.6
        error = reward + 0.9 * (not terminated) * policy @ book.table[after] - book.table[obs, action]
        book.learn((obs, action), error)
    np.testing.assert_allclose(mine.policy.q[0].numpy(), book.table, rtol=0, atol=1e-5)


def test_double_q_learning_is_the_textbooks(monkeypatch):
    mine = learner("double-q-learning", GridWorld(max_steps=9), steps=1200, **NUMBERS)
    steps, mine.coins = Steps(mine, monkeypatch), Recorded(mine.coins)
    finish(mine)
    books = [Textbook((25, 4), lam=0.0, **NUMBERS) for _ in range(2)]
    for (obs, action, reward, after, terminated, _), coin in zip(steps.of(), mine.coins.handed, strict=True):
        own, other = books if coin.item() >= 0.5 else books[::-1]
        value = other.table[after, own.table[after].argmax()]
        own.learn((obs, action), reward + 0.9 * (not terminated) * value - own.table[obs, action])
    for table, book in zip(mine.tables[0], books, strict=True):
        np.testing.assert_allclose(table.numpy(), book.table, rtol=0, atol=1e-5)
    torch.testing.assert_close(mine.policy.q, mine.tables.mean(1))


def returns_by_visit(steps, gamma, cut):
    """(state, action), return of every visit, episode after episode; `cut` values the state where the clock cuts."""
    episode, found = [], []
    for obs, action, reward, after, terminated, truncated in steps:
        episode.append((obs, action, reward))
        if terminated or truncated:
            total = cut(after) if truncated else 0.0
            for o, a, r in reversed(episode):
                total = r + gamma * total
                found.append(((o, a), total))
            episode = []
    return found


@pytest.mark.parametrize("length", [1, 3, 40])
def test_monte_carlo_is_the_mean_of_all_returns(length, monkeypatch):
    """With α = ω = 1, however episodes lie across the rollouts; each visit counts once."""
    options = {"steps": 1200, "rollout": length, "alpha": 1.0, "omega": 1.0, "gamma": 0.9, "explore": 0.0}
    mine = learner("monte-carlo", GridWorld(max_steps=500), num_envs=3, epsilon_end=1.0, **options)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    total, count = np.zeros((25, 4)), np.zeros((25, 4))
    for env in range(3):
        for entry, value in returns_by_visit(steps.of(env), 0.9, lambda _: pytest.fail("cut")):
            total[entry] += value
            count[entry] += 1
    np.testing.assert_array_equal(mine.rule.count[0].view(25, 4).numpy(), count)
    np.testing.assert_allclose(mine.policy.q[0].numpy(), total / np.maximum(count, 1), rtol=0, atol=1e-5)
    assert 900 < count.sum() <= 1200


@pytest.mark.parametrize(
    ("kind", "options"), [("monte-carlo", {}), ("sarsa", {}), ("sarsa", {"lam": 0.9}), ("expected-sarsa", {})]
)
def test_where_the_clock_cuts_the_value_goes_on(kind, options):
    """The chain is cut every 4 steps; still the values are those of the endless one."""
    mine = learner(
        kind, Chain(n=2, max_steps=4), num_envs=256, members=2, steps=256 * 1000, gamma=0.8, epsilon_end=1.0,
        omega=0.8, rollout=20, **options,
    )  # fmt: skip
    finish(mine)
    exact = value_iteration(Chain(n=2).model(), 0.8, epsilon=1.0).q.float()
    torch.testing.assert_close(mine.policy.q, exact.expand(2, 2, 2), rtol=0.02, atol=0)  # of values from 15 to 25


@pytest.mark.parametrize(
    ("kind", "options"), [("monte-carlo", {}), ("sarsa", {"lam": 0.8}), ("td-lambda", {}), ("q-lambda", {})]
)
def test_a_resume_in_new_episodes_does_not_join_them_to_the_old_ones(kind, options):
    """Gymnasium's environments begin anew; what reaches back over the seam is as if the clock had cut there."""

    def fresh():
        algorithm, config = LEARNERS[kind]
        source = imitate.make("CliffWalking-v1", num_envs=3, native=False, env_kwargs={"max_episode_steps": 400})
        return algorithm(source, config(steps=10_000, rollout=7, **options))

    first = fresh()
    for _ in range(3):
        first.step()
    state = checkpoint.state_of(first)
    resumed, cut = fresh(), fresh()
    for one in (resumed, cut):
        checkpoint.load_state(one, tree.map(torch.clone, state))
    if kind in ("monte-carlo", "sarsa"):
        last = cut.window.steps if kind == "monte-carlo" else cut.waiting.step
        assert not last.done[-1].any()
        last.truncated[-1] = True
    else:
        assert cut.traces.trace.any()
        cut.traces.trace.zero_()
    for _ in range(60):
        resumed.step()
        cut.step()
    mine, theirs = (dict(tree.flatten(checkpoint.state_of(one))) for one in (resumed, cut))
    for path, value in mine.items():
        assert torch.equal(value, theirs[path]), path


def test_ended_within_by_hand():
    done = torch.tensor([0, 1, 0, 0, 1, 0, 1, 0], dtype=torch.bool).reshape(8, 1, 1)
    assert monte_carlo.ended_within(done, 4).flatten().tolist() == [False, False, True, True, True, True, True, False]


# Reductions


@pytest.mark.parametrize("num_envs", [1, 5])
def test_td_1_is_monte_carlo(num_envs, monkeypatch):
    """Where no state is seen twice in an episode, TD(1) with α_n = 1/n is the mean of all returns, online."""
    mine = learner(
        "td-lambda", DeepSea(5), num_envs=num_envs, steps=500 * num_envs, lam=1.0, gamma=1.0, alpha=1.0, omega=1.0,
        rollout=5,
    )  # fmt: skip
    steps = Steps(mine, monkeypatch)
    finish(mine)
    returns = {}
    for env in range(num_envs):
        for (state, _), value in returns_by_visit(steps.of(env), 1.0, lambda _: 0.0):
            returns.setdefault(state, []).append(value)
    for state, values in returns.items():
        assert mine.values[0, state].item() == pytest.approx(np.mean(values), abs=1e-5)


def test_expected_sarsa_with_a_greedy_target_is_q_learning():
    options = {"members": 2, "num_envs": 4, "steps": 2000}
    one = learner("expected-sarsa", target_epsilon=0.0, **options)
    other = learner("q-learning", **options)
    finish(one), finish(other)
    assert torch.equal(one.policy.q, other.policy.q) and one.policy.q.any()


def test_q_lambda_without_traces_is_q_learning():
    options = {"members": 2, "num_envs": 4, "steps": 2000}
    one, other = learner("q-lambda", lam=0.0, **options), learner("q-learning", **options)
    finish(one), finish(other)
    torch.testing.assert_close(one.policy.q, other.policy.q, rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["q-learning", "q-lambda", "expected-sarsa", "td-lambda"])
def test_steps_are_learnt_one_after_the_other_however_they_are_gathered(kind):
    """Of a driver that does not look at the values; a rollout is no batch."""
    options = {"members": 2, "num_envs": 4, "steps": 480}
    options |= {} if kind == "td-lambda" else {"epsilon_end": 1.0}
    one, other = (learner(kind, rollout=length, **options) for length in (1, 30))
    finish(one), finish(other)
    if kind == "td-lambda":
        assert torch.equal(one.values, other.values) and one.values.any()
    else:
        assert torch.equal(one.policy.q, other.policy.q) and one.policy.q.any()


@pytest.mark.parametrize("kind", ["q-learning", "double-q-learning", "expected-sarsa", "q-lambda"])
def test_on_a_dry_floor_the_answer_is_exact(kind):
    """Without chance α = 1 is no guess: after enough visits every value is the planner's, to rounding."""
    env = GridWorld(is_slippery=False, reward_schedule=(1.0, -1.0, -0.01))
    options = {"target_epsilon": 0.0} if kind == "expected-sarsa" else {"lam": 0.0} if kind == "q-lambda" else {}
    mine = learner(
        kind, env, members=2, num_envs=32, steps=20_000, gamma=0.9, alpha=1.0, omega=0.0, epsilon_end=1.0, rollout=10,
        **options,
    )  # fmt: skip
    finish(mine)
    exact = value_iteration(env.model(), 0.9).q.float()
    torch.testing.assert_close(mine.policy.q, exact.expand(2, 25, 4), rtol=0, atol=1e-5)


def test_q_learning_of_a_bandit_is_the_sample_average(monkeypatch):
    mine = learner("q-learning", Bandit(), num_envs=7, steps=2100, alpha=1.0, omega=1.0, gamma=0.9)
    steps = Steps(mine, monkeypatch)
    finish(mine)
    paid = [[] for _ in range(10)]
    for env in range(7):
        for _, action, reward, *_ in steps.of(env):
            paid[action].append(reward)
    assert mine.policy.q[0, 0].tolist() == pytest.approx([np.mean(p) for p in paid], abs=1e-5)


# The planner's answer on the slippery 5×5 grid. Values there go up to 0.96; γ = 0.9, ω = 0.75, 768,000 steps.

GRID = {"gamma": 0.9, "omega": 0.75, "members": 2, "num_envs": 512, "steps": 512 * 1500}
LIVE = ~GridWorld().model().terminal


def largest_error(mine, plan):
    return (mine.policy.q.double() - plan.q)[:, LIVE].abs().max().item()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("q-learning", {"rollout": 20}),
        ("double-q-learning", {"rollout": 20}),
        ("q-lambda", {"rollout": 20}),
        ("expected-sarsa", {"rollout": 20, "target_epsilon": 0.0}),
    ],
)
def test_off_policy_learners_find_the_best_values(kind, options):
    """Largest error of any Q(s, a), behaving at random: 0.02."""
    mine = learner(kind, epsilon_end=1.0, **GRID, **options)
    finish(mine)
    assert largest_error(mine, value_iteration(GridWorld().model(), 0.9)) < 0.02


@pytest.mark.parametrize(
    ("kind", "options", "bound"),
    [
        ("sarsa", {"lam": 0.0}, 0.025),
        ("sarsa", {"lam": 0.8}, 0.025),
        ("expected-sarsa", {"rollout": 20}, 0.02),
        ("monte-carlo", {"rollout": 20}, 0.04),
    ],
)
def test_on_policy_learners_find_the_best_values_for_their_exploration(kind, options, bound):
    """Largest error of any Q(s, a) against value iteration for the best 0.3-greedy policy."""
    mine = learner(kind, epsilon=0.3, epsilon_end=0.3, **GRID, **options)
    finish(mine)
    assert largest_error(mine, value_iteration(GridWorld().model(), 0.9, epsilon=0.3)) < bound


@pytest.mark.parametrize(("kind", "bound"), [("sarsa", 0.025), ("expected-sarsa", 0.025), ("monte-carlo", 0.04)])
def test_on_policy_learners_find_the_best_values_as_exploration_ends(kind, bound):
    """Largest error of any max Q(s, ·) against plain value iteration, ε falling from 0.5 to 0."""
    mine = learner(kind, epsilon=0.5, epsilon_end=0.0, rollout=10, **{**GRID, "omega": 0.6})
    finish(mine)
    plan = value_iteration(GridWorld().model(), 0.9)
    assert (mine.policy.values.double() - plan.values)[:, LIVE].abs().max().item() < bound


def test_td_lambda_finds_the_values_of_the_best_policy():
    """And so the planner's: largest error of any v(s) 0.01."""
    plan = value_iteration(GridWorld().model(), 0.9)
    source = TensorSource(GridWorld(), id="grid", num_envs=512, members=2)
    best = imitate.teachers.planner(GridWorld(), 0.9)
    mine = TDLambda(source, TDLambdaConfig(steps=512 * 1500, gamma=0.9, omega=0.75), policy=best)
    finish(mine)
    assert (mine.values.double() - plan.values)[:, LIVE].abs().max().item() < 0.01


def test_td_lambda_finds_the_values_of_the_random_policy():
    """Largest error of any v(s): 0.02."""
    mine = learner("td-lambda", **GRID)
    finish(mine)
    exact = policy_values(GridWorld().model(), torch.full((25, 4), 0.25), 0.9)
    assert (mine.values.double() - exact)[:, LIVE].abs().max().item() < 0.02


# Maximisation bias


@dataclass(frozen=True)
class LeftRight:
    """Sutton & Barto (2018), example 6.7: to the right 0; to the left, then whatever one does, N(−0.1, 1)."""

    max_steps: int = 3

    observation: ClassVar[Discrete] = Discrete(3)  # A, B, the end
    action: ClassVar[Discrete] = Discrete(10)  # in A the first five go left, the others right
    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 0

    def reset(self, noise):
        return torch.zeros(noise.shape[:-1], dtype=torch.int64)

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        left = (state == 0) & (action < 5)
        reward = torch.where(state == 1, normal(noise[..., 0]) - 0.1, 0.0)
        return torch.where(left, 1, 2), reward, ~left


@pytest.mark.parametrize("epsilon", [0.1, 1.0])
def test_double_q_learning_overestimates_less(epsilon):
    """Of 300 members each; α = 0.1 and γ = 1 as in figure 6.5, where ε = 0.1. Going left is worth −0.1."""
    lefts, values = {}, {}
    for kind in ("q-learning", "double-q-learning"):
        mine = learner(
            kind, LeftRight(), members=300, steps=500, gamma=1.0, alpha=0.1, omega=0.0, epsilon=epsilon,
            epsilon_end=epsilon,
        )  # fmt: skip
        seen, collect = [], mine.source.collect
        mine.source.collect = lambda *a, collect=collect, seen=seen: seen.append(collect(*a)) or seen[-1]
        finish(mine)
        obs, action = (torch.cat([getattr(s, field) for s in seen]) for field in ("obs", "action"))
        lefts[kind] = (action[obs == 0] < 5).float().mean().item()
        values[kind] = mine.policy.q[:, 0, :5].mean().item()
    if epsilon == 1:
        assert values["q-learning"] > 0.2 and abs(values["double-q-learning"] + 0.1) < 0.1
    else:
        assert lefts["q-learning"] > lefts["double-q-learning"] + 0.1
        assert values["q-learning"] > values["double-q-learning"]


# Members, runs, resume


SHORT = {"steps": 600, "rollout": 5}
OWN = {"gamma": (0.9, 0.5, 0.99), "alpha": (1.0, 0.5, 0.1), "omega": (0.7, 1.0, 0.0)}
OWN_EPSILON = {"epsilon": (1.0, 0.5, 0.2), "epsilon_end": (0.3, 0.1, 0.2), "initial": (0.0, 1.0, -1.0)}


def test_members_are_single_runs_on_the_same_noise(name, monkeypatch):
    members, env = 3, GridWorld(max_steps=9)
    own = {**OWN, **({} if name == "td-lambda" else OWN_EPSILON)}
    own |= {"lam": (0.0, 0.5, 0.9)} if name in ("td-lambda", "sarsa", "q-lambda") else {}
    own |= {"target_epsilon": (0.0, 0.5, 1.0)} if name == "expected-sarsa" else {}
    together = learner(name, env, members, 4, **SHORT, **own)
    finish(together)
    for m in range(members):
        with monkeypatch.context() as patch:
            for module in (rollout, sarsa, q_learning):
                patch.setattr(module, "Stream", lambda *args, m=m: Sliced(Stream(*args), members, m))
            if name == "double-q-learning":
                patch.setattr(q_learning, "Stream", lambda *args, m=m: Coins(Stream(*args), members, m))
            alone = learner(name, env, 1, 4, **SHORT, **{key: value[m] for key, value in own.items()})
            finish(alone)
        table = [mine.values if name == "td-lambda" else mine.policy.q for mine in (alone, together)]
        torch.testing.assert_close(table[0][0], table[1][m], rtol=1e-5, atol=1e-6)
    assert not torch.equal(table[1][0], table[1][1])


class Coins(Sliced):
    """As `Sliced`, of uniforms [T, M, N]."""

    def uniform(self, *shape):
        time, one, envs = shape
        assert one == 1
        return self.stream.uniform(time, self.members, envs)[:, self.member : self.member + 1].clone()


def test_two_runs_are_equal_bit_for_bit(name):
    one, two, other = (learner(name, members=2, num_envs=3, seed=seed, **SHORT) for seed in (0, 0, 1))
    torch.manual_seed(5)  # of no account
    for _ in range(10):
        a, b = one.step(), two.step()
        torch.rand(1)
        other.step()
    assert equal(one, two) and not equal(one, other)
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_whatever_changes_is_saved(name):
    mine = learner(name, GridWorld(max_steps=9), members=2, num_envs=3, **SHORT)
    mine.step()
    before = snapshot(mine)
    for _ in range(5):
        mine.step()
    assert unsaved_changes(mine, before, checkpoint.state_of(mine)) == []


def test_a_checkpoint_of_another_size_is_refused(name):
    with pytest.raises(ValueError, match=r"this run needs|does not fit this run"):
        checkpoint.load_state(learner(name, members=2), checkpoint.state_of(learner(name, members=3)))


# Metrics, schedules, bad input


def test_the_protocol(name):
    mine = learner(name, members=3, num_envs=2, steps=40, rollout=4)
    assert (mine.progress.budget, mine.progress.finished, mine.progress.labels.tolist()) == (40, False, [0, 0, 0])
    metrics = finish(mine)
    assert {"loss", "reward"} <= set(metrics)
    assert all(value.shape == (3,) and value.isfinite().all() for value in metrics.values())
    assert int(mine.progress.steps) >= 40 and mine.progress.steps.dtype is torch.int64


def test_loss_is_the_mean_squared_error():
    mine = learner("q-learning", Bandit((2.0,)), members=2, num_envs=50, steps=100)
    metrics = mine.step()
    torch.testing.assert_close(metrics["reward"], mine.policy.q[:, 0, 0])  # α = 1: the mean of the first targets
    assert (metrics["loss"] > metrics["reward"].square()).all()


def test_epsilon_falls_linearly_and_stays():
    mine = learner("q-learning", num_envs=10, steps=1000, epsilon=0.9, epsilon_end=0.1, explore=0.4)
    found = [mine.step()["epsilon"].item() for _ in range(100)]
    assert found[::10] == pytest.approx([0.9, 0.7, 0.5, 0.3] + [0.1] * 6, abs=1e-6)
    assert learner("q-learning", explore=0.0).step()["epsilon"].item() == pytest.approx(0.05)


def test_ties_are_broken_at_random():
    mine = learner("q-learning", members=2, num_envs=200, steps=10**6, epsilon=0.0, epsilon_end=0.0)
    actions = mine.exploration.collect(mine.progress).action
    assert (torch.bincount(actions.flatten(), minlength=4) > 60).all()


def test_optimism_explores_without_epsilon():
    """Values that are too high are tried until they are not: so the treasure of the deep sea is found."""
    options = {"epsilon": 0.0, "epsilon_end": 0.0, "steps": 2000, "gamma": 0.99, "omega": 0.0}
    curious = learner("q-learning", DeepSea(6), num_envs=1, initial=1.0, **options)
    finish(curious)
    assert curious.source.play(curious.policy, 1, seed=0).item() == pytest.approx(0.99)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps: must be at least 1, not 0"),
        ({"rollout": 0}, "rollout: must be at least 1, not 0"),
        ({"gamma": (0.9, 0.9, 0.9)}, "gamma: 3 values for 2 members"),
        ({"alpha": (0.9,)}, "alpha: 1 values for 2 members"),
    ],
)
def test_bad_numbers_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        learner(name, members=2, **options)


def test_bad_input():
    with pytest.raises(ValueError, match=r"explore: must be in \[0, 1\], not 1.5"):
        learner("q-learning", explore=1.5)
    with pytest.raises(ValueError, match=r"epsilon: 3 values for 2 members"):
        learner("sarsa", members=2, epsilon=(0.1, 0.1, 0.1))
    for kind in LEARNERS:
        with pytest.raises(ValueError, match=r"env: a table needs a Discrete observation space; .* Box\(4,\)"):
            learner(kind, CartPole())
    with pytest.raises(ValueError, match="needs a time limit"):
        learner("monte-carlo", GridWorld(max_steps=10**6))


# Elsewhere


def test_gymnasiums_own_environments_are_learnt_too():
    source = imitate.make("FrozenLake-v1", 4, members=2, native=False, env_kwargs={"is_slippery": False})
    mine = QLearning(source, TabularConfig(steps=4000, gamma=0.9))
    finish(mine)
    assert (source.play(mine.policy, 5, seed=0) == 1).all()
    source.close()


def test_the_command_line_knows_them(name, tmp_path, capsys):
    assert BASELINES[name][:2] == LEARNERS[name]
    arguments = ["train", name, "--env", "FrozenLake-v1", "--members", "2", "--num-envs", "4", "--steps", "400"]
    arguments += ["--episodes", "2", "--device", "cpu", "--out", str(tmp_path)]
    assert main(arguments) == 0
    learnt = imitate.load(tmp_path)
    assert isinstance(learnt, imitate.TabularPolicy) and (learnt.members, learnt.env) == (2, "FrozenLake-v1")
    assert main([*arguments, "--resume"]) == 0
    assert "finished" in capsys.readouterr().out


def test_a_learnt_policy_is_a_teacher(tmp_path):
    mine = learner("q-learning", members=2, num_envs=8, steps=2000)
    finish(mine)
    mine.policy.save(tmp_path)
    teacher = imitate.teachers.load(tmp_path, device="cpu")
    obs = torch.randint(25, (2, 6))
    assert torch.equal(teacher.distribution(obs).mode, mine.policy.distribution(obs).mode)
    assert dataclasses.is_dataclass(teacher.distribution(obs))
