"""Designs: the notation, its errors, and the tensors that it becomes."""

from collections import Counter

import pytest
import torch

from imitate.conditioning.design import Design
from imitate.conditioning.notation import parse


def trials(text, outcomes=()):
    """Label of every trial, by phase."""
    return [[kind.label for kind in phase.trials] for phase in parse(text, outcomes)]


@pytest.mark.parametrize(
    ("text", "phases"),
    [
        ("2A(US)", [["A(US)"] * 2]),
        ("!2AB(US)/2AB", [["AB(US)"] * 2 + ["AB"] * 2]),
        ("1#A", [["#A"]]),
        ("1AB(AB)(US)", [["AB(AB)(US)"]]),
        ("1F>T>(US)", [["F>T>(US)"]]),
        ("1T>>(US)", [["T>>(US)"]]),
        (" 1 A ( US ) | | 2 #B ", [["A(US)"], [], ["#B", "#B"]]),
        ("", [[]]),
        ("1A+/1B-/1C++", [["A(US)", "B", "C++"]]),
        ("2(A(US)/2AX)", [["A(US)", "AX", "AX"] * 2]),
        ("2(2(A/B)/C)", [["A", "B", "A", "B", "C"] * 2]),
        ("4 50%A(US)", [["A", "A(US)"] * 2]),
        ("4 25%A+", [["A", "A", "A", "A(US)"]]),
        ("3 100%A+", [["A(US)"] * 3]),
        ("1(white noise)A'X^12", [["(white noise)A'X^12"]]),
        ("1A_1>A_2>(US)", [["A>A>(US)"]]),
        ("1(US1)/1(US2)A", [["(US1)", "A(US2)"]]),
        ("1+", [["(US)"]]),
        ("lambda=2; beta=.3 / 1A", [["A"]]),
        ("lambda=0.25/beta=0.05/1A", [["A"]]),
    ],
)
def test_notation(text, phases):
    assert trials(text) == phases


def test_parts_of_a_trial():
    (kind,) = parse("1F(tone)>T>(US)")[0].trials
    assert kind.periods == (("F", "tone"), ("T",), ())
    assert kind.cues == ("F", "tone", "T")
    assert (kind.outcomes, kind.times, kind.probe) == ({"US": 1.0}, {"US": 2}, False)
    assert parse("1A++")[0].trials[0].outcomes == {"US": 2.0}
    assert parse("1A(food)")[0].trials[0].cues == ("A", "food")
    assert parse("1A(food)", ("food",))[0].trials[0].outcomes == {"food": 1.0}
    assert parse("1A+", ("food",))[0].trials[0].outcomes == {"food": 1.0}
    assert parse("1#A")[0].trials[0].probe


def test_settings_of_a_phase():
    phase = parse("!lambda=2; beta = .3;context=cage2/pause=1e1/1A")[0]
    assert (phase.settings, phase.context, phase.randomised) == ({"lambda": 2, "beta": 0.3, "pause": 10}, "cage2", True)
    assert parse("lambda=2/!1A")[0].randomised


@pytest.mark.parametrize(
    ("text", "column", "part"),
    [
        ("AB/10AC", 1, "how many trials"),
        ("#10A", 1, "how many trials"),
        ("10A|AB", 5, "how many trials"),
        ("10A|10A/#B", 9, "how many trials"),
        ("1.5A", 1, "how many trials"),
        ("10", 3, "a cue is expected"),
        ("10A>", 5, "a cue is expected"),
        ("2-", 2, "a cue is expected"),
        ("1#10A", 3, "a cue is expected"),
        ("10A/", 5, "trials are missing"),
        ("10A//10B", 5, "trials are missing"),
        ("10A B)", 6, "a phase ends here"),
        ("10A?", 4, "'/' or '|' must come first"),
        ("10(A", 3, "not closed"),
        ("3(A+/B", 2, "not closed"),
        ("10A(US", 4, "a name in parentheses"),
        ("0A", 1, "at least 1"),
        ("1000001A", 1, "at the most"),
        ("10A(US)+", 8, "there already"),
        ("10A(US)-", 8, "there is one"),
        ("10AA", 4, "'A' is there already"),
        ("10A(US)(US)", 8, "'US' is there already"),
        ("lambda=x/10A", 1, "needs a number"),
        ("lambda=2;beta=/10A", 10, "needs a number"),
        ("5 50%A", 3, "a percentage"),
        ("4 150%A+", 3, "a percentage"),
        ("4 50%#A(US)", 3, "a percentage"),
        ("5 50%A+", 3, "not a whole number"),
    ],
)
def test_an_error_names_its_column(text, column, part):
    with pytest.raises(ValueError, match=rf"column {column}: .*{part}") as caught:
        Design({"a": "1A", "b": text})
    assert repr(text) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("groups", ["", {"a": "|", "b": ""}, {}])
def test_a_design_without_trials(groups):
    with pytest.raises(ValueError, match="no trial"):
        Design(groups)


def test_subjects_are_some():
    with pytest.raises(ValueError, match="subjects"):
        Design("1A").compile(0)


