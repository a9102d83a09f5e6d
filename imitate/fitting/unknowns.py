"""Which parameters a fit estimates, as columns of an unbounded z; and what is believed about them beforehand.

Letters: K unknowns, S subjects; `...` lanes, any leading shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from imitate.conditioning.model import Parameter, parameters_of
from imitate.core.names import closest
from imitate.core.noise import Stream, normal

__all__ = ["Densities", "Gaussian", "Prior", "Unknowns"]


@dataclass(frozen=True)
class Unknowns:
    """The free parameters of a model, and the values of the others.

    Args:
        free: What is estimated, in the order of the columns of z.
        constants: What is not, by name: numbers, or one a subject [S].
    """

    free: Mapping[str, Parameter]
    constants: Mapping[str, Tensor]

    @classmethod
    def of(
        cls,
        model: Any,
        free: Iterable[str] | None = None,
        fixed: Mapping[str, Tensor | float] | None = None,
        lower: Mapping[str, float] | None = None,
        upper: Mapping[str, float] | None = None,
    ) -> Unknowns:
        """Those of a model.

        Args:
            model: Anything with `parameters`.
            free: Names; None: all that are free by default and not in `fixed`.
            fixed: Values of others; what is neither free nor fixed keeps its default.
            lower: Lower bounds of what is estimated, inside those of the model.
            upper: Upper bounds likewise.

        Raises:
            ValueError: A name is unknown, is free and fixed, or nothing is free; or a value or a bound is not finite or
                outside the bounds of the model.
        """
        known: Mapping[str, Parameter] = model.parameters
        fixed = dict(fixed or {})
        if free is None:
            names = [name for name, parameter in known.items() if parameter.free and name not in fixed]
        else:
            names = list(dict.fromkeys(free))
        for name in names:
            if name not in known:
                raise ValueError(closest("free", name, known))
            if name in fixed:
                raise ValueError(f"fixed: '{name}' is free; leave it out of one of the two.")
        if not names:
            raise ValueError("free: nothing is left to estimate; log_likelihood tells how probable the record is.")
        values = {name: torch.as_tensor(value, dtype=torch.float64) for name, value in fixed.items()}
        constants = parameters_of(model, values)
        return cls(
            _bounded({name: known[name] for name in names}, lower or {}, upper or {}),
            {name: value.double() for name, value in constants.items() if name not in names},
        )

    @property
    def names(self) -> list[str]:
        """Of the columns of z."""
        return list(self.free)

    def theta(self, z: Tensor, lanes: Tensor | None = None) -> dict[str, Tensor]:
        """All parameters [...] from z [..., K]; `lanes` [...] tells the subjects, if they are not all in order."""
        found = {}
        for name, value in self.constants.items():
            value = value.to(z.device)
            found[name] = value[lanes] if lanes is not None and value.dim() else value
        for (name, parameter), column in zip(self.free.items(), z.unbind(-1), strict=True):
            found[name] = parameter.constrain(column)
        return found

    def z(self, theta: Mapping[str, Tensor]) -> Tensor:
        """The inverse of `theta`, [..., K]."""
        columns = [parameter.unconstrain(theta[name]) for name, parameter in self.free.items()]
        return torch.stack(torch.broadcast_tensors(*columns), -1)

    def log_slope(self, z: Tensor) -> Tensor:
        """Log dθ/dz of each, [..., K]."""
        columns = zip(self.free.values(), z.unbind(-1), strict=True)
        return torch.stack([parameter.log_slope(column) for parameter, column in columns], -1)

    def sizes(self, units: Mapping[str, float]) -> Tensor:
        """How far apart two values of z are that differ noticeably, [K]: 1 in a bounded parameter."""
        bounded = {name: math.isfinite(p.low) or math.isfinite(p.high) for name, p in self.free.items()}
        sizes = [1.0 if found else units.get(name, 1.0) for name, found in bounded.items()]
        return torch.tensor(sizes, dtype=torch.float64)

    def bounds(self) -> list[tuple[int, int]]:
        """Every finite bound, as a column of z and a side: −1 lower, 1 upper."""
        each = [((-1, parameter.low), (1, parameter.high)) for parameter in self.free.values()]
        return [(k, side) for k, sides in enumerate(each) for side, bound in sides if math.isfinite(bound)]

    def starts(self, count: int, seed: int, units: Mapping[str, float]) -> Tensor:
        """Where to begin, [count, K]: the defaults in units of the record, then points of a sequence.

        The sequence is even in z from −4 to 4 for a bounded parameter, since a rate of .02 may have a basin of its own
        that starts uniform in the rate miss; log-normal about the default of a half-bounded one (σ = 2); and normal
        about that of an unbounded one (σ = 2 units). Fewer starts are the first of more.
        """
        columns = []
        for (name, parameter), u in zip(
            self.free.items(), _even(count - 1, len(self.free), seed).unbind(1), strict=True
        ):
            unit, low, high = units.get(name, 1.0), parameter.low, parameter.high
            default = torch.tensor([parameter.default * unit], dtype=torch.float64)
            if math.isfinite(low) and math.isfinite(high):
                inside = (default - low) / (high - low)
                columns.append(torch.cat([torch.logit(inside.clamp(0.02, 0.98)), 8 * u - 4]))
            elif math.isfinite(low) or math.isfinite(high):
                side = 1 if math.isfinite(low) else -1
                distance = default - low if side > 0 else high - default
                centre = torch.where(distance > 0, distance, 1e-3 * unit).log()
                columns.append(side * torch.cat([centre, centre + 2 * normal(u)]))
            else:
                columns.append(torch.cat([default, default + 2 * unit * normal(u)]))
        return torch.stack(columns, -1)


def _bounded(
    free: Mapping[str, Parameter], lower: Mapping[str, float], upper: Mapping[str, float]
) -> dict[str, Parameter]:
    """Parameters between narrower bounds."""
    for what, given in (("lower", lower), ("upper", upper)):
        for name, bound in given.items():
            if name not in free:
                raise ValueError(f"{closest(what, name, free)} Only what is estimated has bounds.")
            low, high = free[name].low, free[name].high
            if not (math.isfinite(bound) and low <= bound <= high):
                raise ValueError(
                    f"{what}: '{name}' is a finite number from {low:g} to {high:g}, so {bound:g} bounds nothing."
                )
    found = {}
    for name, own in free.items():
        low, high = float(lower.get(name, own.low)), float(upper.get(name, own.high))
        if not low < high:
            raise ValueError(f"lower: '{name}' has nothing between {low:g} and {high:g}.")
        found[name] = replace(own, low=low, high=high)
    return found


def _even(count: int, dims: int, seed: int) -> Tensor:
    """The first points [count, dims] of a sequence that fills the unit cube evenly, however long it is.

    x_i = frac(x_0 + i·a), a_k = φ^−k, where φ^(dims + 1) = φ + 1; x_0 is random.

    Source: Roberts (2018), "The unreasonable effectiveness of quasirandom sequences".
    """
    root = 2.0
    for _ in range(60):
        root = (1 + root) ** (1 / (dims + 1))
    step = root ** -torch.arange(1, dims + 1, dtype=torch.float64)
    first = Stream(seed, "fit").uniform(dims).double()
    return (first + torch.arange(count, dtype=torch.float64).unsqueeze(1) * step).remainder(1)


class Prior(Protocol):
    """What is believed about the unknowns of each subject, as a density of z."""

    def log_density(self, unknowns: Unknowns, z: Tensor) -> Tensor:
        """Log-density [...] at z [..., K]."""

    def improper(self, unknowns: Unknowns) -> Sequence[str]:
        """The unknowns whose density does not integrate to 1: with one of them there is no evidence."""


@dataclass(frozen=True)
class Gaussian:
    """Independent normals on z: for α logit-normal, for β log-normal.

    Args:
        mean: [K].
        variance: [K].

    Raises:
        ValueError: The two have not one shape, a number is not finite, or a variance is not positive.
    """

    mean: Tensor
    variance: Tensor

    def __post_init__(self) -> None:
        if self.mean.dim() != 1 or self.mean.shape != self.variance.shape:
            shapes = f"{tuple(self.mean.shape)} and {tuple(self.variance.shape)}"
            raise ValueError(f"prior: mean and variance have one number a parameter, [K], not {shapes}.")
        if not (self.mean.isfinite().all() and self.variance.isfinite().all() and (self.variance > 0).all()):
            raise ValueError("prior: means are finite, variances finite and above 0.")

    def log_density(self, unknowns: Unknowns, z: Tensor) -> Tensor:
        """Σ log N(z; mean, variance).

        Raises:
            ValueError: The prior is of another number of parameters.
        """
        if len(self.mean) != z.shape[-1]:
            known = ", ".join(unknowns.names)
            raise ValueError(f"prior: {len(self.mean)} means, but {z.shape[-1]} parameters are estimated ({known}).")
        error = (z - self.mean).square() / self.variance
        return -0.5 * (error + self.variance.log() + math.log(2 * math.pi)).sum(-1)

    def improper(self, unknowns: Unknowns) -> Sequence[str]:
        """None."""
        return ()


@dataclass(frozen=True)
class Densities:
    """Independent densities of some parameters themselves, flat ones of z for the others.

    They are carried over to z by dθ/dz, so that a Laplace approximation there integrates the same prior; hence a MAP
    estimate is the mode of z, which is not the one of θ.

    Args:
        of: Log-density by name, `{"alpha": torch.distributions.Beta(1.2, 1.2).log_prob}`.
    """

    of: Mapping[str, Callable[[Tensor], Tensor]]

    def log_density(self, unknowns: Unknowns, z: Tensor) -> Tensor:
        """Σ log p(θ) + log dθ/dz.

        Raises:
            ValueError: One is of a parameter that is not estimated, or is not defined wherever that may be.
        """
        for name in self.of:
            if name not in unknowns.free:
                raise ValueError(closest("prior", name, unknowns.free))
        columns = zip(unknowns.free, z.unbind(-1), strict=True)
        terms = [self._of_z(unknowns, name, column) for name, column in columns if name in self.of]
        return torch.stack(terms).sum(0) if terms else torch.zeros_like(z[..., 0])

    def improper(self, unknowns: Unknowns) -> Sequence[str]:
        """Those without a density, and those whose density does not integrate to 1 within a hundredth."""
        return [name for name in unknowns.free if name not in self.of or abs(self._mass(unknowns, name) - 1) > 0.01]

    def _of_z(self, unknowns: Unknowns, name: str, z: Tensor) -> Tensor:
        parameter = unknowns.free[name]
        try:
            return self.of[name](parameter.constrain(z)) + parameter.log_slope(z)
        except ValueError as error:  # distributions of torch look at what they are given
            bounds = f"[{parameter.low:g}, {parameter.high:g}]"
            text = (
                f"the density of '{name}' is not defined everywhere in {bounds}; give fit its bounds as lower and upper"
            )
            raise ValueError(f"prior: {text}.") from error

    def _mass(self, unknowns: Unknowns, name: str) -> float:
        """The integral over z by the trapezoidal rule, finer where the density is largest."""
        parameter = unknowns.free[name]
        # Beyond ±36 a sigmoid is 1 and an exponential below any unit, in float64; without bounds a parameter is z.
        bounded = math.isfinite(parameter.low) or math.isfinite(parameter.high)
        z = torch.linspace(-36, 36, 20_001, dtype=torch.float64)
        if not bounded:
            z = (z / 2).sinh()
        peak = z[self._of_z(unknowns, name, z).nan_to_num(nan=-torch.inf).argmax()]
        near = peak + torch.linspace(-1, 1, 2_001, dtype=torch.float64) ** 3
        z = torch.cat([z, near.clamp(z[0], z[-1])]).sort().values
        return float(torch.trapezoid(self._of_z(unknowns, name, z).exp(), z))
