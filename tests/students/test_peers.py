"""Terms of peers beside their formulas, in PPO and in DQN. Letters: M members, N copies."""

from dataclasses import dataclass
from typing import Any

import pytest
import torch

from imitate import nets
from imitate.baselines import DQN, PPO, DQNConfig, PPOConfig, critic_of, q_network_of
from imitate.core.rollout import TensorSource
from imitate.core.terms import Linear
from imitate.distributions.actions import Categorical
from imitate.losses import forward_kl
from imitate.students import Codistil, Dual, Mutual, advantage_gate, value_of
from tests.oracles import Reach, Walk
from tests.resumed import assert_resumes, same

M, N = 4, 3
PPO_CONFIG = PPOConfig(steps=80, rollout=4, epochs=2, batch_size=6, hidden=(5,), normalise_obs=True)
DQN_CONFIG = DQNConfig(
    steps=400, rollout=2, updates=2, batch_size=8, learning_starts=12, hidden=(8,), epsilon_end=0.5, temperature=0.5
)


@dataclass(frozen=True)
class Batch:
    obs: Any
    extras: Any = None


def source(seed=0, env=None, members=M):
    env = env or Walk()
    return TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)


def term_of(kind, policy, value, weight=0.5):
    return {
        "mutual": lambda: Mutual(policy, weight, size=4),
        "codistil": lambda: Codistil(policy, weight, size=2, every=3),
        "dual": lambda: Dual(policy, value, weight, size=2),
    }[kind]()


KINDS = ("mutual", "codistil", "dual")


def ppo(seed=0, kinds=KINDS, weight=0.5, env=None, hooked=False):
    place = source(seed, env)
    policy, critic = nets.policy(place, (5,), normalise=True), critic_of(place, PPO_CONFIG)
    if hooked:
        policy.head.linear.register_forward_hook(lambda *_: None)  # autograd finds the gradient with and without terms
    terms = [term_of(kind, policy, value_of(policy, critic), weight) for kind in kinds]
    return PPO(place, PPO_CONFIG, policy=policy, critic=critic, terms=terms)


def dqn(seed=0, kinds=KINDS, weight=0.5):
    place = source(seed)
    policy = q_network_of(place, DQN_CONFIG)
    terms = [term_of(kind, policy, lambda obs: policy.action_values(obs).amax(-1), weight) for kind in kinds]
    return DQN(place, DQN_CONFIG, policy=policy, terms=terms)


ALGORITHMS = {"ppo": ppo, "dqn": dqn}


def actors(seed=3):
    policy = nets.policy(source(), (8,), seed=seed)
    with torch.no_grad():
        policy.head.linear.weight.mul_(100)
    return policy


def observations():
    return torch.randn(M, 7, 2, generator=torch.Generator().manual_seed(1))


def alone(policy, m, obs):
    """What member m says at observations of anybody, [B, ...]."""
    return policy.member(m).distribution(obs.unsqueeze(0)).logits[0]


def test_mutual_learning_is_the_divergence_from_each_peer():
    policy, obs = actors(), observations()
    term = Mutual(policy, size=4)
    mine = policy.distribution(obs)
    (found,) = torch.autograd.grad(term(Batch(obs), mine).sum(), [mine.logits])
    for m in range(M):
        z = mine.logits[m].detach().requires_grad_()
        others = [Categorical(alone(policy, j, obs[m]).detach()) for j in range(M) if j != m]
        loss = torch.stack([forward_kl(other, Categorical(z)) for other in others]).mean(0)
        (expected,) = torch.autograd.grad(loss.sum(), [z])
        torch.testing.assert_close(found[m], expected, rtol=1e-4, atol=1e-6)
    assert float(found.abs().max()) > 0.05


def test_copies_are_as_old_as_is_said():
    policy, obs = actors(), observations()
    term = Codistil(policy, every=2)
    before = Mutual(policy)(Batch(obs), policy.distribution(obs)).detach()
    mine = policy.distribution(obs)
    assert torch.equal(term(Batch(obs), mine), before)
    with torch.no_grad():
        policy.head.linear.weight.mul_(-1)
    now = Mutual(policy)(Batch(obs), mine).detach()
    assert not torch.allclose(now, before)
    assert term.learn(Batch(obs)) == {}
    assert torch.equal(term(Batch(obs), mine), before)
    term.learn(Batch(obs))
    assert torch.equal(term(Batch(obs), mine), now)


