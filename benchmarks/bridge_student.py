"""A Rescorla-Wagner agent teaches a recurrent network on a reversal bandit, by behaviour cloning through time.

The student sees what the teacher saw (its last choice and reward) and is told what it chose; nobody tells it that there
are values, a learning rate or a softmax. Then it plays alone, and a Rescorla-Wagner model is fitted to what it does.

Letters: T time, M members, N environments of one member, A arms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from imitate import nets
from imitate.conditioning.agent import Agent, as_agent
from imitate.conditioning.choice import Softmax
from imitate.conditioning.data import Choices
from imitate.conditioning.values import QLearning
from imitate.core import tree
from imitate.core.learner import Learner
from imitate.core.noise import Stream
from imitate.core.rollout import TensorSource, advance, begin
from imitate.core.types import Metrics, Policy, Transition
from imitate.distributions.actions import Categorical
from imitate.experiment.evaluate import interval
from imitate.fitting.likelihood import log_likelihood
from imitate.policies import Random
from imitate_envs.bandits import ReversalBandit
from imitate_envs.feedback import Feedback

__all__ = ["Lesson", "draw", "lesson"]

MODEL = Softmax(QLearning())
TEACHER = {"alpha": 0.3, "beta": 5.0, "Q0": 0.5}
BANDIT = ReversalBandit(means=(0.8, 0.2), hazard=0.05, max_steps=100)
ENV = Feedback(BANDIT)
BEFORE, AFTER = 5, 15  # trials around a reversal
COLOURS = {"teacher": "#444444", "student": "#e08214"}


@dataclass(frozen=True)
class Lesson:
    """What came of it: numbers with intervals over members, and curves of every member."""

    numbers: dict[str, Any]
    loss: Tensor  # [updates, M], nats a choice above the teacher's own entropy
    reversal: dict[str, Tensor]  # share of choices of the better arm around reversals, [M, trials]
    fitted: dict[str, dict[str, Tensor]]  # α and β of a Rescorla-Wagner model fitted to each player, [M]


def lesson(
    members: int,
    seed: int,
    *,
    episodes: int = 512,
    updates: int = 300,
    batch_size: int = 32,
    hidden: int = 16,
    lr: float = 0.02,
    watched: int = 200,
) -> Lesson:
    """Train M students and look at them.

    Args:
        members: M; each has its own episodes of the teacher.
        seed: Of the source, and of the students' first weights.
        episodes: That the teacher plays for each student.
        updates: Gradient steps.
        batch_size: Whole episodes in a step.
        hidden: Units of a student.
        lr: Learning rate of Adam; it falls to 0 linearly.
        watched: Fresh episodes of a member in each look at the result.
    """
    source = TensorSource(ENV, id="ReversalBandit-v0", num_envs=episodes, members=members, seed=seed)
    teacher, student = as_agent(MODEL, TEACHER), nets.policy(source, (), gru=hidden)
    shown = source.collect(teacher, BANDIT.max_steps)
    log_probs = shown.extras["log_probs"]
    entropy = -(log_probs.exp() * log_probs).sum(-1)

    def loss(rows: Tensor) -> tuple[Tensor, Metrics]:
        said, _ = student.unroll(shown.obs[:, :, rows], None, _starts(members, len(rows)))
        error = -said.log_prob(shown.action[:, :, rows]).mean((0, 2))
        return error, {"excess": error.detach() - entropy[:, :, rows].mean((0, 2))}

    learner = Learner([student], loss, lr=lr, max_grad_norm=1.0)
    shuffle, history = Stream(seed, "shuffle"), []
    order: list[Tensor] = []
    for update in range(updates):
        order = order or list(shuffle.uniform(episodes).argsort().split(batch_size))
        learner.lr.fill_(lr * (1 - update / updates))
        history.append(learner(order.pop())["excess"])
    players: dict[str, Policy] = {"teacher": teacher, "student": student, "random": Random(ENV.action)}
    returns = {name: source.play(policy, watched, seed + 1).mean(1) for name, policy in players.items()}
    reversal, fitted = {}, {}
    for name in ("teacher", "student"):
        seen, better = _watch(players[name], members, watched, seed + 2)
        reversal[name] = _around_reversals(seen.action == better, better)
        fitted[name] = _fit(seen)
    divergence = _divergence(teacher, student, members, watched, seed + 3)
    share = (returns["student"] - returns["random"]) / (returns["teacher"] - returns["random"])
    numbers = {
        "teacher": TEACHER,
        "parameters": student.parameters_per_member,
        "choices_shown": episodes * BANDIT.max_steps,
        "return": {name: _summary(value) for name, value in returns.items()},
        "share_of_teacher": _summary(share),
        "divergence_nats": _summary(divergence),
        "fitted": {who: {key: _summary(value) for key, value in each.items()} for who, each in fitted.items()},
        "better_arm_after_reversal": {
            name: {str(lag): _summary(curve[:, BEFORE + lag]) for lag in (0, 2, 5, 10)}
            for name, curve in reversal.items()
        },
    }
    return Lesson(numbers, torch.stack(history), reversal, fitted)


def _starts(members: int, episodes: int) -> Tensor:
    """Where episodes begin, [T, M, N]: each sequence is one."""
    starts = torch.zeros(BANDIT.max_steps, members, episodes, dtype=torch.bool)
    starts[0] = True
    return starts


@torch.no_grad()
def _watch(policy: Policy, members: int, num_envs: int, seed: int) -> tuple[Transition, Tensor]:
    """One episode [T, M, N] of fresh environments, and the better arm of every trial, [T, M, N]."""
    decisions, dynamics = Stream(seed, "policy"), Stream(seed, "env")
    carry = begin(ENV, policy, dynamics.uniform(members, num_envs, ENV.reset_noise))
    steps, better = [], []
    width = ENV.step_noise + ENV.reset_noise
    for _ in range(BANDIT.max_steps):
        better.append(carry.state.inner.means.argmax(-1))
        decision = decisions.uniform(members, num_envs, policy.noise)
        noise, first = dynamics.uniform(members, num_envs, width).split([ENV.step_noise, ENV.reset_noise], -1)
        carry, seen = advance(ENV, policy, carry, decision, noise, ENV.reset(first))
        steps.append(replace(seen, extras={}))
    return tree.stack(steps), torch.stack(better)


def _around_reversals(chosen: Tensor, better: Tensor) -> Tensor:
    """Share of choices of the better arm, by trials since a reversal: [M, BEFORE + AFTER].

    At lag 0 and later that is the arm that has just become the better one; before, the one that was it then.
    """
    reversed_ = (better[1:] != better[:-1]).nonzero()
    time, member, env = reversed_[:, 0] + 1, reversed_[:, 1], reversed_[:, 2]
    inside = (time >= BEFORE) & (time + AFTER <= len(better))
    time, member, env = time[inside], member[inside], env[inside]
    window = time.unsqueeze(-1) + torch.arange(-BEFORE, AFTER)
    hits = chosen[window, member.unsqueeze(-1), env.unsqueeze(-1)].double()
    total = torch.zeros(better.shape[1], BEFORE + AFTER, dtype=torch.float64).index_add_(0, member, hits)
    return total / torch.bincount(member, minlength=better.shape[1]).unsqueeze(-1)


def _fit(seen: Transition) -> dict[str, Tensor]:
    """Maximum-likelihood α and β of each member over all of its episodes, [M]."""
    choices = Choices(seen.action, seen.reward.double(), ENV.action.n)
    free = {name: MODEL.parameters[name] for name in ("alpha", "beta")}
    z = torch.zeros(2, seen.action.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([z], max_iter=40, line_search_fn="strong_wolfe")

    def values() -> dict[str, Tensor]:
        return {name: parameter.constrain(own) for (name, parameter), own in zip(free.items(), z, strict=True)}

    def closure() -> Tensor:
        optimizer.zero_grad()
        theta = {name: value.unsqueeze(-1) for name, value in values().items()}
        loss = -log_likelihood(MODEL, {**theta, "Q0": TEACHER["Q0"]}, choices).sum() / choices.action.numel()
        loss.backward()
        return loss

    optimizer.step(closure)
    return {name: value.detach() for name, value in values().items()}


@torch.no_grad()
def _divergence(teacher: Agent, student: nets.Actor, members: int, episodes: int, seed: int) -> Tensor:
    """KL(teacher ‖ student) of a choice in nats, [M], over fresh episodes of the teacher."""
    source = TensorSource(ENV, id="ReversalBandit-v0", num_envs=episodes, members=members, seed=seed)
    seen = source.collect(teacher, BANDIT.max_steps)
    log_probs = seen.extras["log_probs"]
    said, _ = student.unroll(seen.obs, None, _starts(members, episodes))
    divergence: Tensor = (
        (log_probs.exp() * (log_probs - cast(Categorical, said).logits.log_softmax(-1))).sum(-1).mean((0, 2))
    )
    return divergence


def _summary(value: Tensor) -> dict[str, float]:
    """Mean over members and its 95 % interval."""
    scores = value.double().numpy()
    low, high = interval(scores)
    return {"mean": float(scores.mean()), "low": low, "high": high}


def draw(path: Path, result: Lesson) -> None:
    """Learning, choices around a reversal, and the parameters fitted to both players."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained", dpi=110)
    learning, around, fitted = figure.subplots(1, 3)
    smooth = result.loss.unfold(0, 10, 10).mean(-1)
    learning.plot(10 * np.arange(len(smooth)), smooth.numpy(), color="#1f78b4", alpha=0.4, linewidth=1)
    learning.axhline(0, color="#444444", linewidth=0.8, linestyle=":")
    learning.set(xlabel="gradient steps", ylabel="loss above the teacher's entropy, nats")
    lags = np.arange(-BEFORE, AFTER)
    for name, colour in COLOURS.items():
        curve = result.reversal[name]
        around.fill_between(lags, *np.percentile(curve.numpy(), (0, 100), axis=0), color=colour, alpha=0.2, linewidth=0)
        around.plot(lags, curve.mean(0).numpy(), color=colour, label=name, linewidth=1.6)
        points = result.fitted[name]
        fitted.scatter(points["alpha"].numpy(), points["beta"].numpy(), color=colour, label=name, s=18, alpha=0.8)
    around.axvline(0, color="#999999", linewidth=0.8, linestyle=":")
    around.set(xlabel="trials since the reversal", ylabel="choices of the better arm", ylim=(0, 1))
    around.legend(frameon=False, fontsize=9)
    fitted.plot(TEACHER["alpha"], TEACHER["beta"], "+", color="black", markersize=12, label="true")
    fitted.set(
        xlabel="learning rate α, fitted", ylabel="inverse temperature β, fitted", xlim=(0.28, 0.32), ylim=(4.7, 5.3)
    )
    fitted.legend(frameon=False, fontsize=9)
    figure.savefig(path)
