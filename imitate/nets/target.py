"""A network that follows another one."""

from __future__ import annotations

import copy
from typing import Any, Generic, TypeVar

import torch
from torch import nn

from imitate.core import tree
from imitate.core.config import checked

__all__ = ["TargetNetwork"]

N = TypeVar("N", bound=nn.Module)


class TargetNetwork(Generic[N]):
    """A frozen copy that moves towards its original now and then: θ⁻ ← (1 − τ) θ⁻ + τ θ.

    τ = 1 copies (Mnih et al. 2015); a small τ at every update follows (Lillicrap et al. 2016, §3). Buffers, such as the
    statistics of a normaliser, are those of the original at every move.

    Args:
        online: The original.
        tau: τ in (0, 1].
        every: Updates between two moves.

    Attributes:
        network: The copy.

    Raises:
        ValueError: A number is out of range.
    """

    @checked
    def __init__(self, online: N, tau: float = 1.0, every: int = 1) -> None:
        if not 0 < tau <= 1:
            raise ValueError(f"tau: a share in (0, 1], not {tau}.")
        if every < 1:
            raise ValueError(f"every: at least 1, not {every}.")
        self.online, self.tau, self.every = online, tau, every
        self.network: N = copy.deepcopy(online).requires_grad_(False)
        self.updates = torch.zeros((), dtype=torch.int64)

    @torch.no_grad()
    def update(self) -> None:
        """Count one update of the original, and move if it is time."""
        self.updates += 1
        if int(self.updates) % self.every == 0:
            torch._foreach_lerp_(list(self.network.parameters()), list(self.online.parameters()), self.tau)
            self.follow()

    @torch.no_grad()
    def follow(self) -> None:
        """Take over the buffers."""
        for mine, theirs in zip(self.network.buffers(), self.online.buffers(), strict=True):
            mine.copy_(theirs)

    def state_dict(self) -> dict[str, Any]:
        """The copy's weights, and the count."""
        return {"network": dict(self.network.state_dict()), "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore.

        Raises:
            ValueError: The count is negative.
        """
        if bool((state["updates"] < 0).any()):
            raise ValueError("updates are not negative")
        self.network.load_state_dict(dict(tree.flatten(state["network"])))  # nested, as a file gives it
        self.updates.copy_(state["updates"])
