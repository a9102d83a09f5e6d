"""Evaluation: pairing, percentages, intervals. Letters: M members, E episodes."""

import itertools
import warnings
from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from scipy import stats
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv

import imitate
from imitate import nets
from imitate.core import tree
from imitate.core.return_range import episode_range
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.experiment import Evaluation, Evaluator, evaluate
from imitate.experiment.evaluate import (
    EVALUATION_SEED,
    interval,
    iqm,
    iqm_interval,
    percent,
    percent_interval,
)
from imitate.policies import Random
from imitate.teachers import control_law
from imitate_envs import ENVS, Discrete
from imitate_envs.base import KnownRewards
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
            worse = Evaluation(found.returns, found.teacher, found.random - 100)  # these teachers know nothing
            assert worse.percent_of_teacher == 100.0
            assert worse.percent_ci == (100.0, 100.0)


def test_a_random_policy_is_worth_nothing():
    place = source()
    random = imitate.policies.Random(place.action)
    found = evaluate(random, place, 7, teacher=decided(place), deterministic=False)
    assert np.array_equal(found.returns, found.random)
    assert Evaluation(found.returns, found.teacher + 100, found.random).percent_of_teacher == 0.0


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
    assert np.array_equal(found[2].returns, found[2].teacher)


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


@pytest.mark.parametrize("teacher", [5.0, 4.0, -1000.0])
def test_there_is_no_percentage_of_a_teacher_who_is_no_better_than_chance(teacher):
    """Below chance the worse student would have the higher percentage: 105 % of a loss is a loss."""
    found = Evaluation(rows([1, 2], [3, 4]), np.full((2, 2), teacher), rows([5, 5], [5, 5]))
    assert np.isnan(found.percent_of_teacher)
    assert np.isnan(found.percent_ci).all()
    assert "n/a: the teacher is no better than chance" in str(found)


def test_a_margin_that_may_be_nothing_gives_a_percentage_without_an_interval():
    student, teacher, random = rows([9], [5], [7]), rows([12], [4], [8]), rows([6], [5], [5])
    found = Evaluation(student, teacher, random)  # margins 6, -1, 3
    assert found.percent_of_teacher == pytest.approx(100 * (21 - 16) / (24 - 16))
    assert np.isnan(found.percent_ci).all()
    assert "62.5 % of the teacher [n/a: it may be no better than chance]" in str(found)
    surer = Evaluation(student, teacher + 100, random)
    assert np.isfinite(surer.percent_ci).all()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 10, 13])
def test_iqm_is_the_mean_of_the_middle_half(count):
    scores = np.random.default_rng(count).normal(size=count) * 10
    cut = count // 4
    expected = np.mean(sorted(scores)[cut : count - cut])
    assert iqm(scores) == pytest.approx(expected)
    assert iqm(np.stack([scores, -scores]), axis=-1) == pytest.approx([expected, -expected])
    several = Evaluation(np.stack([scores, scores + 1]).T)  # members, two episodes each
    assert several.iqm == pytest.approx(expected + 0.5 if count > 1 else scores[0] + 0.5)


@pytest.mark.parametrize("count", [3, 5, 8, 100])
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_the_interval_inverts_halls_transformation(count, level):
    """At both ends Hall's cubic, with scipy's skewness, is Student's quantile."""
    for draw in ("normal", "exponential"):
        scores = 30 * getattr(np.random.default_rng(count), draw)(size=count) - 100
        a = stats.skew(scores, bias=False) / count**0.5
        t = (scores.mean() - np.array(interval(scores, level))) / stats.sem(scores)
        found = t + a * t**2 / 3 + a**2 * t**3 / 27 + a / 6
        assert found == pytest.approx(stats.t.ppf([(1 + level) / 2, (1 - level) / 2], count - 1), rel=1e-9)


