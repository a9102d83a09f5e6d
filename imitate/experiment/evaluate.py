"""Evaluation: whole episodes on paired noise, and intervals with the member as the unit of replication.

Letters: M members, E episodes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from imitate.core.config import checked
from imitate.core.return_range import episode_range
from imitate.core.types import Policy, Source
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Teacher
from imitate.policies import Greedy, Random
from imitate.sources import make

__all__ = [
    "Evaluation",
    "Evaluator",
    "evaluate",
    "interval",
    "iqm",
    "iqm_interval",
    "percent",
    "percent_interval",
]

EVALUATION_SEED = 1_000_003

Array = NDArray[np.float64]
Bounds = tuple[float, float]

UNBOUNDED: Bounds = (-math.inf, math.inf)


def iqm(scores: Array, axis: int = -1) -> Any:
    """Interquartile mean: the mean of the middle half (Agarwal et al. 2021, §4.3)."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(scores: Array, level: float = 0.95, bounds: Bounds = UNBOUNDED) -> tuple[float, float]:
    """Interval of the mean of scores [M]: Student's, corrected for skewness; for paired scores, pass their differences.

    With Student's t, the skewness G₁ of the scores and A = G₁/√M, Hall's transformation

        g(t) = t + A t²/3 + A² t³/27 + A/6

    is less skewed than t (Hall 1992, "On the removal of skewness by transformation"). Its inverse is taken at Student's
    quantiles. Equal scores give a point. `python -m benchmarks.coverage` simulates how often it holds the mean.

    Args:
        scores: One of each member, [M].
        level: Coverage.
        bounds: Least and greatest score that there can be; the mean is not outside, so the interval is cut there.

    Returns:
        Both ends; NaNs of a single score, and where a score is not finite.
    """
    count = len(scores)
    if count < 2 or not np.isfinite(scores).all():
        return math.nan, math.nan
    mean, spread = scores.mean(), np.ptp(scores)
    if spread == 0:  # a perfect 500: no rounding between the ends and the mean
        return float(mean), float(mean)
    units = (scores - mean) / spread  # so that no square underflows
    deviation = units.std(ddof=1)
    skewness = count / ((count - 1) * (count - 2)) * ((units / deviation) ** 3).sum() if count > 2 else 0.0
    a = skewness / math.sqrt(count)
    z = special.stdtrit(count - 1, (1 + level) / 2) * np.array([1, -1]) - a / 6
    root = np.cbrt(1 + a * z)
    t = 3 * z / (root**2 + root + 1)  # 3 (root − 1)/a, which also holds at a = 0
    low, high = mean - t * deviation * spread / math.sqrt(count)
    return _cut((float(low), float(high)), bounds)


