"""Simulation: closed forms, golden trajectories, a naive loop, masks, lanes, and parameters out of place."""

import csv
import math

import numpy as np
import pytest
import torch

from imitate.conditioning.contenders import CONTENDERS
from imitate.conditioning.design import Design
from imitate.conditioning.models import Course, InternalInhibition, RescorlaWagner, TrialTemporalDifference
from imitate.conditioning.periods import in_time
from imitate.conditioning.records import records, write_records
from imitate.conditioning.simulate import parameters, simulate, steps
from imitate.core import tree

RW = RescorlaWagner()
CHEAP = [name for name in CONTENDERS if not name.startswith("td")] + ["td-presence"]


def run(text, theta=None, model=RW, **options):
    return simulate(model, Design(text, **options).compile(dtype=torch.float64), theta)


def random(*shape, seed=0, low=0.05, high=0.95):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * (high - low) + low


def test_acquisition_and_extinction_in_closed_form():
    alpha, on, off = random(3, 20)
    v = run("200A(US)|200A", {"alpha": alpha.unsqueeze(-1), "beta_on": on, "beta_off": off}).strength("A")
    n = torch.arange(201, dtype=torch.float64).unsqueeze(-1)
    learned = 1 - (1 - alpha * on) ** n
    assert (v[:201] - learned).abs().max() < 1e-12
    assert (v[200:] - learned[-1] * (1 - alpha * off) ** n).abs().max() < 1e-12


def test_a_compound_in_closed_form():
    alpha, beta = random(20, 2, high=0.5), random(20, seed=1)
    v = run("lambda=1.7/200AB(US)", {"alpha": alpha, "beta": beta}).after[:, :, 0, :, 0]
    n = torch.arange(1, 201, dtype=torch.float64).view(-1, 1)
    total = alpha.sum(-1)
    expected = 1.7 * (1 - (1 - beta * total) ** n).unsqueeze(-1) * (alpha / total.unsqueeze(-1))
    assert (v - expected).abs().max() < 1e-12
    # Overshadowing: in the proportion of the saliences, at every trial.
    assert (v[..., 0] / v[..., 1] - alpha[:, 0] / alpha[:, 1]).abs().max() < 1e-12


def test_golden_trajectories():
    v = run("4(A+/AX-)").after[:, 0, :, 0]
    golden = [
        (0.16, 0),
        (0.1344, -0.0256),
        (0.272896, -0.0256),
        (0.233329, -0.065167),
        (0.355996, -0.065167),
        (0.309463, -0.1117),
        (0.419949, -0.1117),
        (0.370629, -0.16102),
    ]
    assert v == pytest.approx(torch.tensor(golden, dtype=torch.float64), abs=5e-7)
    theta = {"alpha": {"A": 0.5, "B": 0.2}, "beta_on": 0.6, "beta_off": 0.3}
    v = run("2A+/1AB+/1AB-/1B+/1A-", theta).after[:, 0, :, 0]
    golden = [(0.3, 0), (0.51, 0), (0.657, 0.0588), (0.54963, 0.015852), (0.54963, 0.13395), (0.467186, 0.13395)]
    assert v == pytest.approx(torch.tensor(golden, dtype=torch.float64), abs=5e-7)


def test_strengths_are_recorded_before_the_trial_too():
    found = run("10A>(US)")
    assert float(found.before[9, 0, 0, 0]) == pytest.approx(1 - 0.84**9, abs=1e-12)
    assert float(found.after[9, 0, 0, 0]) == pytest.approx(1 - 0.84**10, abs=1e-12)
    assert torch.equal(found.predictions[..., 0], found.before[..., 0, 0])


def naive(schedule, s, g, alpha, on, off):
    """Rescorla-Wagner in numpy, one subject: strengths after each trial."""
    v = np.zeros((len(schedule.cues), len(schedule.outcomes)))
    path = []
    for t in range(len(schedule.order)):
        if schedule.learns[t, s, g]:
            x, lam = schedule.stimuli[t, s, g].numpy(), schedule.outcome[t, s, g].numpy()
            for o in range(len(lam)):
                v[:, o] += x * alpha * (on if lam[o] else off) * (lam[o] - x @ v[:, o])
        path.append(v.copy())
    return np.stack(path)


