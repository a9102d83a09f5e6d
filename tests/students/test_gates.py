"""Gates and what they judge by. Letters: M members, N environments of one member, B batch, K networks."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from torch.nn import functional as F

from imitate import nets
from imitate.core.noise import Stream
from imitate.core.replay import Dataset, Examples
from imitate.core.rollout import TensorSource
from imitate.losses.imitation import discrepancy
from imitate.policies import Lesson, Moment, Random
from imitate.students import (
    EnsembleGate,
    EnsembleGateConfig,
    HumanGate,
    HumanGateConfig,
    LazyGate,
    LazyGateConfig,
    SafeGate,
    SafeGateConfig,
    ThriftyGate,
    ThriftyGateConfig,
)
from imitate.students.gate_models import Deviation, Doubt, Fit, Risk
from imitate_envs.base import Box, Discrete, MultiDiscrete
from tests.oracles import Bandit, Reach, Walk

M, N, B = 2, 4, 60
FIT = Fit(updates=5, batch_size=8)


def source(env=None, num_envs=N):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=num_envs, members=M, seed=0)


def student(env=None, **options):
    made = nets.policy(source(env), (8,), seed=3, **options)
    with torch.no_grad():
        made.head.linear.weight.mul_(100)
    return made


def labelled(obs, action, name="shuffle"):
    data = Dataset(M, 1000, Stream(0, name))
    data.add(Examples(obs, action))
    return data


def moment(pupil, space, told=None):
    """States at which the student would do what it would, and the teacher something else."""
    obs = torch.randn(M, B, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        action = pupil.distribution(obs).mode
    drawn, _, _ = Random(space).act(obs, torch.rand(M, B, Random(space).noise), None)
    driving = torch.rand(M, B, generator=torch.Generator().manual_seed(2)) < 0.5
    return Moment(obs, obs, action, drawn if told is None else told, driving)


@pytest.mark.parametrize(
    ("space", "action", "told", "expected"),
    [
        (Discrete(3), torch.tensor([0, 2, 1]), torch.tensor([0, 1, 2]), [0.0, 1.0, 1.0]),
        (MultiDiscrete((3, 2)), torch.tensor([[0, 1], [2, 1]]), torch.tensor([[0, 1], [2, 0]]), [0.0, 0.5]),
        # half ranges 2 and ½: (1/2)² + (¼/½)²; and 5 counts as the bound 3: ((3 − 1)/2)²
        (Box((2,), (-1.0, 0.0), (3.0, 1.0)), torch.tensor([[1.0, 0.5], [5.0, 0.5]]), torch.tensor([0.0, 0.25]), None),
        (Box((2,), (-1.0, 0.0), (3.0, 1.0)), torch.tensor([[5.0, 0.5]]), torch.tensor([1.0, 0.5]), [1.0]),
    ],
)
def test_how_far_actions_are_apart(space, action, told, expected):
    expected = [0.25 + 0.25, 2.25 + 0.25] if expected is None else expected
    assert discrepancy(space, action, told.expand_as(action)).tolist() == expected


def test_the_classifier_tells_where_the_student_deviates():
    """Labels that are the student's for x > 0, and others for x < 0, which it can learn without error."""
    pupil, obs = student(), torch.randn(M, 400, 2, generator=torch.Generator().manual_seed(0))
    mine = pupil.distribution(obs).mode
    action = torch.where(obs[..., 0] > 0, mine, (mine + 1) % 3)
    model = Deviation(source(), pupil, 0.5, (16,), Fit(updates=200, lr=1e-2))
    metrics = model.learn(labelled(obs, action), labelled(obs, action, "held-out"))
    far = obs[..., 0].abs() > 0.2
    assert torch.equal((model(obs) > 0.5)[far], (obs[..., 0] < 0)[far])
    share = (obs[..., 0] < 0).float().mean(1)
    # of 200 · 32 draws, five standard errors
    assert (metrics["deviates"] - share).abs().max() < 5 * (0.25 / 6_400) ** 0.5