def iqm_interval(scores: Array, level: float = 0.95, bounds: Bounds = UNBOUNDED) -> tuple[float, float]:
    """Interval of the interquartile mean of scores [M]: Student's quantiles times the bootstrap's standard error.

    The error is corrected for the M − 1 degrees of freedom that draws from M scores have.

    Args:
        scores: One of each member, [M].
        level: Coverage.
        bounds: As of `interval`.

    Returns:
        Both ends; NaNs of a single score, and where a score is not finite.
    """
    count = len(scores)
    if count < 2 or not np.isfinite(scores).all():
        return math.nan, math.nan
    middle = float(iqm(scores))
    if np.ptp(scores) == 0:
        return middle, middle
    error = stats.bootstrap(
        (scores,),
        iqm,
        vectorized=True,
        n_resamples=1_999,  # the standard error to within 2 %
        batch=max(1, 10_000_000 // count),
        method="percentile",
        rng=np.random.default_rng(0),
    ).standard_error
    arm = float(special.stdtrit(count - 1, (1 + level) / 2) * error * math.sqrt(count / (count - 1)))
    return _cut((middle - arm, middle + arm), bounds)


def _cut(ends: tuple[float, float], bounds: Bounds) -> tuple[float, float]:
    """Both ends inside of the bounds."""
    return max(ends[0], bounds[0]), min(ends[1], bounds[1])


def percent(student: Array, teacher: Array, random: Array) -> float:
    """100·(student − random)/(teacher − random) of the means of paired scores [M].

    Returns:
        NaN where the teacher is no better than chance: less of a loss would be more per cent.
    """
    margin = teacher.mean() - random.mean()
    # The quotient first: of equals it is 1 exactly.
    return float(100 * ((student.mean() - random.mean()) / margin)) if margin > 0 else math.nan


def percent_interval(student: Array, teacher: Array, random: Array, level: float = 0.95) -> tuple[float, float]:
    """Interval of `percent`: that of the mean of its linearised scores, θ + (sᵢ − θ tᵢ)/t̄, chance subtracted from both.

    Where Student's interval of the teacher's margin t̄ contains 0, no finite interval of a ratio can keep its level
    (Fieller 1954, Gleser & Hwang 1987), and there is none.

    Args:
        student: One score of each member, [M].
        teacher: Those of its teacher, on the same noise.
        random: Those of a random policy.
        level: Coverage.

    Returns:
        Both ends; NaNs where there is no interval.
    """
    value, margin = percent(student, teacher, random), teacher - random
    if math.isnan(value) or len(margin) < 2:
        return math.nan, math.nan
    if margin.mean() <= special.stdtrit(len(margin) - 1, (1 + level) / 2) * stats.sem(margin):
        return math.nan, math.nan
    return interval(value + 100 * (student - random - value / 100 * margin) / margin.mean(), level)


def short(score: float) -> str:
    """A return for people to read: one decimal, or three where returns are small, as in a grid world."""
    return f"{score:.1f}" if abs(score) >= 10 else f"{score:.3f}"


def brackets(bounds: tuple[float, float], digits: Callable[[float], str] = short) -> str:
    """Both ends of an interval for people to read; n/a where there is none."""
    return "[n/a]" if math.isnan(bounds[0]) else f"[{digits(bounds[0])}, {digits(bounds[1])}]"


def percent_text(value: float, bounds: tuple[float, float] | None = None, unit: str = " % of the teacher") -> str:
    """A percentage of the teacher for people to read, with its interval; in words, why there is none."""
    if math.isnan(value):
        return "n/a: the teacher is no better than chance"
    text = f"{value:.1f}{unit}"
    if bounds is None:
        return text
    known = not math.isnan(bounds[0])
    return f"{text} {brackets(bounds, '{:.1f}'.format) if known else '[n/a: it may be no better than chance]'}"


@dataclass(frozen=True)
class Evaluation:
    """Returns of one policy and, on the same noise, of its teacher and of a random policy.

    Args:
        returns: Of the policy, [M, E].
        teacher: Of the teacher, [M, E], or None.
        random: Of a uniformly random policy, [M, E], or None.
        bounds: Least and greatest return that there can be.
    """

    returns: Array
    teacher: Array | None = None
    random: Array | None = None
    bounds: Bounds = UNBOUNDED

    @property
    def unit(self) -> str:
        """What the interval is over: members; of a single member only its episodes can tell."""
        return "member" if len(self.returns) > 1 else "episode"

    def _scores(self, returns: Array) -> Array:
        scores: Array = returns.mean(1) if self.unit == "member" else returns[0]
        return scores

    @property
    def scores(self) -> Array:
        """What is replicated: mean returns of members [M], or returns of one member's episodes [E]."""
        return self._scores(self.returns)

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.scores.mean())

    @property
    def iqm(self) -> float:
        """Interquartile mean of the scores."""
        return float(iqm(self.scores))

    @property
    def ci(self) -> tuple[float, float]:
        """95 % interval of the mean."""
        return interval(self.scores, bounds=self.bounds)

    @property
    def iqm_ci(self) -> tuple[float, float]:
        """95 % interval of the interquartile mean."""
        return iqm_interval(self.scores, bounds=self.bounds)

    @property
    def percent_of_teacher(self) -> float | None:
        """100·(student − random)/(teacher − random); None without a teacher, NaN where it is no better than chance."""
        return None if self._paired is None else percent(*self._paired)

    @property
    def percent_ci(self) -> tuple[float, float] | None:
        """95 % interval of the percentage; None without a teacher, NaNs where the margin may be nothing."""
        return None if self._paired is None else percent_interval(*self._paired)

    @property
    def _paired(self) -> tuple[Array, Array, Array] | None:
        if self.teacher is None or self.random is None:
            return None
        return self._scores(self.returns), self._scores(self.teacher), self._scores(self.random)

    def __str__(self) -> str:
        members, episodes = self.returns.shape
        parts = [f"mean {short(self.mean)} {brackets(self.ci)}", f"IQM {short(self.iqm)} {brackets(self.iqm_ci)}"]
        if self.percent_of_teacher is not None:
            parts.append(percent_text(self.percent_of_teacher, self.percent_ci))
        return f"{'  '.join(parts)}  ({members} members x {episodes} episodes, 95 % interval over {self.unit}s)"


