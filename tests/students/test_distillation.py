"""Policy distillation: who drives, what is matched, what stays. Letters: T time, M members, N environments."""

from dataclasses import replace

import pytest
import torch

import imitate
from imitate import nets
from imitate.core import rollout, tree
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical, decide
from imitate.losses.distillation import cross_entropy, forward_kl, mse, reverse_kl
from imitate.policies import Greedy, Mixture
from imitate.students import PolicyDistillation, PolicyDistillationConfig
from imitate.students import distillation as module
from imitate.teachers import control_law
from tests.oracles import Identity, Reach, Sliced, Walk, plain_mlp

M, N = 3, 4
SMALL = PolicyDistillationConfig(steps=400, rollout=8, epochs=2, batch_size=16, lr=1e-2)


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def teacher_of(place, seed=7, sharpness=100.0, **options):
    """A random network that is not undecided."""
    teacher = nets.policy(place, (8,), seed=seed, **options)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(sharpness)
    return teacher


def made(config=SMALL, env=None, teacher=None, student=None, **options):
    place = source(env)
    return PolicyDistillation(
        place, teacher or teacher_of(place), student or nets.policy(place, (8,), seed=1), config, **options
    )


def watch(distillation):
    """The minibatches that it learns from, as they come."""
    batches, loss = [], distillation.learner.loss
    distillation.learner.loss = lambda batch: batches.append(batch) or loss(batch)
    return batches


def divergence(distillation, obs):
    """KL(teacher ‖ student) of each member, by torch's own distributions."""
    teacher, student = (p.distribution(obs) for p in (distillation.teacher, distillation.policy))
    categorical = torch.distributions.Categorical
    kl = torch.distributions.kl_divergence(categorical(logits=teacher.logits), categorical(logits=student.logits))
    return kl.mean(1).detach()


def test_the_student_comes_close_and_the_teacher_stays():
    distillation = made(replace(SMALL, steps=3_200))
    frozen = {name: value.clone() for name, value in distillation.teacher.state_dict().items()}
    obs = distillation.source.collect(distillation.teacher, 50).flatten().obs
    before = divergence(distillation, obs)
    first = distillation.step()
    while not distillation.progress.finished:
        last = distillation.step()
    assert (divergence(distillation, obs) < 0.05 * before).all()
    assert (last["agreement"] > first["agreement"] + 0.1).all()
    assert (last["agreement"] > 0.9).all()
    assert (last["loss"] < 0.2 * first["loss"]).all()
    for name, value in distillation.teacher.state_dict().items():
        assert torch.equal(value, frozen[name])
    assert all(p.grad is None for p in distillation.teacher.parameters())


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, mse])
def test_a_student_that_is_its_teacher_has_nothing_to_learn(loss):
    place = source()
    teacher = teacher_of(place)
    student = teacher_of(place)  # of the same seed
    once = replace(SMALL, epochs=1, batch_size=32)  # Adam makes steps of its own size even of rounding errors
    metrics = made(once, teacher=teacher, student=student, loss=loss).step()
    assert (metrics["loss"].abs() < 1e-6).all()
    assert (metrics["grad_norm"] < 1e-5).all()
    assert (metrics["agreement"] == 1).all()
    other = made(once, loss=loss).step()
    assert (other["grad_norm"] > 1e-3).all()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
