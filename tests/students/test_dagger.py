"""DAgger: who drives, who labels, what is kept. Letters: T time, M members, N environments of one member, R rounds."""

from dataclasses import replace

import pytest
import torch

from imitate import nets
from imitate.core import rollout, tree
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource
from imitate.core.types import unfold
from imitate.distributions.actions import Categorical, Normal, decide
from imitate.losses.imitation import SquaredError, negative_log_likelihood
from imitate.policies import Greedy
from imitate.students import DAgger, DAggerConfig, Exponential, FirstRoundOnly, Linear, demonstrate
from imitate.students import dagger as module
from imitate.students.held_out import held_out_error
from tests.oracles import Identity, Reach, Sliced, Walk, assert_statistics_of, snapshot

M, N = 3, 4


class Middle:
    """A teacher for `Walk` that steps towards the middle and, unlike its mode, draws now and then."""

    noise = 1

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        best = (obs[..., 0] + obs[..., 1] < 0).long() * 2
        return Categorical(2 * torch.nn.functional.one_hot(best, 3).float())

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


class Home:
    """A teacher for `Reach`."""

    noise = 0

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        return Normal(-0.5 * obs, torch.ones_like(obs))

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


class Watched:
    """A source that keeps what was collected, and what a policy said about it at that time."""

    def __init__(self, inner, policy):
        self.inner, self.policy, self.seen, self.modes = inner, policy, [], []

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def collect(self, driver, steps):
        self.seen.append(self.inner.collect(driver, steps).clone())
        with torch.no_grad():
            flat = self.seen[-1].flatten().obs
            self.modes.append(self.policy.distribution(flat).mode)
        return self.seen[-1]


SMALL = DAggerConfig(rounds=4, rollout=6, updates=10, batch_size=16, lr=1e-2)


def made(config=SMALL, teacher=None, env=None, members=M, demonstrations=None, seed=0, **student):
    """A DAgger whose source is watched."""
    place = source(env, members, seed)
    learner = nets.policy(place, (8,), **student)
    watched = Watched(place, learner)
    teacher = teacher or (Home() if isinstance(env, Reach) else Middle())
    return DAgger(watched, teacher, learner, config, demonstrations=demonstrations)


def contents(dataset, m):
    """Observations and labels of one member, as a sorted list of tuples."""
    examples, valid = dataset.all()
    obs, action = examples.obs[m, valid[m]], examples.action[m, valid[m]]
    return sorted(
        (*o, *(a if isinstance(a, list) else [a])) for o, a in zip(obs.tolist(), action.tolist(), strict=True)
    )


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        (FirstRoundOnly(), [1, 0, 0, 0, 0, 0]),
        (Exponential(), [1, 0.5, 0.25, 0.125, 0.0625, 0.03125]),
        (Exponential(0.9), [1, 0.9, 0.81, 0.729, 0.6561, 0.59049]),
        (Exponential(0.0), [1, 0, 0, 0, 0, 0]),
        (Linear(), [1, 0.8, 0.6, 0.4, 0.2, 0]),
        (Linear(2), [1, 0.5, 0, 0, 0, 0]),
    ],
)
def test_schedules(beta, expected):
    found = [beta(i) for i in range(1, 7)]
    assert found == pytest.approx(expected, abs=1e-12)
    assert all(isinstance(value, float) for value in found)


@pytest.mark.parametrize("make", [lambda: Exponential(-0.1), lambda: Exponential(1.5), lambda: Linear(0)])
def test_schedules_stay_between_nobody_and_the_teacher(make):
    with pytest.raises(ValueError, match=r"p: a share in \[0, 1\]|rounds: at least 1, not 0"):
        make()


@pytest.mark.parametrize("beta", [FirstRoundOnly(), Exponential(0.5), Linear(3)])
@pytest.mark.parametrize("start", [False, True])
def test_the_schedule_is_followed_and_demonstrations_are_its_first_round(beta, start):
    shown = demonstrate(source(seed=5), Middle(), 4) if start else None
    dagger = made(replace(SMALL, beta=beta), demonstrations=shown)
    found = torch.stack([dagger.step()["beta"] for _ in range(4)])
    expected = [beta(i) for i in (range(2, 6) if start else range(1, 5))]
    torch.testing.assert_close(found, torch.tensor(expected).unsqueeze(1).expand(4, M))


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_the_aggregate_is_what_was_visited_with_the_modes_of_the_teacher_there(validation):
    dagger = made(replace(SMALL, validation=validation, beta=Exponential(0.5)))
    while not dagger.progress.finished:
        dagger.step()
    assert len(dagger.source.seen) == 4
    for m in range(M):
        expected = []
        for seen in dagger.source.seen:
            for t in range(6):
                for n in range(N):
                    obs = seen.obs[t, m, n]
                    expected.append((*obs.tolist(), int(Middle().distribution(obs).mode)))
        found = contents(dagger.data, m) + (contents(dagger.held_out, m) if validation else [])
        assert sorted(found) == sorted(expected)
        if validation:
            assert 0.15 < int(dagger.held_out.size[m]) / len(expected) < 0.45  # a share of .3 of the episodes


