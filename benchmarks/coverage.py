"""How often 95 % intervals of five, eight and sixteen members hold the truth, by simulation.

    python -m benchmarks.coverage

Three questions: the mean (ours beside the usual alternatives), the interquartile mean, and the percentage of a teacher.
Each row is one distribution of scores, one number of members and one method: the share of data sets whose interval
holds the truth, its standard error, and the median width in standard errors of the mean (for the percentage, in per
cent). The rows go to benchmarks/results/coverage.json. Exits with 1 if ours covers less than 94 % of normal scores.

Letters: R data sets, B resamples, n members.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray
from scipy import stats

from imitate.experiment.evaluate import interval, iqm, iqm_interval, percent_interval
from imitate.experiment.report import versions

Array = NDArray[np.float64]
Ends = tuple[Array, Array]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]

MEMBERS = (5, 8, 16)
OURS = "imitate"
RESULTS = Path(__file__).parent / "results" / "coverage.json"


@dataclass(frozen=True)
class Options:
    """How much to simulate.

    Args:
        sets: Data sets of a row about means or percentages.
        iqm_sets: Data sets of a row about interquartile means, each of which is resampled by scipy.
        resamples: Of each bootstrap that ours is compared with.
        seed: Of all draws.
        out: Where the rows go.
    """

    sets: int = 10_000
    iqm_sets: int = 1_000
    resamples: int = 999
    seed: int = 0
    out: Path = RESULTS


SCORES: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "Student's t, 3 degrees of freedom": lambda rng, shape: rng.standard_t(3, size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape),
    "log-normal": lambda rng, shape: np.exp(rng.normal(size=shape)),
    "cut at a ceiling: min(500, N(490, 15²))": lambda rng, shape: np.minimum(500, 490 + 15 * rng.normal(size=shape)),
    "bounded near its ceiling: 500·Beta(8, 0.5)": lambda rng, shape: 500 * rng.beta(8, 0.5, size=shape),
    "one in eight fails: N(480, 10²), N(200, 20²)": lambda rng, shape: np.where(
        rng.random(shape) < 1 / 8, 200 + 20 * rng.normal(size=shape), 480 + 10 * rng.normal(size=shape)
    ),
}


def student(x: Array) -> Ends:
    """Student's t."""
    arm = stats.t.ppf(0.975, x.shape[1] - 1) * stats.sem(x, axis=1)
    return x.mean(1) - arm, x.mean(1) + arm


def johnson(x: Array) -> Ends:
    """Johnson's modified t (1978): shifted by a sixth of the third moment."""
    n, c = x.shape[1], x - x.mean(1, keepdims=True)
    shift = _quotient((c**3).sum(1) / ((n - 1) * (n - 2)), 6 * x.var(1, ddof=1))
    low, high = student(x)
    return low + shift, high + shift


class Resampled:
    """Means and their standard errors of B resamples of each data set, [R, B]; all sets are resampled alike."""

    def __init__(self, x: Array, resamples: int, rng: np.random.Generator) -> None:
        n = x.shape[1]
        counts = rng.multinomial(n, [1 / n] * n, resamples).T.astype(float)
        centred = x - x.mean(1, keepdims=True)
        self.x, self.mean = x, x.mean(1)
        self.shift = centred @ counts / n
        self.error = np.sqrt(np.maximum(centred**2 @ counts / n - self.shift**2, 0) / (n - 1))

    def percentile(self, share: float = 0.025) -> Ends:
        """Quantiles of the resampled means."""
        low, high = np.quantile(self.shift, [share, 1 - share], axis=1)
        return self.mean + low, self.mean + high

    def expanded(self) -> Ends:
        """The same at the levels that make up for the bootstrap's narrowness (Hesterberg 2015, §4.2)."""
        n = self.x.shape[1]
        return self.percentile(float(stats.norm.cdf(-np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))))

    def bca(self) -> Ends:
        """Bias-corrected and accelerated (Efron 1987)."""
        rows, resamples = self.shift.shape
        below = ((self.shift < 0).mean(1) + (self.shift <= 0).mean(1)) / 2
        bias = stats.norm.ppf(np.clip(below, 1 / resamples, 1 - 1 / resamples))
        c = self.x - self.mean[:, None]
        pull = _quotient((c**3).sum(1), 6 * (c**2).sum(1) ** 1.5)
        ordered, ends = np.sort(self.shift, axis=1), []
        for z in stats.norm.ppf([0.025, 0.975]):
            share = stats.norm.cdf(bias + (bias + z) / (1 - pull * (bias + z)))
            ends.append(
                self.mean + ordered[np.arange(rows), np.minimum((share * resamples).astype(int), resamples - 1)]
            )
        return ends[0], ends[1]

    def studentised(self) -> Ends:
        """Quantiles of t over resamples; infinite where too many of these are of one value only."""
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num(self.shift / self.error, nan=0.0, posinf=np.inf, neginf=-np.inf)
            low, high = np.quantile(t, [0.025, 0.975], axis=1, method="inverted_cdf")
            error = stats.sem(self.x, axis=1)
            return self.mean - high * error, self.mean - low * error


