"""The source over Gymnasium: any VectorEnv gives the same `Rollout` as a tensor environment.

Letters: T time, M members, N environments of one member, B = M·N, E episodes, K environments of one member in `play`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import tree, vector_env
from imitate.core.actions import choices
from imitate.core.config import checked
from imitate.core.fleet import AnyVectorEnv, Fleet, fleet
from imitate.core.noise import Stream
from imitate.core.spec import Spec
from imitate.core.translation import Actions, Observations
from imitate.core.types import Memory, Policy, Rollout
from imitate.core.window import Window, arrays
from imitate_envs.base import Dict, Space

__all__ = ["GymnasiumSource"]

Array = NDArray[Any]
_WAVE = 32  # most environments of one member that play at once
_BLOCK = 64  # steps whose noise `play` draws at once


class GymnasiumSource:
    """The M·N environments of a Gymnasium VectorEnv, which run on, episode after episode.

    They must auto-reset in the mode SAME_STEP: `next_obs` is then the true last observation of an episode, and no row
    of a rollout joins two. Sub-environment m·N + n belongs to member m. A plain SyncVectorEnv is stepped environment by
    environment, so nobody else should step it. A step that Gymnasium calls both terminated and truncated is terminated.
    What they hand over is copied at once, for it may be their own memory. Only of an AsyncVectorEnv of Gymnasium's,
    whose processes reset before they send, it is too late for the last observation: `imitate.make` has its own.

    Observations are trees of tensors as `Observations` says. Actions reach the environment as `Actions` says: counted
    from its own start, in its own shape and type, a Box clipped to its bounds and, where it holds integers, rounded.
    The transition keeps what the policy gave.

    Where the environment says which actions are valid, by `info["action_mask"]` at reset or by a method
    `action_masks()`, observations become a dict of `observation` and `action_mask`. A dict that has the key already is
    left as it is. The last observation of an episode has a mask of ones where the environment gives none for it.

    Args:
        envs: The environments. They are reset here, with seeds derived from `seed`; `close` closes them.
        members: M; must divide `envs.num_envs`.
        seed: Seed of the environments and of the stream "policy".
        device: Where the transitions live.
        make_envs: Builds as many environments as asked, in mode SAME_STEP, for `play`. By default they are
            built as `envs` were, by the functions or the spec that Gymnasium leaves there.
        frames: Successive frames that an observation stacks along its first axis, the newest last. By default
            it is asked of the Arcade Learning Environment and of a FrameStackObservation; elsewhere it is 1.
        action_masks: Whether observations carry masks of valid actions; None: where the environment gives them.

    Attributes:
        max_steps: Time limit of an episode; 2³¹ − 1 where none is known.

    Raises:
        ValueError: The autoreset mode is another, a space is not supported, M does not divide the number of
            environments, the observations are no stack of `frames`, or there are no masks that were asked for.
    """

    @checked
    def __init__(
        self,
        envs: AnyVectorEnv,
        *,
        members: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        make_envs: Callable[[int], AnyVectorEnv] | None = None,
        frames: int | None = None,
        action_masks: bool | None = None,
    ) -> None:
        spec = vector_env.find_spec(envs)
        self.id = vector_env.name(envs, spec)
        vector_env.require_same_step(envs, self.id, "envs")
        vector_env.require_distinct(envs, "env")
        if members < 1 or envs.num_envs % members:
            raise ValueError(f"members: {members} members cannot share {envs.num_envs} environments equally.")
        self.envs, self.members, self.num_envs, self.seed = envs, members, envs.num_envs // members, seed
        self.device = torch.device(device)
        self._actions = Actions(envs.single_action_space)
        self._observations = Observations(envs.single_observation_space)
        self.frames = vector_env.frames(envs) if frames is None else frames
        shape = getattr(self.observation, "shape", ())
        if self.frames != 1 and shape[:1] != (self.frames,):
            raise ValueError(f"frames: observations {self.observation} are no stack of {self.frames}.")
        self.make_envs = vector_env.builder(envs, spec) if make_envs is None else make_envs
        self.decisions = Stream(seed, "policy", device)
        self.taken = 0  # steps of each environment so far
        self._stage: AnyVectorEnv | None = None  # where `play` plays
        self._fleet = fleet(envs, self.id)
        self._fleet.reset(self._seeds())
        if self._masked(action_masks):
            self._observations = Observations(envs.single_observation_space, sum(choices(self.action)))
            self.frames = 1  # a dict is no stack
        self.max_steps = vector_env.time_limit(envs, spec)
        self._begin()
        self.spec = Spec(
            self.id,
            self.observation,
            self.action,
            members,
            self.num_envs,
            self.max_steps,
            seed,
            self.device,
            self._observations.dtype,
            self.frames,
        )

    @property
    def observation(self) -> Space:
        """Space of observations."""
        return self._observations.space

    @property
    def action(self) -> Space:
        """Space of actions."""
        return self._actions.space

    def _masked(self, wanted: bool | None) -> bool:
        """Whether observations get masks of valid actions."""
        has_key = isinstance(self.observation, Dict) and "action_mask" in self.observation.named
        if wanted is False or has_key:
            return False
        found = bool(choices(self.action)) and self._fleet.has_masks()
        if wanted and not found:
            raise ValueError(
                f"action_masks: '{self.id}' with actions {self.action} has neither info['action_mask'] at reset nor a "
                "method action_masks()."
            )
        return found

    def _seeds(self) -> list[int]:
        """Of the episodes that begin now: they depend on the seed and the steps taken."""
        return [_seed(self.seed, "env", self.taken, i) for i in range(self.envs.num_envs)]

    def _begin(self) -> None:
        """Show the beginning of episodes, whoever drove before."""
        self._last = self._observations.room(self.members, self.num_envs)
        self._fleet.show(self._observations, arrays(self._last))
        for leaf in arrays(self._last):
            self._require_finite("an observation", leaf)
        self._starts = torch.ones(self.members, self.num_envs, dtype=torch.bool, device=self.device)
        self._driver: Policy | None = None
        self._memory: Memory = None

    def _require_finite(self, what: str, values: Array, who: Sequence[int] | None = None, count: int = 0) -> None:
        """Refuse what is not finite before anybody learns from it or keeps it.

        Args:
            what: They are.
            values: Of each environment, [B, ...].
            who: Their numbers, if they are not all.
            count: Of all, if they are not.

        Raises:
            FloatingPointError: Something is not.
        """
        if values.dtype.kind != "f" or np.isfinite(values).all():
            return
        first = int(np.isfinite(values).reshape(len(values), -1).all(1).argmin())
        first, count = (first, len(values)) if who is None else (who[first], count)
        raise FloatingPointError(
            f"env: environment {first} of '{self.id}' (member {first * self.members // count}) gave {what} that is not "
            "finite; mend the environment, or put a wrapper around it."
        )

    def _inward(self, array: Array) -> Tensor:
        """[T, B] -> [T, M, N], on the device."""
        return torch.from_numpy(array).view(-1, self.members, self.num_envs).to(self.device)

    @torch.no_grad()
    def collect(self, policy: Policy, steps: int) -> Rollout:
        """`steps` steps of every environment under `policy`: [T, M, N].

        A policy with memory that takes over from another starts with a fresh one, in the midst of episodes.
        """
        shape = (self.members, self.num_envs)
        if policy is not self._driver:
            self._driver, self._memory = policy, policy.memory(*shape)
        noise = self.decisions.uniform(steps, *shape, policy.noise).unbind()
        window = Window(self._observations, steps, shape, self.device)
        window.put(0, self._last)
        memory = self._memory
        reward = np.empty((steps, self.envs.num_envs), np.float32)
        terminated, truncated = np.empty(reward.shape, np.bool_), np.empty(reward.shape, np.bool_)
        decided: list[tuple[Tensor, dict[str, Any]]] = []
        last: list[list[NDArray[Any]]] = []
        for t in range(steps):
            action, self._memory, extras = policy.act(window.obs(t), noise[t], self._memory)
            decided.append((action, extras))
            step = self._fleet.step(self._observations, window.rows(t + 1), self._actions.outward(action))
            reward[t], terminated[t], truncated[t] = step.reward, step.terminated, step.truncated
            for leaf in window.rows(t + 1):  # before anybody acts on it
                self._require_finite("an observation", leaf)
            window.send(t + 1)
            if step.last:
                last += step.last
                if self._memory is not None:
                    ended = self._inward((terminated[t] | truncated[t])[None])[0]
                    self._memory = tree.where(ended, policy.memory(*shape), self._memory)
        self.taken += steps
        self._last = window.last()
        done = terminated | truncated
        self._require_finite("a reward", reward.T)
        ended = (np.flatnonzero(done) % self.envs.num_envs).tolist()
        for column in zip(*last, strict=True):
            self._require_finite("a last observation", np.stack(column), ended, self.envs.num_envs)
        over = self._inward(done)
        starts, self._starts = torch.cat([self._starts[None], over[:-1]]), over[-1]
        actions, all_extras = tree.stack(decided)
        return Rollout(
            window.before(),
            actions,
            self._inward(reward),
            window.after(np.flatnonzero(done), last),
            self._inward(terminated),
            self._inward(truncated & ~terminated),
            all_extras,
            starts=starts,
            memory=memory,
        )

    @torch.no_grad()
    def play(self, policy: Policy, episodes: int, seed: int) -> Tensor:
        """Returns [M, E] of whole episodes in fresh environments; this source's own episodes are left alone.

        Every member plays exactly `episodes` episodes in waves of at most 32, one episode an environment and
        wave, so short ones count no more than long ones. Episode e of member m begins from a seed that is a
        function of (`seed`, m, e), and so is the policy's noise at each step: the returns of policies are
        paired. A VectorEnv with one generator for all its sub-environments is seeded once a wave. Without a
        time limit an episode that never terminates goes on for ever.

        Raises:
            ValueError: `episodes` is less than 1, or nothing says how to build fresh environments.
        """
        if episodes < 1:
            raise ValueError(f"episodes: must be at least 1, not {episodes}.")
        waves = -(-episodes // _WAVE)
        width = -(-episodes // waves)
        playing = fleet(self._open(self.members * width), self.id)
        returns = []
        for wave in range(waves):
            index = range(wave * width, (wave + 1) * width)
            seeds = [_seed(seed, "evaluate", member, e) for member in range(self.members) for e in index]
            counts = np.array([[e < episodes for e in index]] * self.members)
            decisions = Stream(seed, f"evaluate-policy/{wave}", self.device)
            returns.append(self._wave(playing, policy, seeds, counts, decisions))
        return torch.cat(returns, 1)[:, :episodes].to(self.device)

    def _wave(
        self,
        playing: Fleet,
        policy: Policy,
        seeds: list[int],
        counts: NDArray[np.bool_],
        decisions: Stream,
    ) -> Tensor:
        """Returns [M, K] of one episode in each environment that `counts` [M, K]; 0 of the others."""
        memory, total = policy.memory(*counts.shape), np.zeros(counts.size)
        alive, t, noise = counts.flatten(), 0, torch.empty(0)
        playing.reset(seeds)
        leaves = self._observations.room(*counts.shape)
        playing.show(self._observations, arrays(leaves))
        while alive.any():
            if t % _BLOCK == 0:
                noise = decisions.uniform(_BLOCK, *counts.shape, policy.noise)
            obs = self._observations.tree([leaf.to(self.device) for leaf in leaves])
            action, memory, _ = policy.act(obs, noise[t % _BLOCK], memory)
            leaves = [leaf.clone() for leaf in leaves]  # the policy may remember what it saw
            step = playing.step(self._observations, arrays(leaves), self._actions.outward(action), alive)
            for leaf in arrays(leaves):
                self._require_finite("an observation", leaf)
            total += np.where(alive, step.reward, 0)
            alive &= ~(step.terminated | step.truncated)
            t += 1
        self._require_finite("a reward", total)
        return torch.from_numpy(total.reshape(counts.shape)).float()

    def _open(self, count: int) -> AnyVectorEnv:
        """Environments for `play`, kept for the next: building them takes longer than some episodes."""
        if self._stage is not None and self._stage.num_envs == count:
            return self._stage
        if self.make_envs is None:
            raise ValueError(
                f"make_envs: '{self.id}' has nothing to build fresh environments from; pass "
                "make_envs=lambda count: gymnasium.vector.SyncVectorEnv([make_one] * count, "
                "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)."
            )
        if self._stage is not None:
            self._stage.close()
        self._stage = self.make_envs(count)
        vector_env.require_same_step(self._stage, self.id, "make_envs")
        vector_env.require_distinct(self._stage, "env", self.envs)
        return self._stage

    def close(self) -> None:
        """Close the environments, also those of `play`."""
        for envs in (self.envs, self._stage):
            if envs is not None:
                envs.close()
        self._stage = None

    def state_dict(self) -> dict[str, Any]:
        """The policy's stream and the steps taken.

        The inside of a Gymnasium environment cannot be saved. After `load_state_dict` new episodes begin,
        with seeds that depend on the steps taken: a resumed run can be repeated, but is not the one that was
        never interrupted.
        """
        return {
            "decisions": self.decisions.state_dict(),
            "taken": torch.tensor(self.taken),
            "size": torch.tensor([self.members, self.num_envs]),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the stream and begin new episodes."""
        saved, mine = tuple(state["size"].tolist()), (self.members, self.num_envs)
        if saved != mine:
            raise RuntimeError(f"saved with (members, num_envs) = {saved}, this run has {mine}")
        self.decisions.load_state_dict(state["decisions"])
        self.taken = int(state["taken"])
        self._fleet.reset(self._seeds())
        self._begin()


def _seed(*names: str | int) -> int:
    """A seed in [0, 2³¹) from names and numbers."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
