"""PPO with a memory: the minibatches say what acted; it learns what a memoryless policy cannot; it resumes."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from imitate import nets
from imitate.baselines.ppo import PPO, PPOConfig
from imitate.core.rollout import TensorSource
from imitate.losses.returns import lambda_returns
from imitate_envs.base import Box, Discrete
from tests.oracles import Reach, Walk
from tests.resumed import assert_resumes

M, N = 2, 4


def ppo(seed=0, env=None, policy=None, members=M, **config):
    env = env or Walk()
    place = TensorSource(env, id=type(env).__name__, num_envs=N, members=members, seed=seed)
    options = {"steps": 200, "rollout": 5, "epochs": 2, "batch_size": 10, "hidden": (6,), "gru": 4} | config
    return PPO(place, PPOConfig(**options), policy=None if policy is None else policy(place))


KINDS = {
    "gru": {},
    "lstm": {"gru": 0, "lstm": 4},
    "normalised": {"normalise_obs": True, "normalise_reward": True},
    "no hidden layer": {"hidden": ()},
    "a Box": {"env": Reach(max_steps=4)},
    "a squashed Box": {"env": Reach(max_steps=4), "squash": True, "gru": 0, "lstm": 3},
    "all of a rollout": {"batch_size": 20},
    "memoryless actor": {"policy": lambda place: nets.policy(place, (5,))},
    "memoryless critic": {"gru": 0, "policy": lambda place: nets.policy(place, (5,), gru=3)},
}


@pytest.mark.parametrize("name", KINDS)
def test_the_minibatches_say_what_acted(name):
    """Over rollouts with ends inside: before the first update of each the ratio is 1, up to rounding."""
    algorithm = ppo(epochs=1, **KINDS[name])
    evaluate, ratios = algorithm._evaluate, []

    def spy(batch):
        distribution, value = evaluate(batch)
        if not ratios or ratios[-1][0] != int(algorithm.progress.steps):
            ratios.append((int(algorithm.progress.steps), distribution.log_prob(batch.action) - batch.log_prob))
        return distribution, value

    algorithm._evaluate = spy
    collect, acted = algorithm.source.collect, []

    def kept(policy, steps):
        acted.append(collect(policy, steps))
        return acted[-1]

    algorithm.source.collect = kept
    for _ in range(5):
        algorithm.step()
    assert len(ratios) == 5
    for _, log_ratio in ratios:
        # Two orders of the same sums in float32.
        torch.testing.assert_close(log_ratio, torch.zeros_like(log_ratio), rtol=0, atol=2e-5)
    inside = torch.stack([rollout.done[:-1] for rollout in acted])
    assert inside.any() and not inside.all()
    assert any(not rollout.starts[0].all() for rollout in acted[1:])  # memories are carried over


def test_a_memory_that_is_forgotten_would_be_noticed():
    """The ratio above is 1 because of the memory and the starts that are given: without either it is not."""
    algorithm = ppo(epochs=1)
    for p in algorithm.policy.parameters():
        p.data.mul_(2)
    for _ in range(3):
        rollout = algorithm.source.collect(algorithm.policy, 5)
    said, _ = algorithm.policy.unroll(rollout.obs, rollout.memory, rollout.starts)
    for memory, starts in ((None, rollout.starts), (rollout.memory, torch.zeros_like(rollout.starts))):
        other, _ = algorithm.policy.unroll(rollout.obs, memory, starts)
        assert not torch.allclose(other.logits, said.logits, atol=1e-3)


@pytest.mark.parametrize("name", ["gru", "lstm", "memoryless actor", "memoryless critic"])
def test_targets_are_those_of_a_loop_over_environments(name):
    """Values step by step with the critic's own memory, also of the last observation before a reset."""
    algorithm = ppo(**KINDS[name], gamma=0.9, lam=0.8)
    critic, policy = algorithm.critic, algorithm.policy
    memory = critic.memory(M, N)
    for _ in range(3):
        rollout = algorithm.source.collect(policy, 5)
        batch, _ = algorithm._prepare(rollout)
        value, next_value = [], []
        for t in range(5):
            if memory is not None:
                leaves = memory if isinstance(memory, tuple) else (memory,)
                leaves = [leaf.masked_fill(rollout.starts[t].unsqueeze(-1), 0.0) for leaf in leaves]
                memory = tuple(leaves) if isinstance(memory, tuple) else leaves[0]
            with torch.no_grad():
                value.append(critic(policy.prepare(rollout.obs[t]), memory))
                _, memory = critic.body(policy.prepare(rollout.obs[t]), memory)
                next_value.append(critic(policy.prepare(rollout.next_obs[t]), memory))
        gamma, lam = 0.9 * ~rollout.terminated, 0.8 * ~rollout.truncated
        target = lambda_returns(rollout.reward, gamma, torch.stack(next_value), lam)
        # Sequences of environments, the steps of each in a row.
        expected = target.permute(1, 2, 0).flatten(1)
        torch.testing.assert_close(batch.target, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            batch.target - batch.advantage, torch.stack(value).permute(1, 2, 0).flatten(1), rtol=1e-4, atol=1e-5
        )
        assert torch.equal(batch.action, rollout.action.permute(1, 2, 0).flatten(1))


