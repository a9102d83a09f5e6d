"""What subjects chose and earned, as tensors with masks.

Letters: T trials, A actions; `...` lanes, any leading shape, mostly [S] subjects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from imitate.conditioning.model import ChoiceModel, Contextual, State, Theta
from imitate.conditioning.tables import coded, frame, labels, named, numbers, refuse
from imitate.core import tree
from imitate.core.config import check
from imitate.core.room import admit
from imitate.core.scan import scan

__all__ = ["Choices"]


@dataclass(frozen=True)
class Choices:
    """A record of choices: trials outermost, subjects beside each other, the shorter ones padded by masked trials.

    Args:
        action: What was chosen, [T, ...] (an integer type), from 0.
        reward: What came of it, [T, ...].
        actions: How many there are to choose from.
        learns: Whether the trial teaches, [T, ...] (bool); None: all do. In others the subject's state stays as it is.
        scored: Whether the choice counts in the likelihood, [T, ...] (bool); None: all do. A forced choice teaches and
            does not count; a choice without feedback counts and does not teach; a missing one does neither.
        context: Where the subject is when it chooses, [T, ...] (an integer type), for models that are `Contextual`;
            others refuse a record that has one.
        subjects: A label of each subject; none: numbers.
        starts: Whether a block begins with the trial, [T, ...] (bool): the subject is naive again before it chooses.
            None: a subject has one block. The first trial always begins one.
        names: What the actions are called, in their order; none: numbers.

    Raises:
        ValueError: Shapes or types differ, an action is out of range, or a reward that teaches is not finite.
    """

    action: Tensor
    reward: Tensor
    actions: int
    learns: Tensor = None  # type: ignore[assignment]
    scored: Tensor = None  # type: ignore[assignment]
    context: Tensor | None = None
    subjects: tuple[Hashable, ...] = ()
    starts: Tensor | None = None
    names: tuple[Hashable, ...] = ()

    def __post_init__(self) -> None:
        check(self)
        if self.actions < 1:
            raise ValueError(f"actions: at least 1 to choose from, not {self.actions}.")
        masks(self, self.action)
        lanes = math.prod(self.action.shape[1:])
        admit("values of all actions", 8 * lanes * self.actions, {"actions": self.actions}, self.action.device)
        for name in ("action", "context"):
            given = getattr(self, name)
            if given is not None and (given.is_floating_point() or given.is_complex()):
                raise ValueError(f"{name}: {given.dtype}, but whole numbers are needed, as .long() makes them.")
        used = self.learns | self.scored
        if at := first(used & ((self.action < 0) | (self.action >= self.actions))):
            known = f"there are {self.actions} actions, counted from 0 to {self.actions - 1}"
            raise ValueError(f"action: {where(self, at)} is {int(self.action[at])}, but {known}.")
        if self.context is not None and (at := first(used & (self.context < 0))):
            raise ValueError(f"context: {where(self, at)} is {int(self.context[at])}; places count from 0.")
        if at := first(self.learns & ~self.reward.isfinite()):
            raise ValueError(
                f"reward: {where(self, at)} has {float(self.reward[at])}; set learns to False where there was none."
            )

    @classmethod
    def of_subjects(
        cls,
        action: Sequence[Sequence[int]],
        reward: Sequence[Sequence[float]],
        actions: int,
        subjects: Sequence[Hashable] = (),
        starts: Sequence[Sequence[bool]] | None = None,
    ) -> Choices:
        """From a sequence of actions and one of rewards for each subject, of any lengths; and of starts of blocks.

        Raises:
            ValueError: A subject has not as many of one as of another, or an action is no whole number.
        """
        who = tuple(subjects) or tuple(range(len(action)))
        if len(who) != len(action):
            raise ValueError(f"subjects: {len(who)} labels for {len(action)} subjects.")
        for name, given in (("reward", reward), ("starts", starts)):
            if given is not None and len(given) != len(action):
                raise ValueError(f"{name}: of {len(given)} subjects, but action is of {len(action)}.")
            for label, chosen, own in zip(who, action, given or (), strict=False):
                if len(chosen) != len(own):
                    has = f"{len(own)} {name.rstrip('s')}s"
                    raise ValueError(f"{name}: subject {label!r} has {has} for {len(chosen)} actions.")
        for label, chosen in zip(who, action, strict=True):
            for t, one in enumerate(chosen):
                if not float(one).is_integer():
                    raise ValueError(f"action: trial {t} of subject {label!r} is {one}, which is no whole number.")

        def padded(rows: Sequence[Sequence[Any]], dtype: torch.dtype) -> Tensor:
            return pad_sequence([torch.as_tensor(row, dtype=dtype) for row in rows])

        there = padded([[True] * len(row) for row in action], torch.bool)
        return cls(
            padded(action, torch.int64),
            padded(reward, torch.float64),
            actions,
            there,
            there,
            subjects=who,
            starts=None if starts is None else padded(starts, torch.bool),
        )

    @classmethod
    def from_pandas(
        cls,
        table: Any,
        actions: int | Sequence[Hashable],
        *,
        subject: str = "subject",
        action: str = "action",
        reward: str = "reward",
        learns: str | None = None,
        scored: str | None = None,
        block: str | None = None,
        context: str | None = None,
    ) -> Choices:
        """From a DataFrame with one row a trial, those of a subject in the order in which they happened.

        Args:
            table: The DataFrame.
            actions: How many there are to choose from, or what they are called in the table, in the order of their
                numbers. Of a number, actions count from 0 in the table; words are taken in alphabetical order, and
                `names` tells which is which.
            subject: Name of the column that tells whose trial it is.
            action: That of the actions; a missing one masks the trial.
            reward: That of the rewards.
            learns: That of a mask of zeros and ones, if there is one.
            scored: That of the other.
            block: That of the blocks, in each of which a subject starts anew; None: it has one.
            context: That of the places, whole numbers, if choices are made in several.

        Raises:
            ValueError: A column is missing, or a row holds what it must not; the message names it.
        """
        optional = {"learns": learns, "scored": scored, "block": block, "context": context}
        named(table, {"subject": subject, "action": action, "reward": reward, **optional})
        whose = labels(table, subject, "subject")
        chosen, names = coded(table, action, actions)
        count = actions if isinstance(actions, int) else len(actions)
        earned = numbers(table, reward, "reward")
        taken = ~np.isnan(chosen)
        masks = []
        for name, role in ((learns, "learns"), (scored, "scored")):
            own = numbers(table, name, role) if name else taken.astype(float)
            if name:
                refuse(table, name, ~np.isin(own, (0, 1)), "is neither 0 nor 1")
            masks.append(taken & (own == 1))
        refuse(
            table, reward, masks[0] & ~np.isfinite(earned),
            "is no reward; have a column that is 0 where there was no feedback, else 1, and pass its name as learns",
        )  # fmt: skip
        places = numbers(table, context, "context") if context else np.zeros(len(table))
        refuse(table, context or "", taken & ~(np.isfinite(places) & (places == np.round(places))), "is no place")
        rows: dict[Hashable, list[int]] = {}
        for row, label in enumerate(whose):
            rows.setdefault(label, []).append(row)

        def padded(values: Any, dtype: torch.dtype) -> Tensor:
            flat = torch.tensor(values)
            return pad_sequence([flat[own] for own in rows.values()]).to(dtype)

        return cls(
            padded(np.where(taken, chosen, 0), torch.int64),
            padded(earned, torch.float64),
            count,
            padded(masks[0], torch.bool),
            padded(masks[1], torch.bool),
            context=padded(np.where(taken, places, 0), torch.int64) if context else None,
            subjects=tuple(rows),
            starts=padded(_starts(table, block, rows), torch.bool) if block else None,
            names=names,
        )

    def to_pandas(self) -> Any:
        """One row a trial, without those that are masked altogether; `from_pandas` reads it.

        Raises:
            ValueError: pandas is not installed, or the lanes are not [S].
        """
        if self.action.dim() != 2:
            raise ValueError(f"lanes: a table is of trials by subjects, [T, S]; here {tuple(self.action.shape)}.")
        subject, trial = (self.learns | self.scored).T.nonzero(as_tuple=True)
        columns = {name: getattr(self, name)[trial, subject] for name in ("action", "reward", "learns", "scored")}
        if self.names:
            columns["action"] = [self.names[a] for a in columns["action"].tolist()]
        if self.starts is not None:
            columns["block"] = self.starts.cumsum(0)[trial, subject]
        if self.context is not None:
            columns["context"] = self.context[trial, subject]
        whose = {"subject": [self.subjects[s] for s in subject.tolist()], "trial": trial}
        return frame({**whose, **columns}, range(len(trial)), "row")

    @property
    def counts(self) -> Tensor:
        """Scored trials, [...] (int64): the n of BIC."""
        return self.scored.sum(0)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What `packed` holds, in order; a mask that masks nothing is left out."""
        masked = [name for name in ("learns", "scored") if not getattr(self, name).all()]
        given = [name for name in ("starts", "context") if getattr(self, name) is not None]
        return ("action", "reward", *masked, *given)

    @cached_property
    def _places(self) -> int:
        """One more than the largest context."""
        used = self.learns | self.scored
        return 0 if self.context is None else int(torch.where(used, self.context, 0).max()) + 1

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
        """All that a run needs in one tensor [T, `columns`, ...], so that one operation picks lanes."""
        used = self.learns | self.scored
        # What lies under a mask may be anything, even NaN.
        there = {"action": used, "reward": self.learns, "context": used}
        found = [torch.where(there.get(name, x := getattr(self, name)), x, 0) for name in self.columns]
        return torch.stack([column.to(dtype) for column in found], 1)

    def _arrival(self, model: ChoiceModel) -> Callable[[Theta, State, Tensor], State] | None:
        """How a model is told where it is; None: it is nowhere.

        Raises:
            ValueError: The record has places and the model none, or the other way round, or more of them.
        """
        name = type(model).__name__
        if not isinstance(model, Contextual):
            if self.context is not None:
                raise ValueError(f"context: {name} takes none; leave it out, or give blocks as starts.")
            return None
        if self.context is None:
            raise ValueError(f"context: {name} chooses in several places; say where each trial was.")
        if self._places > model.places:
            raise ValueError(f"context: {self._places - 1} is none of the places of {name}, 0 to {model.places - 1}.")
        return model.observe

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
        at = {name: i for i, name in enumerate(self.columns)}
        arrive = self._arrival(model)
        naive = model.initial(theta, lanes, self.actions)

        def step(carry: tuple[Any, Tensor], x: Tensor) -> tuple[tuple[Any, Tensor], Any]:
            state, total = carry
            action = x[0].long()
            if "starts" in at:
                state = tree.where((x[at["starts"]] > 0).expand(lanes), naive, state)
            if arrive is not None:
                state = arrive(theta, state, x[at["context"]].long())
            log_probs = model.log_probs(theta, state)
            # Not a product with a one-hot: what was not chosen may have probability 0, and −∞ · 0 is NaN. Actions lie
            # outermost in memory: along them first, it takes two thirds of the time.
            log_prob = log_probs.movedim(-1, 0).gather(0, action.expand(lanes).unsqueeze(0)).squeeze(0)
            if "scored" in at:
                log_prob = torch.where(x[at["scored"]] > 0, log_prob, 0)
            after = model.update(theta, state, action, x[1])
            if "learns" in at:
                after = tree.where((x[at["learns"]] > 0).expand(lanes), after, state)
            # Summed trial by trial: the last bit of a sum over a stack depends on where the masked trials lie.
            return (after, total + log_prob), (log_prob, log_probs) if each else None

        (_, total), kept = scan(step, (naive, packed.new_zeros(lanes)), packed)
        return total, kept


