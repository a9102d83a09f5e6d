"""Gates: who drives, and where the teacher is asked. Letters: M members, N environments of one member, B batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from imitate.core.config import Count, NonNegative, Positive, Proper, Share, check, checked
from imitate.core.types import Metrics, Obs, Source, fold
from imitate.losses.imitation import discrepancy
from imitate.nets.actor import Actor
from imitate.policies.gated import Lesson, Moment
from imitate.students.gate_models import Deviation, Doubt, Fit, Risk

__all__ = [
    "EnsembleGate",
    "EnsembleGateConfig",
    "HumanGate",
    "HumanGateConfig",
    "LazyGate",
    "LazyGateConfig",
    "SafeGate",
    "SafeGateConfig",
    "ThriftyGate",
    "ThriftyGateConfig",
]


@dataclass(frozen=True)
class SafeGateConfig(Fit):
    """Hyper-parameters of SafeDAgger's gate, beside those of its fit.

    Args:
        tau: τ, the discrepancy above which the student deviates, in squared half ranges; of choices anything below 1.
        threshold: Probability of a deviation above which the teacher is called.
        hidden: Widths of the hidden layers of the classifier.
    """

    tau: NonNegative[float] = 0.03
    threshold: Share[float] = 0.5
    hidden: tuple[int, ...] = (64, 64)


class SafeGate:
    """The teacher drives, and is asked, where a classifier expects the student to deviate (SafeDAgger).

        teacher  if  c(s) > threshold

    Source: Zhang & Cho (2017), §3, with 1 − c for their safety policy. See `Deviation`.

    Args:
        source: Where the student drives.
        student: The policy that is trained.
        config: Hyper-parameters.
    """

    @checked
    def __init__(self, source: Source, student: Actor, config: SafeGateConfig | None = None) -> None:
        self.config = config or SafeGateConfig()
        self.deviation = Deviation(source, student, self.config.tau, self.config.hidden, self.config)

    @torch.no_grad()
    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Asked and driven are the same states."""
        unsafe = self.deviation(moment.obs) > self.config.threshold
        return unsafe, unsafe

    def learn(self, lesson: Lesson) -> Metrics:
        """Fit the classifier."""
        return self.deviation.learn(lesson.data, lesson.held_out)


@dataclass(frozen=True)
class LazyGateConfig(SafeGateConfig):
    """Hyper-parameters of LazyDAgger's gate, beside those of `SafeGateConfig`.

    Args:
        back: The teacher hands back where the discrepancy is below this share of τ.
    """

    back: Share[float] = 0.25