def test_random_designs_equal_a_naive_loop():
    text = {"a": "!6A+/4AB(US2)/2B-|1#A/3C+|2BC(US)(US2)", "b": "lambda=.7/5A+||!3AC-/3C+/3#B"}
    schedule = Design(text, context="cage", configural=True).compile(subjects=4, seed=3, dtype=torch.float64)
    alpha, (on, off) = random(len(schedule.cues), high=0.4), random(2, 4, seed=1)
    found = simulate(RW, schedule, {"alpha": alpha, "beta_on": on, "beta_off": off})
    assert found.strengths.shape == (len(schedule.order) + 1, 4, 2, len(schedule.cues), 2)
    for s in range(4):
        for g in range(2):
            path = naive(schedule, s, g, alpha.numpy(), float(on[s]), float(off[s]))
            np.testing.assert_allclose(found.after[:, s, g].numpy(), path, atol=1e-14)


@pytest.mark.parametrize("name", CHEAP)
def test_padding_and_probes_change_nothing(name):
    """Beside a longer group, with probes strewn in, a group learns bit for bit what it learns alone."""
    model = CONTENDERS[name].model
    plain = "3A+/2AB+|2B/1A+"
    probed = "3A+/1#B/2AB+|4#AB/2B/1#A/1A+"
    alone = simulate(model, Design(plain))
    together = simulate(model, Design({"long": "9A+/9B+|9A+|5AB", "short": probed, "none": ""}))
    plain_schedule, schedule = alone.schedule, together.schedule
    assert plain_schedule.cues == schedule.cues
    own = tree.map(lambda x: x[1], together.state)
    for x, y in zip(tree.leaves(own), tree.leaves(tree.map(lambda x: x[0], alone.state)), strict=True):
        assert torch.equal(x, y)
    learned = together.after[:, 1][schedule.learns[:, 1]]
    assert torch.equal(learned, alone.after[:, 0])
    assert torch.equal(together.strengths[:, 2], together.strengths[:1, 2].expand(len(together.strengths), -1, -1))


def test_masks_pass_no_gradient():
    alpha = torch.full((2,), 0.3, requires_grad=True)
    found = simulate(RW, Design({"a": "2A+", "b": "2A+/1#A/1B+"}), {"alpha": alpha})
    (grad,) = torch.autograd.grad(found.strengths[-1, 0, 0, 0], alpha)
    (alone,) = torch.autograd.grad(simulate(RW, Design("2A+/1#B"), {"alpha": alpha}).strengths[-1, 0, 0, 0], alpha)
    assert torch.equal(grad, alone)
    assert grad[1] == 0


def test_a_state_goes_on():
    whole, first = simulate(RW, Design("4A+|4AB-")), simulate(RW, Design("4A+|1#B"))
    rest = simulate(RW, Design("4AB-"), state=first.state)
    assert torch.equal(whole.state, rest.state)
    assert torch.equal(whole.strengths[4:], rest.strengths)


def test_lanes_of_parameters_are_independent():
    alpha, beta = random(3, 1, 2), random(5, seed=1)
    grid = run({"a": "5A+/5AB-", "b": "5AB+"}, {"alpha": alpha, "beta": beta})
    assert grid.after.shape == (10, 3, 5, 2, 2, 1)
    one = run({"a": "5A+/5AB-", "b": "5AB+"}, {"alpha": alpha[2, 0], "beta": beta[4]})
    assert torch.equal(grid.after[:, 2, 4], one.after)


def test_parameters_of_subjects_meet_their_orders():
    design = Design("!5A+/5B+").compile(subjects=3, seed=1, dtype=torch.float64)
    beta = random(3)
    together = simulate(RW, design, {"beta": beta}).after
    grid = simulate(RW, design, {"beta": beta.unsqueeze(-1)}).after  # [3, 1]: every parameter with every order
    assert grid.shape == (10, 3, 3, 1, 2, 1)
    assert all(torch.equal(together[:, s], grid[:, s, s]) for s in range(3))