def _starts(table: Any, block: str, rows: Mapping[Hashable, list[int]]) -> NDArray[np.bool_]:
    """Whether each row of a table begins a block of its subject.

    Raises:
        ValueError: A block is not named, or goes on after another one.
    """
    which = labels(table, block, "block")
    found = np.zeros(len(table), dtype=bool)
    for own in rows.values():
        ended: set[Hashable] = set()
        for before, row in pairwise(own):
            found[row] = which[row] != which[before]
            if found[row]:
                ended.add(which[before])
            if which[row] in ended:
                again = np.arange(len(table)) == row
                refuse(table, block, again, "had ended before; a block has its trials in a row and a label of its own")
    return found


def masks(data: Any, like: Tensor) -> None:
    """Fill in masks and labels that were not given, and compare shapes and types."""
    if like.dim() < 1 or len(like) < 1:
        raise ValueError("trials: at least one, [T, ...].")
    for name in ("learns", "scored"):
        if getattr(data, name) is None:
            object.__setattr__(data, name, torch.ones_like(like, dtype=torch.bool))
    for name in ("reward", "learns", "scored", "starts", "context", "response"):
        given = getattr(data, name, None)
        if given is not None and given.shape != like.shape:
            raise ValueError(f"{name}: shape {tuple(given.shape)}, but {tuple(like.shape)} is expected.")
        if given is not None and name in ("learns", "scored", "starts") and given.dtype != torch.bool:
            raise ValueError(f"{name}: {given.dtype}, but torch.bool is needed.")
    if data.subjects and like.dim() == 2 and len(data.subjects) != like.shape[1]:
        raise ValueError(f"subjects: {len(data.subjects)} labels for {like.shape[1]} subjects.")
    if not data.subjects and like.dim() == 2:
        object.__setattr__(data, "subjects", tuple(range(like.shape[1])))


def first(bad: Tensor) -> tuple[int, ...]:
    """Index of the first True; empty if there is none."""
    return tuple(bad.nonzero()[0].tolist()) if bad.any() else ()


def where(data: Any, at: tuple[int, ...]) -> str:
    """A trial in words."""
    return f"trial {at[0]} of subject {data.subjects[at[1]]!r}" if data.subjects else f"trial {at[0]}"
