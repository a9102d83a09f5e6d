"""Evolution of a data set: beside a loop over candidates, and on what a data set can be known to be good for."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from imitate import nets
from imitate.core.noise import Stream, normal
from imitate.core.rollout import TensorSource
from imitate.data import Demonstrations
from imitate.students import HaDES, HaDESConfig
from imitate.students.hades import centred_ranks
from imitate.students.synthetic import Pairs, redraw
from imitate_envs.base import Box, Discrete
from imitate_envs.gridworld import GridWorld
from tests.oracles import Reach, Walk, rank_by_loop

M = 6
CONFIG = HaDESConfig(pairs=3, generations=4, plays=2, updates=4, sigma=0.5, lr=0.3, clone_lr=0.05)


def source(env=None, members=M):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=1, members=members)


def hades(env=None, config=CONFIG, **student):
    place = source(env)
    return HaDES(place, nets.policy(place, (5,), **student), config)


def test_ranks_beside_a_loop():
    scores = torch.tensor([3.0, -1.0, 3.0, 10.0, 2.0, -1.0])
    assert centred_ranks(scores).tolist() == pytest.approx(rank_by_loop(scores.tolist()))
    assert centred_ranks(torch.full((5,), 500.0)).tolist() == [0.0] * 5
    assert centred_ranks(torch.tensor([1.0, 7.0])).tolist() == [-0.5, 0.5]


@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_a_generation_beside_a_loop_over_candidates(env):
    """Candidates are cloned one by one, by Adam; then one step of Adam on the data set."""
    algorithm, again = hades(env), hades(env)
    epsilon = normal(again.mutations.uniform(M // 2, again.learner.flat.shape[1]))
    epsilon = torch.cat([epsilon, -epsilon])
    first = nets.policy(source(env, M // 2), (5,), seed=0)
    redraw(first, Stream(0, "init-clones"))
    weights = []
    for i in range(M):
        clone = first.member(i % (M // 2))
        batch = again.pairs.of((0.5 * epsilon[i]).unsqueeze(0))
        learnt = [p for p in clone.parameters() if p is not getattr(clone.head, "log_std", None)]
        moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in learnt]
        for t in range(1, CONFIG.updates + 1):
            loss = again.imitation(clone.distribution(batch.obs), batch.action).mean()
            for p, moment, grad in zip(learnt, moments, torch.autograd.grad(loss, learnt), strict=True):
                moment[:] = 0.9 * moment[0] + 0.1 * grad, 0.999 * moment[1] + 0.001 * grad**2
                mean, square = moment[0] / (1 - 0.9**t), moment[1] / (1 - 0.999**t)
                p.data -= 0.05 * mean / (square.sqrt() + 1e-8)
        weights.append([p.detach()[0] for p in clone.parameters()])
    found = []
    play = algorithm.source.play

    def kept(policy, episodes, seed):
        found.append([p.clone() for p in policy.policy.parameters()])
        return play(policy, episodes, seed)

    algorithm.source.play = kept
    returns = algorithm.step()["return"]
    for mine, theirs in zip(found[0], zip(*weights, strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(theirs), rtol=1e-4, atol=1e-5)
    ascent = sum(rank * e for rank, e in zip(rank_by_loop(returns.tolist()), epsilon, strict=True)) / (M * 0.5)
    # Adam's first step is lr·sign of the gradient, but for ε = 10⁻⁸.
    torch.testing.assert_close(algorithm.learner.flat[0], 0.3 * ascent / (ascent.abs() + 1e-8))


def test_the_student_holds_clones_of_the_data_set_itself():
    algorithm = hades(config=HaDESConfig(pairs=3, generations=4, plays=1, updates=100, clone_lr=0.05, sigma=0.5))
    with torch.no_grad():
        algorithm.pairs.obs.copy_(torch.tensor([[[-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]]))
    algorithm.step()
    demonstrations = algorithm.demonstrations
    said = algorithm.policy.distribution(demonstrations.examples.obs).mode
    assert torch.equal(said, demonstrations.examples.action) and said.shape == (M, 3)
    weights = algorithm.policy.head.linear.weight
    assert not torch.equal(weights[0], weights[1])  # each is of its own initialisation


@dataclass(frozen=True)
class Signs:
    """One step: the reward is 1 for action 1 where the state is positive, and for action 0 where it is negative."""

    max_steps: int = 8
    step_noise: int = 1
    reset_noise: int = 1
    observation = Box((1,))
    action = Discrete(2)

    def reset(self, noise):
        return 2 * noise - 1

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        right = (state[..., 0] > 0).long() == action
        return 2 * noise - 1, right.float(), torch.zeros_like(right)


def test_it_finds_a_pair_of_states_that_teaches_the_task():
    """Of 8 a coin earns 4; a clone of two pairs separates the line at one point."""
    place = source(Signs(), 16)
    config = HaDESConfig(pairs=2, generations=15, plays=8, updates=15, clone_lr=0.05, sigma=0.3, lr=0.1)
    algorithm = HaDES(place, nets.policy(place, (4,)), config)
    while not algorithm.progress.finished:
        algorithm.step()
    zero, one = algorithm.pairs.obs[0, :, 0].tolist()
    assert zero < one
    assert place.play(algorithm.policy, 20, 5).mean() > 6.5


def test_pairs_are_read_as_demonstrations(tmp_path):
    algorithm = hades()
    algorithm.step()
    algorithm.demonstrations.save(tmp_path / "pairs.npz", algorithm.source)
    read = Demonstrations.from_npz(tmp_path / "pairs.npz", algorithm.source)
    assert torch.equal(read.examples.obs[0], algorithm.pairs.obs[0])
    assert read.examples.action[0].tolist() == [0, 1, 2]
    assert read.episode[0].tolist() == [0, 1, 2]


def test_actions_are_learnt_where_they_are_numbers():
    pairs = Pairs(source(Reach()).spec, 1, 4)
    rows = torch.arange(2 * 16.0).reshape(2, 16)
    found = pairs.of(rows)
    assert torch.equal(found.obs.flatten(1), rows[:, :8]) and torch.equal(found.action.flatten(1), rows[:, 8:])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: HaDES(source(members=3), nets.policy(source(members=3), (4,))), "members: 3 candidates cannot mirror"),
        (lambda: hades(GridWorld()), "source: observations of GridWorld are Discrete"),
        (lambda: hades(config=HaDESConfig(pairs=2)), "pairs: 2 cannot show each of 3 actions; at least 3"),
        (lambda: hades(build=lambda: torch.nn.Linear(2, 3)), "student: a network of your own cannot be drawn anew"),
        (lambda: hades(gru=2), "student: it has a memory"),
        (lambda: HaDESConfig(sigma=0.0), r"sigma: must be positive, not 0\.0"),
    ],
)
def test_what_cannot_be(make, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        make()
