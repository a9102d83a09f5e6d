"""Schedules against naive loops; terms that weigh nothing change nothing, others have the gradient of their formula."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from imitate import nets
from imitate.baselines.dqn import DQN, DQNConfig
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core.rollout import TensorSource
from imitate.core.spec import Spec
from imitate.core.terms import Linear, Schedule, Terms, UntilReturn
from imitate.core.types import Rollout, fold
from imitate.distributions.actions import Categorical
from imitate.students import Distil
from imitate_envs.base import Box, Discrete
from tests.oracles import Reach, Walk
from tests.resumed import assert_resumes, same

M, N = 2, 3
SPEC = Spec("x", Box((2,)), Discrete(3), members=M, num_envs=N)


def source(env=None, seed=0, members=M):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def rollout(reward, terminated, truncated=None):
    shape = reward.shape
    nothing = torch.zeros(shape, dtype=torch.bool)
    obs, action = torch.zeros(*shape, 2), torch.zeros(shape, dtype=torch.int64)
    truncated = nothing if truncated is None else truncated
    return Rollout(obs, action, reward, obs, terminated, truncated, starts=nothing)


# Schedules


def test_linear():
    line = Linear(2.0, 0.5, 30, begin=10)
    assert [line(steps) for steps in (0, 10, 20, 40, 41, 10**9)] == [2.0, 2.0, 1.5, 0.5, 0.5, 0.5]
    assert isinstance(line, Schedule) and not isinstance(1.0, Schedule)


@pytest.mark.parametrize(("steps", "begin"), [(0, 0), (-1, 0), (5, -1)])
def test_a_line_that_goes_nowhere(steps, begin):
    with pytest.raises(ValueError, match=r"^steps: "):
        Linear(1.0, 0.0, steps, begin)


def naive_weights(rollouts, teacher, start, decay):
    """Episode by episode in the order in which they end; those that end at one step count as their mean, together."""
    members, envs = rollouts[0].reward.shape[1:]
    weights = []
    under_way = np.zeros((members, envs))
    first, mean = [None] * members, [None] * members
    for one in rollouts:
        for t in range(len(one.reward)):
            for m in range(members):
                ended = []
                for n in range(envs):
                    under_way[m, n] += float(one.reward[t, m, n])
                    if bool(one.done[t, m, n]):
                        ended.append(under_way[m, n])
                        under_way[m, n] = 0.0
                if not ended:
                    continue
                found = np.mean(ended)
                if mean[m] is None:
                    first[m] = mean[m] = found
                else:
                    keep = decay ** len(ended)
                    mean[m] = keep * mean[m] + (1 - keep) * found
        row = []
        for m in range(members):
            left = 1.0 if mean[m] is None else (teacher[m] - mean[m]) / abs(teacher[m] - first[m])
            row.append(start * min(1.0, max(0.0, left)))
        weights.append(row)
    return weights


@pytest.mark.parametrize(
    ("offset", "teacher"),
    [(0.5, (40.0, 25.0)), (-2.0, (-4.0, -1.0)), (0.5, (-6.0, 2.0))],
    ids=["positive", "negative", "a teacher that is worse"],
)
def test_until_return_is_the_naive_loop(offset, teacher):
    generator = torch.Generator().manual_seed(1)
    schedule = UntilReturn(teacher, SPEC, start=0.7, decay=0.8)
    assert schedule(0).tolist() == pytest.approx([0.7, 0.7])
    rollouts = []
    for i in range(8):
        drift = 0.2 * i if teacher[0] > -5 else -0.4 * i  # towards the teacher
        reward = torch.rand(6, M, N, generator=generator) + offset + drift
        ends = torch.rand(2, 6, M, N, generator=generator) < 0.08
        rollouts.append(rollout(reward, ends[0], ends[1] & ~ends[0]))
    expected = naive_weights(rollouts, teacher, 0.7, 0.8)
    found = []
    for one in rollouts:
        schedule.watch(one)
        found.append(schedule(0).tolist())
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)  # sums of some forty float32 of size one
    assert len({round(w, 3) for row in found for w in row}) > 3  # it moved, and not between the ends alone


def test_an_origin_says_where_the_way_begins():
    """The paper's max(1 − G/G_teacher, 0) is that of 0; of a teacher below the origin nothing is left."""
    reward, ends = torch.ones(4, M, N), torch.zeros(4, M, N, dtype=torch.bool)
    ends[-1] = True
    for origin, teacher, left in ((0.0, 10.0, 0.6), ((-10.0, 4.0), 5.0, (1 / 15, 1.0)), (6.0, 3.0, 0.0)):
        schedule = UntilReturn(teacher, SPEC, origin=origin)
        schedule.watch(rollout(reward, ends))  # episodes of return 4
        expected = torch.tensor(left).expand(M)
        torch.testing.assert_close(schedule(0), expected)
    with pytest.raises(ValueError, match=r"^origin: 3 values for 2 members"):
        UntilReturn(1.0, SPEC, origin=(1.0, 2.0, 3.0))


