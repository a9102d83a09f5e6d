"""Actor-Mimic: its loss beside the formula, a map for each task, and what it learns. Letters: M members, N copies."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from imitate import nets
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.core.tasks import Tasks
from imitate.core.types import fold
from imitate.nets.actor import Architecture, fresh
from imitate.policies import TaskTeachers
from imitate.students import PolicyDistillation, PolicyDistillationConfig, actor_mimic
from tests.oracles import Walk
from tests.resumed import assert_resumes

M, N, H, W = 2, 4, 6, 8  # features of the student, of the teachers


@dataclass(frozen=True)
class Batch:
    obs: Any
    extras: Any


def source(seed=0):
    return TensorSource(Walk(), id="Walk", num_envs=N, members=M, seed=seed)


def teacher(seed, width=W):
    made = nets.policy(source(), (width,), seed=seed)
    with torch.no_grad():
        made.head.linear.weight.mul_(100)
    return made


def distillation(seed=0, heads=2, weight=0.5, **config):
    place = Tasks([source(seed), source(seed + 1)])
    router, student = TaskTeachers([teacher(7), teacher(8)], place), fresh(place, Architecture((H,), heads=heads))
    term = actor_mimic(student, router, W, weight, init=Stream(seed, "init-mimic"), lr=1e-2)
    options = {"steps": 160, "rollout": 5, "epochs": 2, "batch_size": 20, "lr": 1e-2} | config
    return PolicyDistillation(place, router, student, PolicyDistillationConfig(**options), terms=[term])


@pytest.mark.parametrize("heads", [0, 2])
def test_the_term_is_a_regression_of_each_tasks_features(heads):
    mine = distillation(heads=heads)
    term, student = mine.terms.terms[0], mine.policy
    rollout = mine.source.collect(student, 5)
    obs = fold(rollout.obs)
    found = term(Batch(obs, term.prepare(rollout)), None)
    features, (shown, task) = student.features(obs), obs
    weight, bias = term.regressor.weight.unflatten(1, (2, H + 1)), term.regressor.bias
    for m in range(M):
        for b in range(0, task.shape[1], 3):
            k = int(task[m, b])
            told = mine.teacher.teachers[k].features(shown)[m, b]
            mapped = features[m, b] @ weight[m, k, :H] + weight[m, k, H] + bias[m, 0]
            torch.testing.assert_close(found[m, b], 0.5 * (mapped - told).square().sum(), rtol=1e-4, atol=1e-5)


def test_the_student_learns_both_tasks():
    """Each task's answers, where chance would agree in a third, and the features under their maps."""
    mine = distillation(steps=2_000, epochs=4, lr=3e-2)
    first = mine.step()
    while not mine.progress.finished:
        last = mine.step()
    obs = fold(mine.source.collect(mine.policy, 5).obs)
    agree = mine.teacher.distribution(obs).mode == mine.policy.distribution(obs).mode
    assert all(float(agree[obs[1] == k].float().mean()) > 0.8 for k in (0, 1))
    assert (last["hint_0_error"] < 0.5 * first["hint_0_error"]).all()


def test_it_resumes_bit_for_bit(tmp_path):
    assert_resumes(distillation, tmp_path)


def test_a_student_that_is_told_no_task():
    place = Tasks([source(), source(1)])
    with pytest.raises(ValueError, match=r"^student: it is made for Box\(2,\), which tells no task"):
        actor_mimic(teacher(1), TaskTeachers([teacher(7), teacher(8)], place), W, init=Stream(0, "x"))
    with pytest.raises(ValueError, match=r"^width: must be at least 1, not 0"):
        actor_mimic(fresh(place, Architecture()), TaskTeachers([teacher(7), teacher(8)], place), 0, init=Stream(0, "x"))
