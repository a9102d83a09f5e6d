"""Cart-pole in a mirror. `*batch` is any leading shape."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.cartpole import CartPole

__all__ = ["MirroredCartPole"]


@dataclass(frozen=True)
class MirroredCartPole(CartPole):
    """`CartPole` with left and right exchanged: action 0 pushes right, 1 pushes left; every step earns 1.

    What is shown stays as it is, so the task cannot be told from it: whoever plays both must be told which it is. With
    `signs` all four numbers are shown with the other sign too. Then it is the same task again, for the equations are
    symmetric: what balances the one balances the other.
    """

    signs: bool = False

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """The state, with `signs` that of the mirror."""
        return -state if self.signs else state

    def step(
        self, state: Float[Tensor, "*batch 4"], action: Int[Tensor, "*batch"], noise: Float[Tensor, "*batch 0"]
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """A step with the other action."""
        return super().step(state, 1 - action, noise)
