"""QDagger: the two phases, the loss, and when the teacher is let go."""

from dataclasses import fields, replace

import pytest
import torch

import imitate
from imitate import nets
from imitate.baselines import DQNConfig
from imitate.core.rollout import TensorSource
from imitate.nets.return_heads import Quantiles
from imitate.students import Distil, QDagger, QDaggerConfig
from tests.oracles import Identity, Reach, Walk, plain_mlp

M, N = 2, 4
SMALL = QDaggerConfig(
    steps=240, rollout=3, updates=2, batch_size=6, hidden=(8,), capacity=200, lr=1e-2, teacher_steps=50,
    offline_updates=7, return_episodes=5, target_every=3,
)  # fmt: skip


def source(env=None, members=M, seed=0):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def sure(env=None, members=M):
    """An actor that mostly does one thing at a state."""
    made = nets.policy(source(env, members), (8,), seed=7)
    with torch.no_grad():
        made.head.linear.weight.mul_(100)
    return made


def made(config=SMALL, teacher=None, env=None, **options):
    return QDagger(source(env), teacher or sure(env), config, **options)


def test_before_its_first_step_the_teacher_shows_and_is_learnt_from():
    one = made()
    acted, updates, weights = [], [], []
    collect, update = one.source.collect, one.rl._update
    one.source.collect = lambda policy, steps: acted.append(policy) or collect(policy, steps)

    def counted(batch):
        updates.append(len(acted))
        weights.append(one.rl.terms.weights.flatten().tolist())
        return update(batch)

    one.rl._update = counted
    one.step()
    showing = 5  # of 12 steps each, the first whole number of rollouts with 50
    assert len({id(policy) for policy in acted[:showing]}) == 1 and acted[showing:] == [one.rl.driver]
    assert updates == [showing] * 7 + [showing + 1] * 2
    assert weights[:7] == [[1.0] * M] * 7
    assert one.progress.labels.tolist() == [60] * M and int(one.progress.steps) == 12
    assert len(one.rl.replay) == 72
    one.step()
    assert acted[showing:] == [one.rl.driver] * 2 and int(one.progress.steps) == 24


def test_the_update_is_the_papers():
    """TD error to a target network plus λ KL(teacher ‖ softmax(Q/τ)), in plain torch, with Adam."""
    config = replace(SMALL, temperature=0.3, distil=0.7, gamma=0.9, max_grad_norm=0.5)
    one = made(config)
    one._learn_offline()
    batch = one.rl.replay.sample(config.batch_size)
    online = [plain_mlp(one.rl.policy, m, torch.nn.ReLU) for m in range(M)]
    frozen = [plain_mlp(one.rl.target.network, m, torch.nn.ReLU) for m in range(M)]
    learner = one.rl.learner
    learner.mean.zero_(), learner.square.zero_(), learner.count.zero_()
    one.rl.learner(batch)
    for m in range(M):
        q, following = online[m](batch.obs[m]), frozen[m](batch.next_obs[m]).detach()
        target = batch.reward[m] + batch.discount[m] * following.amax(-1)
        taken = q.gather(-1, batch.action[m].unsqueeze(-1)).squeeze(-1)
        p = one.teacher.distribution(batch.obs).logits[m].detach().log_softmax(-1)
        kl = (p.exp() * (p - (q / 0.3).log_softmax(-1))).sum(-1)
        loss = torch.nn.functional.smooth_l1_loss(taken, target) + 0.7 * kl.mean()
        optimizer = torch.optim.Adam(online[m].parameters(), lr=1e-2)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(online[m].parameters(), 0.5)
        optimizer.step()
        found = plain_mlp(one.rl.policy, m, torch.nn.ReLU)
        for mine, theirs in zip(found.parameters(), online[m].parameters(), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)  # steps of 1e-2, in float32


def test_a_teacher_with_values_answers_with_their_softmax():
    values = imitate.DQN(source(), DQNConfig(hidden=(8,), temperature=5.0)).policy
    one = made(replace(SMALL, temperature=0.2), values)
    one._learn_offline()
    obs = torch.randn(M, 9, 2)
    told = one.rl.terms.terms[0].answers.at(obs)
    torch.testing.assert_close(told.probs, (values.action_values(obs) / 0.2).softmax(-1))


def test_without_the_teachers_weight_it_is_dqn_on_the_same_experience():
    one = made(replace(SMALL, distil=0.0))
    known = {field.name: getattr(SMALL, field.name) for field in fields(DQNConfig)}
    one.step()
    other = made(replace(SMALL, distil=0.0))
    plain = imitate.DQN(other.source, DQNConfig(**known), terms=[Distil(sure(), 0.0)])  # so that both use autograd
    other.rl = plain
    other.step()
    for mine, theirs in zip(one.policy.parameters(), plain.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_the_teachers_return_and_chances_are_those_of_episodes():
    one = made()
    weight = one.rl.terms.terms[0].weight
    place = source()
    assert torch.equal(weight.teacher, place.play(imitate.policies.Greedy(one.teacher), 5, 0).mean(1))
    assert torch.equal(weight.origin, place.play(imitate.policies.Random(place.spec.action), 5, 0).mean(1))


class Wrong:
    """Never names the state."""

    noise = 0

    def memory(self, *shape):
        return None

    def distribution(self, obs):
        return imitate.distributions.Categorical.certain((obs + 1) % 3, 3)

    def act(self, obs, noise, memory):
        return self.distribution(obs).mode, None, {}


class Right(Wrong):
    """Names the state."""

    def distribution(self, obs):
        return imitate.distributions.Categorical.certain(obs, 3)


LEARNS = replace(SMALL, steps=1_200, gamma=0.0, offline_updates=200, capacity=2_000, updates=8, batch_size=32)


def test_a_teacher_that_is_right_is_learnt_before_the_first_own_step():
    one = made(LEARNS, Right(), Identity())
    one._learn_offline()
    assert (one.source.play(one.policy, 40, 0).mean(1) > 9.5).all()  # of 10; chance is 3.3


def test_a_teacher_that_is_worse_than_chance_is_let_go():
    one = made(replace(LEARNS, epsilon=0.5, epsilon_end=0.5), Wrong(), Identity())
    metrics = one.step()
    while not one.progress.finished:
        metrics = one.step()
    assert one.rl.terms.weights.flatten().tolist() == [0.0] * M
    assert (one.source.play(one.policy, 40, 0).mean(1) > 9).all()
    assert metrics["distil_0"].isfinite().all()


def test_with_quantiles():
    one = made(replace(SMALL, double=True, n_step=2, priority=0.6), head=Quantiles(5))
    assert one.step()["loss"].isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: made(env=Reach()), "action: a value is learnt for each of finitely many actions"),
        (lambda: made(teacher=sure(members=3)), "teacher: has 3 members, the source 2; one serves all"),
        (lambda: made(replace(SMALL, teacher_steps=201)), "teacher_steps: 201 are more than the capacity"),
        (lambda: made(replace(SMALL, temperature=0.0)), "temperature: must be positive"),
        (lambda: made(replace(SMALL, distil=-1.0)), "distil: must be at least 0"),
        (lambda: made(replace(SMALL, teacher_epsilon=1.5)), "teacher_epsilon: must be in"),
        (lambda: made(replace(SMALL, offline_updates=0)), "offline_updates: must be at least 1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        make()
