"""Students with a memory: truncated back-propagation beside a loop over single steps."""

from __future__ import annotations

import pytest
import torch

from imitate import nets
from imitate.core import tree
from imitate.core.rollout import TensorSource
from imitate.core.views import Select
from imitate.core.wrappers import Viewed
from imitate.losses.distillation import forward_kl
from imitate.students import DAgger, Distil, PolicyDistillation, PolicyDistillationConfig
from tests.oracles import Walk

M, N, T = 2, 3, 12


def distillation(memory=None, terms=False, **config):
    source = TensorSource(Walk(), id="Walk", num_envs=N, members=M)
    teacher = nets.policy(source, (6,), seed=7)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    viewed = Viewed(source, Select((0,)))
    student = nets.policy(viewed, (4,), **(memory or {"gru": 5}))
    options = {"steps": 4 * T * N, "rollout": T, "epochs": 1, "unroll": 4} | config
    made = PolicyDistillationConfig(**options)
    return PolicyDistillation(viewed, teacher, student, made, terms=[Distil(teacher)] if terms else ())


def by_steps(student, obs, memory, starts):
    """Distributions and memories of a loop over single steps."""
    found, memories = [], []
    for now, start in zip(obs, starts, strict=True):
        memory = tree.where(start, student.memory(M, N), memory)
        features, memory = student.body(student.prepare(now), memory)
        found.append(student.head.of(student.head.linear(features), None))
        memories.append(memory)
    return found, memories


class Spy:
    """A learner that keeps each batch, and what the student would make of it."""

    def __init__(self, distillation):
        self.learner, self.student, self.kept = distillation.learner, distillation.policy, []
        self.loss, self.lr = distillation._loss, distillation.learner.lr

    def __call__(self, batch):
        loss = self.loss(batch)[0]
        grads = torch.autograd.grad(loss.sum(), self.learner.parameters)
        steps = len(batch.starts)
        obs, told = (nets_unfold(x, steps) for x in (batch.obs, batch.teacher))
        found = by_steps(self.student, obs, batch.memory, batch.starts)[0]
        oracle = torch.stack([forward_kl(t, s) for t, s in zip(tree.unbind(told), found, strict=True)]).mean((0, 2))
        torch.testing.assert_close(loss, oracle)
        for mine, theirs in zip(grads, torch.autograd.grad(oracle.sum(), self.learner.parameters), strict=True):
            torch.testing.assert_close(mine, theirs)
        metrics = self.learner(batch)
        with torch.no_grad():
            after = by_steps(self.student, obs, batch.memory, batch.starts)[1][-1]
        self.kept.append((batch, after))
        return metrics


def nets_unfold(x, time):
    return tree.map(lambda leaf: leaf.reshape(M, time, N, *leaf.shape[2:]).transpose(0, 1), x)


@pytest.mark.parametrize("memory", [{"gru": 5}, {"lstm": 5}])
def test_a_batch_is_the_loop_over_its_steps_and_the_memory_goes_on(memory):
    algorithm = distillation(memory)
    spy = algorithm.learner = Spy(algorithm)
    for _ in range(2):
        algorithm.step()
    assert [len(batch.starts) for batch, _ in spy.kept] == [4, 4, 4] * 2
    assert any(bool(batch.starts[1:].any()) for batch, _ in spy.kept)  # an episode begins inside of a batch
    assert all(not leaf.any() for leaf in tree.leaves(spy.kept[0][0].memory))
    for (_, behind), (batch, _) in zip(spy.kept, spy.kept[1:], strict=False):
        for mine, expected in zip(tree.leaves(batch.memory), tree.leaves(behind), strict=True):
            assert not mine.requires_grad
            torch.testing.assert_close(mine, expected)


def test_each_pass_over_a_rollout_begins_with_the_same_memory():
    algorithm = distillation(epochs=2)
    spy = algorithm.learner = Spy(algorithm)
    for _ in range(2):
        algorithm.step()
    first, again = spy.kept[6][0], spy.kept[9][0]
    assert torch.equal(first.memory, again.memory) and first.memory.any()
    assert torch.equal(first.obs, again.obs) and torch.equal(first.starts, again.starts)


def test_terms_are_of_the_same_steps():
    """The distance as a term of weight 1 is what the loss is."""
    algorithm = distillation(terms=True)
    metrics = algorithm.step()
    torch.testing.assert_close(metrics["distil_0"].squeeze(), metrics["loss"] / 2)


def test_batch_size_says_nothing_of_sequences():
    distillation(batch_size=7)  # does not divide a rollout
    with pytest.raises(ValueError, match=r"^unroll: must be at least 1, not 0\."):
        distillation(unroll=0)
    with pytest.raises(ValueError, match=r"^unroll: 5 does not divide rollout = 12\."):
        distillation(unroll=5)


def test_dagger_sends_a_student_with_a_memory_to_distillation():
    algorithm = distillation()
    with pytest.raises(ValueError, match=r"^student: it has a memory, .* distil the teacher into it"):
        DAgger(algorithm.source, algorithm.teacher, algorithm.policy)
