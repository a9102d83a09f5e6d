"""Minimisation of many small problems at once, each by itself. Letters: L lanes, K unknowns of a lane."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Minimum", "derivatives", "minimise"]

CROWDED = 0.8  # share of lanes at work below which the others leave the batch: to pick lanes costs a copy of their data
LONGEST = 2.0  # of a step in any unknown: a longer one may end on a plateau of a sigmoid, where nothing leads back
NOTICEABLE = 1e-9  # decrease, as a share of 1 + |value|
PATIENCE = 6  # rounds without one after which a lane is done: rounding, or a valley that descends to infinity
ENOUGH = 1e-4  # share of the decrease that the slope promises (Armijo)


@dataclass(frozen=True)
class Minimum:
    """Where each lane ended."""

    z: Tensor  # [L, K]
    value: Tensor  # [L]
    converged: Tensor  # [L] (bool): the gradient vanishes, or steps do not lower the value noticeably any more
    evaluations: int  # of the whole batch, whatever was left of it


def minimise(
    function: Callable[[Tensor, Tensor], Tensor],
    start: Tensor,
    *,
    metric: Tensor | None = None,
    tolerance: float = 1e-5,
    rounds: int = 300,
) -> Minimum:
    """BFGS in every lane, with steps of its own, until it is done.

    Each round evaluates every lane once, at the point that it wants to try: one begins a new direction while its
    neighbour shortens a step. Lanes that are done leave the batch; none depends on another.

    Source: Nocedal & Wright (2006), algorithm 6.1 and eq. 6.20, with backtracking (§3.1); where the curvature along a
    step is not positive, the update is skipped.

    Args:
        function: Values [L'] at points [L', K] of the lanes with indices [L'].
        start: [L, K].
        metric: First guess of the inverse Hessian, [L, K, K].
        tolerance: A lane is done when no entry of its gradient is larger.
        rounds: Evaluations at most.
    """
    lanes = torch.arange(len(start), device=start.device)
    eye = torch.eye(start.shape[1], dtype=start.dtype, device=start.device)
    found, lowest = start.clone(), torch.full_like(start[:, 0], torch.inf)
    converged = torch.zeros_like(lowest, dtype=torch.bool)

    z = start
    value, slope = _with_gradient(function, z, lanes)
    inverse = eye.expand(len(z), *eye.shape) if metric is None else metric
    unscaled = torch.full_like(converged, metric is None)
    size, idle, done = torch.ones_like(value), torch.zeros_like(lanes), torch.zeros_like(converged)
    evaluations = 1
    while True:
        direction = -(inverse @ slope.unsqueeze(-1)).squeeze(-1)
        descent = (direction * slope).sum(-1)
        uphill = ~(descent < 0)  # of rounding
        direction = torch.where(uphill.unsqueeze(-1), -slope, direction)
        descent = torch.where(uphill, -slope.square().sum(-1), descent)
        size = torch.minimum(size, LONGEST / direction.abs().amax(-1))

        running = ~done
        found[lanes[running]], lowest[lanes[running]] = z[running], value[running]
        flat = slope.abs().amax(-1) <= tolerance
        done = done | flat | (idle >= PATIENCE) | ~value.isfinite()
        converged[lanes] = done & value.isfinite()
        left = (~done).nonzero().squeeze(-1)
        if evaluations >= rounds or not len(left):
            return Minimum(found, lowest, converged, evaluations)
        if len(left) < CROWDED * len(lanes):
            lanes, z, value, slope, inverse, unscaled, size, idle, direction, descent, done = (
                x[left] for x in (lanes, z, value, slope, inverse, unscaled, size, idle, direction, descent, done)
            )

        step = size.unsqueeze(-1) * direction
        tried_value, tried_slope = _with_gradient(function, z + step, lanes)
        evaluations += 1
        taken = tried_value <= value + ENOUGH * size * descent  # not so for NaN
        change = tried_slope - slope
        curvature = (step * change).sum(-1)
        learns = taken & (curvature > 1e-10 * step.norm(dim=-1) * change.norm(dim=-1))
        scale = torch.where(unscaled & learns, curvature / change.square().sum(-1), 1).reshape(-1, 1, 1)
        updated = _bfgs(inverse * scale, step, change, curvature, eye)
        # Where the function is not convex nothing bounds a step: longer ones, or they would stay what they once were.
        longer = torch.where(taken & (curvature <= 0), 2.0, 1.0).reshape(-1, 1, 1) * inverse
        inverse = torch.where(learns.reshape(-1, 1, 1), updated, longer)
        unscaled = unscaled & ~learns
        # Backtrack to the minimum of the parabola through the value, the slope and the value tried.
        parabola = -0.5 * size * descent / ((tried_value - value) / size - descent)
        shorter = torch.where(parabola.isfinite(), parabola, 0).clamp(min=0.1 * size, max=0.5 * size)
        size = torch.where(taken, 1.0, shorter)
        idle = torch.where(taken & (value - tried_value > NOTICEABLE * (1 + value.abs())), 0, idle + 1)
        z = torch.where(taken.unsqueeze(-1), z + step, z)
        slope = torch.where(taken.unsqueeze(-1), tried_slope, slope)
        value = torch.where(taken, tried_value, value)


def _with_gradient(function: Callable[[Tensor, Tensor], Tensor], z: Tensor, lanes: Tensor) -> tuple[Tensor, Tensor]:
    """Values and gradients; lanes do not touch each other, so one backward pass serves all."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = function(z, lanes)
        (gradient,) = torch.autograd.grad(value.sum(), z)
    return value.detach(), gradient


def _bfgs(inverse: Tensor, step: Tensor, change: Tensor, curvature: Tensor, eye: Tensor) -> Tensor:
    """The inverse Hessian that maps the change of the gradient onto the step (Nocedal & Wright 2006, eq. 6.17)."""
    rho = (1 / curvature).reshape(-1, 1, 1)
    step = step.unsqueeze(-1)
    left = eye - rho * step @ change.unsqueeze(-2)
    return left @ inverse @ left.mT + rho * step @ step.mT


def derivatives(function: Callable[[Tensor], Tensor], z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Values [L], gradients [L, K] and Hessians [L, K, K] at points [L, K], K backward passes through the gradient."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        value = function(z)
        (gradient,) = torch.autograd.grad(value.sum(), z, create_graph=True)
        rows = [
            torch.autograd.grad(column.sum(), z, retain_graph=True)[0] if column.requires_grad else torch.zeros_like(z)
            for column in gradient.unbind(-1)
        ]
    hessian = torch.stack(rows, -2)
    return value.detach(), gradient.detach(), (hessian + hessian.mT) / 2
