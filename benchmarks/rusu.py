"""Policy distillation in the sizes of Rusu et al. (2016): a DQN teacher on CartPole-v1, students of 25 %, 7 % and 4 %.

The teacher's ε-greedy play (ε = 0.05) is what the students see, as in the paper, or the students act themselves. The
three losses of its §3 stand beside each other at equal steps, with τ = 0.01. Teachers and students have 64-64, 30-30,
14-14 and 10-10 units. Controls: an untrained student, a random policy, and students of a teacher that knows nothing, an
untrained value network. The teacher has the settings that are shipped for the environment. A student is told as many
steps as its teacher took, and makes 6,272 gradient steps: its learning rate, epochs and batches were chosen on source
seed 0, with KL and 14-14 units. The settings of the environment, which make 392, are rows of their own.

    OMP_NUM_THREADS=1 python -m benchmarks.rusu

Percentages are of the teacher's return above that of a random policy, on the same noise. Exits with 1 where KL on the
teacher's states stays below 98, 95 and 90 %. The rows go to benchmarks/results/rusu.json.
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
import tyro
from torch import Tensor
from torch.nn import functional as F

import imitate
from imitate.configs import config_for
from imitate.core.types import Source
from imitate.distributions.actions import Categorical, Distribution
from imitate.experiment.evaluate import Evaluation, Evaluator
from imitate.experiment.report import versions
from imitate.losses.distillation import DistillationLoss
from imitate.policies import EpsilonGreedy, Greedy, Random
from imitate.students import PolicyDistillation, PolicyDistillationConfig

TAU, EPSILON = 0.01, 0.05
STUDENT = PolicyDistillationConfig(rollout=32, epochs=8, batch_size=128, lr=4e-3, temperature=TAU)
GATES = {30: 98.0, 14: 95.0, 10: 90.0}  # units of each of two hidden layers -> least percentage


@dataclass(frozen=True)
class Options:
    """What to measure.

    Args:
        members: Teachers, and students of each.
        seed: Of the sources; none that settings were chosen with.
        steps: Of a teacher; by default those of the environment's settings.
        student_steps: Of a student, each of which is labelled.
        episodes: Of each member in an evaluation.
        out: Where to write.
    """

    members: int = 8
    seed: int = 100
    steps: int | None = None
    student_steps: int = 100_000
    episodes: int = 100
    out: Path = Path("benchmarks/results/rusu.json")


def nll(teacher: Distribution, student: Distribution, temperature: float) -> Tensor:
    """−log π_S(argmax_a q_T(a)) (Rusu et al. 2016, eq. 1)."""
    return -student.log_prob(teacher.mode)


def mse(teacher: Distribution, student: Distribution, temperature: float) -> Tensor:
    """|q_T − q_S|², of values in units of return (Rusu et al. 2016, eq. 2)."""
    q, own = (cast(Categorical, answer).logits for answer in (teacher, student))
    return (q.detach() - own).square().sum(-1)


def kl(teacher: Distribution, student: Distribution, temperature: float) -> Tensor:
    """KL(softmax(q_T/τ) ‖ softmax(q_S)): the teacher alone is sharpened (Rusu et al. 2016, eq. 3)."""
    q, own = (cast(Categorical, answer).logits for answer in (teacher, student))
    return F.kl_div(
        own.log_softmax(-1), (q.detach() / temperature).log_softmax(-1), log_target=True, reduction="none"
    ).sum(-1)


LOSSES: dict[str, DistillationLoss] = {"NLL": nll, "MSE": mse, "KL": kl}


def main(options: Options) -> int:
    """Measure, print, write JSON; 1 where a student is below its gate."""
    tuned = config_for(imitate.DQNConfig, "dqn", "CartPole-v1")
    dqn = imitate.DQN(_source(options, 0), replace(tuned, steps=options.steps or tuned.steps))
    guesses = imitate.DQN(_source(options, 9), tuned).policy
    while not dqn.progress.finished:
        dqn.step()
    teacher, evaluator = dqn.policy, Evaluator(_source(options, 1), options.episodes, teacher=dqn.policy)
    rows: list[dict[str, Any]] = []

    def told(name: str, evaluation: Evaluation, parameters: int, **more: Any) -> float:
        row: dict[str, Any] = {
            "name": name,
            "parameters": parameters,
            "share": parameters / teacher.parameters_per_member,
        }
        (low, high), percent_ci = evaluation.ci, evaluation.percent_ci or (None, None)
        numbers = {"mean": evaluation.mean, "ci_low": low, "ci_high": high, "percent": evaluation.percent_of_teacher}
        numbers |= {"percent_low": percent_ci[0], "percent_high": percent_ci[1]}
        row |= {name: x if x is not None and math.isfinite(x) else None for name, x in numbers.items()} | more
        rows.append({**row, "scores": evaluation.scores.tolist()})
        print(f"{name:28} {parameters:5} {evaluation}", flush=True)
        options.out.write_text(json.dumps(document | {"rows": rows}, indent=2) + "\n", "utf-8")
        return row["percent"] or 0.0

    document = {
        **{name: value for name, value in vars(options).items() if name != "out"},
        "tau": TAU,
        "epsilon": EPSILON,
    }
    document["versions"] = versions()
    told("teacher", evaluator(teacher), teacher.parameters_per_member)
    config = replace(STUDENT, steps=options.student_steps)
    shipped = replace(config_for(PolicyDistillationConfig, "distill", "CartPole-v1"), temperature=TAU)
    passed = True
    for hidden, gate in GATES.items():
        for driven in ("teacher", "student"):
            for name, loss in LOSSES.items():
                student = _taught(options, teacher, hidden, loss, driven, config)
                percent = told(
                    f"{hidden}-{hidden}, {name}, {driven} drives",
                    evaluator(student),
                    student.parameters_per_member,
                    loss=name,
                    driver=driven,
                )
                passed &= percent >= gate or name != "KL" or driven != "teacher"
    for hidden in GATES:
        hurried = _taught(options, teacher, hidden, kl, "teacher", shipped)
        told(f"{hidden}-{hidden}, KL, few gradient steps", evaluator(hurried), hurried.parameters_per_member)
        fresh = imitate.nets.policy(_source(options, 2), (hidden, hidden), activation="relu")
        told(f"{hidden}-{hidden}, untrained", evaluator(fresh), fresh.parameters_per_member)
        student = _taught(options, guesses, hidden, kl, "teacher", config)
        told(f"{hidden}-{hidden}, of an untrained teacher", evaluator(student), student.parameters_per_member)
    drawn = Evaluator(_source(options, 1), options.episodes, teacher=teacher, deterministic=False)
    told("random policy", drawn(Random(drawn.source.spec.action)), 0)
    options.out.write_text(json.dumps(document | {"passed": passed, "rows": rows}, indent=2) + "\n", "utf-8")
    print("rusu: passed" if passed else "rusu: BELOW THE GATE")
    return int(not passed)


def _taught(
    options: Options,
    teacher: Any,
    hidden: int,
    loss: DistillationLoss,
    driven: str,
    config: PolicyDistillationConfig,
) -> imitate.Actor:
    """Students of two layers, distilled."""
    source = _source(options, 2)
    student = imitate.nets.policy(source, (hidden, hidden), activation="relu")
    driver = None
    if driven == "teacher":
        driver = EpsilonGreedy(Greedy(teacher), source.spec.action, torch.full((options.members,), EPSILON))
    distillation = PolicyDistillation(source, teacher, student, config, loss=loss, driver=driver)
    while not distillation.progress.finished:
        distillation.step()
    return student


def _source(options: Options, offset: int) -> Source:
    return imitate.make("CartPole-v1", num_envs=16, members=options.members, seed=options.seed + 1_000 * offset)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Options, description=__doc__)))
