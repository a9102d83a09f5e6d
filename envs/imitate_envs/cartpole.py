"""Balance a pole on a cart. `*batch` is any leading shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Box, Discrete, constant

__all__ = ["CartPole"]


@dataclass(frozen=True)
class CartPole:
    """A cart is pushed left (0) or right (1) so that the pole on it stays up; every step earns 1.

    The state is (position m, velocity m/s, angle from upright rad, angular velocity rad/s), all observed.
    An episode terminates when the cart leaves ±`x_limit` or the pole ±`angle_limit`.

    Source: Barto, Sutton & Anderson (1983), with the equations of Florian (2007) at zero friction:

        a  = (F + m l ω² sin θ) / M,                       M = cart_mass + pole_mass
        ω̇ = (g sin θ − a cos θ) / (l (4/3 − m cos² θ / M))
        v̇  = a − m l ω̇ cos θ / M

    The numbers equal those of Gymnasium's CartPole-v1.
    """

    gravity: float = 9.8  # m/s²
    cart_mass: float = 1.0  # kg
    pole_mass: float = 0.1  # kg
    half_length: float = 0.5  # m, pivot to the pole's centre of mass
    force: float = 10.0  # N
    dt: float = 0.02  # s, explicit Euler
    x_limit: float = 2.4  # m
    angle_limit: float = math.radians(12)  # rad
    reset_range: float = 0.05  # each entry of a first state is within ± this
    max_steps: int = 500

    action: ClassVar[Discrete] = Discrete(2)
    reward_range: ClassVar[tuple[float, float]] = (1.0, 1.0)
    final_reward_range: ClassVar[tuple[float, float]] = (1.0, 1.0)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 4

    @property
    def observation(self) -> Box:
        """Twice the limits, so that the last observation of an episode is inside."""
        high = (2 * self.x_limit, math.inf, 2 * self.angle_limit, math.inf)
        return Box((4,), tuple(-bound for bound in high), high)

    def reset(self, noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Every entry uniform in ±`reset_range`."""
        return noise * (2 * self.reset_range) - self.reset_range

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """The state itself."""
        return state

    def step(
        self,
        state: Float[Tensor, "*batch 4"],
        action: Int[Tensor, "*batch"],
        noise: Float[Tensor, "*batch 0"],
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One explicit Euler step of `dt` seconds."""
        mass = self.cart_mass + self.pole_mass
        lever = self.pole_mass * self.half_length / mass
        x, velocity, angle, spin = state.unbind(-1)
        sin, cos = angle.sin(), angle.cos()
        # Fused forms, here and in the other files: a step of a small batch costs what it launches in kernels.
        push = torch.add(constant(-self.force / mass, x), action, alpha=2 * self.force / mass)
        a = torch.addcmul(push, spin * spin, sin, value=lever)
        inertia = torch.addcmul(constant(4 / 3 * self.half_length, x), cos, cos, value=-lever)
        spin_dot = torch.addcmul(constant(self.gravity, x) * sin, cos, a, value=-1).div_(inertia)
        velocity_dot = torch.addcmul(a, spin_dot, cos, value=-lever)
        state = torch.add(state, torch.stack([velocity, velocity_dot, spin, spin_dot], -1), alpha=self.dt)
        x, _, angle, _ = state.unbind(-1)
        fallen = (x.abs() > constant(self.x_limit, x)).logical_or_(angle.abs() > constant(self.angle_limit, x))
        return state, torch.ones_like(x), fallen
