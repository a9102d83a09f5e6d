"""The table of distillation: who acts, which loss, which reward (Czarnecki et al. 2019, table 1).

    E_q[Σ_t −∇log π_θ(a_t|s_t) R̂_t + ∇ℓ(s_t)],   R̂_t = Σ_{k≥t} r̂_k

q acts, ℓ is a loss at each state, r̂ a pseudo-reward of each step. π is the teacher, π_θ the student, and H(p, q) the
cross-entropy −E_p log q:

    row               q    ℓ           r̂                        a gradient
    teacher-driven    π    H(π, π_θ)   0                        yes
    on-policy         π_θ  H(π, π_θ)   0                        no
    entropy           π_θ  0           log π(a|s)               yes
    n-distill         π_θ  H(π, π_θ)   −H(π, π_θ)               yes
    expected-entropy  π_θ  H(π_θ, π)   −H(π_θ, π)               yes
    teacher-value     π_θ  0           r + γ V_π(s') − V_π(s)   yes

"A gradient" says whether the expected update is the gradient of anything. Where it is none, descent need not settle.
"""

from __future__ import annotations

from dataclasses import dataclass

from imitate.losses.distillation import DistillationLoss, cross_entropy, reverse_cross_entropy
from imitate.rewards.pseudo import (
    PseudoReward,
    log_likelihood,
    minus_cross_entropy,
    minus_reverse_cross_entropy,
    teacher_value,
)

__all__ = [
    "ENTROPY",
    "EXPECTED_ENTROPY",
    "N_DISTILL",
    "ON_POLICY",
    "ROWS",
    "TEACHER_DRIVEN",
    "TEACHER_VALUE",
    "Row",
]


@dataclass(frozen=True)
class Row:
    """A row of the table, or one of your own.

    Args:
        loss: ℓ, (teacher, student, temperature) -> [M, B]; None: 0.
        reward: r̂; None: 0.
        teacher_acts: Whether q is the teacher; otherwise it is the student.
        needs_value: Whether the reward looks at V_π.

    Raises:
        ValueError: The teacher acts, and the student is to follow its rewards; or there is neither loss nor reward.
    """

    loss: DistillationLoss | None = None
    reward: PseudoReward | None = None
    teacher_acts: bool = False
    needs_value: bool = False

    def __post_init__(self) -> None:
        if self.teacher_acts and self.reward is not None:
            raise ValueError("reward: no policy gradient of the student where the teacher acts; take None.")
        if self.loss is None and self.reward is None:
            raise ValueError("loss: with neither a loss nor a reward there is nothing to learn.")


TEACHER_DRIVEN = Row(cross_entropy, teacher_acts=True)  # Rusu et al. (2016)
ON_POLICY = Row(cross_entropy)  # the loss of kickstarting, Schmitt et al. (2018)
ENTROPY = Row(reward=log_likelihood)
N_DISTILL = Row(cross_entropy, minus_cross_entropy)
EXPECTED_ENTROPY = Row(reverse_cross_entropy, minus_reverse_cross_entropy)
TEACHER_VALUE = Row(reward=teacher_value, needs_value=True)

ROWS = {
    "teacher-driven": TEACHER_DRIVEN,
    "on-policy": ON_POLICY,
    "entropy": ENTROPY,
    "n-distill": N_DISTILL,
    "expected-entropy": EXPECTED_ENTROPY,
    "teacher-value": TEACHER_VALUE,
}
