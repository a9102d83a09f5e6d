"""Distral with tables: α = 0 is soft Q-learning, the equations beside a loop. M members, N copies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.core.rollout import TensorSource
from imitate.core.tasks import Tasks
from imitate.core.types import fold
from imitate.students import Distral, DistralConfig
from imitate_envs import CartPole, GridWorld
from tests.resumed import assert_resumes

M, N = 2, 3
FIRST = GridWorld(desc=("SFG", "FFF"), max_steps=9)
SECOND = GridWorld(desc=("SFF", "FFG"), max_steps=9)
CONFIG = DistralConfig(steps=240, rollout=4, gamma=0.9, share=(0.5, 1.0), inverse_temperature=(2.0, 5.0), omega=0.5)


def source(env, seed=0):
    return TensorSource(env, id="GridWorld", num_envs=N, members=M, seed=seed)


def tasks(seed=0):
    return Tasks([source(FIRST, seed), source(SECOND, seed + 7)])


class Spied:
    """A source that keeps what it gave."""

    def __init__(self, inner):
        self.inner, self.spec, self.seen = inner, inner.spec, []

    def collect(self, policy, steps):
        self.seen.append(self.inner.collect(policy, steps).clone())
        return self.seen[-1]

    def play(self, policy, episodes, seed):
        return self.inner.play(policy, episodes, seed)


def loop(rollouts, m, config, kinds=2, states=6, actions=4):
    """Q, V, π and π_0 of one member, one environment step after the other, from what was seen: numpy, in float64.

    Visits of one moment count together, as `step_size` says: the step is at most 1 over their number.
    """

    def of_member(name):
        value = getattr(config, name)
        return value[m] if isinstance(value, tuple) else value

    gamma, share, beta = (of_member(name) for name in ("gamma", "share", "inverse_temperature"))
    q, visits = np.zeros((kinds, states, actions)), np.zeros((kinds, states, actions))
    count, discount = np.full((states, actions), config.smoothing), np.ones(kinds * N)

    def logits():
        prior = count / count.sum(-1, keepdims=True)
        return share * np.log(prior)[None] + beta * q

    def value():
        return np.log(np.exp(logits()).sum(-1)) / beta

    for rollout in rollouts:
        for t in range(len(rollout.reward)):
            v, errors, now = value(), {}, np.zeros_like(q)
            for n in range(kinds * N):
                s, k = int(rollout.obs[0][t, m, n]), int(rollout.obs[1][t, m, n])
                a, after = int(rollout.action[t, m, n]), int(rollout.next_obs[0][t, m, n])
                left = 0.0 if bool(rollout.terminated[t, m, n]) else gamma
                errors.setdefault((k, s, a), []).append(
                    float(rollout.reward[t, m, n]) + left * v[k, after] - q[k, s, a]
                )
                now[k, s, a] += 1
                if bool(rollout.starts[t, m, n]):
                    discount[n] = 1.0
            visits += now
            for at, found in errors.items():
                q[at] += min(visits[at] ** -config.omega, 1 / now[at]) * sum(found)
            for n in range(kinds * N):
                count[int(rollout.obs[0][t, m, n]), int(rollout.action[t, m, n])] += discount[n]
                discount[n] *= gamma
    return q, value(), np.exp(logits() - logits().max(-1, keepdims=True)), count


def test_it_is_the_equations_in_a_loop():
    """Of members of different α and β, through ends of episodes of both kinds."""
    spied = Spied(tasks())
    mine = Distral(spied, CONFIG)
    while not mine.progress.finished:
        mine.step()
    assert any(r.terminated.any() for r in spied.seen) and any(r.truncated.any() for r in spied.seen)
    for m in range(M):
        q, value, weights, count = loop(spied.seen, m, CONFIG)
        # Sums of some hundred float32 of size one against float64.
        np.testing.assert_allclose(mine.q[m].view(2, 6, 4), q, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(mine.value[m].view(2, 6), value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(mine.policy.distribution(torch.arange(12).expand(M, -1)).probs[m].view(2, 6, 4),
                                   weights / weights.sum(-1, keepdims=True), rtol=1e-3, atol=1e-5)  # fmt: skip
        np.testing.assert_allclose(mine.prior[m].exp(), count / count.sum(-1, keepdims=True), rtol=1e-4)
        assert np.abs(q).max() > 0.3


def test_without_sharing_each_task_is_soft_q_learning_by_itself():
    """α = 0: several tasks learn what each learns alone, bit for bit, and the rule is that of soft Q-learning."""
    config = replace(CONFIG, share=0.0)
    spied = Spied(tasks())
    together = Distral(spied, config)
    alone = [
        Distral(Tasks([source(env, seed)]), replace(config, steps=config.steps // 2))
        for env, seed in ((FIRST, 0), (SECOND, 7))
    ]
    while not together.progress.finished:
        together.step()
        for one in alone:
            one.step()
    assert all(one.progress.finished for one in alone)
    assert torch.equal(together.q, torch.cat([one.q for one in alone], 1))
    for m in range(M):  # r + γ/β log Σ exp(βQ(s', ·)), softmax(βQ)
        beta = CONFIG.inverse_temperature[m]
        table, obs = together.q[m], torch.arange(12).expand(M, -1)
        torch.testing.assert_close(together.value[m], torch.logsumexp(beta * table, -1) / beta)
        torch.testing.assert_close(together.policy.distribution(obs).probs[m], (beta * table).softmax(-1))


def soft_values(env, gamma, beta):
    """V of soft value iteration on the exact model."""
    model = env.model()
    value = torch.zeros(model.states, dtype=torch.float64)
    for _ in range(2_000):
        q = model.reward + gamma * model.continuing @ value
        value = torch.logsumexp(beta * q, -1) / beta
    return q


def test_soft_q_learning_finds_the_soft_values():
    """Within 0.1 where an action is taken often, of values up to 4: of chance and what the step sizes leave."""
    # The time limit is no end of the task, so the model without one has the same values.
    config = DistralConfig(steps=40_000, rollout=20, gamma=0.8, share=0.0, inverse_temperature=2.0, omega=0.6)
    place = Tasks([TensorSource(FIRST, id="GridWorld", num_envs=50, members=1)])
    mine = Distral(place, config)
    while not mine.progress.finished:
        mine.step()
    expected = soft_values(FIRST, 0.8, 2.0)
    model = FIRST.model()
    open_ = (model.reachable & ~model.terminal).unsqueeze(-1).expand_as(expected)
    often = open_ & (mine.sizes.count[0].view(6, 4) > 500)
    assert int(often.sum()) >= 15
    assert float((mine.q[0].double() - expected)[often].abs().max()) < 0.1
    assert float(expected[open_].max()) > 1


def test_a_shared_policy_draws_tasks_together():
    """Two tasks that want the same: with α = 1 what one task has seen changes what the other does where it has not."""
    far = replace(FIRST, desc=("SFG", "FFF"))
    place = Tasks([source(FIRST), source(far, 7)])
    mine = Distral(place, replace(CONFIG, share=(0.0, 1.0)))
    mine.q.zero_()
    mine.count[:, 4, 2] += 50  # of some task, in a state
    mine._share_out()
    said = mine.policy.distribution(torch.tensor([[4, 10]]).expand(M, -1)).probs
    assert torch.allclose(said[0], torch.full((2, 4), 0.25))
    assert (said[1].argmax(-1) == 2).all() and torch.equal(said[1, 0], said[1, 1])


def test_it_resumes_bit_for_bit(tmp_path):
    assert_resumes(lambda seed: Distral(tasks(seed), CONFIG), tmp_path)


def test_the_policy_is_a_table_of_all_tasks(tmp_path):
    mine = Distral(tasks(), CONFIG)
    mine.step()
    mine.policy.save(tmp_path)
    loaded = nets.load(tmp_path)
    rows = fold(mine.source.collect(mine.policy, 3).obs)
    assert rows.max() >= 6  # also of the second task
    assert torch.equal(loaded.q, mine.policy.q)
    assert mine.source.play(mine.policy, 2, seed=3).shape == (M, 4)


def test_bad_input():
    with pytest.raises(
        ValueError, match=r"^source: Tasks of a Discrete observation and Discrete actions, not Discrete"
    ):
        Distral(source(FIRST), CONFIG)
    pole = TensorSource(CartPole(), id="CartPole-v1", num_envs=2, members=M)
    with pytest.raises(ValueError, match=r"^source: Tasks of a Discrete observation .* not Tuple\(Box\(4,\)"):
        Distral(Tasks([pole]), CONFIG)
    for name, value in (("share", 1.5), ("inverse_temperature", 0.0), ("smoothing", 0.0), ("steps", 0)):
        with pytest.raises(ValueError, match=rf"^{name}: must be "):
            DistralConfig(**{name: value})
    with pytest.raises(ValueError, match=r"^share: 3 values for 2 members"):
        Distral(tasks(), replace(CONFIG, share=(0.1, 0.2, 0.3)))