@pytest.mark.parametrize("scores", [[3.0, 5.0], [1.0, 2.0, 3.0], [-4.0, -1.0, 0.0, 1.0, 4.0]])
def test_of_symmetrical_scores_the_interval_is_students(scores):
    expected = stats.ttest_1samp(scores, 0).confidence_interval(0.95)
    assert interval(np.array(scores)) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_one_member_in_eight_that_fails_pulls_the_interval_its_way():
    """By hand: mean 450, standard error 50, G1 = -√8, so that A = -1 and the ends are 450 - 150 (1 - ∛(1 - z))."""
    z = np.array([1, -1]) * stats.t.ppf(0.975, 7) + 1 / 6
    assert interval(np.array([500.0] * 7 + [100.0])) == pytest.approx(450 - 150 * (1 - np.cbrt(1 - z)), rel=1e-12)
    low, high = interval(np.array([500.0] * 7 + [100.0]))
    assert 450 - low > 4 * (high - 450) > 0


@pytest.mark.parametrize("scale", [1e-200, 1e-9, 1.0, 1e150])
def test_intervals_go_with_shift_and_scale(scale):
    scores = np.random.default_rng(0).exponential(size=8)
    for found in (interval, iqm_interval):
        low, high = found(scores)
        assert found(-scale * scores) == pytest.approx((-scale * high, -scale * low), rel=1e-9)
        assert found(scores + 1000) == pytest.approx((low + 1000, high + 1000), rel=1e-9)


def test_the_interval_of_the_iqm_is_students_with_the_bootstraps_standard_error():
    scores = np.random.default_rng(1).exponential(size=12) * 50
    draws = scores[np.random.default_rng(2).integers(0, 12, (200_000, 12))]
    arm = stats.t.ppf(0.975, 11) * (12 / 11) ** 0.5 * np.sort(draws)[:, 3:9].mean(1).std()
    # The standard deviation of 1,999 draws is within 1/√(2·1,999) = 1.6 % of its own; three of these.
    low, high = iqm_interval(scores)
    assert (iqm(scores) - low, high - iqm(scores)) == pytest.approx((arm, arm), rel=0.05)


def test_the_interval_of_a_percentage_is_that_of_its_linearised_scores():
    """Each member moves the ratio of means by what its derivative says: checked against a difference quotient."""
    rng = np.random.default_rng(3)
    student, teacher, random = rng.normal((80, 100, 10), (9, 12, 3), (8, 3)).T
    value, eps = percent(student, teacher, random), 1e-6
    moved = []
    for i in range(8):
        weights = np.full(8, 1 / 8)
        weights[i] += eps
        weights /= weights.sum()
        s, t, r = (weights @ one for one in (student, teacher, random))
        moved.append(value + (100 * (s - r) / (t - r) - value) / eps)
    assert percent_interval(student, teacher, random) == pytest.approx(interval(np.array(moved)), rel=1e-4)


def test_the_interval_of_a_percentage_is_of_pairs():
    luck = 30 * np.random.default_rng(3).normal(size=8)
    noise = np.random.default_rng(4).normal(size=(3, 8))
    student, teacher, random = 100 + luck + noise[0], 110 + luck + noise[1], noise[2]
    paired = percent_interval(student, teacher, random)
    assert np.ptp(percent_interval(student, np.roll(teacher, 1), random)) > 3 * np.ptp(paired)


@pytest.mark.parametrize(
    ("reward", "final"),
    [((1, 1), (1, 1)), ((-1, -1), (0, 0)), ((-2, 3), (-5, 1)), ((0, 0), (-1, 1)), ((-3, -2), (7, 9))],
)
def test_the_range_of_returns_is_that_of_all_episodes(reward, final):
    """Episodes of up to four steps, enumerated: each reward at one of its ends, the last one final or cut off."""
    spec = Spec("", Discrete(2), Discrete(2), max_steps=4, reward_range=reward, final_reward_range=final)
    sums = [
        sum(before) + last
        for steps in range(4)
        for before in itertools.product(reward, repeat=steps)
        for last in (*final, *(reward if steps == 3 else ()))
    ]
    assert episode_range(spec) == (min(sums), max(sums))


