"""SAC: its losses against a loop over one member in float64, members against single runs, resume, bad input."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from imitate.baselines.sac import SAC, SACConfig
from imitate.core.rollout import TensorSource
from imitate.core.sequence_replay import Sample
from imitate.nets import policy as make_policy
from imitate.students import Distil
from imitate_envs.base import Box
from tests.oracles import Reach, Sliced, Walk
from tests.resumed import assert_resumes

M, N, K, A, B = 2, 3, 2, 2, 6
LOG_STD = (-20.0, 2.0)
LOW, HIGH = np.array([-1.0, -0.5]), np.array([1.0, 0.25])
CENTRE, HALF = (LOW + HIGH) / 2, (HIGH - LOW) / 2


def sac(seed=0, members=M, env=None, terms=(), **config):
    env = env or Reach()
    place = TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)
    options = {
        "steps": 300, "rollout": 2, "updates": 2, "batch_size": B, "capacity": 60, "learning_starts": 12,
        "hidden": (5, 4), "lr": 1e-2, "tau": 0.1, "critics": K,
    } | config  # fmt: skip
    return SAC(place, SACConfig(**options), terms=terms)


def layers(module, number):
    """Weights [inputs, outputs] and biases of one population member, in float64."""
    return [
        (layer.weight[number].detach().double().numpy(), layer.bias[number, 0].detach().double().numpy())
        for layer in module
    ]


def mlp(x, stack):
    for weight, bias in stack[:-1]:
        x = np.maximum(x @ weight + bias, 0)
    weight, bias = stack[-1]
    return x @ weight + bias


def act(stack, obs, uniform):
    """One squashed draw and its log-density."""
    out = mlp(obs, stack)
    loc, scale = out[:A], np.exp(np.clip(out[A:], *LOG_STD))
    z = np.array([math.sqrt(2) * float(torch.erfinv(torch.tensor(2 * u - 1, dtype=torch.float64))) for u in uniform])
    x = loc + scale * z
    squashed = np.tanh(x)
    log_prob = sum(
        -0.5 * z[a] ** 2 - math.log(scale[a]) - 0.5 * math.log(2 * math.pi)
        - math.log(1 - squashed[a] ** 2) - math.log(HALF[a]) for a in range(A)
    )  # fmt: skip
    return CENTRE + HALF * squashed, log_prob


def trained(**config):
    """An agent that has learnt a little, and a batch of its replay."""
    agent = sac(**config)
    for _ in range(6):
        agent.step()
    with torch.no_grad():  # so that the target differs from the critic, and members in their temperature
        for p in agent.critic.parameters():
            p.add_(0.2 * torch.randn(p.shape))
        agent.log_alpha[0].copy_(torch.tensor([[-1.0], [0.5]]))
    return agent, agent.replay.sample(B)


def actor_stack(agent, m):
    return layers([*agent.policy.body.layers, agent.policy.head.linear], m)


def value(critic, number, obs, action):
    return float(
        mlp(np.concatenate([obs, (action - CENTRE) / HALF]), layers([*critic.body.layers, critic.value], number))[0]
    )


def noise_of(agent):
    """The uniforms of the next update, without using them up."""
    state = agent.noise.generator.get_state()
    shape = (M, B, A)
    now, then = agent.noise.uniform(*shape), agent.noise.uniform(*shape)
    agent.noise.generator.set_state(state)
    return now, then


class _Batch:
    def __init__(self, sample, now, then):
        self.sample, self.now, self.then = sample, now, then


def numpy_of(sample):
    return {
        name: getattr(sample, name).double().numpy() for name in ("obs", "action", "reward", "discount", "next_obs")
    }


@pytest.mark.parametrize("gamma", [0.9, (0.5, 0.99)])
def test_losses_are_those_of_a_loop(gamma):
    agent, sample = trained(gamma=gamma)
    now, then = noise_of(agent)
    batch, data = _Batch(sample, now, then), numpy_of(sample)
    critic_loss, critic_metrics = agent._critic_loss(batch)
    critic_loss = critic_loss.detach()
    actor_loss, actor_metrics = agent._actor_loss(batch)
    alpha_loss, _ = agent._alpha_loss(actor_metrics["log_prob"])
    gammas = (gamma, gamma) if isinstance(gamma, float) else gamma
    for m in range(M):
        alpha, stack = math.exp(float(agent.log_alpha[0][m, 0].detach())), actor_stack(agent, m)
        errors, values, actor, log_probs = [[] for _ in range(K)], [[] for _ in range(K)], [], []
        for b in range(B):
            obs, after = data["obs"][m, b], data["next_obs"][m, b]
            assert data["discount"][m, b] == pytest.approx(gammas[m])  # it never terminates
            action, log_prob = act(stack, after, then[m, b].tolist())
            least = min(value(agent.target.network, m * K + k, after, action) for k in range(K))
            target = data["reward"][m, b] + gammas[m] * (least - alpha * log_prob)
            for k in range(K):
                values[k].append(value(agent.critic, m * K + k, obs, data["action"][m, b]))
                errors[k].append((values[k][-1] - target) ** 2)
            action, log_prob = act(stack, obs, now[m, b].tolist())
            log_probs.append(log_prob)
            actor.append(alpha * log_prob - min(value(agent.critic, m * K + k, obs, action) for k in range(K)))
        # float32 against float64, of sums of a few dozen terms of size one.
        for k in range(K):
            assert float(critic_loss[m * K + k]) == pytest.approx(0.5 * np.mean(errors[k]), rel=1e-4)
            assert float(critic_metrics["value"][m * K + k]) == pytest.approx(np.mean(values[k]), rel=1e-4, abs=1e-5)
        assert float(actor_loss[m].detach()) == pytest.approx(np.mean(actor), rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(actor_metrics["log_prob"][m].numpy(), log_probs, rtol=1e-3, atol=1e-4)
        # Of actions in units of half their range the target entropy is −2; in their own it is higher by Σ log half.
        entropy = -2 + float(np.log(HALF).sum())
        wanted = -math.log(alpha) * (np.mean(log_probs) + entropy)
        assert float(alpha_loss[m].detach()) == pytest.approx(wanted, rel=1e-3, abs=1e-4)


def test_the_temperature_rises_where_there_is_too_little_entropy():
    half = float(np.log(HALF).sum())
    for offset, sign in ((1.0, 1), (-1.0, -1)):
        agent = sac(target_entropy=0.0)
        before = agent.alpha.clone()
        agent.alpha_learner(torch.full((M, B), offset - half))  # an entropy of −offset in units of half the range
        assert ((agent.alpha - before) * sign > 0).all()


def test_gradients_of_the_actor_are_numerical_ones():
    """By central differences of the loop's own loss, of the weights of the last layer."""
    agent, sample = trained()
    now, then = noise_of(agent)
    batch, data = _Batch(sample, now, then), numpy_of(sample)
    loss, _ = agent._actor_loss(batch)
    weight = agent.policy.head.linear.weight
    (grad,) = torch.autograd.grad(loss.sum(), weight)
    m, alpha = 1, math.exp(0.5)

    def naive(shift, i, j):
        stack = actor_stack(agent, m)
        stack[-1][0][i, j] += shift
        total = 0.0
        for b in range(B):
            action, log_prob = act(stack, data["obs"][m, b], now[m, b].tolist())
            total += alpha * log_prob - min(value(agent.critic, m * K + k, data["obs"][m, b], action) for k in range(K))
        return total / B

    for i, j in ((0, 0), (1, 3), (3, 1), (2, 2)):
        expected = (naive(1e-5, i, j) - naive(-1e-5, i, j)) / 2e-5
        assert float(grad[m, i, j]) == pytest.approx(expected, rel=1e-3, abs=1e-5)