@pytest.mark.parametrize("batch_size", [16, 32])
def test_a_step_is_the_textbooks(temperature, batch_size):
    """Plain layers, torch's Adam, clipping and divergence, on the recorded batches, one member."""
    place = source(members=1)
    student = nets.policy(place, (8,), seed=1)
    plain = plain_mlp(student, 0)
    config = replace(SMALL, batch_size=batch_size, temperature=temperature, max_grad_norm=0.01, anneal_lr=False)
    distillation = PolicyDistillation(place, teacher_of(place), student, config)
    batches = watch(distillation)
    distillation.step()
    assert len(batches) == 2 * 32 // batch_size
    optimizer, norms = torch.optim.Adam(plain.parameters(), lr=1e-2), []
    for batch in batches:
        p = (batch.teacher.logits[0] / temperature).log_softmax(-1)
        q = (plain(batch.obs[0]) / temperature).log_softmax(-1)
        loss = temperature**2 * torch.nn.functional.kl_div(q, p, log_target=True, reduction="batchmean")
        optimizer.zero_grad()
        loss.backward()
        norms.append(torch.nn.utils.clip_grad_norm_(plain.parameters(), 0.01))
        optimizer.step()
    assert max(norms) > 0.01  # the bound does something
    for mine, theirs in zip(plain_mlp(student, 0).parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)


def test_every_epoch_sees_every_state_once_in_an_order_of_its_own():
    distillation = made(replace(SMALL, epochs=3, batch_size=8))
    batches = watch(distillation)
    collected, collect = [], distillation.source.collect
    distillation.source.collect = lambda *a: collected.append(collect(*a)) or collected[-1]
    distillation.step()
    obs = collected[0].flatten().obs
    assert len(batches) == 3 * 4
    orders = []
    for epoch in range(3):
        seen = torch.cat([batch.obs for batch in batches[4 * epoch : 4 * epoch + 4]], 1)
        logits = torch.cat([batch.teacher.logits for batch in batches[4 * epoch : 4 * epoch + 4]], 1)
        torch.testing.assert_close(logits, distillation.teacher.distribution(seen).logits)
        for m in range(M):
            assert sorted(seen[m].tolist()) == sorted(obs[m].tolist())
            orders.append([obs[m].tolist().index(row) for row in seen[m].tolist()])
    assert len({tuple(order) for order in orders}) == 3 * M


@pytest.mark.parametrize("who", ["student", "teacher", "mixture"])
def test_who_drives(who):
    """The states are those of the driver, on the same noise."""
    place = source()
    teacher, student = teacher_of(place), nets.policy(place, (8,), seed=1)
    mixture = Mixture(teacher, student, torch.full((M,), 0.5))
    drivers = {"student": None, "teacher": teacher, "mixture": mixture}
    expected = source().collect(drivers[who] or student, 8).obs
    distillation = made(teacher=teacher, student=student, driver=drivers[who])
    collected, collect = [], distillation.source.collect
    distillation.source.collect = lambda *a: collected.append(collect(*a)) or collected[-1]
    distillation.step()
    assert torch.equal(collected[0].obs, expected)
    assert distillation.driver is (drivers[who] or student)


def test_the_drivers_differ():
    place = source()
    teacher, student = teacher_of(place), nets.policy(place, (8,), seed=1)
    mixture = Mixture(teacher, student, torch.full((M,), 0.5))
    one, two, three = (source().collect(d, 8).obs for d in (teacher, student, mixture))
    assert not torch.equal(one, two)
    assert not torch.equal(one, three)
    assert not torch.equal(two, three)


def test_every_step_is_labelled():
    distillation = made()
    assert distillation.progress.labels.tolist() == [0] * M
    for i in range(1, 14):
        assert not distillation.progress.finished
        distillation.step()
        assert distillation.progress.labels.tolist() == [8 * N * i] * M
        assert int(distillation.progress.steps) == 8 * N * i
    assert distillation.progress.finished
    assert distillation.progress.budget == 416  # 400 in whole rollouts


def test_the_learning_rate_falls_to_zero_or_stays():
    falling, flat = made(replace(SMALL, lr=(1e-2, 2e-2, 3e-2))), made(replace(SMALL, anneal_lr=False))
    for i in range(13):
        falling.step()
        flat.step()
        expected = torch.tensor([1e-2, 2e-2, 3e-2]) * (1 - 32 * i / 400)
        torch.testing.assert_close(falling.learner.lr, expected)
        torch.testing.assert_close(flat.learner.lr, torch.full((M,), 1e-2))
    falling.step()  # beyond the budget: no negative rate
    assert falling.learner.lr.tolist() == [0] * M


