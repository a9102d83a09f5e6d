"""Dataset aggregation that asks where a gate says so. Letters: T time, M members, N environments of one member."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from imitate.core.actions import clip
from imitate.core.config import Count, NonNegative, Proper, check, checked
from imitate.core.learner import PerMember
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.replay import Dataset, Examples
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Source, fold, mean_metrics
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Teacher
from imitate.losses.imitation import ImitationLoss, default_loss
from imitate.nets.actor import Actor
from imitate.policies.gated import Gate, Gated, Lesson
from imitate.policies.greedy import Greedy
from imitate.students.behaviour_cloning import check_student, imitator
from imitate.students.held_out import BY_STEPS, Split, held_out_error, numbered

__all__ = ["GatedDAgger", "GatedDAggerConfig"]

UNLIMITED = 2**62  # questions, where there is no budget


@dataclass(frozen=True)
class GatedDAggerConfig:
    """Hyper-parameters of DAgger with a gate.

    Args:
        warm_up: Steps of each environment in which the teacher drives alone, before the first round; each is a label.
        rounds: Rounds behind that, in which the gate says who drives.
        rollout: T, steps of each environment in a round.
        budget: Labels of a member at the most, with those of the warm-up; None: as many as the gate asks for.
        updates: Gradient steps behind the warm-up and each round, on all that was aggregated.
        batch_size: Examples of one member in a step.
        lr: Learning rate of Adam.
        entropy: Weight of an entropy bonus, in nats.
        weight_decay: Decoupled weight decay.
        capacity: Examples kept of each member; beyond it a uniform sample of all that were seen.
        validation: Share of the episodes whose labels are held out, at least one. Gates are fitted to them too.
    """

    warm_up: Count = 10
    rounds: Count = 10
    rollout: Count = 64
    budget: Count | None = None
    updates: Count = 500
    batch_size: Count = 64
    lr: NonNegative[PerMember] = 1e-3
    entropy: PerMember = 0.0
    weight_decay: NonNegative[PerMember] = 0.0
    capacity: Count = 100_000
    validation: Proper[float] = 0.1

    def __post_init__(self) -> None:
        check(self)
        if self.validation == 0:
            raise ValueError("validation: a gate needs held-out labels; set it above 0.")


class GatedDAgger:
    """DAgger with a teacher that drives, and is asked, where a gate says so.

    A label is an answer of the teacher, whoever wanted it: to drive, to compare, or to learn from. All of them are
    aggregated, and counted in `progress.labels`. With a gate that asks everywhere and lets the student drive it is
    `DAgger`, to the bit.

    Gates are those of `imitate.students.gates`, or any `Gate`.

    Args:
        source: Where to drive.
        teacher: Who labels.
        student: The policy to train.
        gate: Who says where; made for this source and this student.
        config: Hyper-parameters.
        loss: `negative_log_likelihood` or `squared_error`; by default the first for choices, the second for a Box.

    Attributes:
        switches: Changes of who drives that each member has had behind the warm-up, [M]. An episode begins with the
            student, so that a teacher which drives its first step has taken over.

    Raises:
        ValueError: A number of the config does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        gate: Gate,
        config: GatedDAggerConfig | None = None,
        *,
        loss: ImitationLoss | None = None,
    ) -> None:
        config, spec = config or GatedDAggerConfig(), source.spec
        check_student(source, student, teacher)
        members, device, longest = spec.members, spec.device, max(config.rollout, config.warm_up)
        if config.budget is not None and config.budget < config.warm_up * spec.num_envs:
            raise ValueError(
                f"budget: {config.budget} labels, but the warm-up takes {config.warm_up * spec.num_envs}; take more, "
                "or a shorter warm_up."
            )
        admit_steps(spec, {"rollout": longest, "num_envs": spec.num_envs, "members": members})
        admit_steps(spec, {"batch_size": config.batch_size, "members": members}, seen=1)
        self.source, self.teacher, self.policy, self.gate, self.config = source, teacher, student, gate, config
        self.imitation = loss or default_loss(spec.action)
        self.left = torch.zeros(members, dtype=torch.int64, device=device)
        self.leads = torch.ones((), dtype=torch.bool, device=device)
        self.driver = Gated(Greedy(Privileged(teacher)), Greedy(student), gate, self.left, self.leads)
        self.data = Dataset(members, config.capacity, Stream(spec.seed, "shuffle", device))
        self.held_out = Dataset(members, config.capacity, Stream(spec.seed, "held-out", device))
        self.split = Split(self.data, self.held_out, config.validation)
        # Of the episodes under way; environment n counts on by N.
        self.episode = torch.arange(spec.num_envs, device=device).repeat(members, 1)
        self.learner = imitator(student, self.imitation, source, config.entropy, config.lr, config.weight_decay)
        self.switches = torch.zeros(members, dtype=torch.int64, device=device)
        self.progress = Progress(spec, (config.warm_up + config.rounds * config.rollout) * spec.num_envs)

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to say before a run."""
        return (BY_STEPS,) if self.source.spec.num_envs == 1 else ()

    def step(self) -> Metrics:
        """One round; before the first one the warm-up."""
        if int(self.progress.steps) == 0:
            self._round(self.config.warm_up)
            self.leads.fill_(False)
            self.switches.zero_()
        return self._round(self.config.rollout)

    def _round(self, steps: int) -> Metrics:
        """Drive, aggregate what was asked, fit the student and then the gate."""
        self.left.copy_((self.config.budget or UNLIMITED) - self.progress.labels)
        rollout = self.source.collect(self.driver, steps)
        asked, drives, switched = (fold(rollout.extras[name]) for name in ("asked", "drives", "switched"))
        told = clip(self.source.spec.action, fold(rollout.extras["told"]))
        examples = Examples(fold(rollout.obs), told)
        trained = self.split.add(examples, asked, numbered(rollout.starts, self.episode))
        self.policy.observe(examples.obs, trained)
        self.progress.advance(asked.shape[1], asked.sum(1).cpu())
        self.switches += switched.sum(1)
        metrics = self._fit() | self.gate.learn(Lesson(rollout, self.data, self.held_out))
        shares = {"asked": asked.float().mean(1), "driven": drives.float().mean(1)}
        return metrics | shares | {"switches": self.switches.float()}

    def _fit(self) -> Metrics:
        """`updates` gradient steps on the aggregate."""
        batches = self.data.batches(self.config.batch_size, self.config.updates)
        metrics = mean_metrics([self.learner(batch) for batch in batches])
        return {**metrics, "held_out": held_out_error(self.policy, self.held_out, self.imitation)}