def test_an_update_moves_critics_actor_temperature_and_target():
    agent, sample = trained()
    before = {name: getattr(agent, name).flat.clone() for name in ("critic_learner", "actor_learner", "alpha_learner")}
    target = torch.cat([p.flatten() for p in agent.target.network.parameters()]).clone()
    metrics = agent._update(sample)
    assert {"loss", "value", "actor_loss", "entropy", "grad_norm"} <= metrics.keys()
    assert all(x.shape == (M,) for x in metrics.values())
    for name, flat in before.items():
        # The first steps of Adam are of the size of the learning rate.
        assert 0 < (getattr(agent, name).flat - flat).abs().max() < 0.1
    online = torch.cat([p.detach().flatten() for p in agent.critic.parameters()])
    expected = target + 0.1 * (online - target)
    found = torch.cat([p.flatten() for p in agent.target.network.parameters()])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_terminal_steps_are_not_bootstrapped():
    agent, sample = trained()
    now, then = noise_of(agent)
    ended = Sample(**{**vars(sample), "discount": torch.zeros(M, B)})
    loss, _ = agent._critic_loss(_Batch(ended, now, then))
    values = agent.critic(sample.obs, sample.action)
    expected = 0.5 * (values - sample.reward.unsqueeze(-1)).square().mean(1).flatten()
    torch.testing.assert_close(loss, expected)


def test_it_begins_at_random_then_acts_by_itself():
    agent = sac(learning_starts=12)
    acted, collect = [], agent.source.collect

    def kept(policy, steps):
        acted.append(collect(policy, steps))
        return acted[-1]

    agent.source.collect = kept
    metrics = [agent.step() for _ in range(4)]
    random = [bool(rollout.extras["first_acted"].all()) for rollout in acted]
    assert random == [True, True, False, False]
    assert not acted[2].extras["first_acted"].any()
    assert ["loss" in one for one in metrics] == [False, False, True, True]
    actions = torch.cat([rollout.action for rollout in acted]).double().numpy()
    assert (actions >= LOW - 1e-6).all() and (actions <= HIGH + 1e-6).all()
    assert int(agent.progress.steps) == 24 and all("alpha" in one for one in metrics)


