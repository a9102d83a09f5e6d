"""Fit models to records: every subject from several starts, all of them as one batch.

Letters: T trials, S subjects, R starts, L lanes (R·S), K unknowns of a subject.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from imitate.conditioning.model import Parametrised
from imitate.conditioning.tables import frame
from imitate.core.config import checked
from imitate.core.noise import Stream, normal
from imitate.core.room import admit
from imitate.fitting.likelihood import Data
from imitate.fitting.minimise import Minimum, derivatives, minimise
from imitate.fitting.unknowns import Prior, Unknowns

__all__ = ["Fit", "IdentificationWarning", "Objective", "fit"]

NEAR = 1e-3  # nats within which two ends are one
FAR = 36.0  # of z, from where a sigmoid or an exponential is at its bound in float64
SINGULAR = 1e-4  # curvature below which nothing can be said about an error: it would be 100 units of z or more


class IdentificationWarning(UserWarning):
    """The data do not tell every parameter of every subject."""


@dataclass(frozen=True)
class Objective:
    """The negative log posterior of z for any lanes of a record; without a prior, the negative log-likelihood."""

    model: Any
    data: Data
    unknowns: Unknowns
    prior: Prior | None
    packed: Tensor  # [T, any, S]
    at_once: int  # trials of all lanes

    @classmethod
    def of(cls, model: Any, data: Data, unknowns: Unknowns, prior: Prior | None, at_once: int) -> Objective:
        """After a look at the record.

        Raises:
            ValueError: Shapes do not suit.
        """
        packed = data.packed(torch.float64)
        if packed.dim() != 3:
            raise ValueError(f"data: lanes of shape {tuple(packed.shape[2:])}; a fit needs trials by subjects, [T, S].")
        for name, value in unknowns.constants.items():
            if value.dim() and value.shape != packed.shape[2:]:
                raise ValueError(f"fixed: '{name}' has shape {tuple(value.shape)}, but {packed.shape[2]} subjects.")
        return cls(model, data, unknowns, prior, packed, at_once)

    def parts(self, z: Tensor, subjects: Tensor, packed: Tensor) -> tuple[Tensor, Tensor]:
        """Log-likelihood and log-prior, [L], at z [L, K] of the subjects [L] with their own `packed`."""
        likelihood, _ = self.data.run(self.model, self.unknowns.theta(z, subjects), packed)
        if self.prior is None:
            return likelihood, torch.zeros_like(likelihood)
        return likelihood, self.prior.log_density(self.unknowns, z)

    def _blocks(self, z: Tensor, share: int) -> tuple[Tensor, ...]:
        blocks: tuple[Tensor, ...] = torch.arange(len(z), device=z.device).split(
            max(1, self.at_once // (share * len(self.packed)))
        )
        return blocks

    def minimise(self, z: Tensor, subjects: Tensor, metric: Tensor | None, tolerance: float) -> Minimum:
        """From z [L, K] of the subjects [L], in units of the record."""
        size, ends = self.unknowns.sizes(self.data.units).to(z), []
        if metric is not None:
            metric = metric / (size.unsqueeze(-1) * size)
        for block in self._blocks(z, 1):
            picked: list[Tensor] = [block[:0], block[:0]]

            def value(x: Tensor, lanes: Tensor, own: Tensor = subjects[block], picked: list[Tensor] = picked) -> Tensor:
                if picked[0] is not lanes:  # only when lanes have left: it is a copy of their records
                    picked[:] = lanes, self.packed.index_select(2, own[lanes])
                return -torch.stack(self.parts(x * size, own[lanes], picked[1])).sum(0)

            start = None if metric is None else metric[block]
            ends.append(minimise(value, z[block] / size, metric=start, tolerance=tolerance))
        return Minimum(
            torch.cat([end.z for end in ends]) * size,
            torch.cat([end.value for end in ends]),
            torch.cat([end.converged for end in ends]),
            sum(end.evaluations for end in ends),
        )

    def expand(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Log-likelihood [S], log-prior [S] and Hessian [S, K, K] at z [S, K] of all subjects."""
        found = []
        for own in self._blocks(z, 2):  # a Hessian keeps more than a gradient does
            packed = self.packed.index_select(2, own)

            def value(z: Tensor, own: Tensor = own, packed: Tensor = packed) -> Tensor:
                return -torch.stack(self.parts(z, own, packed)).sum(0)

            hessian = derivatives(value, z[own])[2]
            with torch.no_grad():
                found.append((*self.parts(z[own], own, packed), hessian))
        likelihood, prior, hessian = (torch.cat(part) for part in zip(*found, strict=True))
        return likelihood, prior, hessian

    def bounds(self, z: Tensor) -> Tensor:
        """Where z [S, K] is at a bound, [S, K]: −1 the lower, 1 the upper, else 0.

        It is where the parameter at the bound itself, the others left as they are, does as well within 1e-3.
        """
        found = torch.zeros_like(z, dtype=torch.int8)
        for own in self._blocks(z, 1):
            packed = self.packed.index_select(2, own)
            with torch.no_grad():
                here = torch.stack(self.parts(z[own], own, packed)).sum(0)
                for k, side in self.unknowns.bounds():
                    moved = z[own].index_fill(1, torch.tensor(k, device=z.device), side * FAR)
                    there = torch.stack(self.parts(moved, own, packed)).sum(0)
                    found[own, k] = torch.where(there >= here - NEAR, side, found[own, k])  # not so for NaN
        return found

    def fit(self, z: Tensor, starts: Tensor, converged: Tensor) -> Fit:
        """What there is to say about the end z [S, K]; arguments as of `Fit`."""
        likelihood, prior, hessian = self.expand(z)
        found = self.unknowns.theta(z)
        theta = {name: found[name].expand(len(z)) for name in self.model.parameters}
        return Fit(
            self.model,
            self.unknowns,
            self.prior,
            self.data.subjects,
            z,
            theta,
            likelihood,
            prior,
            hessian,
            self.unknowns.sizes(self.data.units).to(z),
            self.data.counts,
            starts,
            converged,
            self.bounds(z),
        )


