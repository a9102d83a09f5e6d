"""The main job, end to end: a teacher, and four students that clone it, DAgger it and distil it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from imitate.baselines import PPO, PPOConfig
from imitate.configs import config_for, settings
from imitate.core.room import admit_steps
from imitate.core.types import Algorithm, Source
from imitate.experiment.evaluate import Evaluator
from imitate.experiment.report import Curve, Experiment, Kind, Row
from imitate.experiment.run import run
from imitate.nets.actor import Actor, Architecture, fresh
from imitate.sources import make
from imitate.students import (
    BehaviourCloning,
    BehaviourCloningConfig,
    DAgger,
    DAggerConfig,
    PolicyDistillation,
    PolicyDistillationConfig,
    demonstrate,
)

__all__ = ["demo"]

DEMONSTRATIONS = 25
THINNED = 20  # one step in so many of a single demonstration (Ho & Ermon 2016, §6)
CURVE_EPISODES = 10  # of each point of a learning curve


def demo(
    env: str = "CartPole-v1",
    *,
    seed: int = 0,
    members: int = 8,
    episodes: int = 100,
    device: str = "cpu",
    out: Path | str = "runs/demo",
    say: Callable[[str], None] = lambda line: None,
) -> Experiment:
    """Train a PPO teacher and four students, evaluate all on the same noise, write report.json and report.png.

    Args:
        env: Environment id.
        seed: Of everything.
        members: M; teacher member m teaches student member m, so that members are independent replications.
        episodes: Of each member in the last evaluation.
        device: Where it all runs.
        out: Folder for the report and the policies.
        say: Receives one line for each thing done.

    Raises:
        ValueError: The environment is unknown, or PPO cannot act in it.
        KeyboardInterrupt: A run within it was interrupted; there is no report then.
    """
    out = Path(out)
    tuned = settings(env)

    def place(num_envs: int, offset: int) -> Source:
        """A fresh source; each job has a seed of its own."""
        return make(env, num_envs=num_envs, members=members, seed=seed + 1_000 * offset, device=device)

    rows: list[Row] = []

    def report(name: str, kind: Kind, algorithm: Algorithm, learnt: Actor, demonstrated: int = 0) -> None:
        """Train, evaluate, remember, save; `demonstrated` counts the environment steps of demonstrations."""
        # All of a clone's labels are there from the start: its curve is a point.
        curve, seconds = _train(algorithm, against_labels=kind != "teacher", points=1 if kind == "bc" else 10)
        evaluation = evaluator(learnt)
        env_steps = demonstrated + (0 if kind == "bc" else int(algorithm.progress.steps))
        labels = round(float(algorithm.progress.labels.double().mean()))
        size = learnt.parameters_per_member
        rows.append(Row(name, kind, size, labels, env_steps, seconds, evaluation, curve))
        learnt.save(out / f"{len(rows)}-{kind}")
        say(f"{name}: {evaluation}")

    def student(at: Source, name: str) -> Actor:
        shape = replace(config_for(Architecture, name, env), squash=teacher.architecture.squash)
        return fresh(at, shape)

    source = place(int(tuned.get("num_envs", 16)), 0)
    admit_steps(source.spec, {"episodes": episodes, "members": members}, seen=1)  # of the evaluations to come
    ppo = PPO(source, config_for(PPOConfig, "ppo", env))
    teacher = ppo.policy
    evaluator = Evaluator(source, episodes, teacher=teacher)
    report("PPO teacher", "teacher", ppo, teacher)

    many = demonstrate(place(DEMONSTRATIONS, 1), teacher, DEMONSTRATIONS)
    one = many.first(1)
    every = max(1, min(THINNED, int(one.labels.min()) // 2))  # two steps at the least, to train on and to hold out
    one = one.thinned(every)
    cloning = config_for(BehaviourCloningConfig, "clone", env)
    for name, demonstrations in (
        (f"BC, {DEMONSTRATIONS} demonstrations", many),
        (f"BC, one thinned 1:{every}", one),
    ):
        at = place(1, 2)
        pupil = student(at, "student")
        clone = BehaviourCloning(at, demonstrations, pupil, cloning)
        report(name, "bc", clone, pupil, round(float(demonstrations.env_steps.double().mean())))

    at = place(int(tuned.get("dagger_envs", 10)), 3)
    pupil = student(at, "student")
    dagger = DAgger(at, teacher, pupil, config_for(DAggerConfig, "dagger", env), demonstrations=one)
    report("DAgger from the same", "dagger", dagger, pupil, rows[-1].env_steps)

    at = place(int(tuned.get("distill_envs", 16)), 4)
    pupil = student(at, "small_student")
    distillation = PolicyDistillation(at, teacher, pupil, config_for(PolicyDistillationConfig, "distill", env))
    share = 100 * pupil.parameters_per_member / teacher.parameters_per_member
    report(f"distilled to {share:.0f} %", "distilled", distillation, pupil)

    experiment = Experiment(env, seed, str(source.spec.device), rows)
    experiment.save(out)
    return experiment


def _train(algorithm: Algorithm, *, against_labels: bool, points: int) -> tuple[Curve, float]:
    """Run to the end with about so many points on the curve; the curve, and seconds of training."""
    curve, seconds = Curve(), 0.0
    for report in run(algorithm, evaluate_every=max(1, algorithm.progress.budget // points), episodes=CURVE_EPISODES):
        if report.evaluation is not None:
            curve.add(report.labels if against_labels else report.steps, report.evaluation)
        seconds = report.seconds
    if not algorithm.progress.finished:  # of a half-trained teacher nothing is to be learnt
        raise KeyboardInterrupt
    return curve, seconds
