"""Hinton's experiments: the rule of the bias against a count, the bandit, the committee, the page.

Letters: M members, B digits.
"""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import digits
from imitate import nets
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.policies import Greedy
from imitate_envs.base import Box, Discrete

M, B = 3, 40


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count", [1, 7, B - 1])
def test_the_bias_makes_a_class_as_frequent_as_it_is(count):
    logits = drawn(M, B, 10)
    bias = digits.frequency_bias(logits, digits.OMITTED, count)
    for m in range(M):
        named = 0
        for b in range(B):
            scores = [float(z) + (float(bias[m]) if k == digits.OMITTED else 0) for k, z in enumerate(logits[m, b])]
            named += int(np.argmax(scores)) == digits.OMITTED
        assert named == count
    found = digits.raised(logits, bias).argmax(-1) == digits.OMITTED
    assert found.sum(1).tolist() == [count] * M


def test_the_bandit_pays_for_the_right_name():
    images, labels = torch.eye(5, 64), torch.tensor([3, 1, 4, 1, 5])
    source = TensorSource(digits.Digits(images, labels), id="Digits", num_envs=50, members=2)

    class Knows:
        noise = 0

        def memory(self, *shape):
            return None

        def act(self, obs, noise, memory):
            shown = obs[..., :5].argmax(-1)
            return torch.where(shown == 4, 0, labels[shown]), None, {}

    seen = source.collect(Knows(), 4)
    assert bool(seen.terminated.all()) and bool(seen.starts.all())
    shown = seen.obs[..., :5].argmax(-1)
    assert torch.equal(seen.reward, (shown != 4).float())  # the fifth it names wrongly
    assert sorted(shown.unique().tolist()) == [0, 1, 2, 3, 4]
    returns = source.play(Greedy(Knows()), 400, seed=1)
    assert float(returns.mean()) == pytest.approx(0.8, abs=0.06)  # four deviations of 800 draws


def test_a_committee_is_the_mean_of_its_members():
    actor = nets.Actor(Box((64,), 0.0, 1.0), Discrete(10), 4, nets.Architecture((5,)), Stream(0, "init"))
    obs = drawn(M, B, 64)
    said = torch.stack([actor.member(k).distribution(obs).logits.log_softmax(-1) for k in range(4)]).mean(0)
    torch.testing.assert_close(digits.Committee(actor).distribution(obs).logits, said)
    wrong = digits.Committee(actor, turned=1).distribution(obs)
    assert torch.equal(wrong.mode, (said.argmax(-1) + 1) % 10)


def test_a_short_lesson(tmp_path):
    datasets = pytest.importorskip("sklearn.datasets")
    options = digits.Options(
        members=2, shown=20, updates=5, hidden=4, teacher=(6,), temperatures=(1.0, 20.0),
        out=tmp_path / "digits.json", picture=tmp_path / "digits.png",
    )  # fmt: skip
    digits.main(options)
    found = json.loads(options.out.read_text("utf-8"))
    assert found["digits"]["training"] + found["digits"]["test"] == 1_797
    assert found["few"]["hard labels"]["below_hard_labels"]["members"] == [0, 0]
    assert set(found["omitted"]) == {"hard labels", "soft labels, T = 1", "soft labels, T = 20"}
    assert options.picture.stat().st_size > 1_000
    room = digits.Classroom(options, *digits.load(0))
    halves = torch.cat([16 * torch.cat([one.images, one.labels.unsqueeze(1)], 1) for one in (room.training, room.test)])
    everything = np.column_stack([datasets.load_digits().data, 16 * datasets.load_digits().target])
    assert sorted(halves.tolist()) == sorted(everything.tolist())  # each is on one side
    assert len(room.few[0].unique()) == 20 and not torch.equal(room.few[0], room.few[1])


def percent(row, scale=100):
    return f"{scale * row['mean']:.1f} [{scale * row['low']:.1f}, {scale * row['high']:.1f}]"


def test_the_page_says_what_was_measured():
    root = Path(__file__).parents[2]
    page = (root / "docs" / "digits.md").read_text("utf-8")
    found = json.loads((root / "benchmarks" / "results" / "digits.json").read_text("utf-8"))
    for name, row in found["few"].items():
        cells = [name, percent(row["error"]), *([] if name == "hard labels" else [percent(row["below_hard_labels"])])]
        assert f"| {' | '.join(cells)} |" in page
    for name, row in found["omitted"].items():
        cells = (name, percent(row["bias"], 1), *(percent(value) for value in list(row.values())[1:]))
        assert f"| {' | '.join(cells)} |" in page
    for number in (*found["parameters"].values(), found["digits"]["test"]):
        assert f"{number:,}" in page
    assert f"{100 * found['teacher']['together']:.1f} %" in page


def test_what_the_issue_asks_of_the_digits():
    """Gates on the numbers that are committed: 9 of 10 digits that were never shown, and labels that are worth more."""
    found = json.loads((Path(__file__).parents[2] / "benchmarks" / "results" / "digits.json").read_text("utf-8"))
    assert found["omitted"]["soft labels, T = 20"]["right_after"]["low"] >= 0.9
    for name, row in found["few"].items():
        if name.startswith("soft labels, T"):
            assert row["below_hard_labels"]["low"] > 0
