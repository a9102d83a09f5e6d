"""Evaluation: pairing, percentages, intervals. Letters: M members, E episodes."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import imitate
from imitate import nets
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.experiment import Evaluation, Evaluator, evaluate
from imitate.experiment.evaluate import EVALUATION_SEED, interval, iqm
from imitate.teachers import control_law
from tests.oracles import Reach, Walk

M = 3


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=2, members=members, seed=seed)


def decided(place, seed=7):
    """A random policy network that is not undecided."""
    policy = nets.policy(place, (8,), seed=seed)
    with torch.no_grad():
        policy.head.linear.weight.mul_(100)
    return policy


@pytest.mark.parametrize("deterministic", [True, False])
def test_a_teacher_is_exactly_as_good_as_itself(deterministic):
    """Also as another object: the noise is the same, so the returns are, and the quotient is not rounded."""
    for seed in range(5):
        teacher, twin = decided(source(Reach()), seed), decided(source(Reach()), seed)
        for student in (teacher, twin):
            found = evaluate(student, source(Reach()), 7, teacher=teacher, deterministic=deterministic)
            assert np.array_equal(found.returns, found.teacher)
            assert found.percent_of_teacher == 100.0
            assert found.percent_ci == (100.0, 100.0)


def test_a_random_policy_is_worth_nothing():
    place = source()
    random = imitate.policies.Random(place.action)
    found = evaluate(random, place, 7, teacher=decided(place), deterministic=False)
    assert np.array_equal(found.returns, found.random)
    assert found.percent_of_teacher == 0.0


def test_the_random_policy_draws_even_where_the_others_do_not():
    place, teacher = source(), decided(source())
    drawn = place.play(imitate.policies.Random(place.action), 7, EVALUATION_SEED).double().numpy()
    for deterministic in (True, False):
        found = evaluate(teacher, place, 7, teacher=teacher, deterministic=deterministic)
        assert np.array_equal(found.random, drawn)
    always = evaluate(imitate.policies.Random(place.action), place, 7)
    assert not np.array_equal(always.returns, drawn)


def test_all_play_on_the_same_noise_and_another_seed_is_another():
    place, one, two = source(), decided(source(), 1), decided(source(), 2)
    first, second = (evaluate(p, place, 6, teacher=decided(source())) for p in (one, two))
    assert np.array_equal(first.teacher, second.teacher)
    assert np.array_equal(first.random, second.random)
    assert not np.array_equal(first.returns, second.returns)
    assert np.array_equal(first.returns, evaluate(one, place, 6).returns)
    assert not np.array_equal(first.returns, evaluate(one, place, 6, seed=5).returns)
    assert not np.array_equal(first.returns, evaluate(one, place, 6, deterministic=False).returns)


def test_the_source_is_left_alone():
    place = source()
    place.collect(decided(place), 3)
    before = tree.map(torch.clone, place.state_dict())
    found = evaluate(decided(place), place, 6, teacher=decided(place, 3))
    assert found.returns.shape == found.teacher.shape == found.random.shape == (M, 6)
    for (_, a), (_, b) in zip(tree.flatten(before), tree.flatten(place.state_dict()), strict=True):
        assert torch.equal(a, b)


def test_an_id_is_enough():
    law = control_law("CartPole-v1")
    found = evaluate(law, "CartPole-v1", 3)
    assert found.returns.shape == (1, 3)
    assert found.returns.mean() > 400
    assert evaluate(law, "CartPole-v1", 2, members=4).returns.shape == (4, 2)
    policy = nets.policy(imitate.make("CartPole-v1", members=3))
    assert evaluate(policy, "CartPole-v1", 2).returns.shape == (3, 2)
    with pytest.raises(ValueError, match="'CartPol-v1' is unknown"):
        evaluate(law, "CartPol-v1", 3)
    with pytest.raises(ValueError, match="episodes: at least 1, not 0"):
        evaluate(law, "CartPole-v1", 0)


def test_a_judge_lets_teacher_and_random_policy_play_once():
    place, teacher, student = source(), decided(source()), decided(source(), 1)
    played, play = [], place.play
    place.play = lambda policy, *a: played.append(policy) or play(policy, *a)
    evaluator = Evaluator(place, 5, teacher=teacher)
    found = [evaluator(student), evaluator(student), evaluator(teacher)]
    assert len(played) == 4
    for one in found[:2]:
        direct = evaluate(student, source(), 5, teacher=teacher)
        assert np.array_equal(one.returns, direct.returns)
        assert np.array_equal(one.teacher, direct.teacher)
        assert np.array_equal(one.random, direct.random)
    assert found[2].percent_of_teacher == 100


def rows(*values):
    return np.array(values, float)


def test_the_percentage_by_hand():
    found = Evaluation(rows([10, 20], [30, 60]), rows([50, 50], [50, 90]), rows([0, 10], [10, 20]))
    # means: student 30, teacher 60, random 10
    assert found.percent_of_teacher == pytest.approx(100 * (30 - 10) / (60 - 10))
    assert Evaluation(rows([1.0, 2.0])).percent_of_teacher is None
    assert Evaluation(rows([1.0, 2.0])).percent_ci is None
    worse = Evaluation(rows([-5.0]), rows([10.0]), rows([0.0]))
    assert worse.percent_of_teacher == -50
    better = Evaluation(rows([30.0]), rows([10.0]), rows([0.0]))
    assert better.percent_of_teacher == 300


def test_there_is_no_percentage_of_a_teacher_who_is_no_better_than_chance():
    found = Evaluation(rows([1, 2], [3, 4]), rows([5, 5], [5, 5]), rows([5, 5], [5, 5]))
    assert np.isnan(found.percent_of_teacher)
    assert np.isnan(found.percent_ci).all()
    str(found)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 10, 13])
def test_iqm_is_the_mean_of_the_middle_half(count):
    scores = np.random.default_rng(count).normal(size=count) * 10
    cut = count // 4
    expected = np.mean(sorted(scores)[cut : count - cut])
    assert iqm(scores) == pytest.approx(expected)
    assert iqm(np.stack([scores, -scores]), axis=-1) == pytest.approx([expected, -expected])
    several = Evaluation(np.stack([scores, scores + 1]).T)  # members, two episodes each
    assert several.iqm == pytest.approx(expected + 0.5 if count > 1 else scores[0] + 0.5)


def test_the_interval_is_a_percentile_bootstrap_of_the_mean():
    scores = np.random.default_rng(1).exponential(size=12) * 50
    draws = np.random.default_rng(2).integers(0, 12, (200_000, 12))
    expected = np.quantile(scores[draws].mean(1), [0.025, 0.975])
    spread = scores.std() / 12**0.5
    assert interval(np.mean, scores) == pytest.approx(expected, abs=0.05 * spread)
    narrow = np.quantile(scores[draws].mean(1), [0.25, 0.75])
    assert interval(np.mean, scores, level=0.5) == pytest.approx(narrow, abs=0.05 * spread)


def test_the_interval_of_a_percentage_draws_the_same_members_for_all_three():
    rng = np.random.default_rng(3)
    luck = rng.normal(size=(8, 1)) * 30  # members differ, and student and teacher alike
    student, teacher = 100 + luck + rng.normal(size=(8, 5)), 110 + luck + rng.normal(size=(8, 5))
    found = Evaluation(student, teacher, np.zeros((8, 5)))
    draws = np.random.default_rng(4).integers(0, 8, (100_000, 8))
    quotient = 100 * student.mean(1)[draws].mean(1) / teacher.mean(1)[draws].mean(1)
    expected = np.quantile(quotient, [0.025, 0.975])
    assert found.percent_ci == pytest.approx(expected, abs=0.2)
    other = np.random.default_rng(5).integers(0, 8, (100_000, 8))
    unpaired = 100 * student.mean(1)[draws].mean(1) / teacher.mean(1)[other].mean(1)
    assert np.ptp(np.quantile(unpaired, [0.025, 0.975])) > 3 * np.ptp(expected)


def test_intervals_are_the_same_each_time():
    scores = np.random.default_rng(0).normal(size=8)
    assert interval(np.mean, scores) == interval(np.mean, scores.copy())
    np.random.seed(3)  # noqa: NPY002 - nor do they depend on the global generator
    assert interval(np.mean, scores) == interval(np.mean, scores)


@pytest.mark.parametrize("members", [2, 3, 8, 11])
def test_equal_scores_give_an_interval_of_width_zero(members):
    for value in (500.0, 1 / 3, -98.1, 0.0):
        assert interval(np.mean, np.full(members, value)) == pytest.approx((value, value), rel=1e-14)
    rng = np.random.default_rng(members)
    for _ in range(20):  # equal means of unequal episodes: to the last bit, or an error bar gets a negative length
        found = Evaluation(np.tile(rng.integers(-300, 0, 7) + 0.1, (members, 1)))
        assert found.ci == (found.mean, found.mean)


def test_members_are_the_unit_and_of_one_member_its_episodes():
    returns = np.random.default_rng(0).normal(size=(6, 40)) + 10 * np.arange(6).reshape(-1, 1)
    many, one = Evaluation(returns), Evaluation(returns[:1])
    assert (many.unit, one.unit) == ("member", "episode")
    assert np.array_equal(many.scores, returns.mean(1))
    assert np.array_equal(one.scores, returns[0])
    assert many.ci == interval(np.mean, returns.mean(1))
    assert one.ci == interval(np.mean, returns[0])
    assert many.mean == pytest.approx(returns.mean())
    assert one.mean == pytest.approx(returns[0].mean())
    assert np.ptp(many.ci) > 5 * np.ptp(one.ci)


def test_a_single_episode_has_no_interval():
    found = Evaluation(rows([3.0]), rows([4.0]), rows([0.0]))
    assert np.isnan(found.ci).all()
    assert np.isnan(found.percent_ci).all()
    assert found.percent_of_teacher == 75
    assert "1 members x 1 episodes" in str(found)


@pytest.mark.parametrize(("members", "least", "most"), [(8, 0.84, 0.95), (30, 0.90, 0.985)])
def test_intervals_cover_the_truth_about_as_often_as_they_say(members, least, most):
    """A percentile bootstrap of eight is a little narrow (about 90 %), of thirty almost right."""
    rng, hits = np.random.default_rng(12), 0
    for _ in range(200):
        low, high = interval(np.mean, rng.normal(5, 2, members))
        hits += low <= 5 <= high
    assert least <= hits / 200 <= most


def test_what_is_printed():
    found = Evaluation(rows([10, 20], [30, 60]), rows([50, 50], [50, 90]), rows([0, 10], [10, 20]))
    low, high = found.ci
    assert str(found).startswith(f"mean 30.0 [{low:.1f}, {high:.1f}]  IQM 30.0  40.0 % of the teacher [")
    assert str(found).endswith("(2 members x 2 episodes, 95 % interval over members)")
    assert "teacher" not in str(Evaluation(found.returns))


def test_a_continuous_task():
    place = source(Reach())
    found = evaluate(nets.policy(place, (4,)), place, 4, teacher=decided(place))
    assert found.returns.shape == (M, 4)
    assert np.isfinite(found.percent_of_teacher)


@pytest.mark.parametrize("env_id", ["CartPole-v1", "Pendulum-v1"])
@pytest.mark.parametrize("vectorised", [False, True])
def test_stable_baselines3_evaluates_our_policies(env_id, vectorised):
    """`evaluate_policy` gives what a plain loop over `predict` gives, on the same episodes."""
    policy = nets.policy(imitate.make(env_id, members=2), (8,), seed=1, normalise=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = Monitor(gymnasium.make(env_id))
        env.reset(seed=3)
        if vectorised:
            env = DummyVecEnv([lambda inner=env: inner])
            env.seed(3)
        found, lengths = evaluate_policy(
            policy, env, n_eval_episodes=3, deterministic=True, return_episode_rewards=True, warn=True
        )
        env.close()
    plain, expected = gymnasium.make(env_id), []
    plain.reset(seed=3)
    for episode in range(3):
        obs, _ = plain.reset(seed=3 if vectorised and episode == 0 else None)
        total, done = 0.0, False
        while not done:
            action, state = policy.predict(obs, deterministic=True)
            assert state is None
            obs, reward, terminated, truncated, _ = plain.step(action)
            total += float(reward)
            done = terminated or truncated
        expected.append(total)
    plain.close()
    assert found == pytest.approx(expected, rel=1e-5)
    assert len(lengths) == 3
    assert len(set(expected)) > 1
