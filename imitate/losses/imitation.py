"""Losses of imitation, unreduced: a student's distribution against the actions of a teacher."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.core.actions import clip, unit
from imitate.distributions.actions import Categorical, Distribution, Normal, TanhNormal
from imitate_envs.base import Box, Discrete, Space, constant

__all__ = [
    "ImitationLoss",
    "SquaredError",
    "categorical_likelihood",
    "cost_sensitive_likelihood",
    "default_loss",
    "discrepancy",
    "expected_cost",
    "negative_log_likelihood",
    "squared_error",
]

ImitationLoss = Callable[[Distribution, Tensor], Tensor]


def negative_log_likelihood(student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
    """−log π(a|s), in nats (Pomerleau 1991, as maximum likelihood)."""
    return -student.log_prob(action)


def categorical_likelihood(
    logits: Float[Tensor, "*batch A"], action: Int[Tensor, "*batch"], weight: Float[Tensor, "*#batch"]
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"], Float[Tensor, "*batch A"]]:
    """`negative_log_likelihood` of a choice less its weighted entropy, with the gradient written out.

        ∂/∂z = p − e_a + c (log p + H) ⊙ p

    Args:
        logits: z, as constants.
        action: a.
        weight: c, of the entropy H.

    Returns:
        −log π(a|s) and H, in nats, and the gradient of their weighted difference.
    """
    # A masked choice has logit −∞ and probability 0, and must give 0·log 0 = 0, whatever the weight.
    log_probs = logits.log_softmax(-1).clamp_(min=-1e30)
    probs, chosen = log_probs.exp(), action.unsqueeze(-1)
    error = log_probs.gather(-1, chosen).squeeze(-1).neg_()
    entropy = torch.linalg.vecdot(probs, log_probs).neg_()
    grad = log_probs.add_(entropy.unsqueeze(-1)).mul_(weight.unsqueeze(-1)).add_(1).mul_(probs)
    return error, entropy, grad.scatter_add_(-1, chosen, constant(-1.0, grad).expand(chosen.shape))


def squared_error(student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
    """|a − mode|², summed over the action's dimensions: the likelihood of a Gaussian whose width is not learnt.

    Raises:
        ValueError: The student is categorical.
    """
    if not isinstance(student, (Normal, TanhNormal)):
        raise ValueError("student: of choices there is no squared error; take negative_log_likelihood.")
    return (student.mode - action).square().sum(-1)


def cost_sensitive_likelihood(student: Distribution, cost: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """The likelihood of each choice, weighted by what it saves: a convex surrogate of `expected_cost`.

        −Σ_a (max_b Q(s, b) − Q(s, a)) log π(a|s)

    Its weights are linear in costs but for a constant, so the mode of its minimum is the choice of least mean cost,
    however noisy single costs are. Of two choices the better one is the label, weighted by the difference.

    Source: cost-proportionate weighting of Zadrozny, Langford & Abe (2003), here for A choices.

    Args:
        student: Over A choices.
        cost: Q, the cost to go behind each choice; lower is better.

    Raises:
        ValueError: The student does not choose among finitely many.
    """
    saved = cost.amax(-1, keepdim=True) - cost
    # A masked choice has log-probability −∞, and must give 0·log 0 = 0.
    return -(saved * _choices(student).logits.log_softmax(-1).clamp(min=-1e30)).sum(-1)


def expected_cost(student: Distribution, cost: Float[Tensor, "*batch A"]) -> Float[Tensor, "*batch"]:
    """What a student's choice costs in expectation, beyond the best choice.

        Σ_a π(a|s) (Q(s, a) − min_b Q(s, b))

    The minimum is a constant, so the gradient is Σ_a ∇π(a|s) Q(s, a).

    Source: Sun et al. (2017), with the sum over choices exact.

    Args:
        student: Over A choices.
        cost: Q, the cost to go behind each choice; lower is better.

    Raises:
        ValueError: The student does not choose among finitely many.
    """
    return (_choices(student).probs * (cost - cost.amin(-1, keepdim=True))).sum(-1)


def _choices(student: Distribution) -> Categorical:
    if not isinstance(student, Categorical):
        raise ValueError(f"student: a {type(student).__name__} has no finitely many choices; take a Discrete space.")
    return student


@dataclass(frozen=True)
class SquaredError:
    """`squared_error` in units of half a bounded dimension's range, so that no range makes it large or small.

    Args:
        action: Space of actions.
    """

    action: Box

    def __call__(self, student: Distribution, action: Tensor) -> Float[Tensor, "*batch"]:
        """The error of modes against actions [*batch, A]."""
        if not isinstance(student, (Normal, TanhNormal)):
            raise ValueError("student: of choices there is no squared error; take negative_log_likelihood.")
        _, half_range = unit(self.action, action.device)
        return ((student.mode - action) / half_range).square().sum(-1)


def default_loss(action: Space) -> ImitationLoss:
    """The likelihood for choices, the squared error for a Box, in units of its half range.

    A teacher's greedy actions have no spread, so a likelihood would drive the student's width towards zero and its
    gradient towards infinity; the squared error has the same optimal mean without that.
    """
    return SquaredError(action) if isinstance(action, Box) else negative_log_likelihood


def discrepancy(space: Space, action: Tensor, told: Tensor) -> Float[Tensor, "*batch"]:
    """How far an action is from what a teacher would do: ‖a − a*‖² (Zhang & Cho 2017).

    Actions of a Box count inside their bounds and in half ranges, as in `SquaredError`. Of choices it is 1 where
    another one is made; where several are made at once it is the share of those that differ.

    Args:
        space: Of actions.
        action: a, [*batch], or [*batch, A] of a Box and [*batch, K] of several choices.
        told: a*.
    """
    if isinstance(space, Box):
        _, half_range = unit(space, action.device)
        return ((clip(space, action) - clip(space, told)) / half_range).square().sum(-1)
    different = (action != told).float()
    return different if isinstance(space, Discrete) else different.mean(-1)