def test_a_source_may_reuse_its_memory():
    """What it collected is valid until it collects again: the aggregate holds copies."""
    contents_ = []
    for reuse in (False, True):
        dagger = made(replace(SMALL, validation=0))
        collect, kept = dagger.source.collect, []

        def overwriting(*arguments, collect=collect, kept=kept):
            seen = collect(*arguments).clone()
            kept.append(seen) if not kept else tree.map(torch.Tensor.copy_, kept[0], seen)
            return kept[0]

        if reuse:
            dagger.source.collect = overwriting
        while not dagger.progress.finished:
            dagger.step()
        contents_.append([contents(dagger.data, m) for m in range(M)])
    assert contents_[0] == contents_[1]


def test_continuous_labels_are_the_modes_too_inside_of_the_box():
    dagger = made(replace(SMALL, validation=0), env=Reach())
    dagger.step()
    examples, _ = dagger.data.all()
    modes = -0.5 * examples.obs
    inside = modes.clamp(torch.tensor(Reach.action.low), torch.tensor(Reach.action.high))
    assert not torch.equal(modes, inside)
    torch.testing.assert_close(examples.action, inside)
    assert dagger.imitation == SquaredError(Reach.action)
    assert made().imitation is negative_log_likelihood


@pytest.mark.parametrize("start", [False, True])
def test_labels_and_steps_are_counted(start):
    shown = demonstrate(source(seed=5), Middle(), 5).thinned(2) if start else None
    dagger = made(demonstrations=shown)
    given = shown.labels if start else torch.zeros(M, dtype=torch.int64)
    assert torch.equal(dagger.progress.labels, given)
    for i in range(1, 5):
        assert not dagger.progress.finished
        dagger.step()
        assert torch.equal(dagger.progress.labels, given + i * 6 * N)
        assert int(dagger.progress.steps) == i * 6 * N
        assert torch.equal(dagger.data.size + dagger.held_out.size, dagger.progress.labels)
    assert dagger.progress.finished
    assert int(dagger.progress.steps) == dagger.progress.budget == 4 * 6 * N


def test_each_round_fits_and_so_do_demonstrations_before_the_first_drive():
    for start in (False, True):
        dagger = made(demonstrations=demonstrate(source(seed=5), Middle(), 4) if start else None)
        before = dagger.learner.flat.clone()
        drives = []
        collect = dagger.source.collect

        def counted(*arguments, collect=collect, drives=drives, dagger=dagger):
            drives.append((int(dagger.learner.count), torch.equal(dagger.learner.flat, before)))  # noqa: B023
            return collect(*arguments)

        dagger.source.collect = counted
        for _ in range(3):
            dagger.step()
        assert drives == ([(10, False), (20, False), (30, False)] if start else [(0, True), (10, False), (20, False)])


def test_the_teacher_drives_the_first_round_as_it_would_alone():
    """β = 1: the same noise gives the trajectories of the greedy teacher, step for step."""
    dagger = made()
    for _ in range(2):
        dagger.step()
    first, second = dagger.source.seen
    alone = source().collect(Greedy(Middle()), 6)
    for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated"):
        assert torch.equal(getattr(first, name), getattr(alone, name))
    assert first.extras["first_acted"].all()
    assert not second.extras["first_acted"].any()


def test_the_student_drives_from_the_first_round_if_there_are_demonstrations():
    """And greedily, as in all later rounds: its actions are its modes at the time of the drive."""
    dagger = made(demonstrations=demonstrate(source(seed=5), Middle(), 4), normalise=True)
    while not dagger.progress.finished:
        dagger.step()
    for seen, modes in zip(dagger.source.seen, dagger.source.modes, strict=True):
        assert not seen.extras["first_acted"].any()
        assert torch.equal(seen.flatten().action, modes)
    labels = Middle().distribution(dagger.source.seen[0].obs).mode
    assert not torch.equal(labels, dagger.source.seen[0].action)  # it is not the teacher that is seen here


