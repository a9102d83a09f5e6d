"""Swing up a two-link arm by its elbow. `*batch` is any leading shape; S = 4 is the size of a state."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from imitate_envs.base import Box, Discrete

__all__ = ["Acrobot"]


@dataclass(frozen=True)
class Acrobot:
    """A torque of −1, 0 or 1 (actions 0, 1, 2) at the elbow swings the tip above a bar; a step costs 1.

    The state is (angle of link 1 from hanging, angle of link 2 from link 1, their velocities), in rad
    within ±π and rad/s; the observation has cosine and sine of each angle, then the velocities. An episode
    terminates with a step that costs nothing and ends at −cos θ₁ − cos(θ₁ + θ₂) > `height`.

    Source: Sutton (1996) with the equations of Sutton & Barto (1998), §11.3, by one Runge-Kutta step of
    fourth order that holds the torque. The numbers equal those of Gymnasium's Acrobot-v1.
    """

    gravity: float = 9.8  # m/s²
    mass_1: float = 1.0  # kg
    mass_2: float = 1.0  # kg
    length_1: float = 1.0  # m
    centre_1: float = 0.5  # m, joint to centre of mass
    centre_2: float = 0.5  # m
    inertia: float = 1.0  # kg m², of each link
    torque: float = 1.0  # N m
    max_speed_1: float = 4 * math.pi  # rad/s
    max_speed_2: float = 9 * math.pi  # rad/s
    height: float = 1.0  # of the bar above the pivot, in lengths of a link
    dt: float = 0.2  # s
    reset_range: float = 0.1  # each entry of a first state is within ± this
    max_steps: int = 500

    action: ClassVar[Discrete] = Discrete(3)
    reward_range: ClassVar[tuple[float, float]] = (-1.0, -1.0)
    final_reward_range: ClassVar[tuple[float, float]] = (0.0, 0.0)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 4

    @property
    def observation(self) -> Box:
        """Cosine and sine of the first angle, then of the second, and the two velocities."""
        high = (1.0, 1.0, 1.0, 1.0, self.max_speed_1, self.max_speed_2)
        return Box((6,), tuple(-bound for bound in high), high)

    def reset(self, noise: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Every entry uniform in ±`reset_range`."""
        return noise * (2 * self.reset_range) - self.reset_range

    def observe(self, state: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 6"]:
        """Cosine and sine of the first angle, then of the second, and the two velocities."""
        angle_1, angle_2, spin_1, spin_2 = state.unbind(-1)
        return torch.stack([angle_1.cos(), angle_1.sin(), angle_2.cos(), angle_2.sin(), spin_1, spin_2], -1)

    def step(
        self,
        state: Float[Tensor, "*batch 4"],
        action: Int[Tensor, "*batch"],
        noise: Float[Tensor, "*batch 0"],
    ) -> tuple[Float[Tensor, "*batch 4"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One Runge-Kutta step of `dt` seconds, angles wrapped and velocities clipped at its end."""
        y, torque = state.movedim(-1, 0), action - 1
        k1 = self._derivative(y, torque)
        k2 = self._derivative(torch.add(y, k1, alpha=self.dt / 2), torque)
        k3 = self._derivative(torch.add(y, k2, alpha=self.dt / 2), torque)
        k4 = self._derivative(torch.add(y, k3, alpha=self.dt), torque)
        y = torch.add(y, torch.add(k1 + k4, k2 + k3, alpha=2), alpha=self.dt / 6)

        angle_1, angle_2, spin_1, spin_2 = y.unbind(0)
        cos_1 = angle_1.cos()
        swung_up = cos_1 + (angle_1 + angle_2).cos() < -self.height
        state = torch.stack(
            [
                torch.atan2(angle_1.sin(), cos_1),
                torch.atan2(angle_2.sin(), angle_2.cos()),
                spin_1.clamp(-self.max_speed_1, self.max_speed_1),
                spin_2.clamp(-self.max_speed_2, self.max_speed_2),
            ],
            -1,
        )
        return state, swung_up.to(state.dtype) - 1, swung_up

    def _derivative(self, y: Float[Tensor, "S *batch"], push: Int[Tensor, "*batch"]) -> Float[Tensor, "S *batch"]:
        """d/dt of a state with its entries first, which keeps each of them contiguous.

            d₁ = m₁c₁² + m₂(l₁² + c₂² + 2l₁c₂ cos θ₂) + 2I,        d₂ = m₂(c₂² + l₁c₂ cos θ₂) + I
            φ₂ = m₂c₂g sin(θ₁ + θ₂)
            φ₁ = −m₂l₁c₂ ω₂(ω₂ + 2ω₁) sin θ₂ + (m₁c₁ + m₂l₁)g sin θ₁ + φ₂
            ω̇₂ = (τ + φ₁d₂/d₁ − m₂l₁c₂ ω₁² sin θ₂ − φ₂) / (m₂c₂² + I − d₂²/d₁)
            ω̇₁ = −(d₂ω̇₂ + φ₁) / d₁

        Below, all of these are divided by m₂l₁c₂, and the fraction of ω̇₂ is extended by −d₁.
        """
        coupling = self.mass_2 * self.length_1 * self.centre_2
        inertia_1 = (self.mass_1 * self.centre_1**2 + self.mass_2 * self.length_1**2 + self.inertia) / coupling
        inertia_2 = (self.mass_2 * self.centre_2**2 + self.inertia) / coupling
        weight_1 = (self.mass_1 * self.centre_1 + self.mass_2 * self.length_1) * self.gravity / coupling
        weight_2 = self.mass_2 * self.centre_2 * self.gravity / coupling

        angle_1, angle_2, spin_1, spin_2 = y.unbind(0)
        sin_2, cos_2 = angle_2.sin(), angle_2.cos()
        d2 = cos_2 + inertia_2
        d1 = d2 + cos_2 + inertia_1
        phi2 = (angle_1 + angle_2).sin() * weight_2
        phi1 = torch.add(phi2, angle_1.sin(), alpha=weight_1)
        phi1 = torch.addcmul(phi1, sin_2, spin_2 * torch.add(spin_2, spin_1, alpha=2), value=-1)
        load = torch.sub(torch.addcmul(phi2, sin_2, spin_1 * spin_1), push, alpha=self.torque / coupling)
        spin_dot_2 = torch.addcmul(d1 * load, d2, phi1, value=-1) / torch.sub(d2 * d2, d1, alpha=inertia_2)
        spin_dot_1 = -torch.addcmul(phi1, d2, spin_dot_2) / d1
        return torch.stack([spin_1, spin_2, spin_dot_1, spin_dot_2])
