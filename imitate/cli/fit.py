"""The command `imitate fit`: models of choice fitted to a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table
from tyro.conf import Positional

from imitate.cli.common import OUT
from imitate.conditioning.choice import CHOICE_MODELS
from imitate.conditioning.data import Choices
from imitate.conditioning.tables import read_csv, stack
from imitate.core.names import closest
from imitate.fitting.comparison import compare
from imitate.fitting.fit import Fit, fit
from imitate.fitting.population import fit_hierarchical

__all__ = ["FitCommand", "command"]


@dataclass(frozen=True)
class FitCommand:
    """Fit models of choice to a table of choices, every subject by itself, and compare them.

    imitate fit choices.csv --actions 2 --model q-learning choice-kernel --set Q0=0.5

    Args:
        data: A CSV file with a header and one row a trial, those of a subject in their order.
        actions: How many there are to choose from; they count from 0.
        model: One or more models; by default all.
        set: Parameters held constant, as in --set Q0=0.5; the others are estimated, Q0 excepted.
        population: Whether the subjects are taken for draws from one population, which is estimated with them.
        subject: Column that tells whose trial it is.
        action: Column of the actions; where it is empty the trial is missing.
        reward: Column of the rewards.
        starts: Of each subject.
        seed: Of the starts.
        out: Where to write the estimates as a CSV file; nowhere by default.
    """

    data: Positional[Path]
    actions: int
    model: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    population: bool = False
    subject: str = "subject"
    action: str = "action"
    reward: str = "reward"
    starts: int = 8
    seed: int = 0
    out: Path | None = None

    def __call__(self) -> None:
        """Fit, print, write."""
        for name in self.model:
            if name not in CHOICE_MODELS:
                raise ValueError(closest("model", name, CHOICE_MODELS))
        chosen = {name: CHOICE_MODELS[name] for name in self.model or CHOICE_MODELS}
        constants = _constants(self.set)
        known = {parameter for model in chosen.values() for parameter in model.parameters}
        for name in constants:
            if name not in known:
                raise ValueError(closest("set", name, known))
        data = Choices.from_pandas(
            read_csv(self.data), self.actions, subject=self.subject, action=self.action, reward=self.reward
        )
        fits = {}
        for name, model in chosen.items():
            fixed = {key: value for key, value in constants.items() if key in model.parameters}
            if self.population:
                found = fit_hierarchical(model, data, fixed=fixed, starts=self.starts, seed=self.seed)
                if not found.converged:
                    OUT.print(f"{name}: the population was still changing when the iterations were used up")
                fits[name] = found.fit
            else:
                fits[name] = fit(model, data, fixed=fixed, starts=self.starts, seed=self.seed)
            _show(name, fits[name])
        if len(fits) > 1:
            _compare(fits)
        if self.out:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            stack([found.to_pandas().assign(model=name) for name, found in fits.items()]).to_csv(self.out)
            OUT.print(f"wrote {self.out}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return FitCommand, FitCommand(tyro.MISSING, tyro.MISSING)


def _show(name: str, found: Fit) -> None:
    """The parameters of the subjects in a few numbers."""
    likelihood, bic = float(found.log_likelihood.sum()), float(found.bic.sum())
    OUT.print(
        f"{name}: {len(found.subjects)} subjects, log-likelihood {likelihood:.2f}, BIC {bic:.2f}", highlight=False
    )
    table = Table("parameter", "median", "quartiles", "median standard error", box=SIMPLE_HEAD)
    for key, error in found.se.items():
        low, middle, high = found.theta[key].quantile(found.z.new_tensor([0.25, 0.5, 0.75])).tolist()
        table.add_row(key, f"{middle:.4g}", f"{low:.4g} to {high:.4g}", f"{float(error.nanmedian()):.3g}")
    OUT.print(table)
    left_open = int((~found.identified).sum())
    if left_open:
        OUT.print(f"{left_open} subjects have no standard errors: their data leave a parameter open", highlight=False)


def _compare(fits: dict[str, Fit]) -> None:
    """Models beside each other."""
    found = compare(fits)
    evidence = "log evidence" if found.laplace else "−BIC/2"
    table = Table("model", "AIC", "BIC", evidence, "best of", "frequency", "protected exceedance", box=SIMPLE_HEAD)
    for j, name in enumerate(found.models):
        numbers = [f"{values[:, j].sum():.2f}" for values in (found.aic, found.bic, found.log_evidence)]
        shares = [f"{values[j]:.3f}" for values in (found.effects.frequency, found.effects.protected)]
        table.add_row(name, *numbers, str(found.best.count(name)), *shares)
    OUT.print(table)


def _constants(texts: tuple[str, ...]) -> dict[str, float]:
    """Parameters and values from texts like Q0=0.5."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise ValueError(f"set: '{text}' is no NAME=NUMBER, as Q0=0.5 is.")
    return found