@pytest.mark.parametrize("env", [Walk(), Reach()])
@pytest.mark.parametrize("normalise", [False, True])
def test_the_doubt_is_the_variance_of_single_networks(env, normalise):
    pupil = student(env, normalise=normalise)
    obs = torch.randn(M, 5, 2)
    pupil.observe(3 * obs + 1)
    doubt = Doubt(source(env), pupil, 3, FIT)
    found = doubt(obs)
    prepared = pupil.prepare(obs)
    for m in range(M):
        said = [doubt.networks.member(m * 3 + k).on_features(prepared[m : m + 1]) for k in range(3)]
        if isinstance(env, Walk):
            answers = torch.cat([one.probs for one in said])
        else:  # half ranges 1 and 0.375
            answers = torch.cat([one.mode for one in said]) / torch.tensor([1.0, 0.375])
        # A mean and three squares of numbers below 4, each rounded to 2^-24 of itself.
        torch.testing.assert_close(found[m], answers.var(0, correction=0).sum(-1), rtol=1e-4, atol=2e-6)


def test_networks_of_a_member_learn_from_its_own_labels():
    """A member whose labels all are 0 has no doubt about that in the end; one whose labels are random has."""
    pupil, obs = student(), torch.randn(M, 300, 2)
    action = torch.stack([torch.zeros(300, dtype=torch.int64), torch.randint(3, (300,))])
    doubt = Doubt(source(), pupil, 3, Fit(updates=100, batch_size=16, lr=(3e-2, 3e-2)))
    metrics = doubt.learn(labelled(obs, action))
    said = doubt.networks.on_features(doubt._each(pupil.prepare(obs))).probs
    assert (said[:3, :, 0] > 0.9).all() and not (said[3:, :, 0] > 0.9).any()
    assert metrics["doubt_loss"].shape == (M,)


def test_the_loss_of_the_risk_is_that_of_the_equation():
    place, pupil = source(), student()
    risk = Risk(place, pupil, (8,), FIT, 0.9, 0.0, 1000)
    rollout = place.collect(Random(place.spec.action), 40)
    risk.replay.add(replace(rollout, reward=rollout.terminated.float()))
    with torch.no_grad():
        for p in risk.target.network.parameters():
            p.add_(0.3)  # another one than the network itself
        batch = risk.replay.sample(50)
        found = risk._loss(batch)[0]
        for m in range(M):
            losses = []
            for b in range(50):
                obs, after = batch.obs[:, b : b + 1], batch.next_obs[:, b : b + 1]
                later = risk._logits(risk.target.network, after, pupil.distribution(after).mode).sigmoid()[m, 0]
                failed, ended = float(batch.reward[m, b]), float(batch.discount[m, b]) == 0
                assert failed == ended  # here every termination is a failure
                goal = failed + (0 if ended else 0.9 * later)
                now = risk._logits(risk.network, obs, batch.action[:, b : b + 1]).sigmoid()[m, 0]
                losses.append(-(goal * now.log() + (1 - goal) * (1 - now).log()))
            torch.testing.assert_close(found[m], torch.stack(losses).mean(), rtol=1e-4, atol=1e-6)


def test_the_risk_of_a_bandit_is_its_share_of_failures():
    """Each step ends the episode: ρ is the share of steps of reward 0 among those of an arm, in the replay."""
    place = source(Bandit(), 16)
    pupil = nets.policy(place, (8,))
    risk = Risk(place, pupil, (8,), Fit(updates=250, batch_size=512, lr=1e-2), 0.9, 0.5, 2_000)
    rollout = place.collect(Random(place.spec.action), 100)
    metrics = risk.learn(rollout)
    failed = (rollout.reward < 0.5).float()
    torch.testing.assert_close(metrics["failed"], failed.mean((0, 2)))
    for arm in range(2):
        share = (failed * (rollout.action == arm)).sum((0, 2)) / (rollout.action == arm).sum((0, 2))
        found = risk(torch.zeros(M, 1, 1), torch.full((M, 1), arm))[:, 0]
        # Adam goes by the mean of some ten batches, of 256 steps of an arm each: four of its standard errors.
        assert (found - share).abs().max() < 4 * (0.25 / 2_560) ** 0.5


def test_risk_begins_near_none():
    place = source()
    assert (Risk(place, student(), (8,), FIT, 0.9, None, 100)(torch.zeros(M, 3, 2), torch.zeros(M, 3)) < 0.05).all()


