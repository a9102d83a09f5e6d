"""Terms of features: in every algorithm, beside their formula, and what they own. Letters: M members, N copies."""

import copy
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from imitate import nets
from imitate.baselines.dqn import DQN, DQNConfig
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core.noise import Stream
from imitate.core.replay import Examples
from imitate.core.rollout import TensorSource
from imitate.core.terms import Learning, Linear, Terms
from imitate.core.types import fold
from imitate.core.wrappers import Viewed
from imitate.losses.features import (
    attention_transfer,
    cosine,
    in_groups,
    pairwise,
    relational_angle,
    relational_distance,
)
from imitate.students import (
    Adversary,
    BehaviourCloning,
    BehaviourCloningConfig,
    Distil,
    Hint,
    Match,
    PolicyDistillation,
    PolicyDistillationConfig,
    demonstrate,
    every_second_layer,
    triple_loss,
)
from imitate_envs.base import Box, Discrete
from tests.oracles import Walk
from tests.resumed import assert_resumes, same

M, N, H, K = 2, 4, 6, 8  # H features of the student, K of the teacher
CONFIG = PolicyDistillationConfig(steps=80, rollout=5, epochs=2, batch_size=10, lr=1e-2)


def source(seed=0, env=None):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=M, seed=seed)


def teacher_of(width=K, **options):
    teacher = nets.policy(source(), (K, width), seed=7, **options)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    return teacher


def regressor(seed=0):
    return nets.Linear(M, H, K, init=Stream(seed, "init-hint"))


def discriminator(seed=0):
    return nets.MLP(M, H, (5,), 1, init=Stream(seed, "init-discriminator"))


def terms_of(kind, student, weight=1.0):
    """One term of each kind; the adversary and the cosine compare equal widths."""
    told, alike = teacher_of().features, teacher_of(H).features
    mine = student.features
    return {
        "hint": lambda: Hint(mine, told, regressor(), weight, lr=(1e-2, 3e-2)),
        "adversary": lambda: Adversary(mine, alike, discriminator(), weight, lr=1e-2),
        "pairwise": lambda: Match(mine, told, weight),
        "distance": lambda: Match(mine, told, weight, loss=relational_distance),
        "angle": lambda: Match(mine, told, weight, loss=in_groups(relational_angle, 5)),
        "cosine": lambda: Match(mine, alike, weight, loss=cosine),
    }[kind]()


KINDS = ("hint", "adversary", "pairwise", "distance", "angle", "cosine")


def students(place, **options):
    return nets.policy(place, (H,), seed=1, **options)


def distillation(seed=0, kinds=(), weight=1.0):
    place = source(seed)
    student = students(place)
    terms = [terms_of(kind, student, weight) for kind in kinds]
    return PolicyDistillation(place, teacher_of(), student, CONFIG, terms=terms)


def cloning(seed=0, kinds=(), weight=1.0, hooked=False):
    place = source(seed)
    student = students(place)
    if hooked:  # autograd finds the gradient with and without terms
        student.head.linear.register_forward_hook(lambda *_: None)
    shown = demonstrate(source(5), teacher_of(), 8)
    config = BehaviourCloningConfig(updates=40, validate_every=5, batch_size=10, lr=1e-2)
    terms = [terms_of(kind, student, weight) for kind in kinds]
    return BehaviourCloning(place, shown, student, config, terms=terms)


def ppo(seed=0, kinds=(), weight=1.0, hooked=False):
    place = source(seed)
    student = students(place)
    if hooked:
        student.head.linear.register_forward_hook(lambda *_: None)
    config = PPOConfig(steps=80, rollout=5, epochs=2, batch_size=10, hidden=(5,))
    return PPO(place, config, policy=student, terms=[terms_of(kind, student, weight) for kind in kinds])


ALGORITHMS = {"distillation": distillation, "cloning": cloning, "ppo": ppo}


# Features of networks


def test_features_are_what_the_head_stands_on():
    place = source()
    actor, obs = nets.policy(place, (5, H), normalise=True), place.collect(teacher_of(), 5).flatten().obs
    actor.observe(obs)
    features = actor.features(obs)
    assert features.shape == (M, 5 * N, H)
    x = (obs - actor.body.normaliser.mean) / (actor.body.normaliser.var + 1e-8).sqrt()
    for layer in actor.body.layers:
        x = torch.tanh(x @ layer.weight + layer.bias)
    torch.testing.assert_close(features, x)
    torch.testing.assert_close(actor.head.linear(features), actor.distribution(obs).logits)


def test_features_of_a_value_network():
    dqn = DQN(source(), DQNConfig(hidden=(5, H)))
    obs = source().collect(teacher_of(), 5).flatten().obs
    features = dqn.policy.features(obs)
    assert features.shape == (M, 5 * N, H)
    torch.testing.assert_close(dqn.policy.head.advantage(features, None), dqn.policy.returns(obs).mean)