def test_a_minibatch_holds_whole_environments():
    algorithm = ppo()
    rollout = algorithm.source.collect(algorithm.policy, 5)
    batch, _ = algorithm._prepare(rollout)
    minibatches = algorithm._minibatches(batch)
    assert len(minibatches) == 2
    for m in range(M):
        found = []
        for part in minibatches:
            for s in range(2):
                obs = part.obs[m, 5 * s : 5 * s + 5]
                env = next(n for n in range(N) if torch.equal(rollout.obs[:, m, n], obs))
                found.append(env)
                assert torch.equal(part.starts[m, 5 * s : 5 * s + 5], rollout.starts[:, m, env])
                assert torch.equal(part.memory[0][m, s], rollout.memory[m, env])
        assert sorted(found) == list(range(N))


@dataclass(frozen=True)
class Recall:
    """A bit is shown at the first of three steps; at the last one it is asked for."""

    max_steps: int = 3

    step_noise = 0
    reset_noise = 1
    observation = Box((2,))
    action = Discrete(2)

    def reset(self, noise):
        return torch.stack([(noise[..., 0] < 0.5).float(), torch.zeros_like(noise[..., 0])], -1)

    def observe(self, state):
        bit, time = state.unbind(-1)
        return torch.stack([torch.where(time == 0, 2 * bit - 1, 0.0), time - 1], -1)

    def step(self, state, action, noise):
        bit, time = state.unbind(-1)
        reward = ((action == bit.long()) & (time == 2)).float()
        return torch.stack([bit, time + 1], -1), reward, torch.zeros_like(time, dtype=torch.bool)


@pytest.mark.parametrize("memory", [{"gru": 8}, {"gru": 0}])
def test_what_only_a_memory_can_know(memory):
    """Rollouts of 7 steps cut episodes of 3 everywhere, so a memory lives across them."""
    algorithm = ppo(
        env=Recall(), steps=4000, rollout=7, batch_size=28, epochs=4, hidden=(8,), lr=1e-2, gamma=0.9, **memory
    )
    while not algorithm.progress.finished:
        algorithm.step()
    returns = algorithm.source.play(algorithm.policy, 100, 0).mean(1)
    if memory == {"gru": 0}:
        assert (returns < 0.75).all()  # a coin's .5, by a hundred episodes with a spread of .05
    else:
        assert (returns > 0.9).all()


@pytest.mark.parametrize("name", KINDS)
def test_it_resumes(name, tmp_path):
    assert_resumes(lambda seed: ppo(seed, **KINDS[name]), tmp_path, iterations=3, at=1 + (name == "gru"))


def test_a_batch_is_whole_rollouts():
    with pytest.raises(ValueError, match=r"^batch_size: 4 is no multiple of the rollout, 5; a policy with a memory "):
        ppo(batch_size=4)
    with pytest.raises(ValueError, match=r"^batch_size: 15 does not divide rollout·num_envs = 20"):
        ppo(batch_size=15)
    ppo(batch_size=4, gru=0)


def test_one_memory_at_most():
    with pytest.raises(ValueError, match=r"^gru, lstm: one memory at most"):
        ppo(lstm=3)
    with pytest.raises(ValueError, match=r"^gru: at least 0 units, not -1"):
        ppo(gru=-1)