@pytest.mark.parametrize("name", ["rescorla-wagner", "kalman", "mackintosh"])
def test_the_same_seed_repeats_bit_for_bit(name):
    design = Design({"a": "!10A+/10AB-", "b": "!10B+/10A-"})
    runs = [simulate(CONTENDERS[name].model, design, subjects=7, seed=5).strengths for _ in range(2)]
    assert torch.equal(*runs)
    assert not torch.equal(runs[0], simulate(CONTENDERS[name].model, design, subjects=7, seed=6).strengths)


def test_settings_hold_for_their_phase_and_group():
    found = run({"a": "3A+|beta=.1;alpha=.9/3A+|3A+", "b": "3A+|3A+|3A+"})
    plain = run("9A+")
    assert torch.equal(found.after[:, 1], plain.after[:, 0])
    v = 1 - 0.84**3
    v = 1 - (1 - v) * (1 - 0.09) ** 3
    assert float(found.after[5, 0, 0, 0]) == pytest.approx(v, abs=1e-12)
    assert float(found.after[8, 0, 0, 0]) == pytest.approx(1 - (1 - v) * 0.84**3, abs=1e-12)


def test_a_pause_is_for_models_that_rest():
    found = run({"a": "20A+|20A|pause=5/1#A", "b": "20A+|20A|1#A"}, model=InternalInhibition())
    excitation, inhibition = found.state.excitation[1, 0, 0], found.state.inhibition[1, 0, 0]
    assert float(found.predictions[-1, 0, 0]) == pytest.approx(
        float(excitation - inhibition * math.exp(-0.5)), abs=1e-12
    )
    assert float(found.predictions[-1, 1, 0]) == pytest.approx(float(excitation - inhibition), abs=1e-12)
    assert torch.equal(run("5A+|pause=9/1A").after, run("5A+|1A").after)


def test_saliences_by_name_and_of_compounds():
    schedule = Design("1AB/1A'", configural=True).compile(dtype=torch.float64)
    assert schedule.cues == ("A", "B", "A'", "A&B")
    alpha = parameters(RW, schedule, {"alpha": {"A": 0.5, "B": torch.tensor([0.2, 0.4])}})["alpha"]
    expected = torch.tensor([[0.5, 0.2, 0.4, 0.1], [0.5, 0.4, 0.4, 0.2]], dtype=torch.float64)
    assert alpha.shape == (2, 1, 4)
    assert alpha[:, 0] == pytest.approx(expected, abs=1e-7)
    alpha = parameters(RW, schedule, {"alpha": {"A&B": 0.9}})["alpha"]
    assert alpha[0] == pytest.approx(torch.tensor([0.4, 0.4, 0.4, 0.9], dtype=torch.float64))
    # The primes of a name are part of it: nothing is multiplied for them.
    assert parameters(RW, schedule, {"alpha": 0.3})["alpha"][0].tolist() == pytest.approx([0.3, 0.3, 0.3, 0.09])
    assert parameters(RW, schedule, {"beta": 0.3})["beta_off"].tolist() == [0.3]


@pytest.mark.parametrize(
    ("theta", "part"),
    [
        ({"alhpa": 0.1}, "did you mean 'alpha'"),
        ({"alpha": {"C": 0.1}}, "cue of alpha: 'C' is unknown; known: A, B"),
        ({"beta_on": {"A": 0.1}}, "beta_on: cues share it"),
        ({"alpha": 1.5}, "alpha: 1.5 is outside its bounds, 0 to 1"),
        ({"beta": -0.5}, "beta_on: -0.5 is outside"),
        ({"alpha": math.nan}, "alpha: nan is outside"),
        ({"alpha": math.inf}, "alpha: inf is outside its bounds, 0 to 1, and finite"),
        ({"alpha": torch.full((4, 3), 0.1)}, "alpha: the last dimension is 3, but there are 2 cues"),
    ],
)
def test_parameters_out_of_place(theta, part):
    with pytest.raises(ValueError, match=part):
        simulate(RW, Design("1AB+"), theta)


def test_settings_out_of_place():
    with pytest.raises(ValueError, match="did you mean 'alpha'"):
        simulate(RW, Design("alfa=.2/1A"))
    with pytest.raises(ValueError, match="alpha: 2 is outside"):
        simulate(RW, Design("alpha=2/1A"))


