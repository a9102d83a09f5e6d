"""Demonstrations: what a teacher did, from a policy, from arrays or from a file.

Letters: M members, B steps of all episodes of a member, N environments, T time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import tree
from imitate.core.replay import Examples
from imitate.core.types import Source, Transition, fold
from imitate.distributions.actions import Teacher
from imitate.policies import Greedy
from imitate_envs.base import Discrete, Space

__all__ = ["Demonstrations", "demonstrate"]


@dataclass(frozen=True)
class Demonstrations:
    """Labelled steps of whole episodes; each member has its own.

    Args:
        examples: Observations [M, B, *obs] and actions [M, B, *action].
        mask: Which of them count [M, B]; members may have different numbers.
        episode: Number of the episode, from 0 [M, B].
        time: Step within its episode, from 0 [M, B].
    """

    examples: Examples
    mask: Tensor
    episode: Tensor
    time: Tensor

    @property
    def labels(self) -> Tensor:
        """How many count, [M]."""
        return self.mask.sum(1)

    @property
    def env_steps(self) -> Tensor:
        """Environment steps that the teacher took for them, [M]; thinning saves none."""
        last = torch.where(self.mask, self.episode, -1).max(1, keepdim=True).values
        return (self.episode <= last).sum(1)

    def first(self, episodes: int) -> Demonstrations:
        """Only the first `episodes` episodes of each member."""
        if episodes < 1:
            raise ValueError(f"episodes: at least 1, not {episodes}.")
        return replace(self, mask=self.mask & (self.episode < episodes))

    def thinned(self, every: int) -> Demonstrations:
        """Only every `every`-th step of each episode, beginning with the first (Ho & Ermon 2016, §6: every 20th)."""
        if every < 1:
            raise ValueError(f"every: at least 1, not {every}.")
        return replace(self, mask=self.mask & (self.time % every == 0))

    @classmethod
    def from_arrays(
        cls,
        obs: NDArray[Any],
        action: NDArray[Any],
        source: Source,
        *,
        done: NDArray[Any] | None = None,
    ) -> Demonstrations:
        """Steps of a teacher outside of the suite, given to every member.

        Args:
            obs: [B, *obs].
            action: [B, *action].
            source: Whose spaces they are checked against.
            done: [B], true at the last step of an episode; only `thinned` needs it.

        Raises:
            ValueError: Shapes do not fit the source, a value is not finite, or a choice is out of range.
        """
        obs, action = np.asarray(obs), np.asarray(action)
        space = source.action
        if obs.ndim == 0 or obs.shape[1:] != source.observation.shape or len(obs) == 0:
            wanted = ("B", *source.observation.shape)
            raise ValueError(f"obs: shape {obs.shape}, {source.id} needs ({', '.join(map(str, wanted))}), B >= 1.")
        if isinstance(space, Discrete) and action.ndim == 2 and action.shape[1] == 1:
            action = action[:, 0]
        if action.shape != (len(obs), *space.shape):
            raise ValueError(f"action: shape {action.shape}, {source.id} needs {(len(obs), *space.shape)}.")
        for name, array in (("obs", obs), ("action", action)):
            if array.dtype.kind not in "biuf":
                raise ValueError(f"{name}: real numbers are needed, not {array.dtype}.")
            bad = ~np.isfinite(array.astype(np.float64)).reshape(len(array), -1).all(1)
            if bad.any():
                raise ValueError(f"{name}: row {int(bad.argmax())} of the demonstrations is not finite.")
        for name, array, kind in (("obs", obs, source.observation), ("action", action, space)):
            if isinstance(kind, Discrete) and (
                (array != array.astype(np.int64)).any() or array.min() < 0 or array.max() >= kind.n
            ):
                raise ValueError(f"{name}: choices must be whole numbers in 0 … {kind.n - 1}.")
        ends = np.zeros(len(obs), bool) if done is None else np.asarray(done, bool).reshape(-1)
        if ends.shape != (len(obs),):
            raise ValueError(f"done: {ends.shape[0]} values for {len(obs)} steps.")
        episode, time = (x.squeeze(1) for x in _positions(torch.as_tensor(ends).unsqueeze(1)))

        def everyone(x: Tensor) -> Tensor:
            return x.to(source.device).expand(source.members, *x.shape)

        def numbers(array: NDArray[Any], kind: Space) -> Tensor:
            return torch.as_tensor(array.astype(np.int64 if isinstance(kind, Discrete) else np.float32))

        seen = torch.as_tensor(obs) if obs.dtype == np.uint8 else numbers(obs, source.observation)
        return cls(
            Examples(everyone(seen), everyone(numbers(action, space))),
            everyone(torch.ones(len(obs), dtype=torch.bool)),
            everyone(episode),
            everyone(time),
        )

    @classmethod
    def from_npz(cls, path: Path | str, source: Source) -> Demonstrations:
        """Read arrays `obs`, `action` and, if there, `done` from an .npz file; nothing in it is executed.

        Raises:
            ValueError: The file is not an .npz, or lacks an array; or as in `from_arrays`.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"demonstrations: there is no file '{path}'.")
        try:
            # Opened here: numpy leaves the file open where it is no archive.
            with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
        except Exception as error:  # numpy raises whatever zipfile, zlib or the header parser met
            raise ValueError(f"demonstrations: '{path}' is not a readable .npz file: {error}") from error
        missing = {"obs", "action"} - arrays.keys()
        if missing:
            raise ValueError(f"demonstrations: '{path}' lacks {', '.join(sorted(missing))}; it has {sorted(arrays)}.")
        return cls.from_arrays(arrays["obs"], arrays["action"], source, done=arrays.get("done"))

    def save(self, path: Path | str, member: int = 0) -> None:
        """Write one member's demonstrations as an .npz that `from_npz` reads."""
        keep = self.mask[member]
        episode, time = (x[member][keep].cpu().numpy() for x in (self.episode, self.time))
        order = np.lexsort((time, episode))  # one episode after the other, whichever environments played them
        obs, action = (x[member][keep].cpu().numpy()[order] for x in (self.examples.obs, self.examples.action))
        done = np.append(np.diff(episode[order]) > 0, True)
        with Path(path).open("wb") as file:
            np.savez_compressed(file, obs=obs, action=action, done=done)


