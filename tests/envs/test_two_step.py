"""The two-step task: against a loop and against its probabilities."""

import math

import numpy as np
import pytest
import torch
from scipy.special import ndtri

from imitate_envs import Reflect, TwoStep


def uniforms(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def play(env, steps, lanes, seed=0):
    """Stages, chances, actions, rewards and noise of a random player, and the last state."""
    state, rows = env.reset(uniforms(lanes, 4, seed=seed)), []
    noise = uniforms(steps, lanes, 5, seed=seed + 1)
    actions = torch.randint(2, (steps, lanes), generator=torch.Generator().manual_seed(seed))
    for action, u in zip(actions, noise, strict=True):
        before = state
        state, reward, terminated = env.step(state, action, u)
        assert not terminated.any() and torch.equal(env.observe(state), state.stage)
        rows.append((before.stage, before.chance, action, reward))
    return (*(torch.stack(column) for column in zip(*rows, strict=True)), noise)


def test_against_a_loop():
    env = TwoStep(common=0.6, walk=Reflect(0.1, 0.9, 0.3))
    stage, chance, action, reward, noise = play(env, 60, 3)
    for lane in range(3):
        where, p = 0, (0.1 + 0.8 * uniforms(3, 4)[lane]).reshape(2, 2).numpy()
        for t in range(60):
            u, a = noise[t, lane].numpy(), int(action[t, lane])
            assert stage[t, lane] == where
            np.testing.assert_allclose(chance[t, lane].reshape(2, 2), p, rtol=0, atol=1e-12)
            if where == 0:
                assert reward[t, lane] == 0
                where = (1 + a) if u[0] < 0.6 else (2 - a)
            else:
                assert reward[t, lane] == float(u[0] < p[where - 1, a])
                where, p = 0, p + 0.3 * ndtri(u[1:]).reshape(2, 2)
                while ((p < 0.1) | (p > 0.9)).any():
                    p = np.where(p < 0.1, 0.2 - p, np.where(p > 0.9, 1.8 - p, p))


def test_probabilities_are_those_of_daw_2011():
    env = TwoStep()
    assert env.max_steps == 402 and env.observation.n == 3 and env.action.n == 2
    stage, chance, action, reward, _ = play(env, 200, 1_000)
    first, second = slice(0, None, 2), slice(1, None, 2)
    assert (stage[first] == 0).all() and (stage[second] > 0).all()
    common = (stage[second] == action[first] + 1).double()
    assert common.mean().item() == pytest.approx(0.7, abs=4 * math.sqrt(0.21 / common.numel()))
    assert chance.min() >= 0.25 and chance.max() <= 0.75
    assert torch.equal(chance[first], chance[second])  # they move once a trial
    inside = (chance[first][:-1] - 0.5).abs() < 0.1  # no wall within reach
    moves = (chance[first][1:] - chance[first][:-1])[inside]
    assert moves.std().item() == pytest.approx(0.025, rel=4 / math.sqrt(2 * len(moves)))
    option = 2 * (stage[second] - 1) + action[second]
    promised = chance[second].gather(-1, option.unsqueeze(-1)).squeeze(-1)
    assert (reward[second] - promised).mean().abs() < 4 * 0.5 / math.sqrt(promised.numel())
    for low in (0.25, 0.35, 0.45, 0.55, 0.65):  # also within each tenth
        here = (promised >= low) & (promised < low + 0.1)
        assert (reward[second] - promised)[here].mean().abs() < 4 * 0.5 / math.sqrt(here.sum())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TwoStep(common=1.2), "common: a probability, not 1.2"),
        (lambda: TwoStep(walk=Reflect(-0.1, 0.5)), "walk: between probabilities"),
        (lambda: TwoStep(trials=0), "trials: at least 1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
