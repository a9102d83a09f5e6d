"""The command `imitate fit`: models of choice fitted to a table."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.box import SIMPLE_HEAD
from rich.table import Table
from tyro.conf import Positional, arg

from imitate.cli.common import OUT, say
from imitate.conditioning.choice import CHOICE_MODELS
from imitate.conditioning.data import Choices
from imitate.conditioning.tables import read_csv, stack
from imitate.core.names import closest
from imitate.fitting.comparison import compare
from imitate.fitting.fit import Fit, IdentificationWarning, fit
from imitate.fitting.population import fit_hierarchical

__all__ = ["FitCommand", "command"]


@dataclass(frozen=True)
class FitCommand:
    """Fit models of choice to a table of choices, every subject by itself, and compare them.

    imitate fit choices.csv --actions 2 --model q-learning choice-kernel --set Q0=0.5 --upper beta=20

    Args:
        data: A text file with a header and one row a trial, those of a subject in their order; columns are separated by
            commas, tabs or semicolons.
        actions: How many there are to choose from, counted from 0 in the table; or what they are called there, in the
            order of their numbers: --actions 1 2, or --actions left right.
        model: One or more models; by default all.
        set: Parameters held constant, as in --set Q0=0.5; the others are estimated, Q0 excepted.
        lower: Lower bounds of estimated parameters, as in --lower beta=0.1.
        upper: Upper bounds, as in --upper beta=20.
        population: Whether the subjects are taken for draws from one population, which is estimated with them.
        subject: Column that tells whose trial it is.
        action: Column of the actions; where it is empty the trial is missing.
        reward: Column of the rewards.
        learns: Column of zeros and ones: whether there was feedback; by default there always was.
        scored: Column of zeros and ones: whether the choice was free; by default it always was.
        block: Column of the blocks, in each of which a subject starts anew; by default there is one.
        starts: Of each subject.
        seed: Of the starts.
        out: Where to write the estimates as a CSV file; nowhere by default.
    """

    data: Annotated[Positional[Path], arg(metavar="DATA")]
    actions: tuple[str, ...]
    model: tuple[str, ...] = ()
    set: tuple[str, ...] = ()
    lower: tuple[str, ...] = ()
    upper: tuple[str, ...] = ()
    population: bool = False
    subject: str = "subject"
    action: str = "action"
    reward: str = "reward"
    learns: str | None = None
    scored: str | None = None
    block: str | None = None
    starts: int = 8
    seed: int = 0
    out: Path | None = None

    def __call__(self) -> None:
        """Fit, print, write."""
        for name in self.model:
            if name not in CHOICE_MODELS:
                raise ValueError(closest("model", name, CHOICE_MODELS))
        chosen = {name: CHOICE_MODELS[name] for name in self.model or CHOICE_MODELS}
        known = {parameter for model in chosen.values() for parameter in model.parameters}
        given = {name: _numbers(name, getattr(self, name)) for name in ("set", "lower", "upper")}
        for what, values in given.items():
            for name in values:
                if name not in known:
                    raise ValueError(closest(what, name, known))
        data = Choices.from_pandas(
            read_csv(self.data),
            int(self.actions[0]) if len(self.actions) == 1 and self.actions[0].isdecimal() else self.actions,
            subject=self.subject,
            action=self.action,
            reward=self.reward,
            learns=self.learns,
            scored=self.scored,
            block=self.block,
        )
        say(_described(data))
        fits = {}
        for name, model in chosen.items():
            options: Any = {
                argument: {key: value for key, value in given[what].items() if key in model.parameters}
                for argument, what in (("fixed", "set"), ("lower", "lower"), ("upper", "upper"))
            }
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", IdentificationWarning)  # it is said below, beside the numbers
                if self.population:
                    found = fit_hierarchical(model, data, **options, starts=self.starts, seed=self.seed)
                    if not found.converged:
                        say(f"{name}: the population was still changing when the iterations were used up")
                    fits[name] = found.fit
                else:
                    fits[name] = fit(model, data, **options, starts=self.starts, seed=self.seed)
            _show(name, fits[name])
        if len(fits) > 1:
            _compare(fits)
        if self.out:
            self.out.parent.mkdir(parents=True, exist_ok=True)
            stack([found.to_pandas().assign(model=name) for name, found in fits.items()]).to_csv(self.out)
            say(f"wrote {self.out}")


def command(arguments: Sequence[str]) -> tuple[Any, Any]:
    """What is parsed, and its defaults."""
    return FitCommand, FitCommand(tyro.MISSING, tyro.MISSING)


def _show(name: str, found: Fit) -> None:
    """The parameters of the subjects in a few numbers."""
    likelihood, bic = float(found.log_likelihood.sum()), float(found.bic.sum())
    OUT.print(
        f"{name}: {len(found.subjects)} subjects, log-likelihood {likelihood:.4f}, BIC {bic:.2f}", highlight=False
    )
    table = Table("parameter", "median", "quartiles", "median standard error", box=SIMPLE_HEAD)
    for key, error in found.se.items():
        low, middle, high = found.theta[key].quantile(found.z.new_tensor([0.25, 0.5, 0.75])).tolist()
        table.add_row(key, f"{middle:.4g}", f"{low:.4g} to {high:.4g}", f"{float(error.nanmedian()):.3g}")
    OUT.print(table)
    for note in found.notes:
        say(f"{name}: {note}.")
    if found.notes:
        say(f"{name}: standard errors are those of the other subjects.")
    alone = int((found.agreement * len(found.starts) < 1.5).sum())
    if alone and len(found.starts) > 1:
        say(f"{name}: of {alone} subjects a single start found the best; ask for more --starts.")


def _described(data: Choices) -> str:
    """What was read, in a line."""
    blocks = "" if data.starts is None else f", {int(data.starts[1:].sum()) + len(data.subjects)} blocks"
    free, silent = int(data.counts.sum()), int((data.scored & ~data.learns).sum())
    line = f"data: {len(data.subjects)} subjects{blocks}, {free:,} choices between {data.actions} actions"
    if silent:
        line += f", {silent:,} of them without feedback"
    if data.names:
        line += f"; {', '.join(f'{name} is action {i}' for i, name in enumerate(data.names))}"
    return line


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


def _numbers(what: str, texts: tuple[str, ...]) -> dict[str, float]:
    """Parameters and values from texts like Q0=0.5."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        try:
            number = float(value) if equals else math.nan
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise ValueError(f"{what}: '{text}' is no NAME=NUMBER, as Q0=0.5 is.")
        if name in found:
            raise ValueError(f"{what}: '{name}' is there twice.")
        found[name] = number
    return found
