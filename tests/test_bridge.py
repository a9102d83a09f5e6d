"""The bridge from Rescorla-Wagner to deep reinforcement learning says what it claims."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import bridge, bridge_dopamine, bridge_expectiles, bridge_student
from benchmarks.bridge_identities import identities


def test_three_programs_are_one():
    found = identities(seed=3, trials=200)
    assert found["largest_weight"] > 0.1  # there is something to differ in
    assert found["rescorla_wagner_lms"] < 1e-12
    assert found["rescorla_wagner_td"] < 1e-12


def test_the_error_moves_from_the_reward_to_the_cue():
    numbers, errors = bridge_dopamine.dopamine(trials=250)
    for row in numbers.values():
        assert row["first_at_reward"] == 1
        assert abs(row["last_at_reward"]) < 1e-3
        assert row["omitted_at_reward"] == pytest.approx(-1, abs=1e-3)
    traces, none = errors.values()
    assert float(traces[-2, bridge_dopamine.CUE]) == pytest.approx(0.97**25, abs=2e-3)
    # without traces it is still on its way, a step at a time
    peak = none[:-1].argmax(1)
    assert peak[0] == bridge_dopamine.REWARD and (peak.diff() <= 0).all()
    assert bridge_dopamine.CUE < peak[-1] < bridge_dopamine.REWARD - 5


def test_exact_expectiles():
    found = bridge_expectiles.exact(bridge_expectiles.REPORTED)
    np.testing.assert_allclose(found, [2.0047, 3.3353, 5.2078, 7.7671, 10.8488], rtol=3e-4)


def test_channels_come_to_rest_at_expectiles():
    found = bridge_expectiles._shallow(members=40, seed=1, trials=2500)
    np.testing.assert_allclose(found.mean(0), bridge_expectiles.exact(), rtol=0.03)


def test_juice_pays_by_its_chances():
    uniform = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    paid = bridge_expectiles.Juice().pay(torch.tensor(2.0), uniform)
    for size, chance in zip(bridge_expectiles.SIZES, bridge_expectiles.CHANCES, strict=True):
        assert float((paid - 2 * size).abs().lt(1e-9).double().mean()) == pytest.approx(chance, abs=1e-4)


def test_windows_around_reversals():
    """One reversal at trial 7 of 25: the window holds the trials −5 to 14 about it."""
    better = torch.zeros(25, 1, 2, dtype=torch.int64)
    better[7:, 0, 0] = 1
    better[3:, 0, 1] = 1  # too early for a window
    chosen = torch.arange(25).reshape(25, 1, 1).expand(25, 1, 2)
    assert bridge_student._around_reversals(chosen, better).tolist() == [list(range(2, 22))]


def test_a_short_lesson():
    """The teacher's parameters come back from its record; a student that has learnt nothing is told apart."""
    result = bridge_student.lesson(2, 0, episodes=8, updates=2, batch_size=4, watched=60)
    assert result.loss.shape == (2, 2)
    fitted = result.numbers["fitted"]
    assert fitted["teacher"]["alpha"]["mean"] == pytest.approx(0.3, abs=0.04)
    assert fitted["teacher"]["beta"]["mean"] == pytest.approx(5, abs=0.4)
    assert result.numbers["divergence_nats"]["mean"] > 0.1


def test_the_page_says_what_was_measured():
    root = Path(__file__).parents[1]
    page = (root / "docs" / "bridge.md").read_text("utf-8")
    found = json.loads((root / "benchmarks" / "results" / "bridge.json").read_text("utf-8"))
    for learner in ("conditioning model", "deep network"):
        row = found["expectiles"][learner]
        for mean, low, high in zip(row["mean"], row["low"], row["high"], strict=True):
            assert f"{mean:.3f} [{low:.3f}, {high:.3f}]" in page
    for value in (
        *found["student"]["return"].values(),
        *(each["beta"] for each in found["student"]["fitted"].values()),
    ):
        assert f"{value['mean']:.2f} [{value['low']:.2f}, {value['high']:.2f}]" in page


@pytest.mark.slow
def test_the_whole_bridge(tmp_path):
    bridge.main(bridge.Options(members=4, out=tmp_path / "bridge.json", pictures=tmp_path))
    found = json.loads((tmp_path / "bridge.json").read_text())
    assert found["expectiles"]["deep network"]["largest_relative_error"] < 0.1
    student = found["student"]
    assert student["share_of_teacher"]["mean"] > 0.95
    assert student["divergence_nats"]["mean"] < 0.004
    assert student["fitted"]["student"]["alpha"]["mean"] == pytest.approx(0.3, abs=0.02)
    assert student["fitted"]["student"]["beta"]["mean"] == pytest.approx(5, abs=0.25)
    assert len(list(tmp_path.glob("*.png"))) == 3
