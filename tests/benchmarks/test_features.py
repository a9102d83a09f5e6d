"""The benchmark of terms of features: each row in small, and the gates on the numbers that are committed."""

import json
from pathlib import Path

import pytest
import torch

import imitate
from benchmarks import features
from imitate import nets
from imitate.students import PolicyDistillation, PolicyDistillationConfig

M = 2


@pytest.mark.parametrize("name", features.ROWS)
def test_a_row_teaches(name):
    source = imitate.make("CartPole-v1", num_envs=16, members=M, seed=0)
    teacher, row = nets.policy(source, (8, 8), seed=7), features.ROWS[name]
    student = row.begins(source, teacher)
    assert student.architecture.hidden == (8,)
    config = PolicyDistillationConfig(steps=64, rollout=4, batch_size=32)
    terms = row.terms(student, teacher)
    mine = PolicyDistillation(source, teacher, student, config, loss=row.loss, terms=terms)
    before = mine.learner.flat.clone()
    mine.step()
    assert (mine.learner.flat != before).any(1).all()
    measured = features.measure(student, teacher, source.collect(teacher, 8).flatten().obs)
    assert all(value.shape == (M,) and bool(value.isfinite().all()) for value in measured.values())


def test_a_student_that_is_its_teacher_is_no_way_from_it():
    source = imitate.make("CartPole-v1", num_envs=16, members=M, seed=0)
    teacher = nets.policy(source, (8, 8), seed=7)
    measured = features.measure(teacher, teacher, source.collect(teacher, 8).flatten().obs)
    assert (measured.pop("agreement") == 1).all()
    for value in measured.values():
        torch.testing.assert_close(value, torch.zeros(M), rtol=0, atol=1e-6)


def test_ratios_are_of_members():
    plain = {"gram_error": torch.tensor([1.0, 4.0]), "return": torch.tensor([10.0, 20.0])}
    mine = {"gram_error": torch.tensor([0.5, 1.0]), "return": torch.tensor([11.0, 19.0])}
    found = features.compared(mine, plain, ("return",))
    assert found["gram_error_ratio"]["members"] == pytest.approx([0.5, 0.25])
    assert found["gram_error_ratio"]["mean"] == pytest.approx(0.125**0.5)
    assert found["return_difference"]["members"] == [1, -1]


def test_attention_in_small():
    pytest.importorskip("sklearn")
    rows = features.attention(features.Options(members=M, updates=2))
    assert rows["teacher"].keys() == {"error"}
    assert len(rows["attention"]["attention_error_difference"]["members"]) == M


def test_what_the_issue_asks_of_pairwise_similarity():
    """The Gram error is halved, and no return is lost."""
    found = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "features.json").read_text("utf-8"))
    row = found["cartpole"]["pairwise similarity"]
    assert row["gram_error_ratio"]["high"] <= 0.5
    assert row["return_difference"]["high"] >= 0
