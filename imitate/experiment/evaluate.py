"""Evaluation: whole episodes on paired noise, and intervals with the member as the unit of replication.

Letters: M members, E episodes.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from imitate.core.config import checked
from imitate.core.types import Policy, Source
from imitate.distributions.actions import Teacher
from imitate.policies import Greedy, Random
from imitate.sources import make

__all__ = ["Evaluation", "Evaluator", "evaluate", "interval", "iqm"]

EVALUATION_SEED = 1_000_003

Array = NDArray[np.float64]


def iqm(scores: Array, axis: int = -1) -> Any:
    """Interquartile mean: the mean of the middle half (Agarwal et al. 2021, §4.3)."""
    return stats.trim_mean(scores, 0.25, axis=axis)


def interval(statistic: Any, *scores: Array, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic of paired scores, each [M]; NaNs for a single score.

    Args:
        statistic: Maps arrays [..., M] to [...], with a keyword `axis`.
        *scores: Scores; the same members are drawn in all of them.
        level: Coverage.
    """
    if len(scores[0]) < 2:
        return float("nan"), float("nan")
    if all(np.ptp(one) == 0 for one in scores):  # a perfect 500: no rounding between the ends and the mean
        value = float(statistic(*scores, axis=-1))
        return value, value
    with warnings.catch_warnings():
        # Of a statistic that does not exist, such as a share of nothing: NaNs say it.
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        found = stats.bootstrap(
            scores,
            statistic,
            paired=True,
            vectorized=True,
            n_resamples=9_999,
            confidence_level=level,
            method="percentile",  # BCa is undefined where all scores are equal, as at a perfect 500
            rng=np.random.default_rng(0),
        ).confidence_interval
    return float(found.low), float(found.high)


def _percent(student: Array, teacher: Array, random: Array, axis: int = -1) -> Any:
    """100·(student − random)/(teacher − random), of means."""
    gap = teacher.mean(axis) - random.mean(axis)
    # The quotient first: of equals it is 1 exactly.
    return 100 * ((student.mean(axis) - random.mean(axis)) / np.where(gap == 0, np.nan, gap))


def short(score: float) -> str:
    """A return for people to read: one decimal, or three where returns are small, as in a grid world."""
    return f"{score:.1f}" if abs(score) >= 10 else f"{score:.3f}"


@dataclass(frozen=True)
class Evaluation:
    """Returns of one policy and, on the same noise, of its teacher and of a random policy.

    Args:
        returns: Of the policy, [M, E].
        teacher: Of the teacher, [M, E], or None.
        random: Of a uniformly random policy, [M, E], or None.
    """

    returns: Array
    teacher: Array | None = None
    random: Array | None = None

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
        """95 % bootstrap interval of the mean."""
        return interval(np.mean, self.scores)

    @property
    def percent_of_teacher(self) -> float | None:
        """100·(student − random)/(teacher − random); None without a teacher, NaN where it is no better than chance."""
        if self.teacher is None or self.random is None:
            return None
        return float(_percent(self._scores(self.returns), self._scores(self.teacher), self._scores(self.random)))

    @property
    def percent_ci(self) -> tuple[float, float] | None:
        """95 % bootstrap interval of the percentage, the same members drawn for all three."""
        if self.teacher is None or self.random is None:
            return None
        return interval(_percent, *(self._scores(r) for r in (self.returns, self.teacher, self.random)))

    def __str__(self) -> str:
        members, episodes = self.returns.shape
        low, high = self.ci
        text = f"mean {short(self.mean)} [{short(low)}, {short(high)}]  IQM {short(self.iqm)}"
        percent, percent_ci = self.percent_of_teacher, self.percent_ci
        if percent is not None and percent_ci is not None:
            text += f"  {percent:.1f} % of the teacher [{percent_ci[0]:.1f}, {percent_ci[1]:.1f}]"
        return f"{text}  ({members} members x {episodes} episodes, 95 % interval over {self.unit}s)"


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
        self._known: tuple[Array, Array] | None = None

    def returns(self, policy: Policy) -> Array:
        """Returns [M, E] of whole episodes."""
        return self._played(Greedy(policy) if self.deterministic else policy)

    def _played(self, policy: Policy) -> Array:
        return np.asarray(self.source.play(policy, self.episodes, self.seed).double().cpu().numpy())

    def __call__(self, policy: Policy) -> Evaluation:
        """Evaluate a policy; a teacher is taken to be the same from its first evaluation on."""
        if self.teacher is None:
            return Evaluation(self.returns(policy))
        if self._known is None:
            # The random policy draws in any case: its mode would be one action for ever.
            self._known = self.returns(self.teacher), self._played(Random(self.source.spec.action))
        teacher, random = self._known
        return Evaluation(teacher if policy is self.teacher else self.returns(policy), teacher, random)


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
