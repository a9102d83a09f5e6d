"""How far a run has come. Letters: M members."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from imitate.core.spec import Spec

__all__ = ["Progress"]


class Progress:
    """Steps and labels so far, and where they end.

    Args:
        spec: Of the source; gives M.
        total: Steps of one member that were asked for: environment steps, or updates where none are taken.
        each: Steps of one iteration; a run ends with a whole one.

    Attributes:
        steps: Steps of one member so far, an int64 scalar on the CPU.
        labels: Teacher labels that each member has used so far, [M] (int64) on the CPU.
        budget: Where `steps` ends at the latest.
    """

    def __init__(self, spec: Spec, total: int, each: int = 1) -> None:
        self.total, self.budget = total, -(-total // each) * each
        self.steps = torch.zeros((), dtype=torch.int64)
        self.labels = torch.zeros(spec.members, dtype=torch.int64)
        self._stopped = torch.zeros((), dtype=torch.bool)

    @property
    def share(self) -> float:
        """Share of the steps that were asked for, in [0, 1]: what schedules go by, so that a resumed run goes on."""
        return min(1.0, int(self.steps) / self.total)

    @property
    def finished(self) -> bool:
        """Whether the steps are spent, or nothing more is to be gained."""
        return bool(self._stopped) or int(self.steps) >= self.budget

    def advance(self, steps: int, labels: Tensor | int = 0) -> None:
        """Count steps of one member, and labels of each."""
        self.steps += steps
        self.labels += labels

    def stop(self) -> None:
        """Nothing more is to be gained."""
        self._stopped.fill_(True)

    def state_dict(self) -> dict[str, Any]:
        """What is counted."""
        return {"steps": self.steps, "labels": self.labels, "stopped": self._stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore. A longer run goes on where a shorter one was finished.

        Raises:
            ValueError: A count is negative, or of other members.
        """
        if state["labels"].shape != self.labels.shape:
            raise ValueError(f"labels of {tuple(state['labels'].shape)} members instead of {tuple(self.labels.shape)}")
        if bool((state["steps"] < 0).any()) or bool((state["labels"] < 0).any()):
            raise ValueError("steps and labels are not negative")
        self.steps.copy_(state["steps"])
        self.labels.copy_(state["labels"])
        self._stopped.copy_(state["stopped"])