@dataclass(frozen=True)
class Fit:
    """Estimates for every subject.

    `fit.theta["alpha"]` is a tensor, `fit.alpha_` and likewise `fit.bic_` the same as an array, as in scikit-learn.

    Args:
        model: What was fitted.
        unknowns: What was estimated.
        prior: What was believed before; None: maximum likelihood.
        subjects: Labels.
        z: Estimates in the unbounded space, [S, K].
        theta: Every parameter, [S] each, those held constant among them.
        log_likelihood: [S], without the prior.
        log_prior: Log-density of z under the prior, [S]; 0 without one.
        hessian: Of the negative log posterior in z, [S, K, K].
        units: How far apart two values of z are that differ noticeably, [K].
        counts: Scored trials, [S].
        starts: What each start came to, as a negative log posterior, [R, S].
        ended: Whether the best start of a subject came to rest, [S]: in a maximum, or where nothing changes any more.
        bounds: Which bound an estimate is at, [S, K]: −1 the lower, 1 the upper, 0 none. There the parameter at the
            bound itself does as well within 1e-3.
    """

    model: Any
    unknowns: Unknowns
    prior: Prior | None
    subjects: tuple[Hashable, ...]
    z: Tensor
    theta: Mapping[str, Tensor]
    log_likelihood: Tensor
    log_prior: Tensor
    hessian: Tensor
    units: Tensor
    counts: Tensor
    starts: Tensor
    ended: Tensor
    bounds: Tensor

    @cached_property
    def open(self) -> Tensor:
        """Whether a direction is open, [S]: an eigenvalue of the Hessian, in units of the record, is below 1e-4.

        Parameters at a bound are left out. A fit runs along such a direction until nothing changes any more.
        """
        inside = self.bounds == 0
        eye = torch.eye(self.z.shape[1], dtype=self.z.dtype, device=self.z.device)
        scaled = self.hessian * self.units.unsqueeze(-1) * self.units
        kept = torch.where(inside.unsqueeze(-1) & inside.unsqueeze(-2), scaled, eye)
        smallest: Tensor = torch.linalg.eigvalsh(kept.nan_to_num(0, 0, 0))[:, 0]
        return ~(smallest >= SINGULAR)

    @property
    def converged(self) -> Tensor:
        """Whether the best start came to rest in a maximum, inside or at a bound, [S]; not if it is open."""
        return self.ended & ~self.open

    @property
    def identified(self) -> Tensor:
        """Whether the data tell all parameters, [S]: no direction is open, and no estimate is at a bound."""
        return ~self.open & (self.bounds == 0).all(-1)

    @cached_property
    def covariance(self) -> Tensor:
        """Inverse Hessian in z, [S, K, K]; NaN where a subject is not `identified`."""
        eye = torch.eye(self.z.shape[1], dtype=self.z.dtype, device=self.z.device)
        open_ = ~self.identified.reshape(-1, 1, 1)
        return torch.where(open_, torch.nan, torch.linalg.inv(torch.where(open_, eye, self.hessian)))

    @property
    def se(self) -> dict[str, Tensor]:
        """Standard error of each estimated parameter, [S], by the delta method: dθ/dz·se(z)."""
        found = self.unknowns.log_slope(self.z).exp() * self.covariance.diagonal(dim1=1, dim2=2).sqrt()
        return dict(zip(self.unknowns.names, found.unbind(-1), strict=True))

    def interval(self, level: float = 0.95) -> dict[str, tuple[Tensor, Tensor]]:
        """Wald interval of each estimated parameter, [S] each end: symmetric in z, mapped back, inside the bounds."""
        half = math.sqrt(2) * torch.erfinv(torch.tensor(level, dtype=self.z.dtype, device=self.z.device))
        half = half * self.covariance.diagonal(dim1=1, dim2=2).sqrt()
        low, high = self.unknowns.theta(self.z - half), self.unknowns.theta(self.z + half)
        return {name: (low[name], high[name]) for name in self.unknowns.names}

    def sample(self, draws: int, seed: int = 0) -> dict[str, Tensor]:
        """Parameters drawn from the normal approximation in z, [draws, S] each: what predictions are averaged over.

        With `one_step` they give predictions along the record, with `simulate_choices` free-running ones.

        Raises:
            ValueError: A subject is not `identified`.
        """
        if not self.identified.all():
            who = self.subjects[int((~self.identified).nonzero()[0])]
            raise ValueError(f"sample: the data of subject {who!r} leave a direction open; fit with a prior.")
        noise = normal(Stream(seed, "posterior").uniform(draws, *self.z.shape)).to(self.z)
        error = (torch.linalg.cholesky(self.covariance) @ noise.unsqueeze(-1)).squeeze(-1)
        theta = self.unknowns.theta(self.z + error)
        return {name: theta[name].expand(draws, len(self.z)) for name in self.theta}

    @property
    def aic(self) -> Tensor:
        """2K − 2 log-likelihood, [S]."""
        return 2 * (self.z.shape[1] - self.log_likelihood)

    @property
    def bic(self) -> Tensor:
        """K log n − 2 log-likelihood, [S], where n counts the scored trials of the subject."""
        return self.z.shape[1] * self.counts.to(self.z).log() - 2 * self.log_likelihood

    @property
    def log_evidence(self) -> Tensor:
        """Laplace's approximation of the log model evidence, [S]; NaN where a subject is not `identified`.

            log p(data) ≈ log p(data | ẑ) + log p(ẑ) + K/2·log 2π − 1/2·log|H|

        Raises:
            ValueError: There is no prior to average over, or it is none: not every parameter has a density of mass 1.
        """
        if self.prior is None:
            raise ValueError("log_evidence: needs a prior; give one to fit, or take bic.")
        if names := self.prior.improper(self.unknowns):
            raise ValueError(
                f"log_evidence: the prior of {', '.join(names)} is no density of mass 1, so the evidence has no value; "
                "give every parameter one, or take bic."
            )
        log_det: Tensor = torch.linalg.slogdet(self.covariance)[1]
        occam = 0.5 * (self.z.shape[1] * math.log(2 * math.pi) + log_det)
        return self.log_likelihood + self.log_prior + occam

    @property
    def agreement(self) -> Tensor:
        """Share of the starts that came within 1e-3 of the best, [S]: where it is low, ask for more of them.

        It is no proof: R starts all miss a better maximum that a share p of them would find with probability (1 − p)ᴿ.
        """
        return ((self.starts <= self.starts.amin(0) + NEAR) & self.starts.isfinite()).double().mean(0)

    @property
    def notes(self) -> list[str]:
        """What the data do not tell, a line each: directions that are open, and estimates at a bound."""
        found = []
        if self.open.any():
            found.append(
                f"{self._of(self.open)} leave a direction open, along which the fit ran until nothing changed; "
                "bound a parameter, hold one constant, or give a prior"
            )
        for k, (name, parameter) in enumerate(self.unknowns.free.items()):
            for side, what, bound in ((-1, "lower", parameter.low), (1, "upper", parameter.high)):
                at = self.bounds[:, k] == side
                if at.any():
                    found.append(f"{self._of(at)} have {name} at its {what} bound, {bound:g}")
        return found

    def _of(self, some: Tensor) -> str:
        """How many subjects, and which."""
        who = [str(self.subjects[s]) for s in some.nonzero().squeeze(-1).tolist()]
        return f"{len(who)} of {len(some)} subjects ({', '.join(who[:5])}{', …' if len(who) > 5 else ''})"

    def __getattr__(self, name: str) -> Any:
        plain = name[:-1]
        if name.endswith("_") and not name.startswith("_"):
            found = self.theta.get(plain) if plain in self.theta else getattr(self, plain)
            if isinstance(found, Tensor):
                return found.cpu().numpy()
        raise AttributeError(f"Fit has no '{name}'.")

    def to_pandas(self) -> Any:
        """One row a subject: estimates, their standard errors, and how well the model does.

        Raises:
            ValueError: pandas is not installed.
        """
        columns = dict(self.theta)
        for name, error in self.se.items():
            columns[f"{name}_se"] = error
        for name in ("log_likelihood", "aic", "bic", "counts", "converged", "identified", "agreement"):
            columns[name] = getattr(self, name)
        return frame(columns, self.subjects)