def test_members_are_single_runs():
    """Each of M members is the run of one, with its share of weights and of uniforms."""
    together = sac(lr=(1e-2, 3e-3), gamma=(0.9, 0.5))
    for m in range(M):
        alone = sac(members=1, lr=(1e-2, 3e-3)[m], gamma=(0.9, 0.5)[m])
        share = sac(lr=(1e-2, 3e-3), gamma=(0.9, 0.5))  # fresh streams
        with torch.no_grad():
            for mine, whole, count in (
                (alone.policy, share.policy, 1),
                (alone.critic, share.critic, K),
                (alone.target.network, share.critic, K),
            ):  # fmt: skip
                for p, q in zip(mine.parameters(), whole.parameters(), strict=True):
                    p.copy_(q[m * count : (m + 1) * count])
        alone.source.carry = type(alone.source.carry)(
            share.source.carry.state[m : m + 1], share.source.carry.obs[m : m + 1],
            share.source.carry.elapsed[m : m + 1], None,
        )  # fmt: skip
        alone.source.dynamics = Sliced(share.source.dynamics, M, m)
        alone.source.decisions = Sliced(share.source.decisions, M, m)
        alone.noise = Sliced(share.noise, M, m)
        alone.replay.stream = Sliced(share.replay.stream, M, m)
        reference = sac(lr=(1e-2, 3e-3), gamma=(0.9, 0.5))
        for _ in range(6):
            one, whole = alone.step(), reference.step()
            for name in whole:
                torch.testing.assert_close(one[name][0], whole[name][m], rtol=1e-3, atol=1e-4)
        for p, q in zip(alone.policy.parameters(), reference.policy.parameters(), strict=True):
            torch.testing.assert_close(p[0], q[m], rtol=1e-3, atol=1e-4)
    assert len(together.critic_learner.lr) == M * K
    torch.testing.assert_close(together.critic_learner.lr, torch.tensor([1e-2, 1e-2, 3e-3, 3e-3]))


@pytest.mark.parametrize("options", [{}, {"critics": 1, "updates": 1}, {"critics": 3, "lr": (1e-2, 1e-3)}])
def test_it_resumes(options, tmp_path):
    assert_resumes(lambda seed: sac(seed, **options), tmp_path, iterations=6, at=4)


def able(squash=True):
    return make_policy(sac().source, (6,), squash=squash, seed=9)


def test_a_term_adds_to_the_loss_of_the_actor_alone():
    """Of weight 0 it changes nothing; with a huge one the actor comes to its teacher."""
    plain, idle, near = sac(), sac(terms=[Distil(able(), 0.0)]), sac(terms=[Distil(able(), 1e3)])
    for _ in range(8):
        one, other, third = plain.step(), idle.step(), near.step()
    for mine, theirs in zip(plain.policy.parameters(), idle.policy.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert set(other) - set(one) == {"distil_0"} and third["distil_0"].shape == (M,)
    for _ in range(40):
        near.step()
    obs, teacher = torch.randn(M, 50, 2), able().distribution
    apart, close = (teacher(obs).kl(one.policy.distribution(obs)).mean(1) for one in (idle, near))
    assert (close < apart / 4).all()


def test_a_teacher_of_another_kind_is_refused():
    near = sac(terms=[Distil(able(squash=False), 1.0)])
    with pytest.raises(ValueError, match=r"^distribution: a Normal and a TanhNormal have no divergence here"):
        for _ in range(8):
            near.step()


def test_it_learns():
    agent = sac(steps=900, hidden=(16, 16), batch_size=32, capacity=900, learning_starts=60, gamma=0.9, tau=0.05)
    before = agent.source.play(agent.policy, 50, 0).mean(1)
    while not agent.progress.finished:
        agent.step()
    after = agent.source.play(agent.policy, 50, 0).mean(1)
    # From rest an episode costs 5·2/3 on average; moving straight to the origin costs less than half.
    assert (after > before / 2).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"critics": 0}, r"^critics: must be at least 1, not 0"),
        ({"tau": 0.0}, r"^tau: must be positive, not 0\.0"),
        ({"tau": 1.5}, r"^tau: a share in \(0, 1\], not 1\.5"),
        ({"temperature": 0.0}, r"^temperature: must be positive, not 0\.0"),
        ({"gamma": 1.2}, r"^gamma: must be in \[0, 1\], not 1\.2"),
        ({"lr": (1e-3, 1e-3, 1e-3)}, r"^lr: 3 values for 2 members"),
        ({"learning_starts": -1}, r"^learning_starts: must be at least 0, not -1"),
        ({"capacity": 2}, r"^capacity: 2 does not hold 1 steps of 3 environments"),
        ({"hidden": (0,)}, r"^hidden: at least 1 units, not 0"),
        ({"activation": "sine"}, r"^activation: 'sine' is none of"),
        ({"target_entropy": math.inf}, r"^target_entropy: must be finite, not inf"),
        ({"env": Walk()}, r"^action: SAC squashes its actions into a Box with finite bounds, not into Discrete\(3\)"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        sac(**options)


def test_an_unbounded_box():
    class Free(Reach):
        action = Box((2,))

    with pytest.raises(ValueError, match=r"^action: SAC squashes its actions into a Box with finite bounds"):
        sac(env=Free())
