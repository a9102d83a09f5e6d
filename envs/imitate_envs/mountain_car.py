"""Rock a weak car out of a valley, by three actions or by a force. `*batch` is any leading shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from imitate_envs.base import Box, Discrete

__all__ = ["MountainCar", "MountainCarContinuous"]


@dataclass(frozen=True)
class MountainCar:
    """Push left (0), coast (1) or push right (2) until the car passes the flag; every step costs 1.

    The state is (position, velocity per step), all of it observed; the hill has height sin 3x:

        v' = clip(v + power (action − 1) − gravity cos 3x),    x' = clip(x + v')

    The left end is a wall that stops the car. An episode terminates at `goal` or beyond with a velocity of at
    least `goal_speed`.

    Source: Moore (1990), in the form of Sutton (1996). The numbers equal those of Gymnasium's MountainCar-v0.
    """

    power: float = 0.001  # position / step²
    gravity: float = 0.0025  # position / step²
    x_min: float = -1.2
    x_max: float = 0.6
    max_speed: float = 0.07  # position / step
    goal: float = 0.5
    goal_speed: float = 0.0  # position / step
    reset_low: float = -0.6  # a first position is uniform between these, at rest
    reset_high: float = -0.4
    max_steps: int = 200

    action: ClassVar[Discrete] = Discrete(3)
    reward_range: ClassVar[tuple[float, float]] = (-1.0, -1.0)
    final_reward_range: ClassVar[tuple[float, float]] = (-1.0, -1.0)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 1

    @property
    def observation(self) -> Box:
        """Position and velocity."""
        return Box((2,), (self.x_min, -self.max_speed), (self.x_max, self.max_speed))

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2"]:
        """At rest, uniform in [`reset_low`, `reset_high`)."""
        return _at_rest(self, noise)

    def observe(self, state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The state itself."""
        return state

    def step(
        self,
        state: Float[Tensor, "*batch 2"],
        action: Int[Tensor, "*batch"],
        noise: Float[Tensor, "*batch 0"],
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One step."""
        state, arrived = _drive(self, state, action - 1)
        return state, torch.full_like(arrived, -1, dtype=state.dtype), arrived


@dataclass(frozen=True)
class MountainCarContinuous:
    """As `MountainCar`, with a force in ±1 for an action: arriving earns 100, a step costs 0.1 force².

    The force is clipped, the cost is that of the action as given. The flag stands a little lower, at 0.45.

    Source: Moore (1990). The numbers equal those of Gymnasium's MountainCarContinuous-v0.
    """

    power: float = 0.0015  # position / step²
    gravity: float = 0.0025  # position / step²
    x_min: float = -1.2
    x_max: float = 0.6
    max_speed: float = 0.07  # position / step
    goal: float = 0.45
    goal_speed: float = 0.0  # position / step
    goal_reward: float = 100.0
    force_cost: float = 0.1
    reset_low: float = -0.6  # a first position is uniform between these, at rest
    reset_high: float = -0.4
    max_steps: int = 999

    action: ClassVar[Box] = Box((1,), -1.0, 1.0)
    step_noise: ClassVar[int] = 0
    reset_noise: ClassVar[int] = 1

    @property
    def observation(self) -> Box:
        """Position and velocity."""
        return Box((2,), (self.x_min, -self.max_speed), (self.x_max, self.max_speed))

    @property
    def reward_range(self) -> tuple[float, float]:
        """At best nothing; there is no dearest force, for it costs as given."""
        return -math.inf, 0.0

    @property
    def final_reward_range(self) -> tuple[float, float]:
        """At best the goal's reward."""
        return -math.inf, self.goal_reward

    def reset(self, noise: Float[Tensor, "*batch 1"]) -> Float[Tensor, "*batch 2"]:
        """At rest, uniform in [`reset_low`, `reset_high`)."""
        return _at_rest(self, noise)

    def observe(self, state: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 2"]:
        """The state itself."""
        return state

    def step(
        self,
        state: Float[Tensor, "*batch 2"],
        action: Float[Tensor, "*batch 1"],
        noise: Float[Tensor, "*batch 0"],
    ) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch"], Bool[Tensor, "*batch"]]:
        """One step."""
        force = action[..., 0]
        state, arrived = _drive(self, state, force.clamp(-1, 1))
        return state, torch.add(force * force * -self.force_cost, arrived, alpha=self.goal_reward), arrived


def _at_rest(car: MountainCar | MountainCarContinuous, noise: Tensor) -> Tensor:
    """First states, the velocity padded on as zero."""
    return pad(noise * (car.reset_high - car.reset_low) + car.reset_low, (0, 1))


def _drive(car: MountainCar | MountainCarContinuous, state: Tensor, push: Tensor) -> tuple[Tensor, Tensor]:
    """The next states, and whether they are at the goal."""
    position, velocity = state.unbind(-1)
    velocity = torch.add(velocity, (3 * position).cos(), alpha=-car.gravity)
    velocity = torch.add(velocity, push, alpha=car.power).clamp(-car.max_speed, car.max_speed)
    position = (position + velocity).clamp(car.x_min, car.x_max)
    velocity = torch.where(position <= car.x_min, velocity.clamp_min(0), velocity)
    return torch.stack([position, velocity], -1), (position >= car.goal) & (velocity >= car.goal_speed)
