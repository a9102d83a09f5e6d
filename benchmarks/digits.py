"""Hinton's experiments in the small: a classifier is a policy of one-step episodes, and so are teacher and student.

On scikit-learn's digits of 8x8 pixels (Hinton, Vinyals & Dean 2015, §3): a large teacher, a small student of hard
labels and of soft ones at temperatures from 1 to 20, and a student that is never shown a 3. The students are those of
the suite: the labels are `BehaviourCloning`'s, and soft ones are the term `Distil`, as for any policy.

    python -m benchmarks.digits --out benchmarks/results/digits.json --picture docs/digits.png

It needs scikit-learn. Letters: M members, B digits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import tyro
from torch import Tensor

from imitate import nets
from imitate.core.noise import Stream
from imitate.core.replay import Examples
from imitate.core.rollout import TensorSource
from imitate.core.terms import Term
from imitate.distributions.actions import Categorical, Distribution, decide
from imitate.experiment.evaluate import interval
from imitate.experiment.report import versions
from imitate.losses.imitation import ImitationLoss, negative_log_likelihood
from imitate.students import BehaviourCloning, BehaviourCloningConfig, Demonstrations, Distil
from imitate_envs.base import Box, Discrete

__all__ = ["TRAINING", "Classroom", "Committee", "Digits", "Options", "frequency_bias", "load", "raised", "summary"]

TRAINING = 1_000  # digits; the other 797 are the test set
CLASSES = 10
OMITTED = 3


@dataclass(frozen=True)
class Digits:
    """Name the digit that is shown; one step an episode, 1 for a right answer: a contextual bandit.

    Args:
        images: [B, 64], or [B, 1, 8, 8], in [0, 1].
        labels: [B].
    """

    images: Tensor
    labels: Tensor

    action: ClassVar[Discrete] = Discrete(CLASSES)
    max_steps: ClassVar[int] = 1
    reset_noise: ClassVar[int] = 1
    step_noise: ClassVar[int] = 0

    @property
    def observation(self) -> Box:
        """An image."""
        return Box(tuple(self.images.shape[1:]), 0.0, 1.0)

    def reset(self, noise: Tensor) -> Tensor:
        """The number of a digit."""
        return (noise[..., 0] * len(self.labels)).long()

    def observe(self, state: Tensor) -> Tensor:
        """Its image."""
        return self.images[state]

    def step(self, state: Tensor, action: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Whether the answer is right, and the end."""
        right = self.labels[state] == action
        return state, right.float(), torch.ones_like(right)


def load(seed: int) -> tuple[Digits, Digits]:
    """Training and test set, split at random."""
    from sklearn.datasets import load_digits

    found = load_digits()
    order = Stream(seed, "split").uniform(len(found.target)).argsort()
    images = torch.as_tensor(found.data, dtype=torch.float32)[order] / 16
    labels = torch.as_tensor(found.target, dtype=torch.int64)[order]
    return Digits(images[:TRAINING], labels[:TRAINING]), Digits(images[TRAINING:], labels[TRAINING:])


class Committee:
    """One teacher of several: the mean of the log-odds of all members of an actor.

    Args:
        actor: M members.
        turned: How many classes further what it says is moved: 0, or a wrong teacher.
    """

    noise = 1
    members = 1

    def __init__(self, actor: nets.Actor, turned: int = 0) -> None:
        self.actor, self.turned = actor, turned

    def memory(self, *shape: int) -> None:
        """Memoryless."""

    def distribution(self, obs: Tensor) -> Categorical:
        """The distribution at digits [M, B, 64]."""
        everyone = obs.reshape(1, -1, obs.shape[-1]).expand(self.actor.members, -1, -1)
        said: Any = self.actor.distribution(everyone)
        logits = said.logits.log_softmax(-1).mean(0).view(*obs.shape[:-1], CLASSES)
        return Categorical(logits.roll(self.turned, -1))

    def act(self, obs: Tensor, noise: Tensor | None, memory: None) -> tuple[Tensor, None, dict[str, Any]]:
        """Answer."""
        return decide(self.distribution(obs), noise), None, {}


