"""Which parameters a fit estimates, as columns of an unbounded z; and what is believed about them beforehand.

Letters: K unknowns, S subjects; `...` lanes, any leading shape.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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
        cls, model: Any, free: Iterable[str] | None = None, fixed: Mapping[str, Tensor | float] | None = None
    ) -> Unknowns:
        """Those of a model.

        Args:
            model: Anything with `parameters`.
            free: Names; None: all that are free by default and not in `fixed`.
            fixed: Values of others; what is neither free nor fixed keeps its default.

        Raises:
            ValueError: A name is unknown, is in both, or is of no number at all; or a value is outside its bounds.
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
            {name: known[name] for name in names},
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
        pairs = self.free.items()
        sizes = [1.0 if math.isfinite(parameter.low) else units.get(name, 1.0) for name, parameter in pairs]
        return torch.tensor(sizes, dtype=torch.float64)

    def starts(self, count: int, seed: int, units: Mapping[str, float]) -> Tensor:
        """Where to begin, [count, K]: the defaults in units of the record, then a Latin hypercube.

        It is uniform in z from −4 to 4 for a bounded parameter, since a rate of .02 may have a basin of its own that
        starts uniform in the rate miss; log-normal about the default of a half-bounded one (σ = 1.5); and normal about
        that of an unbounded one (σ = 2 units).
        """
        stream = Stream(seed, "fit")
        rank = stream.uniform(count - 1, len(self.free)).argsort(0)
        level = (rank + stream.uniform(count - 1, len(self.free)).double()) / max(count - 1, 1)
        columns = []
        for (name, parameter), u in zip(self.free.items(), level.unbind(1), strict=True):
            unit = units.get(name, 1.0)
            default = torch.tensor([parameter.default], dtype=torch.float64)
            if math.isfinite(parameter.high):
                inside = (default - parameter.low) / (parameter.high - parameter.low)
                columns.append(torch.cat([torch.logit(inside.clamp(0.02, 0.98)), 8 * u - 4]))
            elif math.isfinite(parameter.low):
                centre = ((default - parameter.low).clamp(min=1e-3) * unit).log()
                columns.append(torch.cat([centre, centre + 1.5 * normal(u)]))
            else:
                columns.append(torch.cat([default, default + 2 * normal(u)]) * unit)
        return torch.stack(columns, -1)


class Prior(Protocol):
    """What is believed about the unknowns of each subject, as a density of z."""

    def log_density(self, unknowns: Unknowns, z: Tensor) -> Tensor:
        """Log-density [...] at z [..., K]."""


@dataclass(frozen=True)
class Gaussian:
    """Independent normals on z: for α logit-normal, for β log-normal.

    Args:
        mean: [K].
        variance: [K].
    """

    mean: Tensor
    variance: Tensor

    def log_density(self, unknowns: Unknowns, z: Tensor) -> Tensor:
        """Σ log N(z; mean, variance)."""
        error = (z - self.mean).square() / self.variance
        return -0.5 * (error + self.variance.log() + math.log(2 * math.pi)).sum(-1)


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
            ValueError: One is of a parameter that is not estimated.
        """
        for name in self.of:
            if name not in unknowns.free:
                raise ValueError(closest("prior", name, unknowns.free))
        theta, slope = unknowns.theta(z), unknowns.log_slope(z)
        columns = zip(unknowns.names, slope.unbind(-1), strict=True)
        terms = [self.of[name](theta[name]) + column for name, column in columns if name in self.of]
        return torch.stack(terms).sum(0) if terms else torch.zeros_like(z[..., 0])
