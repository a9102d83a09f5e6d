"""What the benchmark of the grid worlds computes for itself: exact values, and when a curve reaches a level."""

import torch

from benchmarks.czarnecki import COPIES, Worlds, crossing, softmax_teacher
from imitate.teachers.planning import policy_values, value_iteration
from imitate_envs import RandomGrids


def test_values_are_the_planners():
    worlds = Worlds(RandomGrids(worlds=2, size=5, pits=0.1, goals=0.1, slip=0.2, ending=0.1))
    q = worlds.best()
    teacher, spread = softmax_teacher(q), softmax_teacher(q, COPIES)
    for world in range(2):
        model = worlds.env.model(world)
        inside = ~model.terminal
        best = value_iteration(model, 1.0).values
        torch.testing.assert_close(q[world].amax(-1)[inside], best[inside], rtol=0, atol=1e-4)
        expected = policy_values(model, teacher[world], 1.0)
        # float32 values of at most 10, of equations whose condition is at most 2/0.1
        torch.testing.assert_close(worlds.values(teacher)[world][inside], expected[inside], rtol=0, atol=1e-4)
        assert worlds.returns(teacher)[world] == worlds.values(teacher)[world, 2 * 5 + 2]
    sides = spread.unflatten(-1, (COPIES, 4)).sum(2)
    torch.testing.assert_close(sides, teacher)


def test_crossing():
    curve = {"steps": [0, 10, 30], "returns": [[0.0, 5.0, 0.0], [1.0, 5.0, 0.0], [3.0, 5.0, 0.5]]}
    found = crossing(curve, torch.tensor([2.0, 4.0, 1.0]).double())
    assert found.tolist() == [20.0, 0.0, 30.0]  # between two looks, at once, never