def frequency_bias(logits: Tensor, digit: int, count: int) -> Tensor:
    """What is to be added to a class's log-odds so that `count` of B examples are taken for it, [M].

    With margins m_b = max_{k ≠ digit} z_bk − z_b,digit that is half-way between the count-th and the next smallest.

    Args:
        logits: [M, B, A].
        digit: The class.
        count: In [1, B).
    """
    others = logits.clone()
    others[..., digit] = -torch.inf
    margin = (others.amax(-1) - logits[..., digit]).sort(1).values
    return (margin[:, count - 1] + margin[:, count]) / 2


@dataclass(frozen=True)
class Options:
    """What to do.

    Args:
        members: Students, each with its own first weights and its own digits.
        seed: Of all that is random.
        shown: Digits that a student is shown where there are few.
        updates: Gradient steps of every student.
        hidden: Width of a student.
        teacher: Widths of a teacher.
        temperatures: Of the soft labels.
        temperature: Of the mixed ones, those of a wrong teacher, and those of all digits.
        threads: Of torch.
        out: Where to write the numbers.
        picture: Where to draw.
    """

    members: int = 8
    seed: int = 0
    shown: int = 100
    updates: int = 1_000
    hidden: int = 32
    teacher: tuple[int, ...] = (128, 128)
    temperatures: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 20.0)
    temperature: float = 5.0
    threads: int = 1
    out: Path = Path("benchmarks/results/digits.json")
    picture: Path = Path("docs/digits.png")


@dataclass(frozen=True)
class Classroom:
    """The digits, the teacher, and how a student is taught."""

    options: Options
    training: Digits
    test: Digits

    @property
    def source(self) -> TensorSource:
        """Where digits are named."""
        options = self.options
        return TensorSource(self.training, id="Digits", num_envs=8, members=options.members, seed=options.seed)

    @property
    def everything(self) -> Tensor:
        """Numbers of all digits of the training set, [M, B]."""
        return torch.arange(len(self.training.labels)).expand(self.options.members, -1)

    @property
    def few(self) -> Tensor:
        """Numbers of the digits that each student is shown where there are few, [M, B]."""
        lots = Stream(self.options.seed, "transfer").uniform(*self.everything.shape)
        return lots.argsort(1)[:, : self.options.shown]

    @property
    def count(self) -> int:
        """How many digits of the training set are of the omitted class."""
        return int((self.training.labels == OMITTED).sum())

    def demonstrations(self, rows: Tensor) -> Demonstrations:
        """Digits [M, B] of the training set with their labels, an episode each."""
        episode = torch.arange(rows.shape[1]).expand(rows.shape)
        examples = Examples(self.training.images[rows], self.training.labels[rows])
        return Demonstrations(examples, torch.ones_like(rows, dtype=torch.bool), episode, torch.zeros_like(rows))

    def taught(
        self,
        rows: Tensor,
        hidden: Sequence[int],
        share: float = 1.0,
        terms: Callable[[nets.Actor], Sequence[Term]] = lambda student: (),
    ) -> nets.Actor:
        """Students of a share of the likelihood of the labels of digits [M, B], and of terms."""
        source, options = self.source, self.options
        student = nets.policy(source, hidden, activation="relu")
        config = BehaviourCloningConfig(updates=options.updates, batch_size=50, validation=0.0)
        cloning = BehaviourCloning(
            source, self.demonstrations(rows), student, config, loss=weighted(share), terms=terms(student)
        )
        while not cloning.progress.finished:
            cloning.step()
        return student

    def soft(self, rows: Tensor, teacher: Committee, temperature: float, alpha: float = 1.0) -> nets.Actor:
        """Students of (1 − α)·NLL(label) + α·T² KL(teacher ‖ student)."""
        terms = [Distil(teacher, alpha, temperature=temperature)]
        return self.taught(rows, (self.options.hidden,), 1 - alpha, lambda _: terms)

    def errors(self, logits: Tensor) -> Tensor:
        """Share of the test digits that are named wrongly, [M]."""
        return (logits.argmax(-1) != self.test.labels).double().mean(-1)

    def right(self, logits: Tensor) -> Tensor:
        """Share of the omitted class's test digits that are named rightly, [M]."""
        return (logits[:, self.test.labels == OMITTED].argmax(-1) == OMITTED).double().mean(-1)

    @torch.no_grad()
    def said(self, policy: Any, digits: Digits) -> Tensor:
        """Logits [M, B, A] of all digits of a set."""
        found: Any = policy.distribution(digits.images.expand(policy.members, *digits.images.shape))
        logits: Tensor = found.logits
        return logits


