"""Pseudo-rewards of distillation: pure functions of what a teacher and its student say of a step.

A student that minimises a loss ℓ on the states that it leads itself to must also learn where to go. Its actions decide
which states come, and the pseudo-reward −ℓ says so. The table of Czarnecki et al. (2019) gives −ℓ(s_{t+1}) to the
action at t. These functions give −ℓ(s_t). The sum of all rewards from t on then holds ℓ(s_t) too, which does not depend
on the action at t and so is a baseline: the expected update is the same, and nobody is asked about s_{t+1}.

`*batch` is any shape; π is the teacher, π_θ the student.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from imitate.distributions.actions import Distribution
from imitate.losses.distillation import cross_entropy, reverse_cross_entropy

__all__ = [
    "Labelled",
    "PseudoReward",
    "log_likelihood",
    "minus_cross_entropy",
    "minus_reverse_cross_entropy",
    "teacher_value",
]


@dataclass(frozen=True)
class Labelled:
    """Steps of whoever acts, and what teacher and student say of them, as constants."""

    teacher: Distribution  # π(·|s)
    student: Distribution  # π_θ(·|s)
    log_prob: Float[Tensor, "*batch"]  # log π(a|s), of the teacher
    student_log_prob: Float[Tensor, "*batch"]  # log π_θ(a|s)
    reward: Float[Tensor, "*batch"]  # r, of the environment
    discount: Float[Tensor, "*batch"]  # γ; 0 where the step terminates the episode
    value: Float[Tensor, "*batch"] | None = None  # V_π(s), where it is known
    next_value: Float[Tensor, "*batch"] | None = None  # V_π(s')


PseudoReward = Callable[[Labelled], Tensor]


def log_likelihood(step: Labelled) -> Float[Tensor, "*batch"]:
    """Log π(a|s): the teacher's log-probability of what the student did (Czarnecki et al. 2019, table 1)."""
    return step.log_prob


def minus_cross_entropy(step: Labelled) -> Float[Tensor, "*batch"]:
    """−H(π(s), π_θ(s)) = E_{a∼π} log π_θ(a|s), what `cross_entropy` costs (Czarnecki et al. 2019, table 1)."""
    return -cross_entropy(step.teacher, step.student)


def minus_reverse_cross_entropy(step: Labelled) -> Float[Tensor, "*batch"]:
    """−H(π_θ(s), π(s)) = E_{a∼π_θ} log π(a|s): the mean of `log_likelihood` over what the student may do."""
    return -reverse_cross_entropy(step.teacher, step.student)


def teacher_value(step: Labelled) -> Float[Tensor, "*batch"]:
    """How much better a step was than the teacher expected: r + γ V_π(s') − V_π(s) (Czarnecki et al. 2019, table 1).

    Of all policies the best one is still the best under it (Ng, Harada & Russell 1999, theorem 1).

    Raises:
        ValueError: The teacher's values are not known.
    """
    if step.value is None or step.next_value is None:
        raise ValueError("value: this reward needs the values of the teacher.")
    return step.reward + step.discount * step.next_value - step.value
