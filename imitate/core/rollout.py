"""The rollout over tensor environments: one step, the only auto-reset, and the source that scans it.

Letters: T time, M members, N environments of one member, E episodes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import clip
from imitate.core.capture import capture
from imitate.core.compiled import Compiled
from imitate.core.config import checked
from imitate.core.finite import finite
from imitate.core.noise import Stream
from imitate.core.parts import touched
from imitate.core.room import admit
from imitate.core.scan import scan
from imitate.core.spec import Spec
from imitate.core.types import Memory, Obs, Policy, Rollout, Transition
from imitate_envs.base import Env, KnownRewards, Space

__all__ = ["Carry", "TensorSource", "advance", "begin", "draw"]

STRETCH = 8  # steps compiled as one function: more take longer to compile, and hardly less to run


@dataclass(frozen=True)
class Carry:
    """What one step hands to the next; every tensor leads with [M, N]."""

    state: Any
    obs: Obs
    elapsed: Tensor  # steps since the episode began (int64)
    memory: Memory


def begin(env: Env, policy: Policy, noise: Tensor) -> Carry:
    """First steps of episodes, from uniforms [M, N, reset_noise]."""
    shape = noise.shape[:-1]
    state = env.reset(noise)
    elapsed = torch.zeros(shape, dtype=torch.int64, device=noise.device)
    return Carry(state, env.observe(state), elapsed, policy.memory(*shape))


def advance(
    env: Env, policy: Policy, carry: Carry, decision: Tensor, dynamics: Tensor, fresh: Any
) -> tuple[Carry, Transition]:
    """One step of every environment, with auto-reset.

    Args:
        env: The environment.
        policy: Who acts.
        carry: Where the last step ended.
        decision: Uniforms for the policy, [M, N, policy.noise].
        dynamics: Uniforms for the environment, [M, N, step_noise].
        fresh: First states [M, N] of the episodes that follow on those that end here.
    """
    action, memory, extras = policy.act(carry.obs, decision, carry.memory)
    state, reward, terminated = env.step(carry.state, clip(env.action, action), dynamics)
    elapsed = carry.elapsed + 1
    done = terminated | (elapsed >= env.max_steps)
    transition = Transition(carry.obs, action, reward, env.observe(state), terminated, done ^ terminated, extras)
    state = tree.where(done, fresh, state)
    memory = memory if memory is None else tree.where(done, policy.memory(*done.shape), memory)
    return Carry(state, env.observe(state), elapsed.masked_fill_(done, 0), memory), transition


def _rollout(env: Env, policy: Policy, given: tuple[Carry, Any]) -> tuple[Carry, Transition]:
    """`advance` scanned over what `draw` drew."""
    carry, drawn = given
    return scan(lambda carry, one: advance(env, policy, carry, *one), carry, drawn)


def _stretches(
    rollout: Callable[[tuple[Carry, Any]], tuple[Carry, Transition]], given: tuple[Carry, Any]
) -> tuple[Carry, Transition]:
    """A rollout in stretches of as many steps as divide its length, at most `STRETCH`."""
    carry, drawn = given
    steps = len(drawn[0])
    length = max(k for k in range(1, STRETCH + 1) if steps % k == 0)
    drawn = tree.map(lambda x: x.unflatten(0, (steps // length, length)), drawn)
    carry, seen = scan(lambda carry, some: rollout((carry, some)), carry, drawn)
    return carry, tree.map(lambda x: x.flatten(0, 1), seen)


def draw(env: Env, policy: Policy, decisions: Stream, dynamics: Stream, *shape: int) -> tuple[Tensor, Tensor, Any]:
    """What `advance` takes for T steps, [T, M, N]: uniforms of the policy, of the environment, and first states."""
    decision = decisions.uniform(*shape, policy.noise)
    noise = dynamics.uniform(*shape, env.step_noise + env.reset_noise)
    step_noise, reset_noise = noise.split([env.step_noise, env.reset_noise], dim=-1)
    return decision, step_noise, env.reset(reset_noise)


class TensorSource:
    """M·N copies of a tensor environment that run on, episode after episode.

    On a GPU a rollout is recorded as one CUDA graph; see `imitate.core.capture` for what that asks of a policy.

    Args:
        env: A pure environment.
        id: Its name.
        num_envs: N.
        members: M.
        seed: Seed of the streams "env" and "policy" (and "evaluate").
        device: Where everything lives.
        compile: Run through `torch.compile`: some ten seconds at the beginning for each policy and length of a rollout,
            and equal within rounding only. It is fastest where 8 divides that length.

    Attributes:
        finite: Whether all transitions so far were finite, a bool of each member [M]; `run` looks at it in each report.
    """

    @checked
    def __init__(
        self,
        env: Env,
        *,
        id: str,  # noqa: A002 - Gymnasium's word
        num_envs: int,
        members: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        compile: bool = False,  # noqa: A002 - torch's word
    ) -> None:
        if num_envs < 1 or members < 1:
            raise ValueError(f"num_envs and members must be at least 1, not {num_envs} and {members}.")
        self.env, self.id, self.num_envs, self.members, self.seed = env, id, num_envs, members, seed
        self.device, self.compile = torch.device(device), compile
        self.dynamics, self.decisions = Stream(seed, "env", device), Stream(seed, "policy", device)
        self._driver: Policy = _NOBODY
        self._saved_memory: list[Tensor] = []
        self._eager: Callable[[tuple[Carry, Any]], tuple[Carry, Transition]]
        self._scan: Callable[[tuple[Carry, Any]], tuple[Carry, Transition]]
        noise = torch.zeros(1, 1, env.reset_noise, device=self.device)
        each = noise.nbytes + sum(leaf.nbytes for leaf in tree.leaves(begin(env, _NOBODY, noise)))
        sizes = {"num_envs": num_envs, "members": members}
        admit("the environments", members * num_envs * each, sizes, self.device)
        self.finite = torch.ones(members, dtype=torch.bool, device=device)
        self.carry = begin(env, _NOBODY, self.dynamics.uniform(members, num_envs, env.reset_noise))
        rewards = (env.reward_range, env.final_reward_range) if isinstance(env, KnownRewards) else (None, None)
        self.spec = Spec(
            id,
            env.observation,
            env.action,
            members,
            num_envs,
            env.max_steps,
            seed,
            self.device,
            tree.map(lambda leaf: leaf.dtype, self.carry.obs),
            reward_range=rewards[0],
            final_reward_range=rewards[1],
        )

    @property
    def observation(self) -> Space:
        """Space of observations."""
        return self.spec.observation

    @property
    def action(self) -> Space:
        """Space of actions."""
        return self.spec.action

    @torch.no_grad()
    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment under `policy`: [T, M, N].

        A policy with memory that takes over from another starts with a fresh one, in the midst of the episodes.
        """
        if policy is not self._driver:
            memory = policy.memory(self.members, self.num_envs)
            if self._saved_memory:
                saved = iter(self._saved_memory)
                memory = tree.map(lambda _: next(saved), memory)
                self._saved_memory = []
            self.carry = Carry(self.carry.state, self.carry.obs, self.carry.elapsed, memory)
            self._driver, self._eager = policy, partial(_rollout, self.env, policy)
            rollout = self._eager
            if self.compile:
                self._stretch = Compiled(rollout)
                rollout = partial(_stretches, self._stretch)
            self._scan = capture(rollout, self.device)
        drawn = draw(self.env, policy, self.decisions, self.dynamics, steps, self.members, self.num_envs)
        memory, first = self.carry.memory, self.carry.elapsed == 0
        fast = self._scan is not self._eager and not touched(policy)
        self.carry, seen = (self._scan if fast else self._eager)((self.carry, drawn))
        self.finite &= finite((seen.obs, seen.action, seen.reward, seen.next_obs), 1)
        starts = torch.cat([first.unsqueeze(0), seen.done[:-1]])
        return Rollout(**vars(seen), starts=starts, memory=memory)

    @torch.no_grad()
    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes in fresh environments; this source's own episodes are left alone.

        Every member plays exactly `episodes` episodes, so short ones count no more than long ones. The same seed gives
        every policy the same noise: returns are paired.
        """
        dynamics, decisions = (
            Stream(seed, "evaluate", self.device),
            Stream(seed, "evaluate-policy", self.device),
        )
        shape = (self.members, episodes)
        block = 50  # steps between two looks at whether anybody still plays: the only sync
        noise = 4 * block * (policy.noise + self.env.step_noise + self.env.reset_noise)
        each = max(noise, sum(leaf[0, 0].nbytes for leaf in tree.leaves((self.carry.state, self.carry.obs))))
        need = self.members * episodes * each
        admit("episodes side by side", need, {"episodes": episodes, "members": self.members}, self.device)
        carry = begin(self.env, policy, dynamics.uniform(*shape, self.env.reset_noise))
        total = torch.zeros(shape, device=self.device)
        alive = torch.ones(shape, dtype=torch.bool, device=self.device)
        for start in range(0, self.env.max_steps, block):
            if start and not alive.any():
                break
            for one in tree.unbind(draw(self.env, policy, decisions, dynamics, block, *shape)):
                carry, seen = advance(self.env, policy, carry, *one)
                total += seen.reward * alive
                alive &= ~seen.done
        return total

    def state_dict(self) -> dict[str, Any]:
        """Both streams and the whole carry."""
        return {
            "dynamics": self.dynamics.state_dict(),
            "decisions": self.decisions.state_dict(),
            "state": {str(i): leaf for i, leaf in enumerate(tree.leaves(self.carry.state))},
            "obs": tree.as_dicts(self.carry.obs),
            "elapsed": self.carry.elapsed,
            "memory": {str(i): leaf for i, leaf in enumerate(self._saved_memory or tree.leaves(self.carry.memory))},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore; a policy's memory is handed to the next policy that collects."""
        if state["elapsed"].shape != self.carry.elapsed.shape:
            saved, mine = tuple(state["elapsed"].shape), (self.members, self.num_envs)
            raise RuntimeError(f"saved with (members, num_envs) = {saved}, this run has {mine}")
        self.dynamics.load_state_dict(state["dynamics"])
        self.decisions.load_state_dict(state["decisions"])
        saved_leaves = state.get("state", {})
        order = iter(range(len(saved_leaves)))
        env_state = tree.map(lambda leaf: _like(leaf, saved_leaves[str(next(order))]), self.carry.state)
        memory = state.get("memory", {})
        self._saved_memory = [memory[str(i)].to(self.device) for i in range(len(memory))]
        self._driver = _NOBODY
        obs = tree.map(_like, self.carry.obs, tree.of_dicts(state["obs"]))
        elapsed = state["elapsed"].to(self.device)
        # Whole numbers are places: of a state that no environment can be in, the next step would find none.
        shown = zip(tree.leaves(self.env.observe(env_state)), tree.leaves(obs), strict=True)
        if not all(a.is_floating_point() or torch.equal(a, b) for a, b in shown):
            raise RuntimeError("its states are not those that its observations show")
        if not bool(((elapsed >= 0) & (elapsed <= self.env.max_steps)).all()):
            raise RuntimeError("its episodes are longer than the time limit")
        self.carry = Carry(env_state, obs, elapsed, None)


def _like(mine: Tensor, saved: Tensor) -> Tensor:
    if saved.shape != mine.shape:
        raise RuntimeError(f"saved as {tuple(saved.shape)}, which is {tuple(mine.shape)} in this run")
    return saved.to(mine)


class _Nobody:
    """Stands for the driver before anybody has driven."""

    noise = 0

    def memory(self, *shape: int) -> None:
        return None

    def act(self, obs: Tensor, noise: Tensor | None, memory: Memory) -> tuple[Tensor, Memory, dict[str, Any]]:
        raise AssertionError("nobody drives")


_NOBODY = _Nobody()
