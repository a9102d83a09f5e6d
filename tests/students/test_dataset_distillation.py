"""Pairs that are learnt through the clones they make: gradients beside finite differences."""

from __future__ import annotations

import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.data import demonstrate
from imitate.students import DatasetDistillation, DatasetDistillationConfig
from imitate.students.dataset_distillation import distribution
from imitate.students.synthetic import redraw
from imitate_envs.gridworld import GridWorld
from tests.oracles import Reach, Walk

M, R, K = 2, 3, 4


def build(env=None, steps=4, lr=0.02, clone_lr=0.1, **student):
    env = env or Walk()
    source = TensorSource(env, id=type(env).__name__, num_envs=2, members=M)
    teacher = nets.policy(source, (6,), seed=7)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    config = DatasetDistillationConfig(3, steps, K, R, batch_size=5, lr=lr, clone_lr=clone_lr)
    return DatasetDistillation(source, demonstrate(source, teacher, 4), nets.policy(source, (5,), **student), config)


@pytest.mark.parametrize("env", [Walk(), Reach()])
@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_what_an_actor_of_other_weights_says(env, activation):
    actor = build(env, activation=activation).policy
    obs = torch.randn(M, 7, 2, generator=torch.Generator().manual_seed(0))
    weights = [*actor.body.chain, actor.head.linear.weight, actor.head.linear.bias]
    torch.testing.assert_close(distribution(actor, weights, obs).mode, actor.distribution(obs).mode)


@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_the_gradient_beside_a_loop_and_finite_differences(env):
    """Each of M·R clones is trained by itself, in float64; its error is differenced."""
    algorithm = build(env)
    batch = algorithm.data.sample(R * 5)

    def by_loop(member):
        rate = float(algorithm.rate["log"][member].detach().exp())
        errors = []
        for r in range(R):
            clone = algorithm.clones.member(member * R + r).double()
            pairs = [x[member : member + 1].detach() for x in (algorithm.pairs.obs, algorithm.pairs.action)]
            obs, action = (x.double() if x.is_floating_point() else x for x in pairs)
            for _ in range(K):
                learnt = [p for p in clone.parameters() if p is not getattr(clone.head, "log_std", None)]
                error = algorithm.imitation(clone.distribution(obs), action).mean()
                for p, grad in zip(learnt, torch.autograd.grad(error, learnt), strict=True):
                    p.data -= rate * grad
            rows = slice(r * 5, r * 5 + 5)
            real, label = (x[member : member + 1, rows] for x in (batch.obs, batch.action))
            label = label.double() if label.is_floating_point() else label
            with torch.no_grad():
                errors.append(algorithm.imitation(clone.distribution(real.double()), label).mean())
        return torch.stack(errors).mean()

    loss = algorithm._loss(batch)[0]
    torch.testing.assert_close(loss.double(), torch.stack([by_loop(m) for m in range(M)]), rtol=1e-5, atol=1e-6)
    grads = torch.autograd.grad(loss.sum(), [algorithm.pairs.obs, algorithm.rate["log"]])
    for parameter, grad in zip((algorithm.pairs.obs, algorithm.rate["log"]), grads, strict=True):
        for at in ((0, 0, 0), (1, -1, -1)):
            step, before = 1e-3, float(parameter[at].detach())
            ends = []
            for sign in (1, -1):
                with torch.no_grad():
                    parameter[at] = before + sign * step
                ends.append(by_loop(at[0]))
            with torch.no_grad():
                parameter[at] = before
            # Central differences err by step²·f'''/6; numbers of float32 place the ends to 10⁻⁷ of 10⁻³.
            difference = float(ends[0] - ends[1]) / (2 * step)
            assert float(grad[at]) == pytest.approx(difference, rel=2e-3, abs=2e-5)


def test_clones_are_the_same_with_and_without_a_gradient_through_them():
    algorithm = build()
    through, plain = (algorithm._cloned(algorithm.clones, R, through=through) for through in (True, False))
    assert all(map(torch.equal, through, plain))
    assert not torch.equal(plain[0], algorithm.clones.body.chain[0])


def test_the_student_holds_clones_of_fresh_networks():
    algorithm, again = build(), build()
    algorithm.step()
    redraw(again.clones, again.init)
    redraw(again.policy, again.init)
    again.pairs.load_state_dict(algorithm.pairs.state_dict())
    again.rate.load_state_dict(algorithm.rate.state_dict())
    mine = [*algorithm.policy.body.chain, algorithm.policy.head.linear.weight, algorithm.policy.head.linear.bias]
    assert all(map(torch.equal, mine, again._cloned(again.policy, 1, through=False)))


def test_it_learns_what_demonstrations_teach():
    algorithm = build(steps=40, lr=0.1, clone_lr=0.5)
    errors = [algorithm.step()["loss"].mean() for _ in range(40)]
    assert torch.stack(errors[-10:]).mean() < 0.7 * torch.stack(errors[:10]).mean()


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: build(gru=2), "student: it has a memory"),
        (lambda: build(normalise=True), "student: gradients go through a multilayer perceptron of ours"),
        (lambda: build(GridWorld()), "source: observations of GridWorld are Discrete"),
        (lambda: DatasetDistillationConfig(unroll=0), r"unroll: must be at least 1, not 0\."),
        (lambda: DatasetDistillationConfig(clone_lr=0.0), r"clone_lr: must be positive, not 0\.0"),
    ],
)
def test_what_cannot_be(make, line):
    with pytest.raises(ValueError, match=f"^{line}"):
        make()
