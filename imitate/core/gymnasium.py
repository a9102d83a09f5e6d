"""The source over Gymnasium: any VectorEnv gives the same `Transition` as a tensor environment.

Letters: T time, M members, N environments of one member, E episodes, K environments of one member in `play`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import tree, vector_env
from imitate.core.noise import Stream
from imitate.core.types import Memory, Policy, Transition
from imitate.core.vector_env import AnyVectorEnv
from imitate_envs.base import Box, Discrete, Space
from imitate_envs.gymnasium import from_gymnasium

__all__ = ["GymnasiumSource"]

_WAVE = 32  # most environments of one member that play at once
_BLOCK = 64  # steps whose noise `play` draws at once


class GymnasiumSource:
    """The M·N environments of a Gymnasium VectorEnv, which run on, episode after episode.

    They must auto-reset in the mode SAME_STEP: `next_obs` is then the true last observation of an episode,
    and no row of a rollout joins two. Sub-environment m·N + n belongs to member m. Observations are float32;
    bytes stay bytes and a Discrete is int64. A Box action is clipped to its bounds and cast to the type of
    the environment; the transition keeps what the policy gave. A step that Gymnasium calls both terminated
    and truncated is terminated.

    Args:
        envs: The environments. They are reset here, with seeds derived from `seed`; `close` closes them.
        members: M; must divide `envs.num_envs`.
        seed: Seed of the environments and of the stream "policy".
        device: Where the transitions live.
        make_envs: Builds as many environments as asked, in mode SAME_STEP, for `play`. By default they are
            built from the spec of `envs`, which `gymnasium.make_vec` leaves there.
        frames: Successive frames that an observation stacks along its first axis, the newest last. By default
            it is asked of the Arcade Learning Environment and of a FrameStackObservation; elsewhere it is 1.

    Attributes:
        max_steps: Time limit of an episode; 2³¹ − 1 where none is known.

    Raises:
        ValueError: The autoreset mode is another, a space is neither a Box nor a Discrete from 0, M does not
            divide the number of environments, or the observations are no stack of `frames`.
    """

    def __init__(
        self,
        envs: AnyVectorEnv,
        *,
        members: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        make_envs: Callable[[int], AnyVectorEnv] | None = None,
        frames: int | None = None,
    ) -> None:
        spec = vector_env.find_spec(envs)
        self.id = type(envs.unwrapped).__name__ if spec is None else spec.id
        vector_env.require_same_step(envs, self.id, "envs")
        if members < 1 or envs.num_envs % members:
            raise ValueError(f"members: {members} members cannot share {envs.num_envs} environments equally.")
        self.envs, self.members, self.num_envs, self.seed = envs, members, envs.num_envs // members, seed
        self.device = torch.device(device)
        self.observation: Space = _space(envs.single_observation_space, "observation")
        self.action: Space = _space(envs.single_action_space, "action")
        self.frames = vector_env.frames(envs) if frames is None else frames
        if self.frames != 1 and self.observation.shape[:1] != (self.frames,):
            raise ValueError(f"frames: observations {self.observation} are no stack of {self.frames}.")
        self.max_steps = vector_env.time_limit(envs, spec)
        self.make_envs = vector_env.builder(envs, spec) if make_envs is None else make_envs
        self.decisions = Stream(seed, "policy", device)
        self.taken = 0  # steps of each environment so far
        self._stage: AnyVectorEnv | None = None  # where `play` plays
        self._begin()

    def _begin(self) -> None:
        """Begin episodes; which ones depends on the seed and the steps taken."""
        seeds = [_seed(self.seed, "env", self.taken, i) for i in range(self.envs.num_envs)]
        self._obs = self._room(self.num_envs)
        self._write(self._obs, vector_env.reset(self.envs, seeds))
        self._driver: Policy | None = None
        self._memory: Memory = None

    @property
    def obs_dtype(self) -> torch.dtype:
        """Type of the numbers of an observation."""
        if isinstance(self.observation, Discrete):
            return torch.int64
        return torch.uint8 if self.envs.single_observation_space.dtype == np.uint8 else torch.float32

    def _room(self, *shape: int) -> Tensor:
        """Memory for observations [M, *shape, *obs]."""
        return torch.empty(self.members, *shape, *self.observation.shape, dtype=self.obs_dtype, device=self.device)

    def _write(self, out: Tensor, obs: NDArray[Any]) -> None:
        """Observations of all environments into `out`: one copy on the CPU, and one more to a device."""
        host = out if out.device.type == "cpu" else torch.empty_like(out, device="cpu", pin_memory=True)
        host.numpy()[...] = obs.reshape(host.shape)
        if host is not out:
            out.copy_(host, non_blocking=True)

    def _outward(self, action: Tensor) -> NDArray[Any]:
        """Actions [M, N, ...] as the environments take them, [M·N, ...]."""
        space = self.envs.single_action_space
        array = action.flatten(0, 1).cpu().numpy().astype(space.dtype, copy=False)
        # After the cast and by the environment's own numbers, so that rounding leaves nothing out of bounds.
        return np.clip(array, space.low, space.high) if isinstance(space, spaces.Box) else array

    def _inward(self, array: NDArray[Any]) -> Tensor:
        """[T, M·N] -> [T, M, N], on the device."""
        return torch.from_numpy(array).view(-1, self.members, self.num_envs).to(self.device)

    @torch.no_grad()
    def collect(self, policy: Policy, steps: int) -> Transition:
        """`steps` steps of every environment under `policy`: [T, M, N].

        A policy with memory that takes over from another starts with a fresh one, in the midst of episodes.
        """
        shape = (self.members, self.num_envs)
        if policy is not self._driver:
            self._driver, self._memory = policy, policy.memory(*shape)
        noise = self.decisions.uniform(steps, *shape, policy.noise)
        obs = self._obs.new_empty(steps + 1, *self._obs.shape)
        obs[0] = self._obs
        reward = np.empty((steps, self.envs.num_envs), np.float32)
        terminated, truncated = np.empty(reward.shape, np.bool_), np.empty(reward.shape, np.bool_)
        decided: list[tuple[Tensor, dict[str, Any]]] = []
        last: list[NDArray[Any]] = []
        for t in range(steps):
            action, self._memory, extras = policy.act(obs[t], noise[t], self._memory)
            decided.append((action, extras))
            seen, reward[t], terminated[t], truncated[t], infos = self.envs.step(self._outward(action))
            self._write(obs[t + 1], np.asarray(seen))
            done = terminated[t] | truncated[t]
            if done.any():
                last += vector_env.last_observations(infos, done, self.id)
                ended = self._inward(done[None])[0]
                self._memory = tree.where(ended, policy.memory(*shape), self._memory)
        self.taken += steps
        self._obs = obs[-1]
        next_obs = obs[1:].clone()
        if last:
            ends = torch.from_numpy(np.flatnonzero(terminated | truncated)).to(self.device)
            next_obs.flatten(0, 2)[ends] = torch.from_numpy(np.stack(last)).to(next_obs)
        actions, all_extras = tree.stack(decided)
        return Transition(
            obs[:-1],
            actions,
            self._inward(reward),
            next_obs,
            self._inward(terminated),
            self._inward(truncated & ~terminated),
            all_extras,
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
        envs = self._open(self.members * width)
        returns = []
        for wave in range(waves):
            index = range(wave * width, (wave + 1) * width)
            seeds = [_seed(seed, "evaluate", member, e) for member in range(self.members) for e in index]
            counts = np.array([[e < episodes for e in index]] * self.members)
            decisions = Stream(seed, f"evaluate-policy/{wave}", self.device)
            returns.append(self._wave(envs, policy, seeds, counts, decisions))
        return torch.cat(returns, 1)[:, :episodes].to(self.device)

    def _wave(
        self,
        envs: AnyVectorEnv,
        policy: Policy,
        seeds: list[int],
        counts: NDArray[np.bool_],
        decisions: Stream,
    ) -> Tensor:
        """Returns [M, K] of one episode in each environment that `counts` [M, K]; 0 of the others."""
        memory, total = policy.memory(*counts.shape), np.zeros(counts.size)
        alive, t = counts.flatten(), 0
        obs, noise = self._room(counts.shape[1]), torch.empty(0)
        seen = vector_env.reset(envs, seeds)
        while alive.any():
            if t % _BLOCK == 0:
                noise = decisions.uniform(_BLOCK, *counts.shape, policy.noise)
            self._write(obs, seen)
            action, memory, _ = policy.act(obs, noise[t % _BLOCK], memory)
            seen, reward, done = vector_env.step_alive(envs, self._outward(action), alive, seen)
            total += np.where(alive, reward, 0)
            alive &= ~done
            t += 1
        return torch.from_numpy(total.reshape(counts.shape)).float()

    def _open(self, count: int) -> AnyVectorEnv:
        """Environments for `play`, kept for the next: building them takes longer than some episodes."""
        if self._stage is not None and self._stage.num_envs == count:
            return self._stage
        if self.make_envs is None:
            raise ValueError(
                f"make_envs: '{self.id}' has no Gymnasium spec to build fresh environments from; pass "
                "make_envs=lambda count: gymnasium.vector.SyncVectorEnv([make_one] * count, "
                "autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP)."
            )
        if self._stage is not None:
            self._stage.close()
        self._stage = self.make_envs(count)
        vector_env.require_same_step(self._stage, self.id, "make_envs")
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
        self._begin()


def _seed(*names: str | int) -> int:
    """A seed in [0, 2³¹) from names and numbers."""
    digest = hashlib.sha256("/".join(map(str, names)).encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1


def _space(space: spaces.Space[Any], argument: str) -> Space:
    """Our space of one of Gymnasium's, or a ValueError that names the argument."""
    try:
        ours = from_gymnasium(space)
    except ValueError as error:
        raise ValueError(f"{argument}: {' '.join(str(error).split())}") from None  # in one line
    if argument == "action" and isinstance(ours, Box) and not np.issubdtype(space.dtype, np.floating):
        raise ValueError(f"action: {space} is not supported: the numbers of a Box must be floats.")
    return ours
