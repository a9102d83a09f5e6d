"""How alike a student and its teacher answer. Letters: T time, M members, N environments of one member."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from imitate.core.config import Count, checked
from imitate.core.types import Policy, Source, fold
from imitate.distributions.actions import Categorical, MultiCategorical, Teacher
from imitate.experiment.evaluate import interval
from imitate.policies import Greedy
from imitate.teachers.label import Answers

__all__ = ["Fidelity", "fidelity"]


@dataclass(frozen=True)
class Fidelity:
    """A student beside its teacher, on the same states.

    Args:
        agreement: Share of states at which both have the same mode, [M]; None for a Box.
        kl: Mean KL(teacher ‖ student), in nats, [M]; None where their distributions are of different kinds.
    """

    agreement: NDArray[np.float64] | None
    kl: NDArray[np.float64] | None

    def as_json(self) -> dict[str, float | None]:
        """Means over members with their 95 % intervals; None for what does not exist."""
        found: dict[str, float | None] = {}
        for name, values in (("agreement", self.agreement), ("kl", self.kl)):
            bounds = (0.0, 1.0 if name == "agreement" else np.inf)
            low, high = (None, None) if values is None else interval(values, bounds=bounds)
            mean = None if values is None else float(values.mean())
            found |= {name: mean, f"{name}_low": low, f"{name}_high": high}
        return {name: value if value is not None and np.isfinite(value) else None for name, value in found.items()}


@checked
@torch.no_grad()
def fidelity(source: Source, teacher: Policy, student: Teacher, *, driver: Policy, steps: Count = 500) -> Fidelity:
    """Compare the answers of teacher and student on the states that a driver visits, acting greedily.

    Args:
        source: Where to drive. Fresh sources of one seed show equal states while the driver is the same.
        teacher: Who is right.
        student: Who is compared; memoryless.
        driver: The teacher, or the student.
        steps: T, of each environment.

    Raises:
        ValueError: The teacher does not tell how likely what it does is.
    """
    rollout = source.collect(Greedy(driver), steps)
    told, said = Answers(teacher)(rollout), student.distribution(fold(rollout.obs))
    agreement = None
    if isinstance(told, Categorical | MultiCategorical):
        same = told.mode == said.mode
        agreement = _mean(same if same.dim() == 2 else same.all(-1))
    return Fidelity(agreement, _mean(told.kl(said)) if type(told) is type(said) else None)


def _mean(values: torch.Tensor) -> NDArray[np.float64]:
    return values.double().mean(1).cpu().numpy()