def test_a_mixture_takes_its_share_step_by_step():
    dagger = made(replace(SMALL, rounds=2, rollout=500, updates=1, beta=Exponential(0.3)))
    dagger.step()
    dagger.step()
    seen = dagger.source.seen[1]
    acted = seen.extras["first_acted"]
    for m in range(M):
        share = float(acted[:, m].float().mean())
        assert abs(share - 0.3) < 4 * (0.21 / 2_000) ** 0.5
    labels = Middle().distribution(seen.obs).mode
    assert torch.equal(seen.action[acted], labels[acted])
    assert torch.equal(seen.action[~acted], unfold(dagger.source.modes[1], 500)[~acted])


def test_the_aggregate_is_bounded_and_keeps_old_rounds():
    dagger = made(replace(SMALL, rounds=10, capacity=30, validation=0.5))
    while not dagger.progress.finished:
        dagger.step()
        assert (dagger.data.size <= 30).all()
    assert (dagger.data.size == 30).all()
    assert (dagger.held_out.size == 30).all()
    assert (dagger.progress.labels == 10 * 24).all()
    for m in range(M):
        rounds = []
        for o in dagger.data.all()[0].obs[m]:
            places = [i for i, seen in enumerate(dagger.source.seen) if (seen.obs[:, m] == o).all(-1).any()]
            assert places, "an example that was never visited"
            rounds.append(places[0])
        assert len(set(rounds)) >= 6  # not only the newest, not only the oldest


@pytest.mark.parametrize("normalise", [False, True])
def test_each_member_ends_with_its_best_round(normalise):
    """Members are spoilt after different rounds: each gets back the policy of its best, to the last bit."""
    dagger = made(replace(SMALL, rounds=5, validation=0.3, best_round=True), normalise=normalise)
    probe = torch.randn(M, 50, 2)
    states, answers = [], []
    last = dagger._take_best

    def record():
        states.append({name: value.clone() for name, value in dagger.policy.state_dict().items()})
        answers.append(dagger.policy.distribution(probe).logits.detach())

    dagger._take_best = lambda: (record(), last())
    for i in range(1, 6):
        dagger.step()
        if i < 5:
            record()
            spoilt = {1: 0, 3: 1}.get(i)
            if spoilt is not None:
                dagger.learner.flat[spoilt] += 3 * torch.randn_like(dagger.learner.flat[spoilt])
                dagger.learner.lr[spoilt] = 0
    final = dagger.policy.distribution(probe).logits.detach()
    assert len(answers) == 5

    twin = nets.policy(dagger.source.inner, (8,), normalise=normalise)
    errors = []
    for saved in states:
        twin.load_state_dict(saved)
        errors.append(held_out_error(twin, dagger.held_out, negative_log_likelihood))
    best = torch.stack(errors).argmin(0)
    assert best.tolist() != [4, 4, 4]
    assert best[0] == 0
    assert best[1] <= 2
    for m in range(M):
        assert torch.equal(final[m], answers[best[m]][m])
        others = [i for i in range(5) if i != best[m]]
        assert not any(torch.equal(final[m], answers[i][m]) for i in others)


def test_without_best_round_the_last_stays():
    dagger = made(replace(SMALL, validation=0.3))
    assert dagger.snapshots.numel() == 0
    for _ in range(3):
        dagger.step()
    before = dagger.learner.flat.clone()
    dagger.step()
    assert not torch.equal(before, dagger.learner.flat)
    assert int(dagger.learner.count) == 40


def test_the_teacher_never_changes_and_one_serves_all_members():
    """A population of one answers every member as it would alone."""
    alone = source(members=1)
    teacher = nets.policy(alone, (8,), seed=7, normalise=True)
    teacher.observe(torch.randn(1, 100, 2))
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    before = snapshot(teacher)
    dagger = made(replace(SMALL, validation=0, updates=40, rounds=6), teacher=teacher)
    while not dagger.progress.finished:
        dagger.step()
    assert snapshot(teacher).keys() == before.keys()
    for name, value in teacher.state_dict().items():
        assert torch.equal(value, teacher_state(before, name))
    assert all(p.grad is None for p in teacher.parameters())
    examples, _ = dagger.data.all()
    for m in range(M):
        mode = teacher.distribution(examples.obs[m].unsqueeze(0)).mode[0]
        assert torch.equal(examples.action[m], mode)
    assert len(examples.action.unique()) > 1


def teacher_state(before, name):
    """A tensor of the snapshot by its name in the state dict."""
    *parents, last = name.split(".")
    for kind in ("_parameters", "_buffers"):
        path = "".join(f"._modules.{parent}" for parent in parents)
        found = before.get(f"Actor{path}.{kind}.{last}")
        if found is not None:
            return found
    raise AssertionError(name)