def test_until_return_goes_on_where_it_was():
    generator = torch.Generator().manual_seed(2)
    rollouts = [
        rollout(torch.rand(5, M, N, generator=generator), torch.rand(5, M, N, generator=generator) < 0.2)
        for _ in range(4)
    ]
    straight, first, second = (UntilReturn(3.0, SPEC) for _ in range(3))
    for one in rollouts:
        straight.watch(one)
    for one in rollouts[:2]:
        first.watch(one)
    second.load_state_dict({name: value.clone() for name, value in first.state_dict().items()})
    for one in rollouts[2:]:
        second.watch(one)
    assert torch.equal(second(0), straight(0))
    assert not torch.equal(first(0), straight(0))


def test_until_return_does_not_join_episodes_that_a_resume_cut():
    reward, nothing = torch.ones(3, M, N), torch.zeros(3, M, N, dtype=torch.bool)
    ends, starts = nothing.clone(), nothing.clone()
    ends[-1] = starts[0] = True
    schedule = UntilReturn(5.0, SPEC)
    schedule.watch(rollout(reward, nothing))
    schedule.watch(replace(rollout(reward, ends), starts=starts))
    assert schedule.mean.tolist() == [3.0] * M


def test_bad_until_return():
    with pytest.raises(ValueError, match=r"^decay: "):
        UntilReturn(1.0, SPEC, decay=1.0)
    with pytest.raises(ValueError, match=r"^teacher: 3 values for 2 members"):
        UntilReturn((1.0, 2.0, 3.0), SPEC)


# Terms


class Constant:
    """A term of one value everywhere, that notes what it is given."""

    def __init__(self, value, weight):
        self.value, self.weight, self.seen = value, weight, []

    def prepare(self, rollout):
        return torch.full(fold(rollout.reward).shape, self.value)

    def __call__(self, batch, distribution):
        self.seen.append(batch.extras)
        return torch.full(batch.reward.shape, self.value)


class Watched:
    """A schedule that counts."""

    def __init__(self):
        self.rollouts = 0

    def __call__(self, steps):
        return 10.0 * self.rollouts + steps

    def watch(self, rollout):
        self.rollouts += 1


def test_terms_are_summed_with_weights_of_each_member():
    terms = [Constant(3.0, (1.0, 2.0)), Constant(5.0, 0.5), Constant(7.0, Linear(1.0, 0.0, 100))]
    together = Terms(terms, SPEC)
    one = rollout(torch.zeros(4, M, N), torch.zeros(4, M, N, dtype=torch.bool))
    extras = together.prepare(one, 25)
    batch = one.flatten()
    total, metrics = together(type(batch)(**{**vars(batch), "extras": extras}), None)
    expected = torch.tensor([3.0 * 1 + 2.5 + 7 * 0.75, 3.0 * 2 + 2.5 + 7 * 0.75])
    assert torch.equal(total, expected.unsqueeze(1).expand(M, 4 * N))
    assert [value.mean().item() for value in metrics.values()] == [3.0, 5.0, 7.0] and len(metrics) == 3
    assert all(torch.equal(term.seen[-1], torch.full((M, 4 * N), term.value)) for term in terms)
    together(batch, None)  # of a replay: nothing was prepared
    assert [term.seen[-1] for term in terms] == [None] * 3
    assert not Terms([], SPEC) and together


def test_a_schedule_is_asked_once_it_has_seen_the_rollout_and_once_a_rollout_where_it_is_shared():
    schedule = Watched()
    together = Terms([Constant(1.0, schedule), Constant(2.0, schedule)], SPEC)
    one = rollout(torch.zeros(1, M, N), torch.zeros(1, M, N, dtype=torch.bool))
    for expected in (13.0, 23.0):
        together.watch(one, 3)
        assert together.weights.flatten().tolist() == [expected] * 4


def test_terms_save_what_changes():
    def build():
        return Terms([Constant(1.0, UntilReturn(5.0, SPEC)), Constant(1.0, 2.0)], SPEC)

    first, second = build(), build()
    one = rollout(torch.ones(4, M, N), torch.ones(4, M, N, dtype=torch.bool))
    first.watch(one, 0)
    second.load_state_dict(first.state_dict())
    again = rollout(3 * torch.ones(4, M, N), torch.ones(4, M, N, dtype=torch.bool))
    for terms in (first, second):
        terms.watch(again, 0)
    assert torch.equal(first.weights, second.weights) and 0 < first.weights[0].max() < 1