class Table:
    """Stands for a model: a number a state."""

    def __init__(self, values):
        self.values = values

    def __call__(self, *_):
        return self.values


def answers(gate, driving, apart):
    """What a gate says of choices that differ where `apart` says so, each [1, B]."""
    told = apart.long()
    asked, drives = gate(Moment(torch.zeros(1, 1), torch.zeros(1, 1), torch.zeros_like(told), told, driving))
    return asked[0].tolist(), drives[0].tolist()


def cases(count):
    """All rows of truth values, as columns [1, 2^count]."""
    return [torch.tensor(column).unsqueeze(0) for column in zip(*product([False, True], repeat=count), strict=True)]


def test_the_rules_of_safe_ensemble_and_lazy():
    driving, apart, above = cases(3)
    level = torch.where(above, 0.7, 0.3)
    rows = list(zip(driving[0].tolist(), apart[0].tolist(), above[0].tolist(), strict=True))

    safe = SafeGate(source(), student(), SafeGateConfig(threshold=0.5))
    safe.deviation = Table(level)
    assert answers(safe, driving, apart) == ([u for _, _, u in rows],) * 2

    lazy = LazyGate(source(), student(), LazyGateConfig(threshold=0.5))
    lazy.deviation = Table(level)
    assert answers(lazy, driving, apart) == ([d or u for d, _, u in rows], [a if d else u for d, a, u in rows])

    ensemble = EnsembleGate(source(), student(), EnsembleGateConfig(chi=0.5))
    ensemble.doubt = Table(level)
    assert answers(ensemble, driving, apart) == ([u for _, _, u in rows],) * 2

    published = EnsembleGate(source(), student(), EnsembleGateConfig(chi=0.5, tau=0.5))
    published.doubt = Table(level)
    assert answers(published, driving, apart) == ([True] * 8, [u or a for _, a, u in rows])


def test_the_rules_of_thrifty():
    driving, apart, novel, risky = cases(4)
    gate = ThriftyGate(source(), student())
    gate.doubt, gate.risk = Table(torch.where(novel, 3.0, 1.0)), Table(torch.where(risky, 0.9, 0.1))
    gate.novel.fill_(2.0)
    gate.risky.fill_(0.8)
    gate.near.fill_(0.5)
    rows = list(zip(*(column[0].tolist() for column in (driving, apart, novel, risky)), strict=True))
    for calm, is_calm in ((0.5, lambda r: not r), (0.05, lambda r: False)):
        gate.calm.fill_(calm)
        expected = (
            [d or n or r for d, _, n, r in rows],
            [(a or not is_calm(r)) if d else (n or r) for d, a, n, r in rows],
        )
        assert answers(gate, driving, apart) == expected


def test_the_thresholds_of_thrifty_are_quantiles():
    """Of 80 states at α = .1 the eight highest are above δ_h, and as many above β_h."""
    place, pupil = source(), student()
    gate = ThriftyGate(place, pupil, ThriftyGateConfig(3, 4, 1e-3, heads=2, alpha=0.1, hidden=(4,), capacity=400))
    rollout = place.collect(pupil, 20)
    obs = torch.randn(M, 50, 2)
    mine = pupil.distribution(obs).mode
    action = torch.where(torch.arange(50) < 10, (mine + 1) % 3, mine)  # a fifth of the labels is not its action
    gate.learn(Lesson(rollout, labelled(obs, action), labelled(obs, action, "held-out")))
    seen = rollout.flatten().obs
    risk = gate.risk(seen, pupil.distribution(seen).mode)
    assert ((gate.doubt(seen) > gate.novel).sum(1) == 8).all()
    assert ((risk > gate.risky).sum(1) == 8).all()
    assert ((risk > gate.calm).sum(1) == 40).all()
    torch.testing.assert_close(gate.near[:, 0], torch.full((M,), 0.2))