class LazyGate:
    """As `SafeGate`, but whom it has called the teacher remains until the student agrees with it (LazyDAgger).

        teacher → student  if  d(a, a*) < back·τ

    So there are fewer changes of who drives. The noise that the paper adds to what the teacher does is left out.

    Source: Hoque et al. (2021), "LazyDAgger: Reducing context switching in interactive imitation learning".

    Args:
        source: Where the student drives.
        student: The policy that is trained.
        config: Hyper-parameters.
    """

    @checked
    def __init__(self, source: Source, student: Actor, config: LazyGateConfig | None = None) -> None:
        self.config, self.action = config or LazyGateConfig(), source.spec.action
        self.deviation = Deviation(source, student, self.config.tau, self.config.hidden, self.config)

    @torch.no_grad()
    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Whoever drives is asked, also where it then hands back."""
        unsafe = self.deviation(moment.obs) > self.config.threshold
        apart = discrepancy(self.action, moment.action, moment.told) >= self.config.back * self.config.tau
        return moment.driving | unsafe, torch.where(moment.driving, apart, unsafe)

    def learn(self, lesson: Lesson) -> Metrics:
        """Fit the classifier."""
        return self.deviation.learn(lesson.data, lesson.held_out)


@dataclass(frozen=True)
class EnsembleGateConfig(Fit):
    """Hyper-parameters of EnsembleDAgger's gate, beside those of its fit.

    Args:
        heads: K, networks of the ensemble.
        chi: χ, the variance above which the ensemble doubts; see `Doubt`.
        tau: τ, the discrepancy above which the teacher drives; it is asked at every step then. None: the variance alone
            decides, and the teacher is asked where there is doubt.
    """

    heads: Count = 5
    chi: NonNegative[float] = 0.01
    tau: NonNegative[float] | None = None


class EnsembleGate:
    """The teacher drives where an ensemble doubts, or where the student is far from it (EnsembleDAgger).

        teacher  if  v(s) > χ  or  d(a, a*) > τ

    Source: Menda, Driggs-Campbell & Kochenderfer (2019), the doubt rule and the discrepancy rule. See `Doubt`.

    Args:
        source: Where the student drives.
        student: The policy that is trained.
        config: Hyper-parameters.
    """

    @checked
    def __init__(self, source: Source, student: Actor, config: EnsembleGateConfig | None = None) -> None:
        self.config, self.action = config or EnsembleGateConfig(), source.spec.action
        self.doubt = Doubt(source, student, self.config.heads, self.config)

    @torch.no_grad()
    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """With a discrepancy rule all states are asked about."""
        doubts = self.doubt(moment.obs) > self.config.chi
        if self.config.tau is None:
            return doubts, doubts
        apart = discrepancy(self.action, moment.action, moment.told) > self.config.tau
        return torch.ones_like(doubts), doubts | apart

    def learn(self, lesson: Lesson) -> Metrics:
        """Fit the ensemble."""
        return self.doubt.learn(lesson.data)


@dataclass(frozen=True)
class ThriftyGateConfig(Fit):
    """Hyper-parameters of ThriftyDAgger's gate, beside those of its fit.

    Args:
        heads: K, networks of the ensemble.
        alpha: α, share of the visited states that are to be novel, and share that are to be risky.
        gamma: Discount of the risk.
        failure: A termination is a failure where its reward is less than this; None: every termination is one.
        hidden: Widths of the hidden layers of the risk.
        capacity: Steps of a member that the risk is learnt from.
    """

    heads: Count = 5
    alpha: Share[float] = 0.05
    gamma: Proper[float] = 0.99
    failure: float | None = None
    hidden: tuple[int, ...] = (64, 64)
    capacity: Count = 20_000


class ThriftyGate:
    """The teacher is called where a state is novel or risky, and hands back where it is neither (ThriftyDAgger).

        student → teacher  if  v(s) > δ_h  or  ρ(s, a) > β_h
        teacher → student  if  d(a, a*) <= δ_r  and  ρ(s, a) <= β_r

    The thresholds follow from α alone, anew behind each round. δ_h and β_h are the 1 − α quantiles of the states of
    that round, and β_r is the median of their risk. δ_r is the mean discrepancy on the labels that the student was
    fitted to. The paper takes the quantiles of the states that the student drove through since the last round began.

    Source: Hoque et al. (2021), "ThriftyDAgger: Budget-aware novelty and risk gating for interactive imitation
    learning". See `Doubt` and `Risk`.

    Args:
        source: Where the student drives.
        student: The policy that is trained.
        config: Hyper-parameters.

    Attributes:
        novel: δ_h, [M, 1].
        risky: β_h, [M, 1].
        near: δ_r, [M, 1].
        calm: β_r, [M, 1].
    """

    @checked
    def __init__(self, source: Source, student: Actor, config: ThriftyGateConfig | None = None) -> None:
        self.config, self.student, spec = config or ThriftyGateConfig(), student, source.spec
        config, self.action = self.config, spec.action
        self.doubt = Doubt(source, student, config.heads, config)
        self.risk = Risk(source, student, config.hidden, config, config.gamma, config.failure, config.capacity)
        self.novel, self.risky, self.near, self.calm = torch.zeros(4, spec.members, 1, device=spec.device).unbind()

    @torch.no_grad()
    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Whoever drives is asked, also where it then hands back."""
        risk = self.risk(moment.obs, moment.action)
        calls = (self.doubt(moment.obs) > self.novel) | (risk > self.risky)
        stays = (discrepancy(self.action, moment.action, moment.told) > self.near) | (risk > self.calm)
        return moment.driving | calls, torch.where(moment.driving, stays, calls)

    def learn(self, lesson: Lesson) -> Metrics:
        """Fit ensemble and risk, and take the thresholds from the states of the round."""
        metrics = self.doubt.learn(lesson.data) | self.risk.learn(lesson.rollout)
        self._set_thresholds(lesson)
        return metrics | {"novel": self.novel[:, 0].clone(), "risky": self.risky[:, 0].clone()}

    @torch.no_grad()
    def _set_thresholds(self, lesson: Lesson) -> None:
        obs = fold(lesson.rollout.obs)
        risk = self.risk(obs, self.student.distribution(obs).mode)
        examples, counts = lesson.data.all()
        apart = discrepancy(self.action, self.student.distribution(examples.obs).mode, examples.action)
        self.novel.copy_(self.doubt(obs).quantile(1 - self.config.alpha, 1, keepdim=True))
        self.risky.copy_(risk.quantile(1 - self.config.alpha, 1, keepdim=True))
        self.near.copy_((apart * counts).sum(1, keepdim=True) / counts.sum(1, keepdim=True))
        self.calm.copy_(risk.quantile(0.5, 1, keepdim=True))


