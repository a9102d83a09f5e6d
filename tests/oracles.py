"""What the tests compare with: tiny environments and policies, naive loops, and a watch on what a checkpoint forgets.

Nothing here is fast or clever. Letters: T time, M members, N environments of one member, B batch.
"""

from __future__ import annotations

import types
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from imitate.core import tree
from imitate.core.noise import Stream
from imitate.nets.layers import Linear
from imitate_envs.base import Box, Discrete

# Environments and policies


@dataclass(frozen=True)
class Spot:
    """State of `Walk`."""

    place: torch.Tensor
    drift: torch.Tensor


@dataclass(frozen=True)
class Walk:
    """A noisy walk on a line that terminates beyond `limit`, with every kind of noise and both kinds of ends."""

    limit: float = 1.0
    max_steps: int = 7

    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 2
    observation: ClassVar[Box] = Box((2,))
    action: ClassVar[Discrete] = Discrete(3)

    def reset(self, noise):
        return Spot(noise[..., 0] - 0.5, 0.5 * (noise[..., 1] - 0.5))

    def observe(self, state):
        return torch.stack([state.place, state.drift], -1)

    def step(self, state, action, noise):
        place = state.place + state.drift + 0.5 * (action - 1) + 0.5 * (noise[..., 0] - 0.5)
        return Spot(place, state.drift), 1 - place * place, place.abs() > self.limit


@dataclass(frozen=True)
class Reach:
    """Move a point to the origin; actions are displacements in a lopsided box. Never terminates."""

    max_steps: int = 5

    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 2
    observation: ClassVar[Box] = Box((2,))
    action: ClassVar[Box] = Box((2,), (-1.0, -0.5), (1.0, 0.25))

    def reset(self, noise):
        return 2 * noise - 1

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        state = state + 0.5 * action
        return state, -state.square().sum(-1), torch.zeros(state.shape[:-1], dtype=torch.bool)


@dataclass(frozen=True)
class Identity:
    """Name the state that is shown, 1 for a right answer: what any algorithm learns in seconds. Truncated only."""

    choices: int = 3
    max_steps: int = 10

    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 1

    @property
    def observation(self):
        return Discrete(self.choices)

    @property
    def action(self):
        return Discrete(self.choices)

    def reset(self, noise):
        return (noise[..., 0] * self.choices).long()

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        return self.reset(noise), (action == state).float(), torch.zeros_like(state, dtype=torch.bool)


@dataclass(frozen=True)
class Bandit:
    """Two arms that pay 1 with probability .2 and .8; every step ends the episode. No state at all."""

    max_steps: int = 10

    step_noise: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 1
    observation: ClassVar[Box] = Box((1,))
    action: ClassVar[Discrete] = Discrete(2)

    def reset(self, noise):
        return torch.zeros_like(noise)

    def observe(self, state):
        return state

    def step(self, state, action, noise):
        paid = noise[..., 0] < torch.where(action == 1, 0.8, 0.2)
        return state, paid.float(), torch.ones_like(paid)


class Remembering:
    """A policy for `Walk` whose action depends on all that it has seen in the episode; fresh memory is not zero."""

    noise = 2

    def memory(self, *shape):
        return {"count": torch.full(shape, 3), "total": torch.full(shape, 0.25)}

    def act(self, obs, noise, memory):
        total = memory["total"] + obs[..., 0]
        action = (memory["count"] + (total > 0) + (noise[..., 1] * 2).long()) % 3
        return action, {"count": memory["count"] + 1, "total": total}, {"count": memory["count"]}


class Recorded:
    """A stream that keeps what it hands out."""

    def __init__(self, stream):
        self.stream, self.handed = stream, []

    def uniform(self, *shape, dtype=torch.float32):
        self.handed.append(self.stream.uniform(*shape, dtype=dtype))
        return self.handed[-1].clone()


