"""Behaviour cloning against a textbook and against itself, alone. Letters: M members, B batch."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from imitate import nets
from imitate.core import tree
from imitate.core.noise import Stream
from imitate.core.replay import Examples
from imitate.core.rollout import TensorSource
from imitate.distributions.actions import Categorical, Normal, decide
from imitate.losses.imitation import SquaredError, negative_log_likelihood, squared_error
from imitate.students import BehaviourCloning, BehaviourCloningConfig, Demonstrations, demonstrate
from imitate.students import behaviour_cloning as module
from imitate.students.held_out import held_out_error
from imitate_envs.base import Box, Discrete
from tests.oracles import Identity, Reach, Sliced, Walk, assert_statistics_of, plain_mlp

M = 3


class Sign:
    """A teacher for `Walk`: back towards the middle."""

    noise = 0

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        return Categorical.certain(1 - obs[..., 0].sign().long() * (obs[..., 0].abs() > 0.2), 3)

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


class Home:
    """A teacher for `Reach`: straight to the origin, never beyond the box."""

    noise = 0

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        return Normal(-0.25 * obs, torch.ones_like(obs))

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


class Copy:
    """A teacher for `Identity`."""

    noise = 0

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        return Categorical.certain(obs, 3)

    def act(self, obs, noise, memory):
        return decide(self.distribution(obs), noise), None, {}


def source(env, members=M, num_envs=4, seed=0):
    return TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=members, seed=seed)


def shown(env, teacher, members=M, episodes=8):
    """Demonstrations with a different number of steps for each member."""
    whole = demonstrate(source(env, members), teacher, episodes)
    keep = whole.episode < episodes - torch.arange(members).unsqueeze(1)
    return replace(whole, mask=whole.mask & keep)


def only(demonstrations, member):
    """Those of one member."""
    return tree.map(lambda x: x[member : member + 1], demonstrations)


def slicing(members, member):
    """`Stream` for a run of one member, which gives the share of that member in a run of `members`."""

    def make(seed, name, device="cpu"):
        sliced = Sliced(Stream(seed, name, device), members, member)
        sliced.generator = sliced.stream.generator
        return sliced

    return make


@pytest.mark.parametrize(("env", "teacher"), [(Walk(), Sign()), (Reach(), Home())])
@pytest.mark.parametrize("normalise", [False, True])
def test_members_are_single_runs_on_the_same_noise(env, teacher, normalise, monkeypatch):
    data, place = shown(env, teacher), source(env)
    assert len(set(data.labels.tolist())) == M
    config = BehaviourCloningConfig(
        updates=20, batch_size=8, lr=(1e-3, 1e-2, 3e-2), entropy=(0.0, 0.1, 0.2), weight_decay=0.1, validate_every=5
    )
    student = nets.policy(place, (8,), normalise=normalise)
    alone = [student.member(m) for m in range(M)]
    population = BehaviourCloning(place, data, student, config)
    metrics = [population.step() for _ in range(4)]
    assert population.progress.finished
    for m in range(M):
        own = replace(config, lr=config.lr[m], entropy=config.entropy[m])
        monkeypatch.setattr(module, "Stream", slicing(M, m))
        single = BehaviourCloning(source(env, 1), only(data, m), alone[m], own)
        for seen in metrics:
            for name, value in single.step().items():
                torch.testing.assert_close(value[0], seen[name][m], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(single.learner.flat[0], population.learner.flat[m], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(single.best[0], population.best[m], rtol=1e-5, atol=1e-5)


def test_a_member_that_is_done_stays_what_it_would_be_alone(monkeypatch):
    """Members run out of patience at different times; the others go on, and do not change its best parameters."""
    place, data = source(Walk()), noisy(Walk(), episodes=6)
    config = BehaviourCloningConfig(
        updates=400, batch_size=16, lr=(0.5, 0.02, 1e-2), validation=0.3, validate_every=4, patience=2
    )
    student = nets.policy(place, (16,))
    alone = [student.member(m) for m in range(M)]
    population = BehaviourCloning(place, data, student, config)
    while not population.progress.finished:
        population.step()
    lengths = []
    for m in range(M):
        monkeypatch.setattr(module, "Stream", slicing(M, m))
        single = BehaviourCloning(source(Walk(), 1), only(data, m), alone[m], replace(config, lr=config.lr[m]))
        while not single.progress.finished:
            single.step()
        lengths.append(int(single.progress.steps))
        torch.testing.assert_close(single.learner.flat[0], population.learner.flat[m], rtol=1e-4, atol=1e-4)
    assert max(lengths) == int(population.progress.steps)
    assert min(lengths) <= max(lengths) / 2, "one of them is to be done long before the others"


def test_luck_after_patience_has_run_out_does_not_count(monkeypatch):
    """Errors as written here: the first member is done after its third look, the second is not."""
    script = torch.tensor(
        [[3.0, 3.0, 3.0], [4.0, 4.0, 2.0], [4.0, 2.0, 2.5], [1.0, 4.0, 1.0], [0.5, 1.0, 1.5], [0.1, 4.0, 4.0]]
    )
    looks = iter(script)
    monkeypatch.setattr(module, "held_out_error", lambda *_: next(looks))
    place = source(Walk())
    config = BehaviourCloningConfig(updates=60, lr=1e-2, validate_every=10, patience=2)
    bc = BehaviourCloning(place, shown(Walk(), Sign()), nets.policy(place, (4,)), config)
    seen = []
    validate = bc._validate
    bc._validate = lambda: seen.append(bc.learner.flat.clone()) or validate()
    while not bc.progress.finished:
        bc.step()
    assert len(seen) == 6
    assert bc.best_error.tolist() == [3.0, 1.0, 1.0]
    for m, best in enumerate([0, 4, 3]):
        assert torch.equal(bc.learner.flat[m], seen[best][m])


def noisy(env, episodes=12):
    """Demonstrations half of whose labels are drawn at random: first the rule is learnt, then the noise."""
    data = shown(env, Sign(), episodes=episodes)
    generator = torch.Generator().manual_seed(1)
    label = torch.randint(0, 3, data.mask.shape, generator=generator)
    keep = torch.rand(data.mask.shape, generator=generator) < 0.5
    return replace(data, examples=Examples(data.examples.obs, torch.where(keep, data.examples.action, label)))


@pytest.mark.parametrize(
    ("env", "teacher", "loss"),
    [(Walk(), Sign(), None), (Reach(), Home(), None), (Reach(), Home(), negative_log_likelihood)],
)
def test_an_update_is_the_textbooks(env, teacher, loss):
    """Plain layers, AdamW, a cross-entropy or a squared error, less an entropy bonus; on the same batches.

    A continuous action counts in half ranges from the centre of its box.
    """
    place = source(env, 1)
    student = nets.policy(place, (8,))
    config = BehaviourCloningConfig(
        updates=20, batch_size=8, lr=1e-2, entropy=0.1, weight_decay=0.2, validation=0, validate_every=20
    )
    plain = plain_mlp(student, 0)
    centre, half_range = torch.tensor([0.0, -0.125]), torch.tensor([1.0, 0.375])  # of Reach
    discrete = isinstance(env.action, Discrete)
    log_std = nn.Parameter(torch.zeros(0 if discrete else 2))
    bc = BehaviourCloning(place, shown(env, teacher, 1), student, config, loss=loss)
    batches, draw = [], bc.data.batches
    bc.data.batches = lambda *a: batches.extend(draw(*a)) or batches
    bc.step()
    assert len(batches) == 20
    parameters = [*plain.parameters(), *([] if discrete else [log_std])]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0.2)
    for batch in batches:
        assert batch.obs.shape == (1, 8, 2)
        out = plain(batch.obs[0])
        if discrete:
            error = nn.functional.cross_entropy(out, batch.action[0])
            spread = torch.distributions.Categorical(logits=out).entropy().mean()
        else:
            mean, scale = centre + half_range * out, half_range * log_std.exp()
            normal = torch.distributions.Independent(torch.distributions.Normal(mean, scale), 1)
            square = (((mean - batch.action[0]) / half_range) ** 2).sum(1).mean()
            error = square if loss is None else -normal.log_prob(batch.action[0]).mean()
            spread = normal.entropy().mean()
        optimizer.zero_grad()
        (error - 0.1 * spread).backward()
        optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in plain_in_order(plain, log_std, student)])
    torch.testing.assert_close(bc.learner.flat[0], expected, rtol=1e-4, atol=1e-5)


def plain_in_order(plain, log_std, student):
    """The numbers of plain layers in the order and layout of the population's parameters."""
    layers = [layer for layer in plain if isinstance(layer, nn.Linear)]
    by_name = {"head.log_std": log_std}
    places = [*(f"body.layers.{i}" for i in range(len(layers) - 1)), "head.linear"]
    for place, layer in zip(places, layers, strict=True):
        by_name |= {f"{place}.weight": layer.weight.T, f"{place}.bias": layer.bias}
    return [by_name[name] for name, _ in student.named_parameters()]


