"""Distillation by any row of Czarnecki's table. Letters: T time, M members, N environments of one member, B batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from imitate.core.config import Count, NonNegative, Positive, Share, check, checked
from imitate.core.learner import Learner, PerMember, numbers
from imitate.core.noise import Stream
from imitate.core.progress import Progress
from imitate.core.room import admit_steps
from imitate.core.types import Metrics, Obs, Policy, Rollout, Source, fold, mean_metrics, unfold
from imitate.core.weak import Weak
from imitate.core.wrappers import Privileged
from imitate.distributions.actions import Categorical, Distribution, Teacher, Valued, log_prob_of
from imitate.losses.returns import lambda_returns
from imitate.nets.actor import Actor
from imitate.nets.critic import Critic
from imitate.rewards.pseudo import Labelled
from imitate.students.behaviour_cloning import check_student
from imitate.students.czarnecki import EXPECTED_ENTROPY, Row
from imitate.students.distillation import check_kinds
from imitate.teachers.label import Answers

__all__ = ["ActorCriticDistillation", "ActorCriticDistillationConfig"]


@dataclass(frozen=True)
class ActorCriticDistillationConfig:
    """Hyper-parameters of distillation by a row of the table.

    Args:
        steps: Environment steps of one member, each of which the teacher labels.
        rollout: T, steps of each environment between two updates.
        lr: Learning rate of Adam, of the student.
        critic_lr: That of the critics.
        gamma: Discount γ.
        lam: λ of the returns R̂; 1 and a γ of 1 are the sums of the table.
        reward: Weight of the environment's reward beside the row's own; 1 is "+R", 0 leaves it out. That of
            `TEACHER_VALUE` holds it once already.
        gate: Listen to the teacher only where its value is above that of the student, V_π(s) > V_πθ(s).
        max_grad_norm: Bound on the gradient's norm, of the student and of the critics.
        critic_hidden: Widths of the hidden layers of the critics; none make them tables where states are numbers.
    """

    steps: Count = 50_000
    rollout: Count = 16
    lr: NonNegative[PerMember] = 3e-3
    critic_lr: NonNegative[PerMember] = 3e-3
    gamma: Share[PerMember] = 0.99
    lam: Share[PerMember] = 0.95
    reward: NonNegative[PerMember] = 0.0
    gate: bool = False
    max_grad_norm: Positive[float] = 10.0
    critic_hidden: tuple[int, ...] = (64, 64)

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True)
class _Batch:
    """What the losses need, [M, B, ...]."""

    obs: Obs
    action: Tensor
    draw: Tensor | None  # what a squashed action was before the tanh
    teacher: Distribution
    gate: Tensor
    advantage: Tensor
    targets: dict[str, Tensor]  # of each critic


class ActorCriticDistillation:
    """Distil by a row of the table of Czarnecki et al. (2019): who acts, a loss, a pseudo-reward.

        E_q[Σ_t −∇log π_θ(a_t|s_t) (R̂_t − V(s_t)) + g_t ∇ℓ(s_t)],   r̂ of R̂: g_t r̂_row + w r

    One gradient step a rollout. w is the weight of the environment's reward. The gate g is 1, or with `gate` whether
    V_π(s) > V_πθ(s). R̂ is a λ-return, and V its critic. A second critic, of the environment's reward, is the V_πθ.

    Args:
        source: Where to act.
        teacher: Who labels.
        student: The policy to train, of any size.
        config: Hyper-parameters.
        row: Of the table, see `imitate.students.czarnecki`.
        value: V_π of the teacher, observations [M, B, ...] -> [M, B], for `gate` and for rewards that need it. By
            default what a `Valued` teacher thinks of its best choice.

    Raises:
        ValueError: The teacher acts and the environment's reward is asked for, the teacher's values are needed and not
            given, or a number does not fit.
    """

    @checked
    def __init__(
        self,
        source: Source,
        teacher: Teacher,
        student: Actor,
        config: ActorCriticDistillationConfig | None = None,
        *,
        row: Row = EXPECTED_ENTROPY,
        value: Callable[[Obs], Tensor] | None = None,
    ) -> None:
        config, spec = config or ActorCriticDistillationConfig(), source.spec
        check_student(source, student, teacher)
        admit_steps(spec, {"rollout": config.rollout, "num_envs": spec.num_envs, "members": spec.members})
        self.hyper: SimpleNamespace = numbers(config, spec, "gamma", "lam", "reward")
        earns = bool(self.hyper.reward.any())
        if row.teacher_acts and earns:
            raise ValueError("reward: the teacher acts in this row, and earns it; let the student act, or take 0.")
        if value is None and isinstance(teacher, Valued):
            value = partial(_best_value, teacher)
        if value is None and (row.needs_value or config.gate):
            raise ValueError(
                f"teacher: a {type(teacher).__name__} knows no values, which the gate and the teacher's value as a "
                "reward need; take a planner or a value network, or pass `value`."
            )
        self.source, self.teacher, self.policy, self.config, self.row = source, teacher, student, config, row
        self.value = value if row.needs_value or config.gate else None
        self.driver: Policy = Privileged(teacher) if row.teacher_acts else student
        self.answers = Answers(teacher)
        self.learner = Learner([student], Weak(self._loss), lr=config.lr, max_grad_norm=config.max_grad_norm)
        self.rewarded = earns or row.reward is not None
        self.critics = nn.ModuleDict(
            {
                name: Critic(
                    spec.observation,
                    spec.members,
                    config.critic_hidden,
                    init=Stream(spec.seed, f"init-critic-{name}", spec.device),
                )
                for name, needed in (("returns", self.rewarded), ("gate", config.gate))
                if needed
            }
        )
        self.critic_learner = (
            Learner(
                list(self.critics.values()),
                Weak(self._critic_loss),
                lr=config.critic_lr,
                max_grad_norm=config.max_grad_norm,
            )
            if self.critics
            else None
        )
        self.progress = Progress(spec, config.steps, config.rollout * spec.num_envs)

    def step(self) -> Metrics:
        """Collect one rollout, label it, learn from it once."""
        rollout = self.source.collect(self.driver, self.config.rollout)
        batch = self._prepare(rollout)
        metrics = self.learner(batch)
        if self.critic_learner is not None:
            metrics["value_error"] = self.critic_learner(batch)["loss"]
        self.policy.observe(fold(rollout.obs))  # after learning, so that acting and learning saw one and the same input
        size = rollout.starts[:, 0].numel()
        self.progress.advance(size, size)
        return {**mean_metrics([metrics]), "gate": batch.gate.mean(1), "reward": rollout.reward.mean((0, 2))}

    @torch.no_grad()
    def _prepare(self, rollout: Rollout) -> _Batch:
        """The teacher's answers, its gate, and what the actions of a rollout were worth."""
        obs, action, draw = fold(rollout.obs), fold(rollout.action), fold(rollout.extras.get("draw"))
        teacher, student = self.answers(rollout), self.policy.distribution(obs)
        if self.row.loss is not None:
            check_kinds(teacher, student)
        x, next_x = self.policy.prepare(obs), self.policy.prepare(fold(rollout.next_obs))
        values = {name: critic(x) for name, critic in self.critics.items()}
        reward, discount = fold(rollout.reward), self.hyper.gamma * ~rollout.terminated
        value = None if self.value is None else self.value(obs)
        gate = (value > values["gate"]).float() if self.config.gate else torch.ones_like(reward)
        rewards = {"returns": self.hyper.reward * reward, "gate": reward}
        if self.row.reward is not None:
            next_value = self.value(fold(rollout.next_obs)) if self.value is not None and self.row.needs_value else None
            theirs, own = log_prob_of(teacher, action, draw), log_prob_of(student, action, draw)
            labelled = Labelled(teacher, student, theirs, own, reward, fold(discount), value, next_value)
            rewards["returns"] = rewards["returns"] + gate * self.row.reward(labelled)
        lam, targets = self.hyper.lam * ~rollout.truncated, {}
        for name, critic in self.critics.items():
            earned, ahead = unfold((rewards[name], critic(next_x)), len(lam))
            targets[name] = fold(lambda_returns(earned, discount, ahead, lam))
        advantage = targets["returns"] - values["returns"] if self.rewarded else torch.zeros_like(reward)
        return _Batch(obs, action, draw, teacher, gate, advantage, targets)

    def _loss(self, batch: _Batch) -> tuple[Tensor, Metrics]:
        student = self.policy.distribution(batch.obs)
        loss = torch.zeros_like(batch.gate)
        if self.rewarded:
            loss = -log_prob_of(student, batch.action, batch.draw) * batch.advantage
        if self.row.loss is not None:
            loss = loss + batch.gate * self.row.loss(batch.teacher, student, 1.0)
        if not isinstance(student, Categorical):
            return loss.mean(1), {}
        return loss.mean(1), {"agreement": (batch.teacher.mode == student.mode).float().mean(1)}

    def _critic_loss(self, batch: _Batch) -> tuple[Tensor, Metrics]:
        x = self.policy.prepare(batch.obs)
        errors = [(critic(x) - batch.targets[name]).square() for name, critic in self.critics.items()]
        return torch.stack(errors).sum(0).mean(1), {}


def _best_value(teacher: Valued, obs: Obs) -> Tensor:
    """The greatest Q(s, a) of the actions, [M, B]."""
    return teacher.action_values(obs).amax(-1)
