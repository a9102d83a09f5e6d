"""Demonstrations: what a teacher did, from a policy, from arrays or from a file.

Letters: M members, B steps of all episodes of a member, N environments, T time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from imitate.core import tree
from imitate.core.actions import bounds, clip, outside
from imitate.core.arrays import as_array, as_tensor
from imitate.core.config import checked
from imitate.core.elements import elements
from imitate.core.reading import line, refusing
from imitate.core.replay import Examples
from imitate.core.room import admit_steps
from imitate.core.spec import Spec
from imitate.core.types import Obs, Rollout, Source, fold
from imitate.core.wrappers import Privileged
from imitate.data.npz import read_npz
from imitate.distributions.actions import Teacher
from imitate.nets.predict import outward
from imitate.policies import Greedy
from imitate_envs.base import Box, Dict, Discrete, Space, Tuple

__all__ = ["Demonstrations", "Following", "demonstrate"]

_ARRAYS = ("obs", "action", "done", "next_obs", "terminated")  # of an .npz; the last three need not be there


@dataclass(frozen=True)
class Following:
    """What followed labelled steps.

    Args:
        next_obs: The observation behind each, before auto-reset [M, B, *obs].
        terminated: Whether the task ended there [M, B].
        known: Whether `next_obs` is what was seen there [M, B].
    """

    next_obs: Obs
    terminated: Tensor
    known: Tensor


@dataclass(frozen=True)
class Demonstrations:
    """Labelled steps of whole episodes; each member has its own.

    Args:
        examples: Observations [M, B, *obs] and actions [M, B, *action].
        mask: Which of them count [M, B]; members may have different numbers.
        episode: Number of the episode, from 0 [M, B].
        time: Step within its episode, from 0 [M, B].
        following: What followed each step; None where nobody knows.
    """

    examples: Examples
    mask: Tensor
    episode: Tensor
    time: Tensor
    following: Following | None = None

    @property
    def labels(self) -> Tensor:
        """How many count, [M]."""
        return self.mask.sum(1)

    @property
    def env_steps(self) -> Tensor:
        """Environment steps that the teacher took for them, [M]; thinning saves none."""
        return self._played.sum(1)

    @property
    def terminations(self) -> Tensor:
        """How many of their episodes ended because the task did, [M]; thinning loses none.

        Raises:
            ValueError: It is not known what followed the steps.
        """
        return (self._followed.terminated & self._played).sum(1)

    @property
    def transitions(self) -> tuple[Examples, Tensor]:
        """Steps with what followed, and which of them count [M, B].

        The `extras` of the examples are a dict of `next_obs` [M, B, *obs] and `terminated` [M, B]. What counts is also
        of known consequence: the last step of a file's truncated episode is not, unless the file has `next_obs`.

        Raises:
            ValueError: It is not known what followed the steps.
        """
        following = self._followed
        extras = {"next_obs": following.next_obs, "terminated": following.terminated}
        return replace(self.examples, extras=extras), self.mask & (following.known | following.terminated)

    @property
    def _played(self) -> Tensor:
        """Which steps are of episodes that count, thinned or not, [M, B]."""
        last = torch.where(self.mask, self.episode, -1).max(1, keepdim=True).values
        return self.episode <= last

    @property
    def _followed(self) -> Following:
        if self.following is None:
            raise ValueError(
                "demonstrations: it is not known what followed their steps; take whole episodes, as `demonstrate` and "
                "`from_arrays` do."
            )
        return self.following

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
        obs: Any,
        action: Any,
        source: Source,
        *,
        done: Any = None,
        next_obs: Any = None,
        terminated: Any = None,
        clip_actions: bool = False,
    ) -> Demonstrations:
        """Steps of a teacher outside of the suite, given to every member.

        Without `next_obs` successive rows of an episode are taken for successive steps.

        Args:
            obs: [B, *obs]; a dict or a tuple of arrays where the observations are one.
            action: [B, *action], as the environment takes them.
            source: Whose spaces they are checked against.
            done: [B], true at the last step of an episode; without it all steps are one episode.
            next_obs: As `obs`, what was seen behind each step.
            terminated: [B], true where the task ended, and not the clock; without it nowhere.
            clip_actions: Move actions of a Box inside its bounds, as the environment does, instead of refusing them.

        Raises:
            ValueError: Shapes do not fit the source, a value is not finite, or a choice or an action is out of range.
        """
        spec = source.spec
        rows = _rows(obs, spec.observation, "obs", spec, spec.obs_dtype)
        taken = as_array(action, "action")
        if isinstance(spec.action, Discrete) and taken.ndim == 2 and taken.shape[1] == 1:
            taken = taken[:, 0]
        count = len(tree.leaves(rows)[0])
        acted = _rows(taken, spec.action, "action", spec, torch.float32, count)
        acted = acted if isinstance(spec.action, Discrete) else acted.reshape(count, -1)
        if isinstance(spec.action, Box):
            rounding = float(np.finfo(taken.dtype).eps) if taken.dtype.kind == "f" else 0.0
            acted = _inside(acted, spec.action, max(rounding, 2**-23), clip_actions)
        over = _flags(terminated, "terminated", count)
        ends = _flags(done, "done", count) | over
        episode, time = (x.squeeze(1) for x in _positions(ends.unsqueeze(1)))
        if next_obs is None:
            last = torch.cat([ends[:-1], torch.ones(1, dtype=torch.bool)])
            following = Following(tree.map(lambda x: torch.cat([x[1:], x[-1:]]), rows), over, ~last)
        else:
            behind = _rows(next_obs, spec.observation, "next_obs", spec, spec.obs_dtype, count)
            following = Following(behind, over, torch.ones_like(over))

        def everyone(x: Tensor) -> Tensor:
            return x.to(spec.device).expand(spec.members, *x.shape)

        made = cls(Examples(rows, acted), torch.ones_like(over), episode, time, following)
        return tree.map(everyone, made)

    @classmethod
    def from_npz(cls, path: Path | str, source: Source, *, clip_actions: bool = False) -> Demonstrations:
        """Read the arrays of `from_arrays` from an .npz file; nothing in it is executed.

        `obs` and `action` are needed; `done`, `next_obs` and `terminated` are read if they are there. Parts of
        observations that are a dict or a tuple are arrays of their own, `obs/NAME` and `obs/(0)`.

        Args:
            path: The file.
            source: As in `from_arrays`.
            clip_actions: As in `from_arrays`.

        Raises:
            ValueError: The file is not an .npz, or lacks an array; or as in `from_arrays`.
        """
        path = Path(path)
        if not path.is_file():
            raise ValueError(f"demonstrations: there is no file '{path}'.")
        with refusing(f"demonstrations: '{path}' is not a readable .npz file"):
            arrays, names = read_npz(path, lambda name: name.partition("/")[0] in _ARRAYS)
            for whole in ("obs", "next_obs"):
                start = f"{whole}/"
                parts = {name.removeprefix(start): arrays.pop(name) for name in list(arrays) if name.startswith(start)}
                if parts:
                    nested = tree.unflatten({name.replace("/", "."): array for name, array in parts.items()})
                    arrays[whole] = tree.of_dicts(nested)
        missing = {"obs", "action"} - arrays.keys()
        if missing:
            raise ValueError(
                f"demonstrations: '{path}' lacks {', '.join(sorted(missing))}; it has {line(sorted(names))}."
            )
        with refusing(f"demonstrations: '{path}'"):
            optional: dict[str, Any] = {name: arrays.get(name) for name in _ARRAYS[2:]}
            return cls.from_arrays(arrays["obs"], arrays["action"], source, clip_actions=clip_actions, **optional)

    def save(self, path: Path | str, source: Source, member: int = 0) -> None:
        """Write one member's demonstrations as an .npz that `from_npz` reads, as the environment has them.

        What followed is written where that is known of every step.

        Args:
            path: The file.
            source: Of what they are; its spaces say how choices are counted and what shape an action has.
            member: Which member.
        """
        keep = self.mask[member]
        episode, time = (x[member][keep].cpu().numpy() for x in (self.episode, self.time))
        order = np.lexsort((time, episode))  # one episode after the other, whichever environments played them
        examples = tree.map(lambda x: x[member][keep].cpu()[torch.from_numpy(order)], self.examples)
        arrays = dict(_arrays("obs", examples.obs, source.spec.observation))
        arrays |= _arrays("action", examples.action, source.spec.action)
        arrays["done"] = np.append(np.diff(episode[order]) > 0, True)
        following = self.following and tree.map(
            lambda x: x[member][keep].cpu()[torch.from_numpy(order)], self.following
        )
        if following is not None and bool((following.known | following.terminated).all()):
            arrays |= _arrays("next_obs", following.next_obs, source.spec.observation)
            arrays["terminated"] = following.terminated.numpy()
        with Path(path).open("wb") as file:
            cast(Any, np.savez_compressed)(file, **arrays)


@checked
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
    spec = source.spec
    admit_steps(spec, {"episodes": episodes, "members": spec.members})
    privileged = Privileged(teacher)  # whoever learns from it may see less
    driver = Greedy(privileged) if deterministic else privileged
    wanted = torch.tensor([len(range(n, episodes, spec.num_envs)) for n in range(spec.num_envs)])
    wanted = wanted.to(spec.device)
    seen: list[Rollout] = []
    finished = torch.zeros(spec.members, spec.num_envs, dtype=torch.int64, device=spec.device)
    while not bool((finished >= wanted).all()):
        seen.append(source.collect(driver, min(100, spec.max_steps)).clone())
        finished += seen[-1].done.sum(0)
    whole = tree.map(lambda *parts: torch.cat(parts), seen[0], *seen[1:])
    before, time = _positions(whole.done)
    # The k-th episode of environment n is the member's episode k·N + n, so the first ones come from all environments.
    episode = before * spec.num_envs + torch.arange(spec.num_envs, device=spec.device)
    return Demonstrations(
        Examples(fold(whole.obs), clip(spec.action, fold(whole.action))),
        fold(episode < episodes),
        fold(episode),
        fold(time),
        Following(fold(whole.next_obs), fold(whole.terminated), torch.ones_like(fold(whole.terminated))),
    )


def _flags(values: Any, name: str, count: int) -> Tensor:
    """Foreign truth values [B]; all false where there are none.

    Raises:
        ValueError: They are too few, too many or no truth values.
    """
    flags = np.zeros(count, bool) if values is None else as_array(values, name).reshape(-1)
    if flags.shape != (count,):
        raise ValueError(f"{name}: {flags.shape[0]} values for {count} steps.")
    if not ((flags == 0) | (flags == 1)).all():
        raise ValueError(f"{name}: must be true or false, 1 or 0.")
    return as_tensor(flags, torch.bool)


def _positions(done: Tensor) -> tuple[Tensor, Tensor]:
    """Episodes that ended before each step, and steps since the last end; both [T, ...] from ends [T, ...]."""
    step = torch.arange(len(done), device=done.device).reshape(-1, *(1,) * (done.dim() - 1)).expand(done.shape)
    starts = torch.where(torch.cat([torch.ones_like(done[:1]), done[:-1]]), step, 0)
    return done.cumsum(0) - done.long(), step - starts.cummax(0).values


def _rows(values: Any, space: Space, name: str, spec: Spec, dtype: Any, count: int | None = None) -> Any:
    """Foreign arrays [B, *shape] as a tree of tensors.

    Raises:
        ValueError: They do not fit the space or the number of steps, or a value is not finite.
    """
    rows, batched = elements(values, space, name, dtype)
    length = len(tree.leaves(rows)[0])
    if not batched or length == 0:
        raise ValueError(f"{name}: {length if batched else 'one'} of {space}; at least one step [B, ...] is needed.")
    if count is not None and length != count:
        raise ValueError(f"{name}: {length} for {count} steps of {spec.id}.")
    for part, leaf in tree.flatten(tree.as_dicts(rows), name):
        bad = ~leaf.reshape(length, -1).isfinite().all(1)
        if bad.any():
            raise ValueError(f"{part}: row {int(bad.int().argmax())} of the demonstrations is not finite.")
    return rows


def _inside(action: Tensor, box: Box, rounding: float, clipped: bool) -> Tensor:
    """Actions [B, A] inside the bounds of a Box.

    Raises:
        ValueError: Some are beyond them by more than rounding, and are not to be clipped.
    """
    wrong = outside(box, action, rounding).any(1)
    if not clipped and wrong.any():
        row = int(wrong.int().argmax())
        found, low, high = (
            ", ".join(f"{x:.6g}" for x in numbers.tolist())[:30]
            for numbers in (action[row], *bounds(box, action.device))
        )
        raise ValueError(
            f"action: row {row} of the demonstrations is ({found}), outside of ({low}) … ({high}), as are "
            f"{int(wrong.sum())} of {len(wrong)} rows; clip_actions=True (--clip-actions) takes what is inside."
        )
    return clip(box, action)


def _arrays(name: str, value: Any, space: Space) -> Iterator[tuple[str, NDArray[Any]]]:
    """Tensors [B, ...] as the arrays of an environment, each part of a dict or a tuple by its own name."""
    if isinstance(space, Dict):
        for key, inner in space.spaces:
            yield from _arrays(f"{name}/{key}", value[key], inner)
    elif isinstance(space, Tuple):
        for i, inner in enumerate(space.spaces):
            yield from _arrays(f"{name}/({i})", value[i], inner)
    else:
        yield name, outward(value.numpy(), space)