def test_the_loss_follows_the_space():
    error = SquaredError(Reach.action)
    for env, teacher, expected in ((Walk(), Sign(), negative_log_likelihood), (Reach(), Home(), error)):
        place = source(env)
        assert BehaviourCloning(place, shown(env, teacher), nets.policy(place, (4,))).imitation == expected


def test_a_squared_error_leaves_the_width_alone_and_a_likelihood_fits_it():
    place, data = source(Reach()), shown(Reach(), Home())
    config = BehaviourCloningConfig(updates=300, lr=1e-2, validation=0)
    widths = []
    for loss in (squared_error, negative_log_likelihood):
        student = nets.policy(place, ())
        bc = BehaviourCloning(place, data, student, config, loss=loss)
        while not bc.progress.finished:
            bc.step()
        widths.append(student.head.log_std.exp().detach())
    assert torch.equal(widths[0], torch.ones_like(widths[0]))
    assert (widths[1] < 0.3).all()  # the teacher has no spread at all


def test_each_member_ends_with_its_best_parameters():
    """On noisy labels the held-out error falls, then rises: the end is the best look, not the last."""
    place = source(Walk())
    student = nets.policy(place, (64,), activation="relu")
    config = BehaviourCloningConfig(
        updates=300, batch_size=32, lr=(0.008, 0.03, 0.1), validation=0.3, validate_every=5, patience=100
    )
    bc = BehaviourCloning(place, noisy(Walk(), episodes=6), student, config)
    errors, looks = [], []
    copied = bc._validate

    def look():
        looks.append(bc.learner.flat.clone())
        return copied()

    bc._validate = look
    while not bc.progress.finished:
        errors.append(bc.step()["held_out"])
    errors = torch.stack(errors)
    assert len(errors) == 60
    best = errors.argmin(0)
    for m in range(M):
        assert errors[-1, m] > errors[best[m], m] * 1.5, "it is to get worse"
        assert torch.equal(bc.learner.flat[m], looks[int(best[m])][m])
    assert len(set(best.tolist())) > 1
    final = held_out_error(student, bc.held_out, bc.imitation)
    torch.testing.assert_close(final, errors.min(0).values)
    torch.testing.assert_close(final, bc.best_error)