def test_a_temperature_changes_what_is_learnt():
    one, two = (made(replace(SMALL, temperature=t)) for t in (1.0, 4.0))
    for distillation in (one, two):
        distillation.step()
    assert not torch.allclose(one.learner.flat, two.learner.flat)


def test_cross_entropy_learns_what_forward_kl_learns():
    one, two = made(loss=forward_kl), made(loss=cross_entropy)
    for _ in range(3):
        a, b = one.step(), two.step()
    torch.testing.assert_close(one.learner.flat, two.learner.flat, rtol=1e-3, atol=1e-4)
    assert (b["loss"] > a["loss"] + 0.01).all()


def test_a_loss_of_ones_own():
    def absolute(teacher, student, temperature):
        return (teacher.probs - student.probs).abs().sum(-1)

    distillation = made(loss=absolute)
    first = distillation.step()["loss"]
    for _ in range(10):
        last = distillation.step()["loss"]
    assert (last < first).all()
    assert (first <= 2).all()


def test_a_continuous_teacher():
    place = source(Reach())
    teacher = teacher_of(place)
    with torch.no_grad():
        teacher.head.log_std.fill_(-1)
    student = nets.policy(place, (8,), seed=1)
    config = replace(SMALL, steps=6_400, batch_size=32, lr=2e-2)
    distillation = PolicyDistillation(place, teacher, student, config)
    metrics = distillation.step()
    assert "agreement" not in metrics
    while not distillation.progress.finished:
        distillation.step()
    obs = source(Reach(), seed=3).collect(teacher, 20).flatten().obs
    torch.testing.assert_close(student.distribution(obs).loc, teacher.distribution(obs).loc, rtol=0, atol=0.15)
    torch.testing.assert_close(student.head.log_std, teacher.head.log_std, rtol=0, atol=0.2)


def test_a_squashed_teacher_and_student():
    place = source(Reach())
    student = nets.policy(place, (8,), seed=1, squash=True)
    distillation = PolicyDistillation(place, teacher_of(place, squash=True), student, replace(SMALL, steps=1_600))
    first = distillation.step()["loss"]
    while not distillation.progress.finished:
        last = distillation.step()["loss"]
    assert (last < 0.5 * first).all()


@pytest.mark.parametrize("loss", [forward_kl, reverse_kl, cross_entropy, mse])
def test_kinds_that_no_loss_compares_are_refused(loss):
    """A Gaussian's mean is an action, a squashed Gaussian's is not: numbers would come out, and mean nothing."""
    place = source(Reach())
    for squash in (False, True):
        teacher, student = teacher_of(place, squash=squash), nets.policy(place, (8,), squash=not squash)
        distillation = PolicyDistillation(place, teacher, student, SMALL, loss=loss)
        with pytest.raises(ValueError, match=r"teacher: its answers are (Tanh)?Normal, .*`squash`"):
            distillation.step()


def test_one_teacher_serves_all_members():
    one = teacher_of(source(members=1), normalise=True)
    one.observe(torch.randn(1, 200, 2))
    distillation = made(teacher=one)
    batches = watch(distillation)
    distillation.step()
    for batch in batches:
        for m in range(M):
            torch.testing.assert_close(batch.teacher.logits[m : m + 1], one.distribution(batch.obs[m : m + 1]).logits)