class Sliced:
    """A stream of a run of one member that hands out the share of member `member` of a run of `members`."""

    def __init__(self, stream, members, member):
        self.stream, self.members, self.member = stream, members, member

    def uniform(self, *shape, dtype=torch.float32):
        axis = shape.index(1) if len(shape) < 4 else 1  # [T, M, N, width] of a rollout, else [M, ...]
        assert shape[axis] == 1
        whole = self.stream.uniform(*shape[:axis], self.members, *shape[axis + 1 :], dtype=dtype)
        return whole.narrow(axis, self.member, 1).clone()


def stream(seed=0, name="init"):
    return Stream(seed, name)


# Naive loops


def recurrence(a, b, reverse=False):
    """y_t = b_t + a_t·y_{t∓1} in numpy, one step after the other."""
    a, b = np.asarray(a), np.asarray(b)
    y, last = np.empty_like(b), np.zeros_like(b[0])
    for t in reversed(range(len(b))) if reverse else range(len(b)):
        y[t] = last = b[t] + a[t] * last
    return y


def lambda_returns(reward, next_value, terminated, truncated, gamma, lam):
    """λ-returns of one environment [T] as the weighted mean of its n-step returns (Sutton & Barto 2018, eq. 12.18)."""
    steps = len(reward)
    result = np.zeros(steps)
    for t in range(steps):
        n_step, discount, weight = 0.0, 1.0, 1.0
        for k in range(t, steps):
            n_step += discount * reward[k]
            bootstrapped = n_step + (0.0 if terminated[k] else discount * gamma * next_value[k])
            if terminated[k] or truncated[k] or k == steps - 1:
                result[t] += weight * bootstrapped  # all longer returns equal this one
                break
            result[t] += weight * (1 - lam) * bootstrapped
            weight *= lam
            discount *= gamma
    return result


def rollout(env, policy, first, decisions, dynamics):
    """Transitions [T, M, N, ...], each environment by itself in a plain loop, in the form of a dict of lists."""
    steps, members, copies = decisions.shape[:3]
    seen = {name: {} for name in ("obs", "action", "reward", "next_obs", "terminated", "truncated", "count")}
    for m in range(members):
        for n in range(copies):
            state, elapsed, memory = env.reset(first[m, n]), 0, policy.memory(1, 1)
            for t in range(steps):
                obs = env.observe(state)
                action, memory, extras = policy.act(obs[None, None], decisions[t, m, n][None, None], memory)
                action = action[0, 0]
                received = action
                if isinstance(env.action, Box):
                    received = torch.stack(
                        [
                            min(max(a, torch.tensor(low)), torch.tensor(high))
                            for a, low, high in zip(action, env.action.low, env.action.high, strict=True)
                        ]
                    )
                noise = dynamics[t, m, n]
                state, reward, terminated = env.step(state, received, noise[: env.step_noise])
                elapsed += 1
                at = (t, m, n)
                seen["obs"][at], seen["action"][at], seen["reward"][at] = obs, action, reward
                seen["next_obs"][at], seen["terminated"][at] = env.observe(state), bool(terminated)
                seen["truncated"][at] = elapsed == env.max_steps and not terminated
                if "count" in extras:
                    seen["count"][at] = extras["count"][0, 0]
                if seen["terminated"][at] or seen["truncated"][at]:
                    state, elapsed, memory = env.reset(noise[env.step_noise :]), 0, policy.memory(1, 1)

    def joined(values):
        keys = ((t, m, n) for t in range(steps) for m in range(members) for n in range(copies))
        flat = torch.stack([torch.as_tensor(values[key]) for key in keys])
        return flat.reshape(steps, members, copies, *flat.shape[1:])

    return {name: joined(values) for name, values in seen.items() if values}


