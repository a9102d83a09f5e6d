"""Generations: the first is plain distillation, each begins anew, and the parent is who was there before."""

from dataclasses import replace

import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.nets.actor import Architecture, fresh
from imitate.students import BornAgain, BornAgainConfig, PolicyDistillation, PolicyDistillationConfig
from tests.oracles import Walk

M, N = 2, 4
SMALL = Architecture(hidden=(8,))
NUMBERS = {"steps": 40, "rollout": 5, "epochs": 2, "batch_size": 10, "lr": 1e-2}
CONFIG = BornAgainConfig(**NUMBERS)


def source(seed=0):
    return TensorSource(Walk(), id="Walk", num_envs=N, members=M, seed=seed)


def teacher_of(**options):
    teacher = nets.policy(source(), (8,), seed=7, **options)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    return teacher


def born(**changes):
    return BornAgain(source(), teacher_of(), SMALL, replace(CONFIG, **changes))


def test_one_generation_is_distillation():
    mine = born(generations=1)
    place = source()
    student = fresh(place, SMALL, "init-generation-1")
    plain = PolicyDistillation(place, teacher_of(), student, PolicyDistillationConfig(**NUMBERS))
    while not mine.progress.finished:
        found, expected = mine.step(), plain.step()
        assert torch.equal(found["loss"], expected["loss"])
    assert plain.progress.finished
    assert torch.equal(mine.distillation.learner.flat, plain.learner.flat)


def test_each_generation_is_taught_by_the_one_before():
    mine = born()
    obs = torch.randn(M, 9, 2, generator=torch.Generator().manual_seed(1))
    seen, finished = [], []
    while not mine.progress.finished:
        metrics = mine.step()
        seen.append(metrics["generation"].tolist())
        if mine.distillation.progress.finished:
            finished.append(mine.policy.distribution(obs).logits.detach().clone())
        if len(seen) == 3:  # the first step of the second generation
            told = mine.distillation.teacher.distribution(obs).logits
            assert torch.equal(told, finished[0])
            new = fresh(source(), SMALL, "init-generation-2")
            moved = max(
                float((p - q).detach().abs().max())
                for p, q in zip(mine.policy.parameters(), new.parameters(), strict=True)
            )
            assert 0 < moved < 4 * 2 * 1e-2  # four steps of Adam, each of hardly more than the learning rate
    assert seen == [[g] * M for g in (1.0, 1.0, 2.0, 2.0, 3.0, 3.0)]
    assert torch.equal(mine.parent.distribution(obs).logits, finished[1])
    assert int(mine.progress.steps) == 120 and mine.progress.labels.tolist() == [120] * M
    assert int(mine.distillation.learner.count) == 2 * 2 * 2  # of one generation alone


def test_a_generation_learns_its_parent():
    mine = born(generations=2, steps=400, epochs=4, lr=5e-2)
    losses = []
    while not mine.progress.finished:
        losses.append(mine.step()["loss"])
    half = len(losses) // 2
    assert (losses[-1] < 0.3 * losses[half]).all() and (losses[half - 1] < 0.3 * losses[0]).all()


def test_bad_input():
    with pytest.raises(ValueError, match=r"^teacher: it has a memory"):
        BornAgain(source(), teacher_of(gru=3), SMALL, CONFIG)
    with pytest.raises(ValueError, match=r"^generations: must be at least 1, not 0"):
        BornAgainConfig(generations=0)
    with pytest.raises(ValueError, match=r"^batch_size: 10 does not divide"):
        born(rollout=7)
