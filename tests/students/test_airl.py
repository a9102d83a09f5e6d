"""AIRL: logits and reward against a loop, its pieces and reductions, resume, bad input, and that it imitates."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from imitate.baselines.ppo import PPOConfig
from imitate.core.replay import Examples
from imitate.core.types import fold
from imitate.data.demonstrations import Demonstrations, demonstrate
from imitate.losses.returns import lambda_returns
from imitate.rewards import ShapedRewardConfig, Unshaped
from imitate.students import AIRL, AIRLConfig
from imitate_envs.base import Discrete
from tests.oracles import Identity, Reach, Walk
from tests.resumed import assert_resumes
from tests.students.test_gail import Coin, M, N, Wide, shown, source


def airl(seed=0, env=None, ppo=None, place=None, **reward):
    place = place or source(env, seed)
    options = {"steps": 400, "rollout": 5, "epochs": 2, "batch_size": 10, "hidden": (6,)} | (ppo or {})
    own = {"hidden": (5,), "batch_size": 8, "updates": 3, "lr": 1e-2} | reward
    if not isinstance(place.spec.observation, Discrete):
        data = demonstrate(source(env, 5), Coin() if env is None else Wide(), 6, deterministic=False)
    else:
        data = shown(place)
    return AIRL(place, data, AIRLConfig(PPOConfig(**options), ShapedRewardConfig(**own)))


def shaken(algorithm):
    """The same with weights that say something."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in (algorithm.reward.base, algorithm.reward.potential, algorithm.policy):
            for p in part.parameters():
                p.add_(0.3 * torch.randn(p.shape, generator=draw))
    return algorithm


# The reward


def mlp(network, m, x):
    """A network of one member in float64."""
    for layer in network.body.layers:
        x = np.tanh(x @ layer.weight[m].detach().double().numpy() + layer.bias[m, 0].detach().double().numpy())
    last = network.value
    return float(x @ last.weight[m].detach().double().numpy()[:, 0] + float(last.bias[m, 0, 0].detach()))


def looped(algorithm, m, obs, action, next_obs, terminated, here, log_prob, gamma):
    """F − log π of one step, by the equation; the networks take numbers, then one-hot choices."""
    model = algorithm.reward
    absorbing, choices = model.config.absorbing, isinstance(model.action, Discrete)

    def seen(x, there):
        return np.concatenate([np.zeros(2) if there else x, [float(there)] if absorbing else []])

    if choices:
        acted = np.eye(3)[0 if here else int(action)]
    else:
        low, high = np.asarray(model.action.low), np.asarray(model.action.high)
        acted = np.zeros(2) if here else (np.clip(action, low, high) - (low + high) / 2) / ((high - low) / 2)
    g = mlp(model.base, m, seen(obs, here) if model.config.state_only else np.concatenate([seen(obs, here), acted]))
    then = bool(terminated) or here
    following = gamma * mlp(model.potential, m, seen(next_obs, then)) if absorbing or not then else 0.0
    return g + following - mlp(model.potential, m, seen(obs, here)) - (0.0 if here else log_prob)


@pytest.mark.parametrize("absorbing", [True, False])
@pytest.mark.parametrize("state_only", [True, False])
@pytest.mark.parametrize(("env", "driver"), [(None, Coin()), (Reach(), Wide())])
def test_rewards_are_those_of_a_loop(env, driver, state_only, absorbing):
    algorithm = shaken(airl(env=env, state_only=state_only, absorbing=absorbing, ppo={"gamma": 0.9}))
    rollout = algorithm.source.collect(driver, 7)
    reward = algorithm.reward(rollout).detach()
    for t in range(7):
        for m in range(M):
            for n in range(N):
                obs, action, next_obs = (
                    x[t, m, n].double().numpy() for x in (rollout.obs, rollout.action, rollout.next_obs)
                )
                received = (
                    rollout.action
                    if env is None
                    else rollout.action.clamp(*map(torch.tensor, (env.action.low, env.action.high)))
                )
                log_prob = float(algorithm.policy.distribution(rollout.obs[t]).log_prob(received[t])[m, n].detach())
                over = bool(rollout.terminated[t, m, n])
                expected = looped(algorithm, m, obs, action, next_obs, over, False, log_prob, 0.9)
                if over and absorbing:  # Σ γᵏ over k ≥ 1
                    expected += 9 * looped(algorithm, m, obs, action, next_obs, over, True, log_prob, 0.9)
                assert float(reward[t, m, n]) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert env is not None or rollout.terminated.any()


