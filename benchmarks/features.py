"""Students that are taught by what is inside of their teacher, beside students of the plain divergence at equal steps.

On CartPole each of eight teachers has a student of half its depth. Every row is `PolicyDistillation` with other terms,
of weights that were not tuned. The Gram error is the mean squared difference of the cosines of the features of two
states; all errors are of states of the teacher that nobody was taught on. Attention needs convolutions: there the
states are pictures of digits, see `benchmarks.digits`, and it needs scikit-learn.

    python -m benchmarks.features --out benchmarks/results/features.json

Letters: M members.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from torch import Tensor

import imitate
from benchmarks import digits
from benchmarks.digits import summary
from imitate import nets
from imitate.configs import config_for
from imitate.core.noise import Stream
from imitate.core.terms import Term
from imitate.distributions.actions import Distribution
from imitate.experiment import Evaluator
from imitate.experiment.report import versions
from imitate.losses.distillation import DistillationLoss, forward_kl
from imitate.losses.features import (
    attention_transfer,
    cosine,
    in_groups,
    pairwise,
    relational_angle,
    relational_distance,
)
from imitate.nets import Actor
from imitate.students import (
    Adversary,
    Distil,
    Hint,
    Match,
    PolicyDistillation,
    PolicyDistillationConfig,
    every_second_layer,
    triple_loss,
)

PLAIN = "KL alone"


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Teachers, each with a student.
        seed: Of all that is random.
        steps: Environment steps of a student.
        early: Steps after which students are looked at before.
        episodes: Of each member in an evaluation.
        updates: Gradient steps of a student of digits.
        threads: Of torch.
        out: Where to write.
    """

    members: int = 8
    seed: int = 0
    steps: int = 20_480
    early: int = 4_096
    episodes: int = 100
    updates: int = 1_000
    threads: int = 1
    out: Path = Path("benchmarks/results/features.json")


@dataclass(frozen=True)
class Row:
    """How students are taught: where they begin, by which loss, and by which terms beside it."""

    terms: Callable[[Actor, Actor], Sequence[Term]]  # of student and teacher
    begins: Callable[[Any, Actor], Actor]  # in a source, under a teacher
    loss: DistillationLoss = forward_kl


def fresh(source: Any, teacher: Actor) -> Actor:
    """A student of one layer as wide as its teacher's."""
    return nets.policy(source, teacher.architecture.hidden[:1], activation=teacher.architecture.activation)


def labels(teacher: Distribution, student: Distribution, temperature: float) -> Tensor:
    """Likelihood of the teacher's choice: the task's own loss of `triple_loss`."""
    return -student.log_prob(teacher.mode)


def matching(weight: float, loss: Any) -> Row:
    """The divergence and one loss of features."""
    return Row(lambda student, teacher: [Match(student.features, teacher.features, weight, loss=loss)], fresh)


def hint(student: Actor, teacher: Actor) -> list[Term]:
    """A linear map between features of one width."""
    width = teacher.body.width
    regressor = nets.Linear(student.members, width, width, init=Stream(0, "init-hint"))
    return [Hint(student.features, teacher.features, regressor)]


def adversary(student: Actor, teacher: Actor) -> list[Term]:
    """A discriminator of one hidden layer, of the weight of the holistic loss of Liu et al. (2019)."""
    discriminator = nets.MLP(student.members, teacher.body.width, (32,), 1, init=Stream(0, "init-discriminator"))
    return [Adversary(student.features, teacher.features, discriminator, 0.1)]


ROWS = {
    PLAIN: Row(lambda student, teacher: [], fresh),
    "pairwise similarity": matching(10.0, pairwise),
    "relational, distance": matching(25.0, relational_distance),
    "relational, angle": matching(50.0, in_groups(relational_angle, 16)),
    "cosine": matching(1.0, cosine),
    "hint": Row(hint, fresh),
    "adversary": Row(adversary, fresh),
    "every second layer": Row(lambda student, teacher: [], lambda source, teacher: every_second_layer(teacher)),
    "every second layer, triple loss": Row(triple_loss, lambda source, teacher: every_second_layer(teacher), labels),
}


