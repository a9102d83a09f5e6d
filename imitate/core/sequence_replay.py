"""Replay of rollouts in their order: n-step transitions, sampled uniformly or by priority, all on the device.

Letters: T time, M members, N environments of one member, B batch, K frames of one observation, S time slots.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from imitate.core import memory, tree
from imitate.core.actions import choices, width
from imitate.core.config import checked
from imitate.core.finite import finite
from imitate.core.frames import Frames
from imitate.core.noise import Stream, integers
from imitate.core.packing import Packing
from imitate.core.priorities import blocks, bounded, search
from imitate.core.replay import AT_ONCE
from imitate.core.types import Obs, Rollout, Source, parts
from imitate_envs.base import Discrete

__all__ = ["Sample", "SequenceReplay"]


@dataclass(frozen=True)
class Sample:
    """A batch [M, B] from a replay."""

    obs: Obs
    action: Tensor
    reward: Tensor  # Σ γᵏ r over the steps taken
    discount: Tensor  # γ to the number of steps taken; 0 behind a terminal one
    next_obs: Obs  # where they ended, before auto-reset
    weight: Tensor  # importance weight, at most 1
    index: Tensor  # of the first step, for `update_priorities`; no two steps of a run have the same
    kept: dict[str, Tensor] = field(default_factory=dict)  # extras of the first step, as the replay was told
    extras: Any = ()  # of the terms of a loss


class SequenceReplay:
    """The last rollouts of every environment, as a ring over time.

    A step becomes available once the n − 1 steps behind it are there. A window ends early with its episode: behind a
    terminal step nothing is bootstrapped, behind a truncated one the value of its true last observation is.

    Observations are kept once, in the type that the source gives them, and stacked ones as single frames: see `Frames`.
    An episode takes K frames more than it has steps. Where episodes are so short that `spare` does not hold these, the
    oldest steps of an environment make room earlier than its time slots do.

    Without priorities every environment is drawn equally often, and so is every step of one. With them a step is drawn
    in proportion to its priorityᵅ by cumulative sums and a search, stratified over the batch (Schaul et al. 2016, §3.3
    and appendix B.2.1). New steps get the largest priority so far.

    Args:
        capacity: Steps of one member; rounded down to S whole time slots of N.
        source: What is kept: its environments, observations and actions.
        stream: Where the indices come from.
        gamma: γ of each member, [M].
        n_step: Steps summed up before bootstrapping.
        alpha: α; with 0 there are no priorities.
        keep: Extras of a rollout to keep with each step, tensors [T, M, N, ...] by name; a sample has them as `kept`.
        spare: Frames of one environment beyond S; by default S/8, and 64 at least.

    Attributes:
        finite: Whether all transitions so far were finite, a bool of each member [M].

    Raises:
        ValueError: The capacity holds less than one window, or more than fits into memory.
    """

    @checked
    def __init__(
        self,
        capacity: int,
        source: Source,
        stream: Stream,
        gamma: Tensor,
        *,
        n_step: int = 1,
        alpha: float = 0.0,
        keep: Sequence[str] = (),
        spare: int | None = None,
    ) -> None:
        spec = source.spec
        num_envs, members, device = spec.num_envs, len(gamma), gamma.device
        self.slots = capacity // num_envs
        if n_step < 1:
            raise ValueError(f"n_step: at least 1, not {n_step}.")
        if self.slots < n_step:
            raise ValueError(f"capacity: {capacity} does not hold {n_step} steps of {num_envs} environments.")
        self.num_envs, self.stream, self.gamma = num_envs, stream, gamma
        self.n_step, self.alpha = n_step, alpha
        spare = max(64, self.slots // 8) if spare is None else spare
        # At the least the newest window, were each of its steps the first of an episode.
        rows = max(self.slots + spare, (n_step + 1) * (spec.frames + 1))
        self.packing = Packing(spec)
        shape = (members, self.slots * num_envs)
        whole = () if isinstance(spec.action, Discrete) else (width(spec.action),)
        self._choices = choices(spec.action)
        action = torch.empty(0, *whole, dtype=torch.int64 if self._choices else torch.float32)
        self._bytes = members * (
            num_envs * (rows + 1) * _size(self.packing.shape, self.packing.dtype, spec.frames)
            + shape[1] * (_size(action.shape[1:], action.dtype) + 4 + 1 + 8)
            + (shape[1] * 4 if alpha > 0 else 0)
        )
        self._require(self._bytes, f"capacity: {capacity:,} transitions of {members} members take", capacity)
        self.frames = Frames(members, num_envs, rows, self.packing.shape, self.packing.dtype, device, stack=spec.frames)
        self.action = action.new_zeros(*shape, *action.shape[1:], device=device)
        self.kept: dict[str, Tensor | None] = dict.fromkeys(keep)  # made at the first rollout, which tells their shapes
        self.reward = torch.zeros(shape, device=device)
        self.ended = torch.zeros(shape, dtype=torch.uint8, device=device)  # 1: terminated, 2: truncated
        self.number = torch.zeros(shape, dtype=torch.int64, device=device)  # of the observation, for `Frames.read`
        self.finite = torch.ones(members, dtype=torch.bool, device=device)
        self.written = torch.zeros((), dtype=torch.int64)  # time slots so far; on the CPU: known without a sync
        self.oldest = torch.zeros(members, num_envs, dtype=torch.int64, device=device)  # step that is still whole
        self._blocks = blocks(members, shape[1] if alpha > 0 else 0, device)
        self.priority = self._blocks.flatten(1)[:, : shape[1]]
        self.largest = torch.ones(members, 1, device=device)
        self._members = torch.arange(members, device=device).unsqueeze(1)
        self._envs = torch.arange(num_envs, device=device)
        self._ahead = torch.arange(n_step, device=device) * num_envs
        self._gammas = gamma.unsqueeze(1) ** torch.arange(n_step + 1, device=device)

    @property
    def bytes(self) -> int:
        """Memory that it takes; that of extras counts from the first rollout on, which tells their shapes."""
        return self._bytes + sum(room.nbytes for room in self.kept.values() if room is not None)

    def _require(self, needed: int, what: str, capacity: int) -> None:
        """Refuse what does not fit into memory.

        Raises:
            ValueError: It does not.
        """
        device = self.gamma.device
        free = memory.available(device)
        if free is not None and needed > free:
            raise ValueError(
                f"{what} {memory.mebibytes(needed)}, but {device} has {memory.mebibytes(free)} free; "
                f"about {int(capacity * free / needed):,} would fit."
            )

    def __len__(self) -> int:
        """Steps of a member that can be sampled; the most, where short episodes leave less room."""
        return max(0, min(int(self.written), self.slots) - self.n_step + 1) * self.num_envs

    def __str__(self) -> str:
        members = len(self.gamma)
        kept = self.slots * self.num_envs
        return (
            f"replay: {kept:,} transitions a member, {members} {'member' if members == 1 else 'members'}, "
            f"{memory.mebibytes(self.bytes)} on {self.gamma.device} ({self.bytes / (members * kept):,.0f} bytes each)"
        )

    def add(self, rollout: Rollout) -> None:
        """Append a rollout [T, M, N], T at most the number of slots; the oldest make room.

        Raises:
            ValueError: The rollout is longer than the ring, its observations are not those of the source, or it lacks
                an extra that is to be kept.
        """
        time, store = len(rollout.reward), self.frames.store
        obs, next_obs = self.packing.pack(rollout.obs), self.packing.pack(rollout.next_obs)
        if time > self.slots:
            raise ValueError(f"capacity: {self.slots} time slots do not hold a rollout of {time} steps.")
        if obs.shape[3:] != self.frames.shape or obs.dtype != store.dtype:
            raise ValueError(
                f"obs: {obs.dtype} {tuple(obs.shape[3:])}, but the source announced {store.dtype} {self.frames.shape}."
            )
        for name in self.kept:
            if name not in rollout.extras:
                recorded = ", ".join(sorted(rollout.extras)) or "nothing"
                raise ValueError(f"keep: the rollout has no extra '{name}'; its driver records {recorded}.")
        extras = [rollout.extras[name] for name in self.kept]
        self.finite &= finite((rollout.obs, rollout.action, rollout.reward, rollout.next_obs, extras), 1)
        # Of stacks every one is looked at where that costs no sync, and on a device the first ones are.
        if self.frames.stack > 1 and (int(self.written) == 0 or store.device.type == "cpu"):
            moved = next_obs[:, :, :, :-1] == obs[:, :, :, 1:]
            if not moved.all():
                raise ValueError(
                    f"obs: not {self.frames.stack} successive frames, the newest last; make the source with frames=1."
                )
        ended = rollout.terminated + 2 * rollout.truncated
        for start in range(0, time, self.frames.room()):
            part = slice(start, start + self.frames.room())
            number, whole = self.frames.write(obs[part], next_obs[part])
            self._close(whole[0] | rollout.starts[part][0])
            self._forget(len(number))
            kept = {name: rollout.extras[name][part] for name in self.kept}
            self._write(number, rollout.action[part], rollout.reward[part], ended[part], kept)

    def _close(self, whole: Tensor) -> None:
        """Truncate the last step of each [M, N] that does not go on, as after a source was resumed: no window joins.

        Its last observation is its own, even where the next one is not.
        """
        if self.written > 0:
            last = self.ended.view(-1, self.slots, self.num_envs)[:, (int(self.written) - 1) % self.slots]
            last.masked_fill_(whole & (last == 0), 2)

    def _forget(self, time: int) -> None:
        """Let go of the steps whose frames were overwritten, and of those whose slots the next `time` ones take."""
        written = int(self.written)
        most = min(time * (self.frames.stack + 1), written, self.slots)  # a step has at least one frame of its own
        step = self.oldest.unsqueeze(-1) + torch.arange(most, device=self.oldest.device)
        position = ((step % self.slots) * self.num_envs + self._envs.unsqueeze(-1)).flatten(1)
        lost = self.frames.lost(self.number.gather(1, position).view(step.shape)) & (step < written)
        if self.alpha > 0:
            table = self._blocks.flatten(1)
            table.scatter_(1, position, table.gather(1, position).masked_fill(lost.flatten(1), 0))
        self.oldest += lost.sum(-1)
        self.oldest.clamp_(min=written + time - self.slots)

    def _write(self, number: Tensor, action: Tensor, reward: Tensor, ended: Tensor, kept: Mapping[str, Tensor]) -> None:
        """Fill the next slots from [T, M, N, ...], and give priorities to what is complete now."""
        first, time = int(self.written), len(reward)
        slots = torch.arange(first, first + time, device=reward.device) % self.slots
        stores = [(self.number, number), (self.action, action), (self.reward, reward), (self.ended, ended)]
        stores += [(self._room(name, new), new) for name, new in kept.items()]
        for store, new in stores:
            store.unflatten(1, (self.slots, -1)).index_copy_(1, slots, new.transpose(0, 1).to(store.dtype))
        self.written += time
        if self.alpha > 0:
            table = self.priority.unflatten(1, (self.slots, -1))
            table[:, slots] = 0
            # The new steps but the last n − 1, and those that were waiting for them.
            start = max(0, first - self.n_step + 1, first + time - self.slots)
            end = max(start, first + time - self.n_step + 1)  # at first there may be none
            step = torch.arange(start, end, device=slots.device)
            there = step.unsqueeze(-1) >= self.oldest.unsqueeze(1)
            table[:, step % self.slots] = self.largest.unsqueeze(-1) * there

    def _room(self, name: str, like: Tensor) -> Tensor:
        """Where an extra is kept, [M, S·N, ...]; made as `like` [..., N, *shape] is."""
        room = self.kept[name]
        if room is None:
            members, capacity = self.reward.shape
            needed = members * capacity * _size(like.shape[3:], like.dtype)
            self._require(needed, f"keep: '{name}' of {capacity:,} transitions of {members} members takes", capacity)
            room = self.kept[name] = like.new_zeros(members, capacity, *like.shape[3:])
        return room

    def sample(self, batch_size: int, beta: float = 1.0) -> Sample:
        """A batch of n-step transitions; `beta` is the exponent β of the importance weights.

        Raises:
            ValueError: Nothing can be sampled yet.
        """
        if len(self) == 0:
            raise ValueError("replay: no complete window to sample from; add rollouts first.")
        if self.alpha > 0:
            within = self._uniform(batch_size)
            strata = torch.arange(batch_size, device=within.device) + within
            position, priority = search(self._blocks, strata / batch_size)
            newest = int(self.written) - 1
            step = newest - (newest - position // self.num_envs) % self.slots
            index = step * self.num_envs + position % self.num_envs
            weight = priority.pow(-beta)
            weight = weight / weight.amax(1, keepdim=True)
        else:
            env = integers(self.num_envs, self._uniform(batch_size))
            oldest = self.oldest.gather(1, env)
            step = oldest + integers(int(self.written) - self.n_step + 1 - oldest, self._uniform(batch_size))
            index = step * self.num_envs + env
            weight = torch.ones_like(index, dtype=torch.float32)
        return self._windows(index, weight)

    def _uniform(self, batch_size: int) -> Tensor:
        """Uniforms [M, B], finer than any replay is large."""
        return self.stream.uniform(len(self.gamma), batch_size, dtype=torch.float64)

    def batches(self, batch_size: int, count: int, beta: float = 1.0) -> Iterator[Sample]:
        """`count` batches in turn, as of `sample`.

        Without priorities nothing that happens between two of them changes what is drawn, so as many as fit into
        `AT_ONCE` bytes are drawn together: for small observations that costs hardly more than one.
        """
        each = 2 * batch_size * len(self.gamma) * _size(self.frames.shape, self.frames.store.dtype)
        together = 1 if self.alpha > 0 else max(1, min(count, AT_ONCE // each))
        for done in range(0, count, together):
            these = min(together, count - done)
            yield from parts(self.sample(batch_size * these, beta), these)

    def _windows(self, index: Tensor, weight: Tensor) -> Sample:
        """Sum up to n steps from each index, stopping at episode ends."""
        size = self.slots * self.num_envs
        first = last = index % size
        if self.n_step == 1:
            reward, end, discount = self.reward.gather(1, first), self.ended.gather(1, first), self._gammas[:, 1:]
        else:
            steps = (first.unsqueeze(-1) + self._ahead) % size  # [M, B, n]
            rewards, ends = (x.gather(1, steps.flatten(1)).view(steps.shape) for x in (self.reward, self.ended))
            # Behind the first end nothing counts; the end itself does.
            counts = F.pad((ends[..., :-1] > 0).cumsum(-1) == 0, (1, 0), value=True)
            taken = counts.sum(-1)
            reward, discount = (rewards * self._gammas[:, None, :-1] * counts).sum(-1), self._gammas.gather(1, taken)
            last, end = (x.gather(-1, taken.unsqueeze(-1) - 1).squeeze(-1) for x in (steps, ends))
        number = torch.cat([self.number.gather(1, first), self.number.gather(1, last) + 1], 1)
        env = index % self.num_envs
        rows = self.frames.read(number, torch.cat([env, env], 1)).chunk(2, 1)
        obs, next_obs = (self.packing.unpack(part) for part in rows)
        row = (first + self._members * size).flatten()

        def at(x: Tensor) -> Tensor:
            return x.flatten(0, 1).index_select(0, row).view(*first.shape, *x.shape[2:])

        kept = {name: at(x) for name, x in self.kept.items() if x is not None}
        return Sample(obs, at(self.action), reward, discount * (end != 1), next_obs, weight, index, kept)

    def update_priorities(self, index: Tensor, error: Tensor) -> Tensor:
        """Set the priorities of sampled steps [M, B] to their absolute errors, plus 10⁻⁶.

        Steps that have made room since they were sampled are left out. Instead of an error that is not finite a step
        gets the largest priority so far, as a new one does.

        Returns:
            How many errors were not finite, [M].
        """
        known = error.isfinite()
        if self.alpha > 0:
            priority = torch.where(known, bounded(error.abs().add_(1e-6).pow_(self.alpha)), self.largest)
            there = index // self.num_envs >= self.oldest.gather(1, index % self.num_envs)
            position, table = index % (self.slots * self.num_envs), self._blocks.flatten(1)
            table.scatter_(1, position, torch.where(there, priority, table.gather(1, position)))
            self.largest.copy_(self.largest.maximum(priority.amax(1, keepdim=True)))
        return known.shape[1] - known.sum(1, dtype=torch.float32)

    def _steps(self, used: int) -> dict[str, Tensor]:
        """The first slots of what is kept of a step beside its observations, [M, used, N, ...]."""
        fields = {"action": self.action, "reward": self.reward, "ended": self.ended, "number": self.number}
        fields |= {f"kept.{name}": x for name, x in self.kept.items() if x is not None}
        return {name: x.unflatten(1, (self.slots, -1))[:, :used] for name, x in fields.items()}

    def state_dict(self) -> dict[str, Any]:
        """Everything, unused slots left out."""
        return {
            "written": self.written,
            "oldest": self.oldest,
            "stream": self.stream.state_dict(),
            "priority": self.priority,
            "largest": self.largest,
            "steps": self._steps(min(int(self.written), self.slots)),
            "frames": self.frames.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore, in place.

        Raises:
            RuntimeError: The state is of other members, environments, observations or capacity.
        """
        kept = {name.removeprefix("kept."): x for name, x in tree.flatten(state["steps"]) if name.startswith("kept.")}
        if int(state["written"]) > 0 and kept.keys() != self.kept.keys():
            raise RuntimeError(f"it keeps {sorted(kept)} of a step, not {sorted(self.kept)}")
        for name, like in kept.items():
            self._room(name, like)
        mine = {**self._steps(min(int(state["written"]), self.slots)), "priority": self.priority}
        saved = {**dict(tree.flatten(state["steps"])), "priority": state["priority"]}
        for name, value in mine.items():
            if saved[name].shape != value.shape:
                raise RuntimeError(f"{name} is {tuple(saved[name].shape)}, not {tuple(value.shape)}")
        if not self._sound(saved, int(state["written"]), state["oldest"], state["frames"]["written"]):
            raise RuntimeError("its numbers point to nothing")
        self.frames.load_state_dict(state["frames"])  # it refuses before it changes anything
        for name, value in mine.items():
            value.copy_(saved[name])
        for name in ("written", "oldest", "largest"):
            getattr(self, name).copy_(state[name])
        self.stream.load_state_dict(state["stream"])

    def _sound(self, saved: dict[str, Tensor], written: int, oldest: Tensor, frames: Tensor) -> bool:
        """Whether saved numbers are what they can be: all of them become places in memory or powers."""
        bounds: list[tuple[Tensor, Tensor | int]] = [(oldest, written + 1), (saved["ended"], 3)]
        bounds.append((saved["number"], frames.unsqueeze(1)))
        if self._choices:
            bounds.append((saved["action"], torch.tensor(self._choices, device=oldest.device)))
        inside = all(bool(((number >= 0) & (number < bound)).all()) for number, bound in bounds)
        return inside and written >= 0 and bool(((saved["priority"] >= 0) & saved["priority"].isfinite()).all())


def _size(shape: tuple[int, ...], dtype: torch.dtype, stack: int = 1) -> int:
    """Bytes of an array, or of one of the frames that it stacks."""
    return math.prod(shape) // stack * dtype.itemsize
