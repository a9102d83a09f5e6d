"""Actor-Mimic: one student of several teachers, by what they say and by what is inside of them. Letters: M, K tasks."""

from __future__ import annotations

from imitate.core.config import Count, checked
from imitate.core.learner import PerMember
from imitate.core.noise import Stream
from imitate.core.tasks import tasks_in
from imitate.core.terms import Schedule
from imitate.nets.actor import Actor
from imitate.nets.layers import Linear
from imitate.policies.tasks import TaskTeachers, by_task
from imitate.students.features import Hint

__all__ = ["actor_mimic"]


@checked
def actor_mimic(
    student: Actor,
    router: TaskTeachers,
    width: Count,
    weight: PerMember | Schedule = 0.01,
    *,
    init: Stream,
    lr: PerMember = 1e-3,
) -> Hint:
    """The feature regression of Actor-Mimic, a term beside the policy regression (Parisotto et al. 2016, §3.2).

        L = E_{s∼π_S}[H(π_k, π_S) + β ½ ‖f_k(h_S) − h_k‖²]   at states of task k

    The first summand is `PolicyDistillation` of `TaskTeachers`, which the student drives. f_k is a linear map for each
    task that learns beside the student, from its features to those of teacher k.

        PolicyDistillation(tasks, router, student, terms=[actor_mimic(student, router, 64, init=Stream(0, "mimic"))])

    Args:
        student: For observations of a `Tasks` source.
        router: The teachers, networks of one width.
        width: Of the teachers' features.
        weight: β; a number, one a member, or a schedule.
        init: Stream of the initialisation of the maps.
        lr: Learning rate of the maps.

    Raises:
        ValueError: The student is told no task, or its features are not to be had.
    """
    tasks = tasks_in(student.observation)
    if tasks is None:
        raise ValueError(f"student: it is made for {student.observation}, which tells no task; make it for Tasks.")
    maps = Linear(student.members, tasks * (student.body.width + 1), width, init=init)
    return Hint(by_task(student.features, tasks), router.features, maps, weight, lr=lr)