class PPO:
    """PPO for one member, as a textbook has it: plain modules, plain loops, no idea of a population.

    Statistics for normalisation are taken over lists of everything seen so far. What the actor says of a Box counts in
    half ranges from its centre.
    """

    def __init__(self, actor, critic, log_std, config, num_envs, box=None):
        if box is not None:
            low, high = torch.tensor(box.low), torch.tensor(box.high)
            self.centre, self.half_range = (high + low) / 2, (high - low) / 2
        self.actor, self.critic, self.log_std, self.config = actor, critic, log_std, config
        self.parameters = [*actor.parameters(), *([] if log_std is None else [log_std]), *critic.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.lr, eps=1e-5)
        self.steps = 0
        self.all_obs, self.all_returns = [], []
        self.running = np.zeros(num_envs)

    def normalised(self, obs):
        if not self.config.normalise_obs or not self.all_obs:
            return obs
        past = np.concatenate(self.all_obs)
        scaled = (obs.numpy() - past.mean(0)) / np.sqrt(past.var(0) + 1e-8)
        return torch.as_tensor(np.clip(scaled, -10, 10), dtype=torch.float32)

    def scaled(self, reward, done):
        if not self.config.normalise_reward:
            return reward
        for r, d in zip(reward, done, strict=True):
            self.running = self.config.gamma * self.running + r
            self.all_returns.extend(self.running)
            self.running = np.where(d, 0.0, self.running)
        return np.clip(reward / np.sqrt(np.var(self.all_returns) + 1e-8), -10, 10)

    def distribution(self, obs):
        out = self.actor(obs)
        if self.log_std is None:
            return torch.distributions.Categorical(logits=out)
        mean, std = self.centre + self.half_range * out, self.half_range * self.log_std.exp()
        return torch.distributions.Independent(torch.distributions.Normal(mean, std), 1)

    def iteration(self, seen, orders):
        """Learn from one rollout, tensors [T, N, ...], with the given order of its T·N rows in each epoch."""
        config = self.config
        left = 1 - self.steps / config.steps
        self.optimizer.param_groups[0]["lr"] = config.lr * (left if config.anneal_lr else 1)
        clip = config.clip * (left if config.anneal_clip else 1)
        obs = self.normalised(seen["obs"].flatten(0, 1))
        action = seen["action"].flatten(0, 1)
        with torch.no_grad():
            value = self.critic(obs).squeeze(-1).numpy()
            next_value = self.critic(self.normalised(seen["next_obs"].flatten(0, 1))).squeeze(-1).numpy()
            old_log_prob = self.distribution(obs).log_prob(action)
        reward = self.scaled(seen["reward"].double().numpy(), (seen["terminated"] | seen["truncated"]).numpy())
        length, copies = reward.shape
        next_value = next_value.reshape(length, copies)
        target = np.zeros((length, copies))
        for n in range(copies):
            target[:, n] = lambda_returns(
                reward[:, n],
                next_value[:, n],
                seen["terminated"][:, n],
                seen["truncated"][:, n],
                config.gamma,
                config.lam,
            )
        target = torch.as_tensor(target.reshape(-1), dtype=torch.float32)
        advantage = target - torch.as_tensor(value)
        losses = []
        for order in orders:
            for i in range(0, len(order), config.batch_size):
                rows = order[i : i + config.batch_size]
                a = advantage[rows]
                a = (a - a.mean()) / (a.std() + 1e-8)
                distribution = self.distribution(obs[rows])
                total = torch.zeros(())
                for ratio, each in zip(
                    (distribution.log_prob(action[rows]) - old_log_prob[rows]).exp(), a, strict=True
                ):
                    clipped = min(max(ratio, torch.tensor(1 - clip)), torch.tensor(1 + clip))
                    total = total - min(ratio * each, clipped * each)
                loss = total / len(rows)
                loss = loss + config.value * nn.functional.mse_loss(self.critic(obs[rows]).squeeze(-1), target[rows])
                loss = loss - config.entropy * distribution.entropy().mean()
                self.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
                self.optimizer.step()
                losses.append(loss.item())
        self.all_obs.append(seen["obs"].flatten(0, 1).numpy())
        self.steps += length * copies
        return losses


def assert_statistics_of(norm, data, merges=16):
    """A normaliser has the mean and the variance of all that a dataset holds: each example counts once."""
    examples, counts = data.all()
    for m in range(data.members):
        seen = examples.obs[m, counts[m]].double()
        # A mean in float32 is wrong by some roundings of the greatest number, and each merge rounds once more.
        mean = (merges + 8) * 2**-24 * float(seen.abs().max())
        torch.testing.assert_close(norm.mean[m, 0].double(), seen.mean(0), rtol=0, atol=mean)
        var = seen.var(0, correction=0)
        # The square of a deviation, twice as wrong as that for small ones, which are differences of rounded numbers.
        torch.testing.assert_close(norm.var[m, 0].double(), var, rtol=0, atol=4 * mean * float(var.max()) ** 0.5)