def test_the_range_of_returns_without_end():
    spec = Spec("", Discrete(2), Discrete(2), reward_range=(-1.0, 0.0), final_reward_range=(0.0, 5.0))
    assert episode_range(spec) == (-np.inf, 5.0)
    assert episode_range(replace(spec, reward_range=None)) is None


@pytest.mark.parametrize("env", [env for env, made in ENVS.items() if isinstance(made(), KnownRewards)])
def test_no_return_is_out_of_its_range(env):
    place = imitate.make(env, num_envs=1, members=2)
    low, high = episode_range(place.spec)
    returns = evaluate(Random(place.spec.action), place, 3).returns
    assert low < high
    assert ((low <= returns) & (returns <= high)).all()


def test_an_interval_ends_where_no_score_can_be():
    scores = np.array([500.0, 500.0, 480.0, 20.0])
    low, high = interval(scores)
    assert low < 1 < 500 < high
    assert interval(scores, bounds=(1.0, 500.0)) == (1.0, 500.0)
    assert interval(scores, bounds=(-np.inf, 500.0)) == (low, 500.0)
    assert iqm_interval(scores, bounds=(100.0, 500.0)) == (100.0, 500.0)
    place = imitate.make("CartPole-v1", num_envs=1, members=3)
    assert Evaluator(place, 1)(Random(place.spec.action)).bounds == (1.0, 500.0)


def test_intervals_are_the_same_each_time():
    scores = np.random.default_rng(0).normal(size=8)
    before = interval(scores), iqm_interval(scores)
    np.random.seed(3)  # noqa: NPY002 - nor do they depend on the global generator
    assert (interval(scores), iqm_interval(scores)) == before


@pytest.mark.parametrize("members", [2, 3, 8, 11])
def test_equal_scores_give_an_interval_of_width_zero(members):
    for value in (500.0, 1 / 3, -98.1, 0.0):
        for found in (interval, iqm_interval):
            assert found(np.full(members, value)) == pytest.approx((value, value), rel=1e-14)
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
    assert many.ci == interval(returns.mean(1))
    assert one.ci == interval(returns[0])
    assert many.mean == pytest.approx(returns.mean())
    assert one.mean == pytest.approx(returns[0].mean())
    assert np.ptp(many.ci) > 5 * np.ptp(one.ci)


def test_a_single_episode_has_no_interval():
    found = Evaluation(rows([3.0]), rows([4.0]), rows([0.0]))
    assert np.isnan(found.ci).all()
    assert np.isnan(found.percent_ci).all()
    assert found.percent_of_teacher == 75
    assert str(found).startswith("mean 3.000 [n/a]  IQM 3.000 [n/a]  75.0 % of the teacher [n/a")
    assert np.isnan(interval(np.array([1.0, np.inf]))).all()


@pytest.mark.parametrize("members", [5, 8, 16])
@pytest.mark.parametrize(("draw", "least"), [("normal", 0.94), ("exponential", 0.92)])
def test_intervals_cover_the_mean_as_often_as_they_say(members, draw, least):
    """Of 1,500 intervals; the shares that `benchmarks.coverage` finds are above `least` by two standard errors less."""
    drawn = getattr(np.random.default_rng(12), draw)(size=(1_500, members))
    low, high = np.array([interval(scores) for scores in drawn]).T
    truth = {"normal": 0, "exponential": 1}[draw]
    assert ((low <= truth) & (truth <= high)).mean() > least - 2 * (least * (1 - least) / 1_500) ** 0.5


def test_what_is_printed():
    found = Evaluation(rows([10, 20], [30, 60]), rows([50, 52], [50, 54]), rows([0, 1], [1, 0]))
    mean, iqm, share = ("[{:.1f}, {:.1f}]".format(*ends) for ends in (found.ci, found.iqm_ci, found.percent_ci))
    percent = 100 * (30 - 0.5) / (51.5 - 0.5)
    assert str(found).startswith(f"mean 30.0 {mean}  IQM 30.0 {iqm}  {percent:.1f} % of the teacher {share}  (")
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