@pytest.mark.parametrize("absorbing", [True, False])
def test_the_loss_is_that_of_a_loop_over_probabilities(absorbing):
    """D = exp f / (exp f + π), by its definition."""
    algorithm = shaken(airl(absorbing=absorbing, ppo={"gamma": 0.9}))
    model = algorithm.reward
    rollout = algorithm.source.collect(algorithm.policy, 8)
    extras = {"next_obs": fold(rollout.next_obs), "terminated": fold(rollout.terminated)}
    own = Examples(fold(rollout.obs), fold(rollout.action), extras)
    own = replace(own, extras=extras | {"log_prob": model._log_prob(own)})
    pair = model._pair(own, torch.full((M, 1), 0.5))
    loss, metrics = model._loss(pair)
    for m in range(M):
        total, right = 0.0, 0
        for steps, sign in ((pair.teacher, 1), (pair.learner, -1)):
            log_probs = algorithm.policy.distribution(steps.obs).log_prob(steps.action).detach()
            for b in range(8):
                here = absorbing and bool(steps.extras["absorbing"][m, b])
                pi = 1.0 if here else float(log_probs[m, b].exp())
                f = looped(
                    algorithm,
                    m,
                    steps.obs[m, b].double().numpy(),
                    steps.action[m, b],
                    steps.extras["next_obs"][m, b].double().numpy(),
                    steps.extras["terminated"][m, b],
                    here,
                    0.0,
                    0.9,
                )
                d = np.exp(f) / (np.exp(f) + pi)
                total -= np.log(d if sign == 1 else 1 - d) / 8
                right += sign * (d - 0.5) > 0
        assert float(loss[m].detach()) == pytest.approx(total, rel=1e-4)
        assert float(metrics["discriminated"][m].mean()) == pytest.approx(right / 16)
    assert not absorbing or pair.learner.extras["absorbing"].any()


def test_without_a_potential_the_reward_is_g():
    """A reduction: h = 0 and one choice, so that log π = 0, leave g(s) of the state alone."""
    algorithm = shaken(airl(env=Identity(choices=1), state_only=True, absorbing=False))
    model = algorithm.reward
    with torch.no_grad():
        for p in model.potential.parameters():
            p.zero_()
    rollout = algorithm.source.collect(algorithm.policy, 4)
    found = model(rollout)
    torch.testing.assert_close(found, Unshaped(model)(rollout))
    assert not found.eq(0).all()


def test_the_potential_shifts_returns_by_its_first_value():
    """Discounted returns of f are those of g less h(s₀) where an episode terminates (Ng, Harada & Russell 1999)."""
    algorithm = shaken(airl(absorbing=False, ppo={"gamma": 0.9}))
    model, rollout = algorithm.reward, algorithm.source.collect(Coin(), 7)
    steps = Examples(fold(rollout.obs), fold(rollout.action))
    log_prob = model._log_prob(steps).unflatten(1, (7, N)).transpose(0, 1)
    gamma, zero = 0.9 * ~rollout.terminated, torch.zeros_like(rollout.reward)
    lam = (~rollout.truncated).float()
    rewards = (model(rollout) + log_prob, Unshaped(model)(rollout))
    returns = [lambda_returns(reward.detach(), gamma, zero, lam)[0] for reward in rewards]
    potential = model._value(rollout.obs[0]).detach()
    last = rollout.done.int().argmax(0)
    over = rollout.terminated.gather(0, last.unsqueeze(0))[0]
    assert over.any()
    torch.testing.assert_close((returns[0] - returns[1])[over], -potential[over], rtol=1e-4, atol=1e-5)


