"""Source, student and teacher have the same members, or one teacher serves all."""

import pytest

import imitate
from imitate.students import BehaviourCloning, DAgger, DAggerConfig, PolicyDistillation, PolicyDistillationConfig


def place(members):
    return imitate.make("CartPole-v1", num_envs=4, members=members)


def policy(members):
    return imitate.nets.policy(place(members), hidden=(8,))


@pytest.mark.parametrize(("student", "teacher"), [(1, 3), (2, 3), (3, 2)])
def test_other_members_are_refused(student, teacher):
    message = f"student: has {student} members" if student != 3 else f"teacher: has {teacher} members, the source 3"
    with pytest.raises(ValueError, match=message):
        DAgger(place(3), policy(teacher), policy(student))
    with pytest.raises(ValueError, match=message):
        PolicyDistillation(
            place(3), policy(teacher), policy(student), PolicyDistillationConfig(rollout=64, batch_size=256)
        )


def test_a_clone_of_other_members_is_refused():
    shown = imitate.demonstrate(place(3), imitate.teachers.load("control", place(3)), 2)
    with pytest.raises(ValueError, match="student: has 1 members, the source 3"):
        BehaviourCloning(place(3), shown, policy(1))


def test_one_teacher_serves_all():
    config = DAggerConfig(rounds=1, rollout=4, updates=1, batch_size=4)
    assert DAgger(place(3), policy(1), policy(3), config).step()["loss"].shape == (3,)