@checked
def fit(
    model: Parametrised,
    data: Data,
    *,
    free: Iterable[str] | None = None,
    fixed: Mapping[str, Tensor | float] | None = None,
    lower: Mapping[str, float] | None = None,
    upper: Mapping[str, float] | None = None,
    prior: Prior | None = None,
    starts: int = 8,
    seed: int = 0,
    tolerance: float = 1e-5,
    at_once: int = 4_000_000,
) -> Fit:
    """Estimate the parameters of every subject by maximum likelihood, or with a prior by its posterior mode.

    All subjects and starts are one batch of lanes in float64, on the device of the data, each with a BFGS of its own in
    the unbounded space. Where the data leave a direction open, or an estimate is at a bound, the subject is not
    `identified`, and an `IdentificationWarning` says so.

    Args:
        model: A `ChoiceModel`, or a `GaussianResponse`.
        data: `Choices` or `Responses` with lanes [S].
        free: Names of what is estimated; None: all that are free by default and not fixed.
        fixed: Values of other parameters, numbers or one a subject [S]; defaults for the rest.
        lower: Lower bounds of estimated parameters, where the model's own are too wide.
        upper: Upper bounds likewise: `{"beta": 10}`, since without one β grows for whoever never errs.
        prior: None: maximum likelihood.
        starts: R, of each subject; fewer are the first of more.
        seed: Of the starts; they are the same for all subjects.
        tolerance: Largest entry of a gradient in z at the end.
        at_once: Trials of all lanes that are run together at most: it bounds the memory.

    Raises:
        ValueError: A name is unknown or an argument is out of range.
    """
    if starts < 1:
        raise ValueError(f"starts: at least 1, not {starts}.")
    unknowns = Unknowns.of(model, free, fixed, lower, upper)
    lanes = starts * max(1, data.counts.numel())
    admit("the starts", 8 * lanes * max(1, len(unknowns.free)), {"starts": starts}, "cpu")
    objective = Objective.of(model, data, unknowns, prior, at_once)
    if not data.counts.all():
        who = data.subjects[int((data.counts == 0).nonzero()[0])]
        raise ValueError(f"data: subject {who!r} has no trial that is scored; leave it out.")
    count, device = objective.packed.shape[2], objective.packed.device
    z = objective.unknowns.starts(starts, seed, data.units).to(device).repeat_interleave(count, 0)
    found = objective.minimise(z, torch.arange(count, device=device).repeat(starts), None, tolerance)
    value = found.value.reshape(starts, count).nan_to_num(nan=torch.inf)
    best = value.argmin(0) * count + torch.arange(count, device=device)
    result = objective.fit(found.z[best], value, found.converged[best])
    for note in result.notes:
        warnings.warn(f"fit: {note}.", IdentificationWarning, stacklevel=3)  # past `checked`
    return result
