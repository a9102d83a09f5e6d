"""What subjects chose and earned, as tensors with masks.

Letters: T trials, A actions; `...` lanes, any leading shape, mostly [S] subjects.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from imitate.conditioning.model import ChoiceModel, Contextual, Theta
from imitate.conditioning.tables import column, frame, numbers
from imitate.conditioning.values import one_hot
from imitate.core import tree
from imitate.core.scan import scan

__all__ = ["Choices"]


@dataclass(frozen=True)
class Choices:
    """A record of choices: trials outermost, subjects beside each other, the shorter ones padded by masked trials.

    Args:
        action: What was chosen, [T, ...] (int64), from 0.
        reward: What came of it, [T, ...].
        actions: How many there are to choose from.
        learns: Whether the trial teaches, [T, ...] (bool); None: all do. In others the subject's state stays as it is.
        scored: Whether the choice counts in the likelihood, [T, ...] (bool); None: all do. A forced choice teaches and
            does not count; a choice without feedback counts and does not teach; a missing one does neither.
        context: Where the subject is when it chooses, [T, ...] (int64), for models that are `Contextual`.
        subjects: A label of each subject; none: numbers.

    Raises:
        ValueError: Shapes differ, an action is out of range, or a reward that teaches is not finite.
    """

    action: Tensor
    reward: Tensor
    actions: int
    learns: Tensor = None  # type: ignore[assignment]
    scored: Tensor = None  # type: ignore[assignment]
    context: Tensor | None = None
    subjects: tuple[Hashable, ...] = ()

    def __post_init__(self) -> None:
        masks(self, self.action)
        if at := first((self.learns | self.scored) & ((self.action < 0) | (self.action >= self.actions))):
            known = f"there are {self.actions} actions, counted from 0 to {self.actions - 1}"
            raise ValueError(f"action: {where(self, at)} is {int(self.action[at])}, but {known}.")
        if at := first(self.learns & ~self.reward.isfinite()):
            raise ValueError(f"reward: {where(self, at)} has none; set learns to False where a choice had no feedback.")

    @classmethod
    def of_subjects(
        cls,
        action: Sequence[Sequence[int]],
        reward: Sequence[Sequence[float]],
        actions: int,
        subjects: Sequence[Hashable] = (),
    ) -> Choices:
        """From a sequence of actions and one of rewards for each subject, of any lengths.

        Raises:
            ValueError: A subject has not as many rewards as actions.
        """
        labels = tuple(subjects) or tuple(range(len(action)))
        for label, chosen, earned in zip(labels, action, reward, strict=True):
            if len(chosen) != len(earned):
                raise ValueError(f"reward: subject {label!r} has {len(earned)} rewards for {len(chosen)} actions.")
        rewards = pad_sequence([torch.as_tensor(each, dtype=torch.float64) for each in reward])
        choices = pad_sequence([torch.as_tensor(each, dtype=torch.int64) for each in action])
        there = pad_sequence([torch.ones(len(each), dtype=torch.bool) for each in action])
        return cls(choices, rewards, actions, there, there, subjects=labels)

    @classmethod
    def from_pandas(
        cls,
        table: Any,
        actions: int,
        *,
        subject: str = "subject",
        action: str = "action",
        reward: str = "reward",
        learns: str | None = None,
        scored: str | None = None,
        context: str | None = None,
    ) -> Choices:
        """From a DataFrame with one row a trial, those of a subject in the order in which they happened.

        Args:
            table: The DataFrame.
            actions: How many there are to choose from.
            subject: Name of the column that tells whose trial it is.
            action: That of the actions, 0 … `actions` − 1; a missing one masks the trial.
            reward: That of the rewards.
            learns: That of a mask, if there is one.
            scored: That of the other.
            context: That of the places, if choices are made in several.

        Raises:
            ValueError: A column is missing, or a row holds what it must not; the message names it.
        """
        whose = column(table, subject).tolist()
        chosen, earned = numbers(table, action), numbers(table, reward)
        taken = ~np.isnan(chosen)
        masks = [taken & (numbers(table, name) > 0) if name else taken for name in (learns, scored)]
        places = numbers(table, context) if context else np.zeros(len(table))
        faults = (
            (action, taken & (chosen != np.round(chosen)), "is no whole number"),
            (action, taken & ((chosen < 0) | (chosen >= actions)), f"is none of the actions 0 to {actions - 1}"),
            (reward, masks[0] & ~np.isfinite(earned), "is no reward; without feedback, mark the row in `learns`"),
            (context or "", taken & ~np.isfinite(places), "is no place"),
        )
        for name, bad, what in faults:
            if bad.any():
                row = int(bad.argmax())
                raise ValueError(f"{name}: row {table.index[row]} holds {table[name].iloc[row]}, which {what}.")
        rows: dict[Hashable, list[int]] = {}
        for row, label in enumerate(whose):
            rows.setdefault(label, []).append(row)

        def padded(values: Any, dtype: torch.dtype) -> Tensor:
            flat = torch.tensor(values)
            return pad_sequence([flat[own] for own in rows.values()]).to(dtype)

        return cls(
            padded(np.where(taken, chosen, 0), torch.int64),
            padded(earned, torch.float64),
            actions,
            padded(masks[0], torch.bool),
            padded(masks[1], torch.bool),
            context=padded(np.where(taken, places, 0), torch.int64) if context else None,
            subjects=tuple(rows),
        )

    def to_pandas(self) -> Any:
        """One row a trial, without those that are masked altogether; `from_pandas` reads it.

        Raises:
            ValueError: pandas is not installed, or the lanes are not [S].
        """
        if self.action.dim() != 2:
            raise ValueError(f"lanes: a table is of trials by subjects, [T, S]; here {tuple(self.action.shape)}.")
        subject, trial = (self.learns | self.scored).T.nonzero(as_tuple=True)
        names = ("action", "reward", "learns", "scored", *(() if self.context is None else ("context",)))
        columns = {name: getattr(self, name)[trial, subject] for name in names}
        labels = {"subject": [self.subjects[s] for s in subject.tolist()], "trial": trial}
        return frame({**labels, **columns}, range(len(trial)), "row")

    @property
    def counts(self) -> Tensor:
        """Scored trials, [...] (int64): the n of BIC."""
        return self.scored.sum(0)

    @cached_property
    def complete(self) -> tuple[bool, bool]:
        """Whether every trial teaches, and whether every one is scored."""
        return bool(self.learns.all()), bool(self.scored.all())

    @cached_property
    def units(self) -> Mapping[str, float]:
        """Where fits begin, in units of the largest reward."""
        largest = float(torch.where(self.learns, self.reward, 0).abs().max()) or 1.0
        return {"Q0": largest, "beta": 1 / largest}

    def to(self, device: torch.device | str) -> Choices:
        """The same on another device."""
        moved: dict[str, Any] = {name: x.to(device) for name, x in vars(self).items() if isinstance(x, Tensor)}
        return replace(self, **moved)

    def packed(self, dtype: torch.dtype) -> Tensor:
        """All that a run needs in one tensor [T, 2 to 5, ...], so that one operation picks lanes."""
        used = self.learns | self.scored
        # What lies under a mask may be anything, even NaN.
        columns = [torch.where(used, self.action, 0), torch.where(self.learns, self.reward, 0)]
        if not all(self.complete) or self.context is not None:
            columns += [self.learns, self.scored]
        if self.context is not None:
            columns.append(torch.where(used, self.context, 0))
        return torch.stack([column.to(dtype) for column in columns], 1)

    def run(self, model: ChoiceModel, theta: Theta, packed: Tensor, each: bool = False) -> tuple[Tensor, Any]:
        """A model along the record.

        Args:
            model: What is to have chosen.
            theta: Every parameter, broadcastable to [...].
            packed: From `packed`, or some lanes of it.
            each: Whether to keep what is in the second result.

        Returns:
            The log-likelihood [...] of the scored choices; and the log-probabilities [T, ...] of what was chosen,
            0 where it is not scored, with those of every action [T, ..., A].
        """
        lanes = torch.broadcast_shapes(packed.shape[2:], *(value.shape for value in theta.values()))
        all_learn, all_scored = self.complete
        arrive = model.observe if isinstance(model, Contextual) else None
        if arrive is not None and self.context is None:
            raise ValueError(f"context: {type(model).__name__} chooses in several places; say where each trial was.")

        def step(carry: tuple[Any, Tensor], x: Tensor) -> tuple[tuple[Any, Tensor], Any]:
            state, total = carry
            action = x[0].long()
            if arrive is not None:
                state = arrive(theta, state, x[4].long())
            log_probs = model.log_probs(theta, state)
            log_prob = (log_probs * one_hot(action, self.actions, x.dtype)).sum(-1)
            if not all_scored:
                log_prob = torch.where(x[3] > 0, log_prob, 0)
            after = model.update(theta, state, action, x[1])
            if not all_learn:
                after = tree.where((x[2] > 0).expand(lanes), after, state)
            # Summed trial by trial: the last bit of a sum over a stack depends on where the masked trials lie.
            return (after, total + log_prob), (log_prob, log_probs) if each else None

        start = model.initial(theta, lanes, self.actions), packed.new_zeros(lanes)
        (_, total), kept = scan(step, start, packed)
        return total, kept


def masks(data: Any, like: Tensor) -> None:
    """Fill in masks and labels that were not given, and compare shapes."""
    if like.dim() < 1 or len(like) < 1:
        raise ValueError("trials: at least one, [T, ...].")
    for name in ("learns", "scored"):
        if getattr(data, name) is None:
            object.__setattr__(data, name, torch.ones_like(like, dtype=torch.bool))
    for name in ("reward", "learns", "scored", "context", "response"):
        given = getattr(data, name, None)
        if given is not None and given.shape != like.shape:
            raise ValueError(f"{name}: shape {tuple(given.shape)}, but {tuple(like.shape)} is expected.")
    if not data.subjects and like.dim() == 2:
        object.__setattr__(data, "subjects", tuple(range(like.shape[1])))


def first(bad: Tensor) -> tuple[int, ...]:
    """Index of the first True; empty if there is none."""
    return tuple(bad.nonzero()[0].tolist()) if bad.any() else ()


def where(data: Any, at: tuple[int, ...]) -> str:
    """A trial in words."""
    return f"trial {at[0]} of subject {data.subjects[at[1]]!r}" if data.subjects else f"trial {at[0]}"