def test_a_weight_of_other_members():
    with pytest.raises(ValueError, match=r"^weight: 3 values for 2 members"):
        Terms([Constant(1.0, (1.0, 2.0, 3.0))], SPEC)


# In algorithms


class Drift:
    """−log π of a fixed action: a term with a gradient."""

    def __init__(self, weight):
        self.weight = weight

    def prepare(self, rollout):
        return None

    def __call__(self, batch, distribution):
        return -distribution.log_prob(torch.zeros_like(batch.action))


def ppo(env=None, seed=0, terms=(), hooked=True, **config):
    options = {"steps": 80, "rollout": 4, "epochs": 2, "batch_size": 6, "hidden": (5,)} | config
    place = source(env, seed)
    policy = nets.policy(place, (5,), gru=options.get("gru", 0))
    if hooked:  # autograd finds the gradient with and without terms
        policy.head.linear.register_forward_hook(lambda *_: None)
    return PPO(place, PPOConfig(**options), policy=policy, terms=terms)


@pytest.mark.parametrize("env", [Walk(), Reach()])
@pytest.mark.parametrize("gru", [0, 4])
def test_a_term_of_weight_zero_changes_nothing(env, gru):
    options = {"gru": gru, "batch_size": 4 if gru else 6}
    without, with_one, other = (ppo(env, terms=terms, **options) for terms in ([], [Drift(0.0)], [Drift((0.0, 1.0))]))
    for _ in range(2):
        expected, found, differs = without.step(), with_one.step(), other.step()
        found.pop("drift_0")
        assert same(found, expected)
        assert torch.equal(differs["grad_norm"][0], expected["grad_norm"][0])  # that member has none
        assert differs["grad_norm"][1] != expected["grad_norm"][1]
    assert torch.equal(with_one.learner.flat, without.learner.flat)


def test_weights_are_set_before_the_learning():
    """A schedule that jumps to 0 at step 12 leaves the second rollout to PPO alone."""
    jump = ppo(terms=[Drift(Linear(1.0, 0.0, 1, begin=4 * N - 1))])
    jump.step()
    assert jump.terms.weights.flatten().tolist() == [1.0, 1.0]
    jump.step()
    assert jump.terms.weights.flatten().tolist() == [0.0, 0.0]


@pytest.mark.parametrize("member", range(M))
def test_the_gradient_of_a_term_is_that_of_its_formula(member):
    """PPO's first update with a huge weight on a kickstarting term, against a loss written out in plain torch."""
    place = source()
    teacher = nets.policy(place, (5,), seed=4)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    weight = (50.0, 80.0)
    mine = PPO(
        place, PPOConfig(rollout=4, epochs=1, batch_size=12, hidden=(5,), max_grad_norm=1e9, steps=10**6),
        terms=[Distil(teacher, weight)],
    )  # fmt: skip
    seen = {}
    loss = mine.learner.loss

    def spy(batch):
        found = loss(batch)
        seen["batch"], seen["loss"] = batch, found[0]
        seen["grads"] = torch.autograd.grad(found[0][member], list(mine.policy.parameters()), retain_graph=True)
        return found

    mine.learner.loss = spy
    actor = copy.deepcopy(mine.policy)  # before the step
    mine.step()
    batch = seen["batch"]
    leaves = list(actor.parameters())

    def logits(policy, x):
        w1, b1, w2, b2 = (p[member] for p in policy.parameters())
        return torch.tanh(x @ w1 + b1) @ w2 + b2

    total = 0.0
    for b in range(12):
        x = batch.obs[member, b]
        z, told = logits(actor, x).squeeze(0), logits(teacher, x).squeeze(0).detach()
        log_p, log_t = F.log_softmax(z, 0), F.log_softmax(told, 0)
        ratio = (log_p[batch.action[member, b]] - batch.log_prob[member, b]).exp()
        advantage = batch.advantage[member, b]
        surrogate = -torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
        distance = (log_t.exp() * (log_t - log_p)).sum()
        total = total + (surrogate + weight[member] * distance) / 12
    expected = torch.autograd.grad(total, leaves)
    for found, wanted in zip(seen["grads"], expected, strict=True):
        # Sums of twelve float32 of the size of the weight.
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5 * weight[member])
    assert max(float(g.abs().max()) for g in expected) > 1