def test_dual_distillation_is_gated_on_the_states_of_the_peer():
    policy, obs = actors(), observations()
    value = torch.nn.Parameter(torch.randn(M, 2, 1, generator=torch.Generator().manual_seed(2)))

    def values(x):
        return (x @ value).squeeze(-1)

    found = Dual(policy, values, gate=advantage_gate(0.7, most=2.0))(Batch(obs), None)
    hard = Dual(policy, values, gate=lambda gap: (gap > 0).float())(Batch(obs), None)
    (slope,) = torch.autograd.grad(found.sum(), [policy.head.linear.weight], retain_graph=True)
    assert float(slope.abs().max()) > 0
    assert torch.autograd.grad(found.sum(), [value], allow_unused=True) == (None,)
    opened = 0
    for m in range(M):
        peer = m + 1 if m % 2 == 0 else m - 1
        for b in range(7):
            x = obs[peer, b : b + 1]
            gap = float((x @ (value[peer] - value[m])).detach())
            kl = float(forward_kl(*(Categorical(alone(policy, who, x).detach()) for who in (peer, m))))
            expected = min(2.0, float(torch.tensor(0.7 * gap).exp())) * kl
            assert float(found[m, b].detach()) == pytest.approx(expected, rel=1e-4, abs=1e-6)
            assert float(hard[m, b].detach()) == pytest.approx(kl * (gap > 0), rel=1e-4, abs=1e-6)
            opened += gap > 0
    assert 0 < opened < 7 * M


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_weight_of_zero_changes_nothing(name):
    """Against PPO without terms; DQN without terms takes a written gradient, so against DQN with one term."""
    options = {"hooked": True} if name == "ppo" else {}
    nothing, something = (ALGORITHMS[name](weight=weight, **options) for weight in (0.0, (0.0, 0.0, 0.5, 0.5)))
    without = ppo(kinds=(), hooked=True) if name == "ppo" else dqn(kinds=("mutual",), weight=0.0)
    for _ in range(4):
        expected, found, other = without.step(), nothing.step(), something.step()
    assert same({key: found[key] for key in expected}, expected)
    assert torch.equal(nothing.learner.flat, without.learner.flat)
    assert torch.equal(something.learner.flat[:2], without.learner.flat[:2])  # circles do not touch each other
    assert not torch.equal(something.learner.flat[2:], without.learner.flat[2:])
    assert other["loss"].isfinite().all()


@pytest.mark.parametrize("name", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_with_peers_it_resumes_bit_for_bit(name, kind, tmp_path):
    weight = Linear(1.0, 0.0, steps=60)
    assert_resumes(lambda seed: ALGORITHMS[name](seed, (kind,), weight), tmp_path, iterations=8, at=5)


def test_continuous_actions():
    metrics = ppo(env=Reach()).step()
    assert all(metrics[f"{kind}_{i}"].shape == (M,) for i, kind in enumerate(KINDS))
    assert float(metrics["mutual_0"].max()) > 0


def test_peers_come_together():
    """On the observations that both see, two pairs differ less with the term than without."""
    apart = []
    for weight in (0.0, 10.0):
        place = source()
        policy = nets.policy(place, (5,))
        with torch.no_grad():
            policy.head.linear.weight.mul_(100)
        config = PPOConfig(steps=120, rollout=4, epochs=4, batch_size=6, hidden=(5,), lr=3e-2)
        algorithm = PPO(place, config, policy=policy, terms=[Mutual(policy, weight)])
        while not algorithm.progress.finished:
            metrics = algorithm.step()
        apart.append(metrics["mutual_0"])
    assert (apart[1] < 0.5 * apart[0]).all()


def test_bad_input():
    policy = actors()
    with pytest.raises(ValueError, match=r"^temperature: must be positive, not 0"):
        Mutual(policy, temperature=0)
    with pytest.raises(ValueError, match=r"^size: 4 members form no circles of 3"):
        Dual(policy, lambda obs: obs.sum(-1), size=3)
    with pytest.raises(ValueError, match=r"^every: must be at least 1, not 0"):
        Codistil(policy, every=0)
    with pytest.raises(ValueError, match=r"^alpha: must be at least 0, not -1"):
        advantage_gate(-1)
    place = source()
    with pytest.raises(ValueError, match=r"^critic: has 2 members, the source 4"):
        PPO(place, PPO_CONFIG, critic=critic_of(source(members=2), PPO_CONFIG))
    other = q_network_of(place, DQNConfig(hidden=(9,)))
    with pytest.raises(ValueError, match=r"^policy: it is not what the config says"):
        DQN(place, DQN_CONFIG, policy=other)