def test_who_has_no_features():
    place = source()
    obs = torch.zeros(M, 1, 2)
    with pytest.raises(ValueError, match=r"^features: this actor has a memory"):
        nets.policy(place, (H,), gru=3).features(obs)
    own = nets.policy(place, build=lambda: nn.Linear(2, 3))
    for ask in (own.features, own.feature_maps):
        with pytest.raises(ValueError, match=r"^features: this actor has a network of your own"):
            ask(obs)
    with pytest.raises(ValueError, match=r"^feature_maps: observations of .* hold no images"):
        students(place).feature_maps(obs)


@dataclass(frozen=True)
class Screen:
    """Name the brighter half of an image; one step."""

    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 32
    max_steps: ClassVar[int] = 1
    observation: ClassVar[Box] = Box((2, 4, 4))
    action: ClassVar[Discrete] = Discrete(2)

    def reset(self, noise):
        return noise.unflatten(-1, (2, 4, 4))

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        right = (state[..., 2:].sum((-3, -2, -1)) > state[..., :2].sum((-3, -2, -1))).long()
        return state, (action == right).float(), torch.ones_like(right, dtype=torch.bool)


def test_attention_is_transferred_between_convolutions():
    place = source(env=Screen())
    student, teacher = nets.policy(place, ()), nets.policy(place, (9,), seed=8)
    obs = place.collect(teacher, 5).flatten().obs
    (maps,) = student.feature_maps(obs)
    assert maps.shape == (M, 5 * N, 16, 2, 2)
    torch.testing.assert_close(student.features(obs), maps.flatten(2))
    term = Match(student.feature_maps, teacher.feature_maps, 10.0, loss=attention_transfer)
    mine = PolicyDistillation(place, teacher, student, replace(CONFIG, steps=2_000), terms=[term])
    first, *_, last = (mine.step()["match_0"] for _ in range(30))
    assert (last < 0.5 * first).all()


# Terms in algorithms


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_term_of_weight_zero_changes_nothing(name, kind):
    options = {} if name == "distillation" else {"hooked": True}
    without, nothing, something = (
        ALGORITHMS[name](kinds=kinds, weight=weight, **options)
        for kinds, weight in (((), 0.0), ((kind,), 0.0), ((kind,), (0.0, 1.0)))
    )
    for _ in range(2):
        expected, found, other = without.step(), nothing.step(), something.step()
        assert same({key: found[key] for key in expected}, expected)
        assert torch.equal(other["loss"][0], expected["loss"][0]) and other["loss"][1] != expected["loss"][1]
    assert torch.equal(nothing.learner.flat, without.learner.flat)
    assert torch.equal(something.learner.flat[0], without.learner.flat[0])  # that member has none
    assert not torch.equal(something.learner.flat[1], without.learner.flat[1])


@pytest.mark.parametrize("kinds", [KINDS])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_with_terms_it_resumes_bit_for_bit(name, kinds, tmp_path):
    def build(seed):
        return ALGORITHMS[name](seed, kinds, Linear(1.0, 0.0, steps=60))

    assert_resumes(build, tmp_path)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_teacher_stays(name):
    algorithm = ALGORITHMS[name](kinds=KINDS)
    teachers = [term.teacher.__self__ for term in algorithm.terms.terms]
    before = [copy.deepcopy(teacher.state_dict()) for teacher in teachers]
    algorithm.step()
    for teacher, told in zip(teachers, before, strict=True):
        assert all(torch.equal(value, told[key]) for key, value in teacher.state_dict().items())
        assert all(p.grad is None for p in teacher.parameters())


def test_the_gradient_of_a_term_is_that_of_its_formula():
    """Of distillation with one weighted term, against the loss of both written out in plain torch."""
    place = source()
    student, teacher = students(place), teacher_of()
    weight = (3.0, 5.0)
    mine = PolicyDistillation(
        place, teacher, student, CONFIG, terms=[Match(student.features, teacher.features, weight)]
    )
    rollout = place.collect(student, 5).clone()
    obs = fold(rollout.obs)
    extras = mine.terms.prepare(rollout, 0)
    batch = Batch(obs, teacher.distribution(obs), extras)
    found = torch.autograd.grad(mine._loss(batch)[0].sum(), list(student.parameters()))
    w1, b1, w2, b2 = leaves = [p.detach().clone().requires_grad_() for p in student.parameters()]
    features = torch.tanh(obs @ w1 + b1)
    gram, told = (h @ h.mT for h in (F.normalize(x, dim=-1) for x in (features, teacher.features(obs).detach())))
    log_p = (features @ w2 + b2).log_softmax(-1)
    log_t = teacher.distribution(obs).logits.detach().log_softmax(-1)
    kl = (log_t.exp() * (log_t - log_p)).sum(-1)
    loss = kl.mean(1) + torch.tensor(weight) * (gram - told).square().mean((1, 2))
    expected = torch.autograd.grad(loss.sum(), leaves)
    for mine_, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine_, theirs, rtol=1e-4, atol=1e-6)  # sums of 400 float32 of size one
    assert float(expected[0].abs().max()) > 1e-2