def plain_mlp(population, member, activation=nn.Tanh):
    """One member of an `MLP`, or of an actor or critic that is one, as plain layers with copies of its weights."""
    layers = []
    for layer in (module for module in population.modules() if isinstance(module, Linear)):
        plain = nn.Linear(layer.weight.shape[1], layer.weight.shape[2])
        with torch.no_grad():
            plain.weight.copy_(layer.weight[member].T)
            plain.bias.copy_(layer.bias[member, 0])
        layers += [plain, activation()]
    return nn.Sequential(*layers[:-1])


def expectiles(samples, probs, tau):
    """Roots of τ E(Z − e)⁺ = (1 − τ) E(e − Z)⁺ by bisection: samples, probabilities [..., P] -> [..., Q] (float64)."""
    samples, probs = (np.asarray(x, np.float64)[..., None, :] for x in (samples, probs))
    tau = np.asarray(tau, np.float64)
    low = np.broadcast_to(samples.min(-1), (*samples.shape[:-2], len(tau))).copy()
    high = np.broadcast_to(samples.max(-1), low.shape).copy()
    for _ in range(80):
        middle = (low + high) / 2
        gap = samples - middle[..., None]
        balance = tau * (probs * gap.clip(min=0)).sum(-1) - (1 - tau) * (probs * (-gap).clip(min=0)).sum(-1)
        low, high = np.where(balance > 0, middle, low), np.where(balance > 0, high, middle)
    return torch.as_tensor((low + high) / 2)


# What a checkpoint forgets


def _walk(root):
    """Every number, string, tensor and generator that is reached from an object, as (path, value)."""
    visited = set()

    def visit(path, value):
        if isinstance(value, (torch.Tensor, torch.Generator, np.ndarray, int, float, str, bytes, type(None))):
            yield path, value
        elif id(value) not in visited and not isinstance(
            value, (type, types.ModuleType, types.FunctionType, types.MethodType)
        ):
            visited.add(id(value))
            if isinstance(value, (list, tuple, set)):
                yield f"{path}#", len(value)
                items = enumerate(value)
            else:
                items = value.items() if isinstance(value, dict) else getattr(value, "__dict__", {}).items()
            for name, child in list(items):
                yield from visit(f"{path}.{name}", child)

    return visit(type(root).__name__, root)


def _copy(value):
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, np.ndarray):
        return torch.as_tensor(value.copy())
    return value.detach().clone() if isinstance(value, torch.Tensor) else value


def _same(a, b):
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)
    return type(a) is type(b) and not isinstance(a, torch.Tensor) and (a == b or (a != a and b != b))


def snapshot(root):
    """A copy of every number, string and tensor that is reached through attributes and containers, by path."""
    return {path: _copy(value) for path, value in _walk(root)}


def unsaved_changes(root, before, state):
    """Paths whose values are no longer those of the snapshot `before`, though no tensor of `state` holds the new ones.

    A tensor counts as held if one in `state` equals it or shares its memory, as the parameters of a learner do.
    """
    saved = [leaf for _, leaf in tree.flatten(state)]
    storages = {leaf.untyped_storage().data_ptr() for leaf in saved}
    after = dict(_walk(root))

    def held(value):
        if isinstance(value, torch.Tensor) and value.untyped_storage().data_ptr() in storages:
            return True
        return any(_same(_copy(value), leaf) for leaf in saved)

    changed = [path for path, value in after.items() if path not in before or not _same(_copy(value), before[path])]
    return sorted([path for path in changed if not held(after[path])] + [path for path in before if path not in after])


def rank_by_loop(scores):
    """Ranks in [-1/2, 1/2]; equal scores share the mean of theirs."""
    order = sorted(scores)
    found = []
    for score in scores:
        places = [i for i, other in enumerate(order) if other == score]
        found.append(sum(places) / len(places) / (len(scores) - 1) - 0.5)
    return found
