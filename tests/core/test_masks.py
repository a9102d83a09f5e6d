"""Masks of actions in observations: what is forbidden is never chosen, valued or learnt, and nothing becomes NaN."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from imitate import nets
from imitate.baselines.bootstrapped import BootstrappedConfig, bootstrapped_dqn
from imitate.baselines.dqn import DQN, DQNConfig
from imitate.baselines.fqf import FQFConfig, fqf
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.baselines.qr_dqn import QRDQNConfig, qr_dqn
from imitate.core.actions import action_mask, observed, unmasked
from imitate.core.rollout import TensorSource
from imitate.losses.value import munchausen_bonus, soft_value
from imitate.nets import Actor, Architecture, QArchitecture, QNetwork
from imitate.policies import EpsilonGreedy, EpsilonZGreedy, Random
from imitate.students import BehaviourCloning, BehaviourCloningConfig, Demonstrations
from imitate_envs.base import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from tests.oracles import stream
from tests.resumed import assert_resumes

M, N, B = 2, 3, 7


@dataclass(frozen=True)
class Forbidding:
    """A walk on a ring of four places that admits two of three actions at each; a forbidden one is an error."""

    max_steps: int = 6
    several: bool = False

    step_noise = 0
    reset_noise = 1

    @property
    def action(self) -> Any:
        return MultiDiscrete((3, 2)) if self.several else Discrete(3)

    @property
    def observation(self) -> Any:
        return Dict.of({"observation": Discrete(4), "action_mask": MultiBinary((5 if self.several else 3,))})

    def reset(self, noise):
        return (4 * noise[..., 0]).long()

    def observe(self, state):
        forbidden = state % 3
        mask = torch.arange(3) != forbidden.unsqueeze(-1)
        if self.several:
            mask = torch.cat([mask, torch.arange(2) != (state % 2).unsqueeze(-1)], -1)
        return {"action_mask": mask.to(torch.uint8), "observation": state}  # not in the order of the space

    def step(self, state, action, noise):
        assert admits(self.observe(state)["action_mask"], action)
        first = action[..., 0] if self.several else action
        reward = (first == (state + 1) % 3).float()
        return (state + first + 1) % 4, reward, torch.zeros_like(state, dtype=torch.bool)


def admits(mask, action):
    """Whether a mask [..., choices] admits actions [...] or [..., 2]."""
    if mask.shape[-1] == 5:
        first, second = mask.split([3, 2], -1)
        each = [first.gather(-1, action[..., :1]), second.gather(-1, action[..., 1:])]
        return bool(torch.cat(each, -1).all())
    return bool(mask.gather(-1, action.unsqueeze(-1)).all())


def source(seed=0, **options):
    return TensorSource(Forbidding(**options), id="Forbidding", num_envs=N, members=M, seed=seed)


def draw(several=False):
    """Observations of the ring, and the mask there."""
    obs = Forbidding(several=several).observe(torch.randint(4, (M, B)))
    return obs, obs["action_mask"].bool()


# What an observation says


def test_mask_and_observation_are_taken_apart():
    obs, mask = draw()
    assert torch.equal(action_mask(obs), mask) and action_mask(obs).dtype == torch.bool
    assert torch.equal(observed(obs), obs["observation"])
    assert unmasked(Forbidding().observation) == Discrete(4)
    assert action_mask(obs["observation"]) is None and observed(obs["observation"]) is obs["observation"]
    several = {"a": 1, "b": 2, "action_mask": 3}
    assert observed(several) == {"a": 1, "b": 2}
    plain = Dict.of({"observation": Box((2,))})
    assert unmasked(plain) is plain


# Policies


def extremes(width):
    return [torch.full((M, B, width), u) for u in (0.0, 0.5, 1 - 2**-24)] + [torch.rand(M, B, width) for _ in range(20)]


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("gru", [0, 4])
def test_an_actor_never_takes_what_is_forbidden(several, gru):
    env = Forbidding(several=several)
    policy = Actor(env.observation, env.action, M, Architecture((5,), gru=gru), stream())
    with torch.no_grad():
        policy.head.linear.weight.mul_(1000)  # it wants what it wants
    obs, mask = draw(several)
    wanted = policy.act(obs["observation"], None, policy.memory(M, B))[0]
    assert not admits(mask, wanted)
    for noise in (None, *extremes(policy.noise)):
        action, _, _ = policy.act(obs, noise, policy.memory(M, B))
        assert admits(mask, action)
    distribution = policy.distribution(obs)
    logits = torch.cat(distribution.logits, -1) if several else distribution.logits
    assert torch.equal(logits == -torch.inf, ~mask)
    unmasked_logits = policy.distribution(obs["observation"]).logits
    unmasked_logits = torch.cat(unmasked_logits, -1) if several else unmasked_logits
    assert torch.equal(logits[mask], unmasked_logits[mask])  # the body does not look at the mask
    assert distribution.entropy().isfinite().all() and distribution.kl(distribution).isfinite().all()
    starts = torch.zeros(1, M, B, dtype=torch.bool)
    said, _ = policy.unroll({name: x.unsqueeze(0) for name, x in obs.items()}, None, starts)
    said_logits = torch.cat(said.logits, -1) if several else said.logits
    torch.testing.assert_close(said_logits[0], logits)


def test_a_value_network_never_takes_what_is_forbidden():
    env = Forbidding()
    network = QNetwork(env.observation, env.action, M, QArchitecture((5,), temperature=0.01), stream())
    obs, mask = draw()
    values = network.returns(obs).mean.detach()
    assert values.isfinite().all()
    expected = torch.tensor([
        [max((a for a in range(3) if mask[m, b, a]), key=lambda a: float(values[m, b, a])) for b in range(B)]
        for m in range(M)
    ])  # fmt: skip
    assert torch.equal(network.act(obs, None, None)[0], expected)
    assert not torch.equal(values.argmax(-1), expected)
    for noise in extremes(1):
        assert admits(mask, network.act(obs, noise, None)[0])
    probs = network.distribution(obs).probs
    assert not probs[~mask].any() and torch.allclose(probs.sum(-1), torch.ones(M, B))


@pytest.mark.parametrize("several", [False, True])
def test_random_is_uniform_over_what_is_admitted(several):
    obs, mask = draw(several)
    policy = Random(Forbidding(several=several).action)
    counts = torch.zeros(mask.shape)
    rows = 300
    for i in range(rows):
        noise = torch.full((M, B, policy.noise), (i + 0.5) / rows)
        action, _, _ = policy.act(obs, noise, None)
        assert admits(mask, action)
        if several:
            counts.scatter_add_(-1, torch.stack([action[..., 0], 3 + action[..., 1]], -1), torch.ones(M, B, 2))
        else:
            counts.scatter_add_(-1, action.unsqueeze(-1), torch.ones(M, B, 1))
    parts = [3, 2] if several else [3]
    for share, allowed in zip((counts / rows).split(parts, -1), mask.split(parts, -1), strict=True):
        expected = allowed / allowed.sum(-1, keepdim=True)
        torch.testing.assert_close(share, expected, rtol=0, atol=1.5 / rows)
    assert admits(mask, policy.act(obs, None, None)[0])


@pytest.mark.parametrize("kind", [EpsilonGreedy, EpsilonZGreedy])
def test_exploration_is_of_what_is_admitted(kind):
    """Also where a random action lasts: it ends where it is forbidden. The environment would complain."""
    place = source()
    network = QNetwork(place.spec.observation, place.spec.action, M, QArchitecture((5,)), stream())
    seen = place.collect(kind(network, place.spec.action, torch.tensor(0.7)), 60)
    assert admits(seen.obs["action_mask"], seen.action)
    explored = seen.extras["explored"]
    assert 0.5 < explored.float().mean() < 1
    if kind is EpsilonZGreedy:
        lasting = (explored[1:] & explored[:-1] & (seen.action[1:] == seen.action[:-1])).float().mean()
        assert lasting > 0.2


# Predict


def test_predict_takes_masks():
    policy = nets.policy(source(), (5,))
    with torch.no_grad():
        policy.head.linear.weight.mul_(1000)
    states = np.arange(4)
    free, _ = policy.predict(states, deterministic=True)
    for forbidden in range(3):
        mask = np.arange(3) != forbidden
        whole = {"observation": states, "action_mask": np.tile(mask, (4, 1))}
        answers = [
            policy.predict(states, deterministic=True, action_masks=mask)[0],
            policy.predict(states, deterministic=True, action_masks=np.tile(mask, (4, 1)))[0],
            policy.predict(whole, deterministic=True)[0],
            policy.predict({**whole, "action_mask": np.ones((4, 3))}, deterministic=True, action_masks=mask)[0],
            np.array([policy.predict(s, deterministic=True, action_masks=mask.tolist())[0] for s in states]),
            np.array([policy.predict({"observation": s, "action_mask": mask}, deterministic=True)[0] for s in states]),
        ]
        for answer in answers:
            assert (answer != forbidden).all() and answer.tolist() == answers[0].tolist()
            assert (answer == free)[free != forbidden].all()
    assert len(set(free.tolist())) > 1 or free[0] in range(3)
    # A mask of its own for each of a batch.
    only = np.eye(3, dtype=bool)[[2, 0, 1, 1]]
    assert policy.predict(states, action_masks=only)[0].tolist() == [2, 0, 1, 1]
    with pytest.raises(ValueError, match=r"^action_masks: shape \(2, 3\) is neither one mask nor one for each of 4"):
        policy.predict(states, action_masks=only[:2])


# Learning


def dqn(kind=DQN, config=DQNConfig, seed=0, **options):
    options = {
        "steps": 300, "rollout": 2, "updates": 1, "batch_size": 16, "learning_starts": 12, "hidden": (6,),
        "target_every": 3,
    } | options  # fmt: skip
    return kind(source(seed), config(**options))


VALUES = {
    "dqn": dqn,
    "double": lambda: dqn(double=True),
    "munchausen": lambda: dqn(munchausen=0.9),
    "persistent": lambda: dqn(persistent=True),
    "quantiles": lambda: dqn(qr_dqn, QRDQNConfig),
    "fractions": lambda: dqn(fqf, FQFConfig),
    "bootstrapped": lambda: dqn(bootstrapped_dqn, BootstrappedConfig, heads=3),
    "bootstrapped, double": lambda: dqn(bootstrapped_dqn, BootstrappedConfig, heads=3, double=True),
}


@pytest.mark.parametrize("name", VALUES)
def test_value_learning_never_takes_what_is_forbidden(name):
    """The environment complains about a forbidden action; losses, gradients and values stay finite."""
    algorithm = VALUES[name]()
    for _ in range(10):
        metrics = algorithm.step()
        assert all(value.isfinite().all() for value in metrics.values())
    assert int(metrics["loss"].numel()) == M
    obs, _ = draw()
    assert algorithm.policy.returns(obs).mean.isfinite().all()


@pytest.mark.parametrize("double", [False, True])
def test_targets_of_dqn_value_the_best_that_is_admitted(double):
    algorithm = dqn(double=double)
    for _ in range(8):
        algorithm.step()
    with torch.no_grad():
        for p in (*algorithm.policy.parameters(), *algorithm.target.network.parameters()):
            p.add_(torch.randn(p.shape))
    batch = algorithm.replay.sample(16)
    found = algorithm._target(batch).mean
    following = algorithm.target.network.returns(batch.next_obs).mean.detach()
    online = algorithm.policy.returns(batch.next_obs).mean.detach() if double else following
    differs = False
    for m in range(M):
        for b in range(16):
            allowed = [a for a in range(3) if batch.next_obs["action_mask"][m, b, a]]
            action = max(allowed, key=lambda a: float(online[m, b, a]))
            expected = batch.reward[m, b] + batch.discount[m, b] * following[m, b, action]
            torch.testing.assert_close(found[m, b], expected)
            differs |= action != int(online[m, b].argmax())
    assert differs


def test_targets_of_an_ensemble_value_the_best_that_is_admitted():
    algorithm = dqn(bootstrapped_dqn, BootstrappedConfig, heads=3)
    for _ in range(8):
        algorithm.step()
    batch = algorithm.replay.sample(16)
    found = algorithm._target(batch).values
    following = algorithm.target.network.returns(batch.next_obs).values
    mask = batch.next_obs["action_mask"].bool()
    best = following.masked_fill(~mask.unsqueeze(-1), -torch.inf).amax(2)
    torch.testing.assert_close(found, batch.reward.unsqueeze(-1) + batch.discount.unsqueeze(-1) * best)
    assert (following.amax(2) > best).any()


def test_soft_values_leave_out_what_is_forbidden():
    values = torch.tensor([[0.3, -torch.inf, 1.0], [-torch.inf, 0.2, -torch.inf]], dtype=torch.float64)
    tau = 0.5
    expected = [tau * np.log(np.exp(0.3 / tau) + np.exp(1.0 / tau)), 0.2]
    np.testing.assert_allclose(soft_value(values, tau).numpy(), expected)
    bonus = munchausen_bonus(values, torch.tensor([2, 1]), tau)
    np.testing.assert_allclose(bonus.numpy(), [1.0 - expected[0], 0.0], atol=1e-12)


@pytest.mark.parametrize("options", [{}, {"gru": 4}, {"several": True}, {"several": True, "lstm": 4}, {"entropy": 0.1}])
def test_ppo_never_takes_what_is_forbidden(options):
    place = source(several=options.pop("several", False))
    config = PPOConfig(steps=600, rollout=8, batch_size=24, epochs=3, hidden=(8,), lr=1e-2, **options)
    ppo = PPO(place, config)
    before = ppo.learner.flat.clone()
    for _ in range(6):
        metrics = ppo.step()
        assert all(value.isfinite().all() for value in metrics.values())
    assert ppo.learner.flat.isfinite().all() and (ppo.learner.flat != before).float().mean() > 0.5


def test_the_minibatches_of_ppo_are_masked_as_acting_was():
    """Before the first update the ratio is 1: the distribution of the loss is the one that acted, masked."""
    ppo = PPO(source(), PPOConfig(rollout=8, batch_size=24, epochs=1, hidden=(8,), lr=0.0))
    metrics = ppo.step()
    assert (metrics["kl"].abs() < 1e-6).all() and not metrics["clipped"].any()


def test_ppo_with_masks_resumes(tmp_path):
    assert_resumes(
        lambda seed: PPO(source(seed), PPOConfig(steps=200, rollout=8, batch_size=12, epochs=2, hidden=(6,))), tmp_path
    )


def test_dqn_with_masks_resumes(tmp_path):
    assert_resumes(lambda seed: dqn(seed=seed), tmp_path, iterations=8, at=4)


def test_a_clone_gives_what_is_forbidden_no_probability():
    place = source()
    states = np.tile(np.arange(4), 10)
    masks = Forbidding().observe(torch.as_tensor(states))["action_mask"].numpy()
    action = (states + 1) % 3
    demonstrations = Demonstrations.from_arrays({"observation": states, "action_mask": masks}, action, place)
    config = BehaviourCloningConfig(updates=300, batch_size=16, lr=3e-2, validation=0.0)
    cloning = BehaviourCloning(place, demonstrations, nets.policy(place, (8,)), config)
    while not cloning.progress.finished:
        assert cloning.step()["loss"].isfinite().all()
    obs = Forbidding().observe(torch.arange(4).expand(M, 4))
    probs = cloning.policy.distribution(obs).probs
    assert not probs[~obs["action_mask"].bool()].any()
    assert torch.equal(probs.argmax(-1), ((torch.arange(4) + 1) % 3).expand(M, 4))