@dataclass(frozen=True)
class HumanGateConfig:
    """A scripted supervisor who looks at single numbers of an observation.

    Args:
        numbers: Which numbers of an observation.
        limits: Of each: the supervisor takes over where |observation[number]| is beyond its limit.
        back: It hands back where all of them are within this share of their limits.
    """

    numbers: NonNegative[tuple[int, ...]] = ()
    limits: Positive[tuple[float, ...]] = ()
    back: Share[float] = 0.5

    def __post_init__(self) -> None:
        check(self)
        if len(self.numbers) != len(self.limits):
            raise ValueError(f"limits: {len(self.limits)} for {len(self.numbers)} numbers; give one for each.")

    def takes_over(self, obs: Tensor) -> Tensor:
        """Where a limit is passed."""
        return self._beyond(obs, 1.0)

    def hands_back(self, obs: Tensor) -> Tensor:
        """Where all is well within the limits."""
        return ~self._beyond(obs, self.back)

    def _beyond(self, obs: Tensor, share: float) -> Tensor:
        if not self.numbers:
            raise ValueError("numbers: which numbers of an observation does the supervisor look at? Give one at least.")
        if max(self.numbers) >= obs.shape[-1]:
            raise ValueError(f"numbers: an observation has no {max(self.numbers)}, only 0 … {obs.shape[-1] - 1}.")
        seen = [obs[..., i].abs() > share * limit for i, limit in zip(self.numbers, self.limits, strict=True)]
        return torch.stack(seen).any(0)


class HumanGate:
    """A supervisor takes over, and hands back, as it sees fit; it labels what it drives through (HG-DAgger).

    Whom nobody calls sees for itself, so the gate is a function of the state as the teacher sees it. A person, or a
    script that stands for one, is the pair of functions.

    Source: Kelly et al. (2019). The doubt at which the deployed student is to stop, which the paper takes from the
    doubts at the interventions, is left out.

    Args:
        takes_over: Where the supervisor takes over: observations [M, N, ...] -> bool [M, N].
        hands_back: Where it hands back; by default wherever it would not take over.
    """

    @checked
    def __init__(self, takes_over: Callable[[Obs], Tensor], hands_back: Callable[[Obs], Tensor] | None = None) -> None:
        self.takes_over, self.hands_back = takes_over, hands_back

    def __call__(self, moment: Moment) -> tuple[Tensor, Tensor]:
        """Asked and driven are the same states."""
        drives = self.takes_over(moment.whole)
        if self.hands_back is not None:
            drives = drives | (moment.driving & ~self.hands_back(moment.whole))
        return drives, drives

    def learn(self, lesson: Lesson) -> Metrics:
        """Nothing: it knows already."""
        return {}