def test_tensors_of_ragged_groups():
    design = Design({"a": "2A+|1B|", "b": "|3AB(US2)|1#A", "c": "lambda=.5/1A+"})
    schedule = design.compile(dtype=torch.float64)
    assert (schedule.groups, schedule.cues, schedule.outcomes) == (("a", "b", "c"), ("A", "B"), ("US", "US2"))
    assert schedule.phases == (range(2), range(2, 5), range(5, 6))
    labels = [[schedule.kinds[k].label if k >= 0 else "" for k in column] for column in schedule.order.T.tolist()]
    assert labels == [
        ["A(US)", "A(US)", "B", "", "", ""],
        ["", "", "AB(US2)", "AB(US2)", "AB(US2)", "#A"],
        ["A(US)", "", "", "", "", ""],
    ]
    assert schedule.learns.tolist() == [
        [True, False, True],
        [True, False, False],
        [True, True, False],
        [False, True, False],
        [False, True, False],
        [False, False, False],
    ]
    assert schedule.learners == (1, 1, 1, 1, 1, 0)
    assert schedule.stimuli.shape == (6, 3, 2)
    assert schedule.stimuli[:, 1].tolist() == [[0, 0], [0, 0], [1, 1], [1, 1], [1, 1], [1, 0]]
    assert schedule.outcome[0].tolist() == [[1, 0], [0, 0], [0.5, 0]]
    assert schedule.outcome[2].tolist() == [[0, 0], [0, 1], [0, 0]]
    assert schedule.settings == ({}, {}, {})


def test_settings_by_group():
    schedule = Design({"a": "beta=.2/1A|1A", "b": "1A|pause=3/1A"}).compile()
    assert schedule.settings[0]["beta"].isnan().tolist() == [False, True]
    assert float(schedule.settings[0]["beta"][0]) == pytest.approx(0.2)
    assert schedule.settings[1] == {}
    assert schedule.pauses[0] is None
    assert schedule.pauses[1].tolist() == [0, 3]


def test_contexts():
    schedule = Design({"a": "1A|context=cage2/1A", "b": "1A|1(cage)"}, context="cage").compile()
    assert schedule.cues == ("A", "cage", "cage2")
    assert schedule.stimuli[:, 0].tolist() == [[1, 1, 0], [1, 0, 1]]
    assert schedule.stimuli[:, 1].tolist() == [[1, 1, 0], [0, 1, 0]]
    assert Design("context=here/1A|1A").cues == ("A", "here")


def test_configural_cues():
    schedule = Design("1A/1BA+/1ABC/1AC/1#CB", configural=True, context="cage").compile()
    assert schedule.compounds == {"B&A": ("B", "A"), "A&B&C": ("A", "B", "C"), "A&C": ("A", "C"), "C&B": ("C", "B")}
    assert schedule.cues == ("A", "B", "C", "cage", *schedule.compounds)
    there = [{c for c, x in zip(schedule.cues, row, strict=True) if x} for row in schedule.stimuli[:, 0]]
    assert there == [
        {"cage", "A"},
        {"cage", "A", "B", "B&A"},
        {"cage", "A", "B", "C", "B&A", "A&B&C", "A&C", "C&B"},
        {"cage", "A", "C", "A&C"},
        {"cage", "B", "C", "C&B"},
    ]


def blocks(schedule, size, s, g=0):
    order = schedule.order[:, s, g].tolist()
    return [Counter(order[i : i + size]) for i in range(0, len(order), size)]


def test_a_randomised_phase_keeps_its_proportions_in_miniblocks():
    design = Design({"a": "!4A+/8B", "b": "4A+/8B"})
    schedule = design.compile(subjects=50)
    assert schedule.order.shape == (12, 50, 2)
    assert all(block == {0: 1, 1: 2} for s in range(50) for block in blocks(schedule, 3, s))
    assert len({tuple(order) for order in schedule.order[:, :, 0].T.tolist()}) > 25  # of 81
    assert (schedule.order[:, :, 1] == schedule.order[:, :1, 1]).all()
    first = (schedule.order[:, :, 0] == 0).double().mean(1)
    assert ((first - 1 / 3).abs() < 0.25).all()  # no place in a block is preferred: 3.7 standard errors
    reinforced = schedule.order == 0
    assert torch.equal(schedule.outcome[..., 0] == 1, reinforced)
    assert torch.equal(schedule.stimuli[..., 0] == 1, reinforced)


def test_without_miniblocks_a_phase_is_shuffled_as_a_whole():
    schedule = Design("!4A+/8B", miniblocks=False).compile(subjects=20)
    assert all(sum(blocks(schedule, 3, s), Counter()) == {0: 4, 1: 8} for s in range(20))
    assert any(block != {0: 1, 1: 2} for s in range(20) for block in blocks(schedule, 3, s))


def test_counts_without_a_common_divisor_are_one_block():
    schedule = Design("!2A/1B").compile(subjects=200)
    assert {tuple(order) for order in schedule.order[:, :, 0].T.tolist()} == {(0, 0, 1), (0, 1, 0), (1, 0, 0)}


def test_a_seed_gives_the_same_orders():
    design = Design({"a": "!20A+/20B", "b": "!20A+/20B"})
    one, same, other = (design.compile(5, seed=seed).order for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert not torch.equal(one[:, :, 0], one[:, :, 1])
    state = torch.get_rng_state()
    design.compile(5)
    assert torch.equal(state, torch.get_rng_state())
    assert design.compile().order.shape == (40, 2)
