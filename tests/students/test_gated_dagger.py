"""DAgger behind a gate: what is labelled, what is counted. Letters: M members, N environments of one member."""

from dataclasses import replace

import pytest
import torch

from imitate import nets
from imitate.core import tree
from imitate.core.checkpoint import state_of
from imitate.core.rollout import TensorSource
from imitate.students import (
    DAgger,
    DAggerConfig,
    EnsembleGate,
    EnsembleGateConfig,
    GatedDAgger,
    GatedDAggerConfig,
    HumanGate,
    LazyGate,
    LazyGateConfig,
    ThriftyGate,
    ThriftyGateConfig,
)
from tests.oracles import Reach, Walk
from tests.students.test_dagger import Home, Middle, Watched, contents

M, N = 2, 4
SMALL = GatedDAggerConfig(warm_up=3, rounds=3, rollout=6, updates=10, batch_size=8, lr=1e-2)


class Everywhere:
    """A gate that asks everywhere, or nowhere, and lets the teacher drive or not."""

    def __init__(self, asks=True, drives=False):
        self.asks, self.drives = asks, drives

    def __call__(self, moment):
        return torch.full_like(moment.driving, self.asks), torch.full_like(moment.driving, self.drives)

    def learn(self, lesson):
        return {}


def made(gate=None, config=SMALL, env=None, **student):
    env = env or Walk()
    place = TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=0)
    pupil = nets.policy(place, (8,), **student)
    watched, teacher = Watched(place, pupil), Home() if isinstance(env, Reach) else Middle()
    gate = gate(place, pupil) if callable(gate) and not isinstance(gate, Everywhere) else gate or Everywhere()
    return GatedDAgger(watched, teacher, pupil, gate, config)


@pytest.mark.parametrize("env", [Walk(), Reach()])
@pytest.mark.parametrize("normalise", [False, True])
def test_a_gate_that_asks_everywhere_and_lets_the_student_drive_is_dagger(env, normalise):
    """To the bit: DAgger's first round is the warm-up."""
    gated = made(config=replace(SMALL, warm_up=6), env=env, normalise=normalise)
    place = TensorSource(env, id="x", num_envs=N, members=M, seed=0)
    config = DAggerConfig(rounds=4, rollout=6, updates=10, batch_size=8, lr=1e-2)
    teacher = Home() if isinstance(env, Reach) else Middle()
    dagger = DAgger(place, teacher, nets.policy(place, (8,), normalise=normalise), config)
    while not dagger.progress.finished:
        expected = dagger.step()
    while not gated.progress.finished:
        found = gated.step()
    assert torch.equal(found["held_out"], expected["held_out"])
    assert int(gated.progress.steps) == int(dagger.progress.steps) == 4 * 6 * N
    assert torch.equal(gated.progress.labels, dagger.progress.labels)
    for name in ("policy", "data", "held_out", "learner"):
        mine, theirs = (dict(tree.flatten(getattr(one, name).state_dict())) for one in (gated, dagger))
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(value, theirs[key]) for key, value in mine.items()), name


def test_a_gate_that_never_asks_leaves_the_warm_up():
    gated = made(Everywhere(asks=False, drives=True))
    while not gated.progress.finished:
        metrics = gated.step()
    assert gated.progress.labels.tolist() == [3 * N] * M
    assert metrics["asked"].tolist() == metrics["driven"].tolist() == [0, 0]
    assert metrics["switches"].tolist() == [N, N]  # behind the warm-up the teacher hands over, once


@pytest.mark.parametrize("budget", [12, 13, 30, 1000])
def test_a_budget_is_kept_to_the_label(budget):
    gated = made(Everywhere(), replace(SMALL, budget=budget))
    while not gated.progress.finished:
        gated.step()
    assert gated.progress.labels.tolist() == [min(budget, (3 + 18) * N)] * M
    assert (gated.data.size + gated.held_out.size).tolist() == gated.progress.labels.tolist()


def test_another_budget_counts_from_the_next_round_on():
    gated = made(Everywhere(), replace(SMALL, budget=20))
    gated.step()
    gated.config = replace(gated.config, budget=25)
    gated.step()
    assert gated.progress.labels.tolist() == [25] * M


def test_the_aggregate_is_what_was_asked_with_the_modes_of_the_teacher():
    gated = made(lambda place, pupil: HumanGate(lambda obs: obs[..., 0] > 0.2, lambda obs: obs[..., 0] < 0))
    while not gated.progress.finished:
        gated.step()
    asked = [seen.extras["asked"] for seen in gated.source.seen]
    assert asked[0].all() and 0 < torch.cat(asked[1:]).float().mean() < 1
    for m in range(M):
        expected = []
        for seen, where in zip(gated.source.seen, asked, strict=True):
            for t, n in where[:, m].nonzero().tolist():
                obs = seen.obs[t, m, n]
                expected.append((*obs.tolist(), int(Middle().distribution(obs).mode)))
        assert sorted(contents(gated.data, m) + contents(gated.held_out, m)) == sorted(expected)
        assert int(gated.progress.labels[m]) == len(expected)


def test_changes_of_who_drives_are_counted_without_the_warm_up():
    gated = made(Everywhere(drives=True))
    while not gated.progress.finished:
        gated.step()
    # Who always drives takes over once an episode; at the step behind the warm-up it drives already.
    expected = sum(seen.starts.sum((0, 2)) for seen in gated.source.seen[1:])
    assert torch.equal(gated.switches, expected)


GATES = {
    "lazy": lambda place, pupil: LazyGate(place, pupil, LazyGateConfig(10, 8, hidden=(4,), threshold=0.2)),
    "ensemble": lambda place, pupil: EnsembleGate(place, pupil, EnsembleGateConfig(10, 8, heads=2, chi=1e-3)),
    "thrifty": lambda place, pupil: ThriftyGate(
        place, pupil, ThriftyGateConfig(10, 8, heads=2, hidden=(4,), capacity=100, alpha=0.2)
    ),
}


@pytest.mark.parametrize("name", GATES)
def test_members_do_not_touch_each_other(name):
    """The first member does not notice that the second one learns at another rate, and so drives elsewhere."""
    both = [made(GATES[name], replace(SMALL, lr=(1e-2, lr))) for lr in (1e-2, 1e-1)]
    for one in both:
        while not one.progress.finished:
            one.step()
    mine, theirs = (one.learner.flat for one in both)
    assert torch.equal(mine[0], theirs[0]) and not torch.equal(mine[1], theirs[1])
    assert both[0].progress.labels[0] == both[1].progress.labels[0]


def test_the_gate_is_saved_with_the_run():
    """Its networks, thresholds and streams are part of the state, once."""
    gated = made(GATES["thrifty"])
    gated.step()
    names = {name for name, _ in tree.flatten(state_of(gated))}
    for part in ("gate.novel", "gate.risk.replay.steps.reward", "gate.risk.target.updates", "gate.doubt.learner.mean"):
        assert part in names
    assert {"left", "leads", "switches", "episode"} <= names


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GatedDAggerConfig(validation=0.0), "validation: a gate needs held-out labels; set it above 0."),
        (lambda: GatedDAggerConfig(budget=0), "budget: must be at least 1, not 0."),
        (
            lambda: made(config=replace(SMALL, budget=11)),
            "budget: 11 labels, but the warm-up takes 12; take more, or a shorter warm_up.",
        ),
        (lambda: GatedDAggerConfig(warm_up=0), "warm_up: must be at least 1, not 0."),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