def means(options: Options, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Rows about the mean."""
    for name, draw in SCORES.items():
        truth = _truth(draw, lambda x: float(x.mean()), rng)
        for n in MEMBERS:
            x = draw(rng, (options.sets, n))
            found: dict[str, list[Ends]] = {OURS: [_each(interval, x)], "Student's t": [student(x)]}
            found["Johnson's t"] = [johnson(x)]
            for part in np.array_split(x, max(1, options.sets // 500)):  # for the sake of memory
                again = Resampled(part, options.resamples, rng)
                for method, ends in (
                    ("percentile bootstrap", again.percentile()),
                    ("expanded percentile bootstrap", again.expanded()),
                    ("BCa bootstrap", again.bca()),
                    ("bootstrap-t", again.studentised()),
                ):
                    found.setdefault(method, []).append(ends)
            unit = x.std() / np.sqrt(n)
            yield from _rows("mean", name, n, {m: _joined(ends) for m, ends in found.items()}, truth, unit)
    for n in MEMBERS:
        luck, own = rng.exponential(size=(options.sets, n)), rng.exponential(size=(2, options.sets, n))
        x = (luck + 0.5 * own[0]) - (luck + 0.5 * own[1])
        found_of_pairs = {OURS: _each(interval, x), "Student's t": student(x)}
        yield from _rows("mean", "differences of exponential pairs", n, found_of_pairs, 0.0, x.std() / np.sqrt(n))


def iqms(options: Options, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Rows about the interquartile mean."""
    for name, draw in SCORES.items():
        truth = _truth(draw, lambda x: float(iqm(x)), rng)
        for n in MEMBERS:
            x = draw(rng, (options.iqm_sets, n))
            found = {OURS: _each(iqm_interval, x), "Tukey & McLaughlin's t": tukey_mclaughlin(x)}
            parts = []
            for part in np.array_split(x, max(1, options.iqm_sets // 100)):
                index = rng.integers(0, n, (options.resamples, n))
                parts.append(tuple(np.quantile(iqm(part[:, index]), [0.025, 0.975], axis=1)))
            found["percentile bootstrap"] = _joined(parts)
            yield from _rows("IQM", name, n, found, truth, x.std() / np.sqrt(n))


def tukey_mclaughlin(x: Array) -> Ends:
    """Student's t of the trimmed mean by its winsorised variance (Tukey & McLaughlin 1963)."""
    n = x.shape[1]
    cut = n // 4
    kept, ordered = n - 2 * cut, np.sort(x, axis=1)
    winsorised = np.clip(ordered, ordered[:, cut : cut + 1], ordered[:, n - cut - 1 : n - cut])
    arm = stats.t.ppf(0.975, kept - 1) * winsorised.std(1, ddof=1) / (kept / n * np.sqrt(n))
    return iqm(x) - arm, iqm(x) + arm


PLAYERS: dict[str, tuple[Callable[[np.random.Generator, tuple[int, ...]], tuple[Array, Array, Array]], float]] = {
    "independent": (
        lambda rng, s: (rng.normal(80, 10, s), rng.normal(100, 10, s), rng.normal(10, 3, s)),
        100 * 70 / 90,
    ),
    "student and teacher on the same luck": (
        lambda rng, s: (
            (luck := rng.normal(0, 20, s)) + rng.normal(80, 3, s),
            luck + rng.normal(100, 3, s),
            rng.normal(10, 3, s),
        ),
        100 * 70 / 90,
    ),
    "a student with a tail": (
        lambda rng, s: (85 - 15 * rng.exponential(size=s), rng.normal(100, 2, s), rng.normal(10, 3, s)),
        100 * 60 / 90,
    ),
    "a teacher little better than chance": (
        lambda rng, s: (rng.normal(8, 6, s), rng.normal(10, 6, s), rng.normal(0, 1, s)),
        80.0,
    ),
}


def percentages(options: Options, rng: np.random.Generator) -> Iterator[dict[str, Any]]:
    """Rows about the percentage of a teacher; a data set without an interval is left out, and counted."""
    for name, (draw, truth) in PLAYERS.items():
        for n in MEMBERS:
            three = draw(rng, (options.sets, n))
            ends = np.array([percent_interval(*one) for one in zip(*three, strict=True)]).T
            some = np.isfinite(ends[0])
            found = {OURS: (ends[0][some], ends[1][some]), "Fieller's, Student's t": fieller(*(x[some] for x in three))}
            parts = []
            for part in zip(*(np.array_split(x[some], max(1, options.sets // 500)) for x in three), strict=True):
                counts = rng.multinomial(n, [1 / n] * n, options.resamples).T / n
                learner, teacher, random = (x @ counts for x in part)
                share = 100 * (learner - random) / (teacher - random)
                parts.append(tuple(np.quantile(share, [0.025, 0.975], axis=1)))
            found["percentile bootstrap"] = _joined(parts)
            for row in _rows("% of teacher", name, n, found, truth, 1.0):
                yield {**row, "without_interval": round(float(1 - some.mean()), 4)}


def fieller(learner: Array, teacher: Array, random: Array) -> Ends:
    """Where Student's t does not refuse that a − θ b has the mean 0 (Fieller 1954)."""
    a, b, n = learner - random, teacher - random, learner.shape[1]
    square = stats.t.ppf(0.975, n - 1) ** 2 / n
    shared = ((a - a.mean(1, keepdims=True)) * (b - b.mean(1, keepdims=True))).sum(1) / (n - 1)
    p = b.mean(1) ** 2 - square * b.var(1, ddof=1)
    q = a.mean(1) * b.mean(1) - square * shared
    r = a.mean(1) ** 2 - square * a.var(1, ddof=1)
    root = np.sqrt(np.maximum(q**2 - p * r, 0))
    return 100 * (q - root) / p, 100 * (q + root) / p


def _truth(draw: Draw, statistic: Callable[[Array], float], rng: np.random.Generator) -> float:
    """Of eight million scores: off by a thousandth of the standard error of eight."""
    return statistic(draw(rng, (8_000_000,)))


def _quotient(a: Array, b: Array) -> Array:
    """a/b, and 0 where all scores are equal."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)


def _each(method: Callable[[Array], tuple[float, float]], x: Array) -> Ends:
    low, high = np.array([method(scores) for scores in x]).T
    return low, high


def _joined(parts: Any) -> Ends:
    low, high = (np.concatenate(ends) for ends in zip(*parts, strict=True))
    return low, high


def _rows(what: str, name: str, n: int, found: dict[str, Ends], truth: float, unit: float) -> Iterator[dict[str, Any]]:
    for method, (low, high) in found.items():
        held = float(((low <= truth) & (truth <= high)).mean())
        width = float(np.median((high - low) / unit))
        yield {
            "of": what,
            "scores": name,
            "members": n,
            "method": method,
            "coverage": round(held, 4),
            "standard_error": round(float(np.sqrt(held * (1 - held) / len(low))), 4),
            "width": round(width, 3) if np.isfinite(width) else None,
        }


def main(options: Options) -> int:
    """Simulate, print and write; 1 where ours covers normal scores too rarely."""
    rows = []
    for simulate in (means, iqms, percentages):
        for row in simulate(options, np.random.default_rng(options.seed)):
            rows.append(row)
            print(
                f"{row['of']:12} {row['scores']:45} {row['members']:3} {row['method']:30} {row['coverage']:.1%}",
                flush=True,
            )
    asked = {name: value for name, value in vars(options).items() if name != "out"}
    options.out.write_text(json.dumps({**asked, "versions": versions(), "rows": rows}, indent=2) + "\n", "utf-8")
    normal = [row for row in rows if row["method"] == OURS and row["scores"] in ("normal", "independent")]
    low = [row for row in normal if row["coverage"] < 0.94]
    for row in low:
        print(f"{row['of']} of {row['members']} members covers {row['coverage']:.1%}, less than 94 %")
    return int(bool(low))


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