def test_the_held_out_error_is_the_mean_over_held_out_examples():
    place, data = source(Walk()), shown(Walk(), Sign())
    student = nets.policy(place, (4,))
    bc = BehaviourCloning(place, data, student, BehaviourCloningConfig(validation=0.4))
    examples, valid = bc.held_out.all()
    assert not valid.all()  # members hold different numbers
    found = held_out_error(student, bc.held_out, negative_log_likelihood)
    for m in range(M):
        out = plain_mlp(student, m)(examples.obs[m, valid[m]])
        torch.testing.assert_close(found[m], nn.functional.cross_entropy(out, examples.action[m, valid[m]]).detach())


def test_training_ends_when_nobody_improves():
    place = source(Walk())
    config = BehaviourCloningConfig(updates=1_000, lr=0.0, validate_every=10, patience=3)
    bc = BehaviourCloning(place, shown(Walk(), Sign()), nets.policy(place, (4,)), config)
    looks = 0
    while not bc.progress.finished:
        bc.step()
        looks += 1
    # with a learning rate of 0 the first look is the best, and three more see no improvement
    assert looks == 4
    assert int(bc.progress.steps) == 40


def test_one_member_that_improves_keeps_the_others_company():
    place = source(Walk())
    config = BehaviourCloningConfig(updates=200, lr=(0.0, 0.0, 3e-3), validate_every=10, patience=2)
    bc = BehaviourCloning(place, shown(Walk(), Sign()), nets.policy(place, (4,)), config)
    for _ in range(6):
        bc.step()
    assert not bc.progress.finished
    assert bc.waited.tolist()[:2] == [5, 5]


@pytest.mark.parametrize(("updates", "iterations"), [(25, [10, 20, 25]), (10, [10]), (7, [7])])
def test_no_more_updates_than_configured(updates, iterations):
    place = source(Walk())
    config = BehaviourCloningConfig(updates=updates, validate_every=10, patience=100)
    bc = BehaviourCloning(place, shown(Walk(), Sign()), nets.policy(place, (4,)), config)
    steps = []
    while not bc.progress.finished:
        bc.step()
        steps.append(int(bc.progress.steps))
    assert steps == iterations
    assert int(bc.learner.count) == updates == bc.progress.budget


def test_without_validation_all_is_trained_on_and_the_last_parameters_stay():
    place, data = source(Walk()), shown(Walk(), Sign())
    student = nets.policy(place, (4,))
    config = BehaviourCloningConfig(updates=30, validation=0, validate_every=10, patience=1)
    bc = BehaviourCloning(place, data, student, config)
    assert torch.equal(bc.data.size, data.labels)
    assert bc.held_out.size.tolist() == [0] * M
    last = []
    while not bc.progress.finished:
        last.append(bc.learner.flat.clone())
        assert bc.step()["held_out"].tolist() == [0] * M
    assert len(last) == 3  # patience needs a look
    assert not torch.equal(bc.learner.flat, last[-1])