class Evaluator:
    """Evaluates policies on one and the same noise; teacher and random policy play only once.

    Args:
        source: Where to play; its own episodes are left alone.
        episodes: E of each member.
        teacher: Against whom, if anybody.
        deterministic: Modes instead of draws.
        seed: Of the noise; not a seed that training draws from.

    Raises:
        ValueError: `episodes` is less than 1.
    """

    @checked
    def __init__(
        self,
        source: Source,
        episodes: int = 100,
        *,
        teacher: Teacher | None = None,
        deterministic: bool = True,
        seed: int = EVALUATION_SEED,
    ) -> None:
        if episodes < 1:
            raise ValueError(f"episodes: at least 1, not {episodes}.")
        self.source, self.episodes, self.teacher = source, episodes, teacher
        self.deterministic, self.seed = deterministic, seed
        self.bounds = episode_range(source.spec) or UNBOUNDED
        self._known: tuple[Array, Array] | None = None

    def returns(self, policy: Policy) -> Array:
        """Returns [M, E] of whole episodes."""
        return self._played(Greedy(policy) if self.deterministic else policy)

    def _played(self, policy: Policy) -> Array:
        return np.asarray(self.source.play(policy, self.episodes, self.seed).double().cpu().numpy())

    def __call__(self, policy: Policy) -> Evaluation:
        """Evaluate a policy; a teacher is taken to be the same from its first evaluation on."""
        if self.teacher is None:
            return Evaluation(self.returns(policy), bounds=self.bounds)
        if self._known is None:
            # The random policy draws in any case: its mode would be one action for ever.
            self._known = self.returns(Privileged(self.teacher)), self._played(Random(self.source.spec.action))
        teacher, random = self._known
        return Evaluation(teacher if policy is self.teacher else self.returns(policy), teacher, random, self.bounds)


@checked
def evaluate(
    policy: Policy,
    env: str | Source,
    episodes: int = 100,
    *,
    teacher: Teacher | None = None,
    deterministic: bool = True,
    seed: int = EVALUATION_SEED,
    members: int | None = None,
) -> Evaluation:
    """Play whole episodes with a policy and, with a teacher given, with that and a random policy on the same noise.

    Args:
        policy: Who is evaluated.
        env: An id, or a source, whose own episodes are left alone.
        episodes: E of each member.
        teacher: Against whom.
        deterministic: Modes instead of draws.
        seed: Of the noise; not a seed that training draws from.
        members: M, where `env` is an id; by default the policy's, or 1.

    Raises:
        ValueError: The environment is unknown, or `episodes` is less than 1.
    """
    if isinstance(env, str):
        population = members or int(getattr(policy, "members", 1))
        env = make(env, num_envs=1, members=population, seed=seed, device=getattr(policy, "device", "cpu"))
    return Evaluator(env, episodes, teacher=teacher, deterministic=deterministic, seed=seed)(policy)