def test_members_learn_from_their_own():
    """The second member is what it would be beside another first one."""
    one, other = airl(), airl()
    with torch.no_grad():
        for p in other.reward.base.parameters():
            p[0] += 1
    rollout = one.source.collect(Coin(), 6)
    for algorithm in (one, other):
        algorithm.reward.learn(rollout)
    for mine, theirs in zip(one.reward.base.parameters(), other.reward.base.parameters(), strict=True):
        assert torch.equal(mine[1], theirs[1]) and not torch.equal(mine[0], theirs[0])


# The algorithm


def test_the_reward_learns_first_and_from_whom_acted():
    """PPO sees the reward behind what the discriminator has learnt, and its log π is that of the rollout."""
    algorithm = airl()
    learn, prepare = algorithm.reward.learn, algorithm.rl._prepare
    before = [p.clone() for p in algorithm.policy.parameters()]
    seen = {}

    def learnt(rollout):
        assert all(torch.equal(p, q) for p, q in zip(algorithm.policy.parameters(), before, strict=True))
        return learn(rollout)

    def prepared(rollout):
        seen["given"], seen["expected"] = rollout.reward, algorithm.reward(algorithm.relabelled.rollout).detach()
        return prepare(rollout)

    algorithm.reward.learn, algorithm.rl._prepare = learnt, prepared
    metrics = algorithm.step()
    assert torch.equal(seen["given"], seen["expected"])
    assert {"reward_loss", "reward_discriminated", "loss", "reward"} <= metrics.keys()
    assert not all(torch.equal(p, q) for p, q in zip(algorithm.policy.parameters(), before, strict=True))


def test_the_environments_rewards_are_not_looked_at():
    class Bribed(Walk):
        def step(self, state, action, noise):
            state, reward, terminated = super().step(state, action, noise)
            return state, torch.full_like(reward, 1e6), terminated

    honest, bribed = airl(), airl(place=source(Bribed()))
    for _ in range(3):
        one, other = honest.step(), bribed.step()
        for name in one:
            assert torch.equal(one[name], other[name]), name


def test_it_imitates_a_teacher_without_rewards():
    algorithm = airl(
        env=Identity(), ppo={"steps": 6000, "rollout": 10, "batch_size": 40, "lr": 1e-2, "gamma": 0.0}, batch_size=30
    )
    before = algorithm.source.play(algorithm.policy, 50, 0).mean(1)
    while not algorithm.progress.finished:
        algorithm.step()
    after = algorithm.source.play(algorithm.policy, 50, 0).mean(1)
    assert (before < 6).all() and (after > 8.5).all()  # of 10; chance is 3.3


@pytest.mark.parametrize("options", [{}, {"env": Reach()}, {"normalise": True, "absorbing": False, "state_only": True}])
def test_it_resumes(options, tmp_path):
    assert_resumes(lambda seed: airl(seed, **options), tmp_path)


def test_bad_input():
    place = source()
    data = shown(place)
    with pytest.raises(ValueError, match=r"^policy: it has a memory, .* take gru=0 and lstm=0\."):
        airl(ppo={"gru": 3})
    with pytest.raises(ValueError, match=r"^gamma: an absorbing state that lasts for ever needs a discount below 1\."):
        airl(ppo={"gamma": 1.0})
    with pytest.raises(ValueError, match=r"^demonstrations: it is not known what followed their steps; take whole"):
        AIRL(place, replace(data, following=None))
    with pytest.raises(ValueError, match=r"^demonstrations: of 2 members, the source has 3\."):
        AIRL(type(place)(Walk(), id="Walk", num_envs=N, members=3), data)
    alone = Demonstrations.from_arrays(np.zeros((1, 2), np.float32), [1], place)
    with pytest.raises(ValueError, match=r"^demonstrations: a member has no examples to learn from\."):
        AIRL(place, alone, AIRLConfig(PPOConfig(rollout=5, batch_size=20))).step()
    for name, value in (("updates", 0), ("batch_size", 0), ("lr", -1.0), ("absorbing", 2)):
        with pytest.raises(ValueError, match=rf"^{name}: must be "):
            ShapedRewardConfig(**{name: value})
