"""Observations kept once: each environment's frames in their order, as a ring.

Letters: T time, M members, N environments of one member, B batch, K frames of one observation, R rows of the ring.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["Frames"]


class Frames:
    """The last R frames that each of M·N environments showed; an observation is K in succession.

    Of a step the last observation is new, and one frame of it. The first one is what the step before ended with, and is
    kept no second time; where it is not, as at the beginning of an episode, it is written whole. So an episode of L
    steps takes L + K frames, and what is read is what was written, bit for bit, however the source fills its first
    stacks.

    Args:
        members: M.
        num_envs: N.
        rows: R.
        shape: Shape of an observation; with K > 1 the first axis counts its frames, the newest last.
        dtype: Type of its numbers.
        device: Where they are kept.
        stack: K; 1 keeps an observation as it is.
    """

    def __init__(
        self,
        members: int,
        num_envs: int,
        rows: int,
        shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device | str = "cpu",
        *,
        stack: int = 1,
    ) -> None:
        self.rows, self.stack, self.shape = rows, stack, shape
        frame = shape[1:] if stack > 1 else shape
        # One row more, which nobody reads: there goes what is not to be written, so that no size depends on the data.
        self.store = torch.zeros(members, num_envs, rows + 1, *frame, dtype=dtype, device=device)
        self.written = torch.zeros(members, num_envs, dtype=torch.int64, device=device)
        self._first = torch.arange(members * num_envs, device=device).view(members, num_envs) * (rows + 1)
        self._back = torch.arange(1 - stack, 1, device=device)
        self._offsets = torch.arange(-stack, 1, device=device)
        self._flat = self.store.view(-1, *frame)

    def room(self) -> int:
        """Most steps that one `write` takes, even if each of them begins an episode."""
        return (self.rows - self.stack) // (self.stack + 1)

    def write(self, obs: Tensor, next_obs: Tensor) -> tuple[Tensor, Tensor]:
        """Append steps [T, M, N, *obs], at most `room`.

        Returns:
            The number [T, M, N] of the newest frame of each `obs`, counted from the first ever written, which `read`
            takes; that of its `next_obs` is one more. And whether `obs` [T, M, N] was written whole.
        """
        newest = self.written - 1
        before = torch.cat([self.read(newest).unsqueeze(0), next_obs[:-1]])
        whole = (obs != before).reshape(*obs.shape[:3], -1).any(-1)
        whole[0] |= newest < 0
        last = newest + (1 + self.stack * whole).cumsum(0)
        frames = torch.stack([obs, next_obs], 3) if self.stack == 1 else torch.cat([obs, next_obs[:, :, :, -1:]], 3)
        number = last.unsqueeze(-1) + self._offsets
        kept = whole.unsqueeze(-1) | (number == last.unsqueeze(-1))
        row = self._first.unsqueeze(-1) + torch.where(kept, number % self.rows, self.rows)
        self._flat.index_copy_(0, row.flatten(), frames.flatten(0, 3))
        self.written.copy_(last[-1] + 1)
        return last - 1, whole

    def read(self, number: Tensor, env: Tensor | None = None) -> Tensor:
        """Observations by the numbers [M, B] of their newest frames.

        Args:
            number: As `write` returned it.
            env: Of which environment each is, [M, B]; by default one of each, [M, N].
        """
        first = self._first if env is None else self._first.gather(1, env)
        if self.stack == 1:
            row = first + number % self.rows
        else:
            row = first.unsqueeze(-1) + (number.unsqueeze(-1) + self._back) % self.rows
        return self._flat.index_select(0, row.flatten()).view(*number.shape, *self.shape)

    def lost(self, number: Tensor) -> Tensor:
        """Whether a frame of an observation [M, N, ...] has been overwritten."""
        oldest = (self.written - self.rows).reshape(*self.written.shape, *(1,) * (number.dim() - 2))
        return number - (self.stack - 1) < oldest

    def state_dict(self) -> dict[str, Any]:
        """What was written, unused rows left out."""
        return {"frames": self.store[:, :, : self._used(self.written)], "written": self.written}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place.

        Raises:
            RuntimeError: The state is of other members, environments, rows or observations.
        """
        if state["written"].shape != self.written.shape or bool((state["written"] < 0).any()):
            raise RuntimeError("numbers of frames are not negative, and one an environment")
        saved, expected = state["frames"], (*self.store.shape[:2], self._used(state["written"]), *self.store.shape[3:])
        if saved.shape != expected or saved.dtype != self.store.dtype:
            raise RuntimeError(f"frames are {saved.dtype} {tuple(saved.shape)}, not {self.store.dtype} {expected}")
        self.store[:, :, : saved.shape[2]] = saved
        self.written.copy_(state["written"])

    def _used(self, written: Tensor) -> int:
        return min(int(written.max()), self.rows)