@dataclass(frozen=True)
class Batch:
    obs: torch.Tensor
    teacher: object
    extras: object = ()
    starts: object = None


@pytest.mark.parametrize("loss", [pairwise, relational_distance])
def test_relations_come_closer_than_by_the_divergence_alone(loss):
    """Of a teacher whose features are far from linear: each member's, on states of the teacher."""
    errors = []
    for weight in (0.0, 30.0):
        place = source()
        student, teacher = students(place), teacher_of()
        with torch.no_grad():
            teacher.body.layers[0].weight.mul_(5)
        terms = [Match(student.features, teacher.features, weight, loss=loss)]
        mine = PolicyDistillation(place, teacher, student, replace(CONFIG, steps=1_200, lr=3e-2), terms=terms)
        while not mine.progress.finished:
            mine.step()
        obs = source(3).collect(teacher, 10).flatten().obs
        errors.append(loss(student.features(obs), teacher.features(obs)).detach().mean(1))
    assert (errors[1] < 0.5 * errors[0]).all()


def test_a_view_hides_nothing_from_the_teacher():
    """The student sees half of what there is; features are asked of the teacher at all of it."""
    whole = source()
    place = Viewed(source(), lambda obs: obs[..., :1], Box((1,)))
    student, teacher = nets.policy(place, (H,)), teacher_of()
    term = Match(student.features, teacher.features)
    mine = PolicyDistillation(place, teacher, student, CONFIG, terms=[term])
    assert bool(mine.step()["match_0"].isfinite().all())
    seen = place.collect(student, 5)
    assert seen.obs.shape[-1] == 1
    torch.testing.assert_close(term.prepare(seen), teacher.features(fold(seen.extras["obs"])))
    assert whole.spec.observation != place.spec.observation


def test_from_a_replay_features_are_asked_anew():
    """DQN makes its network itself, so a function looks it up."""
    teacher, made = teacher_of(), []
    terms = [
        Match(lambda obs: made[0].policy.features(obs), teacher.features, 2.0),
        Hint(lambda obs: made[0].policy.features(obs), teacher.features, regressor()),
    ]
    config = DQNConfig(steps=400, rollout=2, updates=2, batch_size=8, learning_starts=12, hidden=(H,))
    made.append(DQN(source(), config, terms=terms))
    for _ in range(6):
        metrics = made[0].step()
    assert {"match_0", "hint_1", "hint_1_error"} <= metrics.keys()
    batch = next(iter(made[0].replay.batches(8, 1)))
    obs = batch.obs
    expected = pairwise(made[0].policy.features(obs), teacher.features(obs))
    torch.testing.assert_close(terms[0](replace(batch, extras=None), None), expected)


def test_in_cloning_a_schedule_goes_by_gradient_steps():
    student = students(source())
    terms = [Match(student.features, teacher_of().features, Linear(1.0, 0.0, steps=10))]
    config = BehaviourCloningConfig(updates=40, validate_every=5, batch_size=10)
    cloned = BehaviourCloning(source(), demonstrate(source(5), teacher_of(), 8), student, config, terms=terms)
    for expected in (1.0, 0.5, 0.0, 0.0):
        cloned.step()
        assert cloned.terms.weights.flatten().tolist() == [expected] * M


# What terms own


def examples(extras=None):
    obs = torch.randn(M, 50, 2, generator=torch.Generator().manual_seed(0))
    return Examples(obs, torch.zeros(M, 50, dtype=torch.int64), extras)