def test_labels_are_all_that_were_given_and_the_source_stands_still():
    place, data = source(Walk()), shown(Walk(), Sign())
    before = tree.map(torch.clone, place.state_dict())
    bc = BehaviourCloning(place, data, nets.policy(place, (4,)), BehaviourCloningConfig(updates=20, validate_every=10))
    bc.step()
    assert torch.equal(bc.progress.labels, data.labels)
    assert torch.equal(bc.data.size + bc.held_out.size, data.labels)
    for (_, a), (_, b) in zip(tree.flatten(before), tree.flatten(place.state_dict()), strict=True):
        assert torch.equal(a, b)


def test_observations_are_standardised_by_the_training_data():
    place, data = source(Reach()), shown(Reach(), Home(), episodes=40)
    data = replace(data, examples=Examples(100 + 20 * data.examples.obs, data.examples.action))
    student = nets.policy(place, (4,), normalise=True)
    bc = BehaviourCloning(place, data, student)
    assert torch.equal(student.body.normaliser.count, bc.data.size.double())
    assert_statistics_of(student.body.normaliser, bc.data)
    before = student.body.normaliser.mean.clone()
    bc.step()
    assert torch.equal(before, student.body.normaliser.mean)


def test_a_toy_task_is_learnt_exactly():
    place = source(Identity())
    student = nets.policy(place, ())
    bc = BehaviourCloning(place, demonstrate(place, Copy(), 4), student, BehaviourCloningConfig(updates=300, lr=0.05))
    while not bc.progress.finished:
        bc.step()
    everything = torch.arange(3).repeat(M, 1)
    assert torch.equal(student.distribution(everything).mode, everything)
    assert (bc.best_error < 0.1).all()


def test_a_continuous_task_is_learnt_closely():
    place = source(Reach())
    student = nets.policy(place, ())
    data = demonstrate(place, Home(), 10)
    bc = BehaviourCloning(place, data, student, BehaviourCloningConfig(updates=400, lr=0.02))
    while not bc.progress.finished:
        bc.step()
    obs = 2 * torch.rand(M, 50, 2) - 1
    torch.testing.assert_close(student.distribution(obs).mode, -0.25 * obs, rtol=0, atol=0.005)


ENOUGH = shown(Walk(), Sign())


@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        ({"validation": 1.0}, ENOUGH, r"validation: must be in \[0, 1\), not 1.0"),
        ({"validation": -0.1}, ENOUGH, r"validation: must be in \[0, 1\), not -0.1"),
        ({"validation": float("nan")}, ENOUGH, "validation: must be finite, not nan"),
        ({"updates": 0}, ENOUGH, "updates: must be at least 1, not 0"),
        ({"batch_size": 0}, ENOUGH, "batch_size: must be at least 1, not 0"),
        ({"validate_every": 0}, ENOUGH, "validate_every: must be at least 1, not 0"),
        ({"patience": 0}, ENOUGH, "patience: must be at least 1, not 0"),
        ({"lr": (1e-3, 1e-3)}, ENOUGH, "lr: 2 values for 3 members"),
        ({"entropy": (0.0,) * 4}, ENOUGH, "entropy: 4 values for 3 members"),
        ({}, only(ENOUGH, 0), "demonstrations: of 1 members, the source has 3"),
        ({}, ENOUGH.first(1).thinned(99), "demonstrations: a member has 1 examples; 2 at the least"),
        ({}, replace(ENOUGH, mask=ENOUGH.mask & False), "demonstrations: a member has 0 examples"),
    ],
)
def test_what_does_not_fit_is_refused(config, data, message):
    place = source(Walk())
    with pytest.raises(ValueError, match=message):
        BehaviourCloning(place, data, nets.policy(place, (4,)), BehaviourCloningConfig(**config))


def test_arrays_from_elsewhere_teach_every_member():
    place = source(Walk())
    rng = np.random.default_rng(0)
    obs = rng.uniform(-1, 1, (300, 2))
    label = np.where(obs[:, 0] > 0, 0, 2)
    student = nets.policy(place, (16,))
    bc = BehaviourCloning(
        place, Demonstrations.from_arrays(obs, label, place), student, BehaviourCloningConfig(updates=400, lr=1e-2)
    )
    while not bc.progress.finished:
        bc.step()
    assert (bc.best_error < 0.2).all()
    assert isinstance(place.observation, Box)
    found = student.distribution(torch.tensor([[[-0.5, 0.0], [0.5, 0.0]]]).expand(M, -1, -1)).mode
    assert found.tolist() == [[2, 0]] * M
