"""Swing a pendulum up and hold it. `*batch` is any leading shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from imitate_envs.base import Box

__all__ = ["Pendulum"]


@dataclass(frozen=True)
class Pendulum:
    """A torque too weak to lift the pendulum in one go swings it up and holds it; only rest upright is free.

    The state is (angle θ from upright in rad, never wrapped; angular velocity ω in rad/s), the observation
    (cos θ, sin θ, ω).
    Episodes never terminate. The reward is that of the state before the step,

        r  = −(θ² + 0.1 ω² + 0.001 u²),            θ wrapped to ±π, u clipped to ±`max_torque`
        ω' = clip(ω + (3g/2l sin θ + 3/(m l²) u) dt),    θ' = θ + ω' dt

    The numbers equal those of Gymnasium's Pendulum-v1, a rod of moment m l²/3.
    """

    gravity: float = 10.0  # m/s²
    mass: float = 1.0  # kg
    length: float = 1.0  # m
    max_torque: float = 2.0  # N m
    max_speed: float = 8.0  # rad/s
    dt: float = 0.05  # s, semi-implicit Euler
    speed_cost: float = 0.1
    torque_cost: float = 0.001
    reset_angle: float = math.pi  # rad, a first angle is within ± this
    reset_speed: float = 1.0  # rad/s, likewise
    max_steps: int = 200

    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 2

    @property
    def observation(self) -> Box:
        """Cosine and sine of the angle, and the angular velocity."""
        return Box((3,), (-1.0, -1.0, -self.max_speed), (1.0, 1.0, self.max_speed))

    @property
    def action(self) -> Box:
        """The torque; whatever lies outside is clipped."""
        return Box((1,), -self.max_torque, self.max_torque)

    @property
    def reward_range(self) -> tuple[float, float]:
        """Free at rest upright; dearest upside down at full speed and torque."""
        cost = math.pi**2 + self.speed_cost * self.max_speed**2 + self.torque_cost * self.max_torque**2
        return -cost, 0.0

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """As any other: no step terminates."""
        return self.reward_range

    def reset(self, noise: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """Angle and velocity uniform in ±`reset_angle` and ±`reset_speed`."""
        angle, spin = (2 * noise - 1).unbind(-1)
        return torch.stack([angle * self.reset_angle, spin * self.reset_speed], -1)

    def observe(self, state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 3"]:
        """Cosine and sine of the angle, and the angular velocity."""
        angle, spin = state.unbind(-1)
        return torch.stack([angle.cos(), angle.sin(), spin], -1)

    def step(
        self,
        state: Float[Tensor, "*batch 2"],
        action: Float[Tensor, "*batch 1"],
        noise: Float[Tensor, "*batch 0"],
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One semi-implicit Euler step of `dt` seconds."""
        angle, spin = state.unbind(-1)
        torque = action[..., 0].clamp(-self.max_torque, self.max_torque)
        sin = angle.sin()
        wrapped = torch.atan2(sin, angle.cos())
        cost = torch.addcmul(wrapped * wrapped, spin, spin, value=self.speed_cost)
        cost = torch.addcmul(cost, torque, torque, value=self.torque_cost)

        spin = torch.add(spin, sin, alpha=1.5 * self.gravity / self.length * self.dt)
        spin = torch.add(spin, torque, alpha=3 / (self.mass * self.length**2) * self.dt)
        spin = spin.clamp(-self.max_speed, self.max_speed)
        angle = torch.add(angle, spin, alpha=self.dt)
        return torch.stack([angle, spin], -1), -cost, torch.zeros_like(angle, dtype=torch.bool)
