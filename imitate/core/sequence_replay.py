"""Replay of rollouts in their order: n-step transitions, sampled uniformly or by priority, all on the device.

Letters: T time, M members, N environments of one member, B batch, C time slots.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from imitate.core import tree
from imitate.core.noise import Stream, integers
from imitate.core.types import Transition

__all__ = ["Sample", "SequenceReplay"]


@dataclass(frozen=True)
class Sample:
    """A batch [M, B] from a replay."""

    obs: Tensor
    action: Tensor
    reward: Tensor  # Σ γᵏ r over the steps taken
    discount: Tensor  # γ to the number of steps taken; 0 behind a terminal one
    next_obs: Tensor  # where they ended, before auto-reset
    weight: Tensor  # importance weight, at most 1
    index: Tensor  # of the first step, for `prioritise`


class SequenceReplay:
    """The last rollouts of every environment, as a ring over time.

    A step becomes available once the n − 1 steps behind it are there. A window ends early with its episode: behind a
    terminal step nothing is bootstrapped, behind a truncated one the value of its true last observation is.

    Sampling is proportional to priorityᵅ by a cumulative sum and a binary search, stratified over the batch (Schaul et
    al. 2016, §3.3 and appendix B.2.1), or uniform if α = 0. New steps get the largest priority so far.

    Args:
        capacity: Steps of one member; rounded down to whole time slots of N.
        num_envs: N.
        stream: Where the indices come from.
        gamma: γ of each member, [M].
        n_step: Steps summed up before bootstrapping.
        alpha: α.

    Raises:
        ValueError: The capacity holds less than one window.
    """

    def __init__(
        self, capacity: int, num_envs: int, stream: Stream, gamma: Tensor, *, n_step: int = 1, alpha: float = 0.0
    ) -> None:
        self.slots = capacity // num_envs
        if n_step < 1:
            raise ValueError(f"n_step: at least 1, not {n_step}.")
        if self.slots <= n_step:
            raise ValueError(f"capacity: {capacity} does not hold {n_step + 1} steps of {num_envs} environments.")
        self.num_envs, self.stream, self.gamma = num_envs, stream, gamma
        self.n_step, self.alpha = n_step, alpha
        self.written = torch.zeros((), dtype=torch.int64)  # time slots so far; on the CPU: known without a sync
        members, device = len(gamma), gamma.device
        self.rows = torch.arange(members, device=device).unsqueeze(1)
        self.priority = torch.zeros(members, self.slots * num_envs if alpha > 0 else 0, device=device)
        self.largest = torch.ones(members, 1, device=device)
        self._fields: Transition | None = None

    def __len__(self) -> int:
        """Steps of a member that can be sampled."""
        return max(0, min(int(self.written), self.slots) - self.n_step + 1) * self.num_envs

    def add(self, rollout: Transition) -> None:
        """Append a rollout [T, M, N], T at most the number of slots; the oldest make room. Extras are not kept."""
        time = len(rollout.reward)
        if time > self.slots:
            raise ValueError(f"capacity: {self.slots} time slots do not hold a rollout of {time} steps.")
        kept = Transition(**{**vars(rollout), "extras": {}})
        if self._fields is None:
            self._fields = tree.map(lambda x: x.new_zeros(x.shape[1], self.slots, *x.shape[2:]), kept)
        first = int(self.written)
        slots = torch.arange(first, first + time, device=rollout.reward.device) % self.slots
        tree.map(lambda store, new: store.index_copy_(1, slots, new.transpose(0, 1)), self._fields, kept)
        self.written += time
        if self.alpha > 0:
            table = self.priority.view(len(self.priority), self.slots, self.num_envs)
            table[:, slots] = 0
            # What is complete now: the new steps but the last n − 1, and those that were waiting for them.
            start = max(0, first - self.n_step + 1, first + time - self.slots)
            end = max(start, first + time - self.n_step + 1)  # at first there may be none
            table[:, torch.arange(start, end, device=slots.device) % self.slots] = self.largest.unsqueeze(-1)

    def sample(self, batch_size: int, beta: float = 1.0) -> Sample:
        """A batch of n-step transitions; `beta` is the exponent β of the importance weights.

        Raises:
            ValueError: Nothing can be sampled yet.
        """
        if len(self) == 0:
            raise ValueError("replay: no complete window to sample from; add rollouts first.")
        assert self._fields is not None
        uniform = self.stream.uniform(len(self.gamma), batch_size)
        if self.alpha > 0:
            cumulative = self.priority.double().cumsum(1)
            total = cumulative[:, -1:]
            strata = (torch.arange(batch_size, device=uniform.device) + uniform.double()) / batch_size
            index = torch.searchsorted(cumulative, strata * total, right=True).clamp(max=cumulative.shape[1] - 1)
            weight = ((len(self) / total) * self.priority.gather(1, index)).pow(-beta).float()
            weight = weight / weight.amax(1, keepdim=True)
        else:
            oldest = max(0, int(self.written) - self.slots) * self.num_envs
            index = (oldest + integers(len(self), uniform)) % (self.slots * self.num_envs)
            weight = torch.ones_like(uniform)
        return self._window(self._fields, index, weight)

    def _window(self, fields: Transition, index: Tensor, weight: Tensor) -> Sample:
        """Sum up to n steps from each index, stopping at episode ends."""
        flat = tree.map(lambda x: x.flatten(1, 2), fields)
        size = self.slots * self.num_envs
        gamma = self.gamma.unsqueeze(1)
        rows = self.rows
        reward, discount = torch.zeros_like(weight), torch.ones_like(weight)
        alive = torch.ones_like(weight, dtype=torch.bool)
        last = index
        terminated = torch.zeros_like(alive)
        for k in range(self.n_step):
            at = (index + k * self.num_envs) % size
            reward = reward + alive * discount * flat.reward[rows, at]
            discount = torch.where(alive, discount * gamma, discount)
            last = torch.where(alive, at, last)
            terminated = terminated | (alive & flat.terminated[rows, at])
            alive = alive & ~(flat.terminated[rows, at] | flat.truncated[rows, at])
        return Sample(
            flat.obs[rows, index],
            flat.action[rows, index],
            reward,
            discount * ~terminated,
            flat.next_obs[rows, last],
            weight,
            index,
        )

    def prioritise(self, index: Tensor, error: Tensor) -> None:
        """Set the priorities of sampled steps [M, B] to their absolute errors, plus 10⁻⁶."""
        if self.alpha > 0:
            priority = (error.abs() + 1e-6).pow(self.alpha)
            self.priority[self.rows, index] = priority
            self.largest.copy_(self.largest.maximum(priority.amax(1, keepdim=True)))

    def state_dict(self) -> dict[str, Any]:
        """Everything, unused slots left out."""
        state: dict[str, Any] = {
            "written": self.written,
            "stream": self.stream.state_dict(),
            "priority": self.priority,
            "largest": self.largest,
        }
        if self._fields is not None:
            used = tree.map(lambda x: x[:, : int(self.written)], self._fields)
            state["fields"] = {name: value for name, value in vars(used).items() if name != "extras"}
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore.

        Raises:
            RuntimeError: The state is of other members, environments or capacity.
        """
        used = min(int(state["written"]), self.slots)
        if used and state["fields"]["reward"].shape != (len(self.gamma), used, self.num_envs):
            found = tuple(state["fields"]["reward"].shape)
            raise RuntimeError(f"rewards are {found}, not {(len(self.gamma), used, self.num_envs)}")
        if state["priority"].shape != self.priority.shape:
            raise RuntimeError(f"priority is {tuple(state['priority'].shape)}, not {tuple(self.priority.shape)}")
        self.written.copy_(state["written"])
        self.stream.load_state_dict(state["stream"])
        self.priority.copy_(state["priority"])
        self.largest.copy_(state["largest"])
        self._fields = None
        if "fields" in state:

            def restore(x: Tensor) -> Tensor:
                store = torch.zeros(len(x), self.slots, *x.shape[2:], dtype=x.dtype, device=self.gamma.device)
                store[:, : x.shape[1]] = x
                return store

            self._fields = tree.map(restore, Transition(**state["fields"]))
