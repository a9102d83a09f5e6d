"""Absorbing states: what stands behind a termination, and lasts for ever. Letters: M members, B batch.

A reward of one sign tells whether an end is good or bad, whatever the teacher did. With absorbing states it does not:
there is a state s_a of its own behind a termination, which a discriminator sees in the steps of teacher and learner. A
network sees it as zeros beside an indicator. The last step of an episode then earns what follows for ever,

    r(s_T, a_T) + γ / (1 − γ) r(s_a).

Source: Kostrikov et al. (2019, arXiv:1809.02925). There s_a is entered and left again in a replay, and its value
learnt; rewards alone hold the same sum where an on-policy learner sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imitate.core import tree
from imitate.core.learner import PerMember, per_member
from imitate.core.spec import Spec
from imitate.data.demonstrations import Demonstrations
from imitate_envs.base import Box

__all__ = ["INDICATOR", "Absorbing", "emptied", "indicated", "share_of"]

T = TypeVar("T")
INDICATOR = Box((1,))  # what a network takes beside an observation: 1 in the absorbing state, 0 elsewhere


@dataclass(frozen=True)
class Absorbing:
    """What is known of the absorbing state.

    Args:
        weight: γ / (1 − γ) of each member: all rewards of the state, counted at the step before it.
        share: Of the teacher's steps in it: one for each termination beside all steps, whatever was thinned.
    """

    weight: Float[Tensor, "M 1"]
    share: Float[Tensor, "M 1"]

    @classmethod
    def of(cls, demonstrations: Demonstrations, spec: Spec, gamma: PerMember) -> Absorbing:
        """That of demonstrations, for a learner of discount γ.

        Raises:
            ValueError: They do not tell whether episodes terminated, or γ is 1.
        """
        discount = per_member(gamma, "gamma", spec.members, spec.device).unsqueeze(1)
        if bool((discount >= 1).any()):
            raise ValueError("gamma: an absorbing state that lasts for ever needs a discount below 1.")
        ends = demonstrations.terminations
        return cls(discount / (1 - discount), (ends / (demonstrations.env_steps + ends)).unsqueeze(1))

    def tail(self, terminated: Bool[Tensor, "M B"], reward: Float[Tensor, "M 1"]) -> Float[Tensor, "M B"]:
        """What each step earns behind it, where one in the absorbing state earns `reward`."""
        return terminated * self.weight * reward


def share_of(terminated: Bool[Tensor, "M B"]) -> Float[Tensor, "M 1"]:
    """Share of absorbing steps, if each termination is followed by one."""
    ends = terminated.sum(1, keepdim=True)
    return ends / (terminated.shape[1] + ends)


def emptied(x: T, absorbing: Bool[Tensor, "M B"]) -> T:
    """A tree [M, B, ...] with zeros in the absorbing state."""
    return tree.map(lambda leaf: leaf.masked_fill(absorbing.reshape(*absorbing.shape, *(1,) * (leaf.dim() - 2)), 0), x)


def indicated(absorbing: Bool[Tensor, "M B"]) -> Float[Tensor, "M B 1"]:
    """Where the absorbing state is, as a network takes it."""
    return absorbing.unsqueeze(-1).to(torch.float32)