def test_names_that_nothing_has():
    found = run({"a": "1A+", "b": "1B+"})
    with pytest.raises(ValueError, match="cue: 'C' is unknown"):
        found.strength("C")
    with pytest.raises(ValueError, match="group: 'c' is unknown"):
        found.strength("A", "c")
    assert torch.equal(found.strength("B", "b"), found.strengths[:, 1, 1, 0])


def test_records_have_a_row_for_every_trial():
    text = {"a": "2A+||1#B", "b": "|!1A+/2B(US2)"}
    found = simulate(RW, Design(text), subjects=2, seed=1)
    table = records(found)
    assert {len(column) for column in table.values()} == {12}
    assert table["group"] == ["a"] * 6 + ["b"] * 6
    assert table["subject"] == [1, 1, 1, 2, 2, 2] * 2
    assert table["phase"] == [1, 1, 3] * 2 + [2] * 6
    assert table["trial"] == [1, 2, 6] * 2 + [3, 4, 5] * 2
    assert table["kind"][:3] == ["A(US)", "A(US)", "#B"]
    assert sorted(table["kind"][9:]) == ["A(US)", "B(US2)", "B(US2)"]
    assert table["V A US"][:3] == pytest.approx([0, 0.16, 0.2944])
    assert table["expects US"][:3] == pytest.approx([0, 0.16, 0])
    last = found.before[4, 1, 1]  # the last trial of group b's second subject
    assert [table[f"V {cue} {us}"][-1] for cue in "AB" for us in ("US", "US2")] == last.flatten().tolist()


def test_records_are_of_one_set_of_parameters():
    with pytest.raises(ValueError, match="one set of parameters"):
        records(simulate(RW, Design("1A+"), {"beta": torch.tensor([0.1, 0.2])}))


def test_a_file_of_several_models(tmp_path):
    runs = {name: run("2A+/1AB", configural=name == "b") for name in ("a", "b")}
    write_records(tmp_path / "deep" / "t.csv", runs)
    rows = list(csv.reader((tmp_path / "deep" / "t.csv").read_text("utf-8").splitlines()))
    assert rows[0][:6] == ["model", "group", "subject", "phase", "trial", "kind"]
    assert rows[0][-1] == "V A&B US"
    assert [row[0] for row in rows[1:]] == ["a"] * 3 + ["b"] * 3
    assert (rows[1][-1], rows[4][-1]) == ("", "0")
    assert [row[rows[0].index("V A US")] for row in rows[1:4]] == ["0", "0.16", "0.2944"]


def course(text, **options):
    return in_time(TrialTemporalDifference(), Design(text, **options).compile()).course


def test_periods_are_the_course_of_models_in_time():
    assert course("1A(US)") == Course()
    assert course("1A>(US)") == Course((0,), (10,), 0)
    assert course("20A(US)|1B>A") == Course((10, 0), (10, 10), 0)
    assert course({"delay": "1A(US)", "trace": "1T>>(US)|1#T"}) == Course((10, 0), (10, 10), 0)
    assert course("1T>>(US)") == Course((0,), (10,), 10)
    assert course("1B(US)|1A>AB(US)|1#A") == Course((10, 0), (10, 20), 0)
    assert course("1F>T>(US)", context="cage") == Course((0, 10, 0), (10, 10, 20), 0)
    own = TrialTemporalDifference(course=Course((0, 5), (3, 3)))
    assert in_time(own, Design("1A>B(US)").compile()) is own
    assert in_time(RW, Design("1A>B(US)").compile()) is RW


@pytest.mark.parametrize(("text", "part"), [("1A(US)|1A>B(US)", "another time"), ("1A(US)>B", "goes on after")])
def test_periods_that_no_course_has(text, part):
    with pytest.raises(ValueError, match=part):
        course(text)


def test_steps_keep_nothing():
    schedule = Design("2A+|1#A").compile()
    seen = [(step.trial, step.after is step.before) for step in steps(RW, schedule)]
    assert seen == [(0, False), (1, False), (2, True)]
