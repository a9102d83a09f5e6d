"""Costs to go: what each choice at a state costs until the end of the episode.

Letters: T time, M members, N environments of one member, A choices, B states, S samples of each, H steps to the end.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import clip
from imitate.core.config import Count, checked
from imitate.core.noise import Stream
from imitate.core.replay import Examples
from imitate.core.rollout import TensorSource
from imitate.core.room import admit
from imitate.core.types import Policy, Source, fold
from imitate.distributions.actions import Valued
from imitate.teachers.label import whole
from imitate_envs.base import Discrete, Env, State

__all__ = ["Branching", "Costs", "Told", "costs_of", "costs_to_go"]

BLOCK = 50  # steps between two looks at whether an episode still goes on: the only sync


class Costs(Protocol):
    """Who drives a source and says what each choice would cost at the states on the way."""

    def __call__(self, driver: Policy, steps: int) -> Examples:
        """Observations [M, B, ...] of `steps` steps of every environment, and the costs [M, B, A] there."""


@torch.no_grad()
@checked
def costs_to_go(env: Env, policy: Policy, state: State, elapsed: Tensor, decisions: Tensor, dynamics: Tensor) -> Tensor:
    """Try every choice at every state, and let a policy go on from there: one batch of episodes.

        Q(s, a) = −E[Σ_h r_h | s, a, then the policy], without a discount, until the end or the time limit

    All choices of a state meet the same noise, so their differences vary less than they do.

    Args:
        env: A pure environment with finitely many choices.
        policy: Who goes on; without a memory.
        state: [M, B, ...].
        elapsed: Steps since the episodes began, [M, B].
        decisions: Uniforms of the policy, [H, M, B, S, policy.noise]; those of the first step are not looked at.
        dynamics: Uniforms of the environment, [H, M, B, S, step_noise]. H steps are taken at most.

    Returns:
        The mean over S, [M, B, A].

    Raises:
        ValueError: The environment has no finitely many choices, or the policy has a memory.
    """
    if not isinstance(env.action, Discrete):
        raise ValueError(f"env: {env.action} has no finitely many choices to try; take one with a Discrete space.")
    _check_memory(policy)
    samples, count = dynamics.shape[3], env.action.n
    (members, states), each = elapsed.shape, samples * count

    def spread(x: Tensor) -> Tensor:
        """Uniforms [M, B, S, width] for all choices."""
        return x.unsqueeze(3).expand(*x.shape[:3], count, x.shape[-1]).flatten(1, 3)

    state, elapsed = tree.map(lambda x: x.repeat_interleave(each, 1), (state, elapsed))
    action = torch.arange(count, device=elapsed.device).repeat(members, states * samples)
    memory, alive = policy.memory(*elapsed.shape), torch.ones_like(elapsed, dtype=torch.bool)
    total = torch.zeros(elapsed.shape, device=elapsed.device)
    for step, (decision, noise) in enumerate(zip(decisions, dynamics, strict=True)):
        if step:
            action, memory, _ = policy.act(env.observe(state), spread(decision), memory)
        after, reward, terminated = env.step(state, clip(env.action, action), spread(noise))
        total = total + torch.where(alive, -reward, 0.0)
        state = tree.where(alive, after, state)
        elapsed = elapsed + 1
        alive = alive & ~terminated & (elapsed < env.max_steps)
        if step % BLOCK == BLOCK - 1 and not bool(alive.any()):
            break
    return total.view(members, states, samples, count).mean(2)


def _check_memory(policy: Policy) -> None:
    if tree.leaves(policy.memory(1, 1)):
        raise ValueError("teacher: it has a memory, which no state tells; distil it first into one that has none.")


class Branching:
    """Costs to go by trying: episodes branch off at the states of a tensor environment.

    Args:
        source: Where to drive.
        policy: Who goes on behind each choice, as it acts; pass `Greedy(policy)` for its modes.
        every: Steps of an environment between two states that are branched off from.
        samples: Episodes of each choice, over which is averaged.

    Raises:
        ValueError: The source is no tensor environment with finitely many choices, or the policy has a memory.
    """

    @checked
    def __init__(self, source: Source, policy: Policy, every: Count = 1, samples: Count = 1) -> None:
        if not isinstance(source, TensorSource) or not isinstance(source.spec.action, Discrete):
            raise ValueError(
                f"source: {source.spec.id} cannot be branched; take one of our environments with a Discrete action."
            )
        _check_memory(policy)
        self.source, self.policy, self.every, self.samples = source, policy, every, samples
        self.decisions, self.dynamics = (
            Stream(source.spec.seed, name, source.spec.device) for name in ("branch-policy", "branch-env")
        )

    def __call__(self, driver: Policy, steps: int) -> Examples:
        """Drive, then branch off from one state in `every` of the way, all at once."""
        env, places = self.source.env, []
        for done in range(0, steps, self.every):
            carry = self.source.carry
            places.append(tree.map(Tensor.clone, (carry.state, carry.obs, carry.elapsed)))
            self.source.collect(driver, min(self.every, steps - done))
        state, obs, elapsed = fold(tree.stack(places))
        longest = env.max_steps - int(elapsed.min())
        shape = (longest, *elapsed.shape, self.samples)
        width = self.policy.noise + env.step_noise
        sizes = {"samples": self.samples, "rollout": len(places), "num_envs": self.source.num_envs}
        admit("noise of the branches", 4.0 * width * math.prod(shape), sizes, self.source.device)
        decisions = self.decisions.uniform(*shape, self.policy.noise)
        dynamics = self.dynamics.uniform(*shape, env.step_noise)
        return Examples(obs, costs_to_go(env, self.policy, state, elapsed, decisions, dynamics))

    def state_dict(self) -> dict[str, Any]:
        """Both streams."""
        return {"decisions": self.decisions.state_dict(), "dynamics": self.dynamics.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore."""
        self.decisions.load_state_dict(state["decisions"])
        self.dynamics.load_state_dict(state["dynamics"])


class Told:
    """Costs to go as a teacher tells them: −Q of its action values.

    Args:
        source: Where to drive.
        teacher: With action values, such as a Q network or a planner.
    """

    @checked
    def __init__(self, source: Source, teacher: Valued) -> None:
        self.source, self.teacher = source, teacher

    @torch.no_grad()
    def __call__(self, driver: Policy, steps: int) -> Examples:
        """Drive, then ask at every state of the way."""
        rollout = self.source.collect(driver, steps)
        cost = -self.teacher.action_values(fold(whole(rollout)))
        # What is not admitted costs what the worst choice does, not an infinity.
        worst = cost.masked_fill(cost.isposinf(), -torch.inf).amax(-1, keepdim=True)
        return Examples(fold(rollout.obs), torch.where(cost.isposinf(), worst, cost))


@checked
def costs_of(source: Source, teacher: Policy, every: Count = 1, samples: Count = 1) -> Branching | Told:
    """Costs to go by branching where the environment is a tensor environment, elsewhere those that the teacher tells.

    Args:
        source: Where to drive.
        teacher: Who goes on, or who tells.
        every: See `Branching`.
        samples: See `Branching`.

    Raises:
        ValueError: Neither can be had.
    """
    if isinstance(source, TensorSource):
        return Branching(source, teacher, every, samples)
    if not isinstance(teacher, Valued):
        raise ValueError(
            f"teacher: {source.spec.id} cannot be branched, and a {type(teacher).__name__} tells no action values; "
            "take one of our environments, or a teacher with a Q network."
        )
    return Told(source, teacher)
