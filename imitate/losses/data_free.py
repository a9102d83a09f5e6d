"""Losses of a generator of states that a frozen teacher looks at, after DAFL (Chen et al. 2019).

The published generator makes images for a classifier; here it makes observations for a policy of choices.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from imitate.core.config import checked
from imitate.distributions.actions import Categorical

__all__ = ["information", "one_hot"]


@checked
def one_hot(teacher: Categorical) -> Float[Tensor, "*batch"]:
    """−log max_a π(a|s), in nats: small where the teacher is sure, as it is of states that it knows."""
    return -teacher.log_prob(teacher.mode)


@checked
def information(teacher: Categorical) -> Float[Tensor, "..."]:
    """Σ_a p̄_a log p̄_a of the mean choice p̄ over a batch, [M, B] -> [M]: least where all choices come equally often."""
    mean = teacher.logits.softmax(-1).mean(-2)
    return (mean * mean.clamp(min=1e-30).log()).sum(-1)
