"""States that nobody visited: losses beside loops, and a generator that finds where a student is wrong."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.distributions import Categorical
from imitate.losses.data_free import information, one_hot
from imitate.students import DataFreeDistillation, DataFreeDistillationConfig, GeneratedStates, UniformStates
from imitate_envs.base import Box, Discrete
from imitate_envs.gridworld import GridWorld
from tests.oracles import Reach, Walk

M = 2
SPEC = Spec("Walk", Box((3,), (-1.0, -math.inf, 2.0), (1.0, math.inf, 5.0)), Discrete(2), M)


def build(env=None, states=GeneratedStates, steps=6, **generator):
    env = env or Walk()
    source = TensorSource(env, id=type(env).__name__, num_envs=2, members=M)
    teacher = nets.policy(source, (6,), seed=7)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    config = DataFreeDistillationConfig(steps=steps, batch_size=64, lr=1e-2)
    made = states(source.spec, **generator)
    return DataFreeDistillation(source, teacher, nets.policy(source, (6,)), config, states=made)


def test_losses_beside_loops():
    logits = torch.randn(M, 5, 3, generator=torch.Generator().manual_seed(0))
    teacher, probs = Categorical(logits), logits.softmax(-1).tolist()
    for m in range(M):
        for b in range(5):
            assert float(one_hot(teacher)[m, b]) == pytest.approx(-math.log(max(probs[m][b])), rel=1e-5)
        mean = [sum(row[a] for row in probs[m]) / 5 for a in range(3)]
        assert float(information(teacher)[m]) == pytest.approx(sum(p * math.log(p) for p in mean), rel=1e-5)
    assert float(information(Categorical.certain(torch.zeros(1, 4, dtype=torch.int64), 2))) == pytest.approx(
        0, abs=1e-9
    )
    each = torch.tensor([[0, 1]])
    assert float(information(Categorical.certain(each, 2))) == pytest.approx(-math.log(2))


@pytest.mark.parametrize("kind", [UniformStates, GeneratedStates])
def test_states_are_within_bounds_and_reach(kind):
    states = kind(SPEC, reach=7.0)
    drawn = states.draw(2_000)
    low, high = torch.tensor([-1.0, -7.0, 2.0]), torch.tensor([1.0, 7.0, 5.0])
    assert drawn.shape == (M, 2_000, 3) and bool(((drawn >= low) & (drawn <= high)).all())
    if kind is UniformStates:
        # A mean of n uniforms in a range r has a standard error of r/√(12 n); 5 of them.
        error = (drawn.mean((0, 1)) - (low + high) / 2).abs()
        assert bool((error < 5 * (high - low) / math.sqrt(12 * 4_000)).all())
    assert bool((drawn.std((0, 1)) > 0.1 * (high - low)).all())


@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_the_generators_gradient_raises_disagreement_of_those_who_stay(env):
    algorithm = build(env, balance=0.0, lr=0.01)
    before = [p.clone() for p in (*algorithm.policy.parameters(), *algorithm.teacher.parameters())]
    found = [algorithm.states.learn(algorithm.teacher, algorithm.policy, 64)["disagreement"].mean() for _ in range(30)]
    assert torch.stack(found[-5:]).mean() > 1.2 * torch.stack(found[:5]).mean()
    after = (*algorithm.policy.parameters(), *algorithm.teacher.parameters())
    assert all(map(torch.equal, before, after))


def test_balance_brings_every_choice():
    """To a teacher that mostly takes the first one."""
    algorithm = build(disagreement=0.0, balance=1.0, lr=0.02)
    teacher = algorithm.teacher
    with torch.no_grad():
        teacher.head.linear.bias += torch.tensor([3.0, 0.0, 0.0])
        before = information(teacher.distribution(algorithm.states.draw(500)))
    for _ in range(40):
        algorithm.states.learn(teacher, algorithm.policy, 64)
    with torch.no_grad():
        after = information(teacher.distribution(algorithm.states.draw(500)))
    assert bool((after < before - 0.05).all())


def test_the_generator_begins_anew():
    algorithm = build(restart=2)
    weights = []
    for _ in range(4):
        algorithm.step()
        weights.append(algorithm.states.learner.flat.clone())
    moved = [float((a - b).abs().max()) for a, b in itertools.pairwise(weights)]
    # A step of Adam goes about its learning rate, 10⁻³, at the most; orthogonal weights are some tenths apart.
    assert moved[0] < 0.01 and moved[1] > 0.05 and moved[2] < 0.01
    assert float(algorithm.states.learner.count) == 2


@pytest.mark.parametrize("states", [GeneratedStates, UniformStates])
def test_a_student_comes_to_agree_where_nobody_was(states):
    algorithm = build(states=states, steps=80)
    first = algorithm.step()["agreement"].mean()
    while not algorithm.progress.finished:
        last = algorithm.step()
    assert last["agreement"].mean() > first and last["loss"].shape == (M,)
    assert algorithm.progress.labels.tolist() == [80 * 64] * M
    obs = UniformStates(algorithm.source.spec, reach=1.0).draw(500)
    agreement = (algorithm.policy.distribution(obs).mode == algorithm.teacher.distribution(obs).mode).float().mean()
    assert agreement > 0.8


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: build(GridWorld()), "source: observations of GridWorld are Discrete"),
        (lambda: build(reach=0.0), r"reach: must be positive, not 0\.0"),
        (lambda: build(restart=0), r"restart: must be at least 1, not 0\."),
        (lambda: DataFreeDistillationConfig(batch_size=0), r"batch_size: must be at least 1, not 0\."),
    ],
)
def test_what_cannot_be(make, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        make()
