"""Learning to a score, over members: what the students are for. Letters: M members."""

import pytest

import imitate
from imitate import nets
from imitate.experiment import evaluate
from imitate.students import (
    BehaviourCloning,
    BehaviourCloningConfig,
    DAgger,
    DAggerConfig,
    PolicyDistillation,
    PolicyDistillationConfig,
    demonstrate,
)

M = 4


def place(num_envs, seed):
    return imitate.make("CartPole-v1", num_envs=num_envs, members=M, seed=seed)


def law():
    return imitate.teachers.load("control:CartPole-v1", place(1, seed=0))


def fitted(algorithm):
    """What becomes of a student, against the law."""
    while not algorithm.progress.finished:
        algorithm.step()
    return evaluate(algorithm.policy, algorithm.source, 20, teacher=law())


@pytest.fixture(scope="module")
def demonstrations():
    return demonstrate(place(10, seed=0), law(), 10)


def test_a_teacher_is_cloned_from_ten_demonstrations(demonstrations):
    at = place(1, seed=1_000)
    config = BehaviourCloningConfig(updates=600, lr=1e-2)
    found = fitted(BehaviourCloning(at, demonstrations, nets.policy(at, (32,)), config))
    assert found.ci[0] >= 400
    assert found.percent_ci[0] >= 80


def test_dagger_makes_of_a_thinned_demonstration_what_cloning_cannot(demonstrations):
    """Every member by itself: 25 labels clone badly; from there on the student's own states teach it."""
    one = demonstrations.first(1).thinned(20)
    assert one.labels.tolist() == [25] * M
    at = place(1, seed=1_000)
    config = BehaviourCloningConfig(updates=300, lr=1e-2)
    cloned = fitted(BehaviourCloning(at, one, nets.policy(at, (32,)), config))
    at = place(10, seed=2_000)
    config = DAggerConfig(rounds=5, rollout=50, updates=150, lr=1e-2)
    taught = fitted(DAgger(at, law(), nets.policy(at, (32,)), config, demonstrations=one))
    assert (taught.scores > cloned.scores).all()
    assert taught.ci[0] >= 450
    assert cloned.ci[1] < taught.ci[0]


def test_a_student_a_tenth_of_the_size_is_distilled(demonstrations):
    at = place(8, seed=3_000)
    teacher = nets.policy(at, (64, 64), seed=1)
    cloning = BehaviourCloningConfig(updates=400, lr=3e-3)
    fitted(BehaviourCloning(at, demonstrations, teacher, cloning))
    student = nets.policy(at, (16,), seed=2)
    assert student.parameters_per_member < 0.1 * teacher.parameters_per_member
    config = PolicyDistillationConfig(steps=6_000, rollout=32, batch_size=64, epochs=2, lr=1e-2)
    distillation = PolicyDistillation(at, teacher, student, config)
    while not distillation.progress.finished:
        distillation.step()
    found = evaluate(student, at, 20, teacher=teacher)
    assert found.ci[0] >= 400