def raised(logits: Tensor, bias: Tensor) -> Tensor:
    """Log-odds [M, B, A] with a bias [M] of the omitted class."""
    changed = logits.clone()
    changed[..., OMITTED] += bias.unsqueeze(-1)
    return changed


def weighted(share: float) -> ImitationLoss:
    """A share of the likelihood of the labels."""

    def loss(student: Distribution, action: Tensor) -> Tensor:
        return share * negative_log_likelihood(student, action)

    return loss


def main(options: Options) -> None:
    """Compute, print, draw, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    room = Classroom(options, *load(options.seed))
    experts = room.taught(room.everything, options.teacher)
    teacher = Committee(experts)
    untouched = nets.policy(room.source, (options.hidden,), activation="relu")
    alone, together = (room.errors(room.said(one, room.test)) for one in (experts, teacher))
    print(f"errors of {len(room.test.labels)} test digits, %: mean of {options.members} members and its 95 % interval")
    print(f"teacher: {100 * float(together):.1f} together, {_text(summary(alone))} a member")
    few = few_digits(room, teacher, untouched)
    print(f"no {OMITTED} shown: what its log-odds lack; {OMITTED}s that are right and all errors, before and after, %")
    omitted, logits, bias = never_shown(room, teacher)
    seconds = time.perf_counter() - begin
    print(f"{seconds:.0f} s")
    draw(room, few, float(together), logits, bias)
    digits = {"training": TRAINING, "test": len(room.test.labels), f"training_{OMITTED}s": room.count}
    document = {
        **{key: value for key, value in vars(options).items() if not isinstance(value, Path)},
        "versions": versions(),
        "seconds": seconds,
        "digits": digits,
        "parameters": {
            "teacher": options.members * experts.parameters_per_member,
            "student": untouched.parameters_per_member,
        },
        "teacher": {"together": float(together), "member": summary(alone)},
        "few": few,
        "omitted": omitted,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def few_digits(room: Classroom, teacher: Committee, untouched: nets.Actor) -> dict[str, Any]:
    """Errors of students by what they are taught, and how far below those of hard labels of few digits they are."""
    options, few, middle = room.options, room.few, room.options.temperature
    wrong = Committee(teacher.actor, turned=1)
    students: dict[str, Callable[[], nets.Actor]] = {
        "hard labels": lambda: room.taught(few, (options.hidden,)),
        **{f"soft labels, T = {t:g}": partial(room.soft, few, teacher, t) for t in options.temperatures},
        **{f"both, T = {middle:g}, α = {a:g}": partial(room.soft, few, teacher, middle, a) for a in (0.5, 0.9)},
        f"a wrong teacher, T = {middle:g}": partial(room.soft, few, wrong, middle),
        "untouched": lambda: untouched,
        "hard labels of all digits": lambda: room.taught(room.everything, (options.hidden,)),
        f"soft labels of all digits, T = {middle:g}": partial(room.soft, room.everything, teacher, middle),
    }
    rows: dict[str, Any] = {}
    errors: dict[str, Tensor] = {}
    for name, student in students.items():
        errors[name] = room.errors(room.said(student(), room.test))
        below = summary(errors["hard labels"] - errors[name])
        rows[name] = {"error": summary(errors[name]), "below_hard_labels": below}
        print(f"{name:36}{_text(rows[name]['error']):20} below hard labels {_text(below)}", flush=True)
    return rows


def never_shown(room: Classroom, teacher: Committee) -> tuple[dict[str, Any], Tensor, Tensor]:
    """Students of all digits but one class, before and after its bias is chosen by the frequency of the class.

    Returns:
        Their numbers; and of the last one the log-odds at the test digits, and the bias.
    """
    seen, temperatures = room.everything[:, room.training.labels != OMITTED], room.options.temperatures
    students = {
        "hard labels": lambda: room.taught(seen, (room.options.hidden,)),
        **{f"soft labels, T = {t:g}": partial(room.soft, seen, teacher, t) for t in temperatures},
    }
    rows, logits, bias = {}, torch.empty(0), torch.empty(0)
    for name, make in students.items():
        student = make()
        logits = room.said(student, room.test)
        bias = frequency_bias(room.said(student, room.training), OMITTED, room.count)
        corrected = raised(logits, bias)
        rows[name] = {
            "bias": summary(bias),
            "right_before": summary(room.right(logits)),
            "right_after": summary(room.right(corrected)),
            "error_before": summary(room.errors(logits)),
            "error_after": summary(room.errors(corrected)),
        }
        first, *cells = rows[name].values()
        print(f"{name:24}{_text(first, 1):18}" + "".join(f"{_text(cell):20}" for cell in cells), flush=True)
    return rows, logits, bias


def summary(value: Tensor) -> dict[str, Any]:
    """Mean over members, its 95 % interval, and each."""
    scores = value.double().numpy()
    low, high = interval(scores)
    return {"mean": float(scores.mean()), "low": low, "high": high, "members": scores.tolist()}


def _text(row: dict[str, Any], scale: float = 100, digits: int = 1) -> str:
    return f"{scale * row['mean']:.{digits}f} [{scale * row['low']:.{digits}f}, {scale * row['high']:.{digits}f}]"


def draw(room: Classroom, rows: dict[str, Any], teacher: float, logits: Tensor, bias: Tensor) -> None:
    """Errors by temperature; and what a bias does where no 3 was shown, at the highest temperature.

    Args:
        room: Whose digits they are.
        rows: Of `few_digits`.
        teacher: The teacher's.
        logits: Of students that were shown no 3, at the test digits.
        bias: What was chosen for them, [M].
    """
    from matplotlib.figure import Figure

    temperatures = list(room.options.temperatures)
    hard = 100 * np.array(rows["hard labels"]["error"]["members"])
    soft = 100 * np.array([rows[f"soft labels, T = {t:g}"]["error"]["members"] for t in temperatures])
    figure = Figure(figsize=(9.5, 3.6), layout="constrained", dpi=110)
    few, without = figure.subplots(1, 2)
    grey, orange, blue = "#444444", "#e08214", "#1f78b4"
    few.plot(temperatures, soft, color=orange, alpha=0.3, linewidth=0.8)
    few.plot(temperatures, soft.mean(1), "o-", color=orange, label="soft labels", markersize=4)
    few.hlines(hard, temperatures[0], temperatures[-1], color=grey, alpha=0.3, linewidth=0.8)
    few.axhline(hard.mean(), color=grey, label="hard labels")
    few.axhline(100 * teacher, color=blue, linestyle=":", label="teacher")
    few.set(xscale="log", xlabel="temperature T", ylabel=f"errors after {room.options.shown} digits, %", ylim=(0, 19))
    few.set_xticks(temperatures, [f"{t:g}" for t in temperatures])
    few.minorticks_off()
    few.legend(frameon=False, fontsize=9, loc="upper right", ncols=3)
    biases = np.linspace(0, 2 * float(bias.mean()), 80)
    changed = [raised(logits, torch.full_like(bias, float(b))) for b in biases]
    for measure, colour, label in ((room.right, orange, "3s right"), (room.errors, grey, "errors, all digits")):
        values = 100 * torch.stack([measure(one) for one in changed]).numpy()
        without.plot(biases, values, color=colour, alpha=0.3, linewidth=0.8)
        without.plot(biases, values.mean(1), color=colour, label=label)
    without.vlines(bias.numpy(), 0, 100, color=blue, linewidth=0.7, alpha=0.6, label="chosen")
    without.set(xlabel=f"added to the log-odds of 3 (T = {temperatures[-1]:g})", ylabel="%", ylim=(0, 100))
    without.legend(frameon=False, fontsize=9, loc="center right")
    figure.savefig(room.options.picture)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