def test_each_member_of_a_teacher_population_teaches_its_own_student():
    place = source()
    teacher = nets.policy(place, (8,), seed=7)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    dagger = made(replace(SMALL, validation=0), teacher=teacher)
    dagger.step()
    examples, _ = dagger.data.all()
    assert torch.equal(examples.action, teacher.distribution(examples.obs).mode)
    swapped = teacher.distribution(examples.obs[[1, 2, 0]]).mode[[2, 0, 1]]
    assert not torch.equal(examples.action, swapped)


@pytest.mark.parametrize("normalise", [False, True])
def test_members_are_single_runs_on_the_same_noise(monkeypatch, normalise):
    config = replace(
        SMALL, lr=(1e-3, 1e-2, 3e-2), entropy=(0.0, 0.1, 0.2), weight_decay=0.1, best_round=True, capacity=40,
        beta=Exponential(0.5),
    )  # fmt: skip
    shown = demonstrate(source(seed=5), Middle(), 4)
    shown = replace(shown, mask=shown.mask & (shown.episode < torch.tensor([[4], [3], [2]])))
    together = made(config, demonstrations=shown, normalise=normalise)
    alone = [together.policy.member(m) for m in range(M)]
    metrics = [together.step() for _ in range(4)]

    for m in range(M):

        def sliced(seed, name, device="cpu", m=m):
            found = Sliced(Stream(seed, name, device), M, m)
            found.generator = found.stream.generator
            return found

        monkeypatch.setattr(module, "Stream", sliced)
        monkeypatch.setattr(rollout, "Stream", sliced)
        own = replace(config, lr=config.lr[m], entropy=config.entropy[m])
        if normalise:  # the demonstrations have been counted when the population was built
            alone[m].body.normaliser = type(alone[m].body.normaliser)(1, (2,))
        single = DAgger(
            source(members=1), Middle(), alone[m], own, demonstrations=tree.map(lambda x, m=m: x[m : m + 1], shown)
        )
        for seen in metrics:
            for name, value in single.step().items():
                torch.testing.assert_close(value[0], seen[name][m], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(single.learner.flat[0], together.learner.flat[m], rtol=1e-3, atol=1e-4)
        assert contents(single.data, 0) == contents(together.data, m)


@pytest.mark.parametrize("validation", [0.0, 0.3])
@pytest.mark.parametrize("start", [False, True])
def test_observations_are_standardised_by_the_aggregate(validation, start):
    """Every example that is trained on counts once, whichever round it is of."""
    shown = demonstrate(source(seed=5), Middle(), 4) if start else None
    dagger = made(replace(SMALL, rollout=100, updates=1, validation=validation), demonstrations=shown, normalise=True)
    norm = dagger.policy.body.normaliser
    while not dagger.progress.finished:
        dagger.step()
        assert torch.equal(norm.count, dagger.data.size.double())
        assert_statistics_of(norm, dagger.data)


def test_the_error_on_held_out_labels_is_reported_if_there_are_any():
    assert "held_out" not in made(replace(SMALL, validation=0)).step()
    metrics = made().step()
    assert metrics["held_out"].isfinite().all()
    assert {"loss", "grad_norm", "error", "entropy", "beta"} <= metrics.keys()
    assert all(value.shape == (M,) for value in metrics.values())


def test_a_toy_task_is_learnt_exactly():
    class Copy(Home):
        def distribution(self, obs):
            return Categorical.certain(obs, 3)

    place = source(Identity())
    student = nets.policy(place, ())
    dagger = DAgger(place, Copy(), student, replace(SMALL, updates=60, lr=0.05))
    while not dagger.progress.finished:
        dagger.step()
    assert torch.equal(place.play(Greedy(student), 5, seed=1), torch.full((M, 5), 10.0))


ONE = demonstrate(source(members=1), Middle(), 2)


@pytest.mark.parametrize(
    ("config", "demonstrations", "message"),
    [
        ({"validation": 1.0}, None, r"validation: must be in \[0, 1\), not 1.0"),
        ({"best_round": True, "validation": 0.0}, None, "best_round: needs held-out labels"),
        ({"rounds": 0}, None, "rounds: must be at least 1, not 0"),
        ({"rollout": 0}, None, "rollout: must be at least 1, not 0"),
        ({"updates": 0}, None, "updates: must be at least 1, not 0"),
        ({"batch_size": 0}, None, "batch_size: must be at least 1, not 0"),
        ({"capacity": 0}, None, "capacity: must be at least 1, not 0"),
        ({"lr": (1.0, 1.0)}, None, "lr: 2 values for 3 members"),
        ({}, ONE, "demonstrations: of 1 members, the source has 3"),
    ],
)
def test_what_does_not_fit_is_refused(config, demonstrations, message):
    with pytest.raises(ValueError, match=message):
        made(replace(SMALL, **config), demonstrations=demonstrations)