def main(options: Options) -> None:
    """Measure, print, write JSON."""
    torch.set_num_threads(options.threads)
    begin = time.perf_counter()
    env = "CartPole-v1"

    def place(offset: int) -> Any:
        return imitate.make(env, num_envs=16, members=options.members, seed=options.seed + 1_000 * offset)

    ppo = imitate.PPO(place(0), config_for(imitate.PPOConfig, "ppo", env))
    for _ in imitate.run(ppo):
        pass
    teacher = ppo.policy
    score = Evaluator(place(0), options.episodes)
    unseen = place(2).collect(teacher, 64).flatten().obs
    config = replace(config_for(PolicyDistillationConfig, "distill", env), steps=options.steps)
    untouched = fresh(place(1), teacher)
    found = {"untouched": measure(untouched, teacher, unseen) | {"return": torch.as_tensor(score(untouched).scores)}}
    for name, row in ROWS.items():
        source = place(1)
        student = row.begins(source, teacher)
        terms = row.terms(student, teacher)
        distillation = PolicyDistillation(source, teacher, student, config, loss=row.loss, terms=terms)
        early, metrics = torch.empty(0), {}
        while not distillation.progress.finished:
            metrics = distillation.step()
            if int(distillation.progress.steps) == options.early:
                early = torch.as_tensor(score(student).scores)
        found[name] = measure(student, teacher, unseen)
        found[name] |= {"return_early": early, "return": torch.as_tensor(score(student).scores)}
        if "adversary_0_discriminated" in metrics:
            found[name]["discriminated"] = metrics["adversary_0_discriminated"]
    rows = {name: {key: summary(value) for key, value in each.items()} for name, each in found.items()}
    for name in ROWS:
        rows[name] |= compared(found[name], found[PLAIN], ("return", "return_early"))
    show(rows)
    pictures = attention(options)
    show(pictures)
    seconds = time.perf_counter() - begin
    print(f"{seconds:.0f} s")
    document = {
        **{key: value for key, value in vars(options).items() if key != "out"},
        "versions": versions(),
        "seconds": seconds,
        "parameters": {
            "teacher": teacher.parameters_per_member,
            "student": untouched.parameters_per_member,
        },
        "teacher": summary(torch.as_tensor(score(teacher).scores)),
        "cartpole": rows,
        "attention": pictures,
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(document, indent=2) + "\n", "utf-8")


@torch.no_grad()
def measure(student: Actor, teacher: Actor, obs: Tensor) -> dict[str, Tensor]:
    """How far a student is from its teacher in what it says and in its features, each [M]."""
    mine, told = student.distribution(obs), teacher.distribution(obs)
    features = student.features(obs), teacher.features(obs)
    return {
        "gram_error": pairwise(*features).mean(1),
        "distance_error": relational_distance(*features).mean(1),
        "angle_error": in_groups(relational_angle, 16)(*features).mean(1),
        "cosine_error": cosine(*features).mean(1),
        "kl": told.kl(mine).mean(1),
        "agreement": (told.mode == mine.mode).float().mean(1),
    }


def compared(mine: dict[str, Tensor], plain: dict[str, Tensor], paired: Sequence[str]) -> dict[str, Any]:
    """The geometric mean of the ratios of Gram errors, member by member, and differences of what is to be paired."""
    ratio = summary((mine["gram_error"] / plain["gram_error"]).log())
    ratio = {key: np.exp(value).tolist() for key, value in ratio.items()}
    return {"gram_error_ratio": ratio} | {f"{key}_difference": summary(mine[key] - plain[key]) for key in paired}


def attention(options: Options) -> dict[str, dict[str, Any]]:
    """Convolutions that see few digits, with soft labels alone, and with the teacher's attention beside them."""
    training, test = (
        digits.Digits(one.images.unflatten(1, (1, 8, 8)), one.labels) for one in digits.load(options.seed)
    )
    lesson = digits.Options(members=options.members, seed=options.seed, updates=options.updates)
    room = digits.Classroom(lesson, training, test)
    teacher = room.taught(room.everything, (128,))
    found = {"teacher": {"error": room.errors(room.said(teacher, test))}}
    for name, weight in (("soft labels alone", 0.0), ("attention", 10.0)):

        def terms(student: Actor, weight: float = weight) -> list[Term]:
            match = Match(student.feature_maps, teacher.feature_maps, weight, loss=attention_transfer)
            return [Distil(teacher, temperature=lesson.temperature), match]

        student = room.taught(room.few, (), 0.0, terms)
        with torch.no_grad():
            maps = (
                one.feature_maps(test.images.expand(options.members, *test.images.shape)) for one in (student, teacher)
            )
            error = attention_transfer(*maps).mean(1)
        found[name] = {"error": room.errors(room.said(student, test)), "attention_error": error}
    rows = {name: {key: summary(value) for key, value in each.items()} for name, each in found.items()}
    for key in ("error", "attention_error"):
        rows["attention"][f"{key}_difference"] = summary(found["attention"][key] - found["soft labels alone"][key])
    return rows


def show(rows: dict[str, dict[str, Any]]) -> None:
    """Print what there is, a line a number."""
    for name, row in rows.items():
        print(name)
        for key, value in row.items():
            print(f"    {key:28}{value['mean']:10.4g} [{value['low']:.4g}, {value['high']:.4g}]", flush=True)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