MADE = {
    "safe": lambda place, pupil: SafeGate(place, pupil),
    "lazy": lambda place, pupil: LazyGate(place, pupil, LazyGateConfig(tau=0.5)),
    "ensemble": lambda place, pupil: EnsembleGate(place, pupil, EnsembleGateConfig(chi=0.0)),
    "thrifty": lambda place, pupil: ThriftyGate(place, pupil, ThriftyGateConfig(capacity=100)),
    "human": lambda place, pupil: HumanGate(lambda obs: obs[..., 0] > 0.5, lambda obs: obs[..., 0] < 0),
}


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("env", [Walk(), Reach()])
def test_what_nobody_asked_for_changes_nothing(name, env):
    """A gate knows what the teacher would do only where it asks, and lets it drive only there."""
    place, pupil = source(env), student(env)
    gate, space = MADE[name](place, pupil), place.spec.action
    now = moment(pupil, space)
    asked, drives = gate(now)
    assert (asked | ~drives).all()
    if name != "human":  # a gate that never asked would pass
        assert asked.any()
    other = moment(pupil, space).told
    where = asked if other.dim() == 2 else asked.unsqueeze(-1)
    again = gate(replace(now, told=torch.where(where, now.told, other)))
    assert torch.equal(again[0], asked) and torch.equal(again[1], drives)


def test_a_supervisor_hands_back_later_than_it_took_over():
    config = HumanGateConfig((0, 1), (2.0, 0.5), back=0.5)
    gate = HumanGate(config.takes_over, config.hands_back)
    whole = torch.tensor([[0.0, 0.0], [-2.5, 0.0], [1.5, 0.0], [0.5, -0.3], [0.9, 0.2], [0.0, 0.6]]).unsqueeze(0)
    none = torch.zeros(1, 6, dtype=torch.bool)
    before = Moment(whole * torch.nan, whole, whole, whole, none)  # it looks at what the teacher sees
    assert gate(before)[1].tolist() == [[False, True, False, False, False, True]]
    after = gate(replace(before, driving=~none))
    assert after[1].tolist() == [[False, True, True, True, False, True]]
    assert torch.equal(*after)
    at_once = HumanGate(config.takes_over)
    assert torch.equal(at_once(replace(before, driving=~none))[1], gate(before)[1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SafeGateConfig(threshold=1.5), r"threshold: must be in \[0, 1\], not 1.5."),
        (lambda: LazyGateConfig(back=-1.0), r"back: must be in \[0, 1\], not -1.0."),
        (lambda: EnsembleGateConfig(heads=0), "heads: must be at least 1, not 0."),
        (lambda: ThriftyGateConfig(gamma=1.0), r"gamma: must be in \[0, 1\), not 1.0."),
        (lambda: HumanGateConfig().takes_over(torch.zeros(1, 1, 4)), "numbers: which numbers of an observation does"),
        (lambda: HumanGateConfig((1, 2), (0.5,)), "limits: 1 for 2 numbers; give one for each."),
        (lambda: HumanGateConfig((0,), (-1.0,)), "limits: must be positive, not -1.0."),
        (lambda: HumanGateConfig((-1,), (1.0,)), "numbers: must be at least 0, not -1."),
        (
            lambda: HumanGateConfig((4,), (1.0,)).takes_over(torch.zeros(1, 1, 4)),
            "numbers: an observation has no 4, only 0 … 3.",
        ),
        (
            lambda: ThriftyGate(source(), student(), ThriftyGateConfig(capacity=2)),
            "capacity: 2 does not hold 1 steps of 4 environments.",
        ),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_half_a_batch_is_fitted_and_half_is_held_out():
    """The classifier learns from both sets alike, however few are held out."""
    pupil, obs = student(), torch.randn(M, 200, 2)
    mine = pupil.distribution(obs).mode
    model = Deviation(source(), pupil, 0.5, (4,), FIT)
    wrong = labelled(obs[:, :7], (mine[:, :7] + 1) % 3, "held-out")
    pair = labelled(obs, mine).sample(4), wrong.sample(4)
    loss, metrics = model._loss(pair)
    logits = torch.cat([model._logits(one.obs) for one in pair], 1)
    expected = (F.softplus(logits[:, :4]).mean(1) + F.softplus(-logits[:, 4:]).mean(1)) / 2
    torch.testing.assert_close(loss, expected)
    assert (metrics["deviates"] == 1).all()