def test_a_recurrent_teachers_answers_are_those_of_its_steps():
    """`prepare` carries the teacher's memory from one rollout to the next, and empties it where episodes begin."""
    place = source()
    teacher = nets.policy(place, (5,), gru=4, seed=9)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    term, memory = Distil(teacher), teacher.memory(M, N)
    policy = nets.policy(place, (5,))
    ended = torch.ones(M, N, dtype=torch.bool)
    for _ in range(3):
        seen = place.collect(policy, 6)
        told = term.prepare(seen)
        steps = []
        for t in range(6):
            memory = memory.masked_fill(ended.unsqueeze(-1), 0.0)
            distribution, memories = teacher.unroll(seen.obs[t : t + 1], memory, torch.zeros(1, M, N).bool())
            memory, ended = memories[0], seen.done[t]
            steps.append(distribution.logits[0])
        torch.testing.assert_close(told.logits, fold(torch.stack(steps)))
        assert seen.done.any()


@pytest.mark.parametrize("gru", [0, 3])
def test_ppo_with_terms_resumes(gru, tmp_path):
    def build(seed):
        place = source(seed=seed)
        teacher = nets.policy(place, (5,), gru=gru, seed=9)
        terms = [Distil(teacher, UntilReturn(2.0, place.spec)), Drift(Linear(0.3, 0.0, 40))]
        return PPO(place, PPOConfig(steps=80, rollout=4, epochs=2, batch_size=4, hidden=(5,), gru=gru), terms=terms)

    assert_resumes(build, tmp_path)


def test_a_temperature_that_is_none():
    with pytest.raises(ValueError, match=r"^temperature: must be positive, not 0"):
        Distil(nets.policy(source()), temperature=0)


def dqn(seed=0, terms=(), **config):
    options = {
        "steps": 400, "rollout": 2, "updates": 2, "batch_size": 8, "learning_starts": 12, "hidden": (8,),
        "epsilon_end": 0.5, "temperature": 0.5,
    } | config  # fmt: skip
    return DQN(source(seed=seed), DQNConfig(**options), terms=terms)


def test_dqn_with_a_distil_term():
    """The loss is that of DQN and the weighted KL of the teacher from the softmax of the values, written out."""
    teacher = nets.policy(source(), (5,), seed=9)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    mine = dqn(terms=[Distil(teacher, (2.0, 3.0))])
    for _ in range(4):
        mine.step()
    batch = next(iter(mine.replay.batches(8, 1)))
    total, metrics = mine._loss(batch)
    mine.terms.weights.zero_()
    plain, _ = mine._loss(batch)
    values = mine.policy.returns(batch.obs).mean / 0.5
    told = teacher.distribution(batch.obs)
    expected = torch.zeros(M)
    for m in range(M):
        for b in range(8):
            p, q = told.logits[m, b].softmax(-1), values[m, b].softmax(-1)
            expected[m] += sum(p[a] * (p[a] / q[a]).log() for a in range(3)) / 8
    torch.testing.assert_close(metrics["distil_0"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(total, plain + torch.tensor([2.0, 3.0]) * expected, rtol=1e-4, atol=1e-6)
    assert (expected > 0.01).all()


def test_dqn_learns_what_a_heavy_term_says():
    teacher = nets.policy(source(), (5,), seed=4)
    with torch.no_grad():
        teacher.head.linear.weight.mul_(100)
    mine, alone = dqn(terms=[Distil(teacher, 10.0)], lr=1e-2), dqn(lr=1e-2)
    for _ in range(80):
        mine.step(), alone.step()
    obs = torch.rand(M, 200, 2) - 0.5
    agrees = [
        (one.policy.returns(obs).mean.argmax(-1) == teacher.distribution(obs).mode).float().mean()
        for one in (mine, alone)
    ]
    assert agrees[0] > 0.8 > agrees[1] + 0.1


def test_dqn_with_terms_resumes(tmp_path):
    def build(seed):
        place = source(seed=seed)
        teacher = nets.policy(place, (5,), seed=9)
        return dqn(seed, [Distil(teacher, UntilReturn(3.0, place.spec))])

    assert_resumes(build, tmp_path, iterations=6, at=3)


def test_a_teacher_that_tells_actions_alone():
    class Acts:
        noise = 0

        def memory(self, *shape):
            return None

        def act(self, obs, noise, memory):
            return torch.zeros(obs.shape[:2], dtype=torch.int64), None, {}

    with pytest.raises(ValueError, match=r"^teacher: a Acts does not tell how likely what it does is"):
        ppo(terms=[Distil(Acts())]).step()
    assert isinstance(nets.policy(source()).distribution(torch.zeros(M, 1, 2)), Categorical)