def test_a_regressor_takes_the_textbooks_steps():
    """Adam on the mean of ½ ‖r(h_S) − h_T‖², one member at a time in plain torch."""
    student, teacher, own = students(source()), teacher_of(), regressor()
    term = Hint(student.features, teacher.features, own, lr=(1e-2, 3e-2))
    batch = examples()
    plain = [nn.Linear(H, K) for _ in range(M)]
    for m, layer in enumerate(plain):
        layer.load_state_dict({"weight": own.weight[m].mT, "bias": own.bias[m, 0]})
    mine, told = (x.features(batch.obs).detach() for x in (student, teacher))
    optimizers = [torch.optim.Adam(layer.parameters(), lr=lr) for layer, lr in zip(plain, (1e-2, 3e-2), strict=True)]
    for _ in range(30):
        errors = term.learn(batch)["error"]
        for m, (layer, optimizer) in enumerate(zip(plain, optimizers, strict=True)):
            loss = 0.5 * (layer(mine[m]) - told[m]).square().sum(-1).mean()
            torch.testing.assert_close(errors[m], loss.detach(), rtol=1e-4, atol=1e-5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    torch.testing.assert_close(own(mine)[1], plain[1](mine[1]), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(term(batch, None).mean(1)[0], (0.5 * (plain[0](mine[0]) - told[0]) ** 2).sum(-1).mean())


def test_a_discriminator_tells_what_differs_and_not_what_is_equal():
    student, teacher = students(source()), teacher_of(H)
    apart = Adversary(student.features, teacher.features, discriminator(), lr=1e-2)
    alike = Adversary(teacher.features, teacher.features, discriminator(), lr=1e-2)
    batch = examples()
    for _ in range(300):
        told, guessed = apart.learn(batch), alike.learn(batch)
    assert (told["discriminated"].mean(1) > 0.9).all()
    torch.testing.assert_close(guessed["discriminated"].mean(1), torch.full((M,), 0.5))
    # At the fixed point D = ½ and the student's loss is log 2.
    torch.testing.assert_close(alike(batch, None), torch.full((M, 50), 0.6931), rtol=0.1, atol=0)
    assert (apart(batch, None).mean(1) > 1.5).all()


def test_an_adversary_moves_the_student_only_where_it_is_asked_to():
    student = students(source())
    term = Adversary(student.features, teacher_of(H).features, discriminator())
    before = copy.deepcopy(term.discriminator.state_dict())
    weights = list(student.body.parameters())
    loss = term(examples(), None).sum()
    assert all(float(g.abs().max()) > 0 for g in torch.autograd.grad(loss, weights))
    kept = copy.deepcopy(student.state_dict())
    term.learn(examples())
    assert all(torch.equal(value, kept[key]) for key, value in student.state_dict().items())
    assert not all(torch.equal(value, before[key]) for key, value in term.discriminator.state_dict().items())


def test_only_terms_that_learn_are_told():
    student = students(source())
    assert [isinstance(terms_of(kind, student), Learning) for kind in KINDS] == [True, True] + [False] * 4
    assert not isinstance(Distil(teacher_of()), Learning)
    told = Terms([terms_of(kind, student) for kind in KINDS], source().spec).learn(examples(extras=()))
    assert told.keys() == {"hint_0_error", "adversary_1_discriminated"}


# DistilBERT


def test_every_second_layer():
    teacher = nets.policy(source(), (K, K, K, K), normalise=True, seed=7)
    teacher.observe(torch.randn(M, 30, 2))
    student = every_second_layer(teacher)
    assert student.architecture.hidden == (K, K) and student.architecture.normalise
    obs = torch.randn(M, 9, 2)
    x = teacher.prepare(obs)
    for layer in (teacher.body.layers[0], teacher.body.layers[2], None):
        x = teacher.head.linear(x) if layer is None else torch.tanh(layer(x))
    torch.testing.assert_close(student.distribution(obs).logits, x)
    with torch.no_grad():
        teacher.body.layers[0].weight.zero_()
    assert bool(student.body.layers[0].weight.any())  # a copy


@pytest.mark.parametrize(
    ("hidden", "options"),
    [((K,), {}), ((K, H), {}), ((), {}), ((K, K), {"gru": 3})],
    ids=["odd", "widths", "none", "gru"],
)
def test_layers_that_make_no_student(hidden, options):
    with pytest.raises(ValueError, match=r"^teacher: every second of its layers"):
        every_second_layer(nets.policy(source(), hidden, **options))


def test_the_triple_loss_is_its_formula():
    place = source()
    teacher = teacher_of()
    student = every_second_layer(teacher)
    cloned = BehaviourCloning(place, demonstrate(source(5), teacher, 8), student, terms=triple_loss(student, teacher))
    cloned.terms.weigh(0)
    batch = next(iter(cloned.data.batches(10, 1)))
    found, _ = cloned.learner.loss(batch)
    z, told = student.distribution(batch.obs).logits, teacher.distribution(batch.obs).logits
    task = F.cross_entropy(z.transpose(1, 2), batch.action, reduction="none")
    soft = F.kl_div((z / 2).log_softmax(-1), (told / 2).log_softmax(-1), log_target=True, reduction="none").sum(-1)
    away = 1 - F.cosine_similarity(student.features(batch.obs), teacher.features(batch.obs), dim=-1)
    torch.testing.assert_close(2 * found, (2 * task + 5 * 4 * soft + away).mean(1), rtol=1e-5, atol=1e-6)
