"""Control laws of classic control: teachers without training. `*batch` is any leading shape, as [M, B].

Mean returns of `TensorSource(ENVS[id](), id=id, num_envs=1).play(control_law(id), 100, seed=0)`, to which
tests/teachers/test_control.py holds them:

    CartPole-v1   MountainCar-v0   MountainCarContinuous-v0   Pendulum-v1   Acrobot-v1
          500.0            -98.0                       98.6        -158.0        -79.1
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from imitate.core.config import checked
from imitate.core.names import closest
from imitate.distributions.actions import Distribution
from imitate.teachers.functions import certain, positive
from imitate_envs import ENVS

__all__ = [
    "LAWS",
    "ControlLaw",
    "acrobot",
    "cartpole",
    "control_law",
    "mountain_car",
    "mountain_car_continuous",
    "pendulum",
]


def cartpole(obs: Float[Tensor, "*batch 4"]) -> Int[Tensor, "*batch"]:
    """Push to the side to which the linear-quadratic regulator would.

        action = [k·(x, v, θ, ω) > 0]

    k is the gain of the discrete regulator of the cart and pole linearised at rest, for the cost
    x² + v² + 10θ² + ω² + 0.1F² (Bryson & Ho 1975, ch. 5); of its force only the sign is used.
    """
    x, velocity, angle, spin = obs.unbind(-1)
    return (2.78 * x + 5.32 * velocity + 46.44 * angle + 12.05 * spin > 0).long()


def mountain_car(obs: Float[Tensor, "*batch 2"]) -> Int[Tensor, "*batch"]:
    """Push right above a curve in the plane of position and velocity, left below it.

        right  if  v > min(−0.2(x + 0.43)² + 0.038, 0.4(x + 0.845)⁴ − 0.0078)

    The form is that of Z. Xiao's hand-made policy (github.com/ZhiqingXiao/OpenAIGymSolution,
    MountainCar-v0_close_form), the constants are fitted anew by random search over evenly spaced first
    positions. Dynamic programming on a fine grid puts the best possible mean at about −98.
    """
    x, v = obs.unbind(-1)
    curve = torch.minimum(0.038 - 0.2 * (x + 0.43).square(), 0.4 * (x + 0.845).square().square() - 0.0078)
    return torch.where(v > curve, 2, 0)


def mountain_car_continuous(obs: Float[Tensor, "*batch 2"]) -> Float[Tensor, "*batch 1"]:
    """Push gently along the velocity: u = 0.2 sign v.

    Of the forces of one strength this adds energy fastest. A weaker one costs less in all, for its cost grows
    with its square and the time it takes only with its inverse; 0.2 leaves a wide margin before the time
    limit.
    """
    return torch.where(obs[..., 1:] >= 0, 0.2, -0.2).to(obs.dtype)


def pendulum(obs: Float[Tensor, "*batch 3"]) -> Float[Tensor, "*batch 1"]:
    """Bring the energy to that of upright rest, and there hold by a linear-quadratic regulator.

        E = ω²/2 + 15(cos θ − 1)
        u = −E sign ω                       while |θ| ≥ 0.5,         since dE/dt = 3uω
        u = −(19.69 θ + 5.26 ω)             else;                    both clipped to ±2

    Source: Åström & Furuta (2000), eq. 8. The gains are those of the discrete regulator, for this
        environment's own cost
    θ² + 0.1ω² + 0.001u².
    """
    cos, sin, spin = obs.unbind(-1)
    angle = torch.atan2(sin, cos)
    energy = 0.5 * spin.square() + 15 * (cos - 1)
    swing = torch.where(spin >= 0, -energy, energy)
    hold = -(19.69 * angle + 5.26 * spin)
    return torch.where(angle.abs() < 0.5, hold, swing).clamp(-2, 2).unsqueeze(-1)


def acrobot(obs: Float[Tensor, "*batch 6"]) -> Int[Tensor, "*batch"]:
    """Torque along the elbow's velocity, which adds energy, leaning against the swing of the whole arm.

        τ = sign(ω₂ − 0.35 ω₁ − 0.3 sin(θ₁ + θ₂)),          dE/dt = τω₂

    Pumping energy through the elbow is Spong's (1995) swing-up; the two small terms, found by a search over a
    grid, keep the second link from whirling on its own.
    """
    cos_1, sin_1, cos_2, sin_2, spin_1, spin_2 = obs.unbind(-1)
    tip = sin_1 * cos_2 + cos_1 * sin_2
    return torch.where(spin_2 - 0.35 * spin_1 - 0.3 * tip > 0, 2, 0)


LAWS: dict[str, Callable[[Tensor], Tensor]] = {
    "CartPole-v1": cartpole,
    "MountainCar-v0": mountain_car,
    "MountainCarContinuous-v0": mountain_car_continuous,
    "Pendulum-v1": pendulum,
    "Acrobot-v1": acrobot,
}


class ControlLaw:
    """A teacher made of a law: a function of observations [*batch, *obs] that gives actions, all in torch.

    Args:
        law: The function.
        env: Id of the environment it is for, in `imitate_envs.ENVS`.
        scale: Standard deviation of its distribution over a Box, in the action's units; `act` gives the
            action itself.
    """

    noise = 0

    @checked
    def __init__(self, law: Callable[[Tensor], Tensor], env: str, *, scale: float = 0.1) -> None:
        if env not in ENVS:
            raise ValueError(closest("env", env, ENVS))
        made = ENVS[env]()
        self.law, self.env, self.scale = law, env, positive(scale)
        self.observation, self.action = made.observation, made.action

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def act(self, obs: Tensor, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """The law's action at observations [*batch, *obs]."""
        return self.law(obs), None, {}

    def distribution(self, obs: Tensor) -> Distribution:
        """A certain choice, or a Gaussian of deviation `scale` around the law's action."""
        return certain(self.law(obs), self.action, self.scale)


@checked
def control_law(id: str, *, scale: float = 0.1) -> ControlLaw:  # noqa: A002 - Gymnasium's word
    """The control law for an environment.

    Args:
        id: Its Gymnasium id, one of `LAWS`; the namespace `imitate/` may stand before it.
        scale: Standard deviation of its distribution over a Box, in the action's units.

    Raises:
        ValueError: There is no law for it.
    """
    name = id.removeprefix("imitate/")
    if name not in LAWS:
        raise ValueError(f"teacher: there is no control law for {id!r}, only for {', '.join(LAWS)}.")
    return ControlLaw(LAWS[name], name, scale=scale)