def test_members_are_single_runs_on_the_same_noise(monkeypatch):
    place = source()
    teacher, student = teacher_of(place), nets.policy(place, (8,), seed=1, normalise=True)
    config = replace(SMALL, lr=(1e-3, 1e-2, 2e-2), max_grad_norm=0.1)
    alone, teachers = [student.member(m) for m in range(M)], [teacher.member(m) for m in range(M)]
    together = PolicyDistillation(place, teacher, student, config)
    metrics = [together.step() for _ in range(5)]
    for m in range(M):

        def sliced(seed, name, device="cpu", m=m):
            found = Sliced(Stream(seed, name, device), M, m)
            found.generator = found.stream.generator
            return found

        monkeypatch.setattr(module, "Stream", sliced)
        monkeypatch.setattr(rollout, "Stream", sliced)
        single = PolicyDistillation(source(members=1), teachers[m], alone[m], replace(config, lr=config.lr[m]))
        for seen in metrics:
            for name, value in single.step().items():
                torch.testing.assert_close(value[0], seen[name][m], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(single.learner.flat[0], together.learner.flat[m], rtol=1e-3, atol=1e-4)


def test_a_toy_task_is_learnt_exactly():
    class Copy:
        noise = 0

        def memory(self, *shape):
            return None

        def distribution(self, obs):
            return Categorical.certain(obs, 3)

        def act(self, obs, noise, memory):
            return decide(self.distribution(obs), noise), None, {}

    place = source(Identity())
    student = nets.policy(place, ())
    distillation = PolicyDistillation(place, Copy(), student, replace(SMALL, steps=1_600, lr=0.1))
    while not distillation.progress.finished:
        distillation.step()
    assert torch.equal(place.play(Greedy(student), 5, seed=1), torch.full((M, 5), 10.0))


def test_a_control_law_can_be_distilled():
    """Though its choices are certain, and near balance hang on a hair: what counts is where they lead."""
    place = imitate.make("CartPole-v1", num_envs=8, members=2)
    config = PolicyDistillationConfig(steps=4_000, rollout=32, batch_size=64, epochs=2, lr=1e-2)
    student = nets.policy(place, (16,), seed=1)
    distillation = PolicyDistillation(place, control_law("CartPole-v1"), student, config)
    assert (place.play(Greedy(student), 10, seed=1).mean(1) < 200).all()
    while not distillation.progress.finished:
        distillation.step()
    assert (place.play(Greedy(student), 10, seed=1).mean(1) > 400).all()


def test_observations_are_standardised_by_what_was_visited():
    place = source()
    student = nets.policy(place, (8,), seed=1, normalise=True)
    distillation = made(student=student)
    visited, collect = [], distillation.source.collect
    distillation.source.collect = lambda *a: visited.append(collect(*a).clone()) or visited[-1]
    for _ in range(3):
        distillation.step()
    seen = torch.cat([v.flatten().obs for v in visited], 1)
    torch.testing.assert_close(student.body.normaliser.mean[:, 0], seen.mean(1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(student.body.normaliser.var[:, 0], seen.var(1, correction=0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"batch_size": 20}, r"batch_size: 20 does not divide rollout·num_envs = 32"),
        ({"batch_size": 64}, r"batch_size: 64 does not divide rollout·num_envs = 32"),
        ({"batch_size": 0}, "batch_size: must be at least 1, not 0"),
        ({"batch_size": -8}, "batch_size: must be at least 1, not -8"),
        ({"steps": 0}, "steps: must be at least 1, not 0"),
        ({"rollout": 0}, "rollout: must be at least 1, not 0"),
        ({"epochs": 0}, "epochs: must be at least 1, not 0"),
        ({"temperature": 0.0}, "temperature: must be positive, not 0.0"),
        ({"temperature": -1.0}, "temperature: must be positive"),
        ({"lr": (1e-3, 1e-3)}, "lr: 2 values for 3 members"),
    ],
)
def test_what_does_not_fit_is_refused(config, message):
    with pytest.raises(ValueError, match=message):
        made(replace(SMALL, **config))


def test_the_whole_state_is_finite_after_a_run():
    distillation = made()
    while not distillation.progress.finished:
        metrics = distillation.step()
    assert all(value.isfinite().all() and value.shape == (M,) for value in metrics.values())
    assert all(leaf.isfinite().all() for leaf in tree.leaves(distillation.learner.state_dict()))