def demonstrate(source: Source, teacher: Teacher, episodes: int, *, deterministic: bool = True) -> Demonstrations:
    """Let the teacher play `episodes` whole episodes for each member.

    Every environment contributes the same number of episodes, give or take one, so short episodes are not preferred. A
    source with `num_envs = episodes` wastes nothing.

    Args:
        source: Where to play; fresh, or the first episodes are the rest of those under way.
        teacher: Who plays.
        episodes: Of each member.
        deterministic: The mode of the teacher's distribution instead of draws from it.

    Raises:
        ValueError: `episodes` is less than 1.
    """
    if episodes < 1:
        raise ValueError(f"episodes: at least 1, not {episodes}.")
    driver = Greedy(teacher) if deterministic else teacher
    wanted = torch.tensor([len(range(n, episodes, source.num_envs)) for n in range(source.num_envs)])
    wanted = wanted.to(source.device)
    seen: list[Transition] = []
    finished = torch.zeros(source.members, source.num_envs, dtype=torch.int64, device=source.device)
    while not bool((finished >= wanted).all()):
        seen.append(source.collect(driver, min(100, source.max_steps)).clone())
        finished += seen[-1].done.sum(0)
    whole = tree.map(lambda *parts: torch.cat(parts), seen[0], *seen[1:])
    before, time = _positions(whole.done)
    # The k-th episode of environment n is the member's episode k·N + n, so the first ones come from all environments.
    episode = before * source.num_envs + torch.arange(source.num_envs, device=source.device)
    return Demonstrations(
        Examples(fold(whole.obs), fold(whole.action)), fold(episode < episodes), fold(episode), fold(time)
    )


def _positions(done: Tensor) -> tuple[Tensor, Tensor]:
    """Episodes that ended before each step, and steps since the last end; both [T, ...] from ends [T, ...]."""
    step = torch.arange(len(done), device=done.device).reshape(-1, *(1,) * (done.dim() - 1)).expand(done.shape)
    starts = torch.where(torch.cat([torch.ones_like(done[:1]), done[:-1]]), step, 0)
    return done.cumsum(0) - done.long(), step - starts.cummax(0).values
